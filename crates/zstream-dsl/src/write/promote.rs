//! The verb `promote`: a clone takes over the snapshots up to its origin (`dsl_dataset_promote_sync`).
//!
//! ```text
//! before    origin's dir:  s1 - s2 - s3 - head        after    origin's dir:              s3 - head
//!                               |                                                        /
//!           clone's dir:        `- c1 - clone                  clone's dir:  s1 - s2 - c1 - clone
//! ```

use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::zap::Value;
use zstream_format::errno::Errno;

use super::Tx;
use super::make::SNAPSHOT_COUNT;
use super::usage::{Change, Use};
use crate::error::{Error, Result};
use crate::name::NAME_BYTES_MAX;
use crate::phys::{DatasetFlags, DatasetPhys, DirPhys};
use crate::reader::MosReader;

/// The facts that are collected before anything changes.
struct PromotePlan {
    clone: ObjectId,
    dir: ObjectId,
    origin: ObjectId,
    origin_dir: ObjectId,
    origin_head: ObjectId,
    /// The snapshots that move, with their names, youngest first.
    shared: Vec<(ObjectId, String)>,
    /// The clone's own line, youngest first: its head and its snapshots.
    own: Vec<ObjectId>,
    /// The space that moves.
    moves: Change,
    /// The new unique space of the origin.
    unique: u64,
    /// The new space of snapshots, in the directories of the clone and of the origin.
    snapshots: (u64, u64),
}

impl Tx<'_> {
    /// Makes a clone independent of its origin (`zfs promote`).
    ///
    /// # Errors
    /// Fails with `EINVAL` if the dataset is not a clone, `EEXIST` if names of snapshots or bookmarks collide, `EXDEV`
    /// if it must not be promoted, `ENAMETOOLONG`, `EACCES` if its keys would need another encryption root, and
    /// `ENOSPC` if the space that moves exceeds a quota.
    pub fn promote(&mut self, name: &str) -> Result<()> {
        let clone = self.dsl().head(name)?.object();
        let plan = self.read().plan_promotion(clone, name)?;
        self.check_transfer(plan.origin_dir, plan.dir, plan.moves.used.max(0).unsigned_abs())?;
        self.promote_keys(plan.dir, plan.origin_dir)?;
        let origin = self.read().dataset(plan.origin)?;
        let old_next =
            origin.next.ok_or_else(|| Error::corrupt("DSL dataset", "a snapshot has no next dataset"))?;
        let first = *plan
            .own
            .last()
            .ok_or_else(|| Error::corrupt("DSL dataset", "a clone has no datasets in its line"))?;
        self.change_dataset(plan.origin, |origin| origin.next = Some(first))?;
        if let Some(clones) = origin.next_clones {
            self.remove_number(clones, first)?;
            self.add_number(clones, old_next)?;
        }
        let above = self.read().dir(plan.origin_dir)?.origin;
        self.change_dir(plan.dir, |dir| dir.origin = above)?;
        self.change_dir(plan.origin_dir, |dir| dir.origin = Some(plan.origin))?;
        self.move_dir_clone(Some(plan.origin_dir), None, plan.clone)?;
        if let Some(above) = above {
            let above_dir = self.read().dataset(above)?.dir;
            self.move_dir_clone(Some(above_dir), None, plan.origin_head)?;
            self.move_dir_clone(None, Some(above_dir), plan.clone)?;
        }
        self.move_dir_clone(None, Some(plan.dir), plan.origin_head)?;
        self.move_bookmarks(plan.origin_head, plan.clone, origin.creation_txg)?;
        self.bookmarks_follow(plan.clone, plan.origin)?;
        for (snapshot, name) in &plan.shared {
            self.move_snapshot(&plan, *snapshot, name, old_next)?;
        }
        let snapshots =
            |dir: &DirPhys| if dir.has_breakdown() { Some(dir.breakdown.snapshots) } else { None };
        let more =
            snapshots(&self.read().dir(plan.dir)?).map_or(0, |old| plan.snapshots.0.wrapping_sub(old) as i64);
        self.move_usage(plan.dir, more, plan.moves)?;
        let less = snapshots(&self.read().dir(plan.origin_dir)?)
            .map_or(0, |old| plan.snapshots.1.wrapping_sub(old) as i64);
        self.move_usage(plan.origin_dir, less, plan.moves.negated())?;
        self.change_dataset(plan.origin, |origin| origin.unique_bytes = plan.unique)?;
        self.remove_livelist(plan.dir)?;
        self.remove_livelist(plan.origin_dir)
    }

    fn move_usage(&mut self, dir: ObjectId, snapshots: i64, moves: Change) -> Result<()> {
        self.use_space(dir, Use::Snapshots, Change { used: snapshots, ..Change::default() })?;
        self.use_space(dir, Use::Head, Change { used: moves.used - snapshots, ..moves })
    }

    fn move_dir_clone(&mut self, from: Option<ObjectId>, to: Option<ObjectId>, head: ObjectId) -> Result<()> {
        if let Some(from) = from
            && let Some(clones) = self.read().dir(from)?.clones
        {
            self.remove_number(clones, head)?;
        }
        to.map_or(Ok(()), |to| self.add_dir_clone(to, head))
    }

    /// Moves one snapshot with its name and its clones.
    fn move_snapshot(
        &mut self,
        plan: &PromotePlan,
        snapshot: ObjectId,
        name: &str,
        old_next: ObjectId,
    ) -> Result<()> {
        self.remove_snapshot_name(plan.origin_head, name, true)?;
        let names = self.read().dataset(plan.clone)?.snapshot_names;
        let names =
            names.ok_or_else(|| Error::corrupt("DSL dataset", "a head has no ZAP of snapshot names"))?;
        self.zap(names)?.add(name, &Value::word(snapshot.0))?;
        self.adjust_counts(plan.dir, SNAPSHOT_COUNT, 1)?;
        self.change_dataset(snapshot, |dataset| dataset.dir = plan.dir)?;
        for first in self.read().numbers(self.read().dataset(snapshot)?.next_clones)? {
            if first != old_next {
                let head = self.read().head_of(self.read().dataset(first)?.dir)?;
                self.move_dir_clone(Some(plan.origin_dir), Some(plan.dir), head)?;
            }
        }
        Ok(())
    }
}

