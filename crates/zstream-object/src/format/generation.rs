//! The record of a generation: labels, the root of the map, and what changed since the root was written.
//!
//! ```text
//! GenerationHeader | label_blocks x (number u32 | 4096 bytes) | table of the changes | dead x StoredId
//! ```
//!
//! The *label regions* are the first 4.5 MiB of the device (labels 0 and 1, boot area) and the last two labels of 256 KiB
//! with all that follows them, in this order. They lie in the record itself, as blocks of 4 KiB; those that are not there are zeros.

use std::collections::BTreeMap;
use std::io;

use zstream_format::order::ByteOrder;
use zstream_format::structure;

use super::corrupt;
use super::map_objects::{PageReference, StoredReference};
use super::names::{ObjectId, StoredId};
use super::sealed::{self, Body};
use super::table::Table;

structure! {
    /// The start of the record of a generation.
    pub(super) GenerationHeader[168] {
        /// Its number.
        generation: u64,
        /// The random number of its writer.
        writer: u64,
        /// When it was committed, in seconds since 1970.
        time: u64,
        /// The random identity of the pool in this bucket.
        identity: [u8; 16],
        /// The size of the device.
        device_bytes: u64,
        /// The size of a chunk.
        chunk_bytes: u64,
        /// The bytes of the device in each page of the map.
        page_bytes: u64,
        /// 1 if the map has a root, otherwise 0.
        has_root: u64,
        /// The root of the map.
        root: StoredReference,
        /// The generation that wrote the root; 0 without one.
        root_generation: u64,
        /// The number of blocks of the label regions.
        label_blocks: u64,
        /// The number of dead objects.
        dead: u64,
        /// The writer of the generation before it; 0 if there is none.
        parent_writer: u64,
    }
}

const MAGIC: &[u8; 8] = b"zstrmgen";

/// The size of the labels and the boot area at the start of the device.
pub(crate) const LABEL_FRONT_BYTES: u64 = (4 << 20) + (512 << 10);

/// The size of the labels at the end of the device.
const LABEL_BACK_BYTES: u64 = 512 << 10;

/// Labels at the end of a device start at a multiple of the size of a label.
const LABEL_ALIGN: u64 = 256 << 10;

/// The largest size of all label regions: bytes after the last label are in the region, too.
pub(crate) const LABEL_BYTES: u64 = LABEL_FRONT_BYTES + LABEL_BACK_BYTES + LABEL_ALIGN;

/// The unit in which the label regions are stored.
pub(crate) const LABEL_BLOCK: usize = 4096;

/// The limits for the sizes of chunks.
const CHUNK_BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(256 << 20);

/// The limits for the sizes of devices.
const DEVICE_BYTES: std::ops::RangeInclusive<u64> = (10 << 20)..=(1 << 60);

/// The sizes of a device and its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// The size of the device.
    pub(crate) device_bytes: u64,
    /// The size of a chunk.
    pub(crate) chunk_bytes: u64,
    /// The bytes of the device in each page of the map.
    pub(crate) page_bytes: u64,
}

impl Geometry {
    /// Fails unless the sizes are possible.
    ///
    /// # Errors
    /// Says which size is not.
    pub(crate) fn check(&self) -> io::Result<()> {
        let Self { device_bytes, chunk_bytes, page_bytes } = *self;
        let refuse = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if !CHUNK_BYTES.contains(&chunk_bytes) || !chunk_bytes.is_power_of_two() {
            return refuse(format!("chunk size {chunk_bytes} is not a power of two from 64K to 256M"));
        }
        if !DEVICE_BYTES.contains(&device_bytes) {
            return refuse(format!("device size {device_bytes} is not from 10M to 1E"));
        }
        if page_bytes == 0 || page_bytes % chunk_bytes != 0 || page_bytes > 1 << 44 {
            return refuse(format!("page size {page_bytes} is not a multiple of the chunk size"));
        }
        Ok(())
    }

    /// Returns the offset in the label regions of `address`, if it is in them, and the number of bytes from there to
    /// the end of its region; otherwise the number of bytes to the next region.
    pub(crate) fn label(&self, address: u64) -> (Option<u64>, u64) {
        let back = self.device_bytes / LABEL_ALIGN * LABEL_ALIGN - LABEL_BACK_BYTES;
        match address {
            _ if address < LABEL_FRONT_BYTES => (Some(address), LABEL_FRONT_BYTES - address),
            _ if address >= back => (Some(LABEL_FRONT_BYTES + address - back), self.device_bytes - address),
            _ => (None, back - address),
        }
    }
}

