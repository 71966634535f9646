//! When a receive makes a feature of the pool active: as OpenZFS, with the first block or object that needs it, not because the
//! stream says that there may be one.

use zstream_tests::golden;
use zstream_tests::receiving::{Demo, target};

#[test]
fn features_come_with_the_first_block_that_needs_them() {
    let demo = Demo::new("a", 12, 128 << 20);
    let mut expected: Vec<&str> = Vec::new();
    for (name, brings) in [
        // Announces large blocks, and has none: recorded with OpenZFS 2.3.2, which leaves the feature enabled.
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
    // An increment without large blocks follows one that announced them and had none, but not one that had some.
    demo.receive(&golden::stream("fs-incr"), &target("demo/fs-full-Lec@b"), &[]).unwrap();
    demo.check("features");
}
