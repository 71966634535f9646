//! Random numbers of the system, taken many at a time.

use std::fs::File;
use std::io::Read;
use std::sync::{Mutex, PoisonError};

use crate::error::Result;

/// Bytes that are taken from the system at a time.
const POOL_BYTES: usize = 4096;

/// Bytes that were not given out yet.
static POOL: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Bytes that nobody can guess: salts and initialization vectors. None is ever given out twice.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if pool.len() < N {
        let mut fresh = vec![0; POOL_BYTES];
        File::open("/dev/urandom")?.read_exact(&mut fresh)?;
        *pool = fresh;
    }
    let mut out = [0; N];
    let rest = pool.len() - N;
    out.copy_from_slice(&pool[rest..]);
    pool.truncate(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_come_twice() {
        let mut seen = std::collections::HashSet::new();
        assert!((0..2000).all(|_| seen.insert(random::<12>().unwrap())));
    }
}
