//! A MOS whose tables of names are damaged, for rescues: the datasets in them are found by their own objects.
//!
//! ```text
//! object directory   root_dataset -> directory      a directory without a parent, with a dataset
//! directory          children     -> directories    directories with this parent
//! head               snapshots    -> datasets       the previous snapshot of each, from the head on
//! ```
//!
//! A directory or dataset may also be a table, of attributes such as its key. Without them, it is read as if it had none.
//!
//! Only the names are lost, because they are stored nowhere else: a dataset without one is `object-N`, by the number of
//! its object. A table that is damaged in part keeps the names that can be read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::block::{Block, ReadBlock, Want};
use zstream_dmu::error::{Error as PoolError, Result as PoolResult};
use zstream_dmu::ids::{BlockId, Bookmark, ObjectId};
use zstream_dmu::mos::DIRECTORY_OBJECT;
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::objset::Objset;
use zstream_dmu::pool::Notice;
use zstream_dmu::zap::Zap;
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::phys::{MicroZapEntry, MicroZapHeader};

use crate::error::Result;
use crate::phys::{DatasetPhys, DirPhys};
use crate::reader::ORIGIN;

/// The number of objects in a block of dnodes of the MOS.
const OBJECTS_PER_BLOCK: u64 = 32;

/// The maximum length of a name in a table, with its NUL.
const NAME_BYTES: usize = MicroZapEntry::LEN - MicroZapEntry::offset_of("name");

/// A MOS with its tables of names.
#[non_exhaustive]
pub struct Mended {
    /// The MOS.
    pub mos: Arc<Objset>,
    /// Notices of the tables that were damaged, and of the names that their datasets have now.
    pub notices: Vec<Notice>,
}

impl fmt::Debug for Mended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mended").field("notices", &self.notices).finish_non_exhaustive()
    }
}

/// Returns the MOS with new tables in place of damaged ones.
///
/// # Errors
/// Fails if its root cannot be read.
pub fn mend(mos: &Arc<Objset>) -> Result<Mended> {
    let found = Found::in_mos(mos);
    let mut mending = Mending { mos, blocks: HashMap::new(), notices: Vec::new() };
    let root = found.dirs.iter().find(|(_, dir)| dir.parent.is_none() && dir.head.is_some());
    if let Some((root, _)) = root {
        mending.table(DIRECTORY_OBJECT, "the object directory", [("root_dataset".to_owned(), *root)].into());
    }
    for object in &found.extended {
        mending.table(*object, &format!("attributes of object {object}"), Vec::new());
    }
    for (object, dir) in &found.dirs {
        if let Some(table) = dir.children {
            mending.table(
                table,
                &format!("names of filesystems below object {object}"),
                found.children(*object),
            );
        }
    }
    for (object, head) in &found.datasets {
        if let Some(table) = head.snapshot_names {
            mending.table(table, &format!("names of snapshots of object {object}"), found.snapshots(head));
        }
    }
    let Mending { blocks, notices, .. } = mending;
    if blocks.is_empty() {
        return Ok(Mended { mos: Arc::clone(mos), notices });
    }
    let reader = Arc::new(Reader { inner: Arc::clone(mos.reader()), blocks });
    Ok(Mended { mos: Arc::new(Objset::open(reader, mos.objset_id(), *mos.root())?), notices })
}

/// The directories and datasets of a pool.
#[derive(Default)]
struct Found {
    dirs: BTreeMap<ObjectId, DirPhys>,
    datasets: BTreeMap<ObjectId, DatasetPhys>,
    /// Those that are also tables of attributes.
    extended: Vec<ObjectId>,
}

impl Found {
    /// Reads all that can be read.
    fn in_mos(mos: &Objset) -> Self {
        let (mut found, mut at, mut failures) = (Self::default(), ObjectId(1), 0);
        loop {
            match mos.next_object(at) {
                Ok(None) => return found,
                Ok(Some(object)) => {
                    found.add(mos, object);
                    at = ObjectId(object.0 + 1);
                    failures = 0;
                }
                // After a lost indirect block, there may be many blocks of dnodes without an end.
                Err(_) if failures > 1 << 16 => return found,
                Err(_) => {
                    at = ObjectId((at.0 + 1).next_multiple_of(OBJECTS_PER_BLOCK));
                    failures += 1;
                }
            }
        }
    }

    fn add(&mut self, mos: &Objset, object: ObjectId) {
        let Ok(info) = mos.info(object) else { return };
        let Ok(bonus) = info.bonus() else { return };
        let order = ByteOrder::Little;
        if info.bonus_type == ObjectType::DSL_DIR {
            self.dirs.extend(DirPhys::read(bonus, order).map(|dir| (object, dir)));
        } else if info.bonus_type == ObjectType::DSL_DATASET {
            self.datasets.extend(DatasetPhys::read(bonus, order).map(|dataset| (object, dataset)));
        } else {
            return;
        }
        if info.object_type != info.bonus_type {
            self.extended.push(object);
        }
    }

