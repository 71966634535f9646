//! A receive that fails at any of its steps: every call of the device, from opening the pool to leaving it and cleaning up
//! included, fails once, or the device is dead from there on; or there is no room from some block on.
//!
//! Afterwards the pool holds what it held before, or the snapshot, or with `-s` what can be resumed; nobody holds the device;
//! and a second receive succeeds.

use std::sync::Arc;

use zstream_dmu::device::{Device, FileDevice};
use zstream_dmu::pool::PoolWriter;
use zstream_dmu::pool::scan::examine;
use zstream_dmu::testing::{FailingCalls, FaultyDevice, OverlayDevice, failpoint};
use zstream_dmu::vdev::Member;
use zstream_dsl::write::WritablePool;
use zstream_recv::error::Result;
use zstream_recv::{Host, Input, Note, Receiving, Request};
use zstream_tests::created::{open, open_writable, write_options};
use zstream_tests::every;
use zstream_tests::golden;
use zstream_tests::receiving::{Demo, check, target};
use zstream_tests::sending::{Sending, resume, stream};
use zstream_tests::state::{State, difference, tree, whole};

/// Follows which snapshot is being received, as the program does.
#[derive(Default)]
struct Follower {
    current: Option<String>,
    /// How many steps were taken when each record had been applied.
    steps: Vec<u64>,
}

impl Host for Follower {
    fn create_filesystem(&mut self, _: &mut WritablePool, name: &str) -> Result<()> {
        panic!("{name} is there already")
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Begins { to, .. } => self.current = Some(to),
            Note::Received(_) => self.current = None,
            _ => {}
        }
    }

    fn progress(&mut self, _: u64) {
        self.steps.push(failpoint::taken());
    }
}

/// A receive, and how it is gone on with where it is interrupted.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) stream: Vec<u8>,
    pub(crate) request: Request,
    /// The words that send the same from the golden pool, for what can be resumed.
    pub(crate) words: &'static str,
    /// There are several snapshots in it.
    pub(crate) is_package: bool,
}

pub(crate) fn case(name: &'static str, stream: &str, to: &str) -> Case {
    let request = Request { to: to.to_owned(), ..Request::default() };
    Case { name, stream: golden::stream(stream), request, words: "", is_package: false }
}

/// Opens the pool for writing as the program does.
fn opened(device: &Arc<dyn Device>) -> std::result::Result<WritablePool, String> {
    let text = |error: zstream_dsl::error::Error| error.to_string();
    let mut pool =
        open_writable(&[Arc::clone(device)], &write_options()).map_err(|error| error.to_string())?;
    pool.destroy_unresumable().map_err(text)?;
    Ok(pool)
}

/// What the program does with a pool: opens it, receives, and cleans up after a failure.
pub(crate) fn run(
    device: &Arc<dyn Device>,
    stream: &[u8],
    request: &Request,
) -> std::result::Result<(), String> {
    run_in(opened(device)?, device, stream, request, &mut Follower::default())
}

/// The same, where nothing fails. How many [steps](failpoint) were taken when each record had been applied.
pub(crate) fn count_steps(device: &Arc<dyn Device>, stream: &[u8], request: &Request) -> Vec<u64> {
    let mut host = Follower::default();
    let pool = opened(device).expect("a pool");
    run_in(pool, device, stream, request, &mut host).expect("nothing fails");
    host.steps
}

/// The same in a pool that is open already.
fn run_in(
    mut pool: WritablePool,
    device: &Arc<dyn Device>,
    stream: &[u8],
    request: &Request,
    host: &mut Follower,
) -> std::result::Result<(), String> {
    let text = |error: zstream_dsl::error::Error| error.to_string();
    let mut receiving = Receiving::new(&mut pool);
    let result = receiving.receive_all(&mut Input::new(stream), request, host);
    if receiving.finish() {
        drop(pool);
        let mut pool = opened(device)?;
        if let Some(name) = host.current.take().filter(|_| !request.resumable) {
            let dataset = name.split('@').next().unwrap_or_default();
            Receiving::new(&mut pool).discard(dataset).map_err(|error| error.to_string())?;
        }
        pool.export().map_err(text)?;
    } else {
        pool.export().map_err(text)?;
    }
    result.map(drop).map_err(|error| format!("{error} [{}]", error.errno()))
}

