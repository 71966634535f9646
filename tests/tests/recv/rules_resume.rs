//! The rules of streams that go on: one that breaks just this one is refused with the errno of OpenZFS, and what was received
//! before is still there, to be gone on with.

use std::sync::LazyLock;

use zstream_dsl::dataset::DatasetFlags;
use zstream_dsl::testing::change_dataset;
use zstream_format::errno::Errno;
use zstream_format::flags::{BeginFlags, FeatureFlags};
use zstream_format::ids::Guid;
use zstream_recv::Target;
use zstream_recv::error::Error;
use zstream_send::plan::StreamPlan;
use zstream_tests::change;
use zstream_tests::golden;
use zstream_tests::receiving::{Demo, target};
use zstream_tests::refusals::{Bench, Edit, as_it_is, edited, features, from, keydata, list};
use zstream_tests::samples::record_places;
use zstream_tests::sending::{Sending, resume, stream};
use zstream_tests::state::dataset_content;

use Errno::{EACCES, EBUSY, EINVAL, ENOENT};

const NONE: FeatureFlags = FeatureFlags::empty();

/// Where receives were cut off: what was sent, and into which dataset.
const CUT: [(&str, &str, &str); 6] = [
    ("tank/fs@a", "fs-full", "demo/full@a"),
    ("-i @a tank/fs@b", "fs-incr", "demo/fs@b"),
    ("-L -e -c tank/rs1m@s", "rs1m-Lec", "demo/large@s"),
    ("-w tank/e-aes-256-gcm@s", "e-aes-256-gcm-raw", "demo/raw@s"),
    ("tank/e-aes-256-gcm@s", "e-aes-256-gcm-plain", "demo/plain@s"),
    ("--redact red tank/fs@a", "fs-redacted", "demo/red@a"),
];

struct Trial {
    tank: Sending,
    bench: Bench,
}

fn resumable(to: &str) -> Target {
    Target { resumable: true, ..target(to) }
}

impl Trial {
    fn new() -> Self {
        let demo = Demo::default();
        demo.receive(&golden::stream("fs-full"), &target("demo/fs@a"), &[]).unwrap();
        demo.receive(&golden::stream("rs512"), &target("demo/whole@s"), &[]).unwrap();
        for (_, name, to) in CUT {
            let whole = golden::stream(name);
            let places = record_places(&whole);
            let cut = places[places.len() * 4 / 5] + 100;
            demo.receive(&whole[..cut], &resumable(to), &[]).expect_err("it is cut off");
        }
        let tank = Sending::open(&golden::pool("tank"));
        tank.unlock("tank/e-aes-256-gcm");
        Self { tank, bench: Bench::over(demo).unlocked(&["demo/raw"]) }
    }

    /// The plan of what is missing.
    fn plan(&self, to: &str) -> StreamPlan {
        plan(&self.tank, self.bench.demo(), to)
    }

    fn rest(&self, to: &str, edit: &Edit) -> Vec<u8> {
        edited(&stream(&self.plan(to)).0, edit)
    }

    /// What is missing is refused, edited, and so it is without `-s`.
    fn refuses(&self, what: &str, to: &str, edit: &Edit, errno: Errno) {
        let rest = self.rest(to, edit);
        let both = [resumable(to), target(to)];
        for to in &both[..if to == CUT[0].2 { 2 } else { 1 }] {
            self.bench.refuses(&format!("{what} into {}", to.full_name()), &rest, to, errno);
        }
    }
}

/// The plan of what a receive into `to` that was cut off misses.
fn plan(tank: &Sending, demo: &Demo, to: &str) -> StreamPlan {
    let (dataset, _) = to.split_once('@').unwrap();
    let token = demo.reading().dsl.dataset(dataset).unwrap().resume_token().unwrap().expect("a token");
    let (words, ..) = CUT.iter().find(|(.., other)| *other == to).expect("it was cut off");
    let mut plan = tank.plan(words);
    resume(&mut plan, &token);
    plan
}

fn number(key: &'static str, change: fn(u64) -> u64) -> Edit {
    list(move |list| {
        let value = list.get_u64(key).expect(key);
        list.remove(key);
        list.add_u64(key, change(value));
    })
}

static TRIAL: LazyLock<Trial> = LazyLock::new(Trial::new);

#[test]
fn what_goes_on_is_what_began() {
    let trial = &*TRIAL;
    for (_, name, to) in CUT {
        let found = trial.bench.takes(name, &trial.rest(to, &as_it_is()), &resumable(to));
        assert!(found.dsl.dataset(to).is_ok());
        for key in ["resume_object", "resume_offset"] {
            trial.refuses(key, to, &number(key, |value| value + 512), EINVAL);
            trial.refuses(key, to, &list(move |list| assert_eq!(list.remove(key), 1)), EINVAL);
        }
        let other: Edit = change!(Begin, |begin| begin.to_guid = Guid(7));
        trial.refuses("another snapshot", to, &other, EINVAL);
        trial.refuses("another source", to, &from(7), EINVAL);
        // What does not say that it goes on is refused while there is something to go on with.
        let whole = golden::stream(name);
        for to in [target(to), Target { force: true, ..resumable(to) }] {
            trial.bench.refuses("from the start", &whole, &to, EBUSY);
        }
    }
}

