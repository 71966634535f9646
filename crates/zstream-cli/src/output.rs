//! What the program prints: text, and streams, which are never written to a terminal.
//!
//! Standard output is written as a file: the standard library's own buffer would be flushed at every end of a line.
//!
//! Names, values and messages come from outside, so none may reach a terminal as it is. Text is made of lines, whose names are
//! escaped where a line is put together ([`line`](crate::text::line)), since only there is it known which line ends are ours. What is left is escaped
//! on the way out, so that nothing can be forgotten: but for line ends and tabs, no control character is ever printed. What OpenZFS
//! prints as it is, is printed so only where standard output is not a terminal.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::os::fd::AsFd as _;

use zstream::text::Escapes;

use crate::failure::Failure;
use crate::started::check_stdout;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// Buffered standard output for text. The caller must flush it to learn whether writing succeeded.
pub(crate) type Output = BufWriter<Sink>;

/// Buffered standard output for bytes, which passes lists of buffers on to the system as they are. The caller must flush it.
pub(crate) type Bytes = BufWriter<File>;

/// Standard output for text, with or without escapes.
#[derive(Debug)]
pub(crate) struct Sink {
    file: File,
    escapes: Option<Escapes>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(escapes) = &mut self.escapes else { return self.file.write(bytes) };
        self.file.write_all(escapes.pass(bytes).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(escapes) = &mut self.escapes {
            self.file.write_all(escapes.end().as_bytes())?;
        }
        self.file.flush()
    }
}

fn stdout() -> Result<File, Failure> {
    check_stdout().map_err(|error| Failure::output(&error))?;
    let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(|error| Failure::output(&error))?;
    Ok(stdout.into())
}

fn open(escapes: bool) -> Result<Output, Failure> {
    let sink = Sink { file: stdout()?, escapes: escapes.then(Escapes::default) };
    Ok(BufWriter::with_capacity(BUFFER_BYTES, sink))
}

/// Standard output for text.
pub(crate) fn text() -> Result<Output, Failure> {
    open(true)
}

/// Standard output for text that equals OpenZFS's to the byte, unless it is a terminal.
pub(crate) fn same_text() -> Result<Output, Failure> {
    open(io::stdout().is_terminal())
}

/// Standard output for the content of files.
pub(crate) fn content() -> Result<Bytes, Failure> {
    Ok(BufWriter::with_capacity(BUFFER_BYTES, stdout()?))
}

/// Standard output for a stream; a terminal is refused.
pub(crate) fn binary() -> Result<Bytes, Failure> {
    if io::stdout().is_terminal() {
        return Err(Failure::new(
            "cannot write a stream to a terminal: redirect standard output to a file or pipe",
        ));
    }
    content()
}

/// Prints text on standard output.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = self::text()?;
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}

/// Prints a line on standard output, through the macro `say`.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn say(text: impl std::fmt::Display) -> Result<(), Failure> {
    check_stdout()
        .and_then(|()| writeln!(io::stdout(), "{}", crate::text::line(text)))
        .map_err(|error| Failure::output(&error))
}

/// Reports that lines about a change could not be printed, as a warning: the change is done, and so the verb succeeds.
pub(crate) fn warn_unprinted(printed: Result<(), Failure>) {
    if let Err(failure) = printed
        && let Some(message) = failure.message()
    {
        eprintln!("zstream: warning: everything was done, but {message}");
    }
}

/// Prints a line of columns that are separated by tabs; a tab in one of them is escaped, so that it forges no column.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn say_columns(cells: &[&str]) -> Result<(), Failure> {
    check_stdout()
        .and_then(|()| writeln!(io::stdout(), "{}", crate::text::columns(cells)))
        .map_err(|error| Failure::output(&error))
}
