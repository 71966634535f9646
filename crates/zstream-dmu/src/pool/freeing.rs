//! Blocks that nothing refers to any more and that are not freed yet.
//!
//! | entry of the MOS's directory | what it holds |
//! | --- | --- |
//! | `sync_bplist` | blocks freed in the last transaction group |
//! | `free_bpobj` | blocks of destroyed snapshots |
//! | `bptree_obj` | roots of destroyed datasets, each with where freeing has come to |
//!
//! They take space until then, and so they are checked with the others.

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

/// Entries of the MOS's directory that name lists of block pointers.
const LISTS: [&str; 2] = ["sync_bplist", "free_bpobj"];
/// The entry that names the list of trees.
const TREES: &str = "bptree_obj";

structure! {
    /// The bonus of the list of trees (`bptree_phys_t`).
    TreeList[40] {
        /// The first entry of which not all is freed.
        begin: u64,
        /// Where the next entry goes.
        end: u64,
        bytes: u64,
        compressed_bytes: u64,
        uncompressed_bytes: u64,
    }

    /// One tree in that (`bptree_entry_phys_t`).
    TreeEntry[168] {
        root: BlockPointer,
        /// Blocks born later are freed.
        birth: Txg,
        /// Where freeing has come to.
        place: BookmarkPhys,
    }
}

/// Bytes of the list's bonus that are read.
const TREE_LIST_BYTES_MIN: usize = TreeList::offset_of("bytes");
/// Bytes of one tree in the list.
const TREE_BYTES: usize = TreeEntry::LEN;
/// Trees that are read at most: more than datasets that any pool holds.
const TREES_MAX: u64 = 1 << 20;

impl Pool {
    /// The lists of blocks to be freed, by their names in the MOS's directory.
    ///
    /// # Errors
    /// The directory or a list's header cannot be read.
    pub fn freeing_lists(&self) -> Result<Vec<(&'static str, BpObj)>> {
        let open = |name| {
            let object = self.directory_object(name)?;
            object.map(|object| BpObj::open(&**self.mos(), object).map(|list| (name, list))).transpose()
        };
        LISTS.into_iter().filter_map(|name| open(name).transpose()).collect()
    }

    /// The trees of destroyed datasets of which not all is freed.
    ///
    /// # Errors
    /// Their list cannot be read.
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
            return Err(bad(format!("bonus of {} bytes", bonus.len())));
        }
        let TreeList { begin, end, .. } = TreeList::read_short(bonus, ByteOrder::Little);
        let room = info.end() / TREE_BYTES as u64;
        if begin > end || end > room || end - begin > TREES_MAX {
            return Err(bad(format!("trees {begin} to {end}, with room for {room}")));
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
    // The number of the dataset is gone with it.
    (!root.is_hole()).then_some(Target { objset: place.objset, root, options })
}

#[cfg(test)]
mod tests {
    use super::*;

    zstream_format::round_trips! { TreeList, TreeEntry }
}
