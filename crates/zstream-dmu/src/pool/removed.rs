//! Removed vdevs of a pool that is written.
//!
//! | entry of the MOS's directory | content | when written |
//! | --- | --- | --- |
//! | `com.delphix:removing` | the last removal: state, vdev, previously removed vdev, times, bytes | refused while under way |
//! | `com.delphix:condensing_indirect` | the condensing of a mapping that is under way | kept |
//! | `com.delphix:obsolete_bpobj` | blocks that become obsolete with the next transaction group | kept |
//!
//! A mapping that is being condensed is used until OpenZFS, which resumes at the next import, replaces it. What becomes
//! obsolete meanwhile is in a map that is newer than the condensing.

use super::Pool;
use crate::error::{Error, Result};
use crate::mos::DIRECTORY_OBJECT;
use crate::zap::Zap;

/// The entry of the MOS's directory with the last removal.
const REMOVING: &str = "com.delphix:removing";

/// The state of a removal that is under way (`DSS_SCANNING`).
const SCANNING: u64 = 1;

/// Refuses a pool from which a vdev is being removed.
///
/// # Errors
/// Fails for such a pool, and if the MOS cannot be read.
pub(super) fn check_removed(pool: &Pool) -> Result<()> {
    match Zap::open(&**pool.mos(), DIRECTORY_OBJECT)?.lookup(REMOVING)? {
        Some(removing) if removing.u64s().first() == Some(&SCANNING) => {
            Err(Error::unsupported("writing to a pool from which a vdev is being removed"))
        }
        _ => Ok(()),
    }
}
