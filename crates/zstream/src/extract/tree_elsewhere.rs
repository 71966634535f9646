//! Extraction into a directory on systems other than Unix: they lack the calls that keep it inside the directory.

use std::io;
use std::path::Path;

use zstream_zpl::Filesystem;

use super::{ExtractOptions, Report};
use crate::error::{Error, Result};

/// A restore into one directory, which cannot begin on this system.
pub(super) enum Tree {}

impl Tree {
    /// Fails.
    ///
    /// # Errors
    /// Always: extraction into a directory is not supported here.
    pub(super) fn open(directory: &Path, _: ExtractOptions) -> Result<Self> {
        let why = "extraction into a directory is supported on Unix only; write a tar archive instead";
        let source = io::Error::new(io::ErrorKind::Unsupported, why);
        Err(Error::File { path: directory.to_owned(), source })
    }

    /// Cannot be called: no restore begins.
    pub(super) fn restore(&mut self, _: &Filesystem<'_>, _: &[&[u8]], _: &mut Report<'_, '_>) -> Result<()> {
        match *self {}
    }
}
