//! Limits on the number of filesystems and snapshots, on reservations, and on the space of received data.
//!
//! Filesystems and snapshots are counted once the pool has a limit, in the directory with the limit and in all below
//! (`dsl_dir_activate_fs_ss_limit`). Users who may set a limit may also exceed it, so that nothing is refused here.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::zap::Value;
use zstream_format::errno::Errno;

use super::Tx;
use super::make::{FILESYSTEM_COUNT, SNAPSHOT_COUNT};
use crate::error::{Error, Result};
use crate::reader::{DEPTH_MAX, MosReader};

/// The feature for these counts.
pub(super) const LIMITS: &str = "filesystem_limits";

/// The bytes by which a receive may exceed a refquota: the writes that may be in progress at once in OpenZFS
/// (`spa_asize_inflation` times the size of a transaction group's smallest limit).
pub(super) const REFQUOTA_SLACK_BYTES: u64 = 24 * (64 << 20);

impl Tx<'_> {
    /// Starts to count in a directory, unless that was done before.
    pub(super) fn begin_counting(&mut self, dir: ObjectId) -> Result<()> {
        self.read().require_feature(LIMITS)?;
        if !self.read().feature_active(LIMITS)? {
            self.feature_add(LIMITS, 1)?;
        }
        self.count_below(dir, DEPTH_MAX).map(drop)
    }

    /// Counts the filesystems below a directory, and its snapshots with those below. Existing counts are reused.
    pub(super) fn count_below(&mut self, dir: ObjectId, depth: usize) -> Result<(u64, u64)> {
        if let Some(filesystems) = self.read().entry(dir, FILESYSTEM_COUNT)? {
            let snapshots = self.read().entry(dir, SNAPSHOT_COUNT)?.map_or(Ok(0), |count| count.u64())?;
            return Ok((filesystems.u64()?, snapshots));
        }
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| Error::corrupt("DSL directory", format!("{dir} is in a loop of directories")))?;
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

    /// Checks that a directory with all below it does not reserve more than is available. A pool whose space is unknown
    /// allows every reservation.
    pub(super) fn check_reservation(&self, dir: ObjectId, bytes: u64) -> Result<()> {
        let phys = self.read().dir(dir)?;
        let more = bytes.max(phys.used_bytes).saturating_sub(phys.reserved_bytes.max(phys.used_bytes));
        let available = match phys.parent {
            Some(parent) => self.available(parent)?,
            None => self.pool_space.map(|space| space.usable_bytes.saturating_sub(phys.used_bytes)),
        };
        refuse_more("reservation", more, available)
    }

    /// Checks that a head alone does not reserve more than is available.
    pub(super) fn check_refreservation(&self, head: ObjectId, bytes: u64) -> Result<()> {
        let phys = self.read().dataset(head)?;
        let unique = phys.unique_bytes;
        let more = bytes.max(unique).saturating_sub(self.read().refreservation(head)?.max(unique));
        refuse_more("refreservation", more, self.available(phys.dir)?)
    }

    /// Checks that there is space to reserve the used part of a head's refreservation again, as a snapshot or a swap of
    /// its content requires (`dsl_dataset_snapshot_reserve_space`, `dsl_dataset_clone_swap_check_impl`; the first does
    /// not require less than the second).
    pub(super) fn check_refreserved(&self, head: ObjectId) -> Result<()> {
        let phys = self.read().dataset(head)?;
        let more = self.read().refreservation(head)?.min(phys.unique_bytes);
        match self.available(phys.dir)? {
            Some(available) if more > available => {
                let name = self.read().full_name(head)?;
                Err(Error::refused(
                    Errno::ENOSPC,
                    format!(
                        "the refreservation of {name} requires {more} bytes more, but {available} are available"
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Returns the bytes that a directory and those below it can still use (`dsl_dir_space_available`); `None` if that is
    /// unknown.
    pub(super) fn available(&self, dir: ObjectId) -> Result<Option<u64>> {
        let Some(space) = self.pool_space else { return Ok(None) };
        let mut above = None;
        for (_, phys) in self.read().line_up(dir)?.into_iter().rev() {
            let quota = if phys.quota_bytes == 0 { u64::MAX } else { phys.quota_bytes };
            above = Some(match above {
                None => quota.min(space.usable_bytes).saturating_sub(phys.used_bytes),
                Some(above) => {
                    // Space that is reserved for the directory is available to it, but not to others.
                    let reserved = phys.reserved_bytes.saturating_sub(phys.used_bytes);
                    reserved.saturating_add(above).min(quota.saturating_sub(phys.used_bytes))
                }
            });
        }
        Ok(above)
    }

    /// Checks that a moved directory fits below quotas and into the pool, where reservations count again
    /// (`dsl_dir_transfer_possible`). `before` is the space used before the move: a directory that uses no more may
    /// stay above its quota.
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
                    format!("{name} would use {} bytes, limit {limit}", phys.used_bytes),
                ));
            }
        }
        Ok(())
    }

    /// Checks that the synced changes do not exceed a quota of the filled directory or of one above it, or the pool's
    /// space with reservations (`dsl_dir_tempreserve_impl`).
    ///
    /// # Errors
    /// Fails with `EDQUOT` or `ENOSPC` if they do.
    pub fn check_quotas(&self, filled: ObjectId) -> Result<()> {
        for (dir, phys) in self.read().line_up(self.read().dataset(filled)?.dir)? {
            let usable = self.pool_space.filter(|_| phys.parent.is_none()).map(|space| space.usable_bytes);
            if let Some(usable) = usable.filter(|usable| phys.used_bytes > *usable) {
                let used = phys.used_bytes;
                return Err(Error::refused(
                    Errno::ENOSPC,
                    format!("the pool would use {used} bytes of {usable}, reservations included"),
                ));
            }
            if phys.quota_bytes != 0 && phys.used_bytes > phys.quota_bytes {
                let name = self.read().dir_name(dir)?;
                return Err(Error::refused(Errno::EDQUOT, format!("the data exceeds the quota of {name}")));
            }
        }
        Ok(())
    }

    /// Checks that received content of so many bytes fits the refquota of a head, which a receive may exceed a little.
    ///
    /// # Errors
    /// Fails with `EDQUOT` if it does not.
    pub fn check_received_refquota(&self, head: ObjectId, referenced: u64) -> Result<()> {
        self.check_refquota(head, referenced.saturating_sub(REFQUOTA_SLACK_BYTES))
    }

    /// Checks that content of so many bytes fits the refquota of a head.
    ///
    /// # Errors
    /// Fails with `EDQUOT` if it does not.
    pub fn check_refquota(&self, head: ObjectId, referenced: u64) -> Result<()> {
        let quota = self.read().number_property(self.read().dataset(head)?.dir, "refquota")?;
        if quota != 0 && referenced > quota {
            let head = self.read().full_name(head)?;
            return Err(Error::refused(Errno::EDQUOT, format!("the data exceeds the refquota of {head}")));
        }
        Ok(())
    }
}

impl MosReader<'_> {
    /// Returns the space that a directory and all above it use before a move into it; see
    /// [`check_moved`](Tx::check_moved).
    pub(super) fn used_above(self, dir: ObjectId) -> Result<Vec<(ObjectId, u64)>> {
        Ok(self.line_up(dir)?.into_iter().map(|(dir, phys)| (dir, phys.used_bytes)).collect())
    }
}

fn refuse_more(name: &str, more: u64, available: Option<u64>) -> Result<()> {
    match available {
        Some(available) if more > available => Err(Error::refused(
            Errno::ENOSPC,
            format!("{name} requires {more} bytes more, but {available} are available"),
        )),
        _ => Ok(()),
    }
}
