//! The error of edits.

use crate::stream;

/// An error from editing a stream, on the side of the input or of the output.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Reading the input failed.
    #[error("{0}")]
    Input(#[source] stream::Error),
    /// Writing the output failed, usually because the destination failed.
    #[error("cannot write the stream: {0}")]
    Output(#[source] stream::Error),
}

impl EditError {
    /// Returns the error of the destination, if that ended the edit.
    #[must_use]
    pub fn output_error(&self) -> Option<&std::io::Error> {
        match self {
            Self::Output(error) => match error.fault() {
                stream::Fault::Io(error) => Some(error),
                _ => None,
            },
            Self::Input(_) => None,
        }
    }
}
