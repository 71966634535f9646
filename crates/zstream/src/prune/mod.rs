//! Destruction of old snapshots by a [`Policy`]: what stays, why, and what the rest frees.

mod policy;

use std::collections::HashSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zstream_dmu::pool::WriteOptions;
use zstream_dsl::OpenMos;
use zstream_dsl::dataset::Dataset;
use zstream_dsl::error::Error as DatasetError;
use zstream_dsl::prop::nice_bytes;
use zstream_dsl::write::WritablePool;
use zstream_format::errno::Errno;
use zstream_format::ids::Guid;

use self::policy::Candidate;
pub use self::policy::{Keep, Period, Policy, Reason, Within};
use crate::control::Control;
use crate::error::{Error, Request, Result};
use crate::place::PoolPlace;
use crate::place::pool::{leave, unsearched};
use crate::text::{Column, Count, table};

/// A request to destroy the snapshots of datasets that a policy does not keep.
///
/// The times of a policy are those of the calendar of the local time zone (the variable `TZ`, or that of the system), and
/// apply to the creation of a snapshot at its origin. Snapshots that have holds or clones are kept in any case.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PruneRequest {
    /// Filesystems and volumes; the policy applies to each by itself.
    pub names: Vec<String>,
    /// The snapshots to keep.
    pub policy: Policy,
    /// Include all descendants.
    pub recursive: bool,
    /// Change nothing.
    pub dry_run: bool,
}

/// The result of [`PruneRequest::run`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Pruned {
    /// The datasets, in the order of the request.
    pub datasets: Vec<PrunedDataset>,
    /// True if nothing was changed.
    pub dry_run: bool,
}

/// The snapshots of a dataset.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PrunedDataset {
    /// The dataset.
    pub name: String,
    /// Its snapshots, the newest first.
    pub snapshots: Vec<Verdict>,
}

/// A snapshot that stays, or is destroyed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// Its full name.
    pub name: String,
    /// Its guid.
    pub guid: Guid,
    /// The time of its creation, in seconds since 1970.
    pub creation: u64,
    /// The reasons that it stays; if there are none, it is destroyed.
    pub reasons: Vec<Reason>,
    /// The bytes that are freed when it is destroyed, after all that are newer.
    pub freed_bytes: u64,
}

impl Verdict {
    /// True if it stays.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }
}

impl PruneRequest {
    /// Destroys the snapshots in one transaction group, logs `command` in the history of the pool, and exports it. Without
    /// a snapshot to destroy, the pool is not changed.
    ///
    /// # Errors
    /// The policy is empty, or keeps no snapshot of a dataset; a dataset does not exist; the pool cannot be changed.
    /// Nothing is destroyed then.
    pub fn run(&self, place: &PoolPlace, command: &str, control: &mut Control<'_>) -> Result<Pruned> {
        if self.policy.is_empty() {
            return Err(Request::NoPolicy.into());
        }
        if let Some(name) = self.names.iter().find(|name| name.contains(['@', '#'])) {
            return Err(Request::NotWritable(name.clone()).into());
        }
        let writing = WriteOptions { rehearsal: self.dry_run, ..WriteOptions::default() };
        let mut pool = place.open_writable(self.names.first().map(String::as_str), writing, None)?;
        unsearched(&pool).for_each(|warning| control.warn(warning));
        let mut pruned = Pruned { datasets: self.judge(&pool)?, dry_run: self.dry_run };
        control.cancel().check()?;
        destroy(&mut pool, &mut pruned)?;
        if !self.dry_run && pruned.destroyed().next().is_some() {
            control.cancel().check()?;
            leave(pool, Some(command))?;
        }
        Ok(pruned)
    }

    /// What stays, and why.
    fn judge(&self, pool: &WritablePool) -> Result<Vec<PrunedDataset>> {
        let (now, zone) = (pool.pool().now(), TimeZone::system());
        let (mut seen, mut datasets) = (HashSet::new(), Vec::new());
        for name in &self.names {
            let head = pool
                .dsl()
                .head(name)
                .map_err(|error| Error::Open { name: name.clone(), source: error.into() })?;
            let mut heads = Vec::new();
            if self.recursive {
                head.dir().walk(&mut |dir| {
                    heads.push(dir.head()?);
                    Ok(())
                })?;
            } else {
                heads.push(head);
            }
            for head in heads {
                if seen.insert(head.object()) {
                    datasets.push(self.judge_dataset(&head, now, &zone)?);
                }
            }
        }
        Ok(datasets)
    }

