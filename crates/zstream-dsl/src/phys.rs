//! What the DSL keeps in bonus buffers: directories and datasets.
//!
//! A *directory* (`dsl_dir_phys_t`, 256 bytes) is a name in the tree with its space accounting; a
//! *dataset* (`dsl_dataset_phys_t`, 320 bytes) is a root block pointer with its history. A directory has one
//! head dataset, and the snapshots of that.

use bitflags::bitflags;
use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::ids::{Guid, ObjectId, Txg};
use zstream_format::order::ByteOrder;

use crate::error::{Error, Result};

/// Bytes of a directory's bonus buffer.
pub const DIR_PHYS_BYTES: usize = 256;
/// Bytes of a dataset's bonus buffer.
pub const DATASET_PHYS_BYTES: usize = 320;

fn words<'a>(bonus: &'a [u8], what: &'static str, need: usize) -> Result<impl Fn(usize) -> u64 + 'a> {
    if bonus.len() < need {
        return Err(Error::corrupt(what, format!("bonus of {} bytes, expected {need}", bonus.len())));
    }
    Ok(move |at: usize| ByteOrder::Little.u64(&bonus[at..]))
}

/// An object number where 0 means that there is none.
fn optional(number: u64) -> Option<ObjectId> {
    (number != 0).then_some(ObjectId(number))
}

/// How the space of a directory is made up (`dd_used_breakdown`), in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsedBreakdown {
    /// Used by the head dataset.
    pub head: u64,
    /// Used by snapshots.
    pub snapshots: u64,
    /// Used by children.
    pub children: u64,
    /// Reserved by children and not used yet.
    pub child_reservations: u64,
    /// Reserved for the head dataset by its refreservation.
    pub refreservation: u64,
}

/// `dsl_dir_phys_t`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirPhys {
    /// Creation time, seconds since 1970.
    pub creation_time: u64,
    /// The head dataset; none in `$MOS` and `$FREE`.
    pub head: Option<ObjectId>,
    /// The parent directory; none at the root.
    pub parent: Option<ObjectId>,
    /// The snapshot this is a clone of: for an ordinary filesystem `$ORIGIN@$ORIGIN`.
    pub origin: Option<ObjectId>,
    /// ZAP of the children's names.
    pub children: Option<ObjectId>,
    /// Bytes used, with all below.
    pub used_bytes: u64,
    /// Bytes as stored.
    pub compressed_bytes: u64,
    /// Bytes before compression.
    pub uncompressed_bytes: u64,
    /// Quota in bytes, 0 for none.
    pub quota_bytes: u64,
    /// Reservation in bytes.
    pub reserved_bytes: u64,
    /// ZAP of properties.
    pub props: Option<ObjectId>,
    /// ZAP of delegated permissions.
    pub permissions: Option<ObjectId>,
    /// Whether [`breakdown`](Self::breakdown) is kept.
    pub has_breakdown: bool,
    /// How `used_bytes` is made up.
    pub breakdown: UsedBreakdown,
    /// ZAP of the heads of the clones of this directory's snapshots.
    pub clones: Option<ObjectId>,
}

impl DirPhys {
    /// Reads it from a bonus buffer.
    ///
    /// # Errors
    /// When the buffer is too short.
    pub fn parse(bonus: &[u8]) -> Result<Self> {
        let word = words(bonus, "DSL directory", DIR_PHYS_BYTES)?;
        Ok(Self {
            creation_time: word(0),
            head: optional(word(8)),
            parent: optional(word(16)),
            origin: optional(word(24)),
            children: optional(word(32)),
            used_bytes: word(40),
            compressed_bytes: word(48),
            uncompressed_bytes: word(56),
            quota_bytes: word(64),
            reserved_bytes: word(72),
            props: optional(word(80)),
            permissions: optional(word(88)),
            has_breakdown: word(96) & 1 != 0,
            breakdown: UsedBreakdown {
                head: word(104),
                snapshots: word(112),
                children: word(120),
                child_reservations: word(128),
                refreservation: word(136),
            },
            clones: optional(word(144)),
        })
    }
}

