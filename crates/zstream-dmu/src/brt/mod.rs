//! Block reference tables: blocks to which several block pointers refer (block cloning).
//!
//! ```text
//! directory of the MOS
//!   com.fudosecurity:brt:vdev:N -> table of top-level vdev N    bonus: sums, object of the entries
//!                                    content: u16 per region of 16 MiB, the number of entries in it
//!                                    entries: ZAP, offset of the first copy -> number of additional references
//! ```
//!
//! A block without an entry has one reference. A block with an entry of `n` has `n + 1` block pointers, and the first
//! `n` of them that are freed only decrement the entry. Whether a region has entries is known without reading the
//! entries, so that most frees cost nothing. A vdev without entries has no table, and the counts of the features
//! `block_cloning` and `block_cloning_endian` are the numbers of tables.
//!
//! | integers | byte order |
//! | --- | --- |
//! | counts of regions | that of the host that created the table, recorded in the bonus |
//! | entries with `block_cloning_endian` | big-endian integers of the ZAP, as all others |
//! | entries without it | arrays of 8 bytes in the byte order of the host that wrote the entry |

mod counts;
mod references;
mod table;

pub(crate) use self::references::{Pending, References};
pub use self::table::{Table, Totals};

use zstream_format::object_type::ObjectType;
use zstream_format::structure;

/// The size of the regions of new tables in bytes (`BRT_RANGESIZE`).
pub(crate) const REGION_BYTES: u64 = 16 << 20;

/// The size of a block of counts in bytes (`BRT_BLOCKSIZE`).
pub(crate) const COUNTS_BLOCK_BYTES: u32 = 32 << 10;

/// The binary logarithm of the size of the blocks of entries, and of their indirect blocks (`brt_zap_default_bs`,
/// `brt_zap_default_ibs`).
pub(crate) const ENTRIES_SHIFT: u8 = 13;

/// The type of the ZAP of entries (`DMU_OTN_ZAP_METADATA`).
pub(crate) const ENTRIES_TYPE: ObjectType = ObjectType(0xc4);

/// The type of the counts and of their bonus (`DMU_OTN_UINT64_METADATA`).
pub(crate) const COUNTS_TYPE: ObjectType = ObjectType(0xc3);

/// Returns the name of the table of a top-level vdev in the directory of the MOS (`BRT_OBJECT_VDEV_PREFIX`).
pub(crate) fn directory_name(vdev: u32) -> String {
    format!("com.fudosecurity:brt:vdev:{vdev}")
}

structure! {
    /// The bonus of a table (`brt_vdev_phys_t`).
    pub(crate) TablePhys[56] {
        /// The object of the entries.
        entries: u64,
        /// The number of regions.
        regions: u64,
        /// The byte order of the counts: 0 for little-endian, 1 for big-endian.
        byte_order: u64,
        /// The number of entries.
        total: u64,
        /// The size of a region in bytes.
        region_bytes: u64,
        /// The allocated bytes of blocks with an entry.
        used_bytes: u64,
        /// The bytes that the additional references would occupy.
        saved_bytes: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    zstream_format::round_trips! { TablePhys }
}
