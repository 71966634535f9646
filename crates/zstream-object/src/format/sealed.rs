//! The envelope of records: a compressed body with a checksum.
//!
//! ```text
//! Seal | zstd frame (RFC 8878), stored_bytes long | BLAKE3 of all bytes before it, 32 bytes
//! ```

use std::io;

use zstream_format::order::ByteOrder;
use zstream_format::structure;

use super::corrupt;

structure! {
    /// The start of a sealed body.
    Seal[32] {
        /// What the body is: `zstrmgen`, `zstrmpag` or `zstrmroo`.
        magic: [u8; 8],
        /// The version of the format.
        version: u32,
        /// Zero.
        flags: u32,
        /// The size of the body.
        body_bytes: u64,
        /// The size of the zstd frame.
        stored_bytes: u64,
    }
}

/// The version of the format that is written and read.
pub(super) const VERSION: u32 = 1;

/// The limit for the size of a body, and therefore for the memory that a hostile object can take.
const BODY_BYTES_MAX: u64 = 96 << 20;

/// The limit for the size of an object with a sealed body.
pub(crate) const SEALED_BYTES_MAX: u64 = BODY_BYTES_MAX + (1 << 20);

/// The size of a checksum.
pub(super) const CHECKSUM_BYTES: usize = blake3::OUT_LEN;

/// The level of compression: records are small, and their time does not count.
const LEVEL: i32 = 3;

/// Seals a body.
///
/// # Errors
/// Fails if the body is too large.
pub(super) fn seal(magic: &[u8; 8], body: &[u8]) -> io::Result<Vec<u8>> {
    if body.len() as u64 > BODY_BYTES_MAX {
        return Err(corrupt(format_args!("a record of {} bytes is too large", body.len())));
    }
    let mut frame = vec![0; zstd_safe::compress_bound(body.len())];
    let size = zstd_safe::compress(&mut frame[..], body, LEVEL);
    frame.truncate(size.map_err(|code| corrupt(zstd_safe::get_error_name(code)))?);
    let seal = Seal {
        magic: *magic,
        version: VERSION,
        flags: 0,
        body_bytes: body.len() as u64,
        stored_bytes: frame.len() as u64,
    };
    let mut out = seal.to_bytes(ByteOrder::Little).to_vec();
    out.extend(frame);
    let checksum = blake3::hash(&out);
    out.extend(checksum.as_bytes());
    Ok(out)
}

/// Returns the body of a sealed object.
///
/// # Errors
/// Fails if the object is not whole, has another magic or version, or does not match its checksum.
pub(super) fn open(magic: &[u8; 8], bytes: &[u8]) -> io::Result<Vec<u8>> {
    let seal = Seal::read(bytes, ByteOrder::Little).ok_or_else(|| corrupt("the object is cut short"))?;
    if seal.magic != *magic {
        let expected = String::from_utf8_lossy(magic);
        return Err(corrupt(format_args!("the object does not start with {expected:?}")));
    }
    if (seal.version, seal.flags) != (VERSION, 0) {
        let text = format!("format version {} (flags {:#x}) is not supported", seal.version, seal.flags);
        return Err(corrupt(text));
    }
    let end = bytes.len().checked_sub(CHECKSUM_BYTES).filter(|end| *end >= Seal::LEN);
    let end = end.ok_or_else(|| corrupt("the object is cut short"))?;
    let (covered, checksum) = bytes.split_at(end);
    if blake3::hash(covered).as_bytes() != checksum {
        return Err(corrupt("the object does not match its checksum"));
    }
    let frame = &covered[Seal::LEN..];
    if seal.stored_bytes != frame.len() as u64 || seal.body_bytes > BODY_BYTES_MAX {
        return Err(corrupt("the sizes in the object are not those of its body"));
    }
    let mut body = vec![0; seal.body_bytes as usize];
    match zstd_safe::decompress(&mut body[..], frame) {
        Ok(size) if size as u64 == seal.body_bytes => Ok(body),
        Ok(_) => Err(corrupt("the body of the object has another size than its header says")),
        Err(code) => {
            Err(corrupt(format_args!("the body of the object: {}", zstd_safe::get_error_name(code))))
        }
    }
}

/// A reader of a body.
pub(super) struct Body<'a> {
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// Returns the next `count` bytes.
    pub(super) fn take(&mut self, count: u64) -> io::Result<&'a [u8]> {
        let count = usize::try_from(count).ok().filter(|count| *count <= self.rest.len());
        let (taken, rest) = self.rest.split_at(count.ok_or_else(|| corrupt("the body is cut short"))?);
        self.rest = rest;
        Ok(taken)
    }

    /// Returns the next `count` entries of `size` bytes.
    pub(super) fn entries(&mut self, count: u64, size: usize) -> io::Result<std::slice::ChunksExact<'a, u8>> {
        let bytes = count.checked_mul(size as u64).ok_or_else(|| corrupt("the body is cut short"))?;
        Ok(self.take(bytes)?.chunks_exact(size))
    }

    /// Fails unless all bytes were read.
    pub(super) fn end(self) -> io::Result<()> {
        match self.rest.is_empty() {
            true => Ok(()),
            false => Err(corrupt(format_args!("{} bytes follow the body", self.rest.len()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &[u8; 8] = b"zstrmtst";

    #[test]
    fn a_body_comes_back_and_no_changed_byte_passes() {
        for body in [&b""[..], b"abc", &[7; 100_000]] {
            let sealed = seal(MAGIC, body).unwrap();
            assert_eq!(open(MAGIC, &sealed).unwrap(), body);
            for at in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert!(open(MAGIC, &changed).is_err(), "byte {at}");
                assert!(open(MAGIC, &sealed[..at]).is_err(), "cut at {at}");
            }
        }
        assert!(open(b"zstrmoth", &seal(MAGIC, b"").unwrap()).is_err());
    }

    /// A frame that decompresses to more than the header says does not take memory.
    #[test]
    fn a_bomb_is_refused() {
        let sealed = seal(MAGIC, &vec![0; 8 << 20]).unwrap();
        let mut seal = Seal::parse(&sealed, ByteOrder::Little);
        for bytes in [10, (8 << 20) + 1, u64::MAX] {
            seal.body_bytes = bytes;
            let mut forged = seal.to_bytes(ByteOrder::Little).to_vec();
            forged.extend(&sealed[Seal::LEN..sealed.len() - CHECKSUM_BYTES]);
            let checksum = blake3::hash(&forged);
            forged.extend(checksum.as_bytes());
            assert!(open(MAGIC, &forged).is_err());
        }
    }
}
