//! Byte order of a stream, a block or a packed nvlist.
//!
//! ZFS writes in the byte order of the machine and marks its output, so that the reader can swap it.
//! All code in this crate that reads integers from input takes a [`ByteOrder`].

use byteorder::{BigEndian, ByteOrder as _, LittleEndian};

/// The order of the bytes in an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first (x86, ARM with Linux).
    Little,
    /// Most significant byte first (SPARC, s390x).
    Big,
}

impl ByteOrder {
    /// The byte order of this machine.
    pub const NATIVE: Self = if cfg!(target_endian = "big") { Self::Big } else { Self::Little };

    /// Returns the other byte order.
    #[must_use]
    pub fn swapped(self) -> Self {
        match self {
            Self::Little => Self::Big,
            Self::Big => Self::Little,
        }
    }

    /// Reads the `u16` at the start of `bytes`. Panics if there are fewer than 2 bytes.
    #[must_use]
    pub fn u16(self, bytes: &[u8]) -> u16 {
        match self {
            Self::Little => LittleEndian::read_u16(bytes),
            Self::Big => BigEndian::read_u16(bytes),
        }
    }

    /// Reads the `u32` at the start of `bytes`. Panics if there are fewer than 4 bytes.
    #[must_use]
    pub fn u32(self, bytes: &[u8]) -> u32 {
        match self {
            Self::Little => LittleEndian::read_u32(bytes),
            Self::Big => BigEndian::read_u32(bytes),
        }
    }

    /// Reads the `u64` at the start of `bytes`. Panics if there are fewer than 8 bytes.
    #[must_use]
    pub fn u64(self, bytes: &[u8]) -> u64 {
        match self {
            Self::Little => LittleEndian::read_u64(bytes),
            Self::Big => BigEndian::read_u64(bytes),
        }
    }

    /// Writes `value` to the first 2 bytes of `out`. Panics if there are fewer.
    pub fn put_u16(self, out: &mut [u8], value: u16) {
        match self {
            Self::Little => LittleEndian::write_u16(out, value),
            Self::Big => BigEndian::write_u16(out, value),
        }
    }

    /// Writes `value` to the first 4 bytes of `out`. Panics if there are fewer.
    pub fn put_u32(self, out: &mut [u8], value: u32) {
        match self {
            Self::Little => LittleEndian::write_u32(out, value),
            Self::Big => BigEndian::write_u32(out, value),
        }
    }

    /// Writes `value` to the first 8 bytes of `out`. Panics if there are fewer.
    pub fn put_u64(self, out: &mut [u8], value: u64) {
        match self {
            Self::Little => LittleEndian::write_u64(out, value),
            Self::Big => BigEndian::write_u64(out, value),
        }
    }
}

impl std::fmt::Display for ByteOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Little => "little-endian",
            Self::Big => "big-endian",
        })
    }
}
