//! Pools in object storage: a [`Device`](zstream_dmu::device::Device) whose bytes lie in immutable objects of a bucket
//! or a local directory.
//!
//! [`Places`] is an opener of devices: it knows URLs (`file:///dir`, `s3://bucket/prefix`, `gs://`, `az://`,
//! `https://`), and passes other names on to files and disks. Everything above works as with a file.
//!
//! ```text
//! Device: writes, reads, flushes
//!    |        overlay, uploads, cache            `device`
//!    |        addresses -> places in objects     `map`
//!    |        what nobody needs any more         `collect`
//!    |        which generation is the newest     `history`
//!    |        objects to the byte                `format`
//!    v        requests, again if they fail       `store`
//! bucket
//! ```
//!
//! A flush commits a *generation*: a record that refers to all objects with bytes of the device at this time. The
//! record is created only if its number is free, so one of two writers fails, without effect. Objects are never
//! replaced, so a generation that was opened stays as it is until it is collected.

mod collect;
mod device;
mod format;
mod history;
mod map;
mod places;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod upkeep;

pub use collect::{Collected, GRACE_DEFAULT, GenerationInfo};
/// The crate whose stores can be added with [`Places::insert`].
pub use object_store;
pub use places::{CHUNK_BYTES_DEFAULT, DEVICE_BYTES_DEFAULT, Places};
pub use store::Requests;
pub use upkeep::{LostObject, StoreCheck};
