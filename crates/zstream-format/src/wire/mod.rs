//! Structures of fixed size, each declared once: parse, encode, byteswap and the offsets of fields come from the declaration.
//!
//! [`structure!`](crate::structure) lists the fields in the order in which they lie, padding included, so that a round trip
//! gives every byte back. A wrong size fails the build. Parsing cannot fail: what the values mean is judged elsewhere.
//!
//! The records of streams are declared so, and the structures of pools: here in [`phys`](crate::phys) where blocks are
//! byteswapped by them, in the crates above where only those need them. A structure is a [`Field`] itself, so that it can be a
//! part of another one.
//!
//! ```
//! use zstream_format::ids::{ObjectId, Txg};
//! use zstream_format::order::ByteOrder;
//!
//! zstream_format::structure! {
//!     /// The place of a log.
//!     pub Place[24] {
//!         /// Its object.
//!         object: Option<ObjectId>,
//!         /// When it was made.
//!         birth: Txg,
//!         /// Its flags.
//!         flags: u16,
//!         /// Zero.
//!         pad: [u8; 6],
//!     }
//! }
//!
//! let raw = [7, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];
//! let place = Place::parse(&raw, ByteOrder::Little);
//! assert_eq!(place, Place { object: Some(ObjectId(7)), birth: Txg(0x201), flags: 9, ..Place::default() });
//! assert_eq!(place.to_bytes(ByteOrder::Little), raw);
//!
//! let mut swapped = raw;
//! Place::byteswap(&mut swapped);
//! assert_eq!(Place::parse(&swapped, ByteOrder::Big), place);
//! assert_eq!(Place::offset_of("flags"), 16);
//! assert_eq!(Place::read(&raw[..23], ByteOrder::Little), None);
//! ```

#[cfg(any(test, feature = "testing"))]
mod testing;
#[cfg(test)]
mod tests;

use crate::order::ByteOrder;

#[cfg(any(test, feature = "testing"))]
pub use self::testing::{assert_round_trips, samples};

/// One field of a declared structure: a value of fixed size without alignment.
///
/// Reading and writing in one order gives the same bytes whatever they are; [`swap`](Self::swap) turns the bytes of one order
/// into those of the other.
pub trait Field: Copy {
    /// Bytes it takes.
    const SIZE: usize;

    /// Reads the value from the first [`SIZE`](Self::SIZE) bytes; fewer panic.
    fn get(bytes: &[u8], order: ByteOrder) -> Self;

    /// Writes the value to the first [`SIZE`](Self::SIZE) bytes; fewer panic.
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

macro_rules! field_by_integer {
    ($($integer:ident, $put:ident;)*) => { $(
        impl Field for $integer {
            const SIZE: usize = size_of::<$integer>();

            fn get(bytes: &[u8], order: ByteOrder) -> Self {
                order.$integer(bytes)
            }

            fn put(self, bytes: &mut [u8], order: ByteOrder) {
                order.$put(bytes, self);
            }

            fn swap(bytes: &mut [u8]) {
                bytes[..Self::SIZE].reverse();
            }
        }
    )* };
}

field_by_integer! {
    u16, put_u16;
    u32, put_u32;
    u64, put_u64;
}

impl Field for i64 {
    const SIZE: usize = 8;

    fn get(bytes: &[u8], order: ByteOrder) -> Self {
        order.u64(bytes).cast_signed()
    }

    fn put(self, bytes: &mut [u8], order: ByteOrder) {
        order.put_u64(bytes, self.cast_unsigned());
    }

    fn swap(bytes: &mut [u8]) {
        u64::swap(bytes);
    }
}

/// An array, one element after the other. Names, salts, IVs, MACs and padding are bytes: the same in either order.
impl<T: Field, const N: usize> Field for [T; N] {
    const SIZE: usize = N * T::SIZE;

    fn get(bytes: &[u8], order: ByteOrder) -> Self {
        let bytes = &bytes[..Self::SIZE];
        std::array::from_fn(|n| T::get(&bytes[n * T::SIZE..], order))
    }

    fn put(self, bytes: &mut [u8], order: ByteOrder) {
        let places = bytes[..Self::SIZE].chunks_exact_mut(T::SIZE);
        places.zip(self).for_each(|(place, element)| element.put(place, order));
    }

