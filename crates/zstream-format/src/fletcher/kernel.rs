//! The implementations of fletcher-4, and the choice of one at run time.

use std::fmt;
use std::sync::OnceLock;

use super::join::joined;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
use super::neon::Neon;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512};
use crate::order::ByteOrder;

/// An implementation of fletcher-4 that this processor can run.
///
/// All compute the same sums. A `Kernel` is created only after detection, so it is proof that the processor
/// supports its instructions.
#[derive(Clone, Copy)]
pub struct Kernel(Kind);

#[derive(Clone, Copy)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    Neon(Neon),
}

/// The size in bytes below which input is summed word by word: merging lanes costs more than it saves.
const SHORT_BYTES: usize = 128;

/// The size in bytes below which more than 8 lanes are slower. Record headers are smaller.
const MEDIUM_BYTES: usize = 1024;

/// The kernels for medium and for long inputs.
static CHOICE: OnceLock<(Kernel, Kernel)> = OnceLock::new();

impl Kernel {
    /// The kernel that sums word by word, on any processor.
    pub(crate) const PORTABLE: Self = Self(Kind::Portable);

    /// Returns all kernels that this processor can run, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        [
            Some(Kind::Portable),
            #[cfg(target_arch = "x86_64")]
            Avx2::detect().map(Kind::Avx2),
            #[cfg(target_arch = "x86_64")]
            Avx512::detect().map(Kind::Avx512),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Neon::detect().map(Kind::Neon),
        ]
        .into_iter()
        .flatten()
        .map(Self)
    }

    /// Returns the fastest kernel for inputs of `len` bytes. The processor is examined once.
    #[must_use]
    #[inline]
    pub(crate) fn for_len(len: usize) -> Self {
        if len < SHORT_BYTES {
            return Self::PORTABLE;
        }
        let (medium, long) = *CHOICE.get_or_init(Self::choose);
        if len < MEDIUM_BYTES { medium } else { long }
    }

    #[cold]
    fn choose() -> (Self, Self) {
        let long = Self::available().last().unwrap_or(Self::PORTABLE);
        let medium = match long.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => Avx2::detect().map_or(long, |kernel| Self(Kind::Avx2(kernel))),
            _ => long,
        };
        (medium, long)
    }

    /// The name of the kernel: `portable`, `avx2`, `avx512` or `neon`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512",
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Kind::Neon(_) => "neon",
        }
    }

    /// Adds the complete words of `data` to `state`.
    pub(super) fn update(self, state: &mut [u64; 4], data: &[u8], order: ByteOrder) {
        match order {
            ByteOrder::Little => self.update_in::<false>(state, data),
            ByteOrder::Big => self.update_in::<true>(state, data),
        }
    }

    // All vector kernels are for little-endian machines, so big-endian words are those to swap.
    fn update_in<const BIG: bool>(self, state: &mut [u64; 4], data: &[u8]) {
        match self.0 {
            Kind::Portable => portable::update::<BIG>(state, data),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(kernel) => match kernel.sum::<BIG>(data) {
                Some(part) => *state = joined(*state, part, data.len() as u64),
                None => portable::update::<BIG>(state, data),
            },
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(kernel) => {
                *state = joined(*state, kernel.sum::<BIG>(data), data.len() as u64);
            }
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Kind::Neon(kernel) => {
                let (vectors, rest) = data.as_chunks::<16>();
                *state = joined(*state, kernel.sum::<BIG>(vectors), vectors.as_flattened().len() as u64);
                portable::update::<BIG>(state, rest);
            }
        }
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel({})", self.name())
    }
}
