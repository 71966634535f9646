//! What a head or snapshot of a history holds: files in directories, or a volume; and how both change together.

use std::collections::BTreeMap;
use std::sync::Arc;

use zstream_dmu::ids::{BlockId, ObjectId};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::object_store::ObjectStore as _;
use zstream_dmu::objset::{CloneRange, Objset, ObjsetWriter};
use zstream_format::object_type::ObjsetType;
use zstream_zpl::create::resize_volume;
use zstream_zpl::node::{FileType, Time};
use zstream_zpl::writer::{NewNode, NodeKind, Writer, write_image};
use zstream_zpl::{Filesystem, Visit, volume};

use crate::created::NOW;
use crate::errors::Result;
use crate::rng::Rng;

/// How much there may be of everything, so that a small pool does.
const FILES_MAX: usize = 12;
const DIRECTORIES_MAX: usize = 5;
const FILE_BYTES_MAX: usize = 150_000;

/// Blocks of volumes, and how many there are at most.
pub(super) const VOLUME_BLOCK_BYTES: u32 = 8 << 10;
const VOLUME_BLOCKS_MAX: usize = 40;

/// What is there, by paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// Content of files by number, and their names, of which a file may have several.
    files: BTreeMap<ObjectId, Arc<Vec<u8>>>,
    names: BTreeMap<String, ObjectId>,
    /// Directories beside the root.
    directories: BTreeMap<String, ObjectId>,
    /// Of a volume.
    volume: Option<Arc<Vec<u8>>>,
}

/// The content of files, nothing for directories; a volume's is by the name that no file has.
pub(super) type Listing = BTreeMap<String, Option<Vec<u8>>>;

impl Tree {
    /// A volume of zeros.
    pub(super) fn volume() -> Self {
        let bytes = VOLUME_BLOCK_BYTES as usize * VOLUME_BLOCKS_MAX / 2;
        Self { volume: Some(Arc::new(vec![0; bytes])), ..Self::default() }
    }

    /// The files and directories of a filesystem that has nothing else.
    ///
    /// # Panics
    /// It cannot be read.
    pub(super) fn read(set: &dyn ObjectSet) -> Self {
        let mut tree = Self::default();
        let fs = Filesystem::open(set).expect("a filesystem");
        for visit in fs.walk(fs.node(fs.root()).expect("the root")) {
            let Visit::Node { path, node } = visit else { continue };
            let path = String::from_utf8(path).expect("text");
            match node.file_type() {
                Some(FileType::Directory) if path.is_empty() => {}
                Some(FileType::Directory) => drop(tree.directories.insert(path, node.object)),
                Some(FileType::File) => {
                    let mut bytes = vec![0; node.size as usize];
                    let content = fs.content(&node).expect("content");
                    assert_eq!(content.read(0, &mut bytes).expect("bytes"), bytes.len());
                    tree.names.insert(path, node.object);
                    tree.files.insert(node.object, Arc::new(bytes));
                }
                other => panic!("{path} is a {other:?}"),
            }
        }
        tree
    }

    /// Bytes of a volume.
    pub(super) fn volume_bytes(&self) -> Option<u64> {
        self.volume.as_ref().map(|bytes| bytes.len() as u64)
    }

    fn remove(&mut self, name: &str) {
        let Some(object) = self.names.remove(name) else { return };
        if !self.names.values().any(|other| *other == object) {
            self.files.remove(&object);
        }
    }

    /// What there must be.
    pub(super) fn listing(&self) -> Listing {
        let files = self.names.iter().map(|(name, object)| (name.clone(), Some(self.files[object].to_vec())));
        let directories = self.directories.keys().map(|name| (name.clone(), None));
        let volume = self.volume.iter().map(|bytes| (String::new(), Some(bytes.to_vec())));
        files.chain(directories).chain(volume).collect()
    }

    /// A directory, with what comes before the names in it.
    fn pick_directory(&self, rng: &mut Rng, root: ObjectId) -> (ObjectId, String) {
        let all: Vec<_> =
            self.directories.iter().map(|(path, object)| (*object, format!("{path}/"))).collect();
        match rng.below(all.len() + 1) {
            0 => (root, String::new()),
            n => all[n - 1].clone(),
        }
    }

