//! The rules that a pool makes for what it receives: its features, limits, quotas and reservations. A stream that breaks one
//! is refused with the errno of OpenZFS, and the pool is as it was.

use zstream_dmu::pool::FeatureSet;
use zstream_dmu::zap::Value;
use zstream_dsl::write::{Filling, ReceivedSnapshot, Setting, WritablePool};
use zstream_format::errno::Errno;
use zstream_format::flags::FeatureFlags;
use zstream_format::ids::Guid;
use zstream_format::record::Body;
use zstream_recv::error::Error;
use zstream_recv::{Assignment, Encryption, Target};
use zstream_tests::change;
use zstream_tests::golden;
use zstream_tests::receiving::{Demo, target};
use zstream_tests::refusals::{Bench, Edit, as_it_is, features};
use zstream_tests::samples::record_places;

use Errno::{EAGAIN, EDQUOT, EINVAL, ENOSPC, ENOTSUP};

fn new() -> Target {
    target("demo/new@s")
}

fn without(feature: &str) -> Bench {
    let mut features = FeatureSet::default();
    features.disable(feature).unwrap();
    Bench::over(Demo::with_features(features, 64 << 20))
}

#[test]
fn features_of_the_stream_and_of_the_pool() {
    for (flag, feature) in [
        (FeatureFlags::EMBED_DATA, "embedded_data"),
        (FeatureFlags::LZ4, "lz4_compress"),
        (FeatureFlags::LARGE_BLOCKS, "large_blocks"),
        (FeatureFlags::LARGE_MICROZAP, "large_microzap"),
        (FeatureFlags::LARGE_DNODE, "large_dnode"),
        (FeatureFlags::ZSTD, "zstd_compress"),
        (FeatureFlags::LONGNAME, "longname"),
    ] {
        let edit = features(flag, FeatureFlags::empty());
        without(feature).refuses_edited(feature, "k-sha256", &edit, &new(), ENOTSUP);
    }
    for (stream, feature) in [("fs-redacted", "redacted_datasets"), ("e-aes-256-gcm-raw", "encryption")] {
        without(feature).refuses_edited(feature, stream, &as_it_is(), &new(), ENOTSUP);
    }
    let encrypted = Target { encryption: Encryption::On { suite: None, own: None }, ..new() };
    without("encryption").refuses_edited("encryption", "k-sha256", &as_it_is(), &encrypted, ENOTSUP);
    let bench = without("extensible_dataset");
    let resumable = Target { resumable: true, ..new() };
    bench.refuses_edited("extensible_dataset", "k-sha256", &as_it_is(), &resumable, ENOTSUP);
    // What was cut off is gone on with only where it was kept.
    bench.refuses_edited("not there", "fs-full-resumed", &as_it_is(), &new(), Errno::ENOENT);
    bench.takes("a stream without features", &golden::stream("fs-full"), &new());
}

/// What a record may say depends on the pool, whatever the stream says that it may hold.
#[test]
fn records_and_features_of_the_pool() {
    let bench = Bench::over(Demo::with_features(FeatureSet::none(), 64 << 20));
    let large: Edit = Box::new(|pieces| {
        let at = pieces.iter().position(|piece| matches!(piece.0.body(), Some(Body::Spill(_))));
        let (header, payload) = &mut pieces[at.expect("a spill block")];
        let Some(Body::Spill(mut spill)) = header.body() else { return };
        spill.length = 256 << 10;
        header.set_body(spill);
        payload.resize(spill.length as usize, 0);
    });
    let block = change!(Object, |object| object.block_size = 256 << 10);
    let slots = change!(Object, |object| object.dnode_slots = 2);
    let bonus = change!(Object, |object| object.bonus_len = 328);
    for (what, edit) in [
        ("a large spill block", large),
        ("large blocks", block),
        ("two slots", slots),
        ("a large bonus", bonus),
    ] {
        bench.refuses_edited(what, "rs512", &edit, &new(), EINVAL);
    }
    bench.takes("as it is", &golden::stream("rs512"), &new());
}

fn set(demo: &Demo, dataset: &str, property: &str, value: u64) {
    demo.change(|pool| {
        let mut tx = pool.tx();
        let head = tx.dsl().head(dataset).unwrap().object();
        tx.set_property(head, property, &Setting::Local(Value::word(value))).unwrap();
    });
}

fn count(demo: &Demo, dataset: &str, what: &str) -> u64 {
    let reading = demo.reading();
    let dir = reading.dsl.dir(dataset).unwrap();
    dir.entry(&format!("com.joyent:{what}_count")).unwrap().expect("it is counted").u64().unwrap()
}

