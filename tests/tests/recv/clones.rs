//! Streams received as clones of a snapshot that is there: increments and full streams.

use zstream_format::errno::Errno;
use zstream_recv::Target;
use zstream_tests::golden;
use zstream_tests::manifest;
use zstream_tests::receiving::{Demo, target};

fn clone(name: &str, origin: &str) -> Target {
    Target { origin: Some(origin.to_owned()), ..target(name) }
}

fn compare(demo: &Demo, name: &str, files: &str) {
    let set = demo.reading().dsl.dataset(name).unwrap().objset().unwrap();
    golden::manifest(files).assert_same(&manifest::of(&*set), name);
}

/// Whatever the origin holds, a full stream makes of its clone what was sent; the last object of `dn` has several slots.
#[test]
fn a_full_stream_becomes_a_clone_of_anything() {
    let demo = Demo::new("a", 12, 192 << 20);
    demo.receive(&golden::stream("fs-full"), &target("demo/fs@a"), &[]).unwrap();
    demo.receive(&golden::stream("dn"), &target("demo/dn@s"), &[]).unwrap();
    for (name, origin, files) in [
        ("dn-Lec", "demo/fs@a", "tank_dn_s"),
        ("rs1m-Lec", "demo/fs@a", "tank_rs1m_s"),
        ("rs512", "demo/dn@s", "tank_rs512_s"),
        ("fs-full-c", "demo/dn@s", "tank_fs_a"),
    ] {
        let to = format!("demo/of-{name}@s");
        demo.receive(&golden::stream(name), &clone(&to, origin), &[])
            .unwrap_or_else(|error| panic!("{name} as a clone of {origin}: {error}"));
        compare(&demo, &to, files);
        let reading = demo.reading();
        let found = reading.dsl.dataset(&to).unwrap().dir().origin().unwrap().unwrap();
        assert_eq!(found.name(), origin);
    }
    compare(&demo, "demo/fs@a", "tank_fs_a");
    compare(&demo, "demo/dn@s", "tank_dn_s");
    demo.check("full streams as clones");
}

/// What the filesystem above a clone holds is nothing to it; what its origin holds is.
#[test]
fn large_blocks_of_the_origin_count_not_those_above() {
    let demo = Demo::new("a", 12, 128 << 20);
    demo.receive(&golden::stream("fs-full"), &target("demo/fs@a"), &[]).unwrap();
    demo.receive(&golden::stream("rs1m-Lec"), &target("demo/large@s"), &[]).unwrap();
    demo.receive(&golden::stream("clone-incr"), &clone("demo/large/clone@x", "demo/fs@a"), &[]).unwrap();
    compare(&demo, "demo/large/clone@x", "tank_clone_x");
    let before = demo.datasets();
    let error = demo.receive(&golden::stream("rs512"), &clone("demo/c@s", "demo/large@s"), &[]).unwrap_err();
    assert_eq!(error.errno(), Errno::ZFS_ERR_STREAM_LARGE_BLOCK_MISMATCH, "{error}");
    assert_eq!(demo.datasets(), before);
    demo.check("a clone below large blocks");
}
