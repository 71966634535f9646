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

/// Lines about a change that is done do not make it fail, whatever standard output is: they are a warning, and exit code 0 says that
/// the change was made. Where the lines are all that was asked for, they are an error.
#[test]
fn a_finished_change_does_not_fail_for_its_lines() {
    let lab = lab();
    let stream = lab.send("a", "a/fs@1");
    let input = lab.image("a").with_extension("stream");
    std::fs::write(&input, stream).unwrap();
    let run = |words: &str, redirection: &str| {
        let words = words.replace("POOL", &format!("-d {}", lab.image("a").display()));
        let words = words.replace("STREAM", input.to_str().unwrap());
        let script = format!("exec {} {words} {redirection}", program::path().display());
        Command::new("sh").args(["-c", &script]).output().expect("a shell")
    };
    for (n, redirection) in [">&-", ">/dev/full"].into_iter().enumerate() {
        for (words, is_done) in [
            ("POOL create -v a/newN", true),
            ("POOL create -vP -o u:v=1 a/otherN", true),
            ("POOL destroy -v a/newN", true),
            ("POOL destroy -vp a/otherN", true),
            ("POOL recv -v a/recvN < STREAM", true),
            ("POOL recv --json a/jsonN < STREAM", true),
            ("POOL pool set feature@edonr=enabled a", true),
            ("POOL pool upgrade a", true),
            ("POOL create -nv a/dry", false),
            ("POOL destroy -nv a/other", false),
            ("POOL recv -nv a/dry < STREAM", false),
            ("POOL recv -n --json a/dry < STREAM", false),
            ("POOL list", false),
            ("POOL pool upgrade", false),
            ("--help", false),
            ("--version", false),
            ("recv --help", false),
        ] {
            let outcome = run(&words.replace('N', &n.to_string()), redirection);
            let message = text(&outcome.stderr);
            let code = if is_done { 0 } else { 1 };
            assert_eq!(outcome.status.code(), Some(code), "{words} {redirection}: {message}");
            let prints = !words.contains("pool set");
            let is_reported = message.contains("standard output") && message.lines().count() == 1;
            assert_eq!(is_reported, prints, "{words} {redirection}: {message}");
            assert_eq!(message.contains("warning: everything was done"), is_done && prints, "{message}");
        }
        let expected: Vec<String> = ["json", "recv"].iter().map(|name| format!("a/{name}{n}")).collect();
        let names = lab.names("a");
        assert!(expected.iter().all(|name| names.contains(name)), "{names:?}");
        assert!(!names.contains(&format!("a/new{n}")) && !names.contains(&"a/dry".to_owned()), "{names:?}");
    }
}

/// A dry run of a receive prints the objects that the receive would.
#[test]
fn a_dry_run_prints_json() {
    let lab = Lab::new(&["a", "b"]);
    lab.does("a", &["create a/top", "create a/top/x", "create a/top/y", "snapshot -r a/top@1"]);
    let full = lab.send("a", "-R a/top@1");
    let keys = |line: &str, stream: &[u8], is_dry: bool| -> Vec<String> {
        let objects = lab.recv("b", line, stream);
        let objects = objects.lines().map(|line| {
            let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert!(object.get("dry_run").is_none_or(|dry| *dry == is_dry), "{line}");
            ["snapshot", "destroyed", "renamed", "promoted"]
                .iter()
                .find_map(|key| Some(format!("{key} {}", object.get(key)?)))
                .expect("a known key")
        });
        objects.collect()
    };
    let foretold = keys("-n --json b/top", &full, true);
    assert_eq!(foretold.len(), 3, "{foretold:?}");
    assert_eq!(keys("--json b/top", &full, false), foretold);
    lab.does("a", &["destroy -r a/top/x", "rename a/top/y a/top/z", "snapshot -r a/top@2"]);
    let increment = lab.send("a", "-R -i @1 a/top@2");
    let foretold = keys("-n -F --json b/top", &increment, true);
    for part in ["destroyed \"b/top/x\"", "renamed \"b/top/y\"", "snapshot \"b/top@2\""] {
        assert!(foretold.iter().any(|key| key == part), "{part}: {foretold:?}");
    }
    assert_eq!(keys("-F --json b/top", &increment, false), foretold);
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
        ("list -H -o name nosuch/a a/fs", "a/fs\n"),
        ("list -H -o name a/fs nosuch a/other none", "a/fs\na/other\n"),
        ("list -H -o name nosuch none", ""),
        ("get -H -o value type nosuch@1 a/fs", "filesystem\n"),
        ("holds -H a/none@1 nosuch/x@1 a/other@1", ""),
        ("get -H -o value -r type a/fs@nope a/fs", "filesystem\nsnapshot\n"),
    ] {
        let outcome = lab.run("a", line, b"");
        let (out, message) = (text(&outcome.stdout), text(&outcome.stderr));
        assert_eq!((outcome.code, out.as_str()), (1, shown), "{line}: {message}");
        let missing = line.split(' ').skip(1).filter(|word| word.contains("/no") || word.starts_with("no"));
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
