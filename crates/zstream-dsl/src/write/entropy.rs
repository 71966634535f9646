//! Numbers for guids, salts and keys.

use std::fs::File;
use std::io::Read;

use zstream_dmu::error::Result;

/// Bytes that are taken from the system at a time.
const POOL_BYTES: usize = 256;

/// Where guids and salts come from: the system, or a seed, so that the same steps give the same image.
///
/// Keys and what protects them never come from a seed.
#[derive(Debug)]
pub enum Entropy {
    /// The system's random numbers.
    System(Vec<u8>),
    /// A seed, counted on (SplitMix64).
    Seed(u64),
}

impl Entropy {
    /// The system's random numbers.
    ///
    /// # Errors
    /// When the system has none.
    pub fn system() -> Result<Self> {
        let mut pool = vec![0; POOL_BYTES];
        Self::fill(&mut pool)?;
        Ok(Self::System(pool))
    }

    /// Numbers that follow from a seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self::Seed(seed)
    }

    /// Fills `out` with the system's random numbers: for keys.
    ///
    /// # Errors
    /// When the system has none.
    pub fn fill(out: &mut [u8]) -> Result<()> {
        Ok(File::open("/dev/urandom")?.read_exact(out)?)
    }

    pub(crate) fn next(&mut self) -> Result<u64> {
        match self {
            Self::System(pool) => {
                if pool.len() < 8 {
                    pool.resize(POOL_BYTES, 0);
                    Self::fill(pool)?;
                }
                let rest = pool.len() - 8;
                let number = pool[rest..].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
                pool.truncate(rest);
                Ok(number)
            }
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
