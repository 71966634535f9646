#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod check;
mod control;
pub mod create;
mod error;
pub mod extract;
pub mod list;
mod pipe;
mod place;
mod put;
mod receive;
mod replicate;
mod send;
pub mod text;
mod verify;

pub use control::{Cancel, Control, Event, Warning};
pub use error::{EncryptionFault, Error, OtherError, PutFault, Request, Result};
pub use place::keys::{load_key, unlock, unlock_to_write};
pub use place::source::{CHUNK_BYTES, joined, parts};
pub use place::{Key, KeyFile, Keys, NoKeys, OpenPool, PoolPlace, Source, StreamPlace};
pub use put::{Input, Put, PutOptions};
pub use receive::{ReceiveError, ReceiveRequest, Receiver, abort_receive};
pub use replicate::{Replicated, Replication};
pub use send::Sender;
pub use verify::{VerifyingWriter, verify};
pub use zstream_send::request::Request as SendRequest;
