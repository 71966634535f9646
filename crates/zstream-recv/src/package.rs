//! Receives of a whole stream: one snapshot, or the snapshots of a package (`zfs_receive_impl`, `zfs_receive_package`).
//!
//! ```text
//! package header -> renames, promotes, destroys -> snapshot after snapshot -> the same again, now that all is there
//!                   (increments of a whole tree)    place, properties, receive   encryption roots of raw trees
//!                                                   properties and holds of the snapshot
//! ```
//!
//! Renames, promotes and destroys are completed together with the begin of the first snapshot that the target does not
//! have: if its stream is refused, nothing is changed.
//!
//! A snapshot that the target already has is skipped, so that a package that was cut short continues where it ended.

use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;

use zstream_dmu::error::Fault as PoolFault;
use zstream_dmu::ids::{Guid, ObjectId};
use zstream_dsl::prop::Property;
use zstream_dsl::write::Setting;
use zstream_dsl::{CryptoKey, Dsl, OpenMos};
use zstream_format::errno::Errno;
use zstream_format::flags::{BeginFlags, FeatureFlags};
use zstream_format::object_type::ObjsetType;
use zstream_format::stream::Role;
use zstream_format::summary::{Dataset as SentDataset, PackageList, PackageSnapshot};

use crate::engine::{Assignment, Receiving};
use crate::error::{Error, Fault, Result};
use crate::host::{Host, Note};
use crate::input::{Input, Opening};
use crate::refusal::Refusal;
use crate::replicate::replicate;
use crate::request::{Naming, Request};
use crate::rules::{Encryption, Head, KeyData, Target};
use crate::sent::{entry, set_snapshot_properties, stored};
use crate::sent_keys::SentKeys;

/// Facts about the stream as a whole.
#[derive(Default)]
struct Context {
    /// The dataset that was sent.
    sent: String,
    list: Option<PackageList>,
    is_package: bool,
    /// The first dataset that was received into, or that already had its snapshot.
    top: Option<String>,
    keys: SentKeys,
    /// Heads that became encryption roots because the key that they inherited was replaced.
    detached: Vec<ObjectId>,
    /// Changes to the tree that are not reported yet, since they are not completed.
    waiting: Vec<Note>,
}

