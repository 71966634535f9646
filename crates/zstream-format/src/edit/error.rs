//! Why an edit ended.

use crate::stream;

/// Why an edit ended: which side of it is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The stream that is read.
    #[error("{0}")]
    Input(#[source] stream::Error),
    /// The stream that is written, mostly because its destination fails.
    #[error("cannot write the stream: {0}")]
    Output(#[source] stream::Error),
}

impl EditError {
    /// The destination's own error, where that is what ended the edit.
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
