//! The search for the members of a pool among files, disks and directories.
//!
//! A named path must be a member: a device with labels, or a disk with a partition or slice that has labels. A named
//! path without labels is accepted only if the pool has missing members, and then counts as missing. Directories are
//! searched, but not their subdirectories. Files in them that are not members are skipped.

mod examine;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

pub use self::examine::examine;
use self::examine::{NotMember, find};
use crate::container::Container;
use crate::device::{Device, EntryKind, Mode, OpenDevice};
use crate::error::{Error, Fault, Result};
use crate::ids::Guid;
use crate::vdev::Member;
use crate::vdev::config::{PoolConfig, PoolState};
use crate::vdev::label::{Labels, Role};

/// The limit for the number of entries of a searched directory.
pub const ENTRIES_MAX: usize = 100_000;

/// A device with labels.
#[derive(Debug)]
#[non_exhaustive]
pub struct Candidate {
    /// The device and the path at which it was found.
    pub member: Member,
    /// The path at which the device was opened, if it has one. The device may be a partition of it.
    pub path: Option<PathBuf>,
    /// The labels, of which at least one is valid.
    pub labels: Labels,
}

impl Candidate {
    /// The config in the newest label; `None` for hot spares and cache devices.
    #[must_use]
    pub fn config(&self) -> Option<&PoolConfig> {
        match &self.labels.best(None)?.role {
            Role::Member(config) => Some(config),
            Role::Auxiliary { .. } => None,
        }
    }
}

/// The result of a search.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ScanResult {
    /// The devices with labels.
    pub candidates: Vec<Candidate>,
    /// The files in searched directories that could not be read, each with its error.
    pub skipped: Vec<(PathBuf, Error)>,
    /// The named paths that cannot be read or are not members of a pool, each with its error.
    pub refused: Vec<(PathBuf, Error)>,
    /// Descriptions of files that contain no data of a pool: hot spares, cache devices, and recognized files in
    /// searched directories. They are part of the error if there is no pool.
    pub others: Vec<String>,
}

/// The limit for the number of files in an error that there is no pool.
const OTHERS_MAX: usize = 4;

/// Adds descriptions of other files to an error that there is no pool.
#[must_use]
pub fn explain(error: Error, mut others: Vec<String>) -> Error {
    let Fault::NoSuchPool { requested, found: there, .. } = error.fault() else { return error };
    if !there.is_empty() {
        return error;
    }
    let left_out = others.len().saturating_sub(OTHERS_MAX);
    others.truncate(OTHERS_MAX);
    if left_out > 0 {
        others.push(format!("{left_out} more like these"));
    }
    Fault::NoSuchPool { requested: requested.clone(), found: Vec::new(), instead: others }.into()
}

/// Searches paths for members. `devices` determines whether a path is a member or a directory.
///
/// # Errors
/// Fails if a named path does not exist, if a directory cannot be searched, and if no named path is a member of a
/// pool.
pub fn scan(devices: &dyn OpenDevice, paths: &[PathBuf]) -> Result<ScanResult> {
    let mut found = ScanResult::default();
    for path in paths {
        let place = |error: Error| error.on_vdev(path.display());
        let kind = devices.kind(path).map_err(|error| place(error.into()))?;
        if kind == EntryKind::Directory {
            search(devices, path, &mut found).map_err(place)?;
        } else {
            match examine_named(devices, path, Mode::Read) {
                Ok(candidate) => found.candidates.push(candidate),
                Err(error) => found.refused.push((path.clone(), place(error))),
            }
        }
    }
    drop_repeated(devices, &mut found.candidates);
    if found.candidates.is_empty()
        && let Some((_, error)) = found.refused.pop()
    {
        return Err(error);
    }
    for candidate in &found.candidates {
        if let Some(Role::Auxiliary { state, .. }) = candidate.labels.best(None).map(|label| &label.role) {
            let what = if *state == PoolState::Spare { "a hot spare" } else { "a cache device" };
            found.others.push(format!("{} is {what}", candidate.member.name));
        }
    }
    found.others.extend(found.skipped.iter().map(|(path, error)| format!("{}: {error}", path.display())));
    Ok(found)
}

/// Keeps the first of the candidates that are the same device under several names.
fn drop_repeated(devices: &dyn OpenDevice, candidates: &mut Vec<Candidate>) {
    let mut seen = HashSet::new();
    candidates.retain(|candidate| {
        let identity = candidate.path.as_deref().and_then(|path| devices.identity(path).ok());
        // Without an identity, it is opened to be seen.
        identity.is_none_or(|identity| seen.insert(identity))
    });
}

fn search(devices: &dyn OpenDevice, directory: &Path, found: &mut ScanResult) -> Result<()> {
    let paths = devices.list(directory, ENTRIES_MAX)?;
    if paths.len() > ENTRIES_MAX {
        let (what, size) = ("directory entries", paths.len() as u64);
        return Err(Fault::TooLarge { what, size, limit: ENTRIES_MAX as u64 }.into());
    }
    let looked: Vec<_> = paths.into_par_iter().map(|path| (look(devices, &path), path)).collect();
    for (result, path) in looked {
        match result {
            Ok(Look::Member(candidate)) => found.candidates.push(*candidate),
            Ok(Look::Container(container)) => {
                found.others.push(format!("{} is {container}", path.display()));
            }
            Ok(Look::Other) => {}
            Err(error) => found.skipped.push((path, error)),
        }
    }
    Ok(())
}

