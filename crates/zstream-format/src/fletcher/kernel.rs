//! The implementations of fletcher-4 and the choice among them, made once at run time.

use std::fmt;
use std::sync::OnceLock;

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
use super::neon::Neon;
#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512};
use super::{join::advance, portable};
use crate::order::ByteOrder;

/// An implementation of fletcher-4 that this processor can run.
///
/// All give the same sums. One is only had by asking what there is, so having it is proof that its
/// instructions are there.
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

static BEST: OnceLock<Kernel> = OnceLock::new();

impl Kernel {
    /// Word by word, on any processor.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// All kernels this processor can run, slowest first.
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

    /// The fastest kernel for long inputs. It is looked for once.
    #[must_use]
    pub fn best() -> Self {
        *BEST.get_or_init(|| Self::available().last().unwrap_or(Self::PORTABLE))
    }

    /// The kernel's name: `portable`, `avx2`, `avx512` or `neon`.
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

    /// Adds the whole words of `data` to `state`.
    pub(super) fn update(self, state: &mut [u64; 4], data: &[u8], order: ByteOrder) {
        match order {
            ByteOrder::Little => self.update_in::<false>(state, data),
            ByteOrder::Big => self.update_in::<true>(state, data),
        }
    }

    // Every vector kernel is for little-endian machines, so big-endian words are the swapped ones.
    fn update_in<const BIG: bool>(self, state: &mut [u64; 4], data: &[u8]) {
        let rest = match self.0 {
            Kind::Portable => data,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(kernel) => whole_vectors(state, data, |vectors| kernel.sum::<BIG>(vectors)),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(kernel) => whole_vectors(state, data, |vectors| kernel.sum::<BIG>(vectors)),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Kind::Neon(kernel) => whole_vectors(state, data, |vectors| kernel.sum::<BIG>(vectors)),
        };
        portable::update::<BIG>(state, rest);
    }
}

/// Adds the whole vectors of `data` to `state` and returns the bytes behind them.
#[allow(dead_code, reason = "processors without a vector kernel")]
#[inline]
fn whole_vectors<'a, const STEP: usize>(
    state: &mut [u64; 4],
    data: &'a [u8],
    sum: impl Fn(&[[u8; STEP]]) -> [u64; 4],
) -> &'a [u8] {
    let (vectors, rest) = data.as_chunks();
    if !vectors.is_empty() {
        let part = sum(vectors);
        *state = advance(*state, (vectors.len() * STEP / 4) as u64);
        for (word, part) in state.iter_mut().zip(part) {
            *word = word.wrapping_add(part);
        }
    }
    rest
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel({})", self.name())
    }
}
