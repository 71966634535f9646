//! The upkeep of pools in object storage: which generations there are, collection, and checks of the store.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::{Duration, SystemTime};

use crate::collect::{self, Collected, GenerationInfo};
use crate::device::{Limits, ObjectDevice};
use crate::format::{Kind, ObjectId, generation_of};
use crate::history;
use crate::places::Places;
use crate::store::{Location, Store};

/// An object that the newest generation refers to, but that is not there, or is too short.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostObject {
    /// Its name below the URL of the pool.
    pub name: String,
    /// The bytes of the device in it.
    pub bytes: u64,
    /// The first address of the device in it.
    pub address: u64,
}

/// The result of a check of the store: the objects themselves, not the blocks in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreCheck {
    /// The newest generation, which was checked.
    pub generation: u64,
    /// The number of objects that it refers to.
    pub objects: u64,
    /// The bytes of the device in them.
    pub bytes: u64,
    /// The objects that are lost.
    pub lost: Vec<LostObject>,
    /// The number of objects that no generation refers to: of interrupted writers, or not collected yet.
    pub orphans: u64,
    /// The bytes in them.
    pub orphan_bytes: u64,
}

impl Places {
    /// Returns the generations of the pool at `url` that can be opened, the newest first.
    ///
    /// # Errors
    /// Fails if the store cannot be listed.
    pub fn generations(&self, url: &str) -> io::Result<Vec<GenerationInfo>> {
        let (_, store) = self.store(url, false)?;
        let listed = history::list(&store, usize::MAX)?.into_iter();
        let info = |listed: history::ListedGeneration| GenerationInfo {
            number: listed.number,
            bytes: listed.bytes,
            committed: listed.modified,
        };
        Ok(listed.map(info).collect())
    }

    /// Deletes what only generations need that were superseded more than `grace` ago, after objects that are mostly dead
    /// were written again without their dead bytes. Generations are kept for two minutes at least. With `dry_run`,
    /// nothing is changed, and the result says what would be.
    ///
    /// Programs that are writing to the pool meanwhile can no longer commit.
    ///
    /// # Errors
    /// Fails if there is no pool, if another writer commits at the same time, or if the store fails.
    pub fn collect(&self, url: &str, grace: Duration, dry_run: bool) -> io::Result<Collected> {
        let (location, store) = self.store(url, false)?;
        // The commit writes all changes to pages.
        let limits = Limits { fold_entries: 0, ..self.limits() };
        let device = self.open_newest(store.clone(), !dry_run, limits)?;
        if dry_run {
            let compacted_bytes = device.bytes_to_compact()?;
            let fence = device.generation();
            let collected = collect::whole(&store, fence, grace, SystemTime::now(), true)?;
            return with_left(Collected { compacted_bytes, ..collected }, &location, fence, true);
        }
        let compacted_bytes = device.compact()?;
        let fence = device.commit_always()?;
        // By the clock of the store, which also tells when the other generations were committed.
        let listed = history::list(&store, 1)?;
        let now = listed.iter().find(|listed| listed.number == fence).map(|listed| listed.modified);
        let now = now.unwrap_or_else(SystemTime::now);
        let collected = collect::whole(&store, fence, grace, now, false)?;
        with_left(Collected { compacted_bytes, ..collected }, &location, fence, false)
    }

    /// Checks that all objects are there that the newest generation refers to, and long enough.
    ///
    /// # Errors
    /// Fails if there is no pool, or if its map cannot be read.
    pub fn check(&self, url: &str) -> io::Result<StoreCheck> {
        let (_, store) = self.store(url, false)?;
        let device = self.open_newest(store.clone(), false, self.limits())?;
        let mut used: BTreeMap<ObjectId, Used> = BTreeMap::new();
        device.each_page(&mut |extents, _| {
            for extent in extents.iter() {
                let Some(at) = extent.at else { continue };
                let first = Used { bytes: 0, end: 0, address: extent.address };
                let part = used.entry(at.object).or_insert(first);
                part.bytes += extent.bytes;
                part.end = part.end.max(u64::from(at.offset) + extent.bytes);
            }
            Ok(())
        })?;
        check_objects(&store, &device, &used)
    }
}

/// Deletes what interrupted programs left in a local directory, up to a generation.
fn with_left(
    mut collected: Collected,
    location: &Location,
    fence: u64,
    dry_run: bool,
) -> io::Result<Collected> {
    let of_generation = |name: &str| generation_of(name).is_some_and(|number| number <= fence);
    let mut left = vec![location.delete_left("gen", dry_run, &of_generation)?];
    for kind in Kind::ALL {
        let is_left = |name: &str| ObjectId::of_name(kind, name).is_some_and(|id| id.generation <= fence);
        left.push(location.delete_left(kind.folder(), dry_run, &is_left)?);
    }
    for (count, bytes) in left {
        collected.objects += count;
        collected.bytes += bytes;
    }
    Ok(collected)
}

/// The part of an object that a generation refers to.
struct Used {
    bytes: u64,
    /// The byte after the last one.
    end: u64,
    address: u64,
}

fn check_objects(
    store: &Store,
    device: &ObjectDevice,
    used: &BTreeMap<ObjectId, Used>,
) -> io::Result<StoreCheck> {
    let generation = device.generation();
    let mut sizes: HashMap<ObjectId, u64> = HashMap::new();
    for kind in Kind::ALL {
        let listed = store.list(kind.folder(), usize::MAX)?.into_iter();
        sizes
            .extend(listed.filter_map(|listed| Some((ObjectId::of_name(kind, &listed.name)?, listed.bytes))));
    }
    let mut check = StoreCheck { generation, objects: used.len() as u64, ..StoreCheck::default() };
    for (id, Used { bytes, end, address }) in used {
        check.bytes += bytes;
        if sizes.get(id).is_none_or(|size| size < end) {
            check.lost.push(LostObject { name: id.name(), bytes: *bytes, address: *address });
        }
    }
    let generations = history::list(store, usize::MAX)?;
    let marked = collect::mark(store, generations.into_iter().map(|listed| listed.number))?;
    // Objects for a later generation are of a writer that is at work.
    let orphans = sizes.iter().filter(|(id, _)| !marked.contains(id) && id.generation <= generation);
    for (_, size) in orphans {
        check.orphans += 1;
        check.orphan_bytes += size;
    }
    Ok(check)
}