pub(crate) fn reading(device: &Arc<dyn Device>) -> Sending {
    Sending::of(open(&[Arc::clone(device)]).expect("a pool"))
}

/// The device of a pool, to be written over in memory.
pub(crate) fn base(demo: &Demo) -> Arc<dyn Device> {
    Arc::new(FileDevice::open(&demo.members()[0]).expect("a member"))
}

pub(crate) fn over(base: &Arc<dyn Device>) -> Arc<dyn Device> {
    Arc::new(OverlayDevice::new(Arc::clone(base)))
}

/// Takes back what was left, as the next program does that opens the pool for writing.
pub(crate) fn open_and_leave(device: &Arc<dyn Device>) {
    opened(device).expect("a pool").export().expect("nothing fails any more");
}

/// What is to be seen after a failure.
pub(crate) struct Expected {
    pub(crate) before: State,
    /// The tree after each snapshot that the stream brings.
    pub(crate) done: State,
}

fn fails_everywhere(base: &Arc<dyn Device>, case: &Case, sampled: usize) {
    let tank = Sending::open(&golden::pool("tank"));
    let complete = over(base);
    let counted = Arc::new(FaultyDevice::new(Arc::clone(&complete), FailingCalls::Once(u64::MAX)));
    run(&(Arc::clone(&counted) as Arc<dyn Device>), &case.stream, &case.request)
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let calls = counted.calls();
    let expected = Expected { before: whole(&reading(base)), done: tree(&reading(&complete), "demo") };
    assert!(calls > 60, "{}: {calls} calls", case.name);
    let (mut failed, mut kept) = (0, 0);
    // The steps are coprime to what a transaction group does again and again.
    for call in (0..calls).step_by(every::step(sampled)) {
        for plan in [FailingCalls::Once(call), FailingCalls::From(call)] {
            let what = format!("{}: {plan:?} of {calls}", case.name);
            let device = over(base);
            let faulty = Arc::new(FaultyDevice::new(Arc::clone(&device), plan));
            let result = run(&(Arc::clone(&faulty) as Arc<dyn Device>), &case.stream, &case.request);
            assert_eq!(Arc::strong_count(&faulty), 1, "{what}: somebody holds the device");
            failed += usize::from(result.is_err());
            // A single failure is cleaned up after at once, a dead device by the next program that opens the pool.
            if plan == FailingCalls::From(call) {
                open_and_leave(&device);
            }
            kept += usize::from(after(&device, &expected, case, &result, &what));
            again(&device, &expected, case, &tank, &what);
        }
    }
    assert!(failed * 2 > calls as usize / every::step(sampled), "{}: {failed} failures", case.name);
    assert_eq!(kept > 0, case.request.resumable, "{}: {kept} were kept", case.name);
}

/// Looks at what a receive has left; whether it can be resumed.
pub(crate) fn after(
    device: &Arc<dyn Device>,
    expected: &Expected,
    case: &Case,
    result: &std::result::Result<(), String>,
    what: &str,
) -> bool {
    let found = reading(device);
    check(&found, what);
    let is_done = difference(&tree(&found, "demo"), &expected.done).is_empty();
    if result.is_ok() {
        assert!(is_done, "{what}: it was received");
        return false;
    }
    let change = difference(&whole(&found), &expected.before);
    if is_done || change.is_empty() {
        return false;
    }
    if case.is_package {
        // Snapshots that were received before the failure stay.
        for (name, what_is) in tree(&found, "demo") {
            assert_eq!(Some(&what_is), expected.done.get(&name), "{what}: {name}");
        }
        let unfinished = whole(&found).into_iter().find(|(_, what_is)| what_is.contains("INCONSISTENT"));
        assert_eq!(unfinished, None, "{what}: {result:?}");
        return false;
    }
    let dataset = case.request.to.split('@').next().unwrap_or_default();
    let token = found.dsl.dataset(dataset).ok().and_then(|found| found.resume_token().unwrap());
    assert!(case.request.resumable && token.is_some(), "{what}: {result:?} left\n{change}");
    true
}

