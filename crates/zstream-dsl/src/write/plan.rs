//! What has to go with what is destroyed, and in which order: `zfs destroy -r`, `-R`, ranges of snapshots, and the younger
//! snapshots that a rollback takes with it.
//!
//! A snapshot goes after the clones that were made of it, a dataset after its children and its snapshots.

use std::collections::BTreeSet;

use zstream_dmu::ids::ObjectId;
use zstream_format::errno::Errno;

use crate::error::{Error, Kind, Result};

use super::Tx;

/// How far a destroy goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Children and snapshots too; with snapshots, those of the same name of all datasets below (`-r`).
    pub recursive: bool,
    /// All that depends on it too, wherever it is: clones (`-R`).
    pub clones: bool,
}

/// Names in the order in which they are to be destroyed.
struct Plan<'t, 'a> {
    tx: &'t Tx<'a>,
    reach: Reach,
    names: Vec<String>,
    seen: BTreeSet<ObjectId>,
    /// Clones that are outside of what was asked for.
    outside: Vec<String>,
    /// The directories that were asked for.
    inside: BTreeSet<ObjectId>,
}

impl Plan<'_, '_> {
    /// Adds a head with all that must go before it.
    fn add_head(&mut self, name: &str, head: ObjectId) -> Result<()> {
        if !self.seen.insert(head) {
            return Ok(());
        }
        let dir = self.tx.dir(self.tx.dataset(head)?.dir)?;
        for (child, object) in self.tx.entries(dir.children)? {
            if let Some(head) = self.tx.dir(ObjectId(object.u64()?))?.head {
                self.add_head(&format!("{name}/{child}"), head)?;
            }
        }
        for (short, snapshot) in self.tx.snapshots(head)?.into_iter().rev() {
            self.add_snapshot(&format!("{name}@{short}"), snapshot)?;
        }
        self.names.push(name.to_owned());
        Ok(())
    }

    /// Adds a snapshot with its clones.
    fn add_snapshot(&mut self, name: &str, snapshot: ObjectId) -> Result<()> {
        if !self.seen.insert(snapshot) {
            return Ok(());
        }
        for first in self.tx.numbers(self.tx.dataset(snapshot)?.next_clones)? {
            let dir = self.tx.dataset(first)?.dir;
            let clone = self.tx.dir_name(dir)?;
            if self.reach.clones || self.inside.contains(&dir) {
                let head = self.tx.head_of(dir)?;
                self.add_head(&clone, head)?;
            } else {
                self.outside.push(clone);
            }
        }
        self.names.push(name.to_owned());
        Ok(())
    }
}

impl<'a> Tx<'a> {
    fn plan(&self, reach: Reach) -> Plan<'_, 'a> {
        Plan {
            tx: self,
            reach,
            names: Vec::new(),
            seen: BTreeSet::new(),
            outside: Vec::new(),
            inside: BTreeSet::new(),
        }
    }

