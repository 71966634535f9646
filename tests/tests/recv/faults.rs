//! Streams that are cut short or damaged never become a snapshot, and leave the target as it was, or where it was asked for to
//! be resumed.

use zstream_format::errno::Errno;
use zstream_format::token::ResumeToken;
use zstream_recv::Target;
use zstream_tests::golden;
use zstream_tests::manifest;
use zstream_tests::receiving::{Demo, target};
use zstream_tests::samples::record_places;
use zstream_tests::sending::{Sending, resume, stream};

/// Names of all datasets with their snapshots.
fn names(demo: &Demo) -> Vec<String> {
    let mut names = Vec::new();
    demo.reading()
        .dsl
        .walk(&mut |dir| {
            if dir.phys().head.is_some() {
                let head = dir.head()?;
                names.push(format!("{} {}", head.name(), head.phys().guid));
                names.extend(head.snapshots()?.iter().map(|snapshot| snapshot.name().to_owned()));
            }
            Ok(())
        })
        .unwrap();
    names
}

#[test]
fn a_stream_that_is_cut_short_leaves_the_target_as_it_was() {
    let demo = Demo::default();
    demo.receive(&golden::stream("fs-full"), &target("demo/fs@a"), &[]).unwrap();
    let before = names(&demo);
    for (name, to) in [("fs-full-c", "demo/new@a"), ("fs-incr", "demo/fs@b")] {
        let whole = golden::stream(name);
        let places = record_places(&whole);
        let cuts = places.iter().step_by(7).flat_map(|place| [*place, place + 1, place + 312]);
        for cut in cuts.chain([whole.len() - 1]).filter(|cut| *cut > 0 && *cut < whole.len()) {
            let error = demo.receive(&whole[..cut], &target(to), &[]).expect_err("it is cut short");
            assert_eq!(error.errno(), Errno::ZFS_ERR_STREAM_TRUNCATED, "{name} at {cut}: {error}");
            assert_eq!(names(&demo), before, "{name} at {cut}");
        }
    }
    demo.check("after streams that were cut short");
}

#[test]
fn a_damaged_stream_is_never_a_snapshot() {
    let demo = Demo::default();
    demo.receive(&golden::stream("fs-full"), &target("demo/fs@a"), &[]).unwrap();
    let before = names(&demo);
    let whole = golden::stream("fs-incr");
    for step in 0..120_u64 {
        let at = (step.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) as usize % whole.len();
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (step % 8);
        demo.receive(&damaged, &target("demo/fs@b"), &[]).expect_err("it is damaged");
        assert_eq!(names(&demo), before, "byte {at}");
    }
    demo.check("after damaged streams");
    demo.receive(&whole, &target("demo/fs@b"), &[]).unwrap();
}

