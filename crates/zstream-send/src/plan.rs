//! The content and the form of a stream, decided before anything is written.
//!
//! A plan corresponds to the state of `dmu_send` after it has looked up all names. The creator of a plan must have checked
//! that base and source belong together ([`Dataset::is_after`], `EXDEV`) and that bookmarks are in the line of the
//! source. The engine refuses plans whose streams could not be received.

use std::num::NonZero;
use std::sync::Arc;

use zstream_dmu::error::Result as PoolResult;
use zstream_dmu::ids::{Guid, ObjectId, Txg};
use zstream_dmu::mos::Features;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::objset::Objset;
use zstream_dsl::bookmark::Bookmark;
use zstream_dsl::dataset::{Dataset, DatasetFlags, feature};
use zstream_dsl::error::Result;
use zstream_dsl::redact::RedactionList;
use zstream_dsl::{CryptoKey, Dsl};

/// A function that returns `true` if the files of an object set have system attributes, and so may have spill blocks.
/// `zstream-zpl` has one.
pub type HasSystemAttributes = fn(&dyn ObjectSet) -> PoolResult<bool>;

/// The pool that contains the source: facts about it that are not in its datasets.
#[derive(Clone, Copy, Debug)]
pub struct SourcePool<'a> {
    /// Its features.
    pub features: &'a Features,
    /// The function that examines the content of its filesystems.
    pub has_system_attributes: HasSystemAttributes,
}

/// The dataset to send: a snapshot, a head that does not change, or the saved state of a receive (`dspp->to_ds`).
pub struct Source {
    /// The objects; opened without the key for raw streams of an encrypted dataset.
    pub objset: Arc<Objset>,
    /// The guid in the records.
    pub guid: Guid,
    /// The creation time in seconds since 1970.
    pub creation_time: u64,
    /// The features that are active in the dataset.
    pub active: ActiveFeatures,
    /// `true` if names are case-insensitive.
    pub case_insensitive: bool,
    /// The function that finds out if its files have system attributes.
    pub has_system_attributes: HasSystemAttributes,
    /// The guids of its redaction snapshots, if it was received redacted.
    pub redaction_snapshots: Option<Vec<u64>>,
    /// The wrapped keys, if it is encrypted.
    pub key: Option<CryptoKey>,
    /// The guid of its IV set, 0 for none.
    pub ivset_guid: u64,
    /// The guid in BEGIN; it differs only for the saved state of a receive.
    pub begin_guid: Guid,
    /// The name in BEGIN.
    pub begin_name: String,
    /// `true` for the saved state of a receive (`-S`): the stream has no END.
    pub saved: bool,
}

/// The active features that determine the feature flags of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActiveFeatures {
    /// `large_blocks` of the dataset.
    pub large_blocks: bool,
    /// `large_dnode` of the dataset.
    pub large_dnode: bool,
    /// `zstd_compress` of the dataset.
    pub zstd_compress: bool,
    /// `longname` of the dataset.
    pub longname: bool,
    /// `large_microzap` of the dataset.
    pub large_microzap: bool,
    /// `embedded_data` of the pool.
    pub embedded_data: bool,
    /// `lz4_compress` of the pool.
    pub lz4_compress: bool,
}