impl MosReader<'_> {
    fn plan_promotion(self, clone: ObjectId, name: &str) -> Result<PromotePlan> {
        let dir = self.dataset(clone)?.dir;
        let origin = self.promotable(clone, name)?;
        let origin_phys = self.dataset(origin)?;
        let origin_dir = origin_phys.dir;
        let origin_head = self.head_of(origin_dir)?;
        let above = self.dir(origin_dir)?.origin;
        self.check_promote_keys(dir, origin_dir)?;

        let own = self.line(clone, Some(origin))?;
        let rest = self.line(origin_head, Some(origin))?;
        let shared_objects = self.line(origin, above)?;
        let shared = self.promoted_names(clone, name, &shared_objects, (origin_head, &origin_phys))?;
        let first = own.last().copied().unwrap_or(clone);
        let unique = self
            .dead_space(self.deadlist_of(first)?, origin_phys.prev_snapshot_txg, Txg(u64::MAX))?
            .used_bytes;
        let above_txg = self.origin_txg(origin_dir)?;
        let of_clone = self.line_space(&shared_objects, above_txg)? + self.line_space(&own, above_txg)?;
        let of_origin = self.line_space(&rest, origin_phys.creation_txg)?;
        Ok(PromotePlan {
            clone,
            dir,
            origin,
            origin_dir,
            origin_head,
            moves: self.moved_space(&origin_phys, &shared_objects, above)?,
            shared,
            own,
            unique,
            snapshots: (of_clone, of_origin),
        })
    }

    /// Returns the origin of a dataset that can be promoted.
    fn promotable(self, clone: ObjectId, name: &str) -> Result<ObjectId> {
        let phys = self.dataset(clone)?;
        let no_clone = || Error::refused(Errno::EINVAL, format!("{name} is not a clone"));
        let origin = self.dir(phys.dir)?.origin.ok_or_else(no_clone)?;
        if Some(origin) == self.origin_snapshot()? {
            return Err(no_clone());
        }
        if phys.flags.contains(DatasetFlags::NO_PROMOTE) {
            return Err(Error::refused(Errno::EXDEV, format!("{name} must not be promoted")));
        }
        Ok(origin)
    }

    /// Returns the snapshots that move, with their short names, which must be free in the clone.
    fn promoted_names(
        self,
        clone: ObjectId,
        name: &str,
        shared: &[ObjectId],
        (origin_head, origin): (ObjectId, &DatasetPhys),
    ) -> Result<Vec<(ObjectId, String)>> {
        let (mut names, mut colliding) = (Vec::new(), Vec::new());
        for snapshot in shared {
            let short = self.short_name(*snapshot)?;
            if name.len() + 1 + short.len() > NAME_BYTES_MAX {
                let why = format!("the name {name}@{short} is too long");
                return Err(Error::refused(Errno::ENAMETOOLONG, why));
            }
            if self.snapshot(&self.dataset(clone)?, &short)?.is_some() {
                colliding.push(format!("@{short}"));
            }
            names.push((*snapshot, short));
        }
        let taken = self.bookmarks(clone, "")?;
        for mark in self.bookmarks(origin_head, "")? {
            if mark.creation_txg <= origin.creation_txg && taken.iter().any(|own| own.name == mark.name) {
                colliding.push(mark.name);
            }
        }
        if !colliding.is_empty() {
            let why = format!("{name} and its origin have the same names: {}", colliding.join(", "));
            return Err(Error::refused(Errno::EEXIST, why));
        }
        Ok(names)
    }

    /// Returns the space that moves with snapshots from the origin's directory to the clone's. `above` is the origin of
    /// that directory.
    fn moved_space(
        self,
        origin: &DatasetPhys,
        shared: &[ObjectId],
        above: Option<ObjectId>,
    ) -> Result<Change> {
        let mut moves = Change {
            used: origin.referenced_bytes as i64,
            compressed: origin.compressed_bytes as i64,
            uncompressed: origin.uncompressed_bytes as i64,
        };
        for snapshot in shared {
            moves = moves.plus(Change::of(&self.deadlist(self.deadlist_of(*snapshot)?)?.space));
        }
        if let Some(above) = above {
            let above = self.dataset(above)?;
            moves = moves.plus(Change {
                used: -(above.referenced_bytes as i64),
                compressed: -(above.compressed_bytes as i64),
                uncompressed: -(above.uncompressed_bytes as i64),
            });
        }
        Ok(moves)
    }

    /// Returns the line of datasets from `last` back to `end`, which is excluded.
    pub(super) fn line(self, last: ObjectId, end: Option<ObjectId>) -> Result<Vec<ObjectId>> {
        let mut line = Vec::new();
        let mut at = Some(last);
        while at != end {
            let Some(object) = at else { break };
            let phys = self.dataset(object)?;
            if phys.prev_snapshot.is_some()
                && phys.prev_snapshot_txg >= phys.creation_txg
                && phys.is_snapshot()
            {
                return Err(Error::corrupt(
                    "DSL dataset",
                    format!("the snapshots before {last} are not in order"),
                ));
            }
            line.push(object);
            at = phys.prev_snapshot;
        }
        Ok(line)
    }

    /// Returns the space in the deadlists of a line from a txg on.
    pub(super) fn line_space(self, line: &[ObjectId], from: Txg) -> Result<u64> {
        let mut sum = 0_u64;
        for dataset in line {
            let space = self.dead_space(self.deadlist_of(*dataset)?, from, Txg(u64::MAX))?;
            sum = sum.saturating_add(space.used_bytes);
        }
        Ok(sum)
    }
}
