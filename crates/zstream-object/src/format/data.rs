//! Data objects: a header with a table of the extents, then their bytes.
//!
//! ```text
//! DataHeader | extents x DataExtent | BLAKE3 of everything before it | bytes of the extents, in order
//! ```
//!
//! Readers use the map, which has the offset of each extent. The header is what the map could be made from again.

use bytes::Bytes;
use zstream_format::order::ByteOrder;
use zstream_format::structure;

use super::names::{ObjectId, StoredId};
use super::sealed::{CHECKSUM_BYTES, VERSION};
use super::table::{Extent, Location};

structure! {
    /// The start of a data object.
    DataStart[48] {
        /// `zstrmdat`
        magic: [u8; 8],
        /// The version of the format.
        version: u32,
        /// The number of extents.
        extents: u32,
        /// Its identity.
        id: StoredId,
        /// The number of bytes after the header.
        bytes: u64,
    }

    /// An extent in a data object.
    DataExtent[16] {
        /// The first byte on the device.
        address: u64,
        /// The number of bytes.
        bytes: u64,
    }
}

const MAGIC: &[u8; 8] = b"zstrmdat";

/// The limit for the number of extents in one object.
const EXTENTS_MAX: u32 = 1 << 20;

/// A data object to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    /// Its identity.
    pub(crate) id: ObjectId,
    /// Its extents, with their places in it.
    pub(crate) extents: Vec<Extent>,
    /// All its bytes.
    pub(crate) object: Bytes,
    /// The bytes of the device in it.
    pub(crate) bytes: u64,
}

impl Payload {
    /// Packs pieces of the device, in the order of their addresses, into an object.
    pub(crate) fn pack(id: ObjectId, pieces: &[(u64, Vec<u8>)]) -> Self {
        let mut extents: Vec<Extent> = Vec::new();
        for (address, bytes) in pieces {
            let bytes = bytes.len() as u64;
            match extents.last_mut() {
                Some(last) if last.end() == *address => last.bytes += bytes,
                _ => extents.push(Extent { address: *address, bytes, at: None }),
            }
        }
        let bytes = extents.iter().map(|extent| extent.bytes).sum();
        let start = DataStart {
            magic: *MAGIC,
            version: VERSION,
            extents: extents.len() as u32,
            id: id.stored(),
            bytes,
        };
        let header_bytes = DataStart::LEN + extents.len() * DataExtent::LEN + CHECKSUM_BYTES;
        let mut object = Vec::with_capacity(header_bytes + bytes as usize);
        object.extend(start.to_bytes(ByteOrder::Little));
        let mut offset = header_bytes as u32;
        for extent in &mut extents {
            let Extent { address, bytes, .. } = *extent;
            object.extend(DataExtent { address, bytes }.to_bytes(ByteOrder::Little));
            extent.at = Some(Location { object: id, offset });
            offset += bytes as u32;
        }
        let checksum = blake3::hash(&object);
        object.extend(checksum.as_bytes());
        pieces.iter().for_each(|(_, bytes)| object.extend(bytes));
        Self { id, extents, object: object.into(), bytes }
    }

    /// Returns the largest number of pieces in one object.
    pub(crate) const PIECES_MAX: usize = EXTENTS_MAX as usize;
}
