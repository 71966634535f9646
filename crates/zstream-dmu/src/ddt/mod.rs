//! Deduplication tables: blocks to which several block pointers refer because their content is the same.
//!
//! ```text
//! directory of the MOS
//!   DDT-statistics           -> ZAP, name of an object of entries -> histogram of its entries
//!   DDT-CHECKSUM-zap-CLASS   -> ZAP of entries                            legacy table of a checksum function
//!   DDT-CHECKSUM             -> directory of a table                      fast table (feature fast_dedup)
//!                                 version, flags
//!                                 DDT-CHECKSUM-zap-CLASS -> ZAP of entries
//!                                 DDT-log-CHECKSUM-N     -> log of entries, N is 0 or 1
//! ```
//!
//! An entry has a [`Key`], which follows from the stored content, and [variants](Variant): blocks with that content,
//! each with its number of references. Legacy entries have four variants, chosen by the number of copies, and entries
//! of fast tables have one. All entries of a key are in the object of one class: `duplicate` if there are several
//! references, otherwise `unique`. Nothing is written to the obsolete class `ditto`.
//!
//! Changed entries of fast tables are appended to a log, and replace those in the objects until they are moved there.
//! The [`Histogram`] of an object counts its entries, but not those that the log replaces.

mod entry;
mod histogram;
mod log;
mod references;
mod table;

pub use self::entry::{Entry, Key, Variant};
pub use self::histogram::{Histogram, Statistics};
pub(crate) use self::references::{Found, References, Stored, Touched};
pub(crate) use self::table::directory_name;
pub use self::table::{Class, Table, Totals};

use zstream_format::algorithm::ChecksumType;
use zstream_format::object_type::ObjectType;

/// The entry of the MOS's directory that refers to the histograms.
pub(crate) const STATISTICS: &str = "DDT-statistics";

/// The checksum functions that tables may have (`DDT_CHECKSUM_VALID`).
pub(crate) const CHECKSUMS: [ChecksumType; 5] = [
    ChecksumType::SHA256,
    ChecksumType::SHA512,
    ChecksumType::SKEIN,
    ChecksumType::EDONR,
    ChecksumType::BLAKE3,
];

/// The property of a pool that limits the allocated bytes of its tables: 0 for no limit, and the largest number for the
/// size of the vdevs that are for them.
pub(crate) const QUOTA: &str = "dedup_table_quota";

/// The binary logarithm of the size of the blocks of entries, and of their indirect blocks (`ddt_zap_default_bs`,
/// `ddt_zap_default_ibs`).
pub(crate) const ENTRIES_SHIFT: u8 = 15;

/// The type of logs and of their bonus (`DMU_OTN_UINT64_METADATA`).
pub(crate) const LOG_TYPE: ObjectType = ObjectType(0xc3);

/// The type of the directories of fast tables (`DMU_OTN_ZAP_METADATA`).
pub(crate) const DIRECTORY_TYPE: ObjectType = ObjectType(0xc4);

/// The version of fast tables (`DDT_VERSION_FDT`).
pub(crate) const VERSION_FAST: u64 = 1;

/// The flag of tables whose entries have one variant (`DDT_FLAG_FLAT`).
pub(crate) const FLAG_FLAT: u64 = 1;

/// The flag of tables with logs (`DDT_FLAG_LOG`).
pub(crate) const FLAG_LOG: u64 = 2;
