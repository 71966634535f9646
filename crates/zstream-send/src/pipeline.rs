//! The stages of a send, and how they are joined (`dmu_send_impl`).
//!
//! ```text
//!  changes of the source ──┐
//!  redaction list ─────────┼─ merge ── expand ──[ window: load ]── encode ── output
//!  base's redaction list ──┘
//!        one thread finds ranges        workers load          the caller's thread writes
//! ```
//!
//! With one thread, that of the caller does everything without a window; the output is the same.

use std::collections::VecDeque;
use std::io::Write;
use std::num::NonZero;
use std::thread;

use zstream_dmu::ids::{BlockId, ObjectId, Txg};

use crate::begin;
use crate::changes::Changes;
use crate::encode::Encoder;
use crate::error::{Error, Fault, Result};
use crate::expand::Expand;
use crate::load::Loader;
use crate::merge::{Flow, Merge};
use crate::output::Output;
use crate::plan::{Source, StreamPlan};
use crate::progress::{Progress, Sent};
use crate::range::{DNODES_PER_BLOCK, What};
use crate::redactions::redactions;
use crate::window::{Batch, Next, Weight, Window};

/// Writes the stream that `plan` describes: one substream, from BEGIN to END. After an error, the output is the start
/// of that stream.
///
/// # Errors
/// Fails if the dataset cannot be read ([`Fault::Read`]) or does not allow this stream, and if `out` fails
/// ([`Fault::Output`], also if its reader closed it).
pub fn send(plan: &StreamPlan, out: &mut dyn Write, progress: &Progress) -> Result<Sent> {
    run(plan, Some(out), progress)
}

/// Returns the exact size of the stream that [`send`] would write, with a traversal that reads no data (`zfs send -n`
/// only estimates it).
///
/// # Errors
/// Fails like [`send`].
pub fn measure(plan: &StreamPlan, progress: &Progress) -> Result<Sent> {
    run(plan, None, progress)
}

/// Sends to `out`, or only measures if that is `None`.
fn run<'a>(plan: &'a StreamPlan, out: Option<&'a mut dyn Write>, progress: &'a Progress) -> Result<Sent> {
    let features = begin::features(plan)?;
    let from = resume_point(plan)?;
    let floor = plan.base.as_ref().map_or(Txg(0), |base| base.creation_txg);
    let unmodified_spill = plan.options.unmodified_spill_blocks.then_some(floor);
    let raw = features.contains(zstream_format::flags::FeatureFlags::RAW);
    if raw != plan.source.objset.is_locked() {
        let how = if raw { "without" } else { "with" };
        return Err(Error::bad_plan(format!("this stream requires a dataset that is opened {how} its key")));
    }

    let changes = Changes::new(&plan.source, raw, floor, from, progress);
    let redact: Flow<'_> = match &plan.redact {
        Some(list) => redactions(list, from, |blocks| What::Redact { block_bytes: blocks.block_bytes })?,
        None => Box::new(std::iter::empty()),
    };
    let base: Flow<'_> = match plan.base.as_ref().and_then(|base| base.redaction_list.as_ref()) {
        Some(list) => redactions(list, from, |_| What::PreviouslyRedacted)?,
        None => Box::new(std::iter::empty()),
    };
    let ranges = Expand {
        ranges: Merge::new(redact, Box::new(changes), base),
        objset: &plan.source.objset,
        unmodified_spill,
        first_object: from.map_or(0, |(object, _)| object.0),
        ready: VecDeque::new(),
        rest: None,
        failed: false,
    };

    let loader = Loader::new(&plan.source.objset, features, &plan.options, out.is_none());
    let mut output = Output::new(out, progress);
    begin::begin(plan, features, &mut output)?;
    let mut encoder =
        Encoder::new(output, features, plan.source.guid, unmodified_spill, objects_end(&plan.source));
    let outcome = match threads(plan, &loader) {
        1 => alone(plan, ranges, &loader, &mut encoder, progress),
        workers => together(plan, workers, ranges, &loader, &mut encoder, progress),
    };
    match outcome {
        Ok(()) => encoder.finish(plan.source.saved),
        Err(error) => {
            encoder.give_up();
            Err(error)
        }
    }
}

