//! Intent logs (ZIL): whether one has records that were not replayed.
//!
//! A log is a chain of blocks. Each is written once, some time after the pointer to it: what the last pointer leads to is no
//! log block, and that is how the chain ends.
//!
//! ```text
//! block of a log    0 u64 padding   8 pointer to the next block   136 u64 bytes used
//!                 144 u64 magic of embedded checksums   152 u64[4] checksum   184 records
//! ```
//!
//! The checksum covers the used bytes, rounded up to 4 KiB, with the words of the pointer's checksum in its own place.

use std::cell::Cell;

use zstream_format::algorithm::ChecksumType;
use zstream_format::checksum::checksum;
use zstream_format::order::ByteOrder;

use crate::blkptr::BlockPointer;
use crate::error::{Error, Result};
use crate::vdev::{Effort, Reading};
use crate::zio::BlockReader;

/// Where a log block says how much of it is used, and where its magic number and its checksum are.
const USED: usize = 136;
const MAGIC: usize = 144;
const SUM: std::ops::Range<usize> = 152..184;

/// The magic number of embedded checksums (`ZEC_MAGIC`).
const EMBEDDED_MAGIC: u64 = 0x0210_da7a_b10c_7a11;

/// Checksums cover multiples of this (`ZIL_MIN_BLKSZ`).
const UNIT_BYTES: u64 = 4 << 10;

/// Whether the block that `log` leads to, the first of a chain, has records.
///
/// # Errors
///
/// No copy can be read, or the log is of a pool version before 26.
pub fn has_records(reader: &BlockReader, log: &BlockPointer) -> Result<bool> {
    if log.is_hole() {
        return Ok(false);
    }
    if log.checksum_type() != ChecksumType::ZILOG2 {
        return Err(Error::unsupported(format!("an intent log with checksum {}", log.checksum_type())));
    }
    let mut out = vec![0; log.psize() as usize];
    let mut failed = None;
    for dva in log.dvas() {
        let was_read = Cell::new(false);
        let verify = |bytes: &[u8]| {
            was_read.set(true);
            let is_log = is_log_block(bytes, log.checksum());
            if is_log { Ok(()) } else { Err(Error::corrupt("intent log", "no block of it")) }
        };
        let mut reading = Reading::new(&verify, Effort::AnyCopy);
        match reader.vdevs().read(dva, log.physical_birth(), &mut out, &mut reading) {
            Ok(()) => return Ok(true),
            Err(_) if was_read.get() => {}
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(false), Err)
}

/// Whether the bytes are the block of a log to which the pointer has this checksum.
fn is_log_block(bytes: &[u8], expected: [u64; 4]) -> bool {
    let order = match bytes.get(MAGIC..MAGIC + 8).map(|magic| ByteOrder::Little.u64(magic)) {
        Some(EMBEDDED_MAGIC) => ByteOrder::Little,
        Some(magic) if magic == EMBEDDED_MAGIC.swap_bytes() => ByteOrder::Big,
        _ => return false,
    };
    let used = order.u64(&bytes[USED..]).checked_next_multiple_of(UNIT_BYTES);
    let Some(covered) = used.and_then(|used| bytes.get(..usize::try_from(used).ok()?)) else { return false };
    if covered.len() < SUM.end {
        return false;
    }
    let mut covered = covered.to_vec();
    let stored: Vec<u64> = covered[SUM].chunks_exact(8).map(|word| order.u64(word)).collect();
    for (word, place) in expected.into_iter().zip(covered[SUM].chunks_exact_mut(8)) {
        order.put_u64(place, word);
    }
    checksum(ChecksumType::FLETCHER_4, &covered, order, None).is_ok_and(|sum| sum.0[..] == stored[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(order: ByteOrder, used: u64, seed: [u64; 4]) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..12 << 10).map(|n: u32| (n * 7) as u8).collect();
        order.put_u64(&mut bytes[USED..], used);
        order.put_u64(&mut bytes[MAGIC..], EMBEDDED_MAGIC);
        let covered = used.next_multiple_of(UNIT_BYTES) as usize;
        for (n, word) in seed.into_iter().enumerate() {
            order.put_u64(&mut bytes[SUM.start + 8 * n..], word);
        }
        let sum = checksum(ChecksumType::FLETCHER_4, &bytes[..covered], order, None).unwrap();
        for (n, word) in sum.0.into_iter().enumerate() {
            order.put_u64(&mut bytes[SUM.start + 8 * n..], word);
        }
        bytes
    }

    #[test]
    fn only_the_block_that_the_pointer_waits_for_is_of_the_log() {
        let seed = [11, 22, 54, 1];
        for order in [ByteOrder::Little, ByteOrder::Big] {
            for used in [184, 4096, 4097, 12 << 10] {
                let bytes = block(order, used, seed);
                assert!(is_log_block(&bytes, seed), "{used}");
                // One of an older chain has another sequence number.
                assert!(!is_log_block(&bytes, [11, 22, 54, 2]));
                let mut flipped = bytes.clone();
                flipped[200] ^= 1;
                assert!(!is_log_block(&flipped, seed));
                // What is not used is not covered.
                let mut beyond = bytes.clone();
                beyond.push(1);
                assert!(is_log_block(&beyond, seed));
            }
        }
        assert!(!is_log_block(&block(ByteOrder::Little, 4096, seed)[..4095], seed), "cut short");
        let mut bytes = block(ByteOrder::Little, 184, seed);
        for used in [0, u64::MAX, (12 << 10) + 1] {
            ByteOrder::Little.put_u64(&mut bytes[USED..], used);
            assert!(!is_log_block(&bytes, seed));
        }
        assert!(!is_log_block(&[], seed) && !is_log_block(&[0; 4096], seed));
    }
}
