//! Structures of the DSL in bonus buffers: directories and datasets.
//!
//! A *directory* (`dsl_dir_phys_t`, 256 bytes) is a name in the tree with its space accounting. A *dataset*
//! (`dsl_dataset_phys_t`, 320 bytes) is a root block pointer with its history. A directory has one head dataset, and
//! the snapshots of that.

use bitflags::bitflags;
use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::ids::{Guid, ObjectId, Txg};
use zstream_format::order::ByteOrder;
use zstream_format::{field_by_flags, structure};

use crate::error::{Error, Result};

structure! {
    /// The parts of a directory's used space (`dd_used_breakdown`), in bytes.
    pub UsedBreakdown[40] {
        /// Used by the head dataset.
        head: u64,
        /// Used by snapshots.
        snapshots: u64,
        /// Used by children.
        children: u64,
        /// Reserved by children and not used yet.
        child_reservations: u64,
        /// Reserved for the head dataset by its refreservation.
        refreservation: u64,
    }

    /// A directory (`dsl_dir_phys_t`).
    pub DirPhys[256] {
        /// Creation time, seconds since 1970.
        creation_time: u64,
        /// The head dataset; `None` in `$MOS` and `$FREE`.
        head: Option<ObjectId>,
        /// The parent directory; `None` at the root.
        parent: Option<ObjectId>,
        /// The snapshot of which this is a clone; `$ORIGIN@$ORIGIN` for an ordinary filesystem.
        origin: Option<ObjectId>,
        /// ZAP of the children's names.
        children: Option<ObjectId>,
        /// Bytes used, with everything below.
        used_bytes: u64,
        /// Bytes as stored.
        compressed_bytes: u64,
        /// Bytes before compression.
        uncompressed_bytes: u64,
        /// Quota in bytes, 0 for none.
        quota_bytes: u64,
        /// Reservation in bytes.
        reserved_bytes: u64,
        /// ZAP of properties.
        props: Option<ObjectId>,
        /// ZAP of delegated permissions.
        permissions: Option<ObjectId>,
        /// Flags.
        flags: DirFlags,
        /// The parts of `used_bytes`, if [`DirFlags::USED_BREAKDOWN`] is set.
        breakdown: UsedBreakdown,
        /// ZAP of the heads of the clones of this directory's snapshots.
        clones: Option<ObjectId>,
        /// Zero.
        pad: [u64; 13],
    }

    /// A dataset (`dsl_dataset_phys_t`).
    pub DatasetPhys[320] {
        /// Its directory.
        dir: ObjectId,
        /// The previous snapshot; the origin for the first one.
        prev_snapshot: Option<ObjectId>,
        /// The creation txg of the previous snapshot.
        prev_snapshot_txg: Txg,
        /// The next snapshot, or the head. Only snapshots have it.
        next: Option<ObjectId>,
        /// ZAP of the snapshots' names. Only heads have it.
        snapshot_names: Option<ObjectId>,
        /// The number of clones plus 1 for a snapshot, 0 for a head.
        children: u64,
        /// Creation time, seconds since 1970.
        creation_time: u64,
        /// The transaction group in which it was created.
        creation_txg: Txg,
        /// Its deadlist.
        deadlist: Option<ObjectId>,
        /// Bytes that it references.
        referenced_bytes: u64,
        /// These bytes as stored.
        compressed_bytes: u64,
        /// These bytes before compression.
        uncompressed_bytes: u64,
        /// Bytes that only it references.
        unique_bytes: u64,
        /// Its number in mounts.
        fsid_guid: u64,
        /// Its guid. A snapshot keeps it when it is sent and received.
        guid: Guid,
        /// Flags.
        flags: DatasetFlags,
        /// Root of its object set.
        root: BlockPointer,
        /// ZAP of the first datasets of its clones. Only snapshots have it.
        next_clones: Option<ObjectId>,
        /// ZAP of properties. Only snapshots have it.
        props: Option<ObjectId>,
        /// ZAP of holds. Only snapshots have it.
        holds: Option<ObjectId>,
        /// Zero.
        pad: [u64; 5],
    }
}

bitflags! {
    /// `dd_flags`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct DirFlags: u64 {
        /// The breakdown of used space is maintained.
        const USED_BREAKDOWN = 1 << 0;
        const _ = !0;
    }

    /// `ds_flags`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct DatasetFlags: u64 {
        /// A receive or destroy is incomplete: the content must not be used.
        const INCONSISTENT = 1 << 0;
        /// The dataset must not be promoted.
        const NO_PROMOTE = 1 << 1;
        /// `unique_bytes` is accurate.
        const UNIQUE_ACCURATE = 1 << 2;
        /// The snapshot is destroyed when nothing needs it any more.
        const DEFER_DESTROY = 1 << 3;
        /// Names are case-insensitive.
        const CASE_INSENSITIVE = 1 << 16;
        const _ = !0;
    }
}

field_by_flags! { DirFlags as u64, DatasetFlags as u64 }

/// Reads a structure at the start of a bonus buffer.
fn of_bonus<T>(found: Option<T>, bonus: &[u8], what: &'static str, need: usize) -> Result<T> {
    found.ok_or_else(|| Error::corrupt(what, format!("bonus is {} bytes, expected {need}", bonus.len())))
}

impl DirPhys {
    /// Reads the directory in a bonus buffer.
    ///
    /// # Errors
    /// Fails if the buffer is too short.
    pub(crate) fn of_bonus(bonus: &[u8]) -> Result<Self> {
        of_bonus(Self::read(bonus, ByteOrder::Little), bonus, "DSL directory", Self::LEN)
    }

    /// Returns `true` if [`breakdown`](Self::breakdown) is maintained.
    #[must_use]
    pub(crate) fn has_breakdown(&self) -> bool {
        self.flags.contains(DirFlags::USED_BREAKDOWN)
    }
}

impl DatasetPhys {
    /// Reads the dataset in a bonus buffer.
    ///
    /// # Errors
    /// Fails if the buffer is too short.
    pub(crate) fn of_bonus(bonus: &[u8]) -> Result<Self> {
        of_bonus(Self::read(bonus, ByteOrder::Little), bonus, "DSL dataset", Self::LEN)
    }

    /// Returns `true` if it is a snapshot.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        self.children != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_bonus_buffers_are_errors() {
        let error = DirPhys::of_bonus(&[0; 255]).unwrap_err().to_string();
        assert_eq!(error, "corrupt DSL directory: bonus is 255 bytes, expected 256");
        assert!(DatasetPhys::of_bonus(&[0; 319]).is_err());
    }

    #[test]
    fn fields_lie_where_the_format_says() {
        let mut bonus = [0; DatasetPhys::LEN];
        for (at, value) in [(0, 5), (40, 1), (112, 0xabc), (120, 1 << 16), (272, 9)] {
            ByteOrder::Little.put_u64(&mut bonus[at..], value);
        }
        let phys = DatasetPhys::of_bonus(&bonus).unwrap();
        assert_eq!((phys.dir, phys.guid, phys.holds), (ObjectId(5), Guid(0xabc), Some(ObjectId(9))));
        assert!(phys.is_snapshot() && phys.flags.contains(DatasetFlags::CASE_INSENSITIVE));
        assert!(phys.root.is_hole());
    }

    zstream_format::round_trips! { UsedBreakdown, DirPhys, DatasetPhys }
}
