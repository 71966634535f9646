//! What the program prints: text, and streams, which are never written to a terminal.
//!
//! Standard output is written as a file: the standard library's own buffer would be flushed at every end of a line.
//!
//! Names, values and messages come from outside, so none may reach a terminal as it is. Text is made of lines, whose names are
//! escaped where a line is put together ([`line`](crate::text::line)), since only there is it known which line ends are ours. What is left is escaped
//! on the way out, so that nothing can be forgotten: but for line ends and tabs, no control character is ever printed. What OpenZFS
//! prints as it is, is printed so only where standard output is not a terminal.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::os::fd::AsFd as _;

use zstream_format::shown::{Shown, is_hidden};

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

/// Escapes hidden characters in text that arrives in pieces, except line ends and tabs.
#[derive(Debug, Default)]
pub(crate) struct Escapes {
    /// The start of an incomplete character.
    rest: Vec<u8>,
}

impl Escapes {
    /// The text of one more piece. Hidden characters are written as in JSON, in whose strings they may be; bytes that are not UTF-8,
    /// which JSON does not have, as `\xNN`.
    fn pass(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let mut out = String::with_capacity(all.len());
        let mut at = 0;
        for chunk in all.utf8_chunks() {
            for c in chunk.valid().chars() {
                if is_hidden(c) && c != '\n' && c != '\t' {
                    let mut units = [0; 2];
                    for unit in c.encode_utf16(&mut units) {
                        // Writing to a `String` does not fail.
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                } else {
                    out.push(c);
                }
            }
            at += chunk.valid().len() + chunk.invalid().len();
            let may_go_on = at == all.len()
                && std::str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
            if may_go_on {
                self.rest = chunk.invalid().to_vec();
            } else {
                let _ = write!(out, "{}", Shown::new(chunk.invalid()));
            }
        }
        out
    }

    /// The text of an incomplete character at the end.
    fn end(&mut self) -> String {
        Shown::new(&std::mem::take(&mut self.rest)).to_string()
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
        && !failure.message().is_empty()
    {
        eprintln!("zstream: warning: everything was done, but {}", failure.message());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// In pieces of any length the same comes out, and never a control character that went in.
    #[test]
    fn what_is_hidden_is_escaped_in_pieces_of_any_length() {
        let text = "a\u{e9}\u{1b}[2J\t\u{7f}\u{9b}\u{202e}\u{e0041}\u{10400}\n".as_bytes();
        let text = [text, b"\xc3", text, b"\xf0\x90", b"z\xe2\x80"].concat();
        let once = |at: usize| {
            let mut escapes = Escapes::default();
            text.chunks(at).map(|piece| escapes.pass(piece)).collect::<String>() + &escapes.end()
        };
        let whole = once(text.len());
        let first = "a\u{e9}\\u001b[2J\t\\u007f\\u009b\\u202e\\udb40\\udc41\u{10400}\n";
        assert_eq!(whole, format!("{first}\\xc3{first}\\xf0\\x90z\\xe2\\x80"));
        for at in 1..text.len() {
            assert_eq!(once(at), whole, "pieces of {at}");
        }
    }
}
