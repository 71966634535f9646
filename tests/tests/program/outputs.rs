//! What becomes of output: standard output that was closed, columns that nothing forges, names in JSON.

use std::process::Command;

use zstream_format::record::{Begin, Body};
use zstream_tests::edit::{rechained, records};
use zstream_tests::golden;
use zstream_tests::lab::Lab;
use zstream_tests::program::{self, zstream};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A pool `a` with a filesystem, a snapshot and a user property.
fn lab() -> Lab {
    let lab = Lab::new(&["a"]);
    lab.does("a", &["create a/fs", "create a/other"]);
    lab.put("a", "a/fs", "file", b"content");
    lab.does("a", &["snapshot a/fs@1", "hold tag a/fs@1"]);
    lab
}

/// Where standard output is closed, what is to be written to it is an error; what writes nothing works.
#[test]
fn a_closed_output_is_an_error() {
    let lab = lab();
    let (image, stream) = (lab.image("a"), golden::stream_path("tree-R"));
    let (image, stream) = (image.to_str().unwrap(), stream.to_str().unwrap());
    let run = |words: &str, redirection: &str| {
        let words = words.replace("POOL", &format!("-d {image}")).replace("STREAM", stream);
        let script = format!("exec {} {words} {redirection}", program::path().display());
        Command::new("sh").args(["-c", &script]).output().expect("a shell")
    };
    for words in [
        "POOL send a/fs@1",
        "POOL send -nv a/fs@1",
        "POOL list",
        "POOL get all a/fs",
        "POOL holds a/fs@1",
        "POOL ls a/fs",
        "POOL cat a/fs /file",
        "POOL pool show",
        "POOL pool get all",
        "POOL pool check",
        "POOL destroy -nv a/other",
        "dump STREAM",
        "info STREAM",
        "verify STREAM",
        "byteswap STREAM",
        "recompress lz4 < STREAM",
        "select STREAM tank/tree@1",
        "completions bash",
        "--help",
        "--version",
        "send --help",
    ] {
        let closed = run(words, ">&-");
        let message = text(&closed.stderr);
        assert_eq!(closed.status.code(), Some(1), "{words}: {message}");
        assert!(message.contains("standard output") && message.lines().count() == 1, "{words}: {message}");
        // A null device is not closed, however it was opened.
        for null in [">/dev/null", "1<>/dev/null"] {
            let outcome = run(words, null);
            let is_good = outcome.status.code() == Some(0) || words.contains("holds");
            assert!(is_good, "{words} {null}: {}", text(&outcome.stderr));
        }
    }
    for words in ["POOL create a/new", "POOL snapshot a/new@1", "POOL set atime=off a/new"] {
        assert_eq!(run(words, ">&-").status.code(), Some(0), "{words}");
    }
}

/// A tab or a line end in a value is escaped: it forges neither a column nor a line.
#[test]
fn values_forge_no_columns() {
    let lab = lab();
    let image = lab.image("a");
    let run = |words: &[&str]| {
        let outcome = zstream(&[&["-d", image.to_str().unwrap()], words].concat(), b"");
        assert_eq!(outcome.code, 0, "{words:?}: {}", text(&outcome.stderr));
        text(&outcome.stdout)
    };
    let value = "x\ty\nz";
    run(&["set", &format!("u:v={value}"), "a/fs"]);
    assert_eq!(run(&["get", "-H", "u:v", "a/fs"]), "a/fs\tu:v\tx\\x09y\\x0az\tlocal\n");
    let created = run(&["create", "-nP", "-o", &format!("u:v={value}"), "a/new"]);
    assert_eq!(created, "create\ta/new\nproperty\tu:v\tx\\x09y\\x0az\n");
    run(&["hold", "a\tb", "a/fs@1"]);
    let holds = run(&["holds", "-H", "a/fs@1"]);
    assert!(holds.lines().all(|line| line.split('\t').count() == 3) && holds.contains("a\\x09b"), "{holds}");
    assert!(run(&["get", "-j", "u:v", "a/fs"]).contains(r#""value":"x\ty\nz""#));
}

/// A name that does not exist is reported, and the others are shown.
#[test]
fn what_exists_is_shown_beside_what_does_not() {
    let lab = lab();
    for (line, shown) in [
        ("list -H -o name a/nope a/fs a/none a/other", "a/fs\na/other\n"),
        ("get -H -o name,value type a/nope a/fs", "a/fs\tfilesystem\n"),
        ("list -H -o name a/nope", ""),
        ("get -H -o value -r type a/fs@nope a/fs", "filesystem\nsnapshot\n"),
    ] {
        let outcome = lab.run("a", line, b"");
        let (out, message) = (text(&outcome.stdout), text(&outcome.stderr));
        assert_eq!((outcome.code, out.as_str()), (1, shown), "{line}: {message}");
        let missing =
            line.split(' ').filter(|word| word.contains("no")).filter(|word| word.starts_with("a/"));
        for name in missing {
            assert!(message.contains(&format!("cannot open '{name}'")), "{line}: {message}");
        }
    }
}

/// JSON has names as they are, escaped as JSON is.
#[test]
fn json_has_the_real_names() {
    let mut pieces = records(&golden::stream("fs-full"));
    for (header, _) in &mut pieces {
        if let Some(Body::Begin(mut begin)) = header.body() {
            begin.to_name = Begin::name_field("tank/\u{e9}\u{1b}[2J\\@1".as_bytes()).expect("a short name");
            header.set_body(begin);
        }
    }
    let stream = rechained(&pieces).expect("a stream");
    let dir = tempfile::tempdir().expect("a directory");
    let (whole, cut) = (dir.path().join("whole"), dir.path().join("cut"));
    std::fs::write(&whole, &stream).unwrap();
    std::fs::write(&cut, &stream[..stream.len() / 2]).unwrap();
    let name = "tank/\u{e9}\\u001b[2J\\\\@1";
    for (words, path, key) in [
        (&["info", "--json"][..], &whole, "name"),
        (&["info", "--json"], &cut, "name"),
        (&["resume-token", "--json"], &cut, "snapshot"),
        (&["verify", "--json"], &cut, "snapshot"),
    ] {
        let outcome = zstream(&[words, &[path.to_str().unwrap()]].concat(), b"");
        let out = text(&outcome.stdout);
        assert!(out.contains(&format!("\"{key}\":\"{name}\"")), "{words:?}: {out}");
    }
}
