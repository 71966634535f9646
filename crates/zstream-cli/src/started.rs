//! The state in which the program was started, before the standard library changes it.
//!
//! The library opens `/dev/null` in the place of a closed standard output, so that what is written there would be lost without
//! an error. So the descriptor is looked at before `main`.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

static IS_STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// The open descriptors of this process, on all systems.
const DESCRIPTORS: &str = "/dev/fd";

// SAFETY: nothing of the standard library is called that needs `main` to have begun: a path is looked up, an atomic is set.
#[ctor::ctor(unsafe)]
fn look() {
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
