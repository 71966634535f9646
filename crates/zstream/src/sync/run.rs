//! All datasets of a synchronization: in waves, each of which needs what the wave before it received.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Instant;

use zstream_recv::Note as ReceiveNote;
use zstream_send::Note as SendNote;

use super::SyncRequest;
use super::plan::{Plan, Rules, Step, plan};
use super::side::{Content, Sending, Source, Target};
use super::state::{Head, Point};
use super::transfer::{Limiter, transfer};
use crate::control::{Control, Event, Warning};
use crate::error::SyncFault;
use crate::error::{Error, Result};
use crate::synced::{SyncNote, SyncStream, Synced};

/// How often a dataset is planned again: after a receive was resumed or discarded.
const ROUNDS_MAX: usize = 4;

/// A dataset of the source, and where it goes.
pub(super) struct Pair {
    pub(super) source: Head,
    /// The name at the target.
    pub(super) name: String,
    pub(super) target: Option<Head>,
}

/// An event on its way from the thread of a dataset to the caller.
enum Relayed {
    Total(u64),
    Bytes(u64),
    Warning(Warning),
    Send(SendNote),
    Receive(ReceiveNote),
    Sync(SyncNote),
}

/// What happened to a dataset.
#[derive(Default)]
struct Done {
    is_behind: bool,
    snapshots: u64,
    bytes: u64,
    /// The last snapshot of the source that the target has.
    last: Option<Point>,
}

pub(super) struct Run<'a> {
    pub(super) request: &'a SyncRequest,
    pub(super) source: &'a dyn Source,
    pub(super) target: &'a dyn Target,
    pub(super) limiter: Limiter,
    /// The topmost dataset at the target.
    pub(super) top: &'a str,
    /// Names of all datasets of the source at the target.
    pub(super) names: HashMap<String, String>,
}

/// The waves of datasets, by their places: one comes after the one above it, and after that of its origin.
pub(super) fn waves(pairs: &[Pair]) -> Vec<Vec<usize>> {
    let places: HashMap<&str, usize> =
        pairs.iter().enumerate().map(|(at, pair)| (pair.source.name.as_str(), at)).collect();
    let mut wave = vec![0_usize; pairs.len()];
    // Each round settles at least one more wave. Origins cannot form a circle; of hostile ones the rounds are an end.
    for _ in 0..pairs.len() {
        for (at, Pair { source: head, .. }) in pairs.iter().enumerate() {
            let above = head.name.match_indices('/').filter_map(|(end, _)| places.get(&head.name[..end]));
            let origin = head.origin.as_deref().and_then(|origin| places.get(origin.split('@').next()?));
            let after = above.chain(origin).filter(|&&before| before != at).map(|&before| wave[before] + 1);
            wave[at] = after.max().unwrap_or(0).min(pairs.len() - 1);
        }
    }
    let mut waves = vec![Vec::new(); pairs.len()];
    wave.iter().enumerate().for_each(|(at, &wave)| waves[wave].push(at));
    waves.retain(|wave| !wave.is_empty());
    waves
}

