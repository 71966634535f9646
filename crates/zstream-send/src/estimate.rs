//! How long a stream will be.
//!
//! The estimate of `zfs send -nv` reads no content. It takes what is referenced, or was written since, for blocks of the
//! dataset's record size that each have a record, and leaves out what their pointers take:
//!
//! ```text
//! blocks = uncompressed bytes / record size
//! size   = bytes (compressed where the stream is) - 128 * blocks + 312 * blocks + BEGIN and END
//! ```
//!
//! It is known to be off where blocks are small or compressed away; the true length is what
//! [`measure`](crate::measure) finds.

use std::num::NonZero;

use zstream_dmu::object_set::ObjectSet as _;
use zstream_dsl::dataset::Dataset;
use zstream_dsl::error::{Error, Result};
use zstream_dsl::prop;
use zstream_format::object_type::ObjsetType;
use zstream_format::record::HEADER_LEN;

use crate::line::Sizes;

const BLOCK_POINTER_BYTES: u64 = 128;
/// Record sizes where none is set. That of a volume is never set as a property: the kernel counts with the default,
/// whatever the volume has.
const RECORD_BYTES: u64 = 128 << 10;
const VOLUME_BLOCK_BYTES: u64 = 16 << 10;

/// The estimate for `sizes` of a dataset (`dmu_adjust_send_estimate_for_indirects`), with blocks of `record_bytes` or, where
/// that is none, of its own size.
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
        .ok_or_else(|| Error::corrupt("property", format!("{} has a {name} of 0", dataset.name())))?;
    let bytes = if compressed { sizes.compressed } else { sizes.uncompressed };
    let record = HEADER_LEN as u64;
    Ok(bytes
        .wrapping_sub(blocks.wrapping_mul(BLOCK_POINTER_BYTES))
        .wrapping_add(blocks.wrapping_mul(record))
        .wrapping_add(2 * record))
}