impl Source {
    /// Opens a snapshot or head as the source of a stream. The name in BEGIN is that of the snapshot, or that of the head
    /// with `@--head--`. With `raw`, an encrypted dataset is sent as stored, which does not require its key; `raw` is
    /// ignored for other datasets.
    ///
    /// # Errors
    /// Fails if the dataset cannot be read, and if it is encrypted, its key is not loaded, and `raw` is not set.
    pub fn open(dataset: &Dataset, pool: SourcePool<'_>, raw: bool) -> Result<Self> {
        let key = dataset.crypto_key()?;
        let objset = if raw && key.is_some() { dataset.objset_locked()? } else { dataset.objset()? };
        let phys = dataset.phys();
        let suffix = if dataset.is_snapshot() { "" } else { "@--head--" };
        Ok(Self {
            objset,
            guid: phys.guid,
            creation_time: phys.creation_time,
            active: ActiveFeatures {
                large_blocks: dataset.has_feature(feature::LARGE_BLOCKS)?,
                large_dnode: dataset.has_feature(feature::LARGE_DNODE)?,
                zstd_compress: dataset.has_feature(feature::ZSTD_COMPRESS)?,
                longname: dataset.has_feature(feature::LONGNAME)?,
                large_microzap: dataset.has_feature(feature::LARGE_MICROZAP)?,
                embedded_data: pool.features.is_active("embedded_data"),
                lz4_compress: pool.features.is_active("lz4_compress"),
            },
            case_insensitive: phys.flags.contains(DatasetFlags::CASE_INSENSITIVE),
            has_system_attributes: pool.has_system_attributes,
            redaction_snapshots: dataset.redaction_snapshots()?,
            key,
            ivset_guid: dataset.ivset_guid()?.unwrap_or(0),
            begin_guid: phys.guid,
            begin_name: format!("{}{suffix}", dataset.name()),
            saved: false,
        })
    }

    /// Changes the source to the saved state of a receive of the snapshot `name` with this guid, as sent by `zfs send -S`.
    /// The dataset is the one that is being received (the hidden child `%recv`, or the filesystem itself).
    #[must_use]
    pub fn saved(self, guid: Guid, name: impl Into<String>) -> Self {
        Self { begin_guid: guid, begin_name: name.into(), saved: true, ..self }
    }

    /// Returns `true` if the dataset is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.key.is_some()
    }
}

/// The source of an increment, which the receiver already has (`dspp->ancestor_zb`).
#[derive(Debug)]
#[non_exhaustive]
pub struct Base {
    /// The guid.
    pub guid: Guid,
    /// The transaction group of its creation: only blocks born later are sent.
    pub creation_txg: Txg,
    /// The guid of its IV set, 0 for none.
    pub ivset_guid: u64,
    /// The guids of the redaction snapshots of a snapshot that was received redacted.
    pub redaction_snapshots: Option<Vec<u64>>,
    /// The list of a redaction bookmark: the blocks that the receiver does not have.
    pub redaction_list: Option<Arc<RedactionList>>,
    /// `true` if it is in another filesystem than the source: the receiver then creates a clone.
    pub is_origin: bool,
}

impl Base {
    /// Returns the base for an earlier snapshot.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub fn snapshot(snapshot: &Dataset) -> Result<Self> {
        Ok(Self {
            guid: snapshot.phys().guid,
            creation_txg: snapshot.phys().creation_txg,
            ivset_guid: snapshot.ivset_guid()?.unwrap_or(0),
            redaction_snapshots: snapshot.redaction_snapshots()?,
            redaction_list: None,
            is_origin: false,
        })
    }

    /// Returns the base for a bookmark; that of a redaction bookmark includes its list.
    ///
    /// # Errors
    /// Fails if the list cannot be read.
    pub fn bookmark(bookmark: &Bookmark, dsl: &Dsl) -> Result<Self> {
        Ok(Self {
            guid: bookmark.guid,
            creation_txg: bookmark.creation_txg,
            ivset_guid: bookmark.ivset_guid,
            redaction_snapshots: None,
            redaction_list: bookmark.redaction_list_of(dsl)?.map(Arc::new),
            is_origin: false,
        })
    }

    /// Marks the base as being in another filesystem than the source, so that the stream creates a clone.
    #[must_use]
    pub fn origin(self) -> Self {
        Self { is_origin: true, ..self }
    }
}

