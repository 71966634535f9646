//! Tables of extents: which bytes of the device lie in which object.
//!
//! ```text
//! TableHeader | objects x ObjectEntry | extents x ExtentEntry
//! ```

use std::collections::BTreeMap;
use std::io;

use zstream_format::order::ByteOrder;
use zstream_format::structure;

use super::corrupt;
use super::names::{ObjectId, StoredId};
use super::sealed::Body;

structure! {
    /// The start of a table.
    TableHeader[16] {
        /// The number of objects.
        objects: u64,
        /// The number of extents.
        extents: u64,
    }

    /// An object in a table.
    ObjectEntry[32] {
        /// Its identity.
        id: StoredId,
        /// The bytes of the device in it when it was written.
        bytes: u64,
    }

    /// An extent in a table.
    ExtentEntry[24] {
        /// The first byte on the device.
        address: u64,
        /// The number of bytes.
        bytes: u64,
        /// The number of the object in the table; all ones for a hole.
        object: u32,
        /// The first byte in the object.
        offset: u32,
    }
}

/// The number of the object of a hole.
const HOLE: u32 = u32::MAX;

/// The place of bytes in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// The object.
    pub(crate) object: ObjectId,
    /// The first byte in it.
    pub(crate) offset: u32,
}

/// Successive bytes of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The first byte on the device.
    pub(crate) address: u64,
    /// The number of bytes.
    pub(crate) bytes: u64,
    /// The place of the bytes; none for a hole, which reads as zeros.
    pub(crate) at: Option<Location>,
}

impl Extent {
    /// Returns the byte after the last one.
    pub(crate) fn end(&self) -> u64 {
        self.address + self.bytes
    }

    /// Returns the part within `from..to`, which overlaps it.
    pub(crate) fn part(&self, from: u64, to: u64) -> Self {
        let (start, end) = (self.address.max(from), self.end().min(to));
        let skipped = start - self.address;
        let at = self.at.map(|at| Location { offset: at.offset + skipped as u32, ..at });
        Self { address: start, bytes: end - start, at }
    }

    /// Returns `true` if `next` continues this extent on the device and in the object.
    pub(crate) fn continues(&self, next: &Self) -> bool {
        self.end() == next.address
            && match (self.at, next.at) {
                (None, None) => true,
                (Some(at), Some(next)) => {
                    at.object == next.object && u64::from(at.offset) + self.bytes == u64::from(next.offset)
                }
                _ => false,
            }
    }
}

/// A table of extents in the order of their addresses, and the objects in which they lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// The extents, without overlaps.
    pub(crate) extents: Vec<Extent>,
    /// The objects, each with the bytes of the device in it when it was written. There may be some without extents.
    pub(crate) objects: BTreeMap<ObjectId, u64>,
}

impl Table {
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> io::Result<()> {
        const ORDER: ByteOrder = ByteOrder::Little;
        let header = TableHeader { objects: self.objects.len() as u64, extents: self.extents.len() as u64 };
        out.extend(header.to_bytes(ORDER));
        let mut numbers = BTreeMap::new();
        for ((id, bytes), number) in self.objects.iter().zip(0..) {
            out.extend(ObjectEntry { id: id.stored(), bytes: *bytes }.to_bytes(ORDER));
            numbers.insert(*id, number);
        }
        for Extent { address, bytes, at } in &self.extents {
            let (object, offset) = match at {
                None => (HOLE, 0),
                Some(at) => {
                    let number = numbers.get(&at.object).copied();
                    (number.ok_or_else(|| corrupt("an extent lies in an unknown object"))?, at.offset)
                }
            };
            out.extend(ExtentEntry { address: *address, bytes: *bytes, object, offset }.to_bytes(ORDER));
        }
        Ok(())
    }

    /// Reads a table of extents within `from..to`.
    pub(super) fn parse(body: &mut Body<'_>, from: u64, to: u64) -> io::Result<Self> {
        const ORDER: ByteOrder = ByteOrder::Little;
        let header = TableHeader::parse(body.take(TableHeader::LEN as u64)?, ORDER);
        let mut ids = Vec::new();
        let mut objects = BTreeMap::new();
        for entry in body.entries(header.objects, ObjectEntry::LEN)? {
            let ObjectEntry { id, bytes } = ObjectEntry::parse(entry, ORDER);
            let id = ObjectId::parse(id).ok_or_else(|| corrupt("an object has an unknown kind"))?;
            if bytes > u64::from(u32::MAX) || objects.insert(id, bytes).is_some() {
                return Err(corrupt(format_args!("object {} is twice in a table, or too large", id.name())));
            }
            ids.push(id);
        }
        let mut extents = Vec::new();
        let mut last = from;
        for entry in body.entries(header.extents, ExtentEntry::LEN)? {
            let ExtentEntry { address, bytes, object, offset } = ExtentEntry::parse(entry, ORDER);
            let end = address.checked_add(bytes).filter(|end| bytes > 0 && *end <= to && address >= last);
            last = end.ok_or_else(|| corrupt(format_args!("the extent at {address:#x} is out of order")))?;
            let at = match object {
                HOLE if offset == 0 => None,
                number => {
                    let id = ids.get(number as usize).copied();
                    let object = id.ok_or_else(|| corrupt("an extent lies in an unknown object"))?;
                    if u64::from(offset) + bytes > u64::from(u32::MAX) {
                        return Err(corrupt(format_args!("the extent at {address:#x} is too large")));
                    }
                    Some(Location { object, offset })
                }
            };
            extents.push(Extent { address, bytes, at });
        }
        Ok(Self { extents, objects })
    }
}
