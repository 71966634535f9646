//! Limits of how many filesystems and snapshots there may be, and of what may be reserved.
//!
//! Filesystems and snapshots are counted from the first limit of the pool on, in the directory that has it and in all below
//! (`dsl_dir_activate_fs_ss_limit`). Those who may set a limit may also exceed it, so nothing is refused here.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::zap::Value;
use zstream_format::errno::Errno;

use super::Tx;
use super::make::{FILESYSTEM_COUNT, SNAPSHOT_COUNT};
use crate::error::{Error, Result};
use crate::reader::{DEPTH_MAX, MosReader};

/// The feature that counts.
pub(super) const LIMITS: &str = "filesystem_limits";

impl Tx<'_> {
    /// Begins to count in a directory, where that is not done yet.
    pub(super) fn begin_counting(&mut self, dir: ObjectId) -> Result<()> {
        self.read().require_feature(LIMITS)?;
        if !self.read().feature_active(LIMITS)? {
            self.feature_add(LIMITS, 1)?;
        }
        self.count_below(dir, DEPTH_MAX).map(drop)
    }

    /// Counts the filesystems below a directory, and its snapshots with those below; what was counted before is not
    /// counted again.
    pub(super) fn count_below(&mut self, dir: ObjectId, depth: usize) -> Result<(u64, u64)> {
        if let Some(filesystems) = self.read().entry(dir, FILESYSTEM_COUNT)? {
            let snapshots = self.read().entry(dir, SNAPSHOT_COUNT)?.map_or(Ok(0), |count| count.u64())?;
            return Ok((filesystems.u64()?, snapshots));
        }
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| Error::corrupt("DSL directory", format!("{dir} is nested without an end")))?;
        let (mut filesystems, mut snapshots) = (0, 0);
        for (name, child) in self.read().entries(self.read().dir(dir)?.children)? {
            if name.starts_with('$') {
                continue;
            }
            let below = self.count_below(ObjectId(child.u64()?), depth)?;
            filesystems += 1 + below.0;
            snapshots += below.1;
        }
        let head = self.read().dataset(self.read().head_of(dir)?)?;
        let own = self.read().entries(head.snapshot_names)?;
        snapshots += own.iter().filter(|(name, _)| !name.starts_with('%')).count() as u64;
        self.set_entry(dir, FILESYSTEM_COUNT, &Value::word(filesystems))?;
        self.set_entry(dir, SNAPSHOT_COUNT, &Value::word(snapshots))?;
        Ok((filesystems, snapshots))
    }

    /// Refuses to reserve more than there is for a directory with all below it. A pool whose space cannot be told from sizes
    /// alone lets everything be reserved.
    pub(super) fn check_reservation(&self, dir: ObjectId, bytes: u64) -> Result<()> {
        let phys = self.read().dir(dir)?;
        let more = bytes.max(phys.used_bytes).saturating_sub(phys.reserved_bytes.max(phys.used_bytes));
        let available = match phys.parent {
            Some(parent) => self.available(parent)?,
            None => self.pool_space.map(|space| space.usable_bytes.saturating_sub(phys.used_bytes)),
        };
        refuse_more("reservation", more, available)
    }

    /// Refuses to reserve more than there is for a head alone.
    pub(super) fn check_refreservation(&self, head: ObjectId, bytes: u64) -> Result<()> {
        let phys = self.read().dataset(head)?;
        let unique = phys.unique_bytes;
        let more = bytes.max(unique).saturating_sub(self.read().refreservation(head)?.max(unique));
        refuse_more("refreservation", more, self.available(phys.dir)?)
    }

    /// Refuses a snapshot of a head, or what takes its place, where the part of its refreservation that is in use is more than
    /// what is available: that part is reserved anew (`dsl_dataset_snapshot_reserve_space`,
    /// `dsl_dataset_clone_swap_check_impl`, of which the first asks for no less than the second).
    pub(super) fn check_refreserved(&self, head: ObjectId) -> Result<()> {
        let phys = self.read().dataset(head)?;
        let more = self.read().refreservation(head)?.min(phys.unique_bytes);
        match self.available(phys.dir)? {
            Some(available) if more > available => {
                let name = self.read().full_name(head)?;
                Err(Error::refused(
                    Errno::ENOSPC,
                    format!(
                        "the refreservation of {name} takes {more} bytes more, and {available} are available"
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Bytes that a directory and those below it can still use (`dsl_dir_space_available`); none where that cannot be told.
    pub(super) fn available(&self, dir: ObjectId) -> Result<Option<u64>> {
        let Some(space) = self.pool_space else { return Ok(None) };
        let mut above = None;
        for (_, phys) in self.read().line_up(dir)?.into_iter().rev() {
            let quota = if phys.quota_bytes == 0 { u64::MAX } else { phys.quota_bytes };
            above = Some(match above {
                None => quota.min(space.usable_bytes).saturating_sub(phys.used_bytes),
                Some(above) => {
                    // What is reserved for it is not available to others, but to it.
                    let reserved = phys.reserved_bytes.saturating_sub(phys.used_bytes);
                    reserved.saturating_add(above).min(quota.saturating_sub(phys.used_bytes))
                }
            });
        }
        Ok(above)
    }

    /// Refuses what was moved where it does not fit: below a quota, or into the pool, where reservations count anew
    /// (`dsl_dir_transfer_possible`). `before` is what was used then; what uses no more than before may stay above its quota.
    pub(super) fn check_moved(&self, before: &[(ObjectId, u64)]) -> Result<()> {
        for (dir, used_before) in before {
            let phys = self.read().dir(*dir)?;
            let of_pool = self.pool_space.filter(|_| phys.parent.is_none()).map(|space| space.usable_bytes);
            let quota = Some(phys.quota_bytes).filter(|quota| *quota != 0);
            let Some(limit) = of_pool.into_iter().chain(quota).min() else { continue };
            if phys.used_bytes > *used_before && phys.used_bytes > limit {
                let name = self.read().dir_name(*dir)?;
                return Err(Error::refused(
                    Errno::ENOSPC,
                    format!("{name} would use {} bytes, and is limited to {limit}", phys.used_bytes),
                ));
            }
        }
        Ok(())
    }
}

impl MosReader<'_> {
    /// What a directory and all above it use, before something moves into it; see [`check_moved`](Self::check_moved).
    pub(super) fn used_above(self, dir: ObjectId) -> Result<Vec<(ObjectId, u64)>> {
        Ok(self.line_up(dir)?.into_iter().map(|(dir, phys)| (dir, phys.used_bytes)).collect())
    }
}

fn refuse_more(name: &str, more: u64, available: Option<u64>) -> Result<()> {
    match available {
        Some(available) if more > available => Err(Error::refused(
            Errno::ENOSPC,
            format!("{name} cannot be set: {more} bytes more are asked for, and {available} are available"),
        )),
        _ => Ok(()),
    }
}