#[test]
fn what_there_is_to_go_on_with() {
    let trial = &*TRIAL;
    let rest = trial.rest("demo/full@a", &as_it_is());
    trial.bench.refuses("into nothing", &rest, &resumable("demo/none@a"), ENOENT);
    trial.bench.refuses("into what is whole", &rest, &resumable("demo/whole@a"), EINVAL);
    trial.bench.refuses("into what is whole", &rest, &target("demo/whole@a"), EINVAL);
    trial.bench.refuses(
        "a full one beside what is there",
        &rest,
        &resumable("demo/fs@b"),
        Errno::ZFS_ERR_RESUME_EXISTS,
    );
    let force = Target { force: true, ..resumable("demo/fs@b") };
    trial.bench.refuses("a full one, though an increment was cut off", &rest, &force, EINVAL);
    let rest = trial.rest("demo/fs@b", &as_it_is());
    trial.bench.refuses(
        "an increment, though a full one was cut off",
        &rest,
        &resumable("demo/full@a"),
        EINVAL,
    );
    let heal = Target { heal: true, ..target("demo/fs@a") };
    trial.bench.refuses("heal meanwhile", &golden::stream("fs-full"), &heal, EBUSY);
}

/// No receive leaves that, and no command makes it: its mark is taken off for a moment.
#[test]
fn a_dataset_with_a_snapshot_of_its_own() {
    let demo = Demo::default();
    let (whole, to) = (golden::stream("fs-full"), resumable("demo/full@a"));
    let places = record_places(&whole);
    demo.receive(&whole[..places[places.len() / 2] + 100], &to, &[]).expect_err("it is cut off");
    let rest = stream(&plan(&TRIAL.tank, &demo, &to.full_name())).0;
    demo.change(|pool| {
        let mut tx = pool.tx();
        let head = tx.dsl().head("demo/full").unwrap().object();
        let names = ["demo/full@own".to_owned()];
        let error = tx.snapshot(&names).expect_err("it is not whole");
        assert_eq!(Error::from(error).errno(), EBUSY);
        change_dataset(&mut tx, head, |phys| phys.flags.remove(DatasetFlags::INCONSISTENT)).unwrap();
        tx.snapshot(&names).unwrap();
        change_dataset(&mut tx, head, |phys| phys.flags.insert(DatasetFlags::INCONSISTENT)).unwrap();
    });
    let bench = Bench::over(demo);
    for to in [to, target("demo/full@a")] {
        bench.refuses("with a snapshot of its own", &rest, &to, EINVAL);
    }
}

/// The stream goes on in a form that fits what there is.
#[test]
fn the_form_of_what_goes_on() {
    let trial = &*TRIAL;
    let large = features(NONE, FeatureFlags::LARGE_BLOCKS);
    trial.refuses("without large blocks", "demo/large@s", &large, Errno::ZFS_ERR_STREAM_LARGE_BLOCK_MISMATCH);
    let spill: Edit = change!(Begin, |begin| begin.flags -= BeginFlags::SPILL_BLOCK);
    trial.refuses("raw, without spill flag", "demo/raw@s", &spill, Errno::ZFS_ERR_SPILL_BLOCK_FLAG_MISSING);
    trial.refuses("raw and embedded", "demo/raw@s", &features(FeatureFlags::EMBED_DATA, NONE), EINVAL);
    let key = |key: &'static str, value: u64| {
        keydata(move |keys| {
            assert_eq!(keys.remove(key), 1);
            keys.add_u64(key, value);
        })
    };
    trial.refuses("other keys", "demo/raw@s", &key("DSL_CRYPTO_GUID", 5), EACCES);
    trial.refuses("another table of objects", "demo/raw@s", &key("mdn_blksz", 32 << 10), EINVAL);
    // The same snapshot raw and not raw: neither goes on where the other was cut off, with the key or without.
    let raw = trial.rest("demo/raw@s", &as_it_is());
    let plain = trial.rest("demo/plain@s", &as_it_is());
    trial.bench.refuses("raw after plain", &raw, &resumable("demo/plain@s"), EINVAL);
    trial.bench.refuses("plain after raw", &plain, &resumable("demo/raw@s"), EINVAL);
    let redacted = |guids: fn(Vec<u64>) -> Vec<u64>| {
        list(move |list| {
            let there = list.get_u64_array("redact_snaps").expect("redactions").to_vec();
            list.remove("redact_snaps");
            list.add_u64_array("redact_snaps", guids(there));
        })
    };
    trial.refuses("redacted by another", "demo/red@a", &redacted(|_| vec![1]), EINVAL);
    trial.refuses("redacted by none", "demo/red@a", &redacted(|_| Vec::new()), EINVAL);
    let missing = list(|list| assert_eq!(list.remove("redact_snaps"), 1));
    trial.refuses("redacted, and by what is not said", "demo/red@a", &missing, EINVAL);
    let now = features(FeatureFlags::REDACTED, NONE);
    let by = list(|list| {
        list.add_u64_array("redact_snaps", vec![1]);
    });
    trial.refuses("redacted now", "demo/full@a", &zstream_tests::refusals::both(now, by), EINVAL);
}

/// Without the key a plain stream does not go on in what is encrypted.
#[test]
fn plain_after_raw_without_the_key() {
    let trial = &*TRIAL;
    let plain = trial.rest("demo/plain@s", &as_it_is());
    trial.bench.refuses_locked("plain after raw, locked", &plain, &resumable("demo/raw@s"), EACCES);
}

/// Blocks may come embedded and compressed where they came plain before: OpenZFS does not compare that, and the content is
/// the same.
#[test]
fn blocks_may_come_otherwise() {
    let trial = &*TRIAL;
    let to = "demo/full@a";
    let mut plan = trial.plan(to);
    (plan.form.embedded, plan.form.compressed) = (true, true);
    let found = trial.bench.takes("embedded and compressed", &stream(&plan).0, &resumable(to));
    let whole = trial.tank.dsl.dataset("tank/fs@a").unwrap();
    assert_eq!(dataset_content(&found.dsl.dataset(to).unwrap()), dataset_content(&whole));
}
