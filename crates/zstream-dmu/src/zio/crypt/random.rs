//! The source of keys, salts and initialization vectors, which is never seeded.

use std::sync::Mutex;

use crate::error::Result;
use crate::lock::lock;
use crate::random::Random;

static SYSTEM: Mutex<Option<Random>> = Mutex::new(None);

/// Returns unpredictable bytes.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut system = lock(&SYSTEM);
    let source = match &mut *system {
        Some(source) => source,
        none => none.insert(Random::system()?),
    };
    let mut out = [0; N];
    source.fill(&mut out)?;
    Ok(out)
}
