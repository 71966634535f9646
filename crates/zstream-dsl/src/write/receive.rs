//! Effects of a receive on datasets: it fills one that is not in use meanwhile, and ends with a snapshot
//! (`dmu_recv_begin_sync`, `save_resume_state_sync`, `dmu_recv_end_sync`).
//!
//! ```text
//! new target        pool/fs        inconsistent -> filled -> snapshot
//! existing target   pool/fs/%recv  inconsistent -> filled -> content exchanged with pool/fs -> snapshot of pool/fs
//! ```
//!
//! A resumable receive keeps entries in the dataset that it fills. Those that describe the form of the stream remain in
//! a new filesystem, as in OpenZFS.

use zstream_dmu::ids::{Guid, ObjectId};
use zstream_dmu::zap::Value;
use zstream_format::errno::Errno;

use super::Tx;
use crate::dataset::feature::REDACTED_DATASETS;
use crate::error::{Error, Kind, Result};
use crate::keys::IVSET_GUID;
use crate::phys::DatasetFlags;
use crate::reader::{MosReader, RECEIVE_CHILD};
use crate::resume::{RAW_RECEIVE, STATE};

/// The entry of a snapshot that was received raw (`DS_FIELD_RAW_RECEIVED` of OpenZFS's development branch; ignored by
/// others).
const RAW_RECEIVED: &str = "org.openzfs:raw_received";

/// The facts about its stream that a resumable receive stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resumable {
    /// Guid of the snapshot that the stream starts from, 0 for a full stream.
    pub from_guid: Guid,
    /// Guid of the stream's snapshot.
    pub to_guid: Guid,
    /// Its name at the sender.
    pub to_name: Vec<u8>,
    /// `true` if the stream has blocks above 128 KiB.
    pub large_blocks: bool,
    /// `true` if the stream has embedded blocks.
    pub embedded: bool,
    /// `true` if the stream has compressed blocks.
    pub compressed: bool,
    /// `true` if the stream has encrypted blocks.
    pub raw: bool,
    /// Guids of the snapshots that the source of the increment was redacted by.
    pub from_redactions: Option<Vec<u64>>,
}

/// The facts about a dataset that its stream supplies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filling {
    /// Guids of the snapshots that it was redacted by.
    pub redactions: Option<Vec<u64>>,
    /// Features that the dataset has from the start.
    pub features: Vec<&'static str>,
    /// The saved state for resuming; `None` if the receive is not resumable.
    pub resumable: Option<Resumable>,
}

/// The snapshot at the end of a receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedSnapshot {
    /// Its short name.
    pub name: String,
    /// The guid of the sender's snapshot.
    pub guid: Guid,
    /// The creation time at the sender, in seconds since 1970.
    pub creation_time: u64,
    /// The IV set at the sender, if the stream is raw and has it.
    pub ivset: Option<u64>,
}

