//! What a stream is to carry and in which form, decided before anything is written.
//!
//! A plan is what `dmu_send` knows after it has looked up all names: whoever makes one has checked that base and
//! source belong together ([`Dataset::is_after`], `EXDEV`) and that bookmarks are of the right line. The engine checks
//! what it would otherwise turn into a stream that nobody can receive.

use std::num::NonZero;
use std::sync::Arc;

use zstream_dmu::error::Result;
use zstream_dmu::ids::{Guid, ObjectId, Txg};
use zstream_dmu::mos::features::Features;
use zstream_dmu::objset::Objset;
use zstream_dsl::bookmark::Bookmark;
use zstream_dsl::dataset::{Dataset, feature};
use zstream_dsl::keys::CryptoKey;
use zstream_dsl::phys::DatasetFlags;
use zstream_dsl::pool::Dsl;
use zstream_dsl::redact::RedactionList;

/// What is sent: a snapshot, a head that does not change, or what a receive has left (`dspp->to_ds`).
pub struct Source {
    /// Its objects: opened without its key for raw streams of an encrypted dataset.
    pub objset: Arc<Objset>,
    /// The guid in its records.
    pub guid: Guid,
    /// When it was created, in seconds since 1970.
    pub creation_time: u64,
    /// Features that are active in the dataset.
    pub active: ActiveFeatures,
    /// Whether its names are case-insensitive.
    pub case_insensitive: bool,
    /// Guids of the snapshots it was redacted by, if it was received redacted.
    pub redaction_snapshots: Option<Vec<u64>>,
    /// The wrapped keys, if it is encrypted.
    pub key: Option<CryptoKey>,
    /// Its set of IVs, 0 for none.
    pub ivset_guid: u64,
    /// The guid in BEGIN: the same, but for a saved receive.
    pub begin_guid: Guid,
    /// The name in BEGIN.
    pub begin_name: String,
    /// Whether a receive has left it unfinished (`-S`): the stream then has no END.
    pub saved: bool,
}

/// Features that decide about the flags of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// A snapshot or head as the source of a stream. The name in BEGIN is its own; that of a head gets `@--head--`.
    /// `raw` sends an encrypted dataset as it is stored, for which its key is not needed; for others it does not count.
    ///
    /// # Errors
    /// It cannot be read, or it is encrypted, its key is not loaded, and `raw` is not set.
    pub fn open(dataset: &Dataset, pool: &Features, raw: bool) -> Result<Self> {
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
                embedded_data: pool.is_active("embedded_data"),
                lz4_compress: pool.is_active("lz4_compress"),
            },
            case_insensitive: phys.flags.contains(DatasetFlags::CASE_INSENSITIVE),
            redaction_snapshots: dataset.redaction_snapshots()?,
            key,
            ivset_guid: dataset.ivset_guid()?.unwrap_or(0),
            begin_guid: phys.guid,
            begin_name: format!("{}{suffix}", dataset.name()),
            saved: false,
        })
    }

    /// The same as what a receive has left of the snapshot `name` with this guid: what `zfs send -S` sends of the
    /// dataset that is being filled (the hidden child `%recv`, or the filesystem itself).
    #[must_use]
    pub fn saved(self, guid: Guid, name: impl Into<String>) -> Self {
        Self { begin_guid: guid, begin_name: name.into(), saved: true, ..self }
    }

    /// Whether the dataset is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.key.is_some()
    }
}

/// What the receiver has already: the source of an incremental stream (`dspp->ancestor_zb`).
#[derive(Debug)]
pub struct Base {
    /// Its guid.
    pub guid: Guid,
    /// The transaction group it was created in: only what was born later is sent.
    pub creation_txg: Txg,
    /// Its set of IVs, 0 for none.
    pub ivset_guid: u64,
    /// Of a snapshot that was received redacted: guids of the snapshots it was redacted by.
    pub redaction_snapshots: Option<Vec<u64>>,
    /// Of a redaction bookmark: what the receiver does not have.
    pub redaction_list: Option<Arc<RedactionList>>,
    /// Whether it lies in another filesystem than the source: the receiver then makes a clone.
    pub is_origin: bool,
}