impl Run<'_> {
    /// Synchronizes all pairs. Returns what was done, and the last snapshots that the target has.
    pub(super) fn all(
        &self,
        pairs: &[Pair],
        control: &mut Control<'_>,
    ) -> Result<(Synced, Vec<(String, Point)>)> {
        let (mut synced, mut marks, mut failed) = (Synced::default(), Vec::new(), HashSet::new());
        let mut total = 0;
        for wave in waves(pairs) {
            let wave: Vec<&Pair> = wave.into_iter().map(|at| &pairs[at]).collect();
            for (pair, done) in wave.iter().zip(self.wave(&wave, &failed, &mut total, control)?) {
                match done {
                    Ok(done) => {
                        if done.is_behind {
                            synced.behind += 1
                        } else {
                            synced.up_to_date += 1
                        }
                        synced.snapshots += done.snapshots;
                        synced.bytes += done.bytes;
                        marks.extend(done.last.map(|last| (pair.source.name.clone(), last)));
                    }
                    Err(error) => {
                        synced.failed += 1;
                        marks.extend(self.reached(pair).map(|last| (pair.source.name.clone(), last)));
                        // Nothing is received below a dataset that is missing or partial.
                        if pair.target.as_ref().is_none_or(|head| head.snapshots.is_empty()) {
                            failed.insert(pair.name.clone());
                        }
                        let (source, target) = (pair.source.name.clone(), pair.name.clone());
                        control.event(Event::Sync(SyncNote::Failed { source, target, error }));
                    }
                }
            }
            if control.is_cancelled() {
                break;
            }
        }
        Ok((synced, marks))
    }

    /// Synchronizes the datasets of a wave on several threads, and reports their events on this one.
    fn wave(
        &self,
        wave: &[&Pair],
        failed: &HashSet<String>,
        total: &mut u64,
        control: &mut Control<'_>,
    ) -> Result<Vec<Result<Done>>> {
        let jobs = if self.target.is_serial() { 1 } else { self.request.jobs.clamp(1, wave.len()) };
        let next = AtomicUsize::new(0);
        let cancel = control.cancel().clone();
        let (events, relayed) = channel();
        let work = |events: Sender<Relayed>| {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(pair) = wave.get(at) else { return done };
                let events = events.clone();
                let mut control =
                    Control::new().cancelled_by(&cancel).watched_by(|event| relay(&events, event));
                let above = failed.iter().find(|above| {
                    pair.name.strip_prefix(above.as_str()).is_some_and(|below| below.starts_with('/'))
                });
                let result = match above {
                    Some(above) => {
                        let (target, above) = (pair.name.clone(), above.clone());
                        Err(SyncFault::NoParent { target, above }.into())
                    }
                    None if cancel.is_cancelled() => Err(Error::Cancelled),
                    None => self.dataset(pair, &mut control),
                };
                done.push((at, result));
            }
        };
        let mut done = thread::scope(|scope| {
            let mut threads = Vec::new();
            for _ in 0..jobs {
                let events = events.clone();
                let thread = thread::Builder::new().name("sync".to_owned());
                threads.push(thread.spawn_scoped(scope, || work(events)).map_err(Error::Thread)?);
            }
            drop(events);
            for event in relayed {
                pass_on(event, total, control);
            }
            let joined = threads.into_iter().map(|thread| thread.join());
            let each = joined.map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            Ok::<_, Error>(each.flatten().collect::<Vec<_>>())
        })?;
        done.sort_by_key(|(at, _)| *at);
        Ok(done.into_iter().map(|(_, done)| done).collect())
    }

    /// Synchronizes a dataset.
    fn dataset(&self, pair: &Pair, control: &mut Control<'_>) -> Result<Done> {
        let mut target = pair.target.clone();
        let mut done = Done::default();
        for _ in 0..ROUNDS_MAX {
            control.cancel().check()?;
            match self.plan(pair, target.as_ref())? {
                Plan::UpToDate(last) => {
                    done.last.clone_from(&last);
                    if !done.is_behind {
                        let (source, target) = (pair.source.name.clone(), pair.name.clone());
                        let snapshot = last.map(|last| last.name);
                        control.event(Event::Sync(SyncNote::UpToDate { source, target, snapshot }));
                    }
                    return Ok(done);
                }
                Plan::Discard => {
                    control.event(Event::Sync(SyncNote::Discards { target: pair.name.clone() }));
                    if self.request.dry_run {
                        target = target.map(|head| Head { token: None, ..head });
                        continue;
                    }
                    self.target.discard(&pair.name)?;
                    target = self.again(&pair.name)?;
                }
                Plan::RollBack(to) => {
                    let note = SyncNote::RollsBack { target: pair.name.clone(), to: to.clone() };
                    control.event(Event::Sync(note));
                    if self.request.dry_run {
                        target = target.map(|head| rolled_back(head, &to));
                        continue;
                    }
                    self.target.roll_back(&format!("{}@{to}", pair.name))?;
                    target = self.again(&pair.name)?;
                }
                Plan::Resume { token, to } => {
                    self.stream(
                        pair,
                        Content::Rest { token: token.clone(), to: to.clone() },
                        &mut done,
                        control,
                    )?;
                    target = match self.request.dry_run {
                        true => target.map(|head| with(head, to)),
                        false => self.again(&pair.name)?,
                    };
                    if target.as_ref().and_then(|head| head.token.as_ref()) == Some(&token) {
                        return Err(SyncFault::Stuck { target: pair.name.clone() }.into());
                    }
                }
                Plan::Send(steps) => {
                    if target.is_none() && !self.request.dry_run {
                        self.create_above(&pair.name)?;
                    }
                    for step in steps {
                        control.cancel().check()?;
                        done.last = Some(step.to().clone());
                        self.stream(pair, Content::Step(step), &mut done, control)?;
                    }
                    return Ok(done);
                }
            }
        }
        Err(SyncFault::Stuck { target: pair.name.clone() }.into())
    }

    /// Creates what is missing between the topmost dataset of the target and this one: a dataset that has no snapshots, or is
    /// not selected.
    fn create_above(&self, name: &str) -> Result<()> {
        let above = name.rsplit_once('/').map(|(above, _)| above);
        match above.filter(|above| above.len() >= self.top.len()) {
            Some(above) if self.again(above)?.is_none() => self.target.create(above),
            _ => Ok(()),
        }
    }

    /// The last snapshot that the target has after an error, if that is to be marked.
    fn reached(&self, pair: &Pair) -> Option<Point> {
        if !self.request.has_marks() || self.request.dry_run {
            return None;
        }
        // The error itself is reported; one of this is another consequence of the same.
        let last = self.again(&pair.name).ok()??.snapshots.pop()?;
        pair.source.with_guid(last.guid).map(|known| known.point.clone())
    }

    /// The present state of the target.
    fn again(&self, name: &str) -> Result<Option<Head>> {
        // What there is to warn of was reported when the target was listed.
        Ok(self.target.list(name, false, &mut Control::new())?.into_iter().next())
    }

    fn plan(&self, pair: &Pair, target: Option<&Head>) -> Result<Plan> {
        if let Some(plan) = self.source.own_plan(&pair.source, (&pair.name, target), self.request) {
            return plan;
        }
        let origin = if target.is_none() { self.origin(&pair.source)? } else { None };
        let is_wanted = |short: &str| self.request.filter.has_snapshot(&pair.source.name, short);
        let SyncRequest { force, latest_only, .. } = *self.request;
        Ok(plan(&pair.source, target, origin, Rules { force, latest_only, is_wanted: &is_wanted })?)
    }

    /// The origin of a clone, if the target has it.
    fn origin(&self, source: &Head) -> Result<Option<(String, u64)>> {
        let Some(origin) = &source.origin else { return Ok(None) };
        let (dataset, short) = origin.split_once('@').unwrap_or_default();
        let Some(name) = self.names.get(dataset) else { return Ok(None) };
        let Some(guid) = self.source.guid(dataset, short)? else { return Ok(None) };
        let there = self.again(name)?;
        let has = there.iter().flat_map(|head| &head.snapshots).any(|point| point.guid == guid);
        Ok(has.then(|| (origin.clone(), guid)))
    }

    /// Sends a stream, or reports that it would be sent.
    fn stream(
        &self,
        pair: &Pair,
        content: Content,
        done: &mut Done,
        control: &mut Control<'_>,
    ) -> Result<()> {
        let (from, snapshots) = match &content {
            Content::Step(Step { from, snapshots, .. }) => (from.clone(), snapshots.len() as u64),
            Content::Rest { .. } => (None, 1),
        };
        let sending =
            Sending { name: pair.source.name.clone(), is_encrypted: pair.source.is_encrypted, content };
        let stream = SyncStream {
            source: pair.source.name.clone(),
            target: pair.name.clone(),
            from,
            to: sending.content.to().name.clone(),
            snapshots,
            resumed: matches!(sending.content, Content::Rest { .. }),
            estimated_bytes: self.source.estimate(&sending, self.request)?,
            dry_run: self.request.dry_run,
        };
        done.is_behind = true;
        done.snapshots += snapshots;
        control.event(Event::Sync(SyncNote::Sends(stream.clone())));
        if self.request.dry_run {
            done.bytes += stream.estimated_bytes.unwrap_or(0);
            return Ok(());
        }
        control.event(Event::Total(stream.estimated_bytes.unwrap_or(0)));
        let started = Instant::now();
        let both = (self.source, self.target);
        let bytes = transfer(both, &sending, &pair.name, self.request, &self.limiter, control)?;
        done.bytes += bytes;
        let seconds = started.elapsed().as_secs_f64();
        control.event(Event::Sync(SyncNote::Sent { stream, bytes, seconds }));
        Ok(())
    }
}

