//! The state in which the program was started, before the standard library changes it.
//!
//! At startup the standard library replaces a closed standard output by `/dev/null`, so that output would be lost without
//! an error. The descriptor is therefore examined before `main`.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

static IS_STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// The open descriptors of this process, on all systems.
const DESCRIPTORS: &str = "/dev/fd";

// SAFETY: only parts of the standard library are used that work before `main`: a path is looked up, an atomic is set.
#[ctor::ctor(unsafe)]
fn examine_stdout() {
    let is_missing =
        |path: &str| fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    if is_missing("/dev/fd/1") && fs::metadata(DESCRIPTORS).is_ok() {
        IS_STDOUT_CLOSED.store(true, Ordering::Relaxed);
    }
}

/// The error of writing to a standard output that was closed when the program was started.
pub(crate) fn check_stdout() -> io::Result<()> {
    match IS_STDOUT_CLOSED.load(Ordering::Relaxed) {
        true => Err(io::Error::other("it is closed")),
        false => Ok(()),
    }
}
