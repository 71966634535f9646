//! Identifiers, each with its own type so that they cannot be confused.

use std::fmt;

use crate::order::ByteOrder;
use crate::wire::{Field, field_by_newtype};

macro_rules! id {
    ($($(#[$meta:meta])* $name:ident, $format:literal;)*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "(", $format, ")"), self.0)
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }
    )* };
}

id! {
    /// The guid of a pool, vdev, dataset or snapshot. It is printed in decimal, as `list` prints it. Only
    /// stream dumps have it in hexadecimal.
    Guid, "{}";
    /// The number of an object in an object set. Object 0 is the meta-dnode.
    ObjectId, "{}";
    /// The number of a transaction group.
    Txg, "{}";
    /// The index of a block in an object: offset divided by block size, at level 0.
    BlockId, "{}";
}

field_by_newtype! { Guid as u64, ObjectId as u64, Txg as u64, BlockId as u64 }

/// An object number where 0 stands for none.
impl Field for Option<ObjectId> {
    const SIZE: usize = 8;

    fn get(bytes: &[u8], order: ByteOrder) -> Self {
        let number = order.u64(bytes);
        (number != 0).then_some(ObjectId(number))
    }

    fn put(self, bytes: &mut [u8], order: ByteOrder) {
        self.unwrap_or_default().put(bytes, order);
    }

    fn swap(bytes: &mut [u8]) {
        ObjectId::swap(bytes);
    }
}
