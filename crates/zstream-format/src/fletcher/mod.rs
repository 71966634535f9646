//! Fletcher-4, the checksum of send streams and the default of blocks, and fletcher-2.
//!
//! The state of fletcher-4 is four `u64`, all wrapping, and every `u32` of the input updates it:
//!
//! ```text
//! a += word;  b += a;  c += b;  d += c
//! ```
//!
//! Words are read in the byte order of their stream or block. The bytes after the last complete word of
//! a call are ignored, as in OpenZFS. The sum is linear, so the total follows from the sums of the
//! parts: see [`join()`].
//!
//! There is one [`Kernel`] for each instruction set, in a file of its own; the portable one is the
//! oracle of the others. `unsafe` is confined to those files: a kernel is created only after its
//! instructions were detected.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod fletcher2;
mod join;
mod kernel;
#[allow(dead_code, unused_imports, reason = "unused on processors without a vector kernel")]
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

/// Computes the fletcher-4 sum of `data`, starting from zero.
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
    /// Creates an empty sum of words in `order`.
    #[must_use]
    pub fn new(order: ByteOrder) -> Self {
        Self::from_state(Checksum::ZERO, order)
    }

    /// Creates a sum that continues from `state`.
    #[must_use]
    pub fn from_state(state: Checksum, order: ByteOrder) -> Self {
        Self { state: state.0, order, kernel: None }
    }

    /// Creates an empty sum that uses `kernel` for inputs of every length.
    ///
    /// [`Fletcher4::new`] selects the kernel by length; this is for tests and benchmarks.
    #[must_use]
    pub fn with_kernel(kernel: Kernel, order: ByteOrder) -> Self {
        Self { state: [0; 4], order, kernel: Some(kernel) }
    }

    /// Adds the complete words of `data`; up to 3 bytes after the last one are ignored.
    pub fn update(&mut self, data: &[u8]) {
        let kernel = self.kernel.unwrap_or_else(|| Kernel::for_len(data.len()));
        kernel.update(&mut self.state, data, self.order);
    }

    /// Adds `len` bytes whose sum, starting from zero, is `part`.
    pub fn append(&mut self, part: Checksum, len: u64) {
        self.state = join(Checksum(self.state), part, len).0;
    }

    /// Resets the sum to the zero state.
    pub fn reset(&mut self) {
        self.state = [0; 4];
    }

    /// The sum of all input so far.
    #[must_use]
    pub fn value(&self) -> Checksum {
        Checksum(self.state)
    }
}
