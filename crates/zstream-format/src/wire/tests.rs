//! Tests of declared structures.

use super::*;
use crate::structure;

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
    assert_eq!([Outer::offset_of("first"), Outer::offset_of("pairs"), Inner::offset_of("d")], [0, 22, 20]);
}

#[test]
fn what_is_missing_is_zero_or_none() {
    let raw = [0xff; 30];
    assert_eq!(Outer::read(&raw, ByteOrder::Little), None);
    let short = Outer::read_short(&raw, ByteOrder::Little);
    assert_eq!((short.pairs, short.last), ([[0xffff; 2], [0xffff; 2], [0; 2]], [0; 6]));
    assert_eq!(Outer::read_short(&[0xff; 99], ByteOrder::Little), Outer::parse(&[0xff; 48], ByteOrder::Big));
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
