//! Errors of the program and their exit codes.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use signal_hook::low_level::emulate_default_handler;
use zstream::Error;
use zstream_format::edit::EditError;
use zstream_format::stream;

use crate::text::line;

/// The reason that a verb failed, and its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The message, or `None` if there is nothing more to report.
    message: Option<String>,
    /// True if the message is printed without the name of the program.
    is_verbatim: bool,
    code: u8,
    /// The signal that was the reason.
    signal: Option<i32>,
}

impl Failure {
    /// The input is bad or the operation failed.
    pub(crate) fn new(message: impl Display) -> Self {
        Self { message: Some(line(message)), ..Self::reported() }
    }

    /// Like [`new`](Self::new), with the text of OpenZFS's `zstream`, which does not always have a prefix.
    pub(crate) fn verbatim(message: impl Display) -> Self {
        Self { is_verbatim: true, ..Self::new(message) }
    }

    /// Like [`new`](Self::new), of several lines.
    pub(crate) fn lines(lines: &[String]) -> Self {
        let lines: Vec<String> = lines.iter().map(line).collect();
        Self { message: Some(lines.join("\n")), ..Self::reported() }
    }

    /// What failed was reported already.
    pub(crate) fn reported() -> Self {
        Self { message: None, is_verbatim: false, code: 1, signal: None }
    }

    /// There is nothing more to report than an exit code.
    pub(crate) fn code(code: u8) -> Self {
        Self { code, ..Self::reported() }
    }

    /// A usage error that the parser cannot detect.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { code: 2, ..Self::new(message) }
    }

    /// The message without the name of the program; `None` if there is nothing more to report.
    pub(crate) fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The same because of a signal. The program then ends by this signal, so that the shell sees it.
    pub(crate) fn by(self, signal: Option<i32>) -> Self {
        Self { signal, ..self }
    }

    /// Prints the message and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if let Some(message) = &self.message {
            // It was escaped when it was made, and may have several lines. Where it cannot be written, the exit code is left.
            let prefix = if self.is_verbatim { "" } else { "zstream: " };
            let _ = writeln!(io::stderr(), "{prefix}{message}");
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
            Self::reported()
        } else {
            Self::new(format_args!("cannot write to standard output: {error}"))
        }
    }
}

/// Errors of the library and of the layers below. An invalid request is a usage error.
macro_rules! from_library {
    ($($error:ty)*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                match error.into() {
                    Error::Request(request) => Self::usage(request),
                    Error::Output(error) => Self::output(&error),
                    error => Self::new(error),
                }
            }
        }
    )*};
}

from_library!(Error zstream::Request stream::Error zstream_dmu::error::Error zstream_dsl::error::Error zstream_zpl::error::Error);

/// An error of an edit: of its input or of its output.
impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Input(error) => error.into(),
            output => output.output_error().map_or_else(|| Self::new(&output), Self::output),
        }
    }
}
