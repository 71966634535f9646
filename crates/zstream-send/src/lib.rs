#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod error;
mod estimate;
pub mod job;
mod line;
pub mod note;
pub mod package;
pub mod plan;
mod progress;
pub mod refusal;
pub mod request;

use std::io::Write;

pub use error::{Error, Result};
pub use progress::{Progress, Replaced, Sent};

use plan::Plan;

/// Writes the stream that `plan` describes: one substream, BEGIN to END. Bytes written before an error are
/// the beginning of the stream that would have been.
///
/// # Errors
/// What is to be sent cannot be read ([`Fault::Read`](error::Fault::Read)), is not to be sent, or `out` fails
/// ([`Fault::Output`](error::Fault::Output), which a reader that went away is too).
pub fn send(plan: &Plan, out: &mut dyn Write, progress: &Progress) -> Result<Sent> {
    let _ = (plan, out, progress);
    Err(zstream_dmu::error::Error::unsupported("sending").into())
}

/// How long the stream is that [`send`] would write, by a traversal that reads no data (`zfs send -n` knows a
/// guess only).
///
/// # Errors
/// As [`send`].
pub fn measure(plan: &Plan, progress: &Progress) -> Result<Sent> {
    let _ = (plan, progress);
    Err(zstream_dmu::error::Error::unsupported("measuring a stream").into())
}
