//! Bookmarks: the part of a snapshot that is kept as a source of incremental sends.

use std::ops::Deref;

use bitflags::bitflags;
use zstream_dmu::ids::{Guid, ObjectId, Txg};
use zstream_dmu::zap::Value;
use zstream_format::order::ByteOrder;
use zstream_format::{field_by_flags, structure};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::pool::Dsl;
use crate::reader::{Mos, MosReader};
use crate::redact::RedactionList;

/// The entry in the object of a head that refers to its bookmarks.
pub(crate) const BOOKMARKS: &str = "com.delphix:bookmarks";

bitflags! {
    /// `zbm_flags`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BookmarkFlags: u64 {
        /// The space that was freed since the snapshot is counted.
        const HAS_FBN = 1 << 0;
        /// The snapshot still exists.
        const SNAPSHOT_EXISTS = 1 << 1;
        const _ = !0;
    }
}

field_by_flags! { BookmarkFlags as u64 }

structure! {
    /// Space, in three measures.
    pub Space[24] {
        /// Bytes allocated.
        used_bytes: u64,
        /// Bytes as stored.
        compressed_bytes: u64,
        /// Bytes before compression.
        uncompressed_bytes: u64,
    }

    /// A bookmark as it is stored (`zfs_bookmark_phys_t`). Short ones, which old pools have, end after the time.
    pub BookmarkPhys[96] {
        /// Guid of the snapshot.
        guid: Guid,
        /// The transaction group in which the snapshot was created.
        creation_txg: Txg,
        /// The creation time, in seconds since 1970.
        creation_time: u64,
        /// Its redaction list, if it is a redaction bookmark.
        redaction_object: Option<ObjectId>,
        /// Flags.
        flags: BookmarkFlags,
        /// The space that the snapshot referenced; zero in short bookmarks.
        referenced: Space,
        /// The space that was freed before the next snapshot.
        freed_before_next: Space,
        /// The IV set of an encrypted snapshot, or else 0.
        ivset_guid: u64,
    }
}

/// The length of a short bookmark, in bytes (`BOOKMARK_PHYS_SIZE_V1`).
const SHORT_BYTES: usize = BookmarkPhys::offset_of("redaction_object");

/// A bookmark.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bookmark {
    /// `pool/fs#name`
    pub name: String,
    /// The stored fields.
    pub phys: BookmarkPhys,
}

impl Deref for Bookmark {
    type Target = BookmarkPhys;

    fn deref(&self) -> &BookmarkPhys {
        &self.phys
    }
}

impl Bookmark {
    pub(crate) fn new(name: String, value: &Value) -> Result<Self> {
        let words = value.u64s();
        if words.len() < SHORT_BYTES / 8 {
            return Err(Error::corrupt(
                "bookmark",
                format!("{name} has {} words, expected {} or more", words.len(), SHORT_BYTES / 8),
            ));
        }
        let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        Ok(Self { name, phys: BookmarkPhys::read_short(&bytes, ByteOrder::Little) })
    }

    /// Encodes the bookmark in its full or short form.
    pub(crate) fn encode(&self, is_long: bool) -> Value {
        let bytes = self.phys.to_bytes(ByteOrder::Little);
        let bytes = if is_long { &bytes[..] } else { &bytes[..SHORT_BYTES] };
        let words: Vec<u64> = bytes.chunks_exact(8).map(|word| ByteOrder::Little.u64(word)).collect();
        Value::words(&words)
    }

    /// Returns the name after the `#`.
    #[must_use]
    pub fn short_name(&self) -> &str {
        self.name.split_once('#').map_or(&self.name, |(_, short)| short)
    }

    /// Returns its redaction list; `None` unless it is a redaction bookmark.
    ///
    /// # Errors
    /// Fails if the list cannot be read.
    pub fn redaction_list(&self, dataset: &Dataset) -> Result<Option<RedactionList>> {
        self.redaction_list_of(dataset.dsl())
    }

    /// Returns its redaction list, from the pool of the bookmark.
    ///
    /// # Errors
    /// Fails if the list cannot be read.
    pub fn redaction_list_of(&self, dsl: &Dsl) -> Result<Option<RedactionList>> {
        self.redaction_object.map(|object| RedactionList::open(dsl.mos().clone(), object)).transpose()
    }
}

impl MosReader<'_> {
    /// Returns the ZAP of a head's bookmarks.
    pub(crate) fn bookmarks_zap(self, head: ObjectId) -> Result<Option<ObjectId>> {
        self.entry_object(head, BOOKMARKS)
    }

    /// Returns the bookmarks of a head, oldest first and then by name. Their names start with `filesystem`.
    pub(crate) fn bookmarks(self, head: ObjectId, filesystem: &str) -> Result<Vec<Bookmark>> {
        let entries = self.entries(self.bookmarks_zap(head)?)?;
        let mut bookmarks = entries
            .iter()
            .map(|(name, value)| Bookmark::new(format!("{filesystem}#{name}"), value))
            .collect::<Result<Vec<_>>>()?;
        bookmarks.sort_by(|a, b| (a.creation_txg, &a.name).cmp(&(b.creation_txg, &b.name)));
        Ok(bookmarks)
    }
}

impl<M: Mos> Dataset<M> {
    /// Returns the bookmarks of a head, oldest first and then by name.
    ///
    /// # Errors
    /// Fails if they cannot be read.
    pub fn bookmarks(&self) -> Result<Vec<Bookmark>> {
        self.dsl().read().bookmarks(self.object(), self.dir().name())
    }

    /// Returns the bookmark of a head with this short name.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub fn bookmark(&self, name: &str) -> Result<Option<Bookmark>> {
        let read = self.dsl().read();
        let value = read.lookup(read.bookmarks_zap(self.object())?, name)?;
        value.map(|value| Bookmark::new(format!("{}#{name}", self.dir().name()), &value)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_back() {
        let words: Vec<u64> = (1..=12).collect();
        let long = Bookmark::new("pool/fs#mark".into(), &Value::words(&words)).unwrap();
        assert_eq!((long.short_name(), long.encode(true).u64s()), ("mark", words));
        let short = Bookmark::new("pool/fs#mark".into(), &Value::words(&[7, 8, 9])).unwrap();
        assert_eq!(short.encode(false).u64s(), [7, 8, 9]);
        assert!(Bookmark::new("pool/fs#mark".into(), &Value::words(&[7, 8])).is_err());
    }

    zstream_format::round_trips! { Space, BookmarkPhys }
}
