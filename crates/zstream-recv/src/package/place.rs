//! The place of a snapshot: its target by the request, or the dataset that was renamed here.

use std::sync::Arc;

use zstream_dmu::ids::Guid;
use zstream_dsl::{Dsl, OpenMos};
use zstream_format::flags::{BeginFlags, FeatureFlags};
use zstream_format::object_type::ObjsetType;
use zstream_format::summary::{Dataset as SentDataset, PackageSnapshot};

use super::{Context, makes_new, name};
use crate::engine::Receiving;
use crate::error::{Error, Result};
use crate::host::{Host, Note};
use crate::input::Opening;
use crate::refusal::Refusal;
use crate::request::Naming;
use crate::rules::{Encryption, KeyData, Target};
use crate::sent::entry;

/// A snapshot of the stream, with its place here.
pub(super) struct Placed<'a> {
    /// Its name at the sender.
    pub(super) from: String,
    pub(super) target: Target,
    /// Its dataset and itself in the list of the package.
    pub(super) entry: Option<(&'a SentDataset, &'a PackageSnapshot)>,
    /// `true` if the target is the first dataset of the stream.
    pub(super) is_top: bool,
}

impl Receiving<'_> {
    /// Finds the place of a snapshot. The encryption of the target is that of the dataset above it.
    pub(super) fn place<'a>(
        &mut self,
        opening: &Opening,
        context: &mut Context<'a>,
        host: &mut dyn Host,
    ) -> Result<Placed<'a>> {
        let (request, from) = (context.request, name(opening)?);
        let place = request.place(&from, &context.sent, context.is_tree())?;
        let (dataset, snapshot) = place.split_once('@').ok_or_else(|| Refusal::Name {
            name: place.clone(),
            why: "it is not the name of a snapshot".to_owned(),
        })?;
        let (begin, head) = (&opening.begin, opening.head());
        let entry = entry(context.list, begin.to_guid);
        let mut target = Target {
            dataset: dataset.to_owned(),
            snapshot: snapshot.to_owned(),
            origin: request.origin.clone(),
            force: request.force,
            resumable: request.resumable,
            heal: request.heal,
            encryption: Encryption::Inherit,
            is_encryption_root: entry.is_some_and(|(sent, _)| sent.is_encryption_root),
        };
        // Keys that are invalid are refused together with the other rules.
        if let (Some((sent, _)), Some(list), true) = (entry, head.list, head.has(FeatureFlags::RAW))
            && let Ok(keys) = KeyData::parse(list)
        {
            context.keys.note(sent, &keys);
        }
        self.find_place(opening, &mut target, context, entry.map(|(dataset, _)| dataset))?;
        let origin_by_guid = begin.flags.contains(BeginFlags::CLONE) && target.origin.is_none();
        if origin_by_guid && !head.has(FeatureFlags::RESUMING) {
            target.origin = self.by_guid(&target.dataset, begin.from_guid)?;
        }
        if let Some(origin) = &target.origin {
            host.note(Note::Origin(origin.clone()));
        }
        let is_top = context.top.get_or_insert_with(|| target.dataset.clone()) == &target.dataset;
        Ok(Placed { from, target, entry, is_top })
    }

    /// Finds a target that may have been renamed here. If the target does not exist, the dataset that has the source of
    /// the stream is used; for a new dataset, the one that has the source of its parent.
    fn find_place(
        &mut self,
        opening: &Opening,
        target: &mut Target,
        context: &Context<'_>,
        entry: Option<&SentDataset>,
    ) -> Result<()> {
        let (begin, head) = (&opening.begin, opening.head());
        let is_there =
            |this: &mut Self, name: &str| Ok::<_, Error>(this.pool().dsl().find_dir(name)?.is_some());
        if is_there(self, &target.dataset)? {
            return Ok(());
        }
        let makes_new = makes_new(head, context.request.origin.is_some());
        let is_top = name(opening)?.split('@').next() == Some(&context.sent);
        if makes_new {
            let Some((above, last)) = target.dataset.rsplit_once('/') else { return Ok(()) };
            let parent = entry.and_then(|entry| entry.parent_from_snap).filter(|guid| *guid != Guid(0));
            if let (false, Some(guid)) = (is_there(self, above)?, parent)
                && let Some(found) = self.by_guid(above, guid)?
            {
                let found = found.split('@').next().unwrap_or_default();
                target.dataset = format!("{found}/{last}");
            }
        } else if (context.request.naming != Naming::Below || !is_top)
            && let Some(found) = self.by_guid(&target.dataset, begin.from_guid)?
        {
            target.dataset = found.split('@').next().unwrap_or_default().to_owned();
        }
        Ok(())
    }

    /// Returns the snapshot with this guid. The directories nearest to `near` are searched first (`guid_to_name`).
    pub(crate) fn by_guid(&mut self, near: &str, guid: Guid) -> Result<Option<String>> {
        let dsl = self.pool().dsl();
        let mut at = Some(near);
        while let Some(name) = at {
            if let Some(dir) = dsl.find_dir(name)?
                && let Some(found) = dir.snapshot_by_guid(guid)?
            {
                return Ok(Some(found.name().to_owned()));
            }
            at = name.rsplit_once('/').map(|(above, _)| above);
        }
        Ok(None)
    }

    /// Returns the short name of the dataset's snapshot with this guid.
    pub(super) fn snapshot_there(&mut self, dataset: &str, guid: Guid) -> Result<Option<String>> {
        let Some(head) = self.pool().dsl().find_head(dataset)? else { return Ok(None) };
        let found = head.snapshot_by_guid(guid)?;
        Ok(found.and_then(|snapshot| snapshot.snapshot_name().map(str::to_owned)))
    }

    /// Checks the rules for replacing a dataset by a full stream that libzfs adds to those of the kernel.
    pub(super) fn may_replace(&mut self, opening: &Opening, target: &Target) -> Result<()> {
        let begin = &opening.begin;
        if !makes_new(opening.head(), false) || target.heal || !target.force {
            return Ok(());
        }
        if begin.objset_type == ObjsetType::ZVOL.0 && !target.dataset.contains('/') {
            let why = "it is the root of the pool, but the stream is of a volume";
            return Err(Refusal::CannotReplace(target.dataset.clone(), why).into());
        }
        let Some(head) = self.pool().dsl().find_head(&target.dataset)? else { return Ok(()) };
        if let Some(snapshot) = head.snapshots()?.first() {
            let example = snapshot.name().to_owned();
            return Err(Refusal::HasSnapshots(target.dataset.clone(), example).into());
        }
        if head.dir().origin()?.is_some() {
            return Err(Refusal::IsClone(target.dataset.clone()).into());
        }
        Ok(())
    }

    /// Creates the filesystems above a target that do not exist.
    pub(super) fn create_above(
        &mut self,
        target: &Target,
        context: &Context<'_>,
        host: &mut dyn Host,
    ) -> Result<()> {
        if context.request.naming != Naming::WithoutPool {
            return Ok(());
        }
        let above = missing_above(&self.pool().dsl(), &context.request.to, &target.dataset)?;
        for name in above {
            let made = host.create_filesystem(self.pool(), &name);
            self.mark_pending();
            // Half of a filesystem must not stay.
            made.inspect_err(|_| self.mark_broken())?;
        }
        Ok(())
    }
}

/// Returns the filesystems between `top` and a dataset that do not exist (`create_parents`).
fn missing_above(
    dsl: &Arc<Dsl<OpenMos<'_>>>,
    top: &str,
    dataset: &str,
) -> zstream_dsl::error::Result<Vec<String>> {
    let mut missing = Vec::new();
    if dsl.find_dir(top)?.is_none() {
        return Ok(missing);
    }
    for (at, _) in dataset.strip_prefix(top).unwrap_or_default().match_indices('/').skip(1) {
        let name = &dataset[..top.len() + at];
        if dsl.find_dir(name)?.is_none() {
            missing.push(name.to_owned());
        }
    }
    Ok(missing)
}