    /// The directory in which a path lies, and its name there.
    fn split<'a>(&self, path: &'a str, root: ObjectId) -> (ObjectId, &'a str) {
        match path.rsplit_once('/') {
            Some((above, name)) => (self.directories[above], name),
            None => (root, path),
        }
    }

    /// Does one thing to a file or a directory. `step` makes names that were not there before.
    #[expect(clippy::too_many_lines, reason = "a table: one arm for each kind of change")]
    pub(super) fn change_file(
        &mut self,
        rng: &mut Rng,
        step: usize,
        set: &mut ObjsetWriter,
        writer: &mut Writer,
    ) -> Result<()> {
        let root = writer.root();
        let names: Vec<String> = self.names.keys().cloned().collect();
        let name = rng.pick(&names);
        let (what, offset) = (rng.below(10), rng.below(FILE_BYTES_MAX));
        let (parent, above) = self.pick_directory(rng, root);
        let fresh = format!("{step}{}", ["", " and a long name that is not", "\u{e4}"][rng.below(3)]);
        let fresh_path = above + &fresh;
        let is_taken = self.names.contains_key(&fresh_path) || self.directories.contains_key(&fresh_path);
        match (what, name) {
            (0..=2, _) | (_, None) if self.names.len() < FILES_MAX && !is_taken => {
                let len = [0, 1, 100, 5000, FILE_BYTES_MAX / 3, FILE_BYTES_MAX][rng.below(6)];
                let len = rng.below(len + 1);
                let content = rng.bytes(len);
                let new = NewNode { xattrs: xattrs(rng), ..node(NodeKind::File(writer.record_bytes())) };
                let object = writer.create(set, parent, fresh.as_bytes(), &new)?;
                writer.write(set, object, 0, &content)?;
                writer.finish(set, object, content.len() as u64)?;
                self.names.insert(fresh_path, object);
                self.files.insert(object, Arc::new(content));
            }
            (3, Some(path)) => {
                let (parent, name) = self.split(&path, root);
                writer.remove(set, parent, name.as_bytes())?;
                self.remove(&path);
            }
            (4, Some(path)) if !is_taken => {
                // One more name, or another one, in this directory or another.
                let object = self.names[&path];
                writer.link(set, parent, fresh.as_bytes(), object)?;
                self.names.insert(fresh_path, object);
                if rng.below(3) > 0 {
                    let (parent, name) = self.split(&path, root);
                    writer.remove(set, parent, name.as_bytes())?;
                    self.remove(&path);
                }
            }
            (5, Some(name)) => {
                // Truncated, or made longer by a hole.
                let object = self.names[&name];
                set.free_range(object, offset as u64, u64::MAX - offset as u64)?;
                writer.finish(set, object, offset as u64)?;
                Arc::make_mut(self.files.get_mut(&object).expect("a file")).resize(offset, 0);
            }
            (6, Some(name)) => {
                let object = self.names[&name];
                let content = Arc::make_mut(self.files.get_mut(&object).expect("a file"));
                let (start, end) = (offset.min(content.len()), (offset + 50_000).min(content.len()));
                set.free_range(object, start as u64, (end - start) as u64)?;
                content[start..end].fill(0);
            }
            (7, _) if self.directories.len() < DIRECTORIES_MAX && !is_taken => {
                let new = NewNode { xattrs: xattrs(rng), ..node(NodeKind::Directory) };
                let object = writer.create(set, parent, fresh.as_bytes(), &new)?;
                self.directories.insert(fresh_path, object);
            }
            (7 | 8, _) => {
                let inside = |path: &str, directory: &str| path.starts_with(&format!("{directory}/"));
                let is_empty = |directory: &&String| {
                    !self.names.keys().chain(self.directories.keys()).any(|path| inside(path, directory))
                };
                let empty: Vec<String> = self.directories.keys().filter(is_empty).cloned().collect();
                if let Some(path) = rng.pick(&empty) {
                    let (parent, name) = self.split(&path, root);
                    writer.remove(set, parent, name.as_bytes())?;
                    self.directories.remove(&path);
                }
            }
            (_, Some(name)) => {
                let object = self.names[&name];
                let len = rng.below(60_000);
                let bytes = rng.bytes(len);
                set.write(object, offset as u64, &bytes)?;
                let content = Arc::make_mut(self.files.get_mut(&object).expect("a file"));
                content.resize(content.len().max(offset + bytes.len()), 0);
                content[offset..offset + bytes.len()].copy_from_slice(&bytes);
                writer.finish(set, object, content.len() as u64)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A file, if there is one: its object and its content.
    pub(super) fn pick_file(&self, rng: &mut Rng) -> Option<(ObjectId, Arc<Vec<u8>>)> {
        let objects: Vec<ObjectId> = self.files.keys().copied().collect();
        rng.pick(&objects).map(|object| (object, Arc::clone(&self.files[&object])))
    }

    /// Clones a part of a file of another head or snapshot, or of this one, into a new file or one that is there, and changes
    /// a part of the clone again. Blocks that are refused are copied. Returns what was done.
    pub(super) fn clone_file(
        &mut self,
        rng: &mut Rng,
        step: usize,
        (source, from, content): (&Objset, ObjectId, &[u8]),
        set: &mut ObjsetWriter,
        writer: &mut Writer,
    ) -> Result<&'static str> {
        let size = source.info(from)?.block_bytes;
        let blocks = (content.len() as u64).div_ceil(size);
        let name = format!("clone{step}");
        if self.names.len() >= FILES_MAX || blocks == 0 || self.names.contains_key(&name) {
            return Ok("nothing to clone");
        }
        let same: Vec<ObjectId> = self.files.keys().copied().collect();
        let fits = |object: &ObjectId| {
            *object != from && set.info(*object).is_ok_and(|info| info.block_bytes == size)
        };
        let same: Vec<ObjectId> = same.into_iter().filter(fits).collect();
        let to = match rng.pick(&same).filter(|_| rng.below(3) == 0 && size.is_power_of_two()) {
            Some(to) => to,
            None => {
                let to = writer.create(set, writer.root(), name.as_bytes(), &node(NodeKind::File(size)))?;
                set.set_block_size(to, size as u32, 0)?;
                self.names.insert(name, to);
                self.files.insert(to, Arc::default());
                to
            }
        };
        let from_block = rng.below(blocks as usize) as u64;
        let count = 1 + rng.below((blocks - from_block) as usize) as u64;
        let to_block = if size.is_power_of_two() { rng.below(4) as u64 } else { 0 };
        let range =
            CloneRange { from, from_block: BlockId(from_block), to, to_block: BlockId(to_block), count };
        let (done, refusal) = set.clone_range(source, range)?;
        assert_eq!(done == count, refusal.is_none());
        let part = |block: u64| content.len().min((block * size) as usize);
        let new = &content[part(from_block)..part(from_block + count)];
        let at = (to_block * size) as usize;
        let own = Arc::make_mut(self.files.get_mut(&to).expect("a file"));
        let copied = part(from_block + done) - part(from_block);
        if copied < new.len() {
            set.free_range(to, (at + copied) as u64, (new.len() - copied) as u64)?;
            writer.write(set, to, (at + copied) as u64, &new[copied..])?;
        }
        // A block is cloned as a whole, so what follows the end of the file is zeros.
        let whole = new.len().next_multiple_of(size as usize);
        own.resize(own.len().max(at + new.len()), 0);
        let end = own.len().min(at + whole);
        if copied == new.len() {
            own[at..end].fill(0);
        }
        own[at..at + new.len()].copy_from_slice(new);
        if rng.below(3) == 0 {
            let start = rng.below(own.len());
            let end = own.len().min(start + 3000);
            let bytes = rng.bytes(end - start);
            set.write(to, start as u64, &bytes)?;
            own[start..end].copy_from_slice(&bytes);
        }
        writer.finish(set, to, own.len() as u64)?;
        Ok(if done > 0 { "cloned" } else { "copied" })
    }

    /// Writes to a volume, or gives it another size.
    pub(super) fn change_volume(&mut self, rng: &mut Rng, set: &mut ObjsetWriter) -> Result<()> {
        let bytes = Arc::make_mut(self.volume.as_mut().expect("a volume"));
        if rng.below(5) == 0 {
            let size = VOLUME_BLOCK_BYTES as usize * (1 + rng.below(VOLUME_BLOCKS_MAX));
            bytes.resize(size, 0);
            return Ok(resize_volume(set, size as u64)?);
        }
        let start = rng.below(bytes.len());
        let len = rng.below((bytes.len() - start).min(100_000) + 1);
        let mut image = rng.bytes(len);
        if rng.below(3) == 0 {
            image.fill(0);
        }
        write_image(set, &mut &image[..], start as u64, 20_000).map_err(|error| {
            match error.into_image() {
                Ok(error) => crate::errors::Error::Pool(error.into()),
                Err(error) => error.into(),
            }
        })?;
        bytes[start..start + len].copy_from_slice(&image);
        Ok(())
    }
}

fn xattrs(rng: &mut Rng) -> Vec<(Vec<u8>, Vec<u8>)> {
    let lens: Vec<usize> = (0..rng.below(4)).map(|_| [5, 300, 40_000][rng.below(3)]).collect();
    lens.iter().enumerate().map(|(n, len)| (format!("user.x{n}").into_bytes(), rng.bytes(*len))).collect()
}

fn node(kind: NodeKind) -> NewNode {
    let time = Time { seconds: NOW as i64, nanoseconds: 0 };
    NewNode { kind, permissions: 0o750, uid: 1000, gid: 100, atime: time, mtime: time, xattrs: Vec::new() }
}

/// What there is.
pub(super) fn listing(set: &dyn ObjectSet) -> Listing {
    let read = |content: zstream_zpl::Content<'_>| {
        let mut bytes = vec![0xff; content.size() as usize];
        assert_eq!(content.read(0, &mut bytes).expect("bytes"), bytes.len());
        Some(bytes)
    };
    if set.objset_type() == ObjsetType::ZVOL {
        return [(String::new(), read(volume::content(set).expect("a volume")))].into();
    }
    let fs = Filesystem::open(set).expect("a filesystem");
    let mut found = BTreeMap::new();
    for visit in fs.walk(fs.node(fs.root()).expect("the root")) {
        match visit {
            Visit::Node { path, node } if !path.is_empty() => {
                let content = match node.file_type() {
                    Some(FileType::File) => read(fs.content(&node).expect("content")),
                    _ => None,
                };
                found.insert(String::from_utf8(path).expect("text"), content);
            }
            Visit::Node { .. } | Visit::Leave { .. } => {}
            Visit::Failed { path, error } => panic!("{}: {error}", String::from_utf8_lossy(&path)),
        }
    }
    found
}