/// Returns the exclusive end of the object numbers for which the source has room.
fn objects_end(source: &Source) -> u64 {
    let blocks = source.objset.phys().meta_dnode.max_block.0.saturating_add(1);
    blocks.saturating_mul(DNODES_PER_BLOCK)
}

/// Returns the first object and block to send.
fn resume_point(plan: &StreamPlan) -> Result<Option<(ObjectId, BlockId)>> {
    let Some(resume) = plan.resume.filter(|_| begin::is_resuming(plan)) else { return Ok(None) };
    if resume.object.0 == 0 {
        return Err(Error::bad_plan("a stream cannot be resumed at object 0"));
    }
    let dnode = plan.source.objset.dnode(resume.object)?;
    Ok(Some((resume.object, BlockId(resume.offset / dnode.block_bytes()))))
}

/// Returns the number of threads that load; 1 means that the thread of the caller does everything.
fn threads(plan: &StreamPlan, loader: &Loader) -> usize {
    match plan.options.threads {
        _ if loader.dry => 1,
        // The traversal reads ahead in rayon's thread pool. A thread of that pool must not wait for it.
        _ if rayon::current_thread_index().is_some() => 1,
        0 => thread::available_parallelism().map_or(1, NonZero::get),
        threads => threads,
    }
}

fn check(progress: &Progress) -> Result<()> {
    if progress.is_cancelled() { Err(Fault::Cancelled.into()) } else { Ok(()) }
}

fn alone(
    plan: &StreamPlan,
    ranges: Expand<'_>,
    loader: &Loader,
    encoder: &mut Encoder<'_>,
    progress: &Progress,
) -> Result<()> {
    batches(plan, ranges, loader, |batch| {
        check(progress)?;
        let mut loaded = batch.load(loader);
        encoder.encode(&mut loaded)?;
        loader.recycle(loaded);
        Ok(true)
    })
}

fn together(
    plan: &StreamPlan,
    workers: usize,
    ranges: Expand<'_>,
    loader: &Loader,
    encoder: &mut Encoder<'_>,
    progress: &Progress,
) -> Result<()> {
    let window = &Window::new(&plan.options);
    thread::scope(|scope| {
        // When this scope is left, also by a panic, the other threads stop.
        let _stop = Stop(window);
        let spawn = |name: &str| thread::Builder::new().name(format!("send-{name}"));
        let find = move || {
            let _stop = StopOnPanic(window);
            window.end(batches(plan, ranges, loader, |batch| Ok(window.push(batch))).err());
        };
        spawn("find").spawn_scoped(scope, find).map_err(Fault::Thread)?;
        for _ in 0..workers {
            let load = move || {
                let _stop = StopOnPanic(window);
                while let Some(job) = window.take() {
                    window.load(job, loader);
                }
            };
            spawn("load").spawn_scoped(scope, load).map_err(Fault::Thread)?;
        }
        consume(window, loader, encoder, progress)
    })
}

/// Finds ranges until there are no more, or `take` returns `false`.
fn batches(
    plan: &StreamPlan,
    ranges: Expand<'_>,
    loader: &Loader,
    mut take: impl FnMut(Batch) -> Result<bool>,
) -> Result<()> {
    let mut batch = Batch::default();
    for range in ranges {
        match range {
            Ok(range) => {
                let weight = Weight::of(&range, loader);
                batch.push(range, weight);
            }
            Err(error) => {
                take(batch)?;
                return Err(error);
            }
        }
        if batch.is_full(&plan.options) && !take(std::mem::take(&mut batch))? {
            return Ok(());
        }
    }
    // An empty batch is harmless.
    take(batch).map(|_| ())
}

fn consume(window: &Window, loader: &Loader, encoder: &mut Encoder<'_>, progress: &Progress) -> Result<()> {
    loop {
        check(progress)?;
        match window.next() {
            Next::Loaded(mut batch) => {
                encoder.encode(&mut batch)?;
                loader.recycle(batch);
            }
            Next::Help(job) => window.load(job, loader),
            Next::End(None) => return Ok(()),
            Next::End(Some(error)) => return Err(error),
        }
    }
}

/// A guard that stops the other threads when it is dropped.
struct Stop<'a>(&'a Window);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A guard that stops the other threads when its thread panics.
struct StopOnPanic<'a>(&'a Window);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}
