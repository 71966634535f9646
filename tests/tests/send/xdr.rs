//! Lists behind BEGIN in XDR, as OpenZFS's development branch sends them: in the fourteen situations in which its tests look at them.

use zstream_format::nvlist::{Encoding, NvList};
use zstream_format::stream::{Role, StreamReader};
use zstream_tests::lab::Lab;

/// The encodings of the lists of a stream and whether each is behind a package's BEGIN, with lengths checked.
fn lists(stream: &[u8]) -> Vec<(bool, Encoding)> {
    let mut reader = StreamReader::new(stream);
    let mut found = Vec::new();
    while let Some(record) = reader.next().expect("a whole stream") {
        let is_package = record.role == Role::PackageBegin;
        if (is_package || record.role == Role::SubstreamBegin) && !record.payload.is_empty() {
            let encoding = NvList::decode(record.payload).expect("a list").packed.encoding;
            let is_padded = record.payload.len().is_multiple_of(8);
            assert!(
                is_package || encoding == Encoding::Native || is_padded,
                "{} bytes",
                record.payload.len()
            );
            found.push((is_package, encoding));
        }
    }
    found
}

/// The stream of `send LINE` with lists in XDR; without the option it is the same but for the encoding.
fn send(lab: &Lab, pool: &str, line: &str) -> Vec<u8> {
    let stream = lab.send(pool, &format!("--xdr {line}"));
    let found = lists(&stream);
    assert!(found.iter().all(|(_, encoding)| *encoding == Encoding::Xdr), "{line}: {found:?}");
    assert!(!found.is_empty(), "{line}: no list");
    let native = lists(&lab.send(pool, line));
    let encoded = |is_package: bool| if is_package { Encoding::Xdr } else { Encoding::Native };
    let expected: Vec<_> = found.iter().map(|(is_package, _)| (*is_package, encoded(*is_package))).collect();
    assert_eq!(native, expected, "{line}");
    stream
}

