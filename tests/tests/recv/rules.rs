//! The rules of the begin of a receive, one after the other: a stream that breaks just this one is refused with the errno of
//! OpenZFS, and the pool is as it was. The rules of records are in `recv_rules_records`, those of receives that go on in
//! `recv_rules_resume`, those of raw streams in `recv_rules_raw`, those of features and limits in `recv_rules_pool`.

use std::sync::LazyLock;

use zstream_format::errno::Errno;
use zstream_format::flags::{BeginFlags, FeatureFlags};
use zstream_format::record::{Begin, Body, Header};
use zstream_recv::{Encryption, Target};
use zstream_tests::change;
use zstream_tests::edit::records;
use zstream_tests::golden;
use zstream_tests::receiving::{Demo, target};
use zstream_tests::refusals::{
    Bench, Case, Edit, ORDER, as_it_is, both, chained, features, from, guid_of, list,
};

use Errno::{E2BIG, EACCES, ECKSUM, EEXIST, EINVAL, ENODEV, ENOENT, ENOTSUP, ETXTBSY};

const NONE: FeatureFlags = FeatureFlags::empty();

fn origin(to: &str, origin: &str) -> Target {
    Target { origin: Some(origin.to_owned()), ..target(to) }
}

fn force(to: &str) -> Target {
    Target { force: true, ..target(to) }
}

fn heal(to: &str) -> Target {
    Target { heal: true, ..target(to) }
}

fn new() -> Target {
    target("demo/new@s")
}

/// A pool with something for every rule.
fn pool() -> Demo {
    let demo = Demo::default();
    for (stream, to) in [
        ("fs-full", "demo/fs@a"),
        ("rs512", "demo/fs/child@s"),
        ("rs1m-Lec", "demo/large@s"),
        ("fs-redacted", "demo/red@a"),
        ("e-aes-256-gcm-raw", "demo/gcm@s"),
        ("e-aes-256-gcm-raw-incr", "demo/gcm@t"),
        ("e-aes-128-ccm-raw", "demo/ccm@s"),
        ("vol", "demo/vol@s"),
    ] {
        demo.receive(&golden::stream(stream), &target(to), &[]).unwrap();
    }
    demo
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| Bench::over(pool()));

#[test]
fn names_and_headers() {
    let unknown = || features(FeatureFlags::from_bits_retain(1 << 40), NONE);
    let mut cases: Vec<Case> = vec![
        (
            "clone without origin",
            "k-sha256",
            change!(Begin, |begin| begin.flags |= BeginFlags::CLONE),
            new(),
            EINVAL,
        ),
        ("unknown feature", "k-sha256", unknown(), new(), Errno::ZFS_ERR_UNKNOWN_SEND_STREAM_FEATURE),
        // What would go on is asked for the same first.
        (
            "unknown feature of a stream that goes on",
            "fs-full-resumed",
            unknown(),
            new(),
            Errno::ZFS_ERR_UNKNOWN_SEND_STREAM_FEATURE,
        ),
    ];
    for kind in [0, 1, 4, 5, 6, u32::MAX] {
        let edit = change!(Begin, |begin| begin.objset_type = kind);
        cases.push(("objset type", "k-sha256", edit, new(), EINVAL));
    }
    let long = "x".repeat(250);
    for name in ["demo/%x@s", "demo/x@%s", "demo/x@", "demo//x@s", "demo/x@s@t", "demo/x#b@s", "demo/x y@s\n"]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("demo/{long}@s"), format!("demo/x@{long}")])
    {
        let (dataset, snapshot) = name.split_once('@').unwrap();
        let to = Target { dataset: dataset.to_owned(), snapshot: snapshot.to_owned(), ..Target::default() };
        cases.push(("a bad name", "k-sha256", as_it_is(), to, EINVAL));
    }
    BENCH.refuses_all(&cases);
}

/// What is wrong with the bytes around BEGIN, which no writer makes.
#[test]
fn framing_of_the_begin() {
    let whole = golden::stream("k-sha256");
    let poke = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] ^= byte;
        bytes
    };
    let truncated = Errno::ZFS_ERR_STREAM_TRUNCATED;
    BENCH.refuses("magic", &poke(8, 1), &new(), EINVAL);
    BENCH.refuses("list above 256 MiB", &poke(7, 0x20), &new(), E2BIG);
    BENCH.refuses("the trailer behind", &poke(312 + 300, 1), &new(), ECKSUM);
    BENCH.refuses("a type of record that is none", &poke(312, 12), &new(), ECKSUM);
    let raw = golden::stream("e-aes-256-gcm-raw");
    let records = records(&raw);
    let list_end = 312 + records[0].1.len();
    for cut in [1, 311, 312, 400, list_end - 1, list_end, list_end + 311] {
        BENCH.refuses("cut short", &raw[..cut], &new(), truncated);
    }
    let begin = (Header::new(Begin::default(), ORDER), Vec::new());
    let Some(Body::Begin(body)) = records[0].0.body() else { panic!("it begins") };
    let again = (Header::new(body, ORDER), Vec::new());
    BENCH.refuses("another BEGIN", &chained(&[records[0].clone(), again]), &new(), EINVAL);
    BENCH.refuses("an empty BEGIN", &chained(&[records[0].clone(), begin]), &new(), EINVAL);
    // Encoding and byte order are the first bytes of a list.
    for (what, at, byte, errno) in [("encoding", 0, 9, ENOTSUP), ("byte order", 1, 9, ENOTSUP)] {
        let mut pieces = records.clone();
        pieces[0].1[at] = byte;
        BENCH.refuses(what, &chained(&pieces), &new(), errno);
    }
    for (keep, errno) in [(2, EINVAL), (16, Errno::EFAULT), (100, Errno::EFAULT)] {
        let mut pieces = records.clone();
        pieces[0].1.truncate(keep);
        pieces[0].0.set_payload_len_field(keep as u32);
        BENCH.refuses("half a list", &chained(&pieces), &new(), errno);
    }
}

