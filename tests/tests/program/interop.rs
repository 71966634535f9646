//! Against OpenZFS's own `zstream`, which has to be installed: `cargo xtask interop`.

use std::path::PathBuf;
use zstream_format::algorithm::CompressionType;
use zstream_tests::edit::{is_package, recompress};
use zstream_tests::{golden, openzfs, samples};

/// A file with these bytes, in a directory that goes away with the second value.
fn file(bytes: &[u8]) -> (PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("stream");
    std::fs::write(&path, bytes).expect("room for a stream");
    (path, dir)
}

/// The recorded outputs are those of the installed OpenZFS.
#[test]
#[ignore = "needs OpenZFS's zstream: cargo xtask interop"]
fn interop_recordings_are_true() {
    for name in golden::streams() {
        let path = golden::stream_path(&name);
        for (kind, options) in [("dump", &[][..]), ("dump-v", &["-v"]), ("dump-C", &["-C"])] {
            let args = [&["dump"], options, &[path.to_str().expect("a path in UTF-8")]].concat();
            let case = format!("{kind}/{name}");
            assert!(golden::expected(&case) == Some(openzfs::run("zstream", &args, None)), "{case}");
        }
    }
    for (name, bytes) in golden::damaged() {
        let (path, _dir) = file(&bytes);
        let real = openzfs::run("zstream", &["dump", "-v", path.to_str().expect("a path in UTF-8")], None);
        assert!(golden::expected(&format!("damaged/{name}")) == Some(real), "damaged/{name}");
    }
}

/// OpenZFS finds nothing wrong with streams that were put together here. (It cannot read the other byte order.)
#[test]
#[ignore = "needs OpenZFS's zstream: cargo xtask interop"]
fn interop_written_streams_are_read() {
    for sample in samples::samples().iter().filter(|s| s.name != "other byte order") {
        let (path, _dir) = file(&sample.bytes);
        let outcome = openzfs::run("zstream", &["dump", "-v", path.to_str().expect("a path in UTF-8")], None);
        let text = String::from_utf8_lossy(&outcome.stdout);
        assert_eq!((outcome.code, &outcome.stderr[..]), (0, &b""[..]), "{}", sample.name);
        assert!(!text.contains("Expected checksum"), "{}: {text}", sample.name);
        let length = format!("Total stream length = {} ", sample.bytes.len());
        assert!(text.contains(&length), "{}: no {length:?} in {text}", sample.name);
    }
}

/// What is compressed here OpenZFS decompresses to the same blocks, for every algorithm.
#[test]
#[ignore = "needs OpenZFS's zstream: cargo xtask interop"]
fn interop_compressed_here_decompressed_there() {
    for name in ["fs-full", "rs1m-Lec", "c-off-c", "vol", "dn"] {
        let stream = golden::stream(name);
        assert!(!is_package(&stream));
        let plain = recompress(&stream, CompressionType::OFF);
        for kind in ["lz4", "lzjb", "zle", "gzip-1", "gzip-6", "gzip-9", "zstd"] {
            let made = recompress(&stream, CompressionType::from_name(kind).expect("an algorithm"));
            assert!(kind == "zle" || made.len() < plain.len(), "{name} to {kind} is not smaller");
            let (path, _dir) = file(&made);
            let back = openzfs::run("zstream", &["recompress", "off"], Some(&path));
            assert_eq!(
                (back.code, String::from_utf8_lossy(&back.stderr)),
                (0, "".into()),
                "{name} from {kind}"
            );
            assert!(back.stdout == plain, "{name} from {kind}");
        }
    }
}