impl DirPhys {
    /// Writes it over a bonus buffer; what has no name here stays.
    ///
    /// # Errors
    /// When the buffer is too short.
    pub fn store_into(&self, bonus: &mut [u8]) -> Result<()> {
        let flags = words(bonus, "DSL directory", DIR_PHYS_BYTES)?(96);
        let used = &self.breakdown;
        put(
            bonus,
            0,
            &[
                self.creation_time,
                number(self.head),
                number(self.parent),
                number(self.origin),
                number(self.children),
                self.used_bytes,
                self.compressed_bytes,
                self.uncompressed_bytes,
                self.quota_bytes,
                self.reserved_bytes,
                number(self.props),
                number(self.permissions),
                flags & !1 | u64::from(self.has_breakdown),
                used.head,
                used.snapshots,
                used.children,
                used.child_reservations,
                used.refreservation,
                number(self.clones),
            ],
        );
        Ok(())
    }
}

/// 0 stands for none.
fn number(object: Option<ObjectId>) -> u64 {
    object.map_or(0, |object| object.0)
}

fn put(bonus: &mut [u8], at: usize, words: &[u64]) {
    for (out, word) in bonus[at..].chunks_exact_mut(8).zip(words) {
        ByteOrder::Little.put_u64(out, *word);
    }
}

bitflags! {
    /// `ds_flags`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct DatasetFlags: u64 {
        /// A receive or destroy is under way: the content is not to be used.
        const INCONSISTENT = 1 << 0;
        /// Must not be promoted.
        const NO_PROMOTE = 1 << 1;
        /// `unique_bytes` is right.
        const UNIQUE_ACCURATE = 1 << 2;
        /// To be destroyed once nothing needs it.
        const DEFER_DESTROY = 1 << 3;
        /// Names are case-insensitive.
        const CASE_INSENSITIVE = 1 << 16;
        const _ = !0;
    }
}

/// `dsl_dataset_phys_t`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetPhys {
    /// The directory it belongs to.
    pub dir: ObjectId,
    /// The snapshot before it; of the first one the origin.
    pub prev_snapshot: Option<ObjectId>,
    /// Creation txg of that.
    pub prev_snapshot_txg: Txg,
    /// Of a snapshot: the one after it, or the head.
    pub next: Option<ObjectId>,
    /// Of a head: ZAP of its snapshots' names.
    pub snapshot_names: Option<ObjectId>,
    /// Of a snapshot: 1 and the number of clones. Of a head 0.
    pub children: u64,
    /// Creation time, seconds since 1970.
    pub creation_time: u64,
    /// The transaction group it was created in.
    pub creation_txg: Txg,
    /// Its deadlist.
    pub deadlist: Option<ObjectId>,
    /// Bytes that are reachable from it.
    pub referenced_bytes: u64,
    /// Those as stored.
    pub compressed_bytes: u64,
    /// Those before compression.
    pub uncompressed_bytes: u64,
    /// Bytes that are reachable from it alone.
    pub unique_bytes: u64,
    /// Its number in mounts.
    pub fsid_guid: u64,
    /// Its guid; of a snapshot the same wherever it was received.
    pub guid: Guid,
    /// Flags.
    pub flags: DatasetFlags,
    /// Root of its object set.
    pub root: BlockPointer,
    /// Of a snapshot: ZAP of the first datasets of its clones.
    pub next_clones: Option<ObjectId>,
    /// Of a snapshot: ZAP of properties.
    pub props: Option<ObjectId>,
    /// Of a snapshot: ZAP of holds.
    pub holds: Option<ObjectId>,
}