    /// The names of a filesystem or volume and of all that goes with it, in the order in which they are to be destroyed.
    ///
    /// # Errors
    /// `ENOENT`; `EINVAL` for the pool's root; `EEXIST` when something depends on it that is not to go with it: the message
    /// lists it.
    pub fn plan_destroy(&self, name: &str, reach: Reach) -> Result<Vec<String>> {
        let head = self.head_named(name)?;
        let dir = self.dataset(head)?.dir;
        if self.dir(dir)?.parent.is_none() {
            return Err(Error::refused(
                Errno::EINVAL,
                format!("{name} is a pool, which this cannot destroy"),
            ));
        }
        let mut plan = self.plan(reach);
        let inside = &mut plan.inside;
        self.walk_dir(name, dir, &mut |_, head| {
            inside.insert(self.dataset(head)?.dir);
            Ok(())
        })?;
        plan.add_head(name, head)?;
        let Plan { names, outside, .. } = plan;
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

    /// The names of the snapshots that `fs@NAME` names and of all that goes with them, in the order in which they are to be
    /// destroyed. `NAME` is one or several, separated by commas, and ranges of them: `a%c`, `%c`, `a%`, `%`.
    ///
    /// # Errors
    /// `ENOENT` when there is none; `EEXIST` when there are clones that are not to go with them.
    pub fn plan_destroy_snapshots(&self, name: &str, reach: Reach, defer: bool) -> Result<Vec<String>> {
        let (filesystem, spec) = name
            .split_once('@')
            .ok_or_else(|| Error::bad_name(format!("{name} is not the name of a snapshot")))?;
        let head = self.head_named(filesystem)?;
        let mut plan = self.plan(reach);
        let mut found = Vec::new();
        let mut add = |name: &str, head: ObjectId| {
            let list = self.snapshots(head)?;
            for part in spec.split(',') {
                for (short, object) in range(&list, part)? {
                    found.push((format!("{name}@{short}"), *object));
                }
            }
            Ok(())
        };
        if reach.recursive || reach.clones {
            self.walk_dir(filesystem, self.dataset(head)?.dir, &mut add)?;
        } else {
            add(filesystem, head)?;
        }
        if found.is_empty() {
            return Err(Error::not_found(Kind::Snapshot, name));
        }
        // The youngest first: each is then the last of its line.
        found.reverse();
        if defer {
            return Ok(found.into_iter().map(|(name, _)| name).collect());
        }
        for (name, snapshot) in found {
            plan.add_snapshot(&name, snapshot)?;
        }
        refuse_clones(name, &plan.outside)?;
        Ok(plan.names)
    }

    /// Destroys what a plan names, in its order.
    ///
    /// # Errors
    /// As [`destroy`](Self::destroy) and [`destroy_snapshots`](Self::destroy_snapshots).
    pub fn destroy_all(&mut self, names: &[String], defer: bool) -> Result<()> {
        // What can be refused is refused before anything changes, but for what depends on the order.
        for name in names.iter().filter(|name| name.contains('@') && !defer) {
            let snapshot = self.snapshot_named(name)?;
            if self.hold_count(snapshot)? > 0 {
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

    /// What is younger than a snapshot of its dataset and would go with a rollback to it: names of snapshots and bookmarks,
    /// the youngest first, and, if asked for, clones in front of their origins.
    ///
    /// # Errors
    /// `ENOENT`; `EEXIST` when there are clones that are not to go.
    pub fn plan_rollback(&self, to: &str, clones: bool) -> Result<Vec<String>> {
        let target = self.dataset(self.snapshot_named(to)?)?;
        let filesystem = to.split('@').next().unwrap_or_default();
        let head = self.head_named(filesystem)?;
        let mut plan = self.plan(Reach { recursive: false, clones });
        for (short, object) in self.snapshots(head)?.into_iter().rev() {
            if self.dataset(object)?.creation_txg > target.creation_txg {
                plan.add_snapshot(&format!("{filesystem}@{short}"), object)?;
            }
        }
        refuse_clones(to, &plan.outside)?;
        let marks = self.bookmarks(head)?.into_iter().rev();
        let marks = marks.filter(|mark| mark.creation_txg > target.creation_txg);
        plan.names.extend(marks.map(|mark| format!("{filesystem}#{}", mark.name)));
        Ok(plan.names)
    }

    /// Goes back to a snapshot, after all that [`plan_rollback`](Self::plan_rollback) names is destroyed.
    ///
    /// # Errors
    /// As [`rollback`](Self::rollback) and [`destroy_all`](Self::destroy_all).
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

/// The snapshots of a list, oldest first, that a name or a range names.
fn range<'l>(list: &'l [(String, ObjectId)], part: &str) -> Result<&'l [(String, ObjectId)]> {
    let place = |name: &str| list.iter().position(|(short, _)| short == name);
    let Some((first, last)) = part.split_once('%') else {
        return Ok(place(part).map_or(&[], |at| &list[at..=at]));
    };
    let start = if first.is_empty() { Some(0) } else { place(first) };
    let end = if last.is_empty() { Some(list.len()) } else { place(last).map(|at| at + 1) };
    match (start, end) {
        (Some(start), Some(end)) => Ok(list.get(start..end).unwrap_or(&[])),
        _ => Ok(&[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_both_ends() {
        let list: Vec<_> = ["a", "b", "c"].iter().map(|name| ((*name).to_owned(), ObjectId(1))).collect();
        let names = |part: &str| {
            range(&list, part).unwrap().iter().map(|(name, _)| name.as_str()).collect::<String>()
        };
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