/// A stream that is cut short and the token with which it is sent on.
fn cut(lab: &Lab, pool: &str, dataset: &str, stream: &[u8]) -> String {
    let outcome = lab.run(pool, &format!("recv -s {dataset}"), &stream[..stream.len() * 3 / 4]);
    assert_eq!(outcome.code, 1);
    let token = lab.get(pool, "receive_resume_token", dataset);
    token.split(' ').next().expect("a token").to_owned()
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A filesystem with two files, a clone of its snapshot `@s0` where one of them was overwritten, and a redaction bookmark.
fn redacted(lab: &Lab, keyed: bool) {
    let create = "create a/src".to_owned();
    let encrypted = "KEY create -o encryption=on -o keyformat=passphrase a/src".to_owned();
    lab.does("a", &[if keyed { &encrypted } else { &create }]);
    let put = |dataset: &str, name: &str, seed: u64| {
        let file = lab.image("a").with_file_name(name);
        std::fs::write(&file, noise(seed, 1 << 20)).unwrap();
        let key = if keyed { "KEY " } else { "" };
        lab.does("a", &[&format!("{key}put {} {dataset}:/", file.display())]);
    };
    put("a/src", "f1", 1);
    put("a/src", "f2", 2);
    lab.does("a", &["snapshot a/src@s0", "clone a/src@s0 a/clone"]);
    put("a/clone", "f1", 3);
    lab.does("a", &["snapshot a/clone@s"]);
    let key = if keyed { "KEY " } else { "" };
    lab.does("a", &[&format!("{key}redact a/src@s0 mark a/clone@s")]);
}

#[test]
fn redacted_streams() {
    let lab = Lab::new(&["a", "b"]);
    redacted(&lab, false);
    // Redacted, and full.
    let full = send(&lab, "a", "--redact mark a/src@s0");
    lab.recv("b", "b/full", &full);
    lab.recv("b", "b/mid", &full);
    lab.recv("b", "b/third", &full);
    // Of what was received redacted; in full and as an increment.
    lab.recv("b", "b/again", &send(&lab, "b", "b/mid@s0"));
    lab.does("b", &["snapshot b/mid@s1"]);
    lab.recv("b", "b/third", &send(&lab, "b", "-i b/mid@s0 b/mid@s1"));
    // An increment from a redaction bookmark.
    lab.put("a", "a/src", "f3", &noise(4, 1 << 20));
    lab.does("a", &["snapshot a/src@s1"]);
    let increment = send(&lab, "a", "-i a/src#mark a/src@s1");
    // Interrupted and resumed.
    let token = cut(&lab, "b", "b/full", &increment);
    lab.recv("b", "-s b/full", &send(&lab, "a", &format!("-t {token}")));
    let redacted_again = send(&lab, "a", "--redact mark a/src@s0");
    let token = cut(&lab, "b", "b/resumed", &redacted_again);
    lab.recv("b", "-s b/resumed", &send(&lab, "a", &format!("-t {token}")));
    lab.check("b");
}

#[test]
fn raw_streams() {
    let lab = Lab::new(&["a", "b"]);
    redacted(&lab, true);
    let full = send(&lab, "a", "-w a/src@s0");
    lab.recv("b", "b/full", &full);
    lab.recv("b", "b/other", &full);
    lab.does("a", &["snapshot a/src@s1"]);
    let from_mark = send(&lab, "a", "-w -i a/src#mark a/src@s1");
    lab.recv("b", "b/full", &from_mark);
    // With what was written after the redaction, and resumed.
    let file = lab.image("a").with_file_name("f3");
    std::fs::write(&file, noise(6, 1 << 20)).unwrap();
    lab.does("a", &[&format!("KEY put {} a/src:/", file.display()), "snapshot a/src@s2"]);
    let written = send(&lab, "a", "-w -i a/src#mark a/src@s2");
    let token = cut(&lab, "b", "b/other", &written);
    lab.recv("b", "-s b/other", &send(&lab, "a", &format!("-w -t {token}")));
    // Resumed in full.
    let token = cut(&lab, "b", "b/third", &full);
    lab.recv("b", "-s b/third", &send(&lab, "a", &format!("-w -t {token}")));
    // A tree, raw.
    lab.does(
        "a",
        &[
            "create a/tree",
            "KEY create -o encryption=on -o keyformat=passphrase a/tree/child",
            "snapshot -r a/tree@1",
        ],
    );
    lab.recv("b", "b/tree", &send(&lab, "a", "-w -R a/tree@1"));
    lab.check("b");
}

#[test]
fn plain_streams_that_are_resumed() {
    let lab = Lab::new(&["a", "b"]);
    lab.does("a", &["create a/fs"]);
    lab.put("a", "a/fs", "f", &noise(5, 1 << 20));
    lab.does("a", &["snapshot a/fs@1"]);
    let full = lab.send("a", "--xdr a/fs@1");
    assert!(full == lab.send("a", "a/fs@1"), "there is no list");
    let token = cut(&lab, "b", "b/fs", &full);
    lab.recv("b", "-s b/fs", &send(&lab, "a", &format!("-t {token}")));
    lab.check("b");
}

/// A plain increment onto a snapshot that was received raw is received with a warning: no raw increment fits after it.
#[test]
fn plain_increments_onto_raw_ones_are_warned_of() {
    let lab = Lab::new(&["a", "b"]);
    lab.does(
        "a",
        &[
            "KEY create -o encryption=on -o keyformat=passphrase a/fs",
            "snapshot a/fs@1",
            "snapshot a/fs@2",
            "snapshot a/fs@3",
            "snapshot a/fs@4",
        ],
    );
    let raw = |line: &str| lab.send("a", &format!("-w {line}"));
    lab.recv("b", "b/fs", &raw("a/fs@1"));
    let warned = |line: &str, stream: &[u8]| {
        let outcome = lab.run("b", &format!("KEY recv {line}"), stream);
        let message = String::from_utf8(outcome.stderr).unwrap();
        assert_eq!(outcome.code, 0, "{message}");
        message.contains("b/fs@1 was received raw") || message.contains("b/fs@2 was received raw")
    };
    assert!(!warned("b/fs", &raw("-i @1 a/fs@2")));
    let plain = lab.run("a", "KEY send -i @2 a/fs@3", b"").stdout;
    assert!(warned("-n b/fs", &plain));
    assert!(warned("b/fs", &plain));
    // It diverges once: what was received plain has no mark.
    let plain = lab.run("a", "KEY send -i @3 a/fs@4", b"").stdout;
    assert!(!warned("b/fs", &plain));
    lab.does("b", &["destroy b/fs@4"]);
    assert!(lab.recv_fails("b", "-F b/fs", &raw("-i @3 a/fs@4")).contains("IV set"));
}