    /// Returns the directories in a directory that have a dataset, each with a name.
    fn children(&self, parent: ObjectId) -> Vec<(String, ObjectId)> {
        let children = self.dirs.iter().filter(|(_, dir)| dir.parent == Some(parent));
        let named = children.filter_map(|(object, dir)| {
            let head = self.datasets.get(&dir.head?);
            let is_origin = head.is_some_and(|head| head.root.is_hole() && head.prev_snapshot.is_some());
            let is_origin = is_origin && dir.origin.is_none();
            Some((if is_origin { ORIGIN.to_owned() } else { numbered(*object) }, *object))
        });
        named.collect()
    }

    /// Returns the snapshots of a head, each with a name.
    fn snapshots(&self, head: &DatasetPhys) -> Vec<(String, ObjectId)> {
        let (mut snapshots, mut seen, mut at) = (Vec::new(), BTreeSet::new(), head.prev_snapshot);
        while let Some(object) = at.filter(|object| seen.insert(*object)) {
            // The snapshot before the first one is the origin, which is of another directory.
            let Some(snapshot) = self.datasets.get(&object).filter(|found| found.dir == head.dir) else {
                break;
            };
            snapshots.push((numbered(object), object));
            at = snapshot.prev_snapshot;
        }
        snapshots
    }
}

fn numbered(object: ObjectId) -> String {
    format!("object-{object}")
}

struct Mending<'a> {
    mos: &'a Objset,
    blocks: HashMap<ObjectId, Block>,
    notices: Vec<Notice>,
}

impl Mending<'_> {
    /// Replaces a table if it is damaged. `expected` are the objects in it, each with a name if its own is lost.
    fn table(&mut self, table: ObjectId, what: &str, expected: Vec<(String, ObjectId)>) {
        let (mut entries, error) = self.entries(table);
        let Some(error) = error else { return };
        let known: BTreeSet<u64> = entries.iter().map(|(_, value)| *value).collect();
        let lost = expected.into_iter().filter(|(_, object)| !known.contains(&object.0));
        let lost: Vec<(String, u64)> = lost.map(|(name, object)| (name, object.0)).collect();
        let names: Vec<&str> = lost.iter().map(|(name, _)| name.as_str()).collect();
        let mut notice = Notice::unread(what, &error);
        if let Notice::Unread { error, .. } = &mut notice
            && !names.is_empty()
        {
            *error += &format!("; found without it: {}", names.join(", "));
        }
        self.notices.push(notice);
        entries.extend(lost);
        if let Ok(info) = self.mos.info(table) {
            self.blocks.insert(table, micro(info.block_bytes as usize, &entries).into());
        }
    }

    /// Returns the entries of a table that can be read and have a place in the new one, and the first error.
    fn entries(&self, table: ObjectId) -> (Vec<(String, u64)>, Option<PoolError>) {
        let (mut entries, mut error) = (Vec::new(), None);
        match Zap::open(self.mos, table) {
            Ok(zap) => {
                for entry in zap.entries() {
                    match entry {
                        // Other keys and values have no place in the new table.
                        Ok(entry) => {
                            let (Ok(name), Ok(value)) = (entry.key.text(), entry.value.u64()) else {
                                continue;
                            };
                            if name.len() < NAME_BYTES {
                                entries.push((name.to_owned(), value));
                            }
                        }
                        Err(failed) => error = error.or(Some(failed)),
                    }
                }
            }
            Err(failed) => error = Some(failed),
        }
        (entries, error)
    }
}

/// Returns the block of a micro ZAP with as many of the entries as it has room for.
fn micro(bytes: usize, entries: &[(String, u64)]) -> Vec<u8> {
    let mut block = vec![0; bytes];
    let header =
        MicroZapHeader { block_type: MicroZapHeader::BLOCK_TYPE, salt: 1, ..MicroZapHeader::default() };
    header.encode(&mut block, ByteOrder::Little);
    let slots = block[MicroZapHeader::LEN..].chunks_exact_mut(MicroZapEntry::LEN);
    for ((name, value), slot) in entries.iter().zip(slots) {
        let mut entry = MicroZapEntry { value: *value, ..MicroZapEntry::default() };
        entry.name[..name.len()].copy_from_slice(name.as_bytes());
        entry.encode(slot, ByteOrder::Little);
    }
    block
}

