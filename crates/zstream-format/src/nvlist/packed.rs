//! The header of a packed list, the cursor that both decoders read through, and the way in and out.

use super::{MAX_DEPTH, MAX_PACKED_LEN, NvError, NvFault, NvList, native, xdr};
use crate::order::ByteOrder;

/// Bytes of the header before the list's body (`nvs_header_t`).
const HEADER_LEN: usize = 4;

/// How the values of a packed list are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// As in the memory of the machine that packed it (`NV_ENCODE_NATIVE`).
    Native,
    /// External data representation, big-endian words (`NV_ENCODE_XDR`).
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

/// All that a packed list says besides the list itself: packing with what [`NvList::decode`] found gives
/// the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packed {
    /// How the values lie.
    pub encoding: Encoding,
    /// The byte order of a native list. An XDR list is big-endian throughout and only names its writer's.
    pub order: ByteOrder,
    /// XDR only: `byte`, `int8` and `uint8` values from 0x80 on stand as words with all upper bits set.
    /// So writes the user-space library where C's `char` is signed; the kernel does not, and refuses it.
    pub signed_bytes: bool,
    /// XDR only: negative `int16` values stand as words with all upper bits set. So writes the user-space
    /// library everywhere; the kernel does not, and refuses it.
    pub signed_shorts: bool,
}

impl Packed {
    /// As the kernel of a machine of this order packs BEGIN payloads and resume tokens.
    #[must_use]
    pub const fn native(order: ByteOrder) -> Self {
        Self { encoding: Encoding::Native, order, signed_bytes: false, signed_shorts: false }
    }

    /// As the kernel of a machine of this order packs labels, readable by kernel and user space.
    #[must_use]
    pub const fn xdr(order: ByteOrder) -> Self {
        Self { encoding: Encoding::Xdr, order, signed_bytes: false, signed_shorts: false }
    }
}

/// A list and what packed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The list.
    pub list: NvList,
    /// How it was packed.
    pub packed: Packed,
    /// Bytes the packed list took from the start of the buffer. What lies behind is not nvlist: kernels
    /// leave padding there, labels the rest of their area.
    pub used_len: usize,
}

impl NvList {
    /// Decodes the packed list at the start of `bytes`, in either encoding and any byte order. (OpenZFS
    /// refuses native lists of the other order.)
    ///
    /// # Errors
    /// Bytes that are no packed list or exceed a limit; see [`NvFault`].
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

    /// Packs the list, header first.
    ///
    /// # Errors
    /// Names and strings with a NUL, names longer than [`MAX_NAME_LEN`](super::MAX_NAME_LEN), lists nested
    /// deeper than [`MAX_DEPTH`] or packed longer than [`MAX_PACKED_LEN`].
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

/// A place in a packed list. Nothing is read past the end, and an array is only made once its bytes are
/// known to be there.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// Bytes from the start of the packed list.
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], NvError> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..len) else {
            return Err(NvError::new(self.at, NvFault::Short { need: len, have: rest.len() }));
        };
        self.at += len;
        Ok(taken)
    }

    /// Fails unless `count` things of at least `min_len` bytes each can still follow.
    pub(super) fn expect(&self, count: usize, min_len: usize) -> Result<(), NvError> {
        let have = self.bytes.len() - self.at;
        match count.checked_mul(min_len) {
            Some(need) if need <= have => Ok(()),
            need => Err(NvError::new(self.at, NvFault::Short { need: need.unwrap_or(usize::MAX), have })),
        }
    }

    /// The next 4 bytes as a number of that order.
    pub(super) fn u32(&mut self, order: ByteOrder) -> Result<u32, NvError> {
        Ok(order.u32(self.take(4)?))
    }

    /// The next 4 bytes as a signed number of that order.
    pub(super) fn i32(&mut self, order: ByteOrder) -> Result<i32, NvError> {
        Ok(self.u32(order)?.cast_signed())
    }

    /// Goes over the next 4 bytes if they are there and zero.
    pub(super) fn skip_zero_word(&mut self) -> bool {
        let zero = self.bytes[self.at..].first_chunk::<4>() == Some(&[0; 4]);
        if zero {
            self.at += 4;
        }
        zero
    }
}

/// Goes one list deeper.
pub(super) fn deeper(depth: usize, encoding: Encoding, offset: usize) -> Result<usize, NvError> {
    if depth == MAX_DEPTH { Err(NvError::new(offset, NvFault::Depth { encoding })) } else { Ok(depth + 1) }
}

/// Fails when `len` bytes are more than a packed list may have.
pub(super) fn check_len(len: usize) -> Result<(), NvError> {
    if len > MAX_PACKED_LEN { Err(NvError::new(0, NvFault::TooLong { len })) } else { Ok(()) }
}
