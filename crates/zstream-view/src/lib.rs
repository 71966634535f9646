#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod entry;
mod error;
mod index;
mod log;
mod objects;
mod open;
mod raw;
mod source;
mod view;

pub use self::error::ViewError;
pub use self::log::{Cut, Snapshot};
pub use self::objects::Unfit;
pub use self::open::{Options, Padded, Streams};
pub use self::source::Source;
pub use self::view::StreamView;
