//! Lists of block pointers (`bpobj_t`), which deadlists and the lists of blocks to free consist of.
//!
//! The data is an array of block pointers, and their number is in the bonus. A list can have other lists below it,
//! whose object numbers are stored in an object of their own.

pub(crate) mod write;

pub use self::write::{
    LIST_BLOCK_BYTES, ListChange, SizedBlock, create, enqueue, enqueue_changes, enqueue_list, free,
};

use std::collections::HashSet;

use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::structure;

use crate::blkptr::{BLOCK_POINTER_BYTES, BlockPointer};
use crate::block::Block;
use crate::error::{Error, Result};
use crate::ids::{BlockId, Bookmark, ObjectId};
use crate::object_set::ObjectSet;

structure! {
    /// The header of a list, as stored (`bpobj_phys_t`). It is shorter in older versions.
    pub BpObjPhys[56] {
        /// The number of block pointers in the list itself.
        count: u64,
        /// The space that the blocks use, in bytes.
        bytes: u64,
        /// The stored size of the blocks, in bytes; since pool version 7.
        compressed_bytes: u64,
        /// The logical size of the blocks, in bytes.
        uncompressed_bytes: u64,
        /// The object with the numbers of the lists below; since pool version 26.
        below: Option<ObjectId>,
        /// The number of the lists below.
        below_count: u64,
        /// The number of block pointers that record a free; in livelists.
        freed: u64,
    }
}

/// The header of a list. The sums include the lists below it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BpObj {
    /// The object of the list.
    pub object: ObjectId,
    /// The number of block pointers in this list itself.
    pub count: u64,
    /// The space that the blocks use, in bytes.
    pub bytes: u64,
    /// The stored size of the blocks, in bytes; `None` in lists of old pools.
    pub compressed_bytes: Option<u64>,
    /// The logical size of the blocks, in bytes; `None` in lists of old pools.
    pub uncompressed_bytes: Option<u64>,
    /// The object with the numbers of the lists below, and their number; `None` if there are none.
    pub below: Option<(ObjectId, u64)>,
    /// The number of block pointers that record a free, in livelists.
    pub freed: Option<u64>,
    block_bytes: u64,
    /// The number of words in the bonus.
    bonus_words: usize,
}

/// A block pointer in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BpObjEntry {
    /// The pointer. Its fill count has no meaning.
    pub pointer: BlockPointer,
    /// In a livelist, `true` if the block was freed, and `false` if it was allocated.
    pub is_free: bool,
}

impl BpObj {
    /// Reads the header of the list in `object`.
    ///
    /// # Errors
    ///
    /// Fails if the object does not exist, is not a list, or has a count that exceeds its size.
    pub fn open(set: &dyn ObjectSet, object: ObjectId) -> Result<Self> {
        let info = set.info(object)?;
        let place = |error: Error| error.at_bookmark(bookmark(set, object));
        if info.bonus_type != ObjectType::BPOBJ_HDR {
            let detail = format!("bonus is of type {}, expected {}", info.bonus_type, ObjectType::BPOBJ_HDR);
            return Err(place(Error::corrupt("bpobj", detail)));
        }
        let bonus = info.bonus()?;
        let phys = BpObjPhys::read_short(bonus, ByteOrder::Little);
        // The bonus length depends on the version.
        let bonus_words = bonus.len() / 8;
        if bonus_words < 2 {
            return Err(place(Error::corrupt("bpobj", format!("bonus is {} bytes, too short", bonus.len()))));
        }
        let room = info.end() / BLOCK_POINTER_BYTES as u64;
        let count = phys.count;
        if count > room || info.block_bytes % BLOCK_POINTER_BYTES as u64 != 0 {
            let detail = format!(
                "list has {count} block pointers in blocks of {} bytes, with space for {room}",
                info.block_bytes
            );
            return Err(place(Error::corrupt("bpobj", detail)));
        }
        Ok(Self {
            object,
            count,
            bytes: phys.bytes,
            compressed_bytes: (bonus_words > 2).then_some(phys.compressed_bytes),
            uncompressed_bytes: (bonus_words > 3).then_some(phys.uncompressed_bytes),
            below: phys.below.filter(|_| bonus_words > 5).map(|object| (object, phys.below_count)),
            freed: (bonus_words > 6).then_some(phys.freed),
            block_bytes: info.block_bytes,
            bonus_words,
        })
    }