/// The form of the blocks in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamForm {
    /// `true` to send blocks above 128 KiB without splitting them (`-L`).
    pub large_blocks: bool,
    /// `true` to send embedded blocks as embedded (`-e`).
    pub embedded: bool,
    /// `true` to send blocks compressed as stored (`-c`).
    pub compressed: bool,
    /// `true` to send everything as stored, which implies the other three (`-w`). If the dataset is encrypted, pass
    /// `raw` to [`Source::open`], too.
    pub raw: bool,
}

/// The point at which an interrupted receive resumes, from a resume token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// The object.
    pub object: ObjectId,
    /// The offset in the object, in bytes; 0 is the object itself.
    pub offset: u64,
}

/// The options for performance and damaged blocks. They do not change the stream of an intact pool, except for the two
/// flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The size of blocks that are read ahead in bytes (`zfs_send_queue_length`), but at least two batches.
    pub queue_bytes: u64,
    /// The number of batches of blocks that fill the queue (`zfs_send_queue_ff`).
    pub queue_fill: u64,
    /// The size of ranges that the traversal finds ahead in bytes (`zfs_send_no_prefetch_queue_length`).
    pub traversal_queue_bytes: u64,
    /// The number of batches of ranges that fill the queue of the traversal (`zfs_send_no_prefetch_queue_ff`).
    pub traversal_queue_fill: u64,
    /// `true` to fill a block that cannot be read with the number 0x2f5baddb10c instead of ending the send
    /// (`zfs_send_corrupt_data`), and to list it in [`Sent::replaced`](crate::Sent::replaced). It is ignored for raw streams
    /// of encrypted datasets, where no pattern would be authentic.
    pub corrupt_data: bool,
    /// `true` to send unmodified spill blocks with their objects (`zfs_send_unmodified_spill_blocks`).
    pub unmodified_spill_blocks: bool,
    /// `true` to set the flag in BEGIN for a full stream with all free records (`zfs_send_set_freerecords_bit`).
    pub freerecords_flag: bool,
    /// Packs the list after BEGIN in XDR, padded to 8 bytes, as OpenZFS's development branch (2026) does, instead of in native form, as its
    /// releases do. Receivers of the other byte order read only the former.
    pub xdr_lists: bool,
    /// The block size for estimates in bytes; `None` for that of the dataset (`zfs_override_estimate_recordsize`).
    pub estimate_record_bytes: Option<NonZero<u64>>,
    /// The number of threads that read: 0 for the number of cores, 1 for the thread of the caller only.
    pub threads: usize,
}

impl Options {
    /// The size of blocks in bytes at which a batch is full.
    pub(crate) fn batch_bytes(&self) -> u64 {
        self.queue_bytes / self.queue_fill.max(1)
    }

    /// The size of ranges in bytes at which a batch is full.
    pub(crate) fn traversal_batch_bytes(&self) -> u64 {
        self.traversal_queue_bytes / self.traversal_queue_fill.max(1)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue_bytes: 16 << 20,
            queue_fill: 20,
            traversal_queue_bytes: 1 << 20,
            traversal_queue_fill: 20,
            corrupt_data: false,
            unmodified_spill_blocks: true,
            freerecords_flag: true,
            xdr_lists: false,
            estimate_record_bytes: None,
            threads: 0,
        }
    }
}

/// The plan of one substream: its source, its base and its form.
#[non_exhaustive]
pub struct StreamPlan {
    /// The dataset to send.
    pub source: Source,
    /// The source of the increment; `None` for a full stream.
    pub base: Option<Base>,
    /// The form of the blocks.
    pub form: StreamForm,
    /// The blocks to redact (`--redact`): the list of a redaction bookmark of the source.
    pub redact: Option<Arc<RedactionList>>,
    /// The point at which to resume.
    pub resume: Option<ResumePoint>,
    /// The options.
    pub options: Options,
}

impl StreamPlan {
    /// Creates the plan of a full stream with default options.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self {
            source,
            base: None,
            form: StreamForm::default(),
            redact: None,
            resume: None,
            options: Options::default(),
        }
    }
}
