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
    assert!(said.contains("b/fs@2 is not made: the snapshot exists as b/fs@renamed"), "{said}");
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
