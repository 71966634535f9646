//! Checks of declared structures, for the tests of the crates that declare them.

use super::Field;
use crate::order::ByteOrder;

/// Checks the equalities that hold for every declared structure, with the first bytes of `raw` as an example: reading and
/// writing in either order gives the same bytes, padding included; the swapped bytes are the same value in the other order;
/// swapping twice changes nothing.
///
/// # Panics
///
/// One of them does not hold, or `raw` is too short.
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

/// A test that [`assert_round_trips`] of each of these structures, with noise and with
/// extreme values; for the test modules of crates that declare structures.
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
