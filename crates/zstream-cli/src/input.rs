//! The source of a stream: a file or standard input.

use std::fs::File;
use std::io::{self, IsTerminal as _, Seek as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use zstream::padding_note;
use zstream_dmu::device::read_in_order;

use crate::failure::Failure;
use crate::progress::{Progress, ProgressAt};

/// Reports zeros after a stream, which are ignored.
pub(crate) fn note_padding(file: Option<&Path>, bytes: u64) {
    if bytes == 0 {
        return;
    }
    match file.filter(|path| *path != Path::new("-")) {
        Some(path) => eprintln!("zstream: {}: {}", path.display(), padding_note(bytes)),
        None => eprintln!("zstream: {}", padding_note(bytes)),
    }
}

/// A file, or standard input.
#[derive(Debug)]
pub(crate) struct Input {
    file: File,
    /// Its name; none for standard input.
    path: Option<PathBuf>,
    /// The number of bytes left in a regular file; `None` for pipes and devices.
    len: Option<u64>,
}

impl Input {
    /// Opens a file; without a path, or with `-`, standard input, which must not be a terminal.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        match path.filter(|path| *path != Path::new("-")) {
            Some(path) => Self::file(path)
                .map_err(|error| Failure::new(format_args!("cannot open {}: {error}", path.display()))),
            None if io::stdin().is_terminal() => Err(Failure::new(
                "cannot read a stream from a terminal: name a file or redirect standard input",
            )),
            None => Self::standard()
                .map_err(|error| Failure::new(format_args!("cannot read standard input: {error}"))),
        }
    }

    fn file(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Self { path: Some(path.to_owned()), ..Self::from_file(file)? })
    }

    /// Standard input as a file, so that a redirected regular file is handled like a named one.
    fn standard() -> io::Result<Self> {
        Self::from_file(io::stdin().as_fd().try_clone_to_owned()?.into())
    }

    fn from_file(mut file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let len = match metadata.is_file() {
            true => {
                read_in_order(&file);
                Some(metadata.len().saturating_sub(file.stream_position()?))
            }
            false => None,
        };
        Ok(Self { file, path: None, len })
    }

    /// The file if it is a regular file, which can be read at any offset.
    pub(crate) fn regular_file(&self) -> Option<&File> {
        self.len.map(|_| &self.file)
    }

    /// True if unread data belongs to the next reader, and cannot be put back: pipes and sockets.
    pub(crate) fn is_pipe(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.file_type().is_fifo() || found.file_type().is_socket())
    }

    /// A regular file opened again for reading at any offset; `None` if it can be read only once.
    pub(crate) fn again(&self) -> Result<Option<File>, Failure> {
        let clone = |file: &File| {
            file.try_clone()
                .map_err(|error| Failure::new(format_args!("cannot read the file twice: {error}")))
        };
        self.regular_file().map(clone).transpose()
    }

    /// A regular file from its current position, for reading at any offset with a progress bar; otherwise the input
    /// itself.
    pub(crate) fn into_positioned(mut self) -> Result<ProgressAt, Self> {
        match (self.len, self.file.stream_position()) {
            (Some(len), Ok(start)) => Ok(ProgressAt::new(self.file, self.path.as_deref(), start, len)),
            _ => Err(self),
        }
    }

    /// The bytes from the current position to the end.
    pub(crate) fn into_raw(self) -> File {
        self.file
    }

    /// The bytes from the current position to the end, with a progress bar.
    pub(crate) fn into_read(self) -> Progress<File> {
        Progress::new(self.file, self.len)
    }

    /// The same for a verb that prints nothing until everything is read.
    pub(crate) fn into_silent_read(self) -> Progress<File> {
        Progress::silent(self.file, self.len)
    }
}
