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

use crate::order::ByteOrder;

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

/// Checks the equalities that hold for every declared structure, with the first bytes of `raw` as an example: reading and
/// writing in either order gives the same bytes, padding included; the swapped bytes are the same value in the other order;
/// swapping twice changes nothing.
///
/// # Panics
///
/// One of them does not hold, or `raw` is too short.
#[cfg(any(test, feature = "testing"))]
pub fn assert_round_trips<T: Field + PartialEq + std::fmt::Debug>(raw: &[u8]) {
    let (name, raw) = (std::any::type_name::<T>(), &raw[..T::SIZE]);
    let written = |value: T, order| {
        // What is not written shows.
        let mut out: Vec<u8> = raw.iter().map(|byte| !byte).collect();
        value.put(&mut out, order);
        out
    };
    let mut swapped = raw.to_vec();
    T::swap(&mut swapped);
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let value = T::get(raw, order);
        assert_eq!(written(value, order), raw, "{name} is not written back in {order} bytes");
        assert_eq!(T::get(&written(value, order), order), value, "{name} is not read back in {order} bytes");
        assert_eq!(
            T::get(&swapped, order.swapped()),
            value,
            "{name} swapped from {order} bytes is another value"
        );
        assert_eq!(
            written(value, order.swapped()),
            swapped,
            "the orders of {name} are not swaps of each other"
        );
    }
    T::swap(&mut swapped);
    assert_eq!(swapped, raw, "{name} swapped twice");
}

/// A test that [`assert_round_trips`](crate::wire::assert_round_trips) of each of these structures, with noise and with
/// extreme values; for the test modules of crates that declare structures.
#[cfg(any(test, feature = "testing"))]
#[macro_export]
macro_rules! round_trips {
    ($($structure:ty),* $(,)?) => {
        #[test]
        fn declared_structures_survive_both_orders() {
            $(
                let bytes = <$structure as $crate::wire::Field>::SIZE;
                for raw in $crate::wire::samples(bytes) {
                    $crate::wire::assert_round_trips::<$structure>(&raw);
                }
            )*
        }
    };
}

/// Zeros, ones, and noise that is always the same.
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub fn samples(bytes: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise = move |_| {
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        std::iter::repeat_with(&mut byte).take(bytes).collect()
    };
    [vec![0; bytes], vec![0xff; bytes]].into_iter().chain((0..64).map(noise))
}

#[cfg(test)]
mod tests {
    use super::*;

    structure! {
        /// All kinds of fields, one within another.
        Outer[48] {
            first: u8,
            inner: Inner,
            pairs: [[u16; 2]; 3],
            signed: i64,
            last: [u8; 6],
        }

        Inner[21] {
            a: u64,
            b: u32,
            c: u64,
            d: u8,
        }
    }

    #[test]
    fn fields_lie_one_after_the_other() {
        let raw: Vec<u8> = (1..=48).collect();
        assert_round_trips::<Outer>(&raw);
        let outer = Outer::parse(&raw, ByteOrder::Big);
        assert_eq!((outer.first, outer.inner.b, outer.inner.d), (1, 0x0a0b_0c0d, 22));
        assert_eq!(outer.pairs[1], [0x1b1c, 0x1d1e]);
        assert_eq!(outer.signed, 0x2324_2526_2728_292a);
        assert_eq!(
            [Outer::offset_of("first"), Outer::offset_of("pairs"), Inner::offset_of("d")],
            [0, 22, 20]
        );
    }

    #[test]
    fn what_is_missing_is_zero_or_none() {
        let raw = [0xff; 30];
        assert_eq!(Outer::read(&raw, ByteOrder::Little), None);
        let short = Outer::read_short(&raw, ByteOrder::Little);
        assert_eq!((short.pairs, short.last), ([[0xffff; 2], [0xffff; 2], [0; 2]], [0; 6]));
        assert_eq!(
            Outer::read_short(&[0xff; 99], ByteOrder::Little),
            Outer::parse(&[0xff; 48], ByteOrder::Big)
        );
    }

    #[test]
    #[should_panic(expected = "no field of this name")]
    fn fields_that_do_not_exist_have_no_offset() {
        let _ = Outer::offset_of("firs");
    }

    /// A field whose swap forgets half of it.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Forgetful(u32, u32);

    impl Field for Forgetful {
        const SIZE: usize = 8;

        fn get(bytes: &[u8], order: ByteOrder) -> Self {
            Self(order.u32(bytes), order.u32(&bytes[4..]))
        }

        fn put(self, bytes: &mut [u8], order: ByteOrder) {
            order.put_u32(bytes, self.0);
            order.put_u32(&mut bytes[4..], self.1);
        }

        fn swap(bytes: &mut [u8]) {
            u32::swap(bytes);
        }
    }

    /// The canary of all round trips.
    #[test]
    #[should_panic(expected = "is another value")]
    fn a_forgotten_swap_is_noticed() {
        assert_round_trips::<Forgetful>(&[1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
