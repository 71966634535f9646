//! Renames, promotions and destructions at the sender, repeated here for increments of a whole tree
//! (`recv_incremental_replication`).
//!
//! Datasets are identified by the guids of their snapshots. One change may depend on another (a name that is still in
//! use, a clone that blocks a destruction). The tree is therefore visited again as long as a visit changes something.
//! A dataset that blocks a name gets a temporary one of the form `recv-PID-N`.

use std::collections::HashSet;
use std::sync::Arc;

use zstream_dmu::ids::Guid;
use zstream_dsl::write::Tx;
use zstream_dsl::{Dsl, OpenMos};
use zstream_format::summary::{Dataset as SentDataset, PackageList, PackageSnapshot};

use crate::engine::Receiving;
use crate::error::Result;
use crate::host::Note;
use crate::request::{Naming, Request};
use crate::sent::{self, set_snapshot_properties};

/// The limit on passes over the tree. A tree with unique names never needs so many.
const PASSES_MAX: usize = 64;

/// A dataset that exists here.
struct Local {
    name: String,
    /// Guid of the snapshot that it is a clone of.
    origin: Option<Guid>,
    /// Guid of the parent's snapshot with the name of the increment's source.
    parent_source: Option<Guid>,
    snapshots: Vec<(String, Guid)>,
}

/// The form that a package asks of a tree.
struct Asked<'a> {
    list: &'a PackageList,
    /// The name of the top dataset.
    top: &'a str,
    /// The short name of the source of the increment.
    from: &'a str,
    request: &'a Request,
}

impl<'a> Asked<'a> {
    /// Returns the entry of the snapshot with this guid, with the entry of its dataset.
    fn entry(&self, guid: Guid) -> Option<(&'a SentDataset, &'a PackageSnapshot)> {
        sent::entry(Some(self.list), guid)
    }
}

/// The pool with the tree, and the means to change it.
struct Changes<'a, 'p> {
    receiving: &'a mut Receiving<'p>,
    names: Names,
    notes: Vec<Note>,
}

/// The outcome of one pass.
#[derive(Default)]
struct Pass {
    needs_another: bool,
    progress: bool,
    deleted: HashSet<Guid>,
}

/// The outcome of all passes. The changes are in the open transaction group, which is not completed.
pub(crate) struct Replicated {
    /// `true` if nothing is left to do.
    pub(crate) is_complete: bool,
    /// The changes, in order.
    pub(crate) notes: Vec<Note>,
}

/// Brings the tree `top` into the form that the list describes, as far as that is possible without content. All changes
/// are part of one transaction group, which the caller completes or drops.
///
/// # Errors
/// Fails if the pool cannot be read or written.
pub(crate) fn replicate(
    receiving: &mut Receiving<'_>,
    list: &PackageList,
    top: &str,
    request: &Request,
) -> Result<Replicated> {
    let from = list.from_snap.as_ref().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let asked = Asked { list, top, from: &from, request };
    let mut changes = Changes { receiving, names: Names { counter: 0 }, notes: Vec::new() };
    for _ in 0..PASSES_MAX {
        let local = gather(&changes.receiving.pool().dsl(), top, &from)?;
        let mut pass = Pass::default();
        for dataset in &local {
            one(&mut changes, &asked, &local, dataset, &mut pass)?;
            if pass.needs_another && pass.progress {
                break;
            }
        }
        if !(pass.needs_another && pass.progress) {
            return Ok(Replicated { is_complete: !pass.needs_another, notes: changes.notes });
        }
    }
    Ok(Replicated { is_complete: false, notes: changes.notes })
}

/// Returns the datasets of a tree, parents first.
fn gather(dsl: &Arc<Dsl<OpenMos<'_>>>, top: &str, from: &str) -> Result<Vec<Local>> {
    let Some(dir) = dsl.find_dir(top)? else { return Ok(Vec::new()) };
    let mut list: Vec<Local> = Vec::new();
    dir.walk(&mut |dir| {
        let (name, mut snapshots) = (dir.name(), Vec::new());
        for snapshot in dir.head()?.snapshots()? {
            let short = snapshot.snapshot_name().unwrap_or_default().to_owned();
            snapshots.push((short, snapshot.phys().guid));
        }
        let parent_source = name.rsplit_once('/').and_then(|(above, _)| {
            let parent = list.iter().find(|local| local.name == above)?;
            parent.snapshots.iter().find(|(short, _)| short == from).map(|(_, guid)| *guid)
        });
        let origin = dir.origin()?.map(|origin| origin.phys().guid);
        list.push(Local { name: name.to_owned(), origin, parent_source, snapshots });
        Ok(())
    })?;
    Ok(list)
}

