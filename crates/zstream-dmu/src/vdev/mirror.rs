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
    let (trusted, other): (Vec<_>, Vec<_>) =
        children[first..].iter().chain(&children[..first]).partition(|child| child.counts(birth));
    for child in trusted.into_iter().chain(other) {
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
    let sources = sources(children, birth);
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

/// Returns whether blocks that were born in `birth` are expected in source number `source`.
pub(super) fn source_counts(children: &[Vdev], birth: u64, source: usize) -> bool {
    let sources = sources(children, birth);
    sources.get(source).is_some_and(|(child, n)| child.source_counts(birth, *n))
}

/// Returns the sources, those first in which blocks that were born in `birth` are expected.
fn sources(children: &[Vdev], birth: u64) -> Vec<(&Vdev, usize)> {
    let mut sources: Vec<(&Vdev, usize)> =
        children.iter().flat_map(|child| (0..child.sources()).map(move |n| (child, n))).collect();
    sources.sort_by_key(|(child, n)| !child.source_counts(birth, *n));
    sources
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
