//! Pools whose labels are not where or what they should be, opened for reading.
//!
//! ```text
//! devices -> labels at the usual places, each pool and device of its own
//!         -> labels at other offsets (`search`)
//!         -> without labels: strangers, with their uberblocks
//! newest uberblock -> MOS: with the labels, or with strangers in their places (`bootstrap`)
//!                  -> its config: the members that are missing
//!                  -> strangers whose content is that of a missing member (`identify`)
//! ```
//!
//! Every block has a checksum. So a stranger is accepted only if blocks are found on it that must be on the missing
//! member, and a wrong guess never results in wrong content.

mod bootstrap;
mod identify;
mod search;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::bootstrap::LabelOf;
use self::search::Extent;
use super::apart::Apart;
use super::open::{self, Opened};
use super::scan::{self, Candidate, ENTRIES_MAX};
use super::{Notice, OpenOptions, Pool};
use crate::container;
use crate::device::{Device, EntryKind, Mode, OpenDevice, Window};
use crate::error::{Error, Fault, Result};
use crate::ids::{Guid, Txg};
use crate::partition;
use crate::vdev::Member;
use crate::vdev::label::{self, DEVICE_BYTES_MIN, Labels, Role};
use crate::vdev::uberblock::Uberblock;

/// The sector shifts that determine the size of the slots of uberblocks.
const SLOT_SHIFTS: [u8; 4] = [10, 11, 12, 13];

/// The maximum number of uberblocks from devices without labels that are tried, newest first.
const UBERBLOCKS_MAX: usize = 16;

/// A device without labels, or whose labels are those of another device or pool.
#[derive(Debug, Clone)]
pub(super) struct Stranger {
    member: Member,
    /// Its uberblocks, if it has no labels.
    uberblocks: Vec<Uberblock>,
    /// The possible sector shifts, from the slots of its uberblocks.
    shift: Option<u8>,
}

/// The result of a search.
#[derive(Debug, Default)]
pub(super) struct Found {
    candidates: Vec<Candidate>,
    strangers: Vec<Stranger>,
    /// Descriptions of other files, for an error that there is no pool.
    others: Vec<String>,
}

impl Found {
    /// Searches paths: named files and disks completely, those in directories at their ends.
    ///
    /// # Errors
    /// Fails if a named path cannot be opened.
    pub(super) fn at(devices: &dyn OpenDevice, paths: &[PathBuf]) -> Result<Self> {
        let mut found = Self::default();
        for path in paths {
            let place = |error: std::io::Error| Error::from(error).on_vdev(path.display());
            if devices.kind(path).map_err(place)? != EntryKind::Directory {
                let device = devices.open(path, Mode::Read).map_err(place)?;
                found.examine(named(path, device), Extent::All);
                continue;
            }
            for path in devices.list(path, ENTRIES_MAX).map_err(place)? {
                let is_device = matches!(devices.kind(&path), Ok(EntryKind::File | EntryKind::Disk));
                match is_device.then(|| devices.open(&path, Mode::Read)) {
                    Some(Ok(device)) => found.examine(named(&path, device), Extent::Ends),
                    Some(Err(error)) => found.others.push(format!("{}: {error}", path.display())),
                    None => {}
                }
            }
        }
        Ok(found)
    }

    /// Searches devices, each with its name for messages.
    pub(super) fn on(devices: Vec<(String, Arc<dyn Device>)>) -> Self {
        let mut found = Self::default();
        for (name, device) in devices {
            found.examine(Member { name, device }, Extent::All);
        }
        found
    }

