//! The map of addresses: pages, each with the extents of a fixed part of the device, and the root that lists them.
//!
//! ```text
//! page   PageHeader | table of extents
//! root   RootHeader | pages x RootEntry
//! ```

use std::collections::BTreeMap;
use std::io;

use zstream_format::order::ByteOrder;
use zstream_format::structure;

use super::corrupt;
use super::names::{Kind, ObjectId, StoredId};
use super::sealed::{self, Body, CHECKSUM_BYTES};
use super::table::Table;

structure! {
    /// The start of a page.
    PageHeader[16] {
        /// Its number.
        page: u64,
        /// The bytes of the device in each page.
        page_bytes: u64,
    }

    /// The start of a root.
    RootHeader[16] {
        /// The number of pages.
        pages: u64,
        /// The bytes of the device in each page.
        page_bytes: u64,
    }

    /// A page in a root.
    RootEntry[72] {
        /// The number of the page.
        page: u64,
        /// Its object, and the checksum of that.
        reference: StoredReference,
    }

    /// A reference to an object of the map, as it is stored.
    pub(super) StoredReference[64] {
        /// The object.
        id: StoredId,
        /// Its size.
        bytes: u64,
        /// Its BLAKE3 checksum.
        checksum: [u8; 32],
    }
}

const PAGE_MAGIC: &[u8; 8] = b"zstrmpag";
const ROOT_MAGIC: &[u8; 8] = b"zstrmroo";

/// A reference to an object of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageReference {
    /// The object.
    pub(crate) id: ObjectId,
    /// Its size.
    pub(crate) bytes: u64,
    /// Its BLAKE3 checksum.
    pub(crate) checksum: [u8; CHECKSUM_BYTES],
}

impl PageReference {
    /// Creates the reference to an object of the map with this content.
    pub(crate) fn new(id: ObjectId, bytes: &[u8]) -> Self {
        Self { id, bytes: bytes.len() as u64, checksum: *blake3::hash(bytes).as_bytes() }
    }

    /// Fails unless `bytes` are the content of the object.
    pub(crate) fn check(&self, bytes: &[u8]) -> io::Result<()> {
        match *self == Self::new(self.id, bytes) {
            true => Ok(()),
            false => Err(corrupt("the object is not the one that the generation refers to")),
        }
    }

    pub(super) fn stored(&self) -> StoredReference {
        StoredReference { id: self.id.stored(), bytes: self.bytes, checksum: self.checksum }
    }

    pub(super) fn parse(stored: StoredReference) -> io::Result<Self> {
        let StoredReference { id, bytes, checksum } = stored;
        let id = ObjectId::parse(id).filter(|id| id.kind == Kind::Map);
        let id = id.ok_or_else(|| corrupt("a reference to the map names another object"))?;
        Ok(Self { id, bytes, checksum })
    }
}

/// A page of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Its number.
    pub(crate) number: u64,
    /// The bytes of the device in each page.
    pub(crate) page_bytes: u64,
    /// Its extents.
    pub(crate) table: Table,
}

impl Page {
    /// Encodes the object of the page.
    ///
    /// # Errors
    /// Fails if the page is too large.
    pub(crate) fn encode(&self) -> io::Result<Vec<u8>> {
        let header = PageHeader { page: self.number, page_bytes: self.page_bytes };
        let mut body = header.to_bytes(ByteOrder::Little).to_vec();
        self.table.encode(&mut body)?;
        sealed::seal(PAGE_MAGIC, &body)
    }

    /// Reads the object of page `number`.
    ///
    /// # Errors
    /// Fails if the object does not follow the format, or is another page.
    pub(crate) fn parse(number: u64, page_bytes: u64, bytes: &[u8]) -> io::Result<Self> {
        let body = sealed::open(PAGE_MAGIC, bytes)?;
        let mut body = Body::new(&body);
        let header = PageHeader::parse(body.take(PageHeader::LEN as u64)?, ByteOrder::Little);
        if header != (PageHeader { page: number, page_bytes }) {
            return Err(corrupt(format_args!("the object is page {}, not page {number}", header.page)));
        }
        let from = number.checked_mul(page_bytes).ok_or_else(|| corrupt("the page does not exist"))?;
        let table = Table::parse(&mut body, from, from.saturating_add(page_bytes))?;
        body.end()?;
        Ok(Self { number, page_bytes, table })
    }
}

/// The root of the map: the pages with extents, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Root {
    /// The pages.
    pub(crate) pages: BTreeMap<u64, PageReference>,
}

impl Root {
    /// Encodes the object of the root.
    ///
    /// # Errors
    /// Fails if there are too many pages.
    pub(crate) fn encode(&self, page_bytes: u64) -> io::Result<Vec<u8>> {
        let header = RootHeader { pages: self.pages.len() as u64, page_bytes };
        let mut body = header.to_bytes(ByteOrder::Little).to_vec();
        for (page, reference) in &self.pages {
            let entry = RootEntry { page: *page, reference: reference.stored() };
            body.extend(entry.to_bytes(ByteOrder::Little));
        }
        sealed::seal(ROOT_MAGIC, &body)
    }

    /// Reads the object of the root.
    ///
    /// # Errors
    /// Fails if the object does not follow the format.
    pub(crate) fn parse(page_bytes: u64, bytes: &[u8]) -> io::Result<Self> {
        let body = sealed::open(ROOT_MAGIC, bytes)?;
        let mut body = Body::new(&body);
        let header = RootHeader::parse(body.take(RootHeader::LEN as u64)?, ByteOrder::Little);
        if header.page_bytes != page_bytes {
            return Err(corrupt("the root of the map has pages of another size"));
        }
        let mut pages = BTreeMap::new();
        let mut next = 0;
        for entry in body.entries(header.pages, RootEntry::LEN)? {
            let RootEntry { page, reference } = RootEntry::parse(entry, ByteOrder::Little);
            if page < next {
                return Err(corrupt(format_args!("page {page} is out of order")));
            }
            next = page.checked_add(1).ok_or_else(|| corrupt("a page does not exist"))?;
            pages.insert(page, PageReference::parse(reference)?);
        }
        body.end()?;
        Ok(Self { pages })
    }
}