/// Examines a file in a directory. Only files and disks are opened, because opening other types could block or have
/// side effects.
fn look(devices: &dyn OpenDevice, path: &Path) -> Result<Look> {
    match devices.kind(path)? {
        EntryKind::File | EntryKind::Disk => {}
        EntryKind::Directory | EntryKind::Other => return Ok(Look::Other),
    }
    let device = devices.open(path, Mode::Read)?;
    Ok(match examine_opened(path, device) {
        Ok(candidate) => Look::Member(Box::new(candidate)),
        Err(NotMember { container: Some(container), .. }) => Look::Container(container),
        Err(_) => Look::Other,
    })
}

/// The result of the examination of a file in a directory.
enum Look {
    Member(Box<Candidate>),
    Container(Container),
    Other,
}

fn examine_named(devices: &dyn OpenDevice, path: &Path, mode: Mode) -> Result<Candidate> {
    let device = devices.open(path, mode).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::ResourceBusy => {
            Error::from(Fault::InUse(error.to_string()))
        }
        _ => error.into(),
    })?;
    examine_opened(path, device).map_err(|not| not.why)
}

fn examine_opened(path: &Path, device: Arc<dyn Device>) -> Result<Candidate, NotMember> {
    let member = Member { name: path.display().to_string(), device };
    Ok(Candidate { path: Some(path.to_owned()), ..find(member)? })
}

/// Reopens members for writing, locks each against other writers, and reads their labels again, because another writer
/// may have changed them in the meantime.
///
/// # Errors
/// Fails if a member cannot be opened, if another writer has locked it, if its labels are missing, and if it has no
/// path.
pub(crate) fn reopen_writable(devices: &dyn OpenDevice, candidates: &[Candidate]) -> Result<Vec<Candidate>> {
    let reopen = |candidate: &Candidate| {
        let name = &candidate.member.name;
        let place = |error: Error| error.on_vdev(name);
        let path = candidate
            .path
            .as_deref()
            .ok_or_else(|| place(Error::bad_request("device was not opened by a path")))?;
        examine_named(devices, path, Mode::Write).map_err(place)
    };
    candidates.iter().map(reopen).collect()
}

/// Returns the names and guids of the pools that have members among the candidates, by name; without destroyed pools.
#[must_use]
pub fn pools(candidates: &[Candidate]) -> Vec<(String, Guid)> {
    let configs = candidates.iter().filter_map(Candidate::config);
    let there = configs.filter(|config| config.state != PoolState::Destroyed);
    let mut list: Vec<_> = there.map(|config| (config.name.clone(), config.pool_guid)).collect();
    list.sort();
    list.dedup_by_key(|(_, guid)| *guid);
    list
}

/// Chooses the pool with this name, or with this guid in decimal, or the only pool.
///
/// A destroyed pool is chosen only if there is no other.
///
/// # Errors
/// Fails if there is no such pool, and if there are several, which it lists.
pub fn choose(mut candidates: Vec<Candidate>, name: Option<&str>) -> Result<Vec<Candidate>> {
    let guid = choose_guid(&candidates, name)?;
    candidates.retain(|candidate| candidate.config().is_some_and(|config| config.pool_guid == guid));
    Ok(candidates)
}

/// Chooses a pool like [`choose`], and returns its guid.
///
/// # Errors
/// Fails like [`choose`].
pub(super) fn choose_guid(candidates: &[Candidate], name: Option<&str>) -> Result<Guid> {
    // The newest label of a pool counts: a member that was absent may have an old name.
    let mut pools: BTreeMap<Guid, (u64, &str, bool)> = BTreeMap::new();
    for config in candidates.iter().filter_map(Candidate::config) {
        let state = (config.txg, config.name.as_str(), config.state == PoolState::Destroyed);
        let newest = pools.entry(config.pool_guid).or_insert(state);
        if state.0 >= newest.0 {
            *newest = state;
        }
    }
    let mut matching = pools.clone();
    matching.retain(|guid, (_, pool, _)| name.is_none_or(|name| *pool == name || guid.0.to_string() == name));
    if matching.values().any(|(_, _, is_destroyed)| !is_destroyed) {
        matching.retain(|_, (_, _, is_destroyed)| !*is_destroyed);
    }
    match matching.keys().collect::<Vec<_>>()[..] {
        [guid] => Ok(*guid),
        [] => {
            let there = pools.into_values().map(|(_, name, _)| name.to_owned()).collect();
            Err(Fault::NoSuchPool { requested: name.map(str::to_owned), found: there, instead: Vec::new() }
                .into())
        }
        _ => {
            let mut list: Vec<String> =
                matching.iter().map(|(guid, (_, name, _))| format!("{name} ({})", guid.0)).collect();
            list.sort();
            Err(Fault::SeveralPools(list).into())
        }
    }
}

#[cfg(test)]
mod tests;
