//! Source of numbers for guids and salts.

use zstream_dmu::Random;
use zstream_dmu::error::Result;

/// The source of guids and salts: the system, or a seed, so that the same steps make the same image.
///
/// Keys and their protection never depend on a seed.
#[derive(Debug)]
pub enum Entropy {
    /// The system's random numbers.
    System(Random),
    /// A seed and its successors (SplitMix64).
    Seed(u64),
}

impl Entropy {
    /// Returns a source of the system's random numbers.
    ///
    /// # Errors
    /// Fails if the system has none.
    pub fn system() -> Result<Self> {
        Ok(Self::System(Random::system()?))
    }

    /// Returns a source of the numbers that follow from a seed.
    #[must_use]
    pub(crate) fn seeded(seed: u64) -> Self {
        Self::Seed(seed)
    }

    pub(crate) fn next(&mut self) -> Result<u64> {
        match self {
            Self::System(random) => Ok(random.u64()?),
            Self::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = *state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                Ok(z ^ (z >> 31))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_the_system_others() {
        let take = |entropy: &mut Entropy| (0..100).map(|_| entropy.next().unwrap()).collect::<Vec<_>>();
        assert_eq!(take(&mut Entropy::seeded(7)), take(&mut Entropy::seeded(7)));
        assert_ne!(take(&mut Entropy::seeded(7)), take(&mut Entropy::seeded(8)));
        assert_ne!(take(&mut Entropy::system().unwrap()), take(&mut Entropy::system().unwrap()));
    }
}
