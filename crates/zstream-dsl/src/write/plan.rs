//! Plan of a destroy: everything that has to be destroyed, in order. This includes `zfs destroy -r`, `-R`, ranges of
//! snapshots, and the younger snapshots of a rollback.
//!
//! A snapshot is destroyed after its clones, and a dataset after its children and its snapshots.

use std::collections::BTreeSet;
use std::sync::Arc;

use zstream_dmu::ids::ObjectId;
use zstream_format::errno::Errno;

use super::Tx;
use crate::dataset::Dataset;
use crate::error::{Error, Kind, Result};
use crate::pool::Dsl;
use crate::reader::Mos;

/// The extent of a destroy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Include children and snapshots; for a snapshot, the snapshots of the same name of all datasets below (`-r`).
    pub recursive: bool,
    /// Include all dependents, wherever they are: clones (`-R`).
    pub clones: bool,
}

/// Names in the order in which they are destroyed.
struct DestroyPlan {
    reach: Reach,
    names: Vec<String>,
    seen: BTreeSet<ObjectId>,
    /// Clones outside of the request.
    outside: Vec<String>,
    /// The directories that were requested.
    inside: BTreeSet<ObjectId>,
}

impl DestroyPlan {
    fn new(reach: Reach) -> Self {
        let (seen, inside) = (BTreeSet::new(), BTreeSet::new());
        Self { reach, names: Vec::new(), seen, outside: Vec::new(), inside }
    }

    /// Adds a head after everything that must be destroyed before it.
    fn add_head<M: Mos>(&mut self, head: &Dataset<M>) -> Result<()> {
        if !self.seen.insert(head.object()) {
            return Ok(());
        }
        for child in head.dir().children()? {
            if child.phys().head.is_some() {
                self.add_head(&child.head()?)?;
            }
        }
        for snapshot in head.snapshots()?.iter().rev() {
            self.add_snapshot(snapshot)?;
        }
        self.names.push(head.name().to_owned());
        Ok(())
    }

    /// Adds a snapshot after its clones.
    fn add_snapshot<M: Mos>(&mut self, snapshot: &Dataset<M>) -> Result<()> {
        if !self.seen.insert(snapshot.object()) {
            return Ok(());
        }
        let dsl = snapshot.dsl();
        for first in dsl.read().numbers(snapshot.phys().next_clones)? {
            let dir = dsl.dir_by_object(dsl.read().dataset(first)?.dir)?;
            if self.reach.clones || self.inside.contains(&dir.object()) {
                self.add_head(&dir.head()?)?;
            } else {
                self.outside.push(dir.name().to_owned());
            }
        }
        self.names.push(snapshot.name().to_owned());
        Ok(())
    }
}

impl<M: Mos> Dsl<M> {
    /// Returns the names of a filesystem or volume and of everything that is destroyed with it, in the order of the
    /// destroy.
    ///
    /// # Errors
    /// Fails with `ENOENT`, `EINVAL` for the pool's root, and `EEXIST` if it has dependents that are not included: the
    /// message lists them.
    pub fn plan_destroy(self: &Arc<Self>, name: &str, reach: Reach) -> Result<Vec<String>> {
        let head = self.head(name)?;
        if head.dir().parent().is_none() {
            return Err(Error::refused(Errno::EINVAL, format!("{name} is the root of the pool")));
        }
        let mut plan = DestroyPlan::new(reach);
        head.dir().walk(&mut |dir| {
            plan.inside.insert(dir.object());
            Ok(())
        })?;
        plan.add_head(&head)?;
        let DestroyPlan { names, outside, .. } = plan;
        refuse_clones(name, &outside)?;
        if names.len() > 1 && !reach.recursive && !reach.clones {
            let others: Vec<&str> = names.iter().filter(|other| *other != name).map(String::as_str).collect();
            return Err(Error::refused(
                Errno::EEXIST,
                format!(
                    "{name} has children or snapshots; use -r to destroy them too: {}",
                    others.join(", ")
                ),
            ));
        }
        Ok(names)
    }

    /// Returns the names of the snapshots that match `fs@NAME` and of everything that is destroyed with them, in the
    /// order of the destroy. `NAME` is a list of names and ranges, separated by commas: `a%c`, `%c`, `a%`, `%`.
    ///
    /// # Errors
    /// Fails with `ENOENT` if no snapshot matches, and `EEXIST` if there are clones that are not included.
    pub fn plan_destroy_snapshots(
        self: &Arc<Self>,
        name: &str,
        reach: Reach,
        defer: bool,
    ) -> Result<Vec<String>> {
        let (filesystem, spec) = name
            .split_once('@')
            .ok_or_else(|| Error::bad_name(format!("{name} is not the name of a snapshot")))?;
        let head = self.head(filesystem)?;
        let mut found = Vec::new();
        let mut add = |head: &Dataset<M>| {
            let snapshots = head.snapshots()?;
            let names: Vec<&str> = snapshots.iter().filter_map(Dataset::snapshot_name).collect();
            for part in spec.split(',') {
                for short in range(&names, part) {
                    found.push(format!("{}@{short}", head.name()));
                }
            }
            Ok::<_, Error>(())
        };
        if reach.recursive || reach.clones {
            head.dir().walk(&mut |dir| add(&dir.head()?))?;
        } else {
            add(&head)?;
        }
        if found.is_empty() {
            return Err(Error::not_found(Kind::Snapshot, name));
        }
        // The youngest first, so that each is the last of its line when it is destroyed.
        found.reverse();
        if defer {
            return Ok(found);
        }
        let mut plan = DestroyPlan::new(reach);
        for name in found {
            plan.add_snapshot(&self.snapshot(&name)?)?;
        }
        refuse_clones(name, &plan.outside)?;
        Ok(plan.names)
    }

