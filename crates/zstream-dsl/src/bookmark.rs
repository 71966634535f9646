//! Bookmarks: what is left of a snapshot for incremental sends (`zfs_bookmark_phys_t`).

use bitflags::bitflags;
use zstream_dmu::ids::{Guid, ObjectId, Txg};
use zstream_dmu::zap::Value;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::pool::Dsl;
use crate::redact::RedactionList;

/// The entry of a head's own object that leads to its bookmarks.
pub(crate) const BOOKMARKS: &str = "com.delphix:bookmarks";

bitflags! {
    /// `zbm_flags`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BookmarkFlags: u64 {
        /// The sizes of what was freed since are kept.
        const HAS_FBN = 1 << 0;
        /// The snapshot is still there.
        const SNAPSHOT_EXISTS = 1 << 1;
        const _ = !0;
    }
}

/// Space in three measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes allocated.
    pub used_bytes: u64,
    /// Bytes as stored.
    pub compressed_bytes: u64,
    /// Bytes before compression.
    pub uncompressed_bytes: u64,
}

/// A bookmark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bookmark {
    /// `pool/fs#name`
    pub name: String,
    /// Guid of the snapshot.
    pub guid: Guid,
    /// The transaction group the snapshot was created in.
    pub creation_txg: Txg,
    /// When, in seconds since 1970.
    pub creation_time: u64,
    /// Its redaction list, if it is a redaction bookmark.
    pub redaction_object: Option<ObjectId>,
    /// Flags.
    pub flags: BookmarkFlags,
    /// What the snapshot referenced; zero in short bookmarks.
    pub referenced: Space,
    /// What was freed before the next snapshot.
    pub freed_before_next: Space,
    /// IV set of an encrypted snapshot, else 0.
    pub ivset_guid: u64,
}

impl Bookmark {
    pub(crate) fn new(name: String, value: &Value) -> Result<Self> {
        let words = value.u64s();
        if words.len() < 3 {
            return Err(Error::corrupt(
                "bookmark",
                format!("{name} has {} words, expected 3 or more", words.len()),
            ));
        }
        let word = |at: usize| words.get(at).copied().unwrap_or(0);
        let space = |at| Space {
            used_bytes: word(at),
            compressed_bytes: word(at + 1),
            uncompressed_bytes: word(at + 2),
        };
        Ok(Self {
            name,
            guid: Guid(word(0)),
            creation_txg: Txg(word(1)),
            creation_time: word(2),
            redaction_object: (word(3) != 0).then_some(ObjectId(word(3))),
            flags: BookmarkFlags::from_bits_retain(word(4)),
            referenced: space(5),
            freed_before_next: space(8),
            ivset_guid: word(11),
        })
    }

    /// It as the pool keeps it: with all its words, or the three that old pools know (`BOOKMARK_PHYS_SIZE_V1`).
    pub(crate) fn encode(&self, is_long: bool) -> Value {
        let space = |space: &Space| [space.used_bytes, space.compressed_bytes, space.uncompressed_bytes];
        let mut words = vec![self.guid.0, self.creation_txg.0, self.creation_time];
        if is_long {
            words.extend([self.redaction_object.map_or(0, |object| object.0), self.flags.bits()]);
            words.extend(space(&self.referenced));
            words.extend(space(&self.freed_before_next));
            words.push(self.ivset_guid);
        }
        Value::words(&words)
    }

    /// The name behind the `#`.
    #[must_use]
    pub fn short_name(&self) -> &str {
        self.name.split_once('#').map_or(&self.name, |(_, short)| short)
    }

    /// Its redaction list; none unless it is a redaction bookmark.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn redaction_list(&self, dataset: &Dataset) -> Result<Option<RedactionList>> {
        self.redaction_list_of(dataset.dsl())
    }

    /// Its redaction list, in the pool that the bookmark comes from.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn redaction_list_of(&self, dsl: &Dsl) -> Result<Option<RedactionList>> {
        self.redaction_object.map(|object| RedactionList::open(dsl.mos().clone(), object)).transpose()
    }
}

fn zap(head: &Dataset) -> Result<Option<ObjectId>> {
    Ok(head.entry(BOOKMARKS)?.map(|value| value.u64().map(ObjectId)).transpose()?)
}

impl Dataset {
    /// The bookmarks of a head, oldest first; of one age by name.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn bookmarks(&self) -> Result<Vec<Bookmark>> {
        let entries = self.dsl().entries(zap(self)?)?;
        let mut bookmarks = entries
            .iter()
            .map(|(name, value)| Bookmark::new(format!("{}#{name}", self.dir().name()), value))
            .collect::<Result<Vec<_>>>()?;
        bookmarks.sort_by(|a, b| (a.creation_txg, &a.name).cmp(&(b.creation_txg, &b.name)));
        Ok(bookmarks)
    }

    /// The bookmark of this short name of a head.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn bookmark(&self, name: &str) -> Result<Option<Bookmark>> {
        let value = self.dsl().lookup(zap(self)?, name)?;
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
}