/// Limits on snapshots and filesystems, where they are and above. The hidden clone that an increment is received into counts
/// as long as it is there, and is not held against a limit.
#[test]
fn limits_on_snapshots_and_filesystems() {
    let demo = Demo::new("a", 12, 128 << 20);
    demo.receive(&golden::stream("rs512"), &target("demo/top@s"), &[]).unwrap();
    demo.receive(&golden::stream("fs-full"), &target("demo/top/fs@a"), &[]).unwrap();
    set(&demo, "demo/top", "filesystem_limit", 1);
    let bench = Bench::over(demo);
    bench.refuses_edited("a second filesystem", "k-sha256", &as_it_is(), &target("demo/top/b@s"), EDQUOT);
    bench.refuses_edited("one below", "k-sha256", &as_it_is(), &target("demo/top/fs/b@s"), EDQUOT);
    bench.takes("one elsewhere", &golden::stream("k-sha256"), &new());
    bench.takes("an increment", &golden::stream("fs-incr"), &target("demo/top/fs@b"));

    let demo = bench.demo();
    let increment = golden::stream("fs-incr");
    let cut = record_places(&increment)[9] + 100;
    let to = Target { resumable: true, ..target("demo/top/fs@b") };
    demo.receive(&increment[..cut], &to, &[]).expect_err("it is cut off");
    assert_eq!(count(demo, "demo/top", "filesystem"), 2, "with the hidden clone");
    assert_eq!(count(demo, "demo/top/fs", "filesystem"), 1);
    demo.change(|pool| zstream_recv::Receiving::new(pool).discard("demo/top/fs").unwrap());
    assert_eq!((count(demo, "demo/top", "filesystem"), count(demo, "demo/top", "snapshot")), (1, 2));

    set(demo, "demo/top", "snapshot_limit", 2);
    for (what, stream, to) in [
        ("an increment", "fs-incr", "demo/top/fs@b"),
        ("a filesystem, which would have a snapshot", "k-sha256", "demo/top/b@s"),
    ] {
        let error = demo.receive(&golden::stream(stream), &target(to), &[]).expect_err(what);
        assert_eq!(error.errno(), EDQUOT, "{what}: {error}");
    }
    set(demo, "demo/top", "snapshot_limit", 3);
    demo.receive(&increment, &target("demo/top/fs@b"), &[]).unwrap();
    assert_eq!((count(demo, "demo/top", "filesystem"), count(demo, "demo/top", "snapshot")), (1, 3));
    demo.check("limits");
}

/// A limit that comes with a stream begins to count as one that is set does.
#[test]
fn limits_that_are_received() {
    let demo = Demo::new("a", 12, 64 << 20);
    let limit = |value| {
        [Assignment { name: "snapshot_limit".to_owned(), setting: Setting::Received(Value::word(value)) }]
    };
    demo.receive(&golden::stream("fs-full"), &target("demo/fs@a"), &limit(1)).unwrap();
    assert_eq!(count(&demo, "demo/fs", "snapshot"), 1);
    let bench = Bench::over(demo);
    bench.refuses_edited("a second snapshot", "fs-incr", &as_it_is(), &target("demo/fs@b"), EDQUOT);
}

/// What a refreservation keeps is no longer used up by a head that is rolled back: it has to be there anew.
#[test]
fn refreservation_at_the_end() {
    const MIB: u64 = 1 << 20;
    let demo = Demo::new("a", 12, 192 << 20);
    demo.receive(&golden::stream("fs-full"), &target("demo/fs@a"), &[]).unwrap();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("noise");
    let noise: Vec<u8> = (0..20 * MIB / 8)
        .flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23).wrapping_mul(n | 1).to_le_bytes())
        .collect();
    std::fs::write(&path, noise).unwrap();
    let put = demo.run(&[], &format!("put {} demo/fs:/", path.display()), b"");
    assert_eq!(put.0, 0, "{}", put.2);
    set(&demo, "demo/fs", "refreservation", 30 * MIB);
    let get = |demo: &Demo, property: &str| -> u64 {
        let (_, out, _) = demo.run(&[], &format!("get -Hp -o value {property} demo/fs"), b"");
        out.trim().parse().unwrap_or(0)
    };
    let used = get(&demo, "used");
    let force = Target { force: true, ..target("demo/fs@b") };
    // Less than what the head had used up of it.
    set(&demo, "demo/fs", "quota", used + 12 * MIB);
    let bench = Bench::over(demo);
    bench.refuses_edited("a roll back", "fs-incr", &as_it_is(), &force, ENOSPC);
    let demo = bench.demo();
    set(demo, "demo/fs", "quota", used + 25 * MIB);
    demo.receive(&golden::stream("fs-incr"), &force, &[]).unwrap();
    assert!(get(demo, "usedbyrefreservation") > 29 * MIB, "{}", get(demo, "usedbyrefreservation"));
    demo.check("rolled back");

    // The whole pool is reserved: what comes has no room, though there is some on the device.
    let demo = Demo::new("a", 12, 128 << 20);
    demo.receive(&golden::stream("rs512"), &target("demo/fs@s"), &[]).unwrap();
    let (_, available, _) = demo.run(&[], "get -Hp -o value available demo", b"");
    set(&demo, "demo/fs", "refreservation", available.trim().parse::<u64>().unwrap() - MIB / 4);
    let bench = Bench::over(demo);
    bench.refuses_edited("beside what is reserved", "fs-full", &as_it_is(), &target("demo/new@a"), ENOSPC);
}

/// Nobody gets to it by receiving alone: every receive takes transaction groups of its own.
#[test]
fn two_snapshots_in_one_transaction_group() {
    let demo = Demo::new("a", 12, 128 << 20);
    demo.receive(&golden::stream("fs-full"), &target("demo/fs@a"), &[]).unwrap();
    let before = demo.datasets();
    let received = ReceivedSnapshot { name: "b".to_owned(), guid: Guid(7), creation_time: 7, ivset: None };
    let end = |pool: &mut WritablePool, is_committed: bool| {
        let head = pool.dsl().head("demo/fs").unwrap().object();
        let base = pool.tx().snapshot(&["demo/fs@base".to_owned()]).unwrap()[0];
        if is_committed {
            pool.commit().unwrap();
        }
        let filled = pool.create_receive_child(head, Some(base), false).unwrap();
        pool.tx().begin_receive(filled, &Filling::default()).unwrap();
        pool.tx().end_receive(filled, Some(head), false, &received)
    };
    let mut pool = demo.writable();
    let error = Error::from(end(&mut pool, false).expect_err("too close"));
    assert_eq!(error.errno(), EAGAIN, "{error}");
    drop(pool);
    assert_eq!(demo.datasets(), before);
    demo.change(|pool| end(pool, true).unwrap());
    assert!(demo.datasets().contains_key("demo/fs@b"));
    demo.check("two snapshots");
}
