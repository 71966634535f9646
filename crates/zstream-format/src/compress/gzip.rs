//! gzip-1 to gzip-9: a zlib stream (RFC 1950: header of 2 bytes, deflate, Adler-32), by zlib-rs.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::CodecFault;

thread_local! {
    /// The inflate state of this thread. Allocating and clearing its 40 KiB costs more than a small block.
    static INFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(true));
    /// The last deflate state of this thread, of 260 KiB, with its level.
    static DEFLATE: RefCell<Option<(u32, Compress)>> = const { RefCell::new(None) };
}

pub(super) fn decompress(src: &[u8], dst: &mut [u8]) -> Result<(), CodecFault> {
    INFLATE.with_borrow_mut(|inflate| {
        inflate.reset(true);
        let status = inflate.decompress(src, dst, FlushDecompress::Finish);
        let expected = dst.len();
        // Both counts are at most a slice's length.
        let (at, made) = (inflate.total_in() as usize, inflate.total_out() as usize);
        match status {
            Ok(Status::StreamEnd) if made == expected => Ok(()),
            Ok(Status::StreamEnd) => Err(CodecFault::Short { at, made, expected }),
            Ok(Status::Ok | Status::BufError) if at < src.len() => Err(CodecFault::Overlong { at, expected }),
            Ok(Status::Ok | Status::BufError) => Err(CodecFault::Truncated { at, made, expected }),
            Err(error) => Err(CodecFault::Damaged { reason: error.to_string(), at }),
        }
    })
}

/// The lowest level in use. Level 1 of zlib-rs writes fixed Huffman codes only; its output is larger than that of
/// level 1 of zlib by a fifth to two times. Its level 2 gives the size of level 1 of zlib and is as fast.
const LEVEL_MIN: u32 = 2;

/// Compresses like `gzip-{level}`; `level` is 1 to 9.
pub(super) fn compress(level: u32, src: &[u8], dst: &mut [u8]) -> Result<Option<usize>, CodecFault> {
    let level = level.max(LEVEL_MIN);
    DEFLATE.with_borrow_mut(|kept| {
        let mut deflate = match kept.take() {
            Some((kept_level, mut deflate)) if kept_level == level => {
                deflate.reset();
                deflate
            }
            _ => Compress::new(Compression::new(level), true),
        };
        let outcome = match deflate.compress(src, dst, FlushCompress::Finish) {
            // At most the length of `dst`.
            Ok(Status::StreamEnd) => Ok(Some(deflate.total_out() as usize)),
            Ok(Status::Ok | Status::BufError) => Ok(None),
            Err(error) => Err(CodecFault::Library { reason: error.to_string() }),
        };
        *kept = Some((level, deflate));
        outcome
    })
}
