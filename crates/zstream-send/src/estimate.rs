//! Estimates of the length of a stream.
//!
//! The estimate of `zfs send -nv` reads no content. It assumes that the referenced or written space consists of blocks of
//! the record size of the dataset, with a record for each, and subtracts the space of their pointers:
//!
//! ```text
//! blocks = uncompressed bytes / record size
//! size   = bytes (compressed if the stream is) - 128 * blocks + 312 * blocks + BEGIN and END
//! ```
//!
//! The estimate is inaccurate if blocks are small or compress to holes; [`measure`](crate::measure) finds the exact
//! length.

use std::num::NonZero;

use zstream_dmu::object_set::ObjectSet as _;
use zstream_dsl::dataset::Dataset;
use zstream_dsl::error::{Error, Result};
use zstream_dsl::prop;
use zstream_format::object_type::ObjsetType;
use zstream_format::record::HEADER_LEN;

use crate::line::Sizes;

const BLOCK_POINTER_BYTES: u64 = 128;
/// The default record size of a filesystem. That of a volume is never set as a property, so the kernel always uses the
/// default for volumes.
const RECORD_BYTES: u64 = 128 << 10;
const VOLUME_BLOCK_BYTES: u64 = 16 << 10;

/// Returns the estimate for `sizes` of a dataset (`dmu_adjust_send_estimate_for_indirects`), with blocks of `record_bytes`,
/// or of the record size of the dataset if that is `None`.
pub(crate) fn estimate(
    dataset: &Dataset,
    sizes: Sizes,
    compressed: bool,
    record_bytes: Option<NonZero<u64>>,
) -> Result<u64> {
    let is_volume =
        !dataset.phys().root.is_hole() && dataset.objset_locked()?.objset_type() == ObjsetType::ZVOL;
    let (name, default) =
        if is_volume { ("volblocksize", VOLUME_BLOCK_BYTES) } else { ("recordsize", RECORD_BYTES) };
    let record_bytes = match record_bytes {
        Some(bytes) => bytes.get(),
        None => prop::stored_number(dataset, name)?.unwrap_or(default),
    };
    let blocks = sizes
        .uncompressed
        .checked_div(record_bytes)
        .ok_or_else(|| Error::corrupt("property", format!("{name} of {} is 0", dataset.name())))?;
    let bytes = if compressed { sizes.compressed } else { sizes.uncompressed };
    let record = HEADER_LEN as u64;
    Ok(bytes
        .wrapping_sub(blocks.wrapping_mul(BLOCK_POINTER_BYTES))
        .wrapping_add(blocks.wrapping_mul(record))
        .wrapping_add(2 * record))
}