/// The target after a rollback to a snapshot.
fn rolled_back(mut head: Head, to: &str) -> Head {
    let kept = head.snapshots.iter().position(|point| point.name == to).map_or(0, |at| at + 1);
    head.snapshots.truncate(kept);
    head
}

/// The target after a receive was resumed.
fn with(mut head: Head, to: Point) -> Head {
    let txg = head.snapshots.last().map_or(0, |last| last.txg) + 1;
    head.snapshots.push(Point { txg, ..to });
    Head { token: None, ..head }
}

fn relay(events: &Sender<Relayed>, event: Event<'_>) {
    let relayed = match event {
        Event::Total(bytes) => Relayed::Total(bytes),
        Event::Bytes(bytes) => Relayed::Bytes(bytes),
        Event::Warning(warning) => Relayed::Warning(warning),
        Event::Send(note) => Relayed::Send(note),
        Event::Receive(note) => Relayed::Receive(note),
        Event::Sync(note) => Relayed::Sync(note),
        _ => return,
    };
    // The receiver lives as long as the threads.
    drop(events.send(relayed));
}

fn pass_on(event: Relayed, total: &mut u64, control: &mut Control<'_>) {
    control.event(match event {
        Relayed::Total(bytes) => {
            *total += bytes;
            Event::Total(*total)
        }
        Relayed::Bytes(bytes) => Event::Bytes(bytes),
        Relayed::Warning(warning) => Event::Warning(warning),
        Relayed::Send(note) => Event::Send(note),
        Relayed::Receive(note) => Event::Receive(note),
        Relayed::Sync(note) => Event::Sync(note),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_waits_for_its_parent_and_its_origin() {
        let pair = |(name, origin): (&str, Option<&str>)| Pair {
            source: Head { name: name.to_owned(), origin: origin.map(str::to_owned), ..Head::default() },
            name: name.to_owned(),
            target: None,
        };
        let all = [
            ("t", None),
            ("t/a", Some("t/z/y@s")),
            ("t/a/b", None),
            ("t/c", Some("elsewhere@s")),
            ("t/z", None),
            ("t/z/y", None),
        ];
        let pairs: Vec<_> = all.into_iter().map(pair).collect();
        assert_eq!(waves(&pairs), [vec![0], vec![3, 4], vec![5], vec![1], vec![2]]);
        // A circle, of hostile streams, has an end.
        let pairs: Vec<_> = [("t/a", Some("t/b@s")), ("t/b", Some("t/a@s"))].into_iter().map(pair).collect();
        assert_eq!(waves(&pairs).concat().len(), 2);
        assert!(waves(&[]).is_empty());
    }
}
