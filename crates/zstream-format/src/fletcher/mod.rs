//! Fletcher-4, the checksum of send streams and the default of blocks.
//!
//! The state is four `u64`, all wrapping, and every `u32` of the input changes it:
//!
//! ```text
//! a += word;  b += a;  c += b;  d += c
//! ```
//!
//! Words are read in the order of the stream or block that holds them. The bytes behind the last
//! whole word of one call are ignored, as OpenZFS ignores them. The sum is linear, so the sum of a
//! whole follows from the sums of its parts: see [`join`].

mod join;
mod portable;

pub use join::join;

use crate::checksum::Checksum;
use crate::order::ByteOrder;

/// The fletcher-4 sum of `data`, from the zero state on.
#[must_use]
pub fn fletcher4(data: &[u8], order: ByteOrder) -> Checksum {
    let mut sum = Fletcher4::new(order);
    sum.update(data);
    sum.value()
}

/// A running fletcher-4 sum.
#[derive(Clone, Debug)]
pub struct Fletcher4 {
    state: [u64; 4],
    order: ByteOrder,
}

impl Fletcher4 {
    /// A sum over nothing yet, of words in `order`.
    #[must_use]
    pub fn new(order: ByteOrder) -> Self {
        Self::from_state(Checksum::ZERO, order)
    }

    /// A sum that goes on from `state`.
    #[must_use]
    pub fn from_state(state: Checksum, order: ByteOrder) -> Self {
        Self { state: state.0, order }
    }

    /// Adds the whole words of `data`; up to 3 bytes behind the last one are ignored.
    pub fn update(&mut self, data: &[u8]) {
        match self.order {
            ByteOrder::Little => portable::update::<true>(&mut self.state, data),
            ByteOrder::Big => portable::update::<false>(&mut self.state, data),
        }
    }

    /// Adds `len` bytes that were summed elsewhere, from the zero state on, to `part`.
    pub fn append(&mut self, part: Checksum, len: u64) {
        self.state = join(Checksum(self.state), part, len).0;
    }

    /// The sum of everything added so far.
    #[must_use]
    pub fn value(&self) -> Checksum {
        Checksum(self.state)
    }
}
