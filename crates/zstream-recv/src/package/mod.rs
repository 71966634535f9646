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

mod place;
mod roots;
mod settings;

use std::io::Read;

use zstream_dmu::ids::{Guid, ObjectId};
use zstream_format::errno::Errno;
use zstream_format::flags::{BeginFlags, FeatureFlags};
use zstream_format::stream::Role;
use zstream_format::summary::PackageList;

use self::place::Placed;
use self::settings::encryption;
use crate::engine::Receiving;
use crate::error::{Error, Fault, Result};
use crate::host::{Host, Note};
use crate::input::{Input, Opening};
use crate::refusal::Refusal;
use crate::replicate::replicate;
use crate::request::Request;
use crate::rules::{Destination, Head, Target};
use crate::sent_keys::SentKeys;

/// Facts about the stream as a whole.
struct Context<'a> {
    request: &'a Request,
    /// The dataset that was sent.
    sent: String,
    list: Option<&'a PackageList>,
    is_package: bool,
    /// The first dataset that was received into, or that already had its snapshot.
    top: Option<String>,
    keys: SentKeys,
    /// Heads that became encryption roots because the key that they inherited was replaced.
    detached: Vec<ObjectId>,
    /// Changes to the tree that are not reported yet, since they are not completed.
    waiting: Vec<Note>,
}

impl Context<'_> {
    /// Returns `true` if the package is of a whole tree.
    fn is_tree(&self) -> bool {
        self.list.is_some_and(|list| list.recursive)
    }
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
        let mut first = input.open()?.ok_or(Refusal::Package)?;
        let name = name(&first)?;
        let sent = name.split('@').next().unwrap_or_default().to_owned();
        let list = if first.is_package { first.list.take().map(PackageList::new) } else { None };
        let mut context = Context {
            request,
            sent,
            list: list.as_ref(),
            is_package: first.is_package,
            top: None,
            keys: SentKeys::default(),
            detached: Vec::new(),
            waiting: Vec::new(),
        };
        if !first.is_package {
            let result = self.one(input, first, &mut context, host);
            let result = result.inspect_err(|_| self.drop_pending());
            return self.warn_detached(&context, host).and(result);
        }
        if first.next.role != Role::PackageHeaderEnd {
            return Err(Refusal::Package.into());
        }
        if context.is_tree() && request.to.contains('@') {
            let why = "a package is received into a dataset, not as one snapshot".to_owned();
            return Err(Refusal::Name { name: request.to.clone(), why }.into());
        }
        let result = self
            .replicate(&mut context, &name)
            .and_then(|_| self.datasets(input, &mut context, host))
            .inspect_err(|_| self.drop_pending());
        if result.is_err() && !self.is_broken() {
            self.warn_detached(&context, host)?;
        }
        let count = result?;
        let is_complete = self.replicate(&mut context, &name).inspect_err(|_| self.drop_pending())?;
        self.complete_tree(&mut context, host)?;
        if !is_complete {
            let why = "some datasets could not be renamed, promoted or destroyed to match the sender";
            host.note(Note::Warning(why.to_owned()));
        }
        self.join_encryption_roots(&context, host)?;
        self.warn_detached(&context, host)?;
        Ok(count)
    }

    /// Receives the datasets of a package, one after the other.
    fn datasets<R: Read>(
        &mut self,
        input: &mut Input<R>,
        context: &mut Context<'_>,
        host: &mut dyn Host,
    ) -> Result<u64> {
        let (mut count, mut is_empty) = (0, true);
        while let Some(opening) = input.open()? {
            is_empty = false;
            count += self.one(input, opening, context, host)?;
        }
        // A package of a tree may only rename and destroy.
        if is_empty && !context.is_tree() {
            return Err(Refusal::NothingInPackage.into());
        }
        self.complete_tree(context, host)?;
        Ok(count)
    }

    /// Completes the changes to the tree, and reports them.
    fn complete_tree(&mut self, context: &mut Context<'_>, host: &mut dyn Host) -> Result<()> {
        self.commit_pending()?;
        context.waiting.drain(..).for_each(|note| host.note(note));
        Ok(())
    }

    /// Brings the tree into the sender's form before and after increments of a whole tree. The changes are part of the
    /// open transaction group, and reported when it is completed.
    fn replicate(&mut self, context: &mut Context<'_>, name: &str) -> Result<bool> {
        let request = context.request;
        let Some(list) = context.list.filter(|list| list.recursive && list.from_snap.is_some()) else {
            return Ok(true);
        };
        let place = request.place(name, &context.sent, true)?;
        let top = place.split('@').next().unwrap_or_default();
        let replicated = replicate(self, list, top, request)?;
        context.waiting.extend(replicated.notes);
        Ok(replicated.is_complete)
    }

    /// Receives one snapshot, or skips it if the target has it. Returns the number of snapshots that were received.
    fn one<R: Read>(
        &mut self,
        input: &mut Input<R>,
        opening: Opening,
        context: &mut Context<'_>,
        host: &mut dyn Host,
    ) -> Result<u64> {
        let (request, guid) = (context.request, opening.begin.to_guid);
        let mut placed = self.place(&opening, context, host)?;
        if context.is_package
            && !request.heal
            && let Some(there) = self.snapshot_there(&placed.target.dataset, guid)?
        {
            self.refer_to(&placed.target.dataset, &there, opening.head())?;
            return ignore(input, &opening, &placed.target, request, &there, host);
        }
        placed.target.encryption = encryption(&opening, &placed, request, context.is_tree())?;
        self.create_above(&placed.target, context, host)?;
        let target = &placed.target;
        let judged = self.may_replace(&opening, target).and_then(|()| self.judge(&opening, target));
        let destination = match judged {
            Ok(destination) => destination,
            Err(error) => {
                let head = opening.head();
                if !matches!(error.errno(), Errno::ENOENT | Errno::EEXIST) || !head.is_incremental() {
                    return Err(error);
                }
                let there = self.snapshot_there(&target.dataset, guid)?;
                let Some(there) = there else { return Err(error) };
                self.refer_to(&target.dataset, &there, head)?;
                return ignore(input, &opening, target, request, &there, host);
            }
        };
        self.receive_placed(input, opening, &placed, destination, context, host)?;
        Ok(1)
    }

    /// Receives a snapshot at its place, with its properties and holds.
    fn receive_placed<R: Read>(
        &mut self,
        input: &mut Input<R>,
        opening: Opening,
        placed: &Placed<'_>,
        destination: Destination,
        context: &mut Context<'_>,
        host: &mut dyn Host,
    ) -> Result<()> {
        let (request, target) = (context.request, &placed.target);
        let is_incremental = opening.begin.from_guid != Guid(0);
        // The begin of this snapshot completes them.
        context.waiting.drain(..).for_each(|note| host.note(note));
        host.note(Note::Begins { from: placed.from.clone(), to: target.full_name(), is_incremental });
        let settings = self.settings(placed, request)?;
        let mut progress = |bytes| host.progress(bytes);
        let received = self.receive_judged(input, opening, target, destination, &settings, &mut progress)?;
        for warning in &received.warnings {
            host.note(Note::Warning(warning.clone()));
        }
        context.detached.extend(&received.detached);
        if let Some((_, snapshot)) = placed.entry {
            self.finish_snapshot(&target.full_name(), snapshot, request, host)?;
        }
        host.note(Note::Received(received));
        Ok(())
    }
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
    let (requested, found) = (target.full_name(), format!("{}@{there}", target.dataset));
    if requested != found {
        let refusal = Refusal::ExistsAs { requested, found };
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
