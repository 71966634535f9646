//! The list of the datasets of a package, collected from the tree (`send_iterate_fs`).
//!
//! ```text
//! fss
//!   0xGUID-OF-HEAD
//!     name  parentfromsnap  [origin]  [props]  [is_encroot]
//!     snaps       name -> guid
//!     snapprops   name -> list
//!     [snapholds  name -> tag -> time]
//! ```
//!
//! The order is that of libzfs: datasets depth first, the children of each in the order of their ZAP; snapshots by age.

use std::collections::HashMap;
use std::sync::Arc;

use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::zap::Zap;
use zstream_dsl::dataset::{Dataset, Dir};
use zstream_dsl::error::{Error, Result as DmuResult};
use zstream_format::nvlist::NvList;

use super::order::excluded;
use super::props::properties;
use crate::note::Note;
use crate::refusal::Refusal;

/// The maximum depth of datasets, above that of names of 255 bytes.
const DEPTH_MAX: usize = 128;

/// A dataset of a package.
pub(crate) struct Filesystem {
    /// The head of the dataset.
    pub(crate) head: Dataset,
    /// The guid of the parent's snapshot that the increment starts from, or of the one that is sent; 0 at the top.
    pub(crate) parent_from: u64,
    /// The guid of its origin.
    pub(crate) origin: Option<u64>,
    /// The guids of its snapshots in the list.
    pub(crate) snapshots: Vec<u64>,
}

/// A collector of the list.
pub(crate) struct Gather<'a> {
    /// The top dataset.
    pub(crate) top: &'a str,
    /// The short name of the last snapshot.
    pub(crate) to: &'a str,
    /// The short name of the source of the increment.
    pub(crate) from: Option<&'a str>,
    /// `true` to include descendants (`-R`).
    pub(crate) recursive: bool,
    /// `true` to include all intermediate snapshots (`-I`).
    pub(crate) all: bool,
    /// `true` to skip datasets without the snapshot (`-s`).
    pub(crate) skip_missing: bool,
    /// The datasets to leave out (`-X`). The list contains them, as that of OpenZFS 2.4 does, unless they could not be sent: those are
    /// left out, as its development branch leaves out all.
    pub(crate) exclude: &'a [String],
    /// The option `-w`.
    pub(crate) raw: bool,
    /// The option `-p`.
    pub(crate) properties: bool,
    /// The option `-b`.
    pub(crate) backup: bool,
    /// The option `-h`.
    pub(crate) holds: bool,
    /// The receiver of notes.
    pub(crate) note: &'a mut dyn FnMut(Note),
    /// The list of datasets so far.
    pub(crate) list: NvList,
    /// The datasets so far.
    pub(crate) filesystems: Vec<Filesystem>,
}

/// The lists of the snapshots of one dataset.
#[derive(Default)]
struct Snapshots {
    guids: NvList,
    properties: NvList,
    holds: NvList,
    /// The guids only.
    listed: Vec<u64>,
    /// The guid of the source of the increment, or of the last snapshot if there is none.
    from: u64,
}

impl<'a> Gather<'a> {
    /// Collects `dir` and, if requested, its descendants.
    pub(crate) fn gather(&mut self, dir: &Arc<Dir>) -> Result<(), Refusal> {
        self.visit(dir, 0, Txg(0), 0)
    }

    fn visit(
        &mut self,
        dir: &Arc<Dir>,
        parent_from: u64,
        to_above: Txg,
        depth: usize,
    ) -> Result<(), Refusal> {
        if depth > DEPTH_MAX {
            return Err(Error::corrupt("DSL directory", format!("{} is nested too deep", dir.name())).into());
        }
        let head = dir.head()?;
        let all = head.snapshots()?;
        let txg = |name: &str| {
            let found = all.iter().find(|snapshot| snapshot.snapshot_name() == Some(name));
            found.map(|snapshot| snapshot.phys().creation_txg)
        };
        let from_txg = self.from.and_then(txg);
        let own_to = txg(self.to);
        let to_txg = own_to.unwrap_or(to_above);
        if own_to.is_none() {
            return self.without_snapshot(&head, to_txg);
        }
        let mut entry = NvList::new();
        entry.add_string("name", dir.name()).add_u64("parentfromsnap", parent_from);
        let origin = dir.origin()?.map(|origin| origin.phys().guid.0);
        if let Some(origin) = origin {
            entry.add_u64("origin", origin);
        }
        if self.properties || self.backup || self.recursive {
            entry.add_list("props", properties(&head, self.backup)?);
        }
        if let Some(key) = head.crypto_key()? {
            if key.root == dir.object() {
                entry.add_boolean("is_encroot");
            }
            if !self.raw && excluded(dir.name(), self.exclude) {
                return Ok(());
            }
            if !self.raw {
                let dataset = dir.name().to_owned();
                return Err(Refusal::EncryptedProperties { to: self.full_name(), dataset });
            }
        }
        // Snapshots outside the range are omitted in packages of one filesystem, but not with descendants.
        let (first, last) = match (self.recursive, self.all) {
            (true, _) => (Txg(0), Txg(u64::MAX)),
            (false, true) => (from_txg.unwrap_or(Txg(0)), to_txg),
            (false, false) => (to_txg, to_txg),
        };
        let mut lists = Snapshots::default();
        let mut seen = (self.from.is_none(), false);
        for snapshot in &all {
            let txg = snapshot.phys().creation_txg;
            if (first..=last).contains(&txg) {
                self.snapshot(snapshot, to_txg, &mut seen, &mut lists)?;
            }
        }
        let snapshots = lists.listed;
        entry.add_list("snaps", lists.guids).add_list("snapprops", lists.properties);
        if self.holds {
            entry.add_list("snapholds", lists.holds);
        }
        self.list.add_list(format!("{:#x}", head.phys().guid.0), entry);
        let children = if self.recursive { children(dir)? } else { Vec::new() };
        self.filesystems.push(Filesystem { head, parent_from, origin, snapshots });
        for child in children {
            self.visit(&child, lists.from, to_txg, depth + 1)?;
        }
        Ok(())
    }