    fn examine(&mut self, member: Member, extent: Extent) {
        if let Ok(candidate) = scan::examine(member.clone()) {
            self.candidates.extend(separate(candidate));
            return;
        }
        if let Some(container) = container::recognize(&*member.device) {
            self.others.push(format!("{} is {container}", member.name));
            return;
        }
        let shifted = search::search(&member, extent);
        if !shifted.is_empty() {
            self.candidates.extend(shifted);
            return;
        }
        let parts = partition::parts(&*member.device).map(|parts| parts.list).unwrap_or_default();
        let windows = parts.iter().filter_map(|part| {
            let window = Window::new(Arc::clone(&member.device), part.start, part.len)?;
            Some(Member { name: format!("{} ({})", member.name, part.name), device: Arc::new(window) })
        });
        let all = [member.clone()].into_iter().chain(windows);
        self.strangers.extend(all.filter(|one| one.device.len() >= DEVICE_BYTES_MIN).map(Stranger::new));
    }

    /// Returns the uberblocks of the pool, the newest of each transaction group, oldest first.
    ///
    /// # Errors
    /// Fails if there are several pools or none.
    pub(super) fn uberblocks(self, name: Option<&str>) -> Result<Vec<Uberblock>> {
        let (mine, strangers) = self.split(name)?;
        let of_strangers = strangers.into_iter().flat_map(|stranger| stranger.uberblocks);
        open::newest_of_each(open::read_rings(&mine), of_strangers)
    }

    /// Opens the pool for reading.
    ///
    /// # Errors
    /// Fails as [`Pool::open`].
    pub(super) fn open(self, options: &OpenOptions) -> Result<Pool> {
        let (mine, strangers) = self.split(options.name.as_deref())?;
        let rings = open::read_rings(&mine);
        let roots = match open::choose_uberblock(&rings, options.txg) {
            Ok((uberblock, _)) => vec![uberblock],
            Err(error) => {
                let mut all: Vec<_> =
                    strangers.iter().flat_map(|one| one.uberblocks.iter().copied()).collect();
                all.retain(|one| options.txg.is_none_or(|txg| one.txg == txg));
                all.sort_by_key(|one| std::cmp::Reverse(one.rank()));
                all.dedup();
                all.truncate(UBERBLOCKS_MAX);
                if all.is_empty() {
                    return Err(error);
                }
                all
            }
        };
        let mut first = None;
        for root in roots {
            match open_at(&mine, &strangers, &rings, &root, options) {
                Ok(pool) => return Ok(pool),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| Error::internal("no uberblock was tried")))
    }

    /// Returns the members of one pool, and all other devices as strangers.
    fn split(self, name: Option<&str>) -> Result<(Vec<Candidate>, Vec<Stranger>)> {
        let Self { candidates, mut strangers, others } = self;
        let chosen = match scan::choose_guid(&candidates, name) {
            Ok(guid) => Some(guid),
            Err(error) => match error.fault() {
                Fault::NoSuchPool { .. } if strangers.iter().any(|one| !one.uberblocks.is_empty()) => None,
                _ => return Err(scan::explain(error, others)),
            },
        };
        let mut claims: HashMap<Guid, usize> = HashMap::new();
        let guid_of = |candidate: &Candidate| candidate.config().and_then(|config| config.guid);
        let is_mine =
            |candidate: &Candidate| candidate.config().is_some_and(|config| Some(config.pool_guid) == chosen);
        for guid in candidates.iter().filter(|one| is_mine(one)).filter_map(guid_of) {
            *claims.entry(guid).or_default() += 1;
        }
        let mut mine = Vec::new();
        for candidate in candidates {
            // Of several devices with the same labels, the content shows which is which.
            let is_unique = guid_of(&candidate).is_some_and(|guid| claims.get(&guid) == Some(&1));
            if is_mine(&candidate) && !is_unique {
                strangers.push(Stranger::known(candidate.member.clone()));
            }
            if is_mine(&candidate) {
                mine.push(candidate);
            } else {
                strangers.push(Stranger::known(candidate.member));
            }
        }
        Ok((mine, strangers))
    }
}

