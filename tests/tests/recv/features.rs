//! When a receive makes a feature of the pool active: with the first block or object that needs it, or when it begins, where the
//! stream says that the sender's dataset used it once.

use zstream_dsl::dataset::feature::LARGE_BLOCKS;
use zstream_format::errno::Errno;
use zstream_format::flags::FeatureFlags;
use zstream_recv::Target;
use zstream_tests::edit::{features, records};
use zstream_tests::golden;
use zstream_tests::receiving::{Demo, target};
use zstream_tests::sending::stream;

#[test]
fn features_become_active_as_streams_need_them() {
    let demo = Demo::new("a", 12, 128 << 20);
    let mut expected: Vec<&str> = Vec::new();
    for (name, brings) in [
        // Sent with -L from datasets that never had large blocks: they do not announce any.
        ("rs4k-Lec", &[][..]),
        ("fs-full-Lec", &[]),
        ("rs1m-Lec", &["large_blocks"]),
        ("dn-Lec", &["large_dnode"]),
        ("c-zstd-3-c", &["zstd_compress"]),
        ("fs-redacted", &["redacted_datasets"]),
        ("e-aes-256-gcm-raw", &["encryption", "bookmark_v2"]),
    ] {
        demo.receive(&golden::stream(name), &target(&format!("demo/{name}@s")), &[]).unwrap();
        expected.extend(brings);
        let reading = demo.reading();
        for feature in ["large_blocks", "large_dnode", "zstd_compress", "redacted_datasets", "encryption"] {
            let is_active = reading.pool.features().is_active(feature);
            assert_eq!(is_active, expected.contains(&feature), "{feature} after {name}");
        }
    }
    demo.check("features");
}

/// A stream with these features in its BEGIN, as from a dataset that used them once and does not any more.
fn announcing(stream: &[u8], more: FeatureFlags) -> Vec<u8> {
    use zstream_format::record::Body;
    let mut writer = zstream_format::stream::StreamWriter::new(Vec::new());
    for (mut header, payload) in records(stream) {
        if let Some(Body::Begin(mut begin)) = header.body() {
            begin.version_info = begin.version_info.with_features(begin.version_info.features() | more);
            header.set_body(begin);
        }
        writer.write(&header, &payload).unwrap();
    }
    writer.into_inner()
}

/// What a stream announces, the dataset that it made announces in turn: otherwise those that have received from the first sender
/// refuse what the second one sends.
#[test]
fn what_a_stream_announces_is_sent_on() {
    let kinds = [
        (FeatureFlags::LARGE_BLOCKS, "large_blocks"),
        (FeatureFlags::LARGE_BLOCKS | FeatureFlags::LARGE_MICROZAP, "large_microzap"),
        (FeatureFlags::LONGNAME, "longname"),
    ];
    let (full, increment) = (golden::stream("fs-full"), golden::stream("fs-incr"));
    for (flags, feature) in kinds {
        let demo = Demo::new("a", 12, 128 << 20);
        let sent = |words: &str| {
            let sent = stream(&demo.reading().plan(words)).0;
            features(&records(&sent)[0].0).unwrap() & (flags | FeatureFlags::LARGE_BLOCKS)
        };
        let has = |name: &str| demo.reading().dsl.dataset(name).unwrap().has_feature(feature).unwrap();
        let (full_with, with) = (announcing(&full, flags), announcing(&increment, flags));
        // From the first snapshot on; with the increment; with an increment that is interrupted and resumed.
        demo.receive(&full_with, &target("demo/full@a"), &[]).unwrap();
        demo.receive(&with, &target("demo/full@b"), &[]).unwrap();
        demo.receive(&full, &target("demo/incr@a"), &[]).unwrap();
        demo.receive(&with, &target("demo/incr@b"), &[]).unwrap();
        let cut = Target { resumable: true, ..target("demo/cut@a") };
        demo.receive(&full_with[..full_with.len() / 2], &cut, &[]).unwrap_err();
        assert!(has("demo/full") && has("demo/full@a") && has("demo/full@b"), "{feature}");
        assert!(has("demo/incr") && !has("demo/incr@a") && has("demo/incr@b"), "{feature}");
        assert!(has("demo/cut"), "{feature}");
        for dataset in ["demo/full", "demo/incr"] {
            assert_eq!(sent(&format!("-L -i @a {dataset}@b")), flags, "{feature} of {dataset}");
        }
        if flags.contains(FeatureFlags::LARGE_BLOCKS) {
            let error = demo.receive(&increment, &target("demo/full@c"), &[]).unwrap_err();
            assert!([Errno::ENODEV, Errno::ETXTBSY].contains(&error.errno()), "{error}");
            demo.receive(&full_with, &target("demo/again@a"), &[]).unwrap();
            let error = demo.receive(&increment, &target("demo/again@b"), &[]).unwrap_err();
            assert_eq!(error.errno(), Errno::ZFS_ERR_STREAM_LARGE_BLOCK_MISMATCH, "{error}");
        }
        assert!(
            demo.reading().dsl.dataset("demo/full").unwrap().has_feature(LARGE_BLOCKS).unwrap()
                == flags.contains(FeatureFlags::LARGE_BLOCKS)
        );
        demo.check(feature);
    }
}