impl Receiving<'_> {
    /// Receives everything in the input: one snapshot, or one package. Returns the number of snapshots that were
    /// received. Leftovers of earlier receives that cannot be resumed were destroyed when the pool was opened
    /// ([`destroy_unresumable`](zstream_dsl::write::WritablePool::destroy_unresumable)).
    ///
    /// # Errors
    /// Fails with the first snapshot that cannot be received. The snapshots before it are kept.
    pub fn receive_all<R: Read>(
        &mut self,
        input: &mut Input<R>,
        request: &Request,
        host: &mut dyn Host,
    ) -> Result<u64> {
        if request.dry_run && !self.pool().pool().is_rehearsal() {
            let why = "a dry run requires a pool that is opened as a rehearsal";
            return Err(Fault::from(zstream_dmu::error::Error::bad_request(why.to_owned())).into());
        }
        let first = input.open()?.ok_or(Refusal::Package)?;
        let name = name(&first)?;
        let sent = name.split('@').next().unwrap_or_default().to_owned();
        let mut context =
            Context { sent, list: None, is_package: first.is_package, top: None, ..Context::default() };
        if !first.is_package {
            let result = self.one(input, first, request, &mut context, host);
            let result = result.inspect_err(|_| self.drop_pending());
            return self.tell_detached(&context, host).and(result);
        }
        if first.next.role != Role::PackageHeaderEnd {
            return Err(Refusal::Package.into());
        }
        context.list = first.list.map(PackageList::new);
        let is_tree = context.list.as_ref().is_some_and(|list| list.recursive);
        if is_tree && request.to.contains('@') {
            let why = "a package is received into a dataset, not as one snapshot".to_owned();
            return Err(Refusal::Name { name: request.to.clone(), why }.into());
        }
        let result = self
            .replicate(request, &mut context, &name)
            .and_then(|_| self.datasets(input, request, &mut context, host))
            .inspect_err(|_| self.drop_pending());
        if result.is_err() && !self.is_broken() {
            self.tell_detached(&context, host)?;
        }
        let count = result?;
        let is_complete =
            self.replicate(request, &mut context, &name).inspect_err(|_| self.drop_pending())?;
        self.complete_tree(&mut context, host)?;
        if !is_complete {
            let why = "some datasets could not be renamed, promoted or destroyed to match the sender";
            host.note(Note::Warning(why.to_owned()));
        }
        self.join_encryption_roots(&context, request, host)?;
        self.tell_detached(&context, host)?;
        Ok(count)
    }

    /// Receives the datasets of a package, one after the other.
    fn datasets<R: Read>(
        &mut self,
        input: &mut Input<R>,
        request: &Request,
        context: &mut Context,
        host: &mut dyn Host,
    ) -> Result<u64> {
        let (mut count, mut is_empty) = (0, true);
        while let Some(opening) = input.open()? {
            is_empty = false;
            count += self.one(input, opening, request, context, host)?;
        }
        // A package of a tree may only rename and destroy.
        let is_tree = context.list.as_ref().is_some_and(|list| list.recursive);
        if is_empty && !is_tree {
            return Err(Refusal::NothingInPackage.into());
        }
        self.complete_tree(context, host)?;
        Ok(count)
    }

    /// Completes the changes to the tree, and reports them.
    fn complete_tree(&mut self, context: &mut Context, host: &mut dyn Host) -> Result<()> {
        self.commit_pending()?;
        context.waiting.drain(..).for_each(|note| host.note(note));
        Ok(())
    }

    /// Brings the tree into the sender's form before and after increments of a whole tree. The changes are part of the
    /// open transaction group, and reported when it is completed.
    fn replicate(&mut self, request: &Request, context: &mut Context, name: &str) -> Result<bool> {
        let Some(list) = context.list.as_ref().filter(|list| list.recursive && list.from_snap.is_some())
        else {
            return Ok(true);
        };
        let place = request.place(name, &context.sent, true)?;
        let top = place.split('@').next().unwrap_or_default();
        let replicated = replicate(self, list, top, request)?;
        context.waiting.extend(replicated.notes);
        Ok(replicated.is_complete)
    }

    fn one<R: Read>(
        &mut self,
        input: &mut Input<R>,
        opening: Opening,
        request: &Request,
        context: &mut Context,
        host: &mut dyn Host,
    ) -> Result<u64> {
        let from = name(&opening)?;
        let is_tree = context.list.as_ref().is_some_and(|list| list.recursive);
        let place = request.place(&from, &context.sent, is_tree)?;
        let (dataset, snapshot) = place.split_once('@').ok_or_else(|| Refusal::Name {
            name: place.clone(),
            why: "it is not the name of a snapshot".to_owned(),
        })?;
        let mut target = Target {
            dataset: dataset.to_owned(),
            snapshot: snapshot.to_owned(),
            origin: request.origin.clone(),
            force: request.force,
            resumable: request.resumable,
            heal: request.heal,
            encryption: Encryption::Inherit,
            is_encryption_root: false,
        };
        let (begin, head) = (&opening.begin, opening.head());
        let entry = entry(context.list.as_ref(), begin.to_guid);
        target.is_encryption_root = entry.is_some_and(|(sent, _)| sent.is_encryption_root);
        // Keys that are invalid are refused together with the other rules.
        if let (Some((sent, _)), Some(list), true) = (entry, head.list, head.has(FeatureFlags::RAW))
            && let Ok(keys) = KeyData::parse(list)
        {
            context.keys.note(sent, &keys);
        }
        self.find_place(&opening, request, &mut target, context, entry.map(|(dataset, _)| dataset))?;
        let origin_by_guid = begin.flags.contains(BeginFlags::CLONE) && target.origin.is_none();
        if origin_by_guid && !head.has(FeatureFlags::RESUMING) {
            target.origin = self.by_guid(&target.dataset, begin.from_guid)?;
        }
        if let Some(origin) = &target.origin {
            host.note(Note::Origin(origin.clone()));
        }
        let is_top = context.top.get_or_insert_with(|| target.dataset.clone()) == &target.dataset;
        if context.is_package
            && !request.heal
            && let Some(there) = self.snapshot_there(&target.dataset, begin.to_guid)?
        {
            self.refer_to(&target.dataset, &there, head)?;
            return ignore(input, &opening, &target, request, &there, host);
        }
        target.encryption = encryption(&opening, &target, request, is_top, entry.is_some(), is_tree)?;
        if request.naming == Naming::WithoutPool {
            let above = missing_above(&self.pool().dsl(), &request.to, &target.dataset)?;
            for name in above {
                let made = host.create_filesystem(self.pool(), &name);
                self.mark_pending();
                // Half of a filesystem must not stay.
                made.inspect_err(|_| self.mark_broken())?;
            }
        }
        let judged = self.may_replace(&opening, &target).and_then(|()| self.judge(&opening, &target));
        let destination = match judged {
            Ok(destination) => destination,
            Err(error) => {
                if !matches!(error.errno(), Errno::ENOENT | Errno::EEXIST) || !head.is_incremental() {
                    return Err(error);
                }
                let there = self.snapshot_there(&target.dataset, begin.to_guid)?;
                let Some(there) = there else { return Err(error) };
                self.refer_to(&target.dataset, &there, head)?;
                return ignore(input, &opening, &target, request, &there, host);
            }
        };
        // The begin of this snapshot completes them.
        context.waiting.drain(..).for_each(|note| host.note(note));
        host.note(Note::Begins { from, to: target.full_name(), is_incremental: begin.from_guid != Guid(0) });
        let settings = self.settings(entry.map(|(dataset, _)| dataset), &target.dataset, request, is_top)?;
        let mut progress = |bytes| host.progress(bytes);
        let received = self.receive_judged(input, opening, &target, destination, &settings, &mut progress)?;
        for warning in &received.warnings {
            host.note(Note::Warning(warning.clone()));
        }
        context.detached.extend(&received.detached);
        if let Some((_, snapshot)) = entry {
            self.finish_snapshot(&target.full_name(), snapshot, request, host)?;
        }
        host.note(Note::Received(received));
        Ok(1)
    }

    /// Finds a target that may have been renamed here. If the target does not exist, the dataset that has the source of
    /// the stream is used; for a new dataset, the one that has the source of its parent.
    fn find_place(
        &mut self,
        opening: &Opening,
        request: &Request,
        target: &mut Target,
        context: &Context,
        entry: Option<&SentDataset>,
    ) -> Result<()> {
        let (begin, head) = (&opening.begin, opening.head());
        let is_there =
            |this: &mut Self, name: &str| Ok::<_, Error>(this.pool().dsl().find_dir(name)?.is_some());
        if is_there(self, &target.dataset)? {
            return Ok(());
        }
        let makes_new = makes_new(head, request.origin.is_some());
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
        } else if (request.naming != Naming::Below || !is_top)
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
    fn snapshot_there(&mut self, dataset: &str, guid: Guid) -> Result<Option<String>> {
        let Some(head) = self.pool().dsl().find_head(dataset)? else { return Ok(None) };
        let found = head.snapshot_by_guid(guid)?;
        Ok(found.and_then(|snapshot| snapshot.snapshot_name().map(str::to_owned)))
    }

    /// Checks the rules for replacing a dataset by a full stream that libzfs adds to those of the kernel.
    fn may_replace(&mut self, opening: &Opening, target: &Target) -> Result<()> {
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

    /// Returns the properties that are set with a snapshot.
    fn settings(
        &mut self,
        entry: Option<&SentDataset>,
        dataset: &str,
        request: &Request,
        is_top: bool,
    ) -> Result<Vec<Assignment>> {
        let mut list = Vec::new();
        let head = self.pool().dsl().find_head(dataset)?;
        if let Some(entry) = entry {
            let names: HashSet<String> = entry.properties.iter().map(|(name, _)| name.to_string()).collect();
            if let Some(head) = &head {
                let received = head.dir().received_names()?;
                for name in received.into_iter().filter(|name| !names.contains(name)) {
                    list.push(Assignment { name, setting: Setting::ForgetReceived });
                }
            }
            for (name, value) in &entry.properties {
                let name = name.to_string();
                let is_excluded = request.exclude.contains(&name)
                    && Property::find(&name).is_some_and(|property| !property.inherited);
                if let (Some(value), false) = (stored(value), is_excluded) {
                    list.push(Assignment { name, setting: Setting::Received(value) });
                }
            }
        }
        for name in &request.exclude {
            let is_set = match &head {
                Some(head) => head.dir().is_set_here(name)?,
                None => false,
            };
            let inherits = Property::find(name).is_none_or(|property| property.inherited);
            if !is_set && inherits {
                list.push(Assignment { name: name.clone(), setting: Setting::Inherited });
            }
        }
        for parsed in &request.set {
            // Datasets below keep their own value, or the received one, if there is nothing to inherit.
            let inherits = parsed.property.is_none_or(|property| property.inherited);
            if !is_top && !inherits {
                continue;
            }
            let setting = if is_top { Setting::Local(parsed.value.clone()) } else { Setting::Inherited };
            list.push(Assignment { name: parsed.name.clone(), setting });
        }
        Ok(list)
    }

    /// Sets the properties and holds of a snapshot that was received.
    fn finish_snapshot(
        &mut self,
        name: &str,
        sent: &PackageSnapshot,
        request: &Request,
        host: &mut dyn Host,
    ) -> Result<()> {
        if sent.properties.is_empty() && (sent.holds.is_empty() || request.without_holds) {
            return Ok(());
        }
        let mut tx = self.pool().tx();
        set_snapshot_properties(&mut tx, name, sent)?;
        if !request.without_holds {
            for (tag, _) in &sent.holds {
                let tag = tag.to_string();
                if let Err(error) = tx.hold(&tag, &[name.to_owned()]) {
                    host.note(Note::Warning(format!("cannot hold {name} as {tag}: {error}")));
                }
            }
        }
        self.commit()
    }

    /// Restores the encryption roots of a raw tree that was received: the encryption roots at the sender become
    /// encryption roots here, and datasets that share the key of the dataset above them share it here, too, unless the
    /// key is another one (`recv_fix_encryption_hierarchy`). The top remains an encryption root.
    fn join_encryption_roots(
        &mut self,
        context: &Context,
        request: &Request,
        host: &mut dyn Host,
    ) -> Result<()> {
        let (Some(list), Some(top)) = (&context.list, &context.top) else { return Ok(()) };
        if !list.raw {
            return Ok(());
        }
        let mut found: Vec<(ObjectId, &SentDataset)> = Vec::new();
        let mut first = None;
        {
            let Some(dir) = self.pool().dsl().find_dir(top)? else { return Ok(()) };
            dir.walk(&mut |dir| {
                let head = dir.head()?;
                let snapshots = head.snapshots()?;
                let sent = snapshots.iter().find_map(|snapshot| entry(Some(list), snapshot.phys().guid));
                if let Some((sent, _)) = sent {
                    first.get_or_insert_with(|| head.name().to_owned());
                    found.push((head.object(), sent));
                }
                Ok(())
            })?;
        }
        let top = found.first().filter(|_| first.as_ref() == Some(top)).map(|(head, _)| *head);
        for (head, sent) in found {
            if sent.is_encryption_root {
                let is_set =
                    top == Some(head) && request.set.iter().any(|parsed| parsed.name == "keylocation");
                self.make_root(head, sent, is_set)?;
            } else if top != Some(head) {
                self.join_root(context, list, head, host)?;
            }
        }
        self.commit()
    }

    /// Makes a dataset the encryption root that it is at the sender, with the same location of the key.
    fn make_root(&mut self, head: ObjectId, sent: &SentDataset, is_location_set: bool) -> Result<()> {
        let mut tx = self.pool().tx();
        {
            let dataset = tx.dsl().dataset_by_object(head)?;
            if dataset.crypto_key()?.is_none() || dataset.dir().origin()?.is_some() {
                return Ok(());
            }
        }
        tx.make_encryption_root(head, None)?;
        let location = sent.properties.iter().find(|(name, _)| *name == "keylocation");
        let Some(location) = location.and_then(|(_, value)| stored(value)).filter(|_| !is_location_set)
        else {
            return Ok(());
        };
        let is_new = {
            let dataset = tx.dsl().dataset_by_object(head)?;
            dataset.dir().inherited("keylocation")?.as_ref() != Some(&location)
                && dataset.check_key_location(location.text()?).is_ok()
        };
        if is_new {
            tx.set_property(head, "keylocation", &Setting::Local(location))?;
        }
        Ok(())
    }

    /// Gives a dataset the encryption root of the dataset above it, if the same key wraps the keys of both.
    fn join_root(
        &mut self,
        context: &Context,
        list: &PackageList,
        head: ObjectId,
        host: &mut dyn Host,
    ) -> Result<()> {
        let mut tx = self.pool().tx();
        let (own, above, name, root) = {
            let dataset = tx.dsl().dataset_by_object(head)?;
            let Some(root) = dataset.inheritable_root()? else { return Ok(()) };
            let (Some(own), Some(above)) = (dataset.crypto_key()?, CryptoKey::of(&root)?) else {
                return Ok(());
            };
            (own, above, dataset.name().to_owned(), root.name().to_owned())
        };
        if context.keys.have_same_key(list, &own, &above) {
            tx.inherit_encryption_root(head)?;
        } else {
            host.note(Note::Warning(format!(
                "{name} remains an encryption root: its key is not known to be the one of {root}"
            )));
        }
        Ok(())
    }

    /// Warns about the datasets that inherited a key which was replaced, and that are encryption roots now.
    fn tell_detached(&mut self, context: &Context, host: &mut dyn Host) -> Result<()> {
        let dsl = self.pool().dsl();
        for head in &context.detached {
            let head = match dsl.dataset_by_object(*head) {
                Ok(head) => head,
                // It may have been destroyed since, as at the sender, and its number may belong to something else.
                Err(error)
                    if matches!(
                        error.pool_fault(),
                        Some(PoolFault::NoObject(_) | PoolFault::Corrupt { .. })
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if head.crypto_key()?.is_some_and(|keys| keys.root == head.dir().object()) {
                let name = head.name();
                host.note(Note::Warning(format!(
                    "{name} has become an encryption root: the dataset from which it inherited its key was received with another key"
                )));
            }
        }
        Ok(())
    }
}

/// Returns how a new dataset is encrypted. A stream with properties is never of an encrypted dataset unless it is raw,
/// so that a missing encryption property means that it is not encrypted (`zfs_receive_one`, `zfs_setup_cmdline_props`).
fn encryption(
    opening: &Opening,
    target: &Target,
    request: &Request,
    is_top: bool,
    has_properties: bool,
    is_tree: bool,
) -> Result<Encryption, Refusal> {
    let head = opening.head();
    let is_clone = head.begin.flags.contains(BeginFlags::CLONE) || target.origin.is_some();
    let makes_new = makes_new(head, is_clone);
    let is_raw = head.has(FeatureFlags::RAW);
    let has_location = request.set.iter().any(|parsed| parsed.name == "keylocation");
    if has_location && is_top && makes_new && !is_raw && !is_clone {
        return Err(Refusal::KeyMissing("keylocation is given without keyformat"));
    }
    match &request.encryption {
        Some(_) if is_raw => Err(Refusal::EncryptionGiven("the stream is raw")),
        Some(Encryption::On { .. } | Encryption::Off) if !makes_new && !is_tree => {
            Err(Refusal::EncryptionGiven("the stream is an increment"))
        }
        Some(Encryption::On { .. }) if is_clone && makes_new => {
            Err(Refusal::EncryptionGiven("a clone has the keys of its origin"))
        }
        Some(asked) if is_top && makes_new => Ok(asked.clone()),
        None if has_properties && makes_new && !is_raw => Ok(Encryption::Off),
        _ => Ok(Encryption::Inherit),
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

/// Skips a snapshot that the target already has, under the name `there`.
///
/// # Errors
/// Fails if another name was requested, or if the stream is incomplete.
fn ignore<R: Read>(
    input: &mut Input<R>,
    opening: &Opening,
    target: &Target,
    request: &Request,
    there: &str,
    host: &mut dyn Host,
) -> Result<u64> {
    let (asked, found) = (target.full_name(), format!("{}@{there}", target.dataset));
    if asked != found {
        let refusal = Refusal::ThereAs { asked, found };
        if request.to.contains('@') {
            return Err(Error::from(refusal).at(opening.place));
        }
        host.note(Note::Warning(refusal.to_string()));
    }
    host.note(Note::Ignored(target.full_name()));
    input.records(opening, |_, _| Ok(()))?;
    Ok(0)
}

/// Returns `true` if a stream creates a new dataset, rather than resuming one. `is_clone` means that an origin was
/// requested, whatever the stream says.
fn makes_new(head: Head<'_>, is_clone: bool) -> bool {
    let is_clone = is_clone || head.begin.flags.contains(BeginFlags::CLONE);
    (!head.is_incremental() || is_clone) && !head.has(FeatureFlags::RESUMING)
}

/// Returns the name of the snapshot in the stream.
fn name(opening: &Opening) -> Result<String> {
    let name = opening.begin.name();
    match std::str::from_utf8(name) {
        Ok(text) if opening.is_package || text.contains('@') => Ok(text.to_owned()),
        _ => {
            let name = String::from_utf8_lossy(name).into_owned();
            let why = "it is not the name of a snapshot".to_owned();
            Err(Fault::from(Refusal::Name { name, why }).into())
        }
    }
}
