#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod control;
mod error;
pub mod extract;
pub mod list;
mod place;
mod put;
pub mod text;

pub use control::{Cancel, Control, Event, Warning};
pub use error::{EncryptionFault, Error, OtherError, PutFault, Request, Result};
pub use place::keys::{load_key, unlock, unlock_to_write};
pub use place::source::{CHUNK_BYTES, joined, parts};
pub use place::{Key, KeyFile, Keys, NoKeys, OpenPool, PoolPlace, Source, StreamPlace};
pub use put::{Input, Put, PutOptions};