    fn swap(bytes: &mut [u8]) {
        bytes[..Self::SIZE].chunks_exact_mut(T::SIZE).for_each(T::swap);
    }
}

/// Implements [`Field`] for structures of one unnamed, public field.
macro_rules! field_by_newtype {
    ($($name:ty as $inner:ty),* $(,)?) => { $(
        impl $crate::wire::Field for $name {
            const SIZE: usize = <$inner as $crate::wire::Field>::SIZE;

            fn get(bytes: &[u8], order: $crate::order::ByteOrder) -> Self {
                Self(<$inner as $crate::wire::Field>::get(bytes, order))
            }

            fn put(self, bytes: &mut [u8], order: $crate::order::ByteOrder) {
                $crate::wire::Field::put(self.0, bytes, order);
            }

            fn swap(bytes: &mut [u8]) {
                <$inner as $crate::wire::Field>::swap(bytes);
            }
        }
    )* };
}
pub(crate) use field_by_newtype;

/// Implements [`Field`] for `bitflags` types; bits without a name are kept.
#[macro_export]
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

/// Declares structures of fixed size: `visibility Name[bytes] { field: type, ... }`, with the fields as visible as the structure.
///
/// Each gets `LEN`, `parse`, `read`, `read_short`, `encode`, `to_bytes`, `byteswap` and `offset_of`, and is a
/// [`Field`]. A wrong size fails the build. See [`wire`](crate::wire) for an example.
#[macro_export]
macro_rules! structure {
    ($(
        $(#[$meta:meta])*
        $vis:vis $name:ident[$len:expr] { $($(#[$doc:meta])* $field:ident: $ty:ty),* $(,)? }
    )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(dead_code, reason = "all that lies in the structure is declared, not only what is used")]
        $vis struct $name {
            $($(#[$doc])* $vis $field: $ty,)*
        }

        impl Default for $name {
            /// All bytes zero.
            fn default() -> Self {
                Self::parse(&[0; $len], $crate::order::ByteOrder::Little)
            }
        }

        const _: () = assert!(
            $len == 0 $(+ <$ty as $crate::wire::Field>::SIZE)*,
            "fields do not add up to the declared size"
        );

        #[allow(dead_code, reason = "a structure that is only read is not encoded, and the reverse")]
        #[allow(clippy::wrong_self_convention, reason = "structures may be large")]
        impl $name {
            /// Size in bytes.
            $vis const LEN: usize = $len;

            /// Reads the structure from the first [`LEN`](Self::LEN) bytes; fewer panic.
            #[must_use]
            $vis fn parse(bytes: &[u8], order: $crate::order::ByteOrder) -> Self {
                let mut at = 0;
                $(
                    let $field = <$ty as $crate::wire::Field>::get(&bytes[at..], order);
                    at += <$ty as $crate::wire::Field>::SIZE;
                )*
                debug_assert_eq!(at, Self::LEN);
                Self { $($field),* }
            }

            /// Reads the structure from the first [`LEN`](Self::LEN) bytes; `None` when there are fewer.
            #[must_use]
            $vis fn read(bytes: &[u8], order: $crate::order::ByteOrder) -> Option<Self> {
                bytes.get(..Self::LEN).map(|bytes| Self::parse(bytes, order))
            }

            /// Reads a structure that older versions know only the start of: fields beyond the end of `bytes` are zero.
            #[must_use]
            $vis fn read_short(bytes: &[u8], order: $crate::order::ByteOrder) -> Self {
                let mut whole = [0; $len];
                let known = bytes.len().min(Self::LEN);
                whole[..known].copy_from_slice(&bytes[..known]);
                Self::parse(&whole, order)
            }

            /// Writes the structure over the first [`LEN`](Self::LEN) bytes; fewer panic.
            $vis fn encode(&self, bytes: &mut [u8], order: $crate::order::ByteOrder) {
                let mut at = 0;
                $(
                    <$ty as $crate::wire::Field>::put(self.$field, &mut bytes[at..], order);
                    at += <$ty as $crate::wire::Field>::SIZE;
                )*
                debug_assert_eq!(at, Self::LEN);
            }

            /// The structure's bytes.
            #[must_use]
            $vis fn to_bytes(&self, order: $crate::order::ByteOrder) -> [u8; $len] {
                let mut bytes = [0; $len];
                self.encode(&mut bytes, order);
                bytes
            }

            /// Turns an encoded structure into that of the other byte order, in place.
            $vis fn byteswap(bytes: &mut [u8]) {
                let mut at = 0;
                $(
                    <$ty as $crate::wire::Field>::swap(&mut bytes[at..]);
                    at += <$ty as $crate::wire::Field>::SIZE;
                )*
                debug_assert_eq!(at, Self::LEN);
            }

            /// Where a field begins, in bytes. To be used in constants, where a name that does not exist fails the build.
            ///
            /// # Panics
            ///
            /// There is no field of this name.
            #[must_use]
            $vis const fn offset_of(field: &str) -> usize {
                let mut at = 0;
                $(
                    if $crate::wire::is_same(field, stringify!($field)) {
                        return at;
                    }
                    at += <$ty as $crate::wire::Field>::SIZE;
                )*
                let _ = at;
                panic!("the structure has no field of this name")
            }
        }

        impl $crate::wire::Field for $name {
            const SIZE: usize = $len;

            fn get(bytes: &[u8], order: $crate::order::ByteOrder) -> Self {
                Self::parse(bytes, order)
            }

            fn put(self, bytes: &mut [u8], order: $crate::order::ByteOrder) {
                self.encode(bytes, order);
            }

            fn swap(bytes: &mut [u8]) {
                Self::byteswap(bytes);
            }
        }
    )* };
}

/// Compares two names where `==` is not to be had yet: in constants.
#[doc(hidden)]
#[must_use]
pub const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut n = 0;
    while n < a.len() {
        if a[n] != b[n] {
            return false;
        }
        n += 1;
    }
    true
}