#[test]
fn a_target_that_is_there() {
    let large = guid_of("rs1m-Lec");
    let redacted = guid_of("fs-redacted");
    let wrong = Errno::ZFS_ERR_WRONG_PARENT;
    let cases: Vec<Case> = vec![
        ("locked target", "fs-incr", as_it_is(), target("demo/gcm@x"), EACCES),
        ("a clone", "clone-incr", as_it_is(), target("demo/fs@x"), EINVAL),
        ("an origin", "fs-incr", as_it_is(), origin("demo/fs@b", "demo/fs@a"), EINVAL),
        ("the snapshot is there", "fs-incr", as_it_is(), target("demo/fs@a"), EEXIST),
        ("volume over a parent", "vol-incr", as_it_is(), target("demo/fs@t"), wrong),
        ("raw increment of plain", "e-aes-256-gcm-raw-incr", as_it_is(), target("demo/fs@t"), EINVAL),
        (
            "embedded increment of encrypted",
            "e-aes-256-gcm-raw-incr",
            features(FeatureFlags::EMBED_DATA, NONE),
            target("demo/gcm@u"),
            EINVAL,
        ),
        ("increment of another", "vol-incr", as_it_is(), target("demo/fs/child@t"), ENODEV),
        // The snapshot is in the pool, but not among those of the target.
        ("increment of another's", "fs-incr", from(large), target("demo/fs@t"), ENODEV),
        ("raw, not the newest", "e-aes-256-gcm-raw-incr", as_it_is(), target("demo/gcm@u"), ETXTBSY),
        ("redacted source", "fs-incr", from(redacted), target("demo/red@t"), EINVAL),
        (
            "without large blocks",
            "fs-incr",
            from(large),
            target("demo/large@t"),
            Errno::ZFS_ERR_STREAM_LARGE_BLOCK_MISMATCH,
        ),
        ("full", "fs-full", as_it_is(), target("demo/fs@z"), EEXIST),
        ("force over an encrypted one", "e-aes-256-gcm-raw", as_it_is(), force("demo/ccm@x"), EINVAL),
        ("force with a raw stream", "e-aes-256-gcm-raw", as_it_is(), force("demo/fs@x"), EINVAL),
        (
            "force, encrypted",
            "fs-full",
            as_it_is(),
            Target { encryption: Encryption::On { suite: None, own: None }, ..force("demo/fs@x") },
            EINVAL,
        ),
        ("heal: no snapshot", "fs-full", as_it_is(), heal("demo/fs@z"), ENOENT),
        ("heal: another snapshot", "fs-full", as_it_is(), heal("demo/fs/child@s"), ENOTSUP),
        ("heal: forced", "fs-full", as_it_is(), Target { force: true, ..heal("demo/fs@a") }, EINVAL),
        ("heal: locked", "e-aes-256-gcm-plain", as_it_is(), heal("demo/gcm@s"), EACCES),
        ("heal: volume over a parent", "vol", as_it_is(), heal("demo/fs@a"), wrong),
    ];
    BENCH.refuses_all(&cases);
}

