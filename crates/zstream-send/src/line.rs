//! The line of snapshots before a dataset, and the space that was written since one of them.
//!
//! The line of a clone continues in the filesystem of its origin:
//!
//! ```text
//! tank/fs      @a --- @b --- @c --- head
//!                     `--- tank/clone      @x --- head        the line of tank/clone@x: @b, @a
//! ```

use std::sync::Arc;

use zstream_dmu::bpobj::BpObj;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dsl::Deadlist;
use zstream_dsl::bookmark::{Bookmark, BookmarkFlags, Space};
use zstream_dsl::dataset::{Dataset, Dir};
use zstream_dsl::error::{Error, Result};
use zstream_format::object_type::ObjectType;

/// Returns `true` if `dir` in transaction group `txg` is in the line before `later` (`dsl_dataset_is_before`). A snapshot
/// is not before itself.
pub(crate) fn is_before(dir: &Dir, txg: Txg, later: &Dataset) -> Result<bool> {
    if later.is_snapshot() && txg >= later.phys().creation_txg {
        return Ok(false);
    }
    let mut at = later.dir().clone();
    let mut before = None;
    loop {
        if at.object() == dir.object() {
            return Ok(true);
        }
        let Some(origin) = at.origin()? else { return Ok(false) };
        let origin_txg = origin.phys().creation_txg;
        if before.is_some_and(|before| origin_txg >= before) {
            return Err(Error::corrupt(
                "DSL directory",
                format!("the origins of {} form a loop", later.name()),
            ));
        }
        if origin.dir().object() == dir.object() && origin_txg == txg {
            return Ok(true);
        }
        if txg >= origin_txg {
            return Ok(false);
        }
        before = Some(origin_txg);
        at = origin.dir().clone();
    }
}

/// Sums over blocks, in bytes. Sums of differences wrap, as in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// The size as stored.
    pub(crate) compressed: u64,
    /// The size before compression.
    pub(crate) uncompressed: u64,
}

impl Sizes {
    pub(crate) fn referenced(dataset: &Dataset) -> Self {
        let phys = dataset.phys();
        Self { compressed: phys.compressed_bytes, uncompressed: phys.uncompressed_bytes }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            compressed: self.compressed.wrapping_add(other.compressed),
            uncompressed: self.uncompressed.wrapping_add(other.uncompressed),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            compressed: self.compressed.wrapping_sub(other.compressed),
            uncompressed: self.uncompressed.wrapping_sub(other.uncompressed),
        }
    }
}

impl From<Space> for Sizes {
    fn from(space: Space) -> Self {
        Self { compressed: space.compressed_bytes, uncompressed: space.uncompressed_bytes }
    }
}

/// The space that an earlier snapshot or bookmark referenced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Earlier {
    txg: Txg,
    referenced: Sizes,
    /// The space that was freed before the next snapshot, if that is known.
    freed_before_next: Option<Sizes>,
}

impl Earlier {
    pub(crate) fn snapshot(snapshot: &Dataset) -> Self {
        Self {
            txg: snapshot.phys().creation_txg,
            referenced: Sizes::referenced(snapshot),
            freed_before_next: None,
        }
    }

    /// Returns the space of a bookmark; `None` for old bookmarks, which do not contain it.
    pub(crate) fn bookmark(bookmark: &Bookmark) -> Option<Self> {
        bookmark.flags.contains(BookmarkFlags::HAS_FBN).then(|| Self {
            txg: bookmark.creation_txg,
            referenced: bookmark.referenced.into(),
            freed_before_next: Some(bookmark.freed_before_next.into()),
        })
    }
}

/// Returns the space written to `later` since (`dsl_dataset_space_written`): the growth of its referenced space, and the
/// space of the earlier one that it no longer references.
pub(crate) fn written(earlier: &Earlier, later: &Dataset) -> Result<Sizes> {
    let mut sum = Sizes::referenced(later).minus(earlier.referenced);
    let mut line = Line::new(later);
    let mut at = None;
    loop {
        let dataset = at.as_deref().unwrap_or(later);
        if dataset.phys().prev_snapshot_txg <= earlier.txg {
            break;
        }
        sum = sum.plus(dead_before(dataset, earlier.txg)?);
        let Some(previous) = dataset.phys().prev_snapshot else { break };
        at = Some(line.find(previous)?);
    }
    let freed = match earlier.freed_before_next {
        Some(freed) => freed,
        None => Deadlist::of(at.as_deref().unwrap_or(later))?.space.into(),
    };
    Ok(sum.plus(freed))
}

/// Returns the space of the blocks in a deadlist that existed in `txg` (`dsl_deadlist_space_range`).
fn dead_before(dataset: &Dataset, txg: Txg) -> Result<Sizes> {
    let mos = dataset.dsl().mos();
    let deadlist = Deadlist::of(dataset)?;
    let mut sum = Sizes::default();
    for entry in deadlist.entries.iter().filter(|entry| entry.min_txg < txg) {
        let blocks = BpObj::open(&**mos, entry.blocks)?;
        sum = sum.plus(Sizes {
            compressed: blocks.compressed_bytes.unwrap_or(0),
            uncompressed: blocks.uncompressed_bytes.unwrap_or(0),
        });
    }
    // Before pool version 26 a deadlist is one list of blocks.
    if mos.info(deadlist.object)?.bonus_type == ObjectType::BPOBJ_HDR {
        for entry in BpObj::open(&**mos, deadlist.object)?.entries(&**mos) {
            let pointer = entry?.pointer;
            if pointer.birth() <= txg {
                sum = sum
                    .plus(Sizes { compressed: pointer.psize(), uncompressed: pointer.uncompressed_bytes() });
            }
        }
    }
    Ok(sum)
}

/// A look-up of snapshots by their objects, which caches those of one filesystem.
struct Line {
    dir: Arc<Dir>,
    snapshots: Option<Vec<Arc<Dataset>>>,
}

impl Line {
    fn new(later: &Dataset) -> Self {
        Self { dir: later.dir().clone(), snapshots: None }
    }

    fn find(&mut self, object: ObjectId) -> Result<Arc<Dataset>> {
        if let Some(found) = self.here()?.iter().find(|snapshot| snapshot.object() == object) {
            return Ok(found.clone());
        }
        let found = Arc::new(self.dir.dsl().dataset_by_object(object)?);
        *self = Self::new(&found);
        Ok(found)
    }

    fn here(&mut self) -> Result<&[Arc<Dataset>]> {
        if self.snapshots.is_none() {
            self.snapshots = Some(self.dir.head()?.snapshots()?.into_iter().map(Arc::new).collect());
        }
        Ok(self.snapshots.as_deref().unwrap_or_default())
    }
}