    /// Returns the names of the snapshots and bookmarks that a rollback to a snapshot of their dataset destroys, the
    /// youngest first and, on request, clones before their origins.
    ///
    /// # Errors
    /// Fails with `ENOENT`, and `EEXIST` if there are clones that are not included.
    pub fn plan_rollback(self: &Arc<Self>, to: &str, clones: bool) -> Result<Vec<String>> {
        let (head, _) = self.split_snapshot(to)?;
        let txg = self.snapshot(to)?.phys().creation_txg;
        let mut plan = DestroyPlan::new(Reach { recursive: false, clones });
        for snapshot in head.snapshots()?.iter().rev() {
            if snapshot.phys().creation_txg > txg {
                plan.add_snapshot(snapshot)?;
            }
        }
        refuse_clones(to, &plan.outside)?;
        let marks = head.bookmarks()?.into_iter().rev();
        plan.names.extend(marks.filter(|mark| mark.creation_txg > txg).map(|mark| mark.name));
        Ok(plan.names)
    }
}

impl Tx<'_> {
    /// Destroys the names of a plan, in its order.
    ///
    /// # Errors
    /// Fails like [`destroy`](Self::destroy) and [`destroy_snapshots`](Self::destroy_snapshots).
    pub fn destroy_all(&mut self, names: &[String], defer: bool) -> Result<()> {
        // Checks everything before anything changes, except for what depends on the order.
        for name in names.iter().filter(|name| name.contains('@') && !defer) {
            let snapshot = self.dsl().snapshot(name)?.object();
            if self.read().hold_count(snapshot)? > 0 {
                return Err(Error::refused(Errno::EBUSY, format!("snapshot {name} has holds")));
            }
        }
        for name in names {
            if name.contains('@') {
                self.destroy_snapshots(std::slice::from_ref(name), defer)?;
            } else {
                self.destroy(name)?;
            }
        }
        Ok(())
    }

    /// Rolls back to a snapshot, after everything in [`plan_rollback`](Dsl::plan_rollback) is destroyed.
    ///
    /// # Errors
    /// Fails like [`rollback`](Self::rollback) and [`destroy_all`](Self::destroy_all).
    pub(super) fn rollback_over(&mut self, to: &str, younger: &[String]) -> Result<()> {
        let (marks, others): (Vec<&String>, Vec<&String>) =
            younger.iter().partition(|name| name.contains('#'));
        let others: Vec<String> = others.into_iter().cloned().collect();
        self.destroy_all(&others, false)?;
        marks.into_iter().try_for_each(|mark| self.destroy_bookmark(mark))?;
        self.rollback(to.split('@').next().unwrap_or_default(), Some(to))
    }
}

fn refuse_clones(name: &str, outside: &[String]) -> Result<()> {
    if outside.is_empty() {
        return Ok(());
    }
    let list = outside.join(", ");
    Err(Error::refused(
        Errno::EEXIST,
        format!("{name} has dependent clones; use -R to destroy them too: {list}"),
    ))
}

/// Returns the snapshots that match a name or range, of a list that is sorted from the oldest.
fn range<'l, 'n>(list: &'l [&'n str], part: &str) -> &'l [&'n str] {
    let place = |name: &str| list.iter().position(|short| *short == name);
    let Some((first, last)) = part.split_once('%') else {
        return place(part).map_or(&[], |at| &list[at..=at]);
    };
    let start = if first.is_empty() { Some(0) } else { place(first) };
    let end = if last.is_empty() { Some(list.len()) } else { place(last).map(|at| at + 1) };
    match (start, end) {
        (Some(start), Some(end)) => list.get(start..end).unwrap_or(&[]),
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_both_ends() {
        let names = |part: &str| range(&["a", "b", "c"], part).concat();
        for (part, expected) in [
            ("b", "b"),
            ("a%b", "ab"),
            ("%b", "ab"),
            ("b%", "bc"),
            ("%", "abc"),
            ("c%a", ""),
            ("x", ""),
            ("a%x", ""),
        ] {
            assert_eq!(names(part), expected, "{part}");
        }
    }
}
