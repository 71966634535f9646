//! What was asked for is there afterwards, or it is an error; and what follows a stream is left to the next receive.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::process::{Command, Stdio};

use zstream_tests::lab::Lab;
use zstream_tests::program;

/// A pool `a` with two snapshots of `a/fs`, and an empty pool `b`.
fn lab() -> Lab {
    let lab = Lab::new(&["a", "b"]);
    lab.does("a", &["create a/fs"]);
    lab.put("a", "a/fs", "one", b"first");
    lab.does("a", &["snapshot a/fs@1"]);
    lab.put("a", "a/fs", "two", &vec![7; 300_000]);
    lab.does("a", &["snapshot a/fs@2"]);
    lab
}

#[test]
fn what_is_there_under_another_name_is_an_error_where_a_name_was_asked_for() {
    let lab = lab();
    let (single, package) = (lab.send("a", "a/fs@1"), lab.send("a", "-p a/fs@1"));
    let (increment, packed) = (lab.send("a", "-i @1 a/fs@2"), lab.send("a", "-p -i @1 a/fs@2"));
    lab.recv("b", "b/fs@1", &single);
    lab.recv("b", "b/fs@2", &increment);
    lab.does("b", &["snapshot b/fs@other"]);
    let before = lab.names("b");
    // The line, the stream, and whether it fails: nothing is made by any of them.
    for (line, stream, fails) in [
        ("b/fs@new", &package, true),
        ("b/fs@new", &single, true),
        ("b/fs@other", &increment, true),
        ("b/fs@other", &packed, true),
        ("b/fs@1", &packed, true),
        ("-n b/fs@new", &package, true),
        ("b/fs@1", &single, true),
        ("b/fs@1", &package, false),
        ("b/fs", &package, false),
        ("b/fs@2", &packed, false),
        ("b/fs@2", &increment, false),
        ("b/fs", &packed, false),
        ("-d b", &packed, false),
        ("-e b", &packed, false),
    ] {
        if fails {
            let said = lab.recv_fails("b", line, stream);
            assert!(said.contains("EEXIST"), "{line}: {said}");
        } else {
            lab.recv("b", line, stream);
        }
        assert_eq!(lab.names("b"), before, "{line}");
    }
    // Where no name was asked for, another one is reported.
    lab.does("b", &["rename b/fs@2 b/fs@renamed"]);
    let outcome = lab.run("b", "recv b/fs", &packed);
    let said = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(outcome.code, 0, "{said}");
    assert!(said.contains("cannot create b/fs@2: the snapshot already exists as b/fs@renamed"), "{said}");
    lab.check("b");
}