    fn judge_dataset(&self, head: &Dataset<OpenMos<'_>>, now: u64, zone: &TimeZone) -> Result<PrunedDataset> {
        let mut snapshots = head.snapshots()?;
        // The newest first, by the times that the policy sees.
        snapshots.reverse();
        snapshots.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.phys().creation_time));
        let mut candidates = Vec::new();
        for snapshot in &snapshots {
            let holds = snapshot.holds()?.into_iter().map(|hold| hold.tag).collect();
            candidates.push(Candidate { creation: snapshot.phys().creation_time, holds });
        }
        let reasons = self.policy.reasons(&candidates, now, zone);
        let mut verdicts = Vec::new();
        for ((snapshot, candidate), mut reasons) in snapshots.iter().zip(candidates).zip(reasons) {
            let held = candidate.holds.into_iter().filter(|tag| !self.policy.tags.contains(tag));
            reasons.extend(held.map(Reason::Held));
            reasons.extend(snapshot.clones()?.into_iter().map(Reason::Origin));
            verdicts.push(Verdict {
                name: snapshot.name().to_owned(),
                guid: snapshot.phys().guid,
                creation: candidate.creation,
                reasons,
                freed_bytes: 0,
            });
        }
        if !verdicts.is_empty() && !verdicts.iter().any(Verdict::is_kept) {
            let text = "the policy keeps none of its snapshots: destroy them by name if that is intended";
            return Err(cannot_prune(head.name(), DatasetError::refused(Errno::EINVAL, text)));
        }
        Ok(PrunedDataset { name: head.name().to_owned(), snapshots: verdicts })
    }
}

fn cannot_prune(name: &str, source: DatasetError) -> Error {
    Error::Change { action: format!("prune '{name}'"), source: source.into() }
}

/// Destroys what does not stay, and counts what each snapshot frees.
fn destroy(pool: &mut WritablePool, pruned: &mut Pruned) -> Result<()> {
    let mut tx = pool.tx();
    let mut before = tx.dsl().root()?.phys().used_bytes;
    for PrunedDataset { name, snapshots } in &mut pruned.datasets {
        for verdict in snapshots.iter_mut().filter(|verdict| !verdict.is_kept()) {
            tx.destroy_snapshots(std::slice::from_ref(&verdict.name), false)
                .map_err(|source| cannot_prune(name, source))?;
            let after = tx.dsl().root()?.phys().used_bytes;
            verdict.freed_bytes = before.saturating_sub(after);
            before = after;
        }
    }
    Ok(())
}

impl Pruned {
    /// The snapshots that are destroyed.
    pub fn destroyed(&self) -> impl Iterator<Item = &Verdict> {
        self.datasets.iter().flat_map(|dataset| &dataset.snapshots).filter(|verdict| !verdict.is_kept())
    }

    /// The bytes that are freed.
    #[must_use]
    pub fn freed_bytes(&self) -> u64 {
        self.destroyed().map(|verdict| verdict.freed_bytes).sum()
    }

    /// A table of all snapshots, and the sum, in local time.
    #[must_use]
    pub fn text(&self) -> String {
        self.text_in(&TimeZone::system())
    }

    fn text_in(&self, zone: &TimeZone) -> String {
        let time = |seconds: u64| {
            let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
            time.map_or_else(
                || seconds.to_string(),
                |time| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string(),
            )
        };
        let row = |verdict: &Verdict| {
            let reasons: Vec<_> = verdict.reasons.iter().map(ToString::to_string).collect();
            let (action, frees, reasons) = match verdict.is_kept() {
                true => ("keep", "-".to_owned(), reasons.join(", ")),
                false => ("destroy", nice_bytes(verdict.freed_bytes), "-".to_owned()),
            };
            vec![verdict.name.clone(), time(verdict.creation), action.to_owned(), frees, reasons]
        };
        let snapshots = || self.datasets.iter().flat_map(|dataset| &dataset.snapshots);
        let columns = ["SNAPSHOT", "CREATED", "ACTION", "FREES", "REASONS"]
            .map(|heading| Column { right: heading == "FREES", ..Column::new(heading) });
        let rows: Vec<_> = snapshots().map(row).collect();
        let all = rows.len() as u64;
        let count = self.destroyed().count();
        let bytes = nice_bytes(self.freed_bytes());
        let mut text = table(&columns, &rows, false);
        text += &match (count, self.dry_run) {
            (0, _) => format!("nothing to destroy: kept {}\n", Count(all, "snapshot")),
            (_, true) => format!("would destroy {count} of {} and free {bytes}\n", Count(all, "snapshot")),
            (_, false) => format!("destroyed {count} of {} and freed {bytes}\n", Count(all, "snapshot")),
        };
        text
    }
}
