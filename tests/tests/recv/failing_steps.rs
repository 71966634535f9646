//! A receive in which a step fails that applies a record, begins, ends or cleans up: a change of an object, in the dataset or in
//! the MOS, or a read of what is on disk. It fails once, or all fail from there on, those of the cleanup too; as a failure of the
//! pool, or as a record that the dataset cannot take.
//!
//! The first steps of a record of each kind are taken, and a sample of all others; with `ZSTREAM_THOROUGH=1000` it is every step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use zstream_dmu::device::Device;
use zstream_dmu::error::{Error, Fault};
use zstream_dmu::testing::failpoint;
use zstream_format::record::RecordType;
use zstream_tests::edit::{deduplicated, records};
use zstream_tests::every;
use zstream_tests::golden;
use zstream_tests::sending::Sending;
use zstream_tests::state::{tree, whole};

use crate::failing::{
    Case, Expected, after, again, base, case, count_steps, demo, open_and_leave, over, reading, run,
};

/// The steps that are always taken of one record.
const STEPS_MAX: usize = 6;

fn device_error() -> Error {
    Fault::Io(std::io::Error::other("a step failed")).into()
}

fn misfit() -> Error {
    Fault::BadShape("a step failed".to_owned()).into()
}

/// The steps by the kind of record that takes them, and how many there are in all.
fn steps(device: &Arc<dyn Device>, case: &Case) -> (BTreeMap<&'static str, BTreeSet<u64>>, u64) {
    failpoint::fail(0..0, device_error);
    let ends = count_steps(device, &case.stream, &case.request);
    let total = failpoint::taken();
    failpoint::stop();
    let applied = records(&case.stream);
    let kinds = applied.iter().filter_map(|(header, _)| header.record_type());
    let kinds: Vec<_> = kinds.filter(|kind| ![RecordType::Begin, RecordType::End].contains(kind)).collect();
    assert_eq!(kinds.len(), ends.len(), "{}", case.name);
    let mut found = BTreeMap::<_, BTreeSet<u64>>::new();
    for (n, kind) in kinds.into_iter().enumerate().skip(1) {
        let steps = ends[n - 1]..ends[n];
        let known = found.entry(kind.name()).or_default();
        if known.len() < STEPS_MAX.min((steps.end - steps.start) as usize) {
            // The record of each kind that takes the most.
            *known = steps.take(STEPS_MAX).collect();
        }
    }
    (found, total)
}

fn fails_at_every_step(base: &Arc<dyn Device>, case: &Case, sampled: usize) -> BTreeSet<&'static str> {
    let tank = Sending::open(&golden::pool("tank"));
    let complete = over(base);
    let (kinds, total) = steps(&complete, case);
    let expected = Expected { before: whole(&reading(base)), done: tree(&reading(&complete), "demo") };
    let mut wanted: BTreeSet<u64> = (0..total).step_by(every::step(sampled)).collect();
    wanted.extend(kinds.values().flatten());
    let is_sample = every::step(2) == 2;
    let (mut failed, mut tried) = (0, 0);
    for (n, step) in wanted.into_iter().enumerate() {
        let plans = [
            (step + 1, device_error as fn() -> Error),
            (step + 1, misfit),
            (u64::MAX, device_error),
            (u64::MAX, misfit),
        ];
        for (at, (end, error)) in plans.into_iter().enumerate() {
            if is_sample && at != n % plans.len() {
                continue;
            }
            let what = format!("{}: steps {step}..{end} of {total}, {}", case.name, error());
            let device = over(base);
            failpoint::fail(step..end, error);
            let result = run(&device, &case.stream, &case.request);
            failpoint::stop();
            assert_eq!(Arc::strong_count(&device), 1, "{what}: somebody holds the device");
            if end == u64::MAX {
                open_and_leave(&device);
            }
            tried += 1;
            failed += usize::from(result.is_err());
            after(&device, &expected, case, &result, &what);
            again(&device, &expected, case, &tank, &what);
        }
    }
    println!("{}: {failed} of {tried} failed, of {total} steps: {kinds:?}", case.name);
    assert!(failed * 10 > tried * 9, "{}: {failed} of {tried} failed", case.name);
    kinds.into_keys().collect()
}

#[test]
fn of_each_record() {
    let base = base(&demo());
    let mut deduped = case("deduplicated", "c-off-c", "demo/deduplicated@s");
    deduped.stream = deduplicated(&deduped.stream).0;
    let mut clone = case("clone", "rs4k", "demo/clone@s");
    clone.request.origin = Some("demo/fs@a".to_owned());
    let mut kinds = BTreeSet::new();
    for case in [
        case("increment", "fs-incr", "demo/fs@b"),
        case("large dnodes, embedded", "dn-Lec", "demo/dn@s"),
        case("redacted", "fs-redacted", "demo/redacted@a"),
        case("raw", "e-aes-256-gcm-raw-incr", "demo/gcm@t"),
        deduped,
        clone,
    ] {
        kinds.extend(fails_at_every_step(&base, &case, 199));
    }
    let all = [
        "FREE",
        "FREEOBJECTS",
        "OBJECT",
        "OBJECT_RANGE",
        "REDACT",
        "SPILL",
        "WRITE",
        "WRITE_BYREF",
        "WRITE_EMBEDDED",
    ];
    for kind in all {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
}

#[test]
fn of_receives_that_can_be_resumed() {
    let mut case = case("resumable", "fs-incr", "demo/fs@b");
    case.request.resumable = true;
    case.words = "-i @a tank/fs@b";
    fails_at_every_step(&base(&demo()), &case, 97);
}