/// Temporary names for datasets and snapshots that block a name.
struct Names {
    counter: u32,
}

impl Names {
    /// Returns an unused name in the same parent as `name`.
    fn spare(&mut self, name: &str) -> String {
        self.counter += 1;
        let base = name.len() - name.rsplit(['/', '@']).next().unwrap_or_default().len();
        format!("{}recv-{}-{}", &name[..base], std::process::id(), self.counter)
    }
}

/// Brings one dataset closer to the form that the package asks for.
fn one(
    changes: &mut Changes<'_, '_>,
    asked: &Asked<'_>,
    all: &[Local],
    dataset: &Local,
    pass: &mut Pass,
) -> Result<()> {
    let oldest = dataset.snapshots.iter().find_map(|(_, guid)| asked.entry(*guid));
    if let Some((sent, _)) = oldest
        && sent.origin != dataset.origin
    {
        if promote(changes.receiving, dataset, sent, &mut changes.notes)? {
            pass.progress = true;
        }
        pass.needs_another = true;
        return Ok(());
    }
    let found = snapshots(changes, asked, dataset, pass)?;
    match found.sent {
        Some(sent) if found.has_source => relocate(changes, asked, all, (dataset, sent), pass),
        Some(_) => Ok(()),
        None if asked.request.force && dataset.name != asked.top => {
            let gone = destroy(changes.receiving, &dataset.name, &mut changes.names, &mut changes.notes)?;
            pass.note(gone);
            pass.deleted.extend(dataset.parent_source);
            Ok(())
        }
        None => Ok(()),
    }
}

/// The sender's dataset that a dataset here belongs to.
struct Counterpart<'a> {
    sent: Option<&'a SentDataset>,
    /// `true` if the source of the increment is here.
    has_source: bool,
}

/// Destroys the snapshots that the sender does not have, and gives the others the sender's names and properties.
fn snapshots<'a>(
    changes: &mut Changes<'_, '_>,
    asked: &Asked<'a>,
    dataset: &Local,
    pass: &mut Pass,
) -> Result<Counterpart<'a>> {
    let Changes { receiving, names, notes } = changes;
    let mut found = Counterpart { sent: None, has_source: false };
    for (short, guid) in &dataset.snapshots {
        let name = format!("{}@{short}", dataset.name);
        match asked.entry(*guid) {
            None if asked.request.force => {
                let gone = destroy(receiving, &name, names, notes)?;
                pass.note(gone);
                pass.deleted.insert(*guid);
            }
            None => {}
            Some((of, snapshot)) => {
                // Older snapshots may belong to a promoted clone by now. The newest identifies the dataset.
                found.sent = Some(of);
                set_properties(receiving, &name, snapshot)?;
                let sent_name = snapshot.name.to_string();
                if sent_name != *short {
                    let to = format!("{}@{sent_name}", dataset.name);
                    let done = rename(receiving, &name, Some(&to), names, notes)?;
                    pass.note(done);
                }
                found.has_source |= sent_name == asked.from;
            }
        }
    }
    Ok(found)
}

/// Moves a dataset to the parent and the name that it has at the sender.
fn relocate(
    changes: &mut Changes<'_, '_>,
    asked: &Asked<'_>,
    all: &[Local],
    (dataset, sent): (&Local, &SentDataset),
    pass: &mut Pass,
) -> Result<()> {
    let moved = match (sent.parent_from_snap.filter(|guid| guid.0 != 0), dataset.parent_source) {
        (Some(there), Some(here)) => there != here,
        _ => false,
    };
    if moved && dataset.parent_source.is_some_and(|guid| pass.deleted.contains(&guid)) {
        (pass.progress, pass.needs_another) = (true, true);
        return Ok(());
    }
    let sent_name = sent.name.to_string();
    let (here, there) = (last(&dataset.name), last(&sent_name));
    let renamed = (asked.request.naming != Naming::Below || dataset.name != asked.top)
        && matches!((here, there), (Some(here), Some(there)) if here != there);
    if moved || renamed {
        let parent = all.iter().find(|local| {
            sent.parent_from_snap.is_some_and(|guid| local.snapshots.iter().any(|(_, found)| *found == guid))
        });
        let to = parent.zip(there).map(|(parent, there)| format!("{}/{there}", parent.name));
        let Changes { receiving, names, notes } = changes;
        let done = rename(receiving, &dataset.name, to.as_deref(), names, notes)?;
        pass.note(done);
    }
    Ok(())
}

