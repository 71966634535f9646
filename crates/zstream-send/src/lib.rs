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

pub use error::{Error, Result};
pub use pipeline::{measure, send};
pub use progress::{Progress, Replaced, Sent};