/// Receives once more, from where the first receive ended.
pub(crate) fn again(device: &Arc<dyn Device>, expected: &Expected, case: &Case, tank: &Sending, what: &str) {
    let found = reading(device);
    if difference(&tree(&found, "demo"), &expected.done).is_empty() {
        return;
    }
    let dataset = case.request.to.split('@').next().unwrap_or_default();
    let token = found.dsl.dataset(dataset).ok().and_then(|found| found.resume_token().unwrap());
    let rest = token.map(|token| {
        let mut plan = tank.plan(case.words);
        resume(&mut plan, &token);
        stream(&plan).0
    });
    drop(found);
    let bytes = rest.as_deref().unwrap_or(&case.stream);
    run(device, bytes, &case.request).unwrap_or_else(|error| panic!("{what}: the second time: {error}"));
    let found = reading(device);
    assert_eq!(difference(&tree(&found, "demo"), &expected.done), "", "{what}: the second time");
    check(&found, what);
}

/// A pool with a dataset that increments go onto, and an encrypted one.
pub(crate) fn demo() -> Demo {
    let demo = Demo::new("a", 12, 96 << 20);
    demo.receive(&golden::stream("fs-full"), &target("demo/fs@a"), &[]).unwrap();
    demo.receive(&golden::stream("e-aes-256-gcm-raw"), &target("demo/gcm@s"), &[]).unwrap();
    demo
}

#[test]
fn full() {
    fails_everywhere(&base(&demo()), &case("full", "rs4k", "demo/new@s"), 29);
}

#[test]
fn increment() {
    fails_everywhere(&base(&demo()), &case("increment", "fs-incr", "demo/fs@b"), 23);
}

#[test]
fn increment_that_can_be_resumed() {
    let mut case = case("resumable", "fs-incr", "demo/fs@b");
    case.request.resumable = true;
    case.words = "-i @a tank/fs@b";
    fails_everywhere(&base(&demo()), &case, 23);
}

#[test]
fn raw_increment() {
    fails_everywhere(&base(&demo()), &case("raw", "e-aes-256-gcm-raw-incr", "demo/gcm@t"), 23);
}

#[test]
fn forced_full() {
    let demo = demo();
    let (code, _, message) = demo.run(&[], "create demo/old", b"");
    assert_eq!(code, 0, "{message}");
    let mut case = case("forced", "rs4k", "demo/old@s");
    case.request.force = true;
    fails_everywhere(&base(&demo), &case, 31);
}

/// The readers of snapshots that came before hold the pool's devices no longer than the receive.
#[test]
fn package() {
    let case = Case { is_package: true, ..case("package", "tree-R", "demo/tree") };
    fails_everywhere(&base(&demo()), &case, 101);
}

/// Every place that a block asks for is the first that there is no room for.
fn has_no_room(base: &Arc<dyn Device>, case: &Case, sampled: usize) {
    let tank = Sending::open(&golden::pool("tank"));
    let complete = over(base);
    run(&complete, &case.stream, &case.request).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let expected = Expected { before: whole(&reading(base)), done: tree(&reading(&complete), "demo") };
    let mut count = 0;
    for left in (0..).step_by(every::step(sampled)) {
        let what = format!("{}: room for {left} blocks", case.name);
        let device = over(base);
        let member = Member { name: "0".to_owned(), device: Arc::clone(&device) };
        let candidates = vec![examine(member).expect("a member")];
        let mut writer = PoolWriter::open_candidates(candidates, &write_options()).expect("a pool");
        writer.parts().space.limit_allocations(left);
        let pool = WritablePool::over(writer, Some(1)).expect("a pool");
        let result = run_in(pool, &device, &case.stream, &case.request, &mut Follower::default());
        after(&device, &expected, case, &result, &what);
        let Err(error) = &result else { break };
        assert!(error.contains("no space left"), "{what}: {error}");
        again(&device, &expected, case, &tank, &what);
        count += 1;
    }
    assert!(count > 10, "{}: {count}", case.name);
}

#[test]
fn no_room() {
    let base = base(&demo());
    has_no_room(&base, &case("increment", "fs-incr", "demo/fs@b"), 3);
    has_no_room(&base, &case("full", "rs4k", "demo/new@s"), 7);
    has_no_room(&base, &case("raw", "e-aes-256-gcm-raw-incr", "demo/gcm@t"), 3);
    let mut case = case("resumable", "fs-incr", "demo/fs@b");
    case.request.resumable = true;
    case.words = "-i @a tank/fs@b";
    has_no_room(&base, &case, 4);
}
