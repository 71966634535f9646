//! Names out of streams and images, in all that the program prints.
//!
//! Strings in a stream become hostile, as many bytes as before, with checksums made right again; the same names are those of files,
//! links, attributes and properties in a pool. Whatever the verbs make of it, they print no control character but line ends and
//! tabs, and none that hides or turns text.

use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use zstream_format::record::{Body, Header};
use zstream_format::shown::is_hidden;

use super::super::Rng;
use super::super::corpus;
use crate::edit::{rechained, records};
use crate::golden::{self, Outcome};
use crate::program;

/// Bytes that a terminal obeys, a line that they end or turn, and what is not UTF-8.
const HOSTILE: [&[u8]; 14] = [
    b"\x1b[2J",
    b"\x1b]0;x\x07",
    b"\n",
    b"\r",
    b"\t",
    b"\x08",
    b"\x7f",
    b"\xc2\x9b31m",
    b"\xc2\x85",
    b"\xe2\x80\xae",
    b"\xe2\x81\xa6",
    b"\xe2\x80\xa8",
    b"\xe2\x80\x8b",
    b"\xff",
];

/// Golden streams with names of every kind: packages with properties and holds, a raw one.
const KINDS: [&str; 4] = ["fs-package-I", "fs-full-p", "tree-R", "e-aes-256-gcm-raw"];

/// Where the name of the snapshot is in the header of a BEGIN.
const NAME_OFFSET: usize = 56;

/// The shortest run of letters that is taken for a name.
const NAME_BYTES_MIN: usize = 2;

pub(super) fn corpus() -> Vec<Vec<u8>> {
    // Built before the first input, whose time is limited.
    program::path();
    KINDS.iter().map(|name| corpus::shortened(golden::stream(name))).collect()
}

/// Writes over strings, in headers and in payloads.
pub(super) fn mutate(input: &mut Vec<u8>, rng: &mut Rng, _: &[Vec<u8>]) {
    let mut pieces = records(input);
    for (header, payload) in &mut pieces {
        let mut bytes = *header.as_bytes();
        // The name in a BEGIN; other headers have no strings.
        if matches!(header.body(), Some(Body::Begin(_))) {
            spoil(&mut bytes[NAME_OFFSET..], rng);
        }
        *header = Header::from_bytes(bytes, header.order());
        spoil(payload, rng);
    }
    if let Some(bytes) = rechained(&pieces) {
        *input = bytes;
    }
}

fn spoil(bytes: &mut [u8], rng: &mut Rng) {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"/@:_-".contains(byte);
    for run in bytes.chunk_by_mut(|a, b| is_letter(a) && is_letter(b)) {
        if run.len() < NAME_BYTES_MIN || !is_letter(&run[0]) || rng.one_in(3) {
            continue;
        }
        let hostile = rng.pick::<&[u8]>(&HOSTILE);
        if hostile.len() <= run.len() {
            let at = rng.below(run.len() - hostile.len() + 1);
            run[at..at + hostile.len()].copy_from_slice(hostile);
        }
    }
}

fn judge(words: &[&str], outcome: &Outcome) {
    for (which, bytes) in [("standard output", &outcome.stdout), ("standard error", &outcome.stderr)] {
        let text = std::str::from_utf8(bytes);
        let text = text.unwrap_or_else(|error| panic!("{words:?}: {which} is not UTF-8: {error}: {bytes:?}"));
        let found = text.chars().find(|c| is_hidden(*c) && *c != '\n' && *c != '\t');
        assert_eq!(found, None, "{words:?}: a character of the input reaches {which}: {text:?}");
    }
    if words.contains(&"--json") && outcome.code == 0 {
        for line in std::str::from_utf8(&outcome.stdout).expect("UTF-8").lines() {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON in a line");
        }
    }
}

fn run_one(words: &[&str], input: &[u8]) -> Outcome {
    let outcome = program::zstream(words, input);
    judge(words, &outcome);
    outcome
}

pub(super) fn run(input: &[u8]) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (stream, image, out) = (path("stream"), path("pool.img"), path("out"));
    fs::write(&stream, input).expect("the stream is written");
    for words in [
        &["info", &stream][..],
        &["info", "--json", &stream],
        &["verify", &stream],
        &["verify", "--json", &stream],
        &["resume-token", &stream],
        &["resume-token", "--json", &stream],
        &["select", "--dataset", "none", &stream],
        &["-f", &stream, "ls", "-l"],
        &["-f", &stream, "extract", "-C", &out],
    ] {
        run_one(words, b"");
    }
    make_pool(dir.path(), &image, input);
    for words in [
        &["recv", "-n", "-v", "-d", "hostile/below"][..],
        &["recv", "-v", "-d", "hostile/below"],
        &["recv", "--json", "-d", "-F", "hostile"],
    ] {
        run_one(&[&["-d", &image], words].concat(), input);
    }
    for words in [
        &["list", "-r", "-t", "all"][..],
        &["list", "-j"],
        &["get", "all", "hostile"],
        &["get", "-H", "all", "hostile"],
        &["get", "-j", "all", "hostile"],
        &["ls", "hostile"],
        &["ls", "-l", "hostile"],
        &["extract", "-C", &out, "hostile"],
        &["extract", "-C", &out, "hostile"],
        &["pool", "show"],
        &["pool", "show", "--json"],
        &["pool", "check"],
        &["pool", "check", "--json"],
        &["send", "-nvR", "hostile@snapshot"],
        &["holds", "hostile@snapshot"],
    ] {
        run_one(&[&["-d", &image], words].concat(), b"");
    }
}

/// A pool whose files, links and properties have names and values out of the input.
fn make_pool(dir: &Path, image: &str, input: &[u8]) {
    let parts =
        input.chunk_by(|a, b| *a != 0 && *b != 0).filter(|part| part.len() > 3 && !part.contains(&b'/'));
    let names: Vec<&[u8]> = parts.map(|part| &part[..part.len().min(60)]).take(6).collect();
    let source = dir.join("source");
    fs::create_dir(&source).expect("a directory");
    let mut words: Vec<String> = ["pool", "create", "--size", "64M"].map(str::to_owned).to_vec();
    for (n, name) in names.iter().enumerate() {
        let path = source.join(std::ffi::OsStr::from_bytes(name));
        // Names that are there twice, or that the host does not take, are passed over.
        let _ = match n % 3 {
            0 => fs::write(path, name),
            1 => fs::create_dir(path),
            _ => std::os::unix::fs::symlink(std::ffi::OsString::from_vec(name.to_vec()), path),
        };
        if let Ok(text) = std::str::from_utf8(name) {
            words.extend(["-O".to_owned(), format!("note:n{n}={text}")]);
        }
    }
    words.extend(["hostile".to_owned(), image.to_owned()]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(run_one(&words, b"").code, 0, "the pool is made");
    run_one(&["-d", image, "put", &format!("{}/", source.display()), "hostile:/"], b"");
    run_one(&["-d", image, "snapshot", "hostile@snapshot"], b"");
    run_one(&["-d", image, "hold", "tag", "hostile@snapshot"], b"");
}
