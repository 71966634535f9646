//! The verb `rename`, for datasets and for snapshots (`dsl_dir_rename_sync`, `dsl_dataset_rename_snapshot_sync`).

use zstream_dmu::ids::ObjectId;
use zstream_dmu::zap::Value;
use zstream_format::errno::Errno;

use super::Tx;
use super::limits::LIMITS;
use super::make::{FILESYSTEM_COUNT, SNAPSHOT_COUNT};
use super::usage::{Change, Use};
use crate::error::{Error, Fault, Kind, Result};
use crate::name::{NAME_BYTES_MAX, Name, Suffix};
use crate::reader::{DEPTH_MAX, MosReader};

impl Tx<'_> {
    /// Renames a filesystem or volume, with everything below it.
    ///
    /// # Errors
    /// Fails with `ENOENT`, `EEXIST`, `EXDEV` if the new name is in another pool, `EINVAL` if it is below the dataset
    /// or below a volume, `ENAMETOOLONG` (for datasets below, too), `EACCES` if its encryption root would change, and
    /// `ENOSPC` if it does not fit below a quota.
    pub fn rename(&mut self, old: &str, new: &str) -> Result<()> {
        let dir = self.read().dir_named(old)?.ok_or_else(|| Error::not_found(Kind::Dataset, old))?;
        let parent = self.read().dir(dir)?.parent;
        let parent =
            parent.ok_or_else(|| Error::refused(Errno::EINVAL, format!("{old} is the root of the pool")))?;
        if Name::parse(new)?.pool() != self.name {
            return Err(Error::refused(Errno::EXDEV, format!("{new} is not in the pool {}", self.name)));
        }
        let place = self.read().vacant(new)?;
        if new.strip_prefix(old).is_some_and(|rest| rest.starts_with('/')) {
            return Err(Error::refused(Errno::EINVAL, format!("{new} is below {old}")));
        }
        if new.len() > old.len() {
            self.read().check_lengths(dir, new.len(), 0)?;
        }
        if place.parent != parent {
            self.read().check_rename_keys(dir, place.parent)?;
            let phys = self.read().dir(dir)?;
            self.check_transfer(parent, place.parent, phys.used_bytes.max(phys.reserved_bytes))?;
            self.move_counts(dir, parent, place.parent)?;
        }
        let last = old.rsplit('/').next().unwrap_or_default();
        let names = self.read().children_zap(parent)?;
        self.zap(names)?.remove(last)?;
        self.change_dir(dir, |dir| dir.parent = Some(place.parent))?;
        let names = self.read().children_zap(place.parent)?;
        Ok(self.zap(names)?.add(place.name.as_str(), &Value::word(dir.0))?)
    }

    /// Moves the counts of a directory from one parent to another.
    fn move_counts(&mut self, dir: ObjectId, from: ObjectId, to: ObjectId) -> Result<()> {
        if self.read().feature_active(LIMITS)? {
            let (filesystems, snapshots) = self.count_below(dir, DEPTH_MAX)?;
            for (dir, sign) in [(from, -1), (to, 1)] {
                self.adjust_counts(dir, FILESYSTEM_COUNT, sign * (filesystems as i64 + 1))?;
                self.adjust_counts(dir, SNAPSHOT_COUNT, sign * snapshots as i64)?;
            }
        }
        let phys = self.read().dir(dir)?;
        let used = Change {
            used: phys.used_bytes as i64,
            compressed: phys.compressed_bytes as i64,
            uncompressed: phys.uncompressed_bytes as i64,
        };
        let unused = phys.reserved_bytes.saturating_sub(phys.used_bytes) as i64;
        let unused = Change { used: unused, ..Change::default() };
        self.use_space(from, Use::Children, used.negated())?;
        self.use_space(to, Use::Children, used)?;
        self.use_space(from, Use::ChildReservations, unused.negated())?;
        self.use_space(to, Use::ChildReservations, unused)
    }

    /// Renames a snapshot; with `recursive` also those of the same name of all datasets below.
    ///
    /// # Errors
    /// Fails with `ENOENT`, `EEXIST`, `EXDEV` if the new name is in another dataset, and `ENAMETOOLONG`.
    pub fn rename_snapshot(&mut self, old: &str, new: &str, recursive: bool) -> Result<()> {
        let (dir, from) = self.dsl().split_snapshot(old).map(|(head, short)| (head.dir().object(), short))?;
        let filesystem = Name::parse(old)?.filesystem;
        let parsed =
            Name::parse(&if new.contains('@') { new.to_owned() } else { format!("{filesystem}@{new}") })?;
        let Suffix::Snapshot(to) = parsed.suffix else {
            return Err(Error::bad_name(format!("{new} is not the name of a snapshot")));
        };
        if parsed.filesystem != filesystem {
            return Err(Error::refused(Errno::EXDEV, format!("{new} is not a snapshot of {filesystem}")));
        }
        self.dsl().snapshot(old)?;
        let mut plan = Vec::new();
        let mut dirs = vec![dir];
        while let Some(dir) = dirs.pop() {
            let phys = self.read().dir(dir)?;
            if let Some(head) = phys.head
                && let Some((_, snapshot)) = self.read().snapshot(&self.read().dataset(head)?, &from)?
            {
                self.read().check_snapshot_name(head, &to)?;
                plan.push((head, snapshot));
            }
            if recursive {
                for (_, child) in self.read().entries(phys.children)? {
                    dirs.push(ObjectId(child.u64()?));
                }
            }
        }
        for (head, snapshot) in plan {
            self.remove_snapshot_name(head, &from, false)?;
            let names = self.read().dataset(head)?.snapshot_names;
            let names = names.ok_or_else(|| Error::not_found(Kind::Snapshot, old))?;
            self.zap(names)?.add(to.as_str(), &Value::word(snapshot.0))?;
        }
        Ok(())
    }
}

impl MosReader<'_> {
    /// Checks that no name below a directory becomes too long if its own name has this length.
    pub(super) fn check_lengths(self, dir: ObjectId, bytes: usize, depth: usize) -> Result<()> {
        let too_long = || Err(Fault::NameTooLong("a name below it would become too long".to_owned()).into());
        if bytes > NAME_BYTES_MAX || depth > DEPTH_MAX {
            return too_long();
        }
        let phys = self.dir(dir)?;
        if let Some(head) = phys.head {
            for (name, _) in self.entries(self.dataset(head)?.snapshot_names)? {
                if bytes + 1 + name.len() > NAME_BYTES_MAX {
                    return too_long();
                }
            }
        }
        for (name, child) in self.entries(phys.children)? {
            self.check_lengths(ObjectId(child.u64()?), bytes + 1 + name.len(), depth + 1)?;
        }
        Ok(())
    }
}