/// Gives an existing snapshot the properties that it now has at the sender.
fn set_properties(receiving: &mut Receiving<'_>, name: &str, sent: &PackageSnapshot) -> Result<()> {
    if sent.properties.is_empty() {
        return Ok(());
    }
    attempt(receiving, |tx| set_snapshot_properties(tx, name, sent)).map(drop)
}

fn last(name: &str) -> Option<&str> {
    name.rsplit_once('/').map(|(_, last)| last)
}

impl Pass {
    fn note(&mut self, is_done: bool) {
        if is_done {
            self.progress = true;
        } else {
            self.needs_another = true;
        }
    }
}

/// Promotes a clone that has another origin at the sender, if that origin is older than its own here.
fn promote(
    receiving: &mut Receiving<'_>,
    dataset: &Local,
    sent: &SentDataset,
    notes: &mut Vec<Note>,
) -> Result<bool> {
    let Some(origin) = dataset.origin else { return Ok(false) };
    // The datasets may have been renamed in this pass.
    let age = |receiving: &mut Receiving<'_>, guid: Guid| -> Result<Option<u64>> {
        let Some(name) = receiving.by_guid(&dataset.name, guid)? else { return Ok(None) };
        Ok(Some(receiving.pool().dsl().snapshot(&name)?.phys().creation_txg.0))
    };
    // A dataset without an origin at the sender is promoted in any case (`created_before`).
    if let Some(there) = sent.origin {
        let (Some(here), Some(there)) = (age(receiving, origin)?, age(receiving, there)?) else {
            return Ok(false);
        };
        if there >= here {
            return Ok(false);
        }
    }
    let done = attempt(receiving, |tx| tx.promote(&dataset.name))?;
    if done {
        notes.push(Note::Promoted(dataset.name.clone()));
    }
    Ok(done)
}

/// Tries a change. Returns `true` if the change was made, rather than refused.
fn attempt(
    receiving: &mut Receiving<'_>,
    change: impl FnOnce(&mut Tx<'_>) -> zstream_dsl::error::Result<()>,
) -> Result<bool> {
    let (result, has_changed) = {
        let mut tx = receiving.pool().tx();
        let result = change(&mut tx);
        (result, tx.has_changed())
    };
    match result {
        Ok(()) => {
            receiving.mark_pending();
            Ok(true)
        }
        Err(error) if has_changed => {
            receiving.mark_broken();
            Err(error.into())
        }
        Err(error) if error.is_refusal() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn rename(
    receiving: &mut Receiving<'_>,
    from: &str,
    to: Option<&str>,
    names: &mut Names,
    notes: &mut Vec<Note>,
) -> Result<bool> {
    let change = |receiving: &mut Receiving<'_>, to: &str| {
        attempt(receiving, |tx| {
            if from.contains('@') { tx.rename_snapshot(from, to, false) } else { tx.rename(from, to) }
        })
    };
    if let Some(to) = to
        && change(receiving, to)?
    {
        notes.push(Note::Renamed { from: from.to_owned(), to: to.to_owned() });
        return Ok(true);
    }
    // A temporary name is already a place to wait.
    if last(from).is_some_and(|last| last.starts_with("recv-")) {
        return Ok(false);
    }
    let spare = names.spare(from);
    if change(receiving, &spare)? {
        notes.push(Note::Renamed { from: from.to_owned(), to: spare });
    }
    Ok(false)
}

fn destroy(
    receiving: &mut Receiving<'_>,
    name: &str,
    names: &mut Names,
    notes: &mut Vec<Note>,
) -> Result<bool> {
    let done = attempt(receiving, |tx| {
        if name.contains('@') { tx.destroy_snapshots(&[name.to_owned()], false) } else { tx.destroy(name) }
    })?;
    if done {
        notes.push(Note::Destroyed(name.to_owned()));
        return Ok(true);
    }
    rename(receiving, name, None, names, notes)
}
