//! What a verb can end with besides success.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use signal_hook::low_level::emulate_default_handler;
use zstream_format::edit::EditError;
use zstream_format::stream;

use crate::text::line;

/// Why a verb failed, and the exit code that says so.
#[derive(Debug)]
pub(crate) struct Failure {
    /// One line with what comes before it, or `None` where there is nobody to tell: the reader of our output went away.
    message: Option<String>,
    code: u8,
    /// The signal that was the reason.
    signal: Option<i32>,
}

impl Failure {
    /// The input is bad or the operation failed.
    pub(crate) fn new(message: impl Display) -> Self {
        Self::verbatim(format_args!("zstream: {message}"))
    }

    /// Like [`new`](Self::new), with the words of OpenZFS's `zstream`, which does not always say its name.
    pub(crate) fn verbatim(message: impl Display) -> Self {
        Self { message: Some(line(message)), code: 1, signal: None }
    }

    /// Like [`new`](Self::new), of several lines.
    pub(crate) fn lines(lines: &[String]) -> Self {
        let lines: Vec<String> = lines.iter().map(line).collect();
        Self { message: Some(format!("zstream: {}", lines.join("\n"))), code: 1, signal: None }
    }

    /// The command line asks for something that there is not, which the parser could not see.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { code: 2, ..Self::new(message) }
    }

    /// What went wrong, without the name of the program.
    pub(crate) fn message(&self) -> &str {
        let message = self.message.as_deref().unwrap_or_default();
        message.strip_prefix("zstream: ").unwrap_or(message)
    }

    /// The same because of a signal, which the program then ends by, so that a shell knows.
    pub(crate) fn by(self, signal: Option<i32>) -> Self {
        Self { signal, ..self }
    }

    /// Prints the message and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if let Some(message) = &self.message {
            // It was escaped when it was made, and may have several lines.
            std::eprintln!("{message}");
        }
        if let Some(signal) = self.signal {
            // Where that cannot be done there is still the exit code.
            let _ = emulate_default_handler(signal);
        }
        ExitCode::from(self.code)
    }

    /// Writing to standard output failed.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self { message: None, code: 1, signal: None }
        } else {
            Self::new(format_args!("cannot write to standard output: {error}"))
        }
    }
}

/// A verb of the library failed. A request that makes no sense is a wrong command line.
impl From<zstream::Error> for Failure {
    fn from(error: zstream::Error) -> Self {
        match error {
            zstream::Error::Request(request) => request.into(),
            zstream::Error::Output(error) => Self::output(&error),
            error => Self::new(error),
        }
    }
}

impl From<zstream::Request> for Failure {
    fn from(request: zstream::Request) -> Self {
        Self::usage(request)
    }
}

/// Something is wrong with the stream that is read.
impl From<stream::Error> for Failure {
    fn from(error: stream::Error) -> Self {
        Self::new(error)
    }
}

/// Something is wrong with the pool that is read.
impl From<zstream_dmu::error::Error> for Failure {
    fn from(error: zstream_dmu::error::Error) -> Self {
        Self::new(error)
    }
}

/// An edit failed: because of the stream it read, or of where it wrote to.
impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Input(error) => error.into(),
            output => output.output_error().map_or_else(|| Self::new(&output), Self::output),
        }
    }
}
