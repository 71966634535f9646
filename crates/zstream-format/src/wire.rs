//! How a fixed-size structure is declared once and parsed, encoded, byte-swapped and printed from that.
//!
//! A declaration lists the fields in the order in which they lie, padding included, so that a round
//! trip gives every byte back. Parsing cannot fail: what the values mean is judged elsewhere.

use crate::algorithm::{ChecksumType, CompressionType, CryptSuite};
use crate::checksum::Checksum;
use crate::ids::{BlockId, Guid, ObjectId, Txg};
use crate::object_type::ObjectType;
use crate::order::ByteOrder;

/// One field of a declared structure: a value of fixed size without alignment.
pub(crate) trait Field: Copy {
    /// Bytes it takes.
    const SIZE: usize;

    /// Reads the value from the first [`SIZE`](Self::SIZE) bytes.
    fn get(bytes: &[u8], order: ByteOrder) -> Self;

    /// Writes the value to the first [`SIZE`](Self::SIZE) bytes.
    fn put(self, bytes: &mut [u8], order: ByteOrder);

    /// Turns the stored bytes into those of the other byte order.
    fn swap(bytes: &mut [u8]);
}

impl Field for u8 {
    const SIZE: usize = 1;

    fn get(bytes: &[u8], _: ByteOrder) -> Self {
        bytes[0]
    }

    fn put(self, bytes: &mut [u8], _: ByteOrder) {
        bytes[0] = self;
    }

    fn swap(_: &mut [u8]) {}
}

impl Field for u32 {
    const SIZE: usize = 4;

    fn get(bytes: &[u8], order: ByteOrder) -> Self {
        order.u32(bytes)
    }

    fn put(self, bytes: &mut [u8], order: ByteOrder) {
        order.put_u32(bytes, self);
    }

    fn swap(bytes: &mut [u8]) {
        bytes[..4].reverse();
    }
}

impl Field for u64 {
    const SIZE: usize = 8;

    fn get(bytes: &[u8], order: ByteOrder) -> Self {
        order.u64(bytes)
    }

    fn put(self, bytes: &mut [u8], order: ByteOrder) {
        order.put_u64(bytes, self);
    }

    fn swap(bytes: &mut [u8]) {
        bytes[..8].reverse();
    }
}

/// A string of bytes: names, salts, IVs, MACs and padding are the same in either order.
impl<const N: usize> Field for [u8; N] {
    const SIZE: usize = N;

    fn get(bytes: &[u8], _: ByteOrder) -> Self {
        let mut value = [0; N];
        value.copy_from_slice(&bytes[..N]);
        value
    }

    fn put(self, bytes: &mut [u8], _: ByteOrder) {
        bytes[..N].copy_from_slice(&self);
    }

    fn swap(_: &mut [u8]) {}
}

impl Field for Checksum {
    const SIZE: usize = 32;

    fn get(bytes: &[u8], order: ByteOrder) -> Self {
        Self(std::array::from_fn(|i| order.u64(&bytes[8 * i..])))
    }

    fn put(self, bytes: &mut [u8], order: ByteOrder) {
        for (i, word) in self.0.into_iter().enumerate() {
            order.put_u64(&mut bytes[8 * i..], word);
        }
    }

    fn swap(bytes: &mut [u8]) {
        bytes[..32].chunks_exact_mut(8).for_each(<[u8]>::reverse);
    }
}

macro_rules! field_by_newtype {
    ($($name:ty as $inner:ty),* $(,)?) => { $(
        impl Field for $name {
            const SIZE: usize = <$inner as Field>::SIZE;

            fn get(bytes: &[u8], order: ByteOrder) -> Self {
                Self(<$inner as Field>::get(bytes, order))
            }

            fn put(self, bytes: &mut [u8], order: ByteOrder) {
                self.0.put(bytes, order);
            }

            fn swap(bytes: &mut [u8]) {
                <$inner as Field>::swap(bytes);
            }
        }
    )* };
}

field_by_newtype! {
    Guid as u64, ObjectId as u64, Txg as u64, BlockId as u64, ObjectType as u32,
    ChecksumType as u8, CompressionType as u8, CryptSuite as u8,
}

/// Implements [`Field`] for `bitflags` types; bits without a name are kept.
macro_rules! field_by_flags {
    ($($name:ty as $inner:ty),* $(,)?) => { $(
        impl $crate::wire::Field for $name {
            const SIZE: usize = <$inner as $crate::wire::Field>::SIZE;

            fn get(bytes: &[u8], order: $crate::order::ByteOrder) -> Self {
                Self::from_bits_retain(<$inner as $crate::wire::Field>::get(bytes, order))
            }

            fn put(self, bytes: &mut [u8], order: $crate::order::ByteOrder) {
                $crate::wire::Field::put(self.bits(), bytes, order);
            }

            fn swap(bytes: &mut [u8]) {
                <$inner as $crate::wire::Field>::swap(bytes);
            }
        }
    )* };
}
pub(crate) use field_by_flags;

/// Declares the body of a record: `Name[length] { field: type, ... }`.
///
/// The structure gets `LEN`, `parse`, `encode` and `byteswap`; a wrong length fails the build.
macro_rules! record {
    ($(#[$meta:meta])* $name:ident[$len:literal] { $($(#[$doc:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$doc])* pub $field: $ty,)*
        }

        impl Default for $name {
            /// All fields zero.
            fn default() -> Self {
                Self::parse(&[0; $len], $crate::order::ByteOrder::Little)
            }
        }

        const _: () = assert!($len == 0 $(+ <$ty as $crate::wire::Field>::SIZE)*, "fields do not add up to the declared length");

        impl $name {
            /// Bytes of the body, counted from offset 8 of the record.
            pub const LEN: usize = $len;

            /// Reads the body; `bytes` starts at offset 8 of the record and holds at least
            /// [`LEN`](Self::LEN) bytes, fewer panic.
            #[must_use]
            pub fn parse(bytes: &[u8], order: $crate::order::ByteOrder) -> Self {
                let mut at = 0;
                $(
                    let $field = <$ty as $crate::wire::Field>::get(&bytes[at..], order);
                    at += <$ty as $crate::wire::Field>::SIZE;
                )*
                debug_assert_eq!(at, Self::LEN);
                Self { $($field),* }
            }

            /// Writes the body over the first [`LEN`](Self::LEN) bytes; fewer panic.
            pub fn encode(&self, bytes: &mut [u8], order: $crate::order::ByteOrder) {
                let mut at = 0;
                $(
                    <$ty as $crate::wire::Field>::put(self.$field, &mut bytes[at..], order);
                    at += <$ty as $crate::wire::Field>::SIZE;
                )*
                debug_assert_eq!(at, Self::LEN);
            }

            /// Turns an encoded body into that of the other byte order, in place.
            pub fn byteswap(bytes: &mut [u8]) {
                let mut at = 0;
                $(
                    <$ty as $crate::wire::Field>::swap(&mut bytes[at..]);
                    at += <$ty as $crate::wire::Field>::SIZE;
                )*
                debug_assert_eq!(at, Self::LEN);
            }
        }
    };
}
pub(crate) use record;