    fn full_name(&self) -> String {
        format!("{}@{}", self.top, self.to)
    }

    /// Skips a dataset without the snapshot if it is newer than the snapshot or the user requested it, else fails.
    fn without_snapshot(&mut self, head: &Dataset, to_txg: Txg) -> Result<(), Refusal> {
        let (name, to) = (head.name().to_owned(), self.to.to_owned());
        if to_txg != Txg(0) && head.phys().creation_txg > to_txg {
            (self.note)(Note::YoungDataset { name, to });
            Ok(())
        } else if self.skip_missing {
            (self.note)(Note::SkippedDataset { name, to });
            Ok(())
        } else if excluded(head.name(), self.exclude) {
            Ok(())
        } else {
            Err(Refusal::MissingSnapshot {
                to: self.full_name(),
                recursive: self.recursive,
                missing: format!("{name}@{to}"),
            })
        }
    }

    /// Lists a snapshot (`send_iterate_snap`). `seen` is set when the source and the last one were listed.
    fn snapshot(
        &mut self,
        snapshot: &Dataset,
        to_txg: Txg,
        seen: &mut (bool, bool),
        lists: &mut Snapshots,
    ) -> Result<(), Refusal> {
        let name = snapshot.snapshot_name().unwrap_or_default();
        if snapshot.phys().creation_txg > to_txg {
            let note = Note::YoungSnapshot { name: snapshot.name().to_owned(), to: self.to.to_owned() };
            (self.note)(note);
            return Ok(());
        }
        let guid = snapshot.phys().guid.0;
        let (is_from, is_to) = (self.from == Some(name), self.to == name);
        lists.guids.add_u64(name, guid);
        lists.listed.push(guid);
        if is_from || (lists.from == 0 && is_to) {
            lists.from = guid;
        }
        if !self.recursive {
            // The receiver already has the source, so only its guid is listed.
            if !seen.0 && is_from {
                seen.0 = true;
                return Ok(());
            }
            if (seen.1 || !seen.0) && !(is_to && self.from.is_none()) {
                return Ok(());
            }
            seen.1 |= is_to;
        }
        lists.properties.add_list(name, properties(snapshot, self.backup)?);
        if self.holds {
            lists.holds.add_list(name, holds(snapshot)?);
        }
        Ok(())
    }
}

/// Returns the holds of a snapshot in the order of their ZAP.
fn holds(snapshot: &Dataset) -> DmuResult<NvList> {
    let mut list = NvList::new();
    if let Some(object) = snapshot.phys().holds {
        for entry in Zap::open(&**snapshot.dsl().mos(), object)?.entries() {
            let entry = entry?;
            list.add_u64(entry.key.text()?, entry.value.u64()?);
        }
    }
    Ok(list)
}

/// Returns the children of a directory in the order of their ZAP, without hidden ones.
pub(crate) fn children(dir: &Arc<Dir>) -> DmuResult<Vec<Arc<Dir>>> {
    let Some(object) = dir.phys().children else { return Ok(Vec::new()) };
    let mut order = HashMap::new();
    for entry in Zap::open(&**dir.dsl().mos(), object)?.entries() {
        let place = order.len();
        order.insert(ObjectId(entry?.value.u64()?), place);
    }
    let is_shown = |child: &Arc<Dir>| {
        let last = child.name().rsplit('/').next().unwrap_or_default();
        child.phys().head.is_some() && !last.contains(['$', '%'])
    };
    let mut children: Vec<_> = dir.children()?.into_iter().filter(is_shown).collect();
    children.sort_by_key(|child| order.get(&child.object()).copied());
    Ok(children)
}
