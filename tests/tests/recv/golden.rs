//! Golden streams received into pools of ours: the files are those of the manifests, and sent again they are the same streams.

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::checksum::Checksum;
use zstream_format::compress::decompress;
use zstream_format::flags::{FeatureFlags, WriteFlags};
use zstream_format::record::{Body, Write};
use zstream_format::stream::StreamReader;
use zstream_recv::Target;
use zstream_tests::golden;
use zstream_tests::manifest;
use zstream_tests::receiving::{Demo, target};
use zstream_tests::sending::stream;

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

fn features(stream: &[u8]) -> FeatureFlags {
    let mut reader = StreamReader::new(stream);
    let record = reader.next().unwrap().unwrap();
    let Some(Body::Begin(begin)) = record.header.body() else { panic!("no BEGIN") };
    begin.version_info.features()
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
        if features(&golden::stream(name)).contains(FeatureFlags::RAW) {
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

/// The words that send a dataset as a golden stream was sent.
fn words(name: &str, to: &str) -> Option<String> {
    let features = features(&golden::stream(name));
    let has = |feature, option| if features.contains(feature) { option } else { "" };
    let form = if features.contains(FeatureFlags::RAW) {
        "-w".to_owned()
    } else {
        let large = has(FeatureFlags::LARGE_BLOCKS, "-L ");
        format!("{large}{}{}", has(FeatureFlags::EMBED_DATA, "-e "), has(FeatureFlags::COMPRESSED, "-c"))
    };
    // Where an increment starts cannot be said again everywhere. What a redaction left out is a hole, and has no content.
    let from = match (name, to) {
        ("fs-incr", _) | ("fs-incr-ec", _) | ("fs-incr-book", _) | ("fs-incr-ac", _) => "-i @a",
        ("vol-incr" | "e-aes-256-gcm-raw-incr" | "e-aes-128-ccm-raw-incr", _) => "-i @s",
        ("clone-incr", _) => "-i demo/fs1@a",
        ("fs-from-redbook" | "fs-unredact", _) => return None,
        _ => "",
    };
    Some(format!("{form} {from} {to}"))
}

/// A record with content: what it says, how its payload is compressed, and the payload.
type Content = (String, CompressionType, Vec<u8>);

/// The records with content of a stream, in their order, without what the pool that they lie in says of them: the checksum
/// of a block there, which depends on the properties that it was written with.
fn content(stream: &[u8]) -> Vec<Content> {
    let mut found = Vec::new();
    let mut reader = StreamReader::new(stream);
    while let Some(record) = reader.next().unwrap() {
        let mut compression = CompressionType::INHERIT;
        let what = match record.header.body() {
            Some(Body::Object(body)) => format!("{body:?}"),
            // A large block with content may come in small ones without: those are holes then.
            Some(Body::Write(_)) if record.payload.iter().all(|byte| *byte == 0) => continue,
            Some(Body::Write(body)) => {
                compression = body.compression;
                let plain = Write {
                    checksum_type: ChecksumType::default(),
                    flags: WriteFlags::default(),
                    compression: CompressionType::INHERIT,
                    compressed_size: 0,
                    key_checksum: Checksum::ZERO,
                    key_prop: 0,
                    ..body
                };
                format!("{plain:?}")
            }
            Some(Body::WriteEmbedded(body)) => format!("{body:?}"),
            Some(Body::Spill(body)) => format!("{body:?}"),
            _ => continue,
        };
        found.push((what, compression, record.payload.to_vec()));
    }
    found
}

/// The same payload, or one that came uncompressed and was compressed as the target wants it.
fn is_same(found: &Content, expected: &Content) -> bool {
    if found.1 == expected.1 {
        return found.2 == expected.2;
    }
    let mut plain = vec![0; expected.2.len()];
    expected.1 == CompressionType::INHERIT
        && decompress(found.1, &found.2, &mut plain).is_ok()
        && plain == expected.2
}

/// Sent again, each dataset has the records of the stream that it was received from.
fn compare_streams(demo: &Demo) {
    let reading = demo.reading();
    let mut compared = 0;
    for (name, to, _, _) in RECEIVES {
        let Some(words) = words(name, to) else { continue };
        let sent = stream(&reading.plan(&words)).0;
        assert!(!features(&sent).contains(FeatureFlags::REDACTED), "{name}: holes are not redacted anew");
        let (found, expected) = (content(&sent), content(&golden::stream(name)));
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.0, expected.0, "{name}: send {words}");
            assert!(is_same(found, expected), "{name}: send {words}: payload of {}", found.0);
        }
        assert_eq!(found.len(), expected.len(), "{name}: send {words}");
        compared += 1;
    }
    assert!(compared > 35, "{compared}");
}

#[test]
fn every_golden_stream_is_received() {
    let demo = Demo::default();
    receive_all(&demo);
    compare_files(&demo);
    demo.check("all golden streams");
}

/// In a pool with the sectors of the sender's, so that compressed blocks fill as many.
#[test]
fn what_was_received_is_sent_as_it_came() {
    let demo = Demo::new("a", 9, 512 << 20);
    receive_all(&demo);
    compare_streams(&demo);
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
