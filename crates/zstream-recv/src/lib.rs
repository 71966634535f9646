#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod apply;
mod engine;
pub mod error;
mod heal;
mod host;
mod input;
mod misfit;
mod needs;
mod package;
mod refusal;
mod replicate;
mod request;
mod rules;
mod sent;
mod sent_keys;

pub use engine::{
    Assignment, MEMORY_BYTES_BASE, MEMORY_BYTES_MAX, MEMORY_PER_STREAM_BYTE, Received, Receiving,
};
pub use error::{Error, Result};
pub use host::{Host, Note};
pub use input::Input;
pub use misfit::Misfit;
pub use refusal::Refusal;
pub use request::{Naming, Request};
pub use rules::{Encryption, OwnKey, Target};
