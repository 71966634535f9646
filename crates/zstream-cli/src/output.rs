//! Standard output: text, and streams, which are never written to a terminal.
//!
//! It is written as a file: the standard library's own buffer would be flushed at every end of a line.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _};
use std::os::fd::AsFd as _;

use crate::failure::Failure;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// Standard output, buffered. Whoever writes has to flush, to learn whether it worked.
pub(crate) type Output = BufWriter<File>;

/// Standard output for text.
pub(crate) fn text() -> Result<Output, Failure> {
    let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(|error| Failure::output(&error))?;
    Ok(BufWriter::with_capacity(BUFFER_BYTES, stdout.into()))
}

/// Standard output for a stream; refused where it is a terminal.
pub(crate) fn binary() -> Result<Output, Failure> {
    if io::stdout().is_terminal() {
        return Err(Failure::new(
            "a stream cannot be written to a terminal, redirect standard output to a file or pipe",
        ));
    }
    text()
}
