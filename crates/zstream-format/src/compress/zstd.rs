//! zstd with ZFS's header.
//!
//! ```text
//! 0  u32 BE     n, bytes of the frame
//! 4  u8         level as ZFS numbers it ([`ZstdLevel::cookie`])
//! 5  u8 x 3     version of the zstd library that wrote it, big-endian (1.4.5: 10405, 00 28 a5)
//! 8  n bytes    a zstd frame without its magic number, content size and checksum
//! ```
//!
//! Old versions on big-endian hosts wrote bytes 5 to 7 before byte 4. The highest byte of the version is zero
//! and a level is not, so the position of the zero identifies the order.

use std::cell::RefCell;

use zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, FrameFormat};

use super::{CodecFault, ZstdLevel};

/// The size of the ZFS header in bytes.
const HEADER: usize = 8;

thread_local! {
    /// The decompression context of this thread. Allocating and clearing its 95 KiB costs more than a small block.
    static DECOMPRESS: RefCell<DCtx<'static>> = RefCell::new(magicless_dctx());
    /// The compression context of this thread: 1 MiB to 80 MiB, depending on level and block size. zstd shrinks it
    /// when it is larger than necessary for some time.
    static COMPRESS: RefCell<CCtx<'static>> = RefCell::new(magicless_cctx());
}

fn magicless_dctx() -> DCtx<'static> {
    let mut context = DCtx::create();
    // This cannot fail: every zstd that zstd-safe binds has the parameter and the value.
    context
        .set_parameter(DParameter::Format(FrameFormat::Magicless))
        .expect("magicless frames are supported");
    context
}

fn magicless_cctx() -> CCtx<'static> {
    let mut context = CCtx::create();
    for parameter in [
        CParameter::Format(FrameFormat::Magicless),
        CParameter::ContentSizeFlag(false),
        CParameter::ChecksumFlag(false),
    ] {
        // This cannot fail, as above.
        context.set_parameter(parameter).expect("the parameters of ZFS's frames are supported");
    }
    context
}

pub(super) fn decompress(src: &[u8], dst: &mut [u8]) -> Result<(), CodecFault> {
    let (Some((length, rest)), true) = (src.split_first_chunk::<4>(), src.len() >= HEADER) else {
        return Err(CodecFault::NoHeader { need: HEADER, have: src.len() });
    };
    let (word, frame) = rest.split_at(HEADER - 4);
    let said = u32::from_be_bytes(*length) as usize;
    let Some(frame) = frame.get(..said) else {
        return Err(CodecFault::HeaderLength { said, have: frame.len() });
    };
    stored_level(word.try_into().expect("split at 4 bytes"))?;

    let expected = dst.len();
    match DECOMPRESS.with_borrow_mut(|context| context.decompress(dst, frame)) {
        Ok(made) if made == expected => Ok(()),
        Ok(made) => Err(CodecFault::Short { at: HEADER + said, made, expected }),
        Err(code) if is_no_room(code) => Err(CodecFault::Overlong { at: HEADER, expected }),
        Err(code) => {
            Err(CodecFault::Damaged { reason: zstd_safe::get_error_name(code).to_lowercase(), at: HEADER })
        }
    }
}

/// The level in the header's second word, in either order.
fn stored_level(word: [u8; 4]) -> Result<ZstdLevel, CodecFault> {
    let cookie = match word {
        [0, _, _, level] => level,
        [level, 0, _, _] => level,
        _ => return Err(CodecFault::ZstdVersion { word: u32::from_be_bytes(word) }),
    };
    ZstdLevel::from_cookie(cookie).ok_or(CodecFault::ZstdLevel { cookie })
}

pub(super) fn compress(level: ZstdLevel, src: &[u8], dst: &mut [u8]) -> Result<Option<usize>, CodecFault> {
    let Some((header, room)) = dst.split_first_chunk_mut::<HEADER>() else {
        return Ok(None);
    };
    let made = COMPRESS.with_borrow_mut(|context| {
        context.set_parameter(CParameter::CompressionLevel(level.library()))?;
        context.compress2(room, src)
    });
    match made {
        Ok(made) => {
            // The caller limits a block to 16 MiB.
            header[..4].copy_from_slice(&(made as u32).to_be_bytes());
            let version = zstd_safe::version_number();
            header[4..].copy_from_slice(&(u32::from(level.cookie()) << 24 | version).to_be_bytes());
            Ok(Some(made + HEADER))
        }
        Err(code) if is_no_room(code) => Ok(None),
        Err(code) => Err(CodecFault::Library { reason: zstd_safe::get_error_name(code).to_lowercase() }),
    }
}

/// Returns `true` if the code means that the buffer is too small. zstd returns error codes negated, as sizes.
fn is_no_room(code: usize) -> bool {
    code.wrapping_neg() == ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as usize
}
