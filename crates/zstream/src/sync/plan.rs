//! The plan for one dataset: which snapshots the target lacks, and from which increments start.
//!
//! ```text
//! source     @a   @b   #c   @d   @e   @f        the newest snapshot of the target is @c, by its guid
//! target     @a        @c                       the source has it as a bookmark
//!                       |--i--|                 -i #c @d: one snapshot, since a bookmark begins it
//!                             |-----I----|      -I @d @f: the rest
//! ```
//!
//! Only the newest snapshot of the target can begin an increment. If the source has an older one, the target has snapshots of
//! its own, which only a rollback removes.

use std::ops::Range;

use zstream_format::token::ResumeToken;

use super::state::{Head, Point};
use crate::error::SyncFault;

/// A stream to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The source of the increment: `@snapshot`, `#bookmark`, or the full name of the origin of a clone.
    pub(crate) from: Option<String>,
    /// The guid of the source.
    pub(crate) from_guid: u64,
    /// The snapshots, the last of which names the stream; more than one are sent as intermediates.
    pub(crate) snapshots: Vec<Point>,
}

impl Step {
    /// The snapshot that the stream ends with.
    pub(crate) fn to(&self) -> &Point {
        self.snapshots.last().expect("a step has snapshots")
    }
}

/// What is to be done for a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The target has everything; the last snapshot in common.
    UpToDate(Option<Point>),
    /// Completes an interrupted receive; then the plan is made again.
    Resume {
        token: String,
        /// The snapshot that was being received.
        to: Point,
    },
    /// Discards an interrupted receive; then the plan is made again.
    Discard,
    /// Rolls the target back to this snapshot, because one that is sent has the name of a later one; then the plan is made
    /// again.
    RollBack(String),
    /// Sends streams, one after the other.
    Send(Vec<Step>),
}

/// Options of a plan.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// Roll back or replace what differs, and discard receives that cannot be resumed.
    pub(crate) force: bool,
    /// Only the newest snapshot.
    pub(crate) latest_only: bool,
    /// True for the short names of snapshots to send.
    pub(crate) is_wanted: &'a dyn Fn(&str) -> bool,
}

/// Makes the plan. `origin` is the origin of a clone, if the target has it.
pub(crate) fn plan(
    source: &Head,
    target: Option<&Head>,
    origin: Option<(String, u64)>,
    rules: Rules<'_>,
) -> Result<Plan, SyncFault> {
    if let Some(token) = target.and_then(|target| target.token.as_ref()) {
        return resume(source, target, token, rules);
    }
    let base = match target {
        Some(target) => base(source, target, rules)?,
        None => Base::new(origin),
    };
    let wanted = |&at: &usize| {
        let point = &source.snapshots[at];
        point.txg > base.txg && (rules.is_wanted)(&point.name)
    };
    let mut places: Vec<usize> = (0..source.snapshots.len()).filter(wanted).collect();
    if rules.latest_only {
        places.drain(..places.len().saturating_sub(1));
    }
    if places.is_empty() {
        return match target {
            Some(_) if base.guid != 0 => Ok(Plan::UpToDate(Some(base.point()))),
            _ if source.snapshots.is_empty() => Ok(Plan::UpToDate(None)),
            _ => Err(SyncFault::NothingChosen { from: source.name.clone() }),
        };
    }
    if let Some((common, later)) = &base.diverged
        && !rules.force
    {
        let target = target.map_or_else(String::new, |head| head.name.clone());
        return Err(SyncFault::Diverged {
            from: source.name.clone(),
            target,
            common: common.clone(),
            later: later.clone(),
        });
    }
    if let Some((common, later)) = &base.diverged {
        let is_taken =
            |&at: &usize| later.iter().any(|name| name.strip_prefix('@') == Some(&source.snapshots[at].name));
        if places.iter().any(is_taken) {
            return Ok(Plan::RollBack(common.trim_start_matches('@').to_owned()));
        }
    }
    Ok(Plan::Send(steps(source, &base, &places)))
}

fn resume(source: &Head, target: Option<&Head>, token: &str, rules: Rules<'_>) -> Result<Plan, SyncFault> {
    let guid = ResumeToken::parse(token).ok().map(|token| token.to_guid);
    let to = source.snapshots.iter().find(|point| Some(point.guid) == guid);
    match to {
        Some(to) => Ok(Plan::Resume { token: token.to_owned(), to: to.clone() }),
        None if rules.force => Ok(Plan::Discard),
        None => Err(SyncFault::OtherReceive {
            from: source.name.clone(),
            target: target.map_or_else(String::new, |head| head.name.clone()),
        }),
    }
}

/// Where increments begin.
#[derive(Debug, Default)]
struct Base {
    from: Option<String>,
    name: String,
    guid: u64,
    /// Snapshots of the source up to here are not sent.
    txg: u64,
    is_snapshot: bool,
    /// The last snapshot in common, and those of the target after it.
    diverged: Option<(String, Vec<String>)>,
}

impl Base {
    fn new(origin: Option<(String, u64)>) -> Self {
        match origin {
            Some((name, guid)) => Self { from: Some(name.clone()), name, guid, ..Self::default() },
            None => Self::default(),
        }
    }

    fn point(&self) -> Point {
        Point { name: self.name.clone(), guid: self.guid, txg: self.txg }
    }
}

/// The newest snapshot of the target that the source knows.
fn base(source: &Head, target: &Head, rules: Rules<'_>) -> Result<Base, SyncFault> {
    let (of_source, of_target) = (source.name.clone(), target.name.clone());
    if target.snapshots.is_empty() {
        return match rules.force || source.snapshots.is_empty() {
            true => Ok(Base::default()),
            false => Err(SyncFault::Occupied { target: of_target }),
        };
    }
    let known = target.snapshots.iter().enumerate().rev();
    let mut known = known.filter_map(|(at, point)| Some((at, source.with_guid(point.guid)?)));
    let Some((at, found)) = known.next() else {
        return Err(SyncFault::NothingInCommon { from: of_source, target: of_target });
    };
    let later: Vec<String> =
        target.snapshots[at + 1..].iter().map(|point| format!("@{}", point.name)).collect();
    Ok(Base {
        from: Some(found.signed()),
        name: found.point.name.clone(),
        guid: found.point.guid,
        txg: found.point.txg,
        is_snapshot: !found.is_bookmark,
        diverged: (!later.is_empty()).then(|| (format!("@{}", target.snapshots[at].name), later)),
    })
}

/// The streams that bring the snapshots at these places. Neighbours are in one stream, if a snapshot begins it.
fn steps(source: &Head, base: &Base, places: &[usize]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut from = (base.from.clone(), base.guid);
    let of_base = source.snapshots.iter().position(|point| point.guid == base.guid && base.is_snapshot);
    let mut before = of_base;
    for run in runs(places) {
        let mut run = run;
        // A full stream and one from a bookmark or origin have one snapshot.
        let single = before.is_none() || before != run.start.checked_sub(1);
        let ends = match (single, run.len()) {
            (true, 2..) => vec![run.start + 1, run.end],
            _ => vec![run.end],
        };
        for end in ends {
            let snapshots = source.snapshots[run.start..end].to_vec();
            let last = source.snapshots[end - 1].clone();
            steps.push(Step { from: from.0.take(), from_guid: from.1, snapshots });
            from = (Some(format!("@{}", last.name)), last.guid);
            (run.start, before) = (end, Some(end - 1));
        }
    }
    steps
}

/// Runs of neighbours in ascending numbers.
fn runs(places: &[usize]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for &at in places {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end += 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests;
