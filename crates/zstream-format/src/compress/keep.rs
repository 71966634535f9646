//! The rules by which a compressed block is used: that of pools and that of `zstream recompress`.

use super::{CodecError, ZstdLevel, compress};
use crate::algorithm::CompressionType;

/// The maximum payload of an embedded block pointer in bytes (`BPE_PAYLOAD_SIZE`).
pub const EMBEDDED_PAYLOAD_MAX: usize = 112;

/// The unit to which payloads in streams are padded, in bytes (`SPA_MINBLOCKSIZE`).
const SECTOR: usize = 512;

/// Compresses the payload of a WRITE record as `zstream recompress` does, padded with zeros to 512 bytes.
///
/// Returns `None` if the padded payload would be as long as the block; the record then contains the block
/// uncompressed.
///
/// # Errors
///
/// Fails like [`compress_into`](super::compress_into).
pub fn compress_for_stream(
    kind: CompressionType,
    level: Option<ZstdLevel>,
    block: &[u8],
) -> Result<Option<Vec<u8>>, CodecError> {
    let Some(mut payload) = compress(kind, level, block, block.len())? else { return Ok(None) };
    let padded = payload.len().next_multiple_of(SECTOR);
    if padded >= block.len() {
        return Ok(None);
    }
    payload.resize(padded, 0);
    Ok(Some(payload))
}

/// The form in which a pool stores a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskForm {
    /// A hole: the block is all zeros.
    Hole,
    /// Embedded in the block pointer: at most [`EMBEDDED_PAYLOAD_MAX`] bytes, without padding.
    Embedded(Vec<u8>),
    /// Compressed and padded with zeros to the physical size.
    Compressed(Vec<u8>),
    /// Uncompressed, with compression `OFF`.
    Plain,
}

/// Compresses a block of a pool and decides in which form it is stored (`zio_write_compress` and
/// `zio_get_compression_max_size`).
///
/// The payload may be at most seven eighths of the block; except for zle, that limit is rounded down to the
/// allocation unit of 2^`ashift` bytes. If the limit is less than a unit, the block can only be embedded. The
/// physical size is rounded up to the unit. Set `embed` if this block may be embedded: the pool has the feature,
/// and the block is at level 0, not of a type with a fill count, not deduplicated and not encrypted. With `OFF`
/// the form is always `Plain`.
///
/// # Errors
///
/// Fails like [`compress_into`](super::compress_into).
///
/// # Panics
///
/// Panics if `ashift` is not in 9 to 16, the range of pools.
pub fn compress_for_disk(
    kind: CompressionType,
    level: Option<ZstdLevel>,
    block: &[u8],
    ashift: u8,
    embed: bool,
) -> Result<DiskForm, CodecError> {
    assert!((9..=16).contains(&ashift), "ashift is {ashift}, expected 9 to 16");
    if kind == CompressionType::OFF {
        return Ok(DiskForm::Plain);
    }
    if is_zero(block) {
        return Ok(DiskForm::Hole);
    }
    let unit = 1 << ashift;
    let Some(mut payload) = compress(kind, level, block, disk_limit(kind, block.len(), unit))? else {
        return Ok(DiskForm::Plain);
    };
    if embed && payload.len() <= EMBEDDED_PAYLOAD_MAX {
        return Ok(DiskForm::Embedded(payload));
    }
    let physical = payload.len().next_multiple_of(unit);
    if physical >= block.len() {
        return Ok(DiskForm::Plain);
    }
    payload.resize(physical, 0);
    Ok(DiskForm::Compressed(payload))
}

/// The maximum useful payload in bytes.
fn disk_limit(kind: CompressionType, logical: usize, unit: usize) -> usize {
    let saved = logical - logical / 8;
    if kind == CompressionType::ZLE {
        return saved;
    }
    match saved - saved % unit {
        0 => EMBEDDED_PAYLOAD_MAX,
        limit => limit,
    }
}

/// Returns `true` if all bytes are zero; compares sixteen at a time.
fn is_zero(block: &[u8]) -> bool {
    let (chunks, rest) = block.as_chunks::<16>();
    chunks.iter().all(|chunk| u128::from_ne_bytes(*chunk) == 0) && rest.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from `zio_get_compression_max_size` of libzpool 2.3.2.
    #[test]
    fn limits_are_those_of_libzpool() {
        let sizes = [512, 1024, 1536, 4096, 4608, 5120, 8192, 131_072, 131_584];
        for (kind, ashift, limits) in [
            (CompressionType::LZ4, 9, [112, 512, 1024, 3584, 3584, 4096, 7168, 114_688, 114_688]),
            (CompressionType::LZ4, 12, [112, 112, 112, 112, 112, 4096, 4096, 114_688, 114_688]),
            (CompressionType::ZLE, 9, [448, 896, 1344, 3584, 4032, 4480, 7168, 114_688, 115_136]),
            (CompressionType::ZLE, 12, [448, 896, 1344, 3584, 4032, 4480, 7168, 114_688, 115_136]),
        ] {
            for (size, limit) in sizes.into_iter().zip(limits) {
                assert_eq!(disk_limit(kind, size, 1 << ashift), limit, "{kind} {size} ashift {ashift}");
            }
        }
    }
}
