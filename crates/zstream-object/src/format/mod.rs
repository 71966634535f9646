//! The objects of a bucket, to the byte: names, generation records, the map of addresses, and headers of data.
//!
//! `docs/object-format.md` describes the same for others. All numbers are little-endian.
//!
//! ```text
//! gen/HEX        sealed body: the record of a generation                         `generation`
//! map/ID         sealed body: a page of the map, or the root that lists pages    `map_objects`
//! data/ID        header with a table of extents, then their bytes                `data`
//!
//! sealed body    Seal | zstd frame | BLAKE3 of everything before it              `sealed`
//! ```
//!
//! These invariants hold: parsing never panics; no number from an object sets the size of an allocation before it is
//! compared with a named limit; tables are sorted and without overlaps after they were parsed.

mod data;
mod generation;
mod map_objects;
mod names;
mod sealed;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use data::Payload;
pub(crate) use generation::{Generation, Geometry, LABEL_BLOCK, LABEL_BYTES};
pub(crate) use map_objects::{Page, PageReference, Root};
pub(crate) use names::{Kind, ObjectId, generation_name, generation_of};
pub(crate) use sealed::SEALED_BYTES_MAX;
pub(crate) use table::{Extent, Location, Table};

use std::io;

/// Returns the error of an object that does not follow the format.
pub(crate) fn corrupt(reason: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_string())
}
