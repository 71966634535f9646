//! Changes of lists of block pointers.
//!
//! Lists are changed as in OpenZFS. Pointers are appended without the fields that are not required to free them. A
//! small list that is inserted below another one is copied into it, so that the nesting of lists does not grow.

use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::{BpObj, BpObjPhys};
use crate::blkptr::{BLOCK_POINTER_BYTES, BlockPointer};
use crate::dnode::NewObject;
use crate::error::{Error, Result};
use crate::ids::{BlockId, ObjectId};
use crate::object_store::ObjectStore;

const ORDER: ByteOrder = ByteOrder::Little;

/// The block size of lists, and of the objects with the numbers of the lists below, in bytes
/// (`SPA_OLD_MAXBLOCKSIZE`).
pub const LIST_BLOCK_BYTES: u32 = 128 << 10;

/// The length of the header in pools since version 26, in bytes (`BPOBJ_SIZE_V2`).
const HEADER_BYTES: u16 = BpObjPhys::offset_of("freed") as u16;
/// The length of the header in lists that count frees, which they do while the feature `livelist` is active.
const HEADER_WITH_FREED_BYTES: u16 = BpObjPhys::LEN as u16;

/// The number of pointers that are written at once.
const POINTERS_PER_WRITE: usize = 1024;

/// A block pointer and the space that its block uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizedBlock {
    /// The pointer.
    pub pointer: BlockPointer,
    /// The deflated space of its copies in bytes (`bp_get_dsize`).
    pub used_bytes: u64,
}

/// A block that is added to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListChange {
    /// The block.
    pub block: SizedBlock,
    /// In livelists, `true` if the block was freed, and `false` if it was allocated.
    pub is_free: bool,
}

/// Creates an empty list with blocks of `block_bytes` (`bpobj_alloc`).
///
/// # Errors
///
/// Fails if the object cannot be created.
pub fn create(store: &mut dyn ObjectStore, block_bytes: u32, counts_freed: bool) -> Result<ObjectId> {
    let header = if counts_freed { HEADER_WITH_FREED_BYTES } else { HEADER_BYTES };
    store.allocate(&NewObject::new(ObjectType::BPOBJ, block_bytes).with_bonus(ObjectType::BPOBJ_HDR, header))
}

/// Frees a list and the lists below it (`bpobj_free`). The blocks in the lists remain allocated.
///
/// # Errors
///
/// Fails if a list cannot be read or is below two lists.
pub fn free(store: &mut dyn ObjectStore, object: ObjectId) -> Result<()> {
    let mut lists = vec![object];
    while let Some(object) = lists.pop() {
        let list = BpObj::open(&*store, object)?;
        lists.extend(list.below(&*store)?);
        if let Some((numbers, _)) = list.below {
            store.free(numbers)?;
        }
        store.free(object)?;
    }
    Ok(())
}

/// Appends blocks to a list (`bpobj_enqueue`). Holes are not allowed.
///
/// # Errors
///
/// Fails if the list cannot be read or written.
pub fn enqueue(store: &mut dyn ObjectStore, object: ObjectId, blocks: &[SizedBlock]) -> Result<()> {
    let changes: Vec<_> = blocks.iter().map(|block| ListChange { block: *block, is_free: false }).collect();
    enqueue_changes(store, object, &changes)
}

/// Appends blocks that were allocated or freed to a livelist (`bpobj_enqueue`). Freed ones are subtracted from its sums.
///
/// # Errors
///
/// Fails if the list cannot be read or written, and if it does not count frees.
pub fn enqueue_changes(store: &mut dyn ObjectStore, object: ObjectId, changes: &[ListChange]) -> Result<()> {
    let mut list = BpObj::open(&*store, object)?;
    for changes in changes.chunks(POINTERS_PER_WRITE) {
        let bytes: Vec<u8> = changes.iter().flat_map(|change| stored(change).encode(ORDER)).collect();
        store.write(object, list.count * BLOCK_POINTER_BYTES as u64, &bytes)?;
        list.count += changes.len() as u64;
        for change in changes {
            list.apply(change)?;
        }
    }
    list.put(store)
}

