//! Golden streams received into pools of ours: the files are those of the manifests, and sent again they are the same streams.

use zstream_format::flags::FeatureFlags;
use zstream_format::record::Body;
use zstream_format::stream::StreamReader;
use zstream_recv::rules::Target;
use zstream_tests::golden;
use zstream_tests::manifest;
use zstream_tests::receiving::{Demo, target};

/// Streams of one snapshot, each where it goes: stream, target, origin of a clone, manifest.
const RECEIVES: &[(&str, &str, &str, &str)] = &[
    ("fs-full", "demo/fs1@a", "", "tank_fs_a"),
    ("fs-incr", "demo/fs1@b", "", "tank_fs_b"),
    ("clone-incr", "demo/clone@x", "demo/fs1@a", "tank_clone_x"),
    ("fs-full-c", "demo/fs2@a", "", "tank_fs_a"),
    ("fs-incr-ac", "demo/fs2@c", "", "tank_fs_c"),
    ("fs-full-e", "demo/fs3@a", "", "tank_fs_a"),
    ("fs-incr-ec", "demo/fs3@b", "", "tank_fs_b"),
    ("fs-full-Lec", "demo/fs4@a", "", "tank_fs_a"),
    ("fs-incr-book", "demo/fs4@b", "", "tank_fs_b"),
    ("fs-redacted", "demo/red@a", "", ""),
    ("fs-from-redbook", "demo/red@b", "", ""),
    ("fs-redacted-two", "demo/red2@a", "", ""),
    // Lacks the last block of an object (OpenZFS issue 18477), so its files are not those of the sender.
    ("fs-unredact", "demo/whole@a", "demo/red2@a", ""),
    ("rs512", "demo/rs512@s", "", "tank_rs512_s"),
    ("rs512-Lec", "demo/rs512L@s", "", "tank_rs512_s"),
    ("rs4k", "demo/rs4k@s", "", "tank_rs4k_s"),
    ("rs4k-Lec", "demo/rs4kL@s", "", "tank_rs4k_s"),
    ("rs1m", "demo/rs1m@s", "", "tank_rs1m_s"),
    ("rs1m-Lec", "demo/rs1mL@s", "", "tank_rs1m_s"),
    ("dn", "demo/dn@s", "", "tank_dn_s"),
    ("dn-Lec", "demo/dnL@s", "", "tank_dn_s"),
    ("c-off-c", "demo/c-off@s", "", "tank_c-off_s"),
    ("c-lzjb-c", "demo/c-lzjb@s", "", "tank_c-lzjb_s"),
    ("c-gzip-9-c", "demo/c-gzip@s", "", "tank_c-gzip-9_s"),
    ("c-zle-c", "demo/c-zle@s", "", "tank_c-zle_s"),
    ("c-zstd-3-c", "demo/c-zstd@s", "", "tank_c-zstd-3_s"),
    ("c-zstd-fast-10-c", "demo/c-fast@s", "", "tank_c-zstd-fast-10_s"),
    ("k-fletcher2", "demo/k-fletcher2@s", "", ""),
    ("k-sha256", "demo/k-sha256@s", "", ""),
    ("k-skein", "demo/k-skein@s", "", ""),
    ("k-edonr", "demo/k-edonr@s", "", ""),
    ("k-blake3", "demo/k-blake3@s", "", ""),
    ("e-aes-256-gcm-raw", "demo/gcm@s", "", "tank_e-aes-256-gcm_s"),
    ("e-aes-256-gcm-raw-incr", "demo/gcm@t", "", "tank_e-aes-256-gcm_t"),
    ("e-aes-256-gcm-plain", "demo/gcmp@s", "", "tank_e-aes-256-gcm_s"),
    ("e-aes-128-ccm-raw", "demo/ccm@s", "", ""),
    ("e-aes-128-ccm-raw-incr", "demo/ccm@t", "", "tank_e-aes-128-ccm_t"),
    ("e-aes-128-ccm-plain", "demo/ccmp@s", "", ""),
    ("vol", "demo/vol@s", "", ""),
    ("vol-incr", "demo/vol@t", "", ""),
    ("pmirror", "demo/pmirror@s", "", "pmirror_s"),
    ("praidz1", "demo/praidz1@s", "", "praidz1_s"),
    ("praidz2", "demo/praidz2@s", "", "praidz2_s"),
    ("praidz3", "demo/praidz3@s", "", "praidz3_s"),
    ("fs-head", "demo/head@now", "", "tank_c-off_s"),
];

fn is_raw(stream: &[u8]) -> bool {
    let mut reader = StreamReader::new(stream);
    let record = reader.next().unwrap().unwrap();
    let Some(Body::Begin(begin)) = record.header.body() else { panic!("no BEGIN") };
    begin.version_info.features().contains(FeatureFlags::RAW)
}

fn receive_all(demo: &Demo) {
    for (name, to, origin, _) in RECEIVES {
        let origin = (!origin.is_empty()).then(|| (*origin).to_owned());
        let target = Target { origin, ..target(to) };
        let received = demo.receive(&golden::stream(name), &target, &[]);
        received.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

fn compare_files(demo: &Demo) {
    let reading = demo.reading();
    for (name, to, _, files) in RECEIVES {
        if is_raw(&golden::stream(name)) {
            reading.unlock(to.split('@').next().unwrap());
        }
        if files.is_empty() {
            continue;
        }
        let snapshot = reading.dsl.dataset(to).unwrap();
        let found = manifest::of(&*snapshot.objset().unwrap());
        golden::manifest(files).assert_same(&found, name);
    }
}

#[test]
fn every_golden_stream_is_received() {
    let demo = Demo::default();
    receive_all(&demo);
    compare_files(&demo);
    demo.check("all golden streams");
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_zdb_finds_received_pools_clean() {
    for (words, ashift) in [("a", 12), ("a", 9), ("mirror a b", 12), ("raidz a b c", 9)] {
        let demo = Demo::new(words, ashift, 512 << 20);
        receive_all(&demo);
        demo.zdb(words);
    }
}
