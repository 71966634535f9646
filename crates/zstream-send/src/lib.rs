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
mod note;
mod output;
mod package;
mod pipeline;
pub mod plan;
mod progress;
mod range;
mod redactions;
mod refusal;
pub mod request;
mod window;

pub use error::{Error, Result};
pub use note::Note;
pub use package::PACKAGE_LIST_BYTES_MAX;
pub use pipeline::{measure, send};
pub use progress::{Progress, Replaced, Sent};
pub use refusal::Refusal;