/// Inserts a list below another one (`bpobj_enqueue_subobj`), which then owns it. Small content is copied, and the
/// object is freed if it becomes empty.
///
/// # Errors
///
/// Fails if a list cannot be read or written, and if the upper list is of a pool version without lists below others.
pub fn enqueue_list(store: &mut dyn ObjectStore, object: ObjectId, below: ObjectId) -> Result<()> {
    let mut list = BpObj::open(&*store, object)?;
    if list.bonus_words < 6 {
        return Err(Error::unsupported(
            "a list of lists of block pointers in a pool of version 25 or earlier",
        ));
    }
    let mut lower = BpObj::open(&*store, below)?;
    if object == below {
        return Err(Error::corrupt("bpobj", format!("list {object} would be below itself")));
    }
    if lower.count == 0 && lower.below.is_none() {
        return free(store, below);
    }
    list.add(lower.bytes, lower.compressed_bytes, lower.uncompressed_bytes);
    let mut numbers = Vec::new();
    if let Some((object, _)) = lower.below
        && store.info(object)?.max_block == BlockId(0)
    {
        numbers = lower.below(&*store)?;
        store.free(object)?;
        lower.below = None;
    }
    if store.info(below)?.max_block == BlockId(0) {
        let mut bytes = vec![0; lower.count as usize * BLOCK_POINTER_BYTES];
        store.read(below, 0, &mut bytes)?;
        store.write(object, list.count * BLOCK_POINTER_BYTES as u64, &bytes)?;
        list.count += lower.count;
        lower.count = 0;
    }
    if lower.count == 0 && lower.below.is_none() {
        store.free(below)?;
    } else {
        lower.put(store)?;
        numbers.insert(0, below);
    }
    list.append_below(store, &numbers)?;
    list.put(store)
}

/// Returns the pointer as stored in a list: without the fill count and checksum, which are not required to free a
/// block, and without an embedded payload.
fn stored(change: &ListChange) -> BlockPointer {
    let pointer = &change.block.pointer;
    let mut words = *pointer.words();
    if pointer.is_embedded() {
        let (prop, birth) = (words[6], words[10]);
        words = [0; 16];
        (words[6], words[10]) = (prop, birth);
    } else if !pointer.is_dedup() {
        words[12..].fill(0);
    }
    words[11] = u64::from(change.is_free);
    BlockPointer::from_words(words)
}

impl BpObj {
    /// Counts a block that is added.
    fn apply(&mut self, change: &ListChange) -> Result<()> {
        let (used, pointer) = (change.block.used_bytes, &change.block.pointer);
        let (psize, lsize) = (pointer.psize(), pointer.uncompressed_bytes());
        if !change.is_free {
            self.add(used, Some(psize), Some(lsize));
            return Ok(());
        }
        let freed = self.freed.as_mut().ok_or_else(|| {
            Error::corrupt("bpobj", format!("list {} of a livelist does not count frees", self.object))
        })?;
        *freed += 1;
        self.add(used.wrapping_neg(), Some(psize.wrapping_neg()), Some(lsize.wrapping_neg()));
        Ok(())
    }

    fn add(&mut self, used: u64, compressed: Option<u64>, uncompressed: Option<u64>) {
        let sum = |sum: &mut Option<u64>, more: Option<u64>| {
            *sum = sum.map(|sum| sum.wrapping_add(more.unwrap_or(0)));
        };
        self.bytes = self.bytes.wrapping_add(used);
        sum(&mut self.compressed_bytes, compressed);
        sum(&mut self.uncompressed_bytes, uncompressed);
    }