#[test]
fn a_target_that_is_new() {
    let large = guid_of("rs1m-Lec");
    let redacted = guid_of("fs-redacted");
    let wrong = Errno::ZFS_ERR_WRONG_PARENT;
    let encrypted = |to: &str| Target { encryption: Encryption::On { suite: None, own: None }, ..target(to) };
    let cases: Vec<Case> = vec![
        ("heal", "fs-full", as_it_is(), heal("demo/none@a"), ENOTSUP),
        ("an increment", "fs-incr", as_it_is(), new(), ENOENT),
        (
            "full as clone without FREERECORDS",
            "k-sha256",
            change!(Begin, |begin| begin.flags -= BeginFlags::FREERECORDS),
            origin("demo/c@t", "demo/fs@a"),
            EINVAL,
        ),
        ("no parent", "k-sha256", as_it_is(), target("demo/no/fs@s"), ENOENT),
        ("another pool", "k-sha256", as_it_is(), target("other/fs@s"), ENOENT),
        ("locked parent", "k-sha256", as_it_is(), target("demo/gcm/x@s"), EACCES),
        ("no key", "k-sha256", as_it_is(), encrypted("demo/new@s"), EINVAL),
        ("below a volume", "k-sha256", as_it_is(), target("demo/vol/x@s"), wrong),
        ("no origin", "fs-incr", as_it_is(), origin("demo/c@t", "demo/fs@none"), ENOENT),
        ("origin is no snapshot", "fs-incr", as_it_is(), origin("demo/c@t", "demo/fs"), EINVAL),
        ("another origin", "fs-incr", as_it_is(), origin("demo/c@t", "demo/large@s"), ENODEV),
        (
            "origin is locked",
            "fs-incr",
            from(guid_of("e-aes-256-gcm-raw")),
            origin("demo/c@t", "demo/gcm@s"),
            EACCES,
        ),
        (
            "a raw clone of plain",
            "e-aes-256-gcm-raw-incr",
            from(guid_of("fs-full")),
            origin("demo/c@t", "demo/fs@a"),
            EINVAL,
        ),
        ("redacted origin", "fs-incr", from(redacted), origin("demo/c@t", "demo/red@a"), EINVAL),
        (
            "clone without large blocks",
            "fs-incr",
            from(large),
            origin("demo/c@t", "demo/large@s"),
            Errno::ZFS_ERR_STREAM_LARGE_BLOCK_MISMATCH,
        ),
    ];
    BENCH.refuses_all(&cases);
}

/// What lies in a block pointer is not encrypted, so no encrypted dataset takes it, though its key be there.
#[test]
fn embedded_blocks_into_encrypted_datasets() {
    let bench = Bench::over(pool()).unlocked(&["demo/gcm"]);
    let gcm = || from(guid_of("e-aes-256-gcm-raw-incr"));
    bench.refuses_all(&[
        ("new", "fs-full-e", as_it_is(), target("demo/gcm/x@s"), EINVAL),
        ("increment", "fs-incr-ec", gcm(), target("demo/gcm@u"), EINVAL),
        ("clone", "fs-incr-ec", gcm(), origin("demo/c@u", "demo/gcm@t"), EINVAL),
        ("heal", "e-aes-256-gcm-plain", features(FeatureFlags::EMBED_DATA, NONE), heal("demo/gcm@s"), EINVAL),
    ]);
}

/// A redacted source lacks blocks; only a stream that was made with it in mind brings all that are to be there.
#[test]
fn redacted_sources() {
    let to = || target("demo/red@b");
    let redactions = |list: &mut zstream_format::nvlist::NvList, guids: Vec<u64>| {
        assert_eq!(list.remove("redact_from_snaps"), 1);
        list.add_u64_array("redact_snaps", guids);
    };
    let other: fn() -> Edit = || {
        list(|list| {
            assert_eq!(list.remove("redact_from_snaps"), 1);
            list.add_u64_array("redact_from_snaps", vec![1]);
        })
    };
    let and_other: Edit = list(|list| {
        let mut guids = list.get_u64_array("redact_from_snaps").unwrap().to_vec();
        guids.push(1);
        list.remove("redact_from_snaps");
        list.add_u64_array("redact_from_snaps", guids);
    });
    BENCH.refuses_all(&[
        ("redacted by another", "fs-from-redbook", other(), to(), EINVAL),
        ("redacted by one more", "fs-from-redbook", and_other, to(), EINVAL),
        (
            "redacted by none",
            "fs-from-redbook",
            list(|list| assert_eq!(list.remove("redact_from_snaps"), 1)),
            to(),
            EINVAL,
        ),
        (
            "redacted itself, by another",
            "fs-from-redbook",
            both(features(FeatureFlags::REDACTED, NONE), list(move |list| redactions(list, vec![1]))),
            to(),
            EINVAL,
        ),
        (
            "redacted, and by what is not said",
            "fs-redacted",
            list(|list| assert_eq!(list.remove("redact_snaps"), 1)),
            new(),
            EINVAL,
        ),
    ]);
}

/// Snapshots that are newer than the source and differ in nothing from it are in nobody's way.
#[test]
fn newer_snapshots_without_changes_are_fine() {
    let demo = Demo::new("a", 12, 128 << 20);
    demo.receive(&golden::stream("fs-full"), &target("demo/fs@a"), &[]).unwrap();
    demo.change(|pool| pool.tx().snapshot(&["demo/fs@same".to_owned()]).unwrap());
    let names: Vec<String> = Bench::over(demo)
        .takes("an increment", &golden::stream("fs-incr"), &target("demo/fs@b"))
        .dsl
        .dataset("demo/fs")
        .unwrap()
        .snapshots()
        .unwrap()
        .iter()
        .map(|snapshot| snapshot.name().to_owned())
        .collect();
    assert_eq!(names, ["demo/fs@a", "demo/fs@same", "demo/fs@b"]);
}