/// Returns the content of the indirect block of `pointer` if there is one block of `bytes` below it. The addresses in its
/// only pointer do not matter, since the reader has the block.
fn indirect(pointer: &BlockPointer, bytes: usize) -> Vec<u8> {
    const SIZE_MASK: u64 = 0xffff;
    const LEVEL_SHIFT: u32 = 56;
    let level = u64::from(pointer.level()) - 1;
    let size = if level == 0 { bytes as u64 } else { pointer.lsize() };
    let mut words = *pointer.words();
    words[6] &= !(SIZE_MASK | 0x1f << LEVEL_SHIFT);
    words[6] |= (size / 512 - 1) | level << LEVEL_SHIFT;
    let below = BlockPointer::from_words(words).encode(ByteOrder::Little);
    let mut block = vec![0; pointer.lsize() as usize];
    block[..below.len()].copy_from_slice(&below);
    block
}

/// A reader of blocks that has other blocks for some objects of the MOS.
struct Reader {
    inner: Arc<dyn ReadBlock>,
    blocks: HashMap<ObjectId, Block>,
}

impl Reader {
    /// Returns the only block of a table, or an indirect block above it.
    fn substitute(&self, bp: &BlockPointer, at: Bookmark) -> Option<Block> {
        let is_table = at.objset == 0 && at.level >= 0 && at.block == BlockId(0);
        let block = is_table.then(|| self.blocks.get(&at.object)).flatten()?;
        match bp.level() {
            0 => Some(Arc::clone(block)),
            _ => Some(indirect(bp, block.len()).into()),
        }
    }
}

impl ReadBlock for Reader {
    fn read_block(&self, bp: &BlockPointer, at: Bookmark) -> PoolResult<Block> {
        self.substitute(bp, at).map_or_else(|| self.inner.read_block(bp, at), Ok)
    }

    fn read_stored(&self, bp: &BlockPointer, at: Bookmark) -> PoolResult<Block> {
        self.inner.read_stored(bp, at)
    }

    fn read_compressed(&self, bp: &BlockPointer, at: Bookmark) -> PoolResult<Block> {
        self.inner.read_compressed(bp, at)
    }

    fn read_once(&self, bp: &BlockPointer, at: Bookmark) -> PoolResult<Block> {
        self.substitute(bp, at).map_or_else(|| self.inner.read_once(bp, at), Ok)
    }

    fn read_into(
        &self,
        bp: &BlockPointer,
        at: Bookmark,
        want: Want,
        out: &mut [u8],
        scratch: &mut Vec<u8>,
    ) -> PoolResult<()> {
        match self.substitute(bp, at) {
            Some(block) if want == Want::Logical && block.len() == out.len() => {
                out.copy_from_slice(&block);
                Ok(())
            }
            _ => self.inner.read_into(bp, at, want, out, scratch),
        }
    }

    fn read_blocks(&self, wanted: &[(BlockPointer, Bookmark)]) -> Vec<PoolResult<Block>> {
        if wanted.iter().all(|(bp, at)| self.substitute(bp, *at).is_none()) {
            return self.inner.read_blocks(wanted);
        }
        wanted.iter().map(|(bp, at)| self.read_block(bp, *at)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_indirect_block_has_one_pointer_below() {
        let mut words = [0; 16];
        // 128 KiB, level 2.
        words[0] = 8;
        words[1] = 64;
        words[6] = 255 | 7 << 16 | 2 << 56 | 1 << 63;
        words[10] = 5;
        let pointer = BlockPointer::from_words(words);
        assert_eq!((pointer.level(), pointer.lsize()), (2, 128 << 10));
        let below = |pointer: &BlockPointer| {
            let block = indirect(pointer, 16 << 10);
            assert_eq!(block.len() as u64, pointer.lsize());
            assert!(block[128..].iter().all(|byte| *byte == 0));
            BlockPointer::parse_at(&block, 0, ByteOrder::Little).unwrap()
        };
        let one = below(&pointer);
        assert_eq!((one.level(), one.lsize()), (1, 128 << 10));
        let data = below(&one);
        assert_eq!((data.level(), data.lsize()), (0, 16 << 10));
    }

    #[test]
    fn tables_have_the_entries_that_fit() {
        let entries = |count: u64| (0..count).map(|n| (format!("object-{n}"), n)).collect::<Vec<_>>();
        let names = |block: &[u8]| {
            let slots = block[MicroZapHeader::LEN..].chunks_exact(MicroZapEntry::LEN);
            slots.filter(|slot| slot[MicroZapEntry::offset_of("name")] != 0).count()
        };
        assert_eq!(names(&micro(512, &entries(3))), 3);
        assert_eq!(names(&micro(512, &entries(9))), 7);
    }
}