/// Cut, kept, sent on from the token, received to the end: the files are the sender's. Full streams and increments.
#[test]
fn an_interrupted_receive_goes_on() {
    let tank = Sending::open(&golden::pool("tank"));
    let demo = Demo::default();
    demo.receive(&golden::stream("fs-full"), &target("demo/fs@a"), &[]).unwrap();
    let cases = [
        ("tank/fs@a", "fs-full", "demo/full", "tank_fs_a"),
        ("-L -e -c tank/fs@a", "fs-full-Lec", "demo/lec", "tank_fs_a"),
        ("-i @a tank/fs@b", "fs-incr", "demo/fs", "tank_fs_b"),
    ];
    for (words, name, dataset, files) in cases {
        let whole = golden::stream(name);
        let places = record_places(&whole);
        for share in [3, 2, 1] {
            let snapshot = format!("{dataset}{share}@s");
            let to = if name == "fs-incr" { "demo/fs@b".to_owned() } else { snapshot };
            let to = Target { resumable: true, ..target(&to) };
            let cut = places[places.len() - places.len() / (share + 1)] + 100;
            let error = demo.receive(&whole[..cut], &to, &[]).expect_err("it is cut short");
            assert_eq!(error.errno(), Errno::ZFS_ERR_STREAM_TRUNCATED, "{error}");
            // Another stream is refused meanwhile.
            let error = demo.receive(&whole, &to, &[]).expect_err("it is to be resumed");
            assert_eq!(error.errno(), Errno::EBUSY, "{error}");
            let token: ResumeToken = {
                let reading = demo.reading();
                reading.dsl.dataset(&to.dataset).unwrap().resume_token().unwrap().expect("a token")
            };
            assert!(token.bytes as usize <= cut, "{} bytes of {cut}", token.bytes);
            let mut plan = tank.plan(words);
            resume(&mut plan, &token);
            demo.receive(&stream(&plan).0, &to, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
            let reading = demo.reading();
            let set = reading.dsl.dataset(&to.full_name()).unwrap().objset().unwrap();
            golden::manifest(files).assert_same(&manifest::of(&*set), name);
            if name == "fs-incr" {
                break;
            }
        }
    }
    demo.check("after interrupted receives");
}

/// Each rule of the begin that needs no special stream, with its errno, and the pool is as it was.
#[test]
fn refusals_have_the_errno_of_zfs_and_change_nothing() {
    let demo = Demo::default();
    demo.receive(&golden::stream("fs-full"), &target("demo/fs@a"), &[]).unwrap();
    demo.receive(&golden::stream("rs512"), &target("demo/other@s"), &[]).unwrap();
    demo.receive(&golden::stream("vol"), &target("demo/vol@s"), &[]).unwrap();
    demo.receive(&golden::stream("rs1m-Lec"), &target("demo/large@s"), &[]).unwrap();
    demo.receive(&golden::stream("fs-redacted"), &target("demo/red@a"), &[]).unwrap();
    let before = names(&demo);
    let origin = |name: &str, origin: &str| Target { origin: Some(origin.to_owned()), ..target(name) };
    let force = |name: &str| Target { force: true, ..target(name) };
    let heal = |name: &str| Target { heal: true, ..target(name) };
    for (stream, to, errno) in [
        ("fs-full", target("demo/fs@a"), Errno::EEXIST),
        ("fs-full", target("demo/fs@z"), Errno::EEXIST),
        ("fs-full", target("demo/no/fs@a"), Errno::ENOENT),
        ("fs-full", target("demo/%x@a"), Errno::EINVAL),
        ("fs-full", target("demo/vol/fs@a"), Errno::ZFS_ERR_WRONG_PARENT),
        ("fs-full", origin("demo/c@a", "demo/fs@none"), Errno::ENOENT),
        ("fs-incr", target("demo/new@b"), Errno::ENOENT),
        ("fs-incr", target("demo/other@b"), Errno::ENODEV),
        ("fs-incr", target("demo/fs@a"), Errno::EEXIST),
        ("fs-incr", origin("demo/c@b", "demo/other@s"), Errno::ENODEV),
        ("fs-incr", origin("demo/fs@b", "demo/fs@a"), Errno::EINVAL),
        ("fs-incr", target("demo/red@b"), Errno::EINVAL),
        ("clone-incr", target("demo/c@x"), Errno::EINVAL),
        ("clone-incr", target("demo/fs@x"), Errno::EINVAL),
        ("e-aes-256-gcm-raw-incr", target("demo/fs@t"), Errno::EINVAL),
        ("e-aes-256-gcm-raw", force("demo/other@t"), Errno::EINVAL),
        ("fs-full-resumed", target("demo/none@a"), Errno::ENOENT),
        ("fs-full-resumed", target("demo/fs@b"), Errno::EINVAL),
        ("fs-full", heal("demo/fs@z"), Errno::ENOENT),
        ("fs-full", heal("demo/none@a"), Errno::ENOTSUP),
        ("fs-full", heal("demo/other@s"), Errno::ENOTSUP),
        ("tree-R", target("demo/tree@1"), Errno::EINVAL),
    ] {
        let error = demo.receive(&golden::stream(stream), &to, &[]).expect_err(stream);
        assert_eq!(error.errno(), errno, "{stream} into {}: {error}", to.full_name());
        assert_eq!(names(&demo), before, "{stream} into {}", to.full_name());
    }
    demo.check("after refusals");
}

/// As in OpenZFS, what a dataset holds before its receive is done is nothing to be snapshot or changed.
#[test]
fn what_was_received_in_part_is_busy() {
    let demo = Demo::default();
    let whole = golden::stream("fs-full");
    let to = Target { resumable: true, ..target("demo/half@a") };
    demo.receive(&whole[..whole.len() / 2], &to, &[]).expect_err("it is cut short");
    let file = tempfile::NamedTempFile::new().unwrap();
    let put = format!("put {} demo/half:/", file.path().display());
    for line in ["snapshot demo/half@x", "snapshot demo@x demo/half@x", put.as_str()] {
        let (code, _, message) = demo.run(&[], line, b"");
        assert_eq!(code, 1, "{line}");
        assert!(message.contains("demo/half was only partially received"), "{line}: {message}");
    }
    let (code, _, message) = demo.run(&[], "snapshot -r demo@x", b"");
    assert_eq!(code, 0, "{message}");
    let kept: Vec<String> = demo.datasets().into_keys().filter(|name| name.contains('@')).collect();
    assert_eq!(kept, ["demo@x"]);
}