#[test]
fn streams_in_a_row_are_received_one_by_one() {
    let lab = lab();
    let package = lab.send("a", "-R a/fs@2");
    let both = [lab.send("a", "a/fs@1"), lab.send("a", "-i @1 a/fs@2"), package, b"rest".to_vec()].concat();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"before").unwrap();
    file.write_all(&both).unwrap();
    file.seek(SeekFrom::Start(6)).unwrap();
    let image = lab.image("b");
    let receive = |input: Stdio, to: &str| {
        let status =
            Command::new(program::path()).arg("-d").arg(&image).args(["recv", to]).stdin(input).status();
        assert!(status.unwrap().success(), "{to}");
    };
    for to in ["b/file", "b/file", "b/tree"] {
        receive(file.try_clone().unwrap().into(), to);
    }
    assert_eq!(file.stream_position().unwrap(), 6 + both.len() as u64 - 4);
    let (mut from, mut to) = std::io::pipe().unwrap();
    let writer = std::thread::spawn(move || to.write_all(&both));
    for to in ["b/pipe", "b/pipe", "b/pipetree"] {
        receive(from.try_clone().unwrap().into(), to);
    }
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut from, &mut rest).unwrap();
    assert_eq!(rest, "rest");
    writer.join().unwrap().unwrap();
    for dataset in ["file", "tree", "pipe", "pipetree"] {
        let names = [format!("b/{dataset}@1"), format!("b/{dataset}@2")];
        assert!(names.iter().all(|name| lab.names("b").contains(name)), "{dataset}");
    }
    lab.check("b");
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// What does not fit is refused by a dry run as by the receive itself; what fits when it is compressed is not.
#[test]
fn a_dry_run_knows_whether_it_fits() {
    let lab = Lab::new(&["a", "b"]);
    lab.does("a", &["create a/top", "create a/top/one", "create a/top/two", "create a/text"]);
    lab.put("a", "a/top/one", "file", &noise(3 << 20));
    lab.put("a", "a/top/two", "file", &noise(3 << 20));
    lab.put("a", "a/text", "file", &b"of words ".repeat(2 << 20));
    lab.does("a", &["snapshot -r a@1"]);
    lab.put("a", "a/top/one", "more", &noise(8 << 20));
    lab.does("a", &["snapshot -r a@2"]);
    let (one, package) = (lab.send("a", "a/top/one@1"), lab.send("a", "-R a/top@1"));
    let (text, compressed) = (lab.send("a", "a/text@1"), lab.send("a", "-c a/text@1"));
    let increment = lab.send("a", "-i @1 a/top/one@2");
    lab.does("b", &["create -o quota=2M b/q", "create -o quota=4M b/p", "create -o compression=off b/plain"]);
    lab.does("b", &["create -o quota=4M b/plain/q"]);
    lab.recv("b", "b/copy", &one);
    lab.recv("b", "b/p/copy", &one);
    lab.does("b", &["create -o quota=5M b/twice"]);
    let available = String::from_utf8(lab.run("b", "get -Hp -o value available b", b"").stdout).unwrap();
    let available: u64 = available.trim().parse().unwrap();
    for (before, line, stream, errno) in [
        (None, "b/q/x", &one, Some("EDQUOT")),
        (None, "-o copies=2 b/twice/x", &one, Some("EDQUOT")),
        (None, "b/p/x", &one, Some("EDQUOT")),
        (None, "b/p/copy", &increment, Some("EDQUOT")),
        (Some("set quota=5M b/q"), "b/q/x", &package, Some("EDQUOT")),
        (Some("set quota=8M b/q"), "b/q/one", &one, None),
        (None, "b/plain/q/x", &text, Some("EDQUOT")),
        (None, "b/plain/q/x", &compressed, None),
        (Some("set quota=2M b/p"), "b/p/text", &text, None),
        (
            Some(&*format!("create -o reservation={} b/kept", available - (5 << 20))),
            "b/x",
            &package,
            Some("ENOSPC"),
        ),
    ] {
        if let Some(before) = before {
            // A quota below what is used is refused; what is there goes first.
            if before.contains("b/p") {
                lab.does("b", &["destroy -r b/p/copy"]);
            }
            lab.does("b", &[before]);
        }
        let image = std::fs::read(lab.image("b")).unwrap();
        let foretold = lab.run("b", &format!("recv -n {line}"), stream);
        assert!(std::fs::read(lab.image("b")).unwrap() == image, "{line}: a dry run wrote");
        let told = lab.run("b", &format!("recv {line}"), stream);
        let (foretold_text, told_text) = (text_of(&foretold.stderr), text_of(&told.stderr));
        assert_eq!(foretold.code, told.code, "{line}: {foretold_text} but {told_text}");
        match errno {
            None => {
                assert_eq!((told.code, foretold_text, told_text), (0, String::new(), String::new()), "{line}")
            }
            Some(errno) => {
                assert_eq!(told.code, 1, "{line}");
                let errno = format!("[{errno}]");
                assert!(
                    foretold_text.contains(&errno) && told_text.contains(&errno),
                    "{line}: {foretold_text}{told_text}"
                );
            }
        }
    }
    lab.check("b");
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What `zfs receive` neither sets nor excludes is refused; what children have to keep of what was received they keep.
#[test]
fn properties_that_a_receive_leaves_alone() {
    let lab = lab();
    lab.does("a", &["create a/t", "create -o refreservation=5M -o atime=off a/t/c", "snapshot -r a/t@1"]);
    let (one, tree) = (lab.send("a", "a/fs@1"), lab.send("a", "-R a/t@1"));
    for line in [
        "-o volsize=16M",
        "-x volsize",
        "-o volblocksize=8K",
        "-x volblocksize",
        "-x guid",
        "-x normalization",
    ] {
        let outcome = lab.run("b", &format!("recv {line} b/x"), &one);
        let message = text_of(&outcome.stderr);
        assert!(outcome.code != 0 && message.contains("invalid property '"), "{line}: {message}");
    }
    lab.recv("b", "-o refreservation=none -o atime=on b/t", &tree);
    for (name, property, value) in [
        ("b/t", "refreservation", "0 local"),
        ("b/t/c", "refreservation", "5242880 received"),
        ("b/t/c", "atime", "on inherited from b/t"),
    ] {
        assert_eq!(lab.get("b", property, name), value, "{property} of {name}");
    }
}

/// Where the target has snapshots that are newer than the source of an increment and content changed, the error names the newest.
#[test]
fn newer_snapshots_are_named() {
    let lab = lab();
    lab.recv("b", "b/x", &lab.send("a", "a/fs@1"));
    lab.put("b", "b/x", "own", b"changed here");
    let increment = lab.send("a", "-i @1 a/fs@2");
    let message = lab.recv_fails("b", "b/x@3", &increment);
    assert!(message.contains("has changed since b/x@1, the source of the stream;"), "{message}");
    lab.does("b", &["snapshot b/x@own"]);
    let message = lab.recv_fails("b", "b/x@3", &increment);
    assert!(message.contains("(its newest snapshot is b/x@own)"), "{message}");
}

#[test]
fn a_key_has_a_format() {
    let lab = lab();
    lab.does("a", &["KEY create -o encryption=on -o keyformat=passphrase a/e"]);
    let outcome = lab.run("a", "KEY change-key -o keyformat=none a/e", b"");
    let message = text_of(&outcome.stderr);
    assert!(
        outcome.code == 1 && message.contains("keyformat is passphrase, hex or raw, not none"),
        "{message}"
    );
}
