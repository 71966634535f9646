//! Limits on the number of filesystems and snapshots, on reservations, and on the space of received data.
//!
//! Filesystems and snapshots are counted once the pool has a limit, in the directory with the limit and in all below
//! (`dsl_dir_activate_fs_ss_limit`). Users who may set a limit may also exceed it, so that nothing is refused here.

use std::collections::HashSet;

use zstream_dmu::ids::ObjectId;
use zstream_dmu::zap::Value;
use zstream_format::errno::Errno;

use super::Tx;
use super::make::{FILESYSTEM_COUNT, SNAPSHOT_COUNT};
use super::usage::accounted_change;
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
        self.pool_space.map(|space| self.read().available_of(space.usable_bytes, dir, None)).transpose()
    }

    /// Checks that so much used space can move from one directory into another: it has to fit below the quotas there,
    /// and into the pool, where a reservation that the move leaves unused counts again (`dsl_dir_transfer_possible`).
    ///
    /// # Errors
    /// Fails with `ENOSPC` if it does not fit.
    pub(super) fn check_transfer(&self, from: ObjectId, to: ObjectId, bytes: u64) -> Result<()> {
        let targets: HashSet<_> = self.read().line_up(to)?.into_iter().map(|(dir, _)| dir).collect();
        let (mut change, mut meeting) = (-(bytes as i64), None);
        for (dir, phys) in self.read().line_up(from)? {
            if targets.contains(&dir) {
                meeting = Some((dir, change.unsigned_abs()));
                break;
            }
            change = accounted_change(phys.used_bytes, phys.reserved_bytes, change);
        }
        let usable = self.pool_space.map_or(u64::MAX, |space| space.usable_bytes);
        let available = self.read().available_of(usable, to, meeting)?;
        if available >= bytes {
            return Ok(());
        }
        let to = self.read().dir_name(to)?;
        let text = format!("{to} requires {bytes} bytes more, but {available} are available");
        Err(Error::refused(Errno::ENOSPC, text))
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
    /// Returns the bytes that a directory and those below it can still use in a pool with so many usable bytes. `freed`
    /// names a directory above it, and the bytes that will no longer be used below that one.
    fn available_of(self, usable: u64, dir: ObjectId, freed: Option<(ObjectId, u64)>) -> Result<u64> {
        let mut above = None;
        for (dir, phys) in self.line_up(dir)?.into_iter().rev() {
            let quota = if phys.quota_bytes == 0 { u64::MAX } else { phys.quota_bytes };
            let freed = freed.filter(|(at, _)| *at == dir).map_or(0, |(_, bytes)| bytes);
            let used = phys.used_bytes.saturating_sub(freed);
            above = Some(match above {
                None => quota.min(usable).saturating_sub(used),
                Some(above) => {
                    // Space that is reserved for the directory is available to it, but not to others.
                    let reserved = phys.reserved_bytes.saturating_sub(phys.used_bytes);
                    let above: u64 = u64::saturating_add(reserved, above);
                    above.saturating_add(freed).min(quota.saturating_sub(used))
                }
            });
        }
        Ok(above.unwrap_or(usable))
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