    /// Returns an iterator over all block pointers of the list, followed by those of the lists below it. It ends
    /// after the first error.
    #[must_use]
    pub fn entries<'a>(&self, set: &'a dyn ObjectSet) -> BpObjEntries<'a> {
        BpObjEntries {
            set,
            lists: vec![List { header: self.clone(), next: 0, below: None }],
            seen: HashSet::from([self.object]),
            block: None,
            failed: false,
        }
    }

    /// Returns the numbers of the lists below this one.
    ///
    /// # Errors
    ///
    /// Fails if their object cannot be read or is too short.
    pub fn below(&self, set: &dyn ObjectSet) -> Result<Vec<ObjectId>> {
        let Some((object, count)) = self.below else { return Ok(Vec::new()) };
        let info = set.info(object)?;
        let place = |error: Error| error.at_bookmark(bookmark(set, object));
        info.expect_type(ObjectType::BPOBJ_SUBOBJ).map_err(place)?;
        if count > info.end() / 8 || count > BELOW_MAX {
            let detail =
                format!("list has {count} lists below it, whose object ends at {} bytes", info.end());
            return Err(place(Error::corrupt("bpobj", detail)));
        }
        let mut bytes = vec![0; count as usize * 8];
        set.read(object, 0, &mut bytes)?;
        Ok(bytes.chunks_exact(8).map(|word| ObjectId(ByteOrder::Little.u64(word))).collect())
    }
}

/// The maximum number of lists below a list, which exceeds the number of snapshots of any pool.
const BELOW_MAX: u64 = 1 << 24;

fn bookmark(set: &dyn ObjectSet, object: ObjectId) -> Bookmark {
    Bookmark { objset: set.objset_id(), object, level: 0, block: BlockId(0) }
}

struct List {
    header: BpObj,
    next: u64,
    below: Option<std::vec::IntoIter<ObjectId>>,
}

/// An iterator over the block pointers of a list and of the lists below it.
///
/// A list that occurs twice is an error, so that lists which contain each other end.
pub struct BpObjEntries<'a> {
    set: &'a dyn ObjectSet,
    lists: Vec<List>,
    seen: HashSet<ObjectId>,
    /// The most recently read block, with its list and number.
    block: Option<(ObjectId, u64, Block)>,
    failed: bool,
}

impl BpObjEntries<'_> {
    fn step(&mut self) -> Result<Option<BpObjEntry>> {
        loop {
            let Some(list) = self.lists.last_mut() else { return Ok(None) };
            if list.next < list.header.count {
                let index = list.next;
                list.next += 1;
                let (object, block_bytes) = (list.header.object, list.header.block_bytes);
                return self.entry(object, block_bytes, index).map(Some);
            }
            let below = match &mut list.below {
                Some(below) => below,
                None => list.below.insert(list.header.below(self.set)?.into_iter()),
            };
            match below.next() {
                Some(object) if self.seen.insert(object) => {
                    let header = BpObj::open(self.set, object)?;
                    self.lists.push(List { header, next: 0, below: None });
                }
                Some(object) => {
                    let detail = format!("list {object} is below two lists or below itself");
                    return Err(Error::corrupt("bpobj", detail).at_bookmark(bookmark(self.set, object)));
                }
                None => drop(self.lists.pop()),
            }
        }
    }

    fn entry(&mut self, object: ObjectId, block_bytes: u64, index: u64) -> Result<BpObjEntry> {
        let per_block = block_bytes / BLOCK_POINTER_BYTES as u64;
        let (number, at) = (index / per_block, (index % per_block) as usize * BLOCK_POINTER_BYTES);
        let place = Bookmark { block: BlockId(number), ..bookmark(self.set, object) };
        let block = match &self.block {
            Some((kept, kept_number, block)) if (*kept, *kept_number) == (object, number) => block,
            _ => {
                let block = self.set.block(object, BlockId(number))?.ok_or_else(|| {
                    Error::corrupt("bpobj", format!("block of pointer {index} is a hole")).at_bookmark(place)
                })?;
                &self.block.insert((object, number, block)).2
            }
        };
        let pointer = BlockPointer::parse_at(block, at, ByteOrder::Little).ok_or_else(|| {
            Error::corrupt("bpobj", format!("block is {} bytes, too short", block.len())).at_bookmark(place)
        })?;
        Ok(BpObjEntry { is_free: pointer.words()[11] & 1 != 0, pointer })
    }
}

