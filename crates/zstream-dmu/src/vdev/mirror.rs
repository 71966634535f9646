//! Reading of mirrors, and of pairs of vdevs of which one replaces the other.

use super::{Effort, Reading, Vdev};
use crate::error::{Error, Fault, Result};

/// The number of bytes after which reading starts with the next child, so that a large range keeps all children busy.
const STRIDE_BYTES: u64 = 1 << 20;

/// Reads from the first child whose content passes the verification, or from every child if all copies are requested.
pub(super) fn read(
    children: &[Vdev],
    offset: u64,
    birth: u64,
    out: &mut [u8],
    reading: &mut Reading<'_>,
) -> Result<()> {
    let first = (offset / STRIDE_BYTES) as usize % children.len();
    let mut errors = Vec::new();
    let mut good = None;
    let (trusted, offline): (Vec<_>, Vec<_>) =
        children[first..].iter().chain(&children[..first]).partition(|child| child.counts());
    for child in trusted.into_iter().chain(offline) {
        match child.read(offset, birth, out, reading) {
            Ok(()) if reading.effort == Effort::AnyCopy => return Ok(()),
            Ok(()) => good = Some(out.to_vec()),
            Err(error) => errors.push(error),
        }
    }
    match good {
        Some(bytes) => {
            out.copy_from_slice(&bytes);
            Ok(())
        }
        None => Err(failure(errors)),
    }
}

/// Reads from source number `source`, or from the following sources if that fails.
pub(super) fn read_unverified(
    children: &[Vdev],
    offset: u64,
    out: &mut [u8],
    birth: u64,
    source: usize,
) -> Result<()> {
    let current = |child: &Vdev| if child.counts() { child.current_sources() } else { 0 };
    // The sources that are expected to be current are first.
    let first = children.iter().flat_map(|child| (0..current(child)).map(move |n| (child, n)));
    let rest = children.iter().flat_map(|child| (current(child)..child.sources()).map(move |n| (child, n)));
    let sources: Vec<(&Vdev, usize)> = first.chain(rest).collect();
    let first = source % sources.len().max(1);
    let mut errors = Vec::new();
    for (child, n) in sources[first..].iter().chain(&sources[..first]) {
        match child.read_unverified(offset, out, birth, *n) {
            Ok(()) => return Ok(()),
            Err(error) => errors.push(error),
        }
    }
    Err(failure(errors))
}

/// Returns the error to report. Missing members are left out if other members are present and failed.
fn failure(mut errors: Vec<Error>) -> Error {
    if errors.iter().any(|error| !error.fault().is_missing_member()) {
        errors.retain(|error| !error.fault().is_missing_member());
    }
    match errors.len() {
        1 => errors.remove(0),
        _ => Fault::NoGoodCopy(errors).into(),
    }
}