impl DatasetPhys {
    /// Reads it from a bonus buffer.
    ///
    /// # Errors
    /// When the buffer is too short.
    pub fn parse(bonus: &[u8]) -> Result<Self> {
        let word = words(bonus, "DSL dataset", DATASET_PHYS_BYTES)?;
        let root = BlockPointer::parse_at(bonus, 128, ByteOrder::Little)
            .ok_or_else(|| Error::corrupt("DSL dataset", "no room for a root block pointer"))?;
        Ok(Self {
            dir: ObjectId(word(0)),
            prev_snapshot: optional(word(8)),
            prev_snapshot_txg: Txg(word(16)),
            next: optional(word(24)),
            snapshot_names: optional(word(32)),
            children: word(40),
            creation_time: word(48),
            creation_txg: Txg(word(56)),
            deadlist: optional(word(64)),
            referenced_bytes: word(72),
            compressed_bytes: word(80),
            uncompressed_bytes: word(88),
            unique_bytes: word(96),
            fsid_guid: word(104),
            guid: Guid(word(112)),
            flags: DatasetFlags::from_bits_retain(word(120)),
            root,
            next_clones: optional(word(256)),
            props: optional(word(264)),
            holds: optional(word(272)),
        })
    }

    /// Whether it is a snapshot.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        self.children != 0
    }

    /// Writes it over a bonus buffer; what has no name here stays.
    ///
    /// # Errors
    /// When the buffer is too short.
    pub fn store_into(&self, bonus: &mut [u8]) -> Result<()> {
        drop(words(bonus, "DSL dataset", DATASET_PHYS_BYTES)?);
        put(
            bonus,
            0,
            &[
                self.dir.0,
                number(self.prev_snapshot),
                self.prev_snapshot_txg.0,
                number(self.next),
                number(self.snapshot_names),
                self.children,
                self.creation_time,
                self.creation_txg.0,
                number(self.deadlist),
                self.referenced_bytes,
                self.compressed_bytes,
                self.uncompressed_bytes,
                self.unique_bytes,
                self.fsid_guid,
                self.guid.0,
                self.flags.bits(),
            ],
        );
        bonus[128..256].copy_from_slice(&self.root.encode(ByteOrder::Little));
        put(bonus, 256, &[number(self.next_clones), number(self.props), number(self.holds)]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_bonus_buffers_are_errors() {
        let error = DirPhys::parse(&[0; 255]).unwrap_err().to_string();
        assert_eq!(error, "bad DSL directory: bonus of 255 bytes, expected 256");
        assert!(DatasetPhys::parse(&[0; 319]).is_err());
    }

    #[test]
    fn fields_lie_where_the_format_says() {
        let mut bonus = [0; DATASET_PHYS_BYTES];
        for (at, value) in [(0, 5), (40, 1), (112, 0xabc), (120, 1 << 16), (272, 9)] {
            ByteOrder::Little.put_u64(&mut bonus[at..], value);
        }
        let phys = DatasetPhys::parse(&bonus).unwrap();
        assert_eq!((phys.dir, phys.guid, phys.holds), (ObjectId(5), Guid(0xabc), Some(ObjectId(9))));
        assert!(phys.is_snapshot() && phys.flags.contains(DatasetFlags::CASE_INSENSITIVE));
        assert!(phys.root.is_hole());
    }

    #[test]
    fn what_is_read_is_written_back_and_the_rest_stays() {
        let bonus: Vec<u8> = (0..DATASET_PHYS_BYTES).map(|n| (n * 37 + 11) as u8).collect();
        let mut out = bonus.clone();
        DatasetPhys::parse(&bonus).unwrap().store_into(&mut out).unwrap();
        assert_eq!(out, bonus);
        DirPhys::parse(&bonus).unwrap().store_into(&mut out).unwrap();
        assert_eq!(out, bonus);
        let mut zeros = vec![0; DATASET_PHYS_BYTES];
        DatasetPhys::parse(&bonus).unwrap().store_into(&mut zeros).unwrap();
        assert_eq!((&zeros[..280], &zeros[280..]), (&bonus[..280], &[0; 40][..]));
        assert!(DirPhys::parse(&bonus).unwrap().store_into(&mut [0; 255]).is_err());
    }
}