impl Iterator for BpObjEntries<'_> {
    type Item = Result<BpObjEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        step.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Txg;
    use crate::made::Objects;

    fn pointer(birth: u64) -> BlockPointer {
        BlockPointer::redacted(ObjectType::PLAIN_FILE_CONTENTS, 512, Txg(birth))
    }

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Adds a list with blocks of two pointers.
    fn add(objects: &mut Objects, object: u64, births: &[u64], below: u64, count_below: u64) {
        let bytes: Vec<u8> =
            births.iter().flat_map(|&birth| pointer(birth).encode(ByteOrder::Little)).collect();
        let blocks = bytes.chunks(256).map(|block| [block, &[0; 256]].concat()[..256].to_vec()).collect();
        let header = words(&[births.len() as u64, 10, 20, 30, below, count_below]);
        objects.add(object, ObjectType::BPOBJ, ObjectType::BPOBJ_HDR, &header, blocks);
    }

    fn births(objects: &Objects, object: u64) -> Result<Vec<u64>> {
        let list = BpObj::open(objects, ObjectId(object))?;
        list.entries(objects).map(|entry| Ok(entry?.pointer.logical_birth().0)).collect()
    }

    #[test]
    fn a_list_gives_its_own_pointers_then_those_below() {
        let mut objects = Objects::default();
        add(&mut objects, 1, &[1, 2, 3], 9, 2);
        add(&mut objects, 2, &[4, 5], 0, 0);
        add(&mut objects, 3, &[6], 8, 1);
        add(&mut objects, 4, &[7], 0, 0);
        objects.add(9, ObjectType::BPOBJ_SUBOBJ, ObjectType::NONE, &[], vec![words(&[2, 3])]);
        objects.add(8, ObjectType::BPOBJ_SUBOBJ, ObjectType::NONE, &[], vec![words(&[4])]);
        assert_eq!(births(&objects, 1).unwrap(), [1, 2, 3, 4, 5, 6, 7]);
        let header = BpObj::open(&objects, ObjectId(1)).unwrap();
        assert_eq!(
            (header.bytes, header.compressed_bytes, header.uncompressed_bytes),
            (10, Some(20), Some(30))
        );
        assert_eq!((header.below, header.freed), (Some((ObjectId(9), 2)), None));
    }

    #[test]
    fn lists_of_the_first_version_count_only() {
        let mut objects = Objects::default();
        let block = pointer(5).encode(ByteOrder::Little).to_vec();
        objects.add(1, ObjectType::BPOBJ, ObjectType::BPOBJ_HDR, &words(&[1, 512]), vec![block]);
        assert_eq!(births(&objects, 1).unwrap(), [5]);
        assert_eq!(BpObj::open(&objects, ObjectId(1)).unwrap().compressed_bytes, None);
    }

    #[test]
    fn lists_that_hold_each_other_or_claim_too_much_are_errors() {
        let mut objects = Objects::default();
        add(&mut objects, 1, &[1], 9, 1);
        add(&mut objects, 2, &[2], 8, 1);
        objects.add(9, ObjectType::BPOBJ_SUBOBJ, ObjectType::NONE, &[], vec![words(&[2])]);
        objects.add(8, ObjectType::BPOBJ_SUBOBJ, ObjectType::NONE, &[], vec![words(&[1])]);
        assert!(births(&objects, 1).unwrap_err().to_string().contains("below itself"));
        add(&mut objects, 3, &[1], 9, 2);
        assert!(births(&objects, 3).unwrap_err().to_string().contains("2 lists below"));
        objects.add(4, ObjectType::BPOBJ, ObjectType::BPOBJ_HDR, &words(&[3, 0]), vec![vec![0; 256]]);
        assert!(births(&objects, 4).unwrap_err().to_string().contains("space for 2"));
        objects.add(5, ObjectType::BPOBJ, ObjectType::BPOBJ_HDR, &[0; 8], vec![vec![0; 256]]);
        assert!(births(&objects, 5).unwrap_err().to_string().contains("bonus is 8 bytes"));
        objects.add(6, ObjectType::BPOBJ, ObjectType::NONE, &[0; 48], vec![vec![0; 256]]);
        assert!(births(&objects, 6).unwrap_err().to_string().contains("bonus is of type"));
    }

    zstream_format::round_trips! { BpObjPhys }
}
