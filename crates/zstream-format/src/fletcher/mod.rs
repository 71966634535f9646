//! Fletcher-4, the checksum of send streams and the default of blocks, and fletcher-2.
//!
//! The state of fletcher-4 is four `u64`, all wrapping, and every `u32` of the input changes it:
//!
//! ```text
//! a += word;  b += a;  c += b;  d += c
//! ```
//!
//! Words are read in the order of the stream or block that holds them. The bytes behind the last
//! whole word of one call are ignored, as OpenZFS ignores them. The sum is linear, so the sum of a
//! whole follows from the sums of its parts: see [`join()`].
//!
//! There is one [`Kernel`] for each instruction set, in a file of its own; the portable one is the
//! oracle of the others. `unsafe` stays inside those files: a kernel can only be had by detecting
//! its instructions.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod fletcher2;
mod join;
mod kernel;
#[allow(dead_code, unused_imports, reason = "processors without a vector kernel")]
mod lanes;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
mod portable;
#[cfg(test)]
mod tests;

pub use fletcher2::fletcher2;
pub use join::join;
pub use kernel::Kernel;

use crate::order::ByteOrder;
use crate::sum::Checksum;

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
    kernel: Option<Kernel>,
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
        Self { state: state.0, order, kernel: None }
    }

    /// A sum over nothing yet that uses `kernel` for inputs of every length.
    ///
    /// [`Fletcher4::new`] chooses by the length; this is for tests and benchmarks.
    #[must_use]
    pub fn with_kernel(kernel: Kernel, order: ByteOrder) -> Self {
        Self { state: [0; 4], order, kernel: Some(kernel) }
    }

    /// Adds the whole words of `data`; up to 3 bytes behind the last one are ignored.
    pub fn update(&mut self, data: &[u8]) {
        let kernel = self.kernel.unwrap_or_else(|| Kernel::for_len(data.len()));
        kernel.update(&mut self.state, data, self.order);
    }

    /// Adds `len` bytes that were summed elsewhere, from the zero state on, to `part`.
    pub fn append(&mut self, part: Checksum, len: u64) {
        self.state = join(Checksum(self.state), part, len).0;
    }

    /// Starts anew from the zero state.
    pub fn reset(&mut self) {
        self.state = [0; 4];
    }

    /// The sum of everything added so far.
    #[must_use]
    pub fn value(&self) -> Checksum {
        Checksum(self.state)
    }
}