impl Stranger {
    fn new(member: Member) -> Self {
        let of = |shift: u8| {
            let found = label::uberblocks(&*member.device, shift).unwrap_or_default();
            (found.into_iter().map(|found| found.uberblock).collect::<Vec<_>>(), shift)
        };
        let best = SLOT_SHIFTS.into_iter().map(of).max_by_key(|(uberblocks, _)| uberblocks.len());
        let (uberblocks, shift) = best.filter(|(all, _)| !all.is_empty()).unzip();
        Self { member, uberblocks: uberblocks.unwrap_or_default(), shift }
    }

    /// A device with labels, which do not count.
    fn known(member: Member) -> Self {
        Self { member, uberblocks: Vec::new(), shift: None }
    }
}

fn named(path: &Path, device: Arc<dyn Device>) -> Member {
    Member { name: path.display().to_string(), device }
}

/// Returns a device once for each pool and device that its labels name.
fn separate(candidate: Candidate) -> Vec<Candidate> {
    let owners = candidate.labels.owners();
    if owners.len() < 2 {
        return vec![candidate];
    }
    let of = |owner| {
        let labels = Labels::only(&*candidate.member.device, owner);
        Candidate { member: candidate.member.clone(), path: candidate.path.clone(), labels }
    };
    owners.into_iter().map(of).collect()
}

/// Opens the pool as of one uberblock.
fn open_at(
    mine: &[Candidate],
    strangers: &[Stranger],
    rings: &[open::Ring],
    root: &Uberblock,
    options: &OpenOptions,
) -> Result<Pool> {
    let labels = labels_of(mine, root.txg);
    let mut members = open::members(mine, rings);
    for guid in repeated(mine) {
        members.remove(&guid);
    }
    let start = bootstrap::Start { labels: &labels, members, strangers, root: *root };
    let known = start.read_config()?;
    let config = &known.config;
    if let Some(name) = &options.name
        && *name != config.name
        && *name != config.pool_guid.0.to_string()
    {
        let (requested, found) = (Some(name.clone()), vec![config.name.clone()]);
        return Err(Fault::NoSuchPool { requested, found, instead: Vec::new() }.into());
    }
    let (members, recognized) = identify::complete(&start, &known);
    let recognized = recognized.into_iter().map(|(device, member)| Notice::Identified { device, member });
    let notices = recognized.chain(known.notice).collect();
    let newest = labels.iter().map(|label| label.config).max_by_key(|config| config.txg);
    let mut groups: Vec<Txg> = rings
        .iter()
        .flatten()
        .flatten()
        .chain(strangers.iter().flat_map(|one| &one.uberblocks))
        .map(|one| one.txg)
        .collect();
    groups.sort();
    groups.dedup();
    let opened = Opened {
        uberblock: *root,
        available: groups,
        label_state: newest.map_or(config.state, |newest| newest.state),
        pool_guid: newest.map_or(config.pool_guid, |newest| newest.pool_guid),
        config: known.config,
        config_list: known.list,
        members,
        newest: open::newest_uberblocks(mine, rings),
        apart: Apart::of(mine, rings),
        notices,
    };
    open::finish(opened, options)
}

/// Returns the label of each device as of the uberblock.
fn labels_of(candidates: &[Candidate], txg: Txg) -> Vec<LabelOf<'_>> {
    let labels = candidates.iter().filter_map(|candidate| candidate.labels.best(Some(txg)));
    let members = labels.filter_map(|label| match &label.role {
        Role::Member(config) => Some(LabelOf { config, list: &label.list }),
        Role::Auxiliary { .. } => None,
    });
    members.collect()
}

/// Returns the guids that several devices have.
fn repeated(candidates: &[Candidate]) -> Vec<Guid> {
    let mut guids: Vec<Guid> =
        candidates.iter().filter_map(|one| one.config().and_then(|config| config.guid)).collect();
    guids.sort();
    guids.chunk_by(|a, b| a == b).filter(|same| same.len() > 1).map(|same| same[0]).collect()
}
