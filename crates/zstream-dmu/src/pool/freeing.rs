//! Blocks without references that are not freed yet.
//!
//! | entry of the MOS's directory | content |
//! | --- | --- |
//! | `sync_bplist` | blocks freed in the last transaction group |
//! | `free_bpobj` | blocks of destroyed snapshots |
//! | `bptree_obj` | roots of destroyed datasets, each with the progress of freeing |
//!
//! They occupy space until they are freed, so they are checked with the other blocks.

use zstream_format::order::ByteOrder;
use zstream_format::structure;

use super::Pool;
use super::check::Target;
use crate::blkptr::BlockPointer;
use crate::bpobj::BpObj;
use crate::error::{Error, Result};
use crate::ids::{BlockId, Bookmark, BookmarkPhys, Txg};
use crate::object_set::ObjectSet as _;
use crate::traverse::{Floor, Options};

/// The entries of the MOS's directory that refer to lists of block pointers.
const LISTS: [&str; 2] = ["sync_bplist", "free_bpobj"];
/// The entry that refers to the list of trees.
const TREES: &str = "bptree_obj";

structure! {
    /// The bonus of the list of trees (`bptree_phys_t`).
    TreeList[40] {
        /// The index of the first entry that is not completely freed.
        begin: u64,
        /// The index of the next entry.
        end: u64,
        bytes: u64,
        compressed_bytes: u64,
        uncompressed_bytes: u64,
    }

    /// An entry of the list of trees (`bptree_entry_phys_t`).
    TreeEntry[168] {
        root: BlockPointer,
        /// Only blocks born later are freed.
        birth: Txg,
        /// The position at which freeing resumes.
        place: BookmarkPhys,
    }
}

/// The minimum length of the bonus of the list, which are the fields that are used.
const TREE_LIST_BYTES_MIN: usize = TreeList::offset_of("bytes");
/// The size of an entry of the list.
const TREE_BYTES: usize = TreeEntry::LEN;
/// The limit for the number of trees, which is more than any pool has datasets.
const TREES_MAX: u64 = 1 << 20;

impl Pool {
    /// Opens the lists of blocks that are not freed yet, with their names in the MOS's directory.
    ///
    /// # Errors
    /// Fails if the directory or the header of a list cannot be read.
    pub fn freeing_lists(&self) -> Result<Vec<(&'static str, BpObj)>> {
        let open = |name| {
            let object = self.directory_object(name)?;
            object.map(|object| BpObj::open(&**self.mos(), object).map(|list| (name, list))).transpose()
        };
        LISTS.into_iter().filter_map(|name| open(name).transpose()).collect()
    }

    /// Reads the trees of destroyed datasets that are not completely freed.
    ///
    /// # Errors
    /// Fails if their list cannot be read or is corrupt.
    pub fn freeing_trees(&self) -> Result<Vec<Target>> {
        let Some(object) = self.directory_object(TREES)? else { return Ok(Vec::new()) };
        let info = self.mos().info(object)?;
        let bad = |detail: String| {
            Error::corrupt("list of trees", detail).at_bookmark(Bookmark {
                objset: 0,
                object,
                level: 0,
                block: BlockId(0),
            })
        };
        let bonus = info.bonus()?;
        if bonus.len() < TREE_LIST_BYTES_MIN {
            return Err(bad(format!("bonus is {} bytes, expected {TREE_LIST_BYTES_MIN}", bonus.len())));
        }
        let TreeList { begin, end, .. } = TreeList::read_short(bonus, ByteOrder::Little);
        let room = info.end() / TREE_BYTES as u64;
        if begin > end || end > room || end - begin > TREES_MAX {
            return Err(bad(format!("entries span {begin} to {end}, the object has {room}")));
        }
        let mut trees = Vec::new();
        for n in begin..end {
            let mut entry = [0; TREE_BYTES];
            self.mos().read(object, n * TREE_BYTES as u64, &mut entry)?;
            trees.extend(tree(&TreeEntry::parse(&entry, ByteOrder::Little)));
        }
        Ok(trees)
    }
}

fn tree(entry: &TreeEntry) -> Option<Target> {
    let root = entry.root;
    let place = Bookmark::from(entry.place);
    let resume = (place != Bookmark::default()).then_some(place);
    let options = Options {
        floor: Floor::Allocated(entry.birth),
        resume,
        locked: root.uses_crypt(),
        ..Options::default()
    };
    // The object of the destroyed dataset is no longer known.
    (!root.is_hole()).then_some(Target { objset: place.objset, root, options })
}

#[cfg(test)]
mod tests {
    use super::*;

    zstream_format::round_trips! { TreeList, TreeEntry }
}
