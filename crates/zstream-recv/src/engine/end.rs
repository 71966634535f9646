//! The end of a receive: content into place, the snapshot, its keys and properties.

use std::sync::Arc;

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::block::ReadBlock;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::objset::Objset;
use zstream_dmu::pool::history::Event;
use zstream_dsl::write::ReceivedSnapshot;
use zstream_format::flags::FeatureFlags;

use super::{Assignment, Job, Receiving};
use crate::error::Result;
use crate::input::Opening;
use crate::rules::{Head, Target};

impl Receiving<'_> {
    /// Puts the content into place as a snapshot, in one transaction group.
    pub(super) fn end(
        &mut self,
        job: &mut Job,
        opening: &Opening,
        target: &Target,
        settings: &[Assignment],
    ) -> Result<()> {
        self.pool.sync(job.filled, &mut job.set)?;
        self.pool.tx().check_quotas(job.filled)?;
        let received = ReceivedSnapshot {
            name: target.snapshot.clone(),
            guid: opening.begin.to_guid,
            creation_time: opening.begin.creation_time,
            ivset: job.keys.as_ref().map(|keys| keys.to_ivset).filter(|guid| *guid != 0),
        };
        let mut tx = self.pool.tx();
        let snapshot = tx.end_receive(job.filled, job.head, target.force, &received)?;
        let (name, root) = {
            let snapshot = tx.dsl().dataset_by_object(snapshot)?;
            (snapshot.name().to_owned(), snapshot.phys().root)
        };
        let head = job.head.unwrap_or(job.filled);
        if let Some(keys) = &job.keys {
            // The rules have accepted these keys. If that was wrong, too much has changed already.
            let becomes_root = target.is_encryption_root;
            let received = self.pool.receive_keys(head, keys.data.format, &keys.data.wrapped, becomes_root);
            job.detached = received.inspect_err(|_| self.is_broken = true)?;
        }
        let late = |assignment: &&Assignment| job.head.is_some() || assignment.is_delayed();
        let warnings = self.assign(head, settings.iter().filter(late))?;
        job.warnings.extend(warnings);
        self.pool.log(Event::Internal("finish receiving", &format!("{name} snap={}", target.snapshot)))?;
        self.commit()?;
        let keyring = self.pool.keyring();
        if let Some(key) = keyring.get(head.0) {
            keyring.insert(snapshot.0, key);
        }
        let set = self.referred(snapshot, root, job.keys.is_some())?;
        self.received.insert(opening.begin.to_guid, set);
        Ok(())
    }

    /// Returns the objects of a snapshot in the form that references need: as stored if the stream is raw.
    fn referred(&self, snapshot: ObjectId, root: BlockPointer, raw: bool) -> Result<Arc<Objset>> {
        let reader = Arc::clone(self.pool.pool().reader()) as Arc<dyn ReadBlock>;
        let open = if raw { Objset::open_locked } else { Objset::open };
        Ok(Arc::new(open(reader, snapshot.0, root)?))
    }

    /// Registers a snapshot that the target already has, since later parts of a deduplicated stream may refer to it. A
    /// snapshot that cannot be read in the form that the stream needs counts as not received.
    pub(crate) fn refer_to(&mut self, dataset: &str, snapshot: &str, head: Head<'_>) -> Result<()> {
        if !head.features().intersects(FeatureFlags::DEDUP | FeatureFlags::DEDUPPROPS) {
            return Ok(());
        }
        let (object, root) = {
            let snapshot = self.pool.dsl().snapshot(&format!("{dataset}@{snapshot}"))?;
            (snapshot.object(), snapshot.phys().root)
        };
        if let Ok(set) = self.referred(object, root, head.has(FeatureFlags::RAW)) {
            self.received.insert(head.begin.to_guid, set);
        }
        Ok(())
    }
}
