//! The header of a packed list, the cursor of both decoders, and decoding and encoding of lists.

use super::{MAX_DEPTH, MAX_PACKED_LEN, NvError, NvFault, NvList, native, xdr};
use crate::order::ByteOrder;

/// The size of the header before the body of a list in bytes (`nvs_header_t`).
const HEADER_LEN: usize = 4;

/// The encoding of a packed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// The memory layout of the machine that packed the list (`NV_ENCODE_NATIVE`).
    Native,
    /// External data representation, with big-endian words (`NV_ENCODE_XDR`).
    Xdr,
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Xdr => "xdr",
        })
    }
}

/// The encoding of a packed list with its variants: encoding a list with the value that [`NvList::decode`]
/// returned gives the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packed {
    /// The encoding.
    pub encoding: Encoding,
    /// The byte order of a native list. An XDR list is always big-endian and only states that of its writer.
    pub order: ByteOrder,
    /// In XDR: `byte`, `int8` and `uint8` values of 0x80 and above are words with all upper bits set. The
    /// user-space library writes them where C's `char` is signed; the kernel does not, and refuses them.
    pub signed_bytes: bool,
    /// In XDR: negative `int16` values are words with all upper bits set. The user-space library always writes
    /// them; the kernel does not, and refuses them.
    pub signed_shorts: bool,
}

impl Packed {
    /// Returns the encoding of BEGIN payloads and resume tokens by the kernel of a machine of this byte order.
    #[must_use]
    pub const fn native(order: ByteOrder) -> Self {
        Self { encoding: Encoding::Native, order, signed_bytes: false, signed_shorts: false }
    }

    /// Returns the encoding of labels by the kernel of a machine of this byte order, which kernel and user space read.
    #[must_use]
    pub const fn xdr(order: ByteOrder) -> Self {
        Self { encoding: Encoding::Xdr, order, signed_bytes: false, signed_shorts: false }
    }
}

/// A decoded list and its encoding.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Decoded {
    /// The list.
    pub list: NvList,
    /// The encoding.
    pub packed: Packed,
    /// The size of the packed list in bytes. The rest of the buffer is not part of it: padding by the kernel,
    /// or the rest of the area in a label.
    pub used_len: usize,
}

impl NvList {
    /// Decodes the packed list at the start of `bytes`, in either encoding and any byte order. (OpenZFS
    /// refuses native lists of the other byte order.)
    ///
    /// # Errors
    /// Fails if the bytes are not a packed list or exceed a limit; see [`NvFault`].
    pub fn decode(bytes: &[u8]) -> Result<Decoded, NvError> {
        if bytes.len() < HEADER_LEN {
            return Err(NvError::new(0, NvFault::NoHeader { have: bytes.len() }));
        }
        if bytes.len() > MAX_PACKED_LEN {
            return Err(NvError::new(0, NvFault::TooLong { len: bytes.len() }));
        }
        let order = match bytes[1] {
            0 => ByteOrder::Big,
            1 => ByteOrder::Little,
            found => return Err(NvError::new(1, NvFault::Order { found })),
        };
        let mut reader = Reader { bytes, at: HEADER_LEN };
        match bytes[0] {
            0 => {
                let list = native::decode(&mut reader, order)?;
                Ok(Decoded { list, packed: Packed::native(order), used_len: reader.at })
            }
            1 => {
                let (list, found) = xdr::decode(&mut reader)?;
                let packed = Packed {
                    signed_bytes: found.signed_bytes,
                    signed_shorts: found.signed_shorts,
                    ..Packed::xdr(order)
                };
                Ok(Decoded { list, packed, used_len: reader.at })
            }
            found => Err(NvError::new(0, NvFault::Encoding { found })),
        }
    }

    /// Encodes the list with its header.
    ///
    /// # Errors
    /// Fails if a name or string contains a NUL, if a name is longer than [`MAX_NAME_LEN`](super::MAX_NAME_LEN),
    /// if lists are nested deeper than [`MAX_DEPTH`], and if the result is longer than [`MAX_PACKED_LEN`].
    pub fn encode(&self, packed: Packed) -> Result<Vec<u8>, NvError> {
        let order = match packed.order {
            ByteOrder::Big => 0,
            ByteOrder::Little => 1,
        };
        match packed.encoding {
            Encoding::Native => native::encode(self, packed.order, vec![0, order, 0, 0]),
            Encoding::Xdr => xdr::encode(self, packed, vec![1, order, 0, 0]),
        }
    }
}

/// A cursor in a packed list. It never reads past the end, and an array is allocated only after its size was
/// compared with the remaining bytes.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// The offset in the packed list.
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    /// Reads the next `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], NvError> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..len) else {
            return Err(NvError::new(self.at, NvFault::Short { need: len, have: rest.len() }));
        };
        self.at += len;
        Ok(taken)
    }

    /// Fails unless there are enough bytes for `count` elements of at least `min_len` bytes.
    pub(super) fn expect(&self, count: usize, min_len: usize) -> Result<(), NvError> {
        let have = self.bytes.len() - self.at;
        match count.checked_mul(min_len) {
            Some(need) if need <= have => Ok(()),
            need => Err(NvError::new(self.at, NvFault::Short { need: need.unwrap_or(usize::MAX), have })),
        }
    }

    /// Reads the next 4 bytes as a number in this byte order.
    pub(super) fn u32(&mut self, order: ByteOrder) -> Result<u32, NvError> {
        Ok(order.u32(self.take(4)?))
    }

    /// Reads the next 4 bytes as a signed number in this byte order.
    pub(super) fn i32(&mut self, order: ByteOrder) -> Result<i32, NvError> {
        Ok(self.u32(order)?.cast_signed())
    }

    /// Skips the next 4 bytes if they exist and are zero. Returns `true` if it skipped them.
    pub(super) fn skip_zero_word(&mut self) -> bool {
        let zero = self.bytes[self.at..].first_chunk::<4>() == Some(&[0; 4]);
        if zero {
            self.at += 4;
        }
        zero
    }
}

/// Returns the depth of a nested list, or an error at the maximum depth.
pub(super) fn deeper(depth: usize, encoding: Encoding, offset: usize) -> Result<usize, NvError> {
    if depth == MAX_DEPTH { Err(NvError::new(offset, NvFault::Depth { encoding })) } else { Ok(depth + 1) }
}

/// Fails if `len` exceeds the maximum size of a packed list.
pub(super) fn check_len(len: usize) -> Result<(), NvError> {
    if len > MAX_PACKED_LEN { Err(NvError::new(0, NvFault::TooLong { len })) } else { Ok(()) }
}
