//! Collection: generations whose grace period is over, and objects that no generation refers to, are deleted.
//!
//! ```text
//! whole:   fence -> expired generations deleted -> objects of kept ones marked -> all others deleted
//! little:  oldest expired generation -> its dead objects deleted -> its record deleted -> the next one
//! ```
//!
//! The *fence* is a generation that the collection commits. Writers that were open before it can no longer commit, so
//! what they have uploaded stays without a reference, and can be deleted: all objects for the fence or an earlier
//! generation. Later writers refer to objects that are alive at the fence, or newer.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::time::{Duration, SystemTime};

use crate::format::{Generation, Kind, ObjectId, Table, generation_name};
use crate::history::{self, ListedGeneration};
use crate::map::Pages;
use crate::store::Store;

/// The time for which a generation is kept at least: a writer that does not commit for longer makes sure that its
/// generation is the newest.
const GRACE_MIN: Duration = Duration::from_secs(120);

/// The default time for which generations can be opened after the next one was committed.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The largest number of generations that a change collects.
const LITTLE: usize = 64;

/// A generation that can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GenerationInfo {
    /// Its number.
    pub number: u64,
    /// The size of its record in bytes.
    pub bytes: u64,
    /// When it was committed, by the clock of the store.
    pub committed: SystemTime,
}

/// The result of a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// The number of deleted generations.
    pub generations: u64,
    /// The number of generations that can still be opened.
    pub kept: u64,
    /// The number of deleted objects.
    pub objects: u64,
    /// The bytes in them.
    pub bytes: u64,
    /// The bytes that were written again, from objects that were mostly dead or small.
    pub compacted_bytes: u64,
    /// The bytes in the objects that are left.
    pub left_bytes: u64,
}

/// Returns the generations, the newest first, and of these the number of those whose grace period is not over at `now`.
/// A generation is in use until the next one is committed.
fn split(listed: &[ListedGeneration], grace: Duration, now: SystemTime) -> usize {
    let grace = grace.max(GRACE_MIN);
    let is_expired = |next: &ListedGeneration| now.duration_since(next.modified).is_ok_and(|age| age > grace);
    let pairs = listed.windows(2);
    // A gap in the numbers: what lies below is of a writer that stalled for very long.
    let kept = pairs.take_while(|pair| pair[0].number == pair[1].number + 1 && !is_expired(&pair[0])).count();
    kept + usize::from(!listed.is_empty())
}

/// Deletes everything that generations within their grace period do not need; with `dry_run` only counts it. `fence`
/// is the number of the generation that was committed for this.
///
/// # Errors
/// Fails if the store fails, or if a generation that is kept cannot be read.
pub(crate) fn whole(
    store: &Store,
    fence: u64,
    grace: Duration,
    now: SystemTime,
    dry_run: bool,
) -> io::Result<Collected> {
    let listed = history::list(store, usize::MAX)?;
    let (kept, expired) = listed.split_at(split(&listed, grace, now));
    let marked = mark(store, kept.iter().map(|generation| generation.number))?;
    let mut collected =
        Collected { generations: expired.len() as u64, kept: kept.len() as u64, ..Collected::default() };
    if !dry_run {
        // One after the other, the oldest first: what is left has no gap.
        for generation in expired.iter().rev() {
            store.delete(vec![generation_name(generation.number)])?;
        }
    }
    let mut dead = Vec::new();
    for kind in Kind::ALL {
        for object in store.list(kind.folder(), usize::MAX)? {
            let Some(id) = ObjectId::of_name(kind, &object.name) else { continue };
            if marked.contains(&id) || id.generation > fence {
                collected.left_bytes += object.bytes;
            } else {
                collected.objects += 1;
                collected.bytes += object.bytes;
                dead.push(id.name());
            }
        }
    }
    if !dry_run {
        store.delete(dead)?;
    }
    Ok(collected)
}

/// Returns the objects that these generations refer to. Objects that are written for a later one are not among them.
pub(crate) fn mark(store: &Store, generations: impl Iterator<Item = u64>) -> io::Result<HashSet<ObjectId>> {
    let mut marked = HashSet::new();
    let of_table = |table: &Table, marked: &mut HashSet<ObjectId>| {
        marked.extend(table.extents.iter().filter_map(|extent| Some(extent.at?.object)));
    };
    for number in generations {
        let generation = match history::read(store, number) {
            // It was collected by somebody else in the meantime.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        of_table(&generation.changes, &mut marked);
        let Some((root, _)) = generation.root else { continue };
        // Pages and roots are immutable: those that are marked have been read.
        if !marked.insert(root.id) {
            continue;
        }
        let page_bytes = generation.geometry.page_bytes;
        let rooted = Pages::root(store, page_bytes, generation.root)?;
        for (number, reference) in &rooted.root.pages {
            if marked.insert(reference.id) {
                let page = Pages::read(store, page_bytes, *number, reference)?;
                of_table(&page.table, &mut marked);
            }
        }
    }
    Ok(marked)
}

/// Deletes the oldest generations whose grace period is over, with the objects that are dead since then. The number of
/// requests is limited.
///
/// # Errors
/// Fails if the store fails.
pub(crate) fn little(store: &Store, grace: Duration, now: SystemTime) -> io::Result<()> {
    let listed = history::list(store, usize::MAX)?;
    let expired = &listed[split(&listed, grace, now)..];
    let mut read: HashMap<u64, Generation> = HashMap::new();
    for generation in expired.iter().rev().take(LITTLE) {
        let number = generation.number;
        let mut record = |number| match read.remove(&number) {
            Some(record) => Ok(Some(record)),
            None => match history::read(store, number) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                other => other.map(Some),
            },
        };
        let (this, next) = (record(number)?, record(number + 1)?);
        if let (Some(this), Some(next)) = (this, next) {
            // Otherwise it is of a writer that stalled for very long, and no generation that is kept is based on it.
            if next.parent_writer == this.writer {
                store.delete(this.dead.iter().map(ObjectId::name).collect())?;
            }
            read.insert(next.number, next);
        }
        store.delete(vec![generation_name(number)])?;
    }
    Ok(())
}
