//! Identifiers, each with its own type so that they cannot be confused.

use std::fmt;

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
    /// The guid of a pool, vdev, dataset or snapshot. It is printed in hexadecimal, as in stream dumps.
    Guid, "{:x}";
    /// The number of an object in an object set. Object 0 is the meta-dnode.
    ObjectId, "{}";
    /// The number of a transaction group.
    Txg, "{}";
    /// The index of a block in an object: offset divided by block size, at level 0.
    BlockId, "{}";
}
