//! A pool some of whose blocks hold other content than was written, with checksums that do not tell: what an attacker, or
//! a fault in the memory of the machine that wrote them, can make. What lies above blocks has to live with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use zstream_dmu::blkptr::{BlockKind, BlockPointer};
use zstream_dmu::block::{Block, ReadBlock};
use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::{Bookmark, ObjectId};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::objset::Objset;
use zstream_dmu::pool::Pool;
use zstream_dmu::traverse::{Options, Traverse, VisitKind};
use zstream_dmu::zio::crypt::Keyring;
use zstream_dsl::prop::{PROPERTIES, Props, Subject};
use zstream_dsl::scrub::Lines;
use zstream_dsl::{Deadlist, Dsl, Named};
use zstream_format::object_type::ObjectType;
use zstream_zpl::node::FileType;
use zstream_zpl::settings::setting;
use zstream_zpl::{Filesystem, PathQuery, Visit};

/// Nodes of a file system that are looked at: a forged directory may have very many.
const NODES_MAX: usize = 3000;
/// Entries of a list that are looked at.
const ENTRIES_MAX: usize = 1000;
/// Bytes of a file that are read.
const CONTENT_BYTES: usize = 64 << 10;

/// An object set with the blocks that say what else there is.
pub struct Original {
    reader: Arc<dyn ReadBlock>,
    id: u64,
    root: BlockPointer,
    /// The blocks, with their content.
    pub blocks: Vec<(Bookmark, Block)>,
}

impl Original {
    /// Reads the blocks of a set; of files, what is not their data.
    pub fn read(pool: &Pool, id: u64, root: BlockPointer) -> Self {
        let reader: Arc<dyn ReadBlock> = pool.reader().clone();
        let blocks = Traverse::new(Arc::clone(&reader), id, root, Options::default())
            .map(|visit| visit.expect("a whole set"))
            .filter(|visit| {
                let content = [ObjectType::PLAIN_FILE_CONTENTS, ObjectType::ZVOL];
                let is_content = visit.at.level == 0 && content.contains(&visit.pointer.object_type());
                let is_block = [BlockKind::Normal, BlockKind::Embedded].contains(&visit.pointer.kind());
                is_block && visit.kind != VisitKind::Dnode && !is_content
            })
            .map(|visit| (visit.at, reader.read_block(&visit.pointer, visit.at).expect("a block")))
            .collect();
        Self { reader, id, root, blocks }
    }

    /// The set with these blocks, by their index, instead of its own.
    pub fn forge(&self, forged: impl IntoIterator<Item = (usize, Vec<u8>)>) -> Result<Arc<Objset>> {
        let forged = forged.into_iter().map(|(n, block)| (self.blocks[n].0, block.into())).collect();
        let reader = Arc::new(Forged { inner: Arc::clone(&self.reader), forged });
        Objset::open(reader, self.id, self.root).map(Arc::new)
    }
}

struct Forged {
    inner: Arc<dyn ReadBlock>,
    forged: HashMap<Bookmark, Block>,
}

impl ReadBlock for Forged {
    fn read_block(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        match self.forged.get(&at) {
            // Readers give as many bytes as the pointer says.
            Some(block) if block.len() as u64 == bp.lsize() => Ok(Arc::clone(block)),
            _ => self.inner.read_block(bp, at),
        }
    }

    fn read_stored(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        self.inner.read_stored(bp, at)
    }
}

/// Looks at everything the DSL knows of a pool with this MOS. Panics where a name does not lead to the dataset that has it.
/// How many datasets there are.
pub fn look_at_datasets(name: &str, mos: Arc<Objset>) -> crate::errors::Result<usize> {
    let dsl = Dsl::open(name, mos, Arc::new(Keyring::default()))?;
    let lines = Lines::new(&dsl)?;
    let mut names = BTreeMap::new();
    for dataset in lines.datasets() {
        if let Ok(Named::Dataset(found)) = dsl.find(dataset.name()) {
            // Of two with one name, the first one answers.
            let first = *names.entry(dataset.name().to_owned()).or_insert(dataset.object());
            assert!(found.object() == first, "{} is {} and {first}", dataset.name(), found.object());
        }
        let _ = (dataset.previous(), dataset.dir().origin(), dataset.holds(), dataset.resume_token());
        let _ = (dataset.encryption_root(), dataset.redaction_snapshots(), dataset.snapshots());
        let _ = (Deadlist::of(dataset), dataset.written_bytes());
        for bookmark in dataset.bookmarks().unwrap_or_default() {
            if let Ok(Some(list)) = bookmark.redaction_list_of(&dsl) {
                list.blocks().take(ENTRIES_MAX).for_each(drop);
            }
            if let Ok(props) = Props::new(Subject::Bookmark(bookmark, dataset.dir().clone()), None) {
                look_at_properties(&props);
            }
        }
        if let Ok(Named::Dataset(again)) = dsl.find(dataset.name())
            && let Ok(props) = Props::new(Subject::Dataset(Box::new(again)), None)
        {
            look_at_properties(&props.with_settings(setting));
        }
    }
    Ok(lines.datasets().len())
}

fn look_at_properties(props: &Props) {
    for property in PROPERTIES {
        if let Ok(Some(found)) = props.get(property) {
            let _ = (found.value.literal(Some(property)), found.value.pretty(Some(property)));
        }
    }
    for name in props.user_names().unwrap_or_default().iter().take(ENTRIES_MAX) {
        let _ = props.user(name);
    }
}

/// Looks at every file of a set. Panics where a path does not lead to the node that was found under it. How many nodes
/// there are.
pub fn look_at_files(set: &dyn ObjectSet) -> crate::errors::Result<usize> {
    let fs = Filesystem::open(set)?;
    let mut nodes = 0;
    let mut wanted = PathQuery::default();
    for visit in fs.walk(fs.node(fs.root())?).take(NODES_MAX) {
        let (path, node) = match visit {
            Visit::Node { path, node } => (path, node),
            Visit::Leave { .. } => continue,
            Visit::Failed { error, .. } => {
                let _: &Error = &error;
                continue;
            }
        };
        nodes += 1;
        wanted.objects.insert(node.object);
        // A name may be there twice in a forged directory, or fold to another; then the error says so or one of them answers.
        if let Ok(found) = fs.resolve(&path) {
            assert!(found == node || found.object != node.object, "{}", String::from_utf8_lossy(&path));
        }
        let mut buffer = vec![0; CONTENT_BYTES];
        match node.file_type() {
            Some(FileType::File) => {
                if let Ok(content) = fs.content(&node) {
                    let _ = content.read(0, &mut buffer);
                    let _ = content.read(content.size().saturating_sub(100), &mut buffer);
                    content.ranges().take(ENTRIES_MAX).for_each(drop);
                }
            }
            Some(FileType::Symlink) => drop(fs.target(&node)),
            _ => {}
        }
        for xattr in fs.xattrs(&node).unwrap_or_default().iter().take(ENTRIES_MAX) {
            let _ = fs.xattr_value(xattr);
        }
        let _ = (node.acl.as_ref().map(|acl| fs.acl_entries(acl)), node.device(), fs.domain(node.uid));
    }
    wanted.ranges.push(ObjectId(100).0..ObjectId(140).0);
    let paths = fs.paths(&wanted);
    assert!(paths.of.values().all(|paths| !paths.is_empty()));
    Ok(nodes)
}
