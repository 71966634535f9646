//! Messages on standard error.

use std::fmt;
use std::io::{self, Write as _};

pub(crate) use zstream::text::{Clock, Column, Count, Size, columns, file_name, line, table};

/// Prints a line on standard error. All messages go this way, through the macro `eprintln`.
pub(crate) fn complain(text: impl fmt::Display) {
    // Nothing is left to report the failure to.
    let _ = writeln!(io::stderr(), "{}", line(text));
}

/// Prints a line of [`columns`] on standard error.
pub(crate) fn complain_columns(cells: &[impl AsRef<str>]) {
    let _ = writeln!(io::stderr(), "{}", columns(cells));
}
