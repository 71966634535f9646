#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod begin;
mod changes;
mod encode;
pub mod error;
mod estimate;
mod expand;
mod form;
pub mod job;
mod line;
mod load;
mod merge;
pub mod note;
mod output;
pub mod package;
mod pipeline;
pub mod plan;
mod progress;
mod range;
mod redactions;
pub mod refusal;
pub mod request;
mod window;

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
    pipeline::run(plan, Some(out), progress)
}

/// How long the stream is that [`send`] would write, by a traversal that reads no data (`zfs send -n` knows a
/// guess only).
///
/// # Errors
/// As [`send`].
pub fn measure(plan: &Plan, progress: &Progress) -> Result<Sent> {
    pipeline::run(plan, None, progress)
}
