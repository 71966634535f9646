//! The search for the members of a pool among files, disks and directories.
//!
//! A named path must be a member: a device with labels, or a disk with a partition or slice that has labels. A named
//! path without labels is accepted only if the pool has missing members, and then counts as missing. Directories are
//! searched, but not their subdirectories. Files in them that are not members are skipped.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use crate::container::{self, Container};
use crate::device::{Device, EntryKind, Mode, OpenDevice, Window};
use crate::error::{Error, Fault, Result};
use crate::ids::Guid;
use crate::partition::{self, Parts};
use crate::vdev::Member;
use crate::vdev::config::{PoolConfig, PoolState};
use crate::vdev::label::{LABELS, Labels, Role};

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

/// A device without valid labels.
struct NotMember {
    why: Error,
    /// The recognized content.
    container: Option<Container>,
}

impl From<Error> for NotMember {
    fn from(why: Error) -> Self {
        Self { why, container: None }
    }
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

/// Reads the labels of a device, or of one of its partitions or slices.
///
/// # Errors
/// Fails if there are no valid labels. The error is that of the first label, and includes the recognized content of
/// the device.
pub fn examine(member: Member) -> Result<Candidate> {
    find(member).map_err(|not| not.why)
}

/// Returns the whole device, or the part with the most valid labels. A slice at the start of its disk shares two
/// labels with it.
fn find(member: Member) -> Result<Candidate, NotMember> {
    let whole = Labels::read(&*member.device);
    let good = |labels: &Labels| labels.good().count();
    if good(&whole) == LABELS {
        return Ok(Candidate { member, path: None, labels: whole });
    }
    let parts = partition::parts(&*member.device)
        .unwrap_or_else(|error| Parts { damage: Some(error), ..Parts::default() });
    let mut best = Candidate { member: member.clone(), path: None, labels: whole };
    for part in &parts.list {
        let Some(window) = Window::new(Arc::clone(&member.device), part.start, part.len) else { continue };
        let labels = Labels::read(&window);
        if good(&labels) > good(&best.labels) {
            let name = format!("{} ({})", member.name, part.name);
            best = Candidate { member: Member { name, device: Arc::new(window) }, path: None, labels };
        }
    }
    if good(&best.labels) > 0 { Ok(best) } else { Err(stranger(&member, best.labels, parts)) }
}

/// Describes a device without valid labels.
fn stranger(member: &Member, labels: Labels, parts: Parts) -> NotMember {
    let container = container::recognize(&*member.device);
    let why = match (&container, labels.copies.into_iter().find_map(Result::err)) {
        (Some(container), _) => format!("it is {container}"),
        (None, Some(error)) => error.to_string(),
        (None, None) => format!("none of {LABELS} labels is valid"),
    };
    let mut why = format!("not a member of a pool: {why}");
    if parts.count > 0 {
        why += &format!("; none of its {} partitions either", parts.count);
    }
    let within = parts.list.iter().find_map(|part| {
        let window = Window::new(Arc::clone(&member.device), part.start, part.len)?;
        Some((&part.name, container::recognize(&window)?))
    });
    if let Some((name, container)) = &within {
        why += &format!("; {name} is {container}");
    }
    if let Some(damage) = parts.damage {
        why += &format!("; {damage}");
    }
    let container = container.or(within.map(|(_, container)| container));
    NotMember { why: Fault::NotAMember(why).into(), container }
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
mod tests {
    use std::fs;

    use zstream_format::checksum::seal_embedded;
    use zstream_format::nvlist::{NvList, Packed};
    use zstream_format::order::ByteOrder;

    use super::*;
    use crate::device::{Files, Memory, MemoryDevice};
    use crate::vdev::label::{self, CONFIG_BYTES, CONFIG_OFFSET};

    /// Writes the labels of a pool with one device.
    fn label(device: &dyn Device, pool: &str, guid: u64, state: u64) {
        let mut tree = NvList::new();
        tree.add_string("type", "disk").add_u64("id", 0).add_u64("guid", guid + 1).add_u64("ashift", 12);
        let mut list = NvList::new();
        list.add_u64("version", 5000).add_string("name", pool).add_u64("state", state).add_u64("txg", 4);
        list.add_u64("pool_guid", guid).add_u64("guid", guid + 1).add_list("vdev_tree", tree);
        let packed = list.encode(Packed::xdr(ByteOrder::Little)).unwrap();
        for number in 0..LABELS {
            let at = label::offset(device.len(), number).unwrap() + CONFIG_OFFSET;
            let mut bytes = vec![0; CONFIG_BYTES];
            bytes[..packed.len()].copy_from_slice(&packed);
            seal_embedded(&mut bytes, label::verifier(at), ByteOrder::Little).unwrap();
            device.write_at(at, &bytes).unwrap();
        }
    }

    fn named(name: &str, device: MemoryDevice) -> Member {
        Member { name: name.to_owned(), device: Arc::new(device) }
    }

    fn pool(name: &str, guid: u64, state: u64) -> Candidate {
        let device = MemoryDevice::new(9 << 20);
        label(&device, name, guid, state);
        examine(named(name, device)).unwrap()
    }

    #[test]
    fn the_partition_with_labels_is_the_member() {
        for sector in [512, 4096] {
            let disk: Arc<dyn Device> = Arc::new(crate::gpt::tests::disk(sector, 50 + (10 << 20) / sector));
            let window = Window::new(Arc::clone(&disk), 50 * sector, (10 << 20) + sector).unwrap();
            label(&window, "tank", 100, 1);
            let found = examine(Member { name: "sda".to_owned(), device: disk }).unwrap();
            assert_eq!(found.member.name, "sda (partition 3)");
            assert_eq!(found.member.device.len(), (10 << 20) + sector);
            assert_eq!(found.config().unwrap().name, "tank");
        }
    }

    #[test]
    fn what_is_no_member_is_refused_with_the_reason() {
        let message = |device| examine(named("sda", device)).unwrap_err().to_string();
        assert_eq!(
            message(MemoryDevice::new(100)),
            "not a member of a pool: device has 100 bytes, too few for a member of a pool"
        );
        assert!(message(MemoryDevice::new(9 << 20)).contains("embedded checksum is missing"));
        let disk = crate::gpt::tests::disk(512, 20_000);
        assert!(message(disk).contains("none of its 3 partitions either"));
    }

    #[test]
    fn one_pool_is_chosen_by_name_or_guid_and_destroyed_ones_last() {
        let all = || vec![pool("a", 100, 0), pool("b", 200, 1), pool("b", 300, 2)];
        let guid = |chosen: Result<Vec<Candidate>>| chosen.unwrap()[0].config().unwrap().pool_guid.0;
        assert_eq!(
            choose(all(), None).unwrap_err().to_string(),
            "the devices contain several pools: a (100), b (200); select one by its name or guid (--pool)"
        );
        assert_eq!(guid(choose(all(), Some("a"))), 100);
        assert_eq!(guid(choose(all(), Some("b"))), 200);
        assert_eq!(guid(choose(all(), Some("300"))), 300);
        assert_eq!(guid(choose(vec![pool("b", 300, 2)], None)), 300);
        assert_eq!(choose(all(), Some("c")).unwrap_err().to_string(), "no pool c found, available: a, b, b");
        assert_eq!(choose(Vec::new(), None).unwrap_err().to_string(), "no pool found");
    }

    #[test]
    fn a_directory_is_searched_and_a_named_file_must_be_a_member() {
        let directory = tempfile::tempdir().unwrap();
        let device = MemoryDevice::new(9 << 20);
        label(&device, "tank", 100, 1);
        let path = directory.path().join("member");
        fs::write(&path, device.to_vec()).unwrap();
        fs::write(directory.path().join("other"), "text").unwrap();
        fs::create_dir(directory.path().join("below")).unwrap();
        let scan = |paths: &[PathBuf]| scan(&Files, paths);
        let found = scan(&[directory.path().to_owned()]).unwrap();
        assert_eq!((found.candidates.len(), found.skipped.len()), (1, 0));
        assert_eq!(
            scan(std::slice::from_ref(&path)).unwrap().candidates[0].member.name,
            path.display().to_string()
        );
        assert!(scan(&[directory.path().join("other")]).unwrap_err().to_string().contains("too few"));
        assert!(scan(&[directory.path().join("nothing")]).is_err());
    }

    #[test]
    fn a_device_with_several_names_is_one_member() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let device = MemoryDevice::new(9 << 20);
        label(&device, "tank", 100, 1);
        fs::write(at("a"), device.to_vec()).unwrap();
        fs::create_dir(at("below")).unwrap();
        std::os::unix::fs::symlink(at("a"), at("below/link")).unwrap();
        fs::hard_link(at("a"), at("below/other")).unwrap();
        let found = scan(&Files, &[at("a"), at("a"), at("below/link"), at("below")]).unwrap().candidates;
        assert_eq!(found.len(), 1);
        assert!(reopen_writable(&Files, &found).is_ok());
        // A copy is another device.
        fs::copy(at("a"), at("copy")).unwrap();
        assert_eq!(scan(&Files, &[directory.path().to_owned()]).unwrap().candidates.len(), 2);
    }

    #[test]
    fn memory_is_searched_as_a_directory_and_reopened_by_one_writer() {
        let memory = Memory::new();
        for (name, bytes) in [("shelf/a", 9 << 20), ("shelf/b", 100), ("shelf/below/c", 9 << 20)] {
            let device = Arc::new(MemoryDevice::new(bytes));
            if bytes > 100 {
                label(&*device, "tank", 100, 1);
            }
            memory.insert(name, device);
        }
        let found = scan(&memory, &["shelf".into()]).unwrap().candidates;
        assert_eq!(found.iter().map(|found| found.member.name.as_str()).collect::<Vec<_>>(), ["shelf/a"]);
        let first = reopen_writable(&memory, &found).unwrap();
        first[0].member.device.write_at(0, b"x").unwrap();
        assert!(found[0].member.device.write_at(0, b"x").is_err(), "it was opened to be read");
        let refused = reopen_writable(&memory, &found).unwrap_err().to_string();
        assert!(refused.contains("shelf/a") && refused.contains("another program has it open"), "{refused}");
        drop(first);
        assert!(reopen_writable(&memory, &found).is_ok());
        assert!(scan(&memory, &["shelf/b".into()]).unwrap_err().to_string().contains("too few"));
        assert!(scan(&memory, &["elsewhere".into()]).unwrap_err().to_string().contains("in memory"));
        let given = pool("tank", 100, 1);
        let refused = reopen_writable(&memory, &[given]).unwrap_err().to_string();
        assert!(refused.contains("not opened by a path"), "{refused}");
    }
}
