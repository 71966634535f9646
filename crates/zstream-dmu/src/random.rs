//! Random numbers of the system, and reproducible numbers from a seed.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use crate::ids::Guid;
use crate::lock::lock;

/// A source of guids, salts and initialization vectors.
///
/// Numbers from a seed are the same in every run. They are for reproducible images, and must never be used for keys.
#[derive(Debug)]
pub struct Random {
    source: Mutex<Source>,
}

#[derive(Debug)]
enum Source {
    System(File),
    Seed { seed: u64, counter: u64 },
}

impl Random {
    /// Opens the source of the operating system.
    ///
    /// # Errors
    /// Fails if it has no source of random numbers.
    pub fn system() -> io::Result<Self> {
        let file = File::open("/dev/urandom")
            .map_err(|error| io::Error::new(error.kind(), format!("/dev/urandom: {error}")))?;
        Ok(Self { source: Mutex::new(Source::System(file)) })
    }

    /// Creates a source from a seed: SHA-256 of the seed and a counter.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self { source: Mutex::new(Source::Seed { seed, counter: 0 }) }
    }

    /// Fills `out` with random bytes.
    ///
    /// # Errors
    /// Fails if the operating system fails.
    pub fn fill(&self, out: &mut [u8]) -> io::Result<()> {
        let mut source = lock(&self.source);
        match &mut *source {
            Source::System(file) => file.read_exact(out),
            Source::Seed { seed, counter } => {
                for part in out.chunks_mut(32) {
                    let digest = Sha256::new()
                        .chain_update(b"zstream")
                        .chain_update(seed.to_le_bytes())
                        .chain_update(counter.to_le_bytes())
                        .finalize();
                    *counter += 1;
                    part.copy_from_slice(&digest[..part.len()]);
                }
                Ok(())
            }
        }
    }

    /// Returns a random number.
    ///
    /// # Errors
    /// Fails like [`fill`](Self::fill).
    pub fn u64(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Returns a random guid, which is never 0 (`spa_generate_guid`).
    ///
    /// # Errors
    /// Fails like [`fill`](Self::fill).
    pub fn guid(&self) -> io::Result<Guid> {
        loop {
            let number = self.u64()?;
            if number != 0 {
                return Ok(Guid(number));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_the_system_others() {
        let list = |random: &Random| (0..5).map(|_| random.guid().unwrap()).collect::<Vec<_>>();
        let (a, b) = (list(&Random::from_seed(1)), list(&Random::from_seed(2)));
        assert_eq!(a, list(&Random::from_seed(1)));
        assert_ne!(a, b);
        assert_ne!(list(&Random::system().unwrap()), list(&Random::system().unwrap()));
        let mut long = [0; 80];
        Random::from_seed(1).fill(&mut long).unwrap();
        assert_eq!(long[..8], a[0].0.to_le_bytes());
        assert!(long.chunks(16).all(|part| part != [0; 16]));
    }
}
