//! The order of the substreams of a package (`dump_filesystems`, `dump_filesystem`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use zstream_dmu::ids::Txg;
use zstream_dsl::dataset::Dataset;

use super::list::Filesystem;
use crate::note::Note;
use crate::refusal::Refusal;

/// Returns the datasets of a package in the order in which they are sent: that of the list, but each after the datasets of
/// its parent's snapshot and of its origin, if these are in the package.
pub(crate) fn in_order(filesystems: &[Filesystem]) -> Result<Vec<&Filesystem>, Refusal> {
    // Of several snapshots with the same guid, the first one is used.
    let mut owners = HashMap::new();
    for (index, filesystem) in filesystems.iter().enumerate() {
        for guid in &filesystem.snapshots {
            owners.entry(*guid).or_insert(index);
        }
    }
    let mut sent = vec![false; filesystems.len()];
    let is_sent = |sent: &[bool], guid: u64| owners.get(&guid).map(|owner: &usize| sent[*owner]);
    let mut order = Vec::new();
    while order.len() < filesystems.len() {
        let before = order.len();
        for (index, filesystem) in filesystems.iter().enumerate() {
            let parent = filesystem.parent_from;
            let parent_sent = parent == 0 || is_sent(&sent, parent) == Some(true);
            let origin_sent = filesystem.origin.is_none_or(|origin| is_sent(&sent, origin) != Some(false));
            if !sent[index] && parent_sent && origin_sent {
                sent[index] = true;
                order.push(filesystem);
            }
        }
        if order.len() == before {
            let waiting = filesystems.iter().zip(&sent).filter(|(_, sent)| !**sent);
            return Err(Refusal::NoOrder(
                waiting.map(|(waiting, _)| waiting.head.name().to_owned()).collect(),
            ));
        }
    }
    Ok(order)
}

/// The range of the snapshots of each dataset that are sent.
pub(crate) struct Range<'a> {
    /// The short name of the last snapshot.
    pub(crate) to: &'a str,
    /// The short name of the source of the increment.
    pub(crate) from: Option<&'a str>,
    /// `true` to include all intermediate snapshots (`-I`); otherwise only the origins of clones.
    pub(crate) all: bool,
    /// `true` to include descendants (`-R`).
    pub(crate) recursive: bool,
    /// The guids of the origins of the clones in the package.
    pub(crate) origins: HashSet<u64>,
    /// The names of datasets that are excluded with their descendants (`-X`).
    pub(crate) exclude: &'a [String],
}

/// Returns `true` if `-X` names this dataset or one of its ancestors.
pub(crate) fn excluded(name: &str, exclude: &[String]) -> bool {
    exclude.iter().any(|wanted| {
        name.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '@']))
    })
}

/// Calls `send` with the snapshots of a head that are sent, each with the source of its increment; that of the first one is
/// `None`, since it is full or an increment from the origin. Returns `true` if the source and the last snapshot were found,
/// otherwise a note has the reason.
pub(crate) fn snapshots(
    head: &Dataset,
    range: &Range<'_>,
    note: &mut dyn FnMut(Note),
    send: &mut dyn FnMut(Arc<Dataset>, Option<Arc<Dataset>>),
) -> Result<bool, Refusal> {
    let all: Vec<Arc<Dataset>> = head.snapshots()?.into_iter().map(Arc::new).collect();
    let find = |name: &str| all.iter().find(|snapshot| snapshot.snapshot_name() == Some(name));
    let txg = |name: &str| find(name).map(|snapshot| snapshot.phys().creation_txg);
    // With descendants, a dataset without the source is sent from its first snapshot.
    let from = range.from.filter(|from| !range.recursive || find(from).is_some());
    let (first, last) = if range.recursive {
        (Txg(0), Txg(u64::MAX))
    } else {
        (from.and_then(txg).unwrap_or(Txg(0)), txg(range.to).unwrap_or(Txg(u64::MAX)))
    };
    let (mut seen_from, mut seen_to) = (from.is_none(), false);
    let mut previous: Option<Arc<Dataset>> = None;
    for snapshot in all.iter().filter(|snapshot| (first..=last).contains(&snapshot.phys().creation_txg)) {
        let name = snapshot.snapshot_name();
        let is_from = name == from && from.is_some();
        if !seen_from && is_from {
            seen_from = true;
            previous = Some(snapshot.clone());
            continue;
        }
        if seen_to || !seen_from {
            continue;
        }
        let is_to = name == Some(range.to);
        seen_to |= is_to;
        let is_origin = range.recursive && range.origins.contains(&snapshot.phys().guid.0);
        if !(range.all || is_to || is_origin) || excluded(snapshot.name(), range.exclude) {
            continue;
        }
        send(snapshot.clone(), previous.replace(snapshot.clone()));
    }
    let (filesystem, to) = (head.name().to_owned(), range.to.to_owned());
    match from {
        Some(from) if !seen_from => note(Note::NoSource { filesystem, to, from: from.to_owned() }),
        Some(from) if !seen_to => note(Note::YoungSource { filesystem, to, from: from.to_owned() }),
        _ => {}
    }
    Ok(seen_from && seen_to)
}
