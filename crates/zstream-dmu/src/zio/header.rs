//! Gang headers (`zio_gbh_phys_t`).
//!
//! ```text
//!  0         128       256                    size - 128          size - 40                size
//!  +---------+---------+----  ...  -----------+-------------------+------------------------+
//!  | piece 0 | piece 1 |  pieces, then holes  | 88 unused bytes   | embedded checksum      |
//!  +---------+---------+----  ...  -----------+-------------------+------------------------+
//! ```
//!
//! A header is 512 bytes with three pointers. With the feature `dynamic_gang_header`, a header fills the smallest
//! allocation of its vdevs, and has as many pointers as fit. Both sizes occur in one pool, and nothing records the
//! size of a header: a reader verifies the larger one first.

use zstream_format::checksum::{
    self, EmbeddedError, seal_embedded, seal_folded, verify_embedded, verify_folded,
};
use zstream_format::order::ByteOrder;

use crate::blkptr::{BLOCK_POINTER_BYTES, BlockPointer, SECTOR_BYTES};
use crate::error::{Error, Result};

/// The size of a gang header without `dynamic_gang_header` (`SPA_OLD_GANGBLOCKSIZE`): what is allocated for a header
/// of any size.
pub(crate) const HEADER_BYTES_MIN: usize = SECTOR_BYTES as usize;

/// The number of pointers in a header of [`HEADER_BYTES_MIN`].
#[cfg(test)]
pub(crate) const PIECES_MIN: usize = pieces_max(HEADER_BYTES_MIN);

/// Returns the number of pointers in a gang header of `bytes` (`gbh_nblkptrs`).
pub(crate) const fn pieces_max(bytes: usize) -> usize {
    (bytes - checksum::EMBEDDED_SIZE) / BLOCK_POINTER_BYTES
}

/// The location of a gang header, which its checksum includes: the vdev and offset of the first address, and the
/// physical birth.
pub(super) type Place = [u64; 4];

/// Encodes a gang header of `bytes`. `is_cut` is `true` if the checksum in the pointer of the block is truncated for a
/// MAC.
///
/// # Errors
/// Fails if the checksum cannot be computed.
pub(super) fn encode(pieces: &[BlockPointer], bytes: usize, place: Place, is_cut: bool) -> Result<Vec<u8>> {
    if pieces.len() > pieces_max(bytes) {
        return Err(Error::internal(format!("{} pieces in a gang header of {bytes} bytes", pieces.len())));
    }
    let mut header = pieces.iter().flat_map(|piece| piece.encode(ByteOrder::Little)).collect::<Vec<u8>>();
    header.resize(bytes, 0);
    let seal = if is_cut { seal_folded } else { seal_embedded };
    seal(&mut header, place, ByteOrder::Little)?;
    Ok(header)
}

/// Returns the part of `bytes` that is a gang header with an intact checksum, and its byte order: all bytes, or the
/// first [`HEADER_BYTES_MIN`].
///
/// # Errors
/// Fails if neither is one.
pub(super) fn find(bytes: &[u8], place: Place, is_cut: bool) -> Result<(&[u8], ByteOrder), EmbeddedError> {
    let verify = if is_cut { verify_folded } else { verify_embedded };
    match (verify(bytes, place), bytes.get(..HEADER_BYTES_MIN)) {
        (Err(_), Some(first)) if first.len() < bytes.len() => Ok((first, verify(first, place)?)),
        (whole, _) => Ok((bytes, whole?)),
    }
}

/// Parses the pointers of an intact gang header.
pub(super) fn parse(header: &[u8], order: ByteOrder) -> Vec<BlockPointer> {
    let (pointers, _) = header.as_chunks();
    pointers.iter().take(pieces_max(header.len())).map(|bytes| BlockPointer::parse(bytes, order)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_the_pointers_that_fit() {
        for (bytes, pieces) in [(512, 3), (1024, 7), (4096, 31), (8192, 63), (65536, 511)] {
            assert_eq!(pieces_max(bytes), pieces);
        }
    }

    #[test]
    fn either_size_is_found_and_no_other_place() {
        let pieces: Vec<_> = (1..=31).map(|n| BlockPointer::from_words([n; 16])).collect();
        let place = [1, 8192, 7, 0];
        for is_cut in [false, true] {
            for (count, bytes) in [(31, 4096), (2, 4096), (3, 512)] {
                let mut block = encode(&pieces[..count], bytes, place, is_cut).unwrap();
                block.resize(4096, 0);
                let (header, order) = find(&block, place, is_cut).unwrap();
                assert_eq!((header.len(), order), (bytes, ByteOrder::Little));
                let found = parse(header, order);
                assert_eq!(found.len(), pieces_max(bytes));
                assert_eq!(found[..count], pieces[..count]);
                assert!(found[count..].iter().all(BlockPointer::is_hole));
                assert!(find(&block, [1, 8192, 8, 0], is_cut).is_err());
                block[17] ^= 1;
                assert!(find(&block, place, is_cut).is_err());
            }
        }
        assert!(encode(&pieces[..4], 512, place, false).is_err());
    }
}