impl Base {
    /// An earlier snapshot.
    ///
    /// # Errors
    /// When it cannot be read.
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

    /// A bookmark of a pool; a redaction bookmark with its list.
    ///
    /// # Errors
    /// When the list cannot be read.
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

    /// The same in another filesystem than the source, so that the stream makes a clone.
    #[must_use]
    pub fn origin(self) -> Self {
        Self { is_origin: true, ..self }
    }
}

/// In which form blocks travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Blocks above 128 KiB are not cut into pieces (`-L`).
    pub large_blocks: bool,
    /// What is embedded in block pointers stays so (`-e`).
    pub embedded: bool,
    /// Blocks stay compressed as they are stored (`-c`).
    pub compressed: bool,
    /// Everything as it is stored, which implies the three above (`-w`). Where the dataset is encrypted,
    /// [`Source::open`] must have been told too.
    pub raw: bool,
}

/// Where an interrupted receive wants to go on: what a resume token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// The object.
    pub object: ObjectId,
    /// Where in it, in bytes; 0 is the object itself.
    pub offset: u64,
}

/// What decides about speed and about damage, not about the bytes of a good pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of blocks that are read before their turn (`zfs_send_queue_length`); two batches at least.
    pub queue_bytes: u64,
    /// Blocks travel in batches, so many of which fill the queue (`zfs_send_queue_ff`).
    pub queue_fill: u64,
    /// Bytes of what the traversal finds before its turn (`zfs_send_no_prefetch_queue_length`).
    pub traversal_queue_bytes: u64,
    /// As [`queue_fill`](Self::queue_fill), by these bytes (`zfs_send_no_prefetch_queue_ff`).
    pub traversal_queue_fill: u64,
    /// A block that cannot be read is filled with the number 0x2f5baddb10c instead of ending the send
    /// (`zfs_send_corrupt_data`), and listed in [`Sent::replaced`](crate::Sent::replaced). Not in raw streams of encrypted
    /// datasets, where no pattern can be authentic.
    pub corrupt_data: bool,
    /// Spill blocks that did not change travel with their object (`zfs_send_unmodified_spill_blocks`).
    pub unmodified_spill_blocks: bool,
    /// BEGIN says that a full stream lists what is free (`zfs_send_set_freerecords_bit`).
    pub freerecords_flag: bool,
    /// The list behind BEGIN is packed in XDR and padded to 8 bytes, as OpenZFS's development branch (2026) sends it, and not in native
    /// form, as its releases do. Receivers of the other byte order read only the former.
    pub xdr_lists: bool,
    /// Bytes of a block as estimates take it; where that is none, the dataset's own (`zfs_override_estimate_recordsize`).
    pub estimate_record_bytes: Option<NonZero<u64>>,
    /// Threads that read: 0 for as many as there are cores, 1 for none but the caller's.
    pub threads: usize,
}

impl Options {
    /// Bytes of blocks from which on a batch is full.
    pub(crate) fn batch_bytes(&self) -> u64 {
        self.queue_bytes / self.queue_fill.max(1)
    }

    /// Bytes of ranges from which on a batch is full.
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

/// One substream: what is sent, from where on, in which form.
pub struct Plan {
    /// What is sent.
    pub source: Source,
    /// What the receiver has; none for a full stream.
    pub base: Option<Base>,
    /// The form of the blocks.
    pub form: Form,
    /// What is left out (`--redact`): the list of a redaction bookmark of the source.
    pub redact: Option<Arc<RedactionList>>,
    /// Where to go on.
    pub resume: Option<ResumePoint>,
    /// Speed and damage.
    pub options: Options,
}

impl Plan {
    /// A full stream with nothing out of the ordinary.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self {
            source,
            base: None,
            form: Form::default(),
            redact: None,
            resume: None,
            options: Options::default(),
        }
    }
}