    fn append_below(&mut self, store: &mut dyn ObjectStore, numbers: &[ObjectId]) -> Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        let (object, count) = match self.below {
            Some(below) => below,
            None => (store.allocate(&NewObject::new(ObjectType::BPOBJ_SUBOBJ, LIST_BLOCK_BYTES))?, 0),
        };
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.0.to_le_bytes()).collect();
        store.write(object, 8 * count, &bytes)?;
        self.below = Some((object, count + numbers.len() as u64));
        Ok(())
    }

    /// Writes the header.
    fn put(&self, store: &mut dyn ObjectStore) -> Result<()> {
        let phys = BpObjPhys {
            count: self.count,
            bytes: self.bytes,
            compressed_bytes: self.compressed_bytes.unwrap_or(0),
            uncompressed_bytes: self.uncompressed_bytes.unwrap_or(0),
            below: self.below.map(|(object, _)| object),
            below_count: self.below.map_or(0, |(_, count)| count),
            freed: self.freed.unwrap_or(0),
        };
        let len = BpObjPhys::LEN.min(8 * self.bonus_words);
        store.set_bonus(self.object, ObjectType::BPOBJ_HDR, &phys.to_bytes(ORDER)[..len])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::blkptr::{Dva, NormalBlock};
    use crate::made::{Memory, Store};

    fn block(birth: u64) -> SizedBlock {
        let pointer = Memory::default().data(&[7; 1024], birth);
        SizedBlock { pointer, used_bytes: 4096 }
    }

    fn births(store: &Store, object: ObjectId) -> Vec<u64> {
        let list = BpObj::open(store, object).unwrap();
        let mut births: Vec<_> =
            list.entries(store).map(|entry| entry.unwrap().pointer.logical_birth().0).collect();
        births.sort_unstable();
        births
    }

    #[test]
    fn what_is_kept_of_a_pointer_is_what_freeing_needs() {
        let mut store = Store::default();
        let object = create(&mut store, LIST_BLOCK_BYTES, false).unwrap();
        let normal = BlockPointer::normal(&NormalBlock {
            dvas: [Dva::new(0, 512, 1024, false), Dva::default(), Dva::default()],
            lsize: 131_072,
            psize: 1024,
            compression: zstream_format::algorithm::CompressionType::LZ4,
            checksum_type: zstream_format::algorithm::ChecksumType::FLETCHER_4,
            object_type: ObjectType::PLAIN_FILE_CONTENTS,
            level: 0,
            dedup: false,
            uses_crypt: false,
            byte_order: ORDER,
            logical_birth: crate::ids::Txg(9),
            physical_birth: crate::ids::Txg(0),
            fill: 1,
            checksum: [1, 2, 3, 4],
        });
        let mut words = *normal.words();
        words[6] |= 1 << 62;
        let dedup = BlockPointer::from_words(words);
        let embedded = BlockPointer::embedded(
            &[5; 40],
            1024,
            zstream_format::algorithm::CompressionType::LZ4,
            ObjectType::PLAIN_FILE_CONTENTS,
            0,
            crate::ids::Txg(8),
        );
        let blocks = [(normal, 1024), (dedup, 1024), (embedded.unwrap(), 0)]
            .map(|(pointer, used_bytes)| SizedBlock { pointer, used_bytes });
        enqueue(&mut store, object, &blocks).unwrap();
        let list = BpObj::open(&store, object).unwrap();
        assert_eq!(
            (list.count, list.bytes, list.compressed_bytes, list.uncompressed_bytes),
            (3, 2048, Some(2048), Some(2 * 131_072 + 1024))
        );
        let kept: Vec<_> = list.entries(&store).map(|entry| entry.unwrap().pointer).collect();
        assert_eq!((kept[0].checksum(), kept[0].fill()), ([0; 4], 0));
        assert_eq!((kept[0].dva(0), kept[0].logical_birth()), (normal.dva(0), normal.logical_birth()));
        assert_eq!(kept[1].checksum(), [1, 2, 3, 4]);
        assert!(kept[2].is_embedded() && kept[2].words()[..6] == [0; 6]);
    }

    #[test]
    fn freed_blocks_are_marked_and_subtracted() {
        let mut store = Store::default();
        let changes = [(1, false), (2, false), (1, true)]
            .map(|(birth, is_free)| ListChange { block: block(birth), is_free });
        let object = create(&mut store, LIST_BLOCK_BYTES, true).unwrap();
        enqueue_changes(&mut store, object, &changes).unwrap();
        let list = BpObj::open(&store, object).unwrap();
        assert_eq!((list.count, list.freed, list.bytes), (3, Some(1), 4096));
        assert_eq!(list.uncompressed_bytes, Some(block(2).pointer.uncompressed_bytes()));
        let marks: Vec<_> = list.entries(&store).map(|entry| entry.unwrap().is_free).collect();
        assert_eq!(marks, [false, false, true]);
        let short = create(&mut store, LIST_BLOCK_BYTES, false).unwrap();
        let error = enqueue_changes(&mut store, short, &changes).unwrap_err();
        assert!(error.to_string().contains("does not count frees"), "{error}");
    }

    #[test]
    fn small_lists_are_copied_and_large_ones_stay_below() {
        let mut store = Store::default();
        let top = create(&mut store, 512, false).unwrap();
        let empty = create(&mut store, 512, false).unwrap();
        enqueue_list(&mut store, top, empty).unwrap();
        assert_eq!(store.len(), 1);
        let small = create(&mut store, 512, false).unwrap();
        enqueue(&mut store, small, &[block(1), block(2)]).unwrap();
        enqueue_list(&mut store, top, small).unwrap();
        assert_eq!(store.len(), 1);
        let large = create(&mut store, 512, false).unwrap();
        enqueue(&mut store, large, &(10..20).map(block).collect::<Vec<_>>()).unwrap();
        enqueue_list(&mut store, top, large).unwrap();
        assert_eq!(store.len(), 3);
        assert_eq!(BpObj::open(&store, top).unwrap().below(&store).unwrap(), [large]);
        // The numbers below the upper list fit into one block, so the next list includes them.
        let above = create(&mut store, 512, false).unwrap();
        enqueue_list(&mut store, above, top).unwrap();
        let list = BpObj::open(&store, above).unwrap();
        assert_eq!(list.below(&store).unwrap(), [large]);
        assert_eq!((list.count, list.bytes), (2, 12 * 4096));
        assert_eq!(births(&store, above), [1, 2, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        assert!(enqueue_list(&mut store, above, above).is_err());
        free(&mut store, above).unwrap();
        assert_eq!(store.len(), 0);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_whatever_is_put_below_what(
            steps in proptest::collection::vec((0_usize..6, 0_usize..6, 0_u64..30), 1..40)
        ) {
            let mut store = Store::default();
            let mut lists: Vec<(ObjectId, Vec<u64>)> =
                (0..6).map(|_| (create(&mut store, 512, false).unwrap(), Vec::new())).collect();
            for (to, from, count) in steps {
                let births: Vec<u64> = (100..100 + count).collect();
                let blocks: Vec<_> = births.iter().copied().map(block).collect();
                enqueue(&mut store, lists[from].0, &blocks).unwrap();
                lists[from].1.extend(births);
                if to != from {
                    enqueue_list(&mut store, lists[to].0, lists[from].0).unwrap();
                    let moved = std::mem::take(&mut lists[from].1);
                    lists[to].1.extend(moved);
                    lists[from].0 = create(&mut store, 512, false).unwrap();
                }
            }
            for (object, mut expected) in lists {
                expected.sort_unstable();
                prop_assert_eq!(births(&store, object), expected.clone());
                prop_assert_eq!(BpObj::open(&store, object).unwrap().bytes, 4096 * expected.len() as u64);
                free(&mut store, object).unwrap();
            }
            prop_assert_eq!(store.len(), 0);
        }
    }
}