/// The record of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    /// Its number.
    pub(crate) number: u64,
    /// The random number of its writer.
    pub(crate) writer: u64,
    /// The writer of the generation before it; 0 if there is none.
    pub(crate) parent_writer: u64,
    /// When it was committed, in seconds since 1970.
    pub(crate) time: u64,
    /// The random identity of the pool in this bucket.
    pub(crate) identity: [u8; 16],
    /// Its sizes.
    pub(crate) geometry: Geometry,
    /// The root of the map, and the generation that wrote it.
    pub(crate) root: Option<(PageReference, u64)>,
    /// The blocks of the label regions that are not zeros.
    pub(crate) labels: BTreeMap<u32, Box<[u8; LABEL_BLOCK]>>,
    /// The changes since the root was written, and the objects that were written since then.
    pub(crate) changes: Table,
    /// The objects that this generation no longer refers to, but the generation before it did.
    pub(crate) dead: Vec<ObjectId>,
}

impl Generation {
    /// Encodes the object of the record.
    ///
    /// # Errors
    /// Fails if the record is too large.
    pub(crate) fn encode(&self) -> io::Result<Vec<u8>> {
        let header = GenerationHeader {
            generation: self.number,
            writer: self.writer,
            time: self.time,
            identity: self.identity,
            device_bytes: self.geometry.device_bytes,
            chunk_bytes: self.geometry.chunk_bytes,
            page_bytes: self.geometry.page_bytes,
            has_root: u64::from(self.root.is_some()),
            root: self.root.map(|(root, _)| root.stored()).unwrap_or_default(),
            root_generation: self.root.map_or(0, |(_, generation)| generation),
            label_blocks: self.labels.len() as u64,
            dead: self.dead.len() as u64,
            parent_writer: self.parent_writer,
        };
        let mut body = header.to_bytes(ByteOrder::Little).to_vec();
        for (number, block) in &self.labels {
            body.extend(number.to_le_bytes());
            body.extend(&block[..]);
        }
        self.changes.encode(&mut body)?;
        self.dead.iter().for_each(|id| id.encode(&mut body));
        sealed::seal(MAGIC, &body)
    }

    /// Reads the object of the record of generation `number`.
    ///
    /// # Errors
    /// Fails if the object does not follow the format, or is another generation.
    pub(crate) fn parse(number: u64, bytes: &[u8]) -> io::Result<Self> {
        let body = sealed::open(MAGIC, bytes)?;
        let mut body = Body::new(&body);
        let header = GenerationHeader::parse(body.take(GenerationHeader::LEN as u64)?, ByteOrder::Little);
        if header.generation != number {
            let text = format!("the object is generation {}, not generation {number}", header.generation);
            return Err(corrupt(text));
        }
        let GenerationHeader { device_bytes, chunk_bytes, page_bytes, .. } = header;
        let geometry = Geometry { device_bytes, chunk_bytes, page_bytes };
        geometry.check().map_err(corrupt)?;
        let root = match header.has_root {
            0 => None,
            _ => Some((PageReference::parse(header.root)?, header.root_generation)),
        };
        let labels = labels(&mut body, header.label_blocks)?;
        let changes = Table::parse(&mut body, 0, device_bytes)?;
        let parse = |entry: &[u8]| {
            ObjectId::parse(StoredId::parse(entry, ByteOrder::Little))
                .ok_or_else(|| corrupt("a dead object has an unknown kind"))
        };
        let dead = body.entries(header.dead, StoredId::LEN)?.map(parse).collect::<io::Result<Vec<_>>>()?;
        body.end()?;
        let GenerationHeader { writer, parent_writer, time, identity, .. } = header;
        Ok(Self { number, writer, parent_writer, time, identity, geometry, root, labels, changes, dead })
    }
}

fn labels(body: &mut Body<'_>, count: u64) -> io::Result<BTreeMap<u32, Box<[u8; LABEL_BLOCK]>>> {
    let mut labels = BTreeMap::new();
    let mut next = 0;
    for entry in body.entries(count, 4 + LABEL_BLOCK)? {
        let number = ByteOrder::Little.u32(entry);
        if number < next || u64::from(number) >= LABEL_BYTES / LABEL_BLOCK as u64 {
            return Err(corrupt(format_args!("block {number} of the labels is out of order")));
        }
        next = number + 1;
        let mut block = Box::new([0; LABEL_BLOCK]);
        block.copy_from_slice(&entry[4..]);
        labels.insert(number, block);
    }
    Ok(labels)
}