impl Tx<'_> {
    /// Creates the hidden dataset that is filled instead of `head`: a clone of one of its snapshots, or an empty
    /// dataset without an object set.
    ///
    /// # Errors
    /// Fails with `EBUSY` if the dataset exists, and if the MOS cannot be changed.
    pub(super) fn create_receive_child(
        &mut self,
        head: ObjectId,
        base: Option<ObjectId>,
        is_case_insensitive: bool,
    ) -> Result<ObjectId> {
        let dir = self.read().dataset(head)?.dir;
        if self.read().child(dir, RECEIVE_CHILD)?.is_some() {
            let name = self.read().dir_name(dir)?;
            return Err(Error::refused(
                Errno::EBUSY,
                format!("{name} has the saved state of an interrupted receive"),
            ));
        }
        self.create_dataset(dir, RECEIVE_CHILD, base, DatasetFlags::of_new(is_case_insensitive))
    }

    /// Creates the clone of a snapshot that a receive fills.
    ///
    /// # Errors
    /// Fails like [`create`](Self::create).
    pub(super) fn create_received_clone(&mut self, origin: ObjectId, name: &str) -> Result<ObjectId> {
        let place = self.read().vacant(name)?;
        self.create_clone(place.parent, &place.name, origin)
    }

    /// Marks a dataset as one that is being filled.
    ///
    /// # Errors
    /// Fails with `ENOTSUP` if the pool does not have a feature of the stream.
    pub fn begin_receive(&mut self, filled: ObjectId, filling: &Filling) -> Result<()> {
        // A clone of a redacted snapshot is redacted, but the received content may not be.
        if self.read().dataset_features(filled)?.iter().any(|(feature, _)| feature.name == REDACTED_DATASETS)
        {
            self.deactivate_feature(filled, REDACTED_DATASETS)?;
        }
        if let Some(resumable) = &filling.resumable {
            self.note_resumable(filled, resumable)?;
        }
        if let Some(guids) = &filling.redactions {
            self.activate_feature(filled, REDACTED_DATASETS, &Value::words(guids))?;
        }
        for name in &filling.features {
            self.activate_feature(filled, name, &Value::word(0))?;
        }
        self.change_dataset(filled, |dataset| dataset.flags |= DatasetFlags::INCONSISTENT)
    }

    fn note_resumable(&mut self, filled: ObjectId, stream: &Resumable) -> Result<()> {
        let state = |name: &str| format!("{STATE}{name}");
        let mut set = |name: &str, value: &Value| self.set_entry(filled, name, value);
        if stream.from_guid != Guid(0) {
            set(&state("fromguid"), &Value::word(stream.from_guid.0))?;
        }
        set(&state("toguid"), &Value::word(stream.to_guid.0))?;
        set(&state("toname"), &Value::from_bytes(&[&stream.to_name[..], &[0]].concat()))?;
        set(&state("object"), &Value::word(1))?;
        set(&state("offset"), &Value::word(0))?;
        set(&state("bytes"), &Value::word(0))?;
        let kinds = [
            (state("largeblockok"), stream.large_blocks),
            (state("embedok"), stream.embedded),
            (state("compressok"), stream.compressed),
            (RAW_RECEIVE.to_owned(), stream.raw),
        ];
        for (name, _) in kinds.iter().filter(|(_, is_so)| *is_so) {
            set(name, &Value::word(1))?;
        }
        if let Some(guids) = &stream.from_redactions {
            set(&state("redact_book_snaps"), &Value::words(guids))?;
        }
        Ok(())
    }

    /// Stores the point from which to resume after the changes that were synced: object, offset, and the number of
    /// stream bytes before it.
    ///
    /// # Errors
    /// Fails if the MOS cannot be changed.
    pub fn set_resume_point(&mut self, filled: ObjectId, point: (ObjectId, u64), bytes: u64) -> Result<()> {
        for (name, number) in [("object", point.0.0), ("offset", point.1), ("bytes", bytes)] {
            self.set_entry(filled, &format!("{STATE}{name}"), &Value::word(number))?;
        }
        Ok(())
    }

    /// Returns the snapshot before the filled dataset, if it was received raw and the filled dataset is encrypted. A
    /// plain increment gives later snapshots an IV set of their own, so that raw increments from the sender no longer
    /// fit.
    ///
    /// # Errors
    /// Fails if the MOS cannot be read.
    pub fn raw_base(&self, filled: ObjectId) -> Result<Option<String>> {
        let phys = self.read().dataset(filled)?;
        let Some(base) = phys.prev_snapshot else { return Ok(None) };
        if !self.read().is_encrypted(phys.dir)? || self.read().entry(base, RAW_RECEIVED)?.is_none() {
            return Ok(None);
        }
        self.read().full_name(base).map(Some)
    }

    /// Checks that a receive into the hidden child of `head` can end (`dmu_recv_end_check`).
    fn check_end(&self, filled: ObjectId, head: ObjectId, force: bool, name: &str) -> Result<Vec<ObjectId>> {
        let base = self.read().dataset(filled)?.prev_snapshot;
        let phys = self.read().dataset(head)?;
        let mut newer = Vec::new();
        let mut at = phys.prev_snapshot;
        while at != base {
            let Some(snapshot) = at.filter(|_| force) else {
                let head = self.read().full_name(head)?;
                return Err(Error::refused(
                    Errno::ETXTBSY,
                    format!("{head} got a snapshot during the receive"),
                ));
            };
            let found = self.read().dataset(snapshot)?;
            if found.dir != phys.dir {
                let head = self.read().full_name(head)?;
                return Err(Error::refused(
                    Errno::EINVAL,
                    format!("{head} does not have the source of the stream"),
                ));
            }
            self.read().check_destroy_snapshot(snapshot)?;
            newer.push(snapshot);
            at = found.prev_snapshot;
        }
        if let Some((_, taken)) = self.read().snapshot(&phys, name)?
            && !newer.contains(&taken)
        {
            return Err(Error::exists(Kind::Snapshot, name));
        }
        if !force && self.read().is_modified(head)? {
            let head = self.read().full_name(head)?;
            return Err(Error::refused(Errno::ETXTBSY, format!("{head} was changed during the receive")));
        }
        self.check_refreserved(head)?;
        self.check_received_refquota(head, self.read().dataset(filled)?.referenced_bytes)?;
        Ok(newer)
    }

    /// Ends a receive. The filled dataset, which must be synced, becomes the content of `head`, and the snapshot is created.
    /// With `force`, snapshots of `head` after the stream's source are destroyed. Without `head`, the filled dataset is the
    /// target. Returns the snapshot.
    ///
    /// # Errors
    /// Fails with `ETXTBSY` if the target has changed meanwhile, `EEXIST`, `EDQUOT`, `EBUSY` if a snapshot that would be
    /// destroyed has holds, and `EAGAIN` if the previous snapshot is of this transaction group.
    pub fn end_receive(
        &mut self,
        filled: ObjectId,
        head: Option<ObjectId>,
        force: bool,
        received: &ReceivedSnapshot,
    ) -> Result<ObjectId> {
        self.check_not_too_close(filled, &format!("{}@{}", self.read().full_name(filled)?, received.name))?;
        let target = match head {
            Some(head) => {
                let newer = self.check_end(filled, head, force, &received.name)?;
                for snapshot in newer {
                    self.destroy_snapshot(snapshot)?;
                }
                self.swap_clone(filled, head)?;
                head
            }
            None => filled,
        };
        self.read().check_snapshot_name(target, &received.name)?;
        let snapshot = self.snapshot_head(target, &received.name)?;
        self.change_dataset(snapshot, |dataset| {
            dataset.guid = received.guid;
            dataset.creation_time = received.creation_time;
            dataset.flags.remove(DatasetFlags::INCONSISTENT);
        })?;
        self.change_dataset(target, |dataset| dataset.flags.remove(DatasetFlags::INCONSISTENT))?;
        if let Some(ivset) = received.ivset {
            self.set_entry(snapshot, IVSET_GUID, &Value::word(ivset))?;
            self.set_entry(snapshot, RAW_RECEIVED, &Value::word(1))?;
        }
        if head.is_some() {
            self.read().check_destroy_head(filled)?;
            self.destroy_head(filled)?;
        } else {
            for name in ["fromguid", "object", "offset", "bytes", "toguid", "toname", "redact_book_snaps"] {
                self.remove_entry(filled, &format!("{STATE}{name}"))?;
            }
        }
        Ok(snapshot)
    }
}

impl MosReader<'_> {
    /// Returns `true` if a head differs from the snapshot before it (`dsl_dataset_modified_since_snap`). The intent log
    /// alone does not count.
    pub(super) fn is_modified(self, head: ObjectId) -> Result<bool> {
        let phys = self.dataset(head)?;
        let Some(snapshot) = phys.prev_snapshot else { return Ok(true) };
        if phys.root.birth() <= phys.prev_snapshot_txg {
            return Ok(false);
        }
        if self.dataset(snapshot)?.root.is_hole() {
            return Ok(true);
        }
        Ok(self.objset_locked(head)?.phys().meta_dnode != self.objset_locked(snapshot)?.phys().meta_dnode)
    }
}
