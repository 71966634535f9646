//! The verbs `verify`, `info`, `select`, `resume-token`, `join` and `byteswap` as one types them: what they print, and
//! with which exit code they end.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use zstream_tests::golden::{self, Outcome};
use zstream_tests::program::zstream;

fn golden_file(name: &str) -> String {
    golden::stream_path(name).to_str().expect("a path in UTF-8").to_owned()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// The value of a key in a line of JSON, for simple values.
fn value(json: &str, key: &str) -> String {
    let at =
        json.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("no {key:?} in {json}")) + key.len() + 3;
    let rest = &json[at..];
    let end = match rest.strip_prefix('"') {
        Some(string) => return string[..string.find('"').expect("its end")].to_owned(),
        None => rest.find([',', '}', ']']).expect("its end"),
    };
    rest[..end].to_owned()
}

fn in_dir(dir: &Path, name: &str, bytes: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::write(&path, bytes).expect("room");
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn verify_of_good_streams() {
    let (tree, full) = (golden_file("tree-R"), golden_file("fs-full"));
    let outcome = zstream(&["verify", &tree, &full], b"");
    let expected = format!(
        "{tree}: valid, 4 snapshots in 92 records and 113392 bytes\n{full}: valid, 1 snapshot in 809 records and \
         1052272 bytes\n"
    );
    assert_eq!((outcome.code, text(&outcome.stdout), text(&outcome.stderr)), (0, &expected[..], ""));
    let outcome = zstream(&["verify", "-"], &golden::stream("tree-R"));
    assert_eq!((outcome.code, text(&outcome.stderr)), (0, ""));
    assert_eq!(text(&outcome.stdout), "-: valid, 4 snapshots in 92 records and 113392 bytes\n");
}

#[test]
fn verify_of_bad_streams() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut stream = golden::stream("tree-R");
    stream[60_000] ^= 1;
    let bad = in_dir(dir.path(), "bad", &stream);
    let good = golden_file("tree-R");
    let outcome = zstream(&["verify", &good, &bad, "/nowhere"], b"");
    let out = text(&outcome.stdout);
    assert_eq!(outcome.code, 1);
    assert_eq!(text(&outcome.stderr), "zstream: verification of 2 of 3 files failed\n");
    assert!(out.starts_with(&format!("{good}: valid")), "{out}");
    assert!(out.contains(&format!("{bad}: invalid: checksum of the record header does not match")), "{out}");
    for part in [
        "stream offset 0x",
        "\n  expected ",
        "\n  found    ",
        "2 snapshots complete; the fault is in tank/tree/child@1",
    ] {
        assert!(out.contains(part), "{part:?} is not in {out}");
    }
    assert!(out.contains("/nowhere: cannot open /nowhere"), "{out}");

    let outcome = zstream(&["verify", "--json", &bad], b"");
    let line = text(&outcome.stdout);
    assert_eq!((outcome.code, line.lines().count()), (1, 1));
    assert_eq!((value(line, "ok"), value(line, "kind")), ("false".into(), "checksum".into()));
    assert_eq!((value(line, "snapshots"), value(line, "snapshot")), ("2".into(), "tank/tree/child@1".into()));
    let good: u64 = value(line, "good_bytes").parse().expect("a number");
    let offset: u64 = value(line, "offset").parse().expect("a number");
    assert!(good <= 60_000 && 60_000 < offset, "{line}");

    let saved = zstream(&["verify", &golden_file("fs-full-saved")], b"");
    assert_eq!(saved.code, 1);
    assert!(text(&saved.stdout).contains("saved with zfs send -S"), "{}", text(&saved.stdout));
    assert_eq!(zstream(&["verify"], b"").code, 2, "no file");
}

/// A large file is mapped, and the system kills who reads behind the new end of a mapped file. When another program cuts
/// the file short meanwhile, `verify` says so all the same: at whatever moment that is, it ends by itself and with 1.
#[test]
fn verify_of_a_file_that_is_cut_short_meanwhile() {
    let stream = golden::stream("rs1m");
    let whole = stream.repeat((96 << 20) / stream.len());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.zfs");
    for millis in (0..6).map(|step| step * 10) {
        fs::write(&path, &whole).unwrap();
        let cut = thread::spawn({
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            move || {
                thread::sleep(Duration::from_millis(millis));
                file.set_len(4096).unwrap();
            }
        });
        let outcome = zstream(&["verify", path.to_str().unwrap()], &[]);
        cut.join().unwrap();
        let (stdout, stderr) = (text(&outcome.stdout), text(&outcome.stderr));
        match outcome.code {
            0 => assert!(stdout.contains(": valid"), "{stdout}{stderr}"),
            1 if stdout.is_empty() => {
                let left = format!("was truncated while it was read: 4096 of {} bytes are left", whole.len());
                assert!(stderr.contains(&left), "{stderr}");
            }
            1 => assert!(stdout.contains(": invalid: the stream is cut short"), "{stdout}{stderr}"),
            code => panic!("{code}: {stdout}{stderr}"),
        }
    }
    let outcome = zstream(&["verify", path.to_str().unwrap()], &[]);
    assert_eq!(outcome.code, 1, "{}", text(&outcome.stdout));
}

#[test]
fn info_shows_what_is_there() {
    let outcome = zstream(&["info", &golden_file("tree-R-h")], b"");
    assert_eq!((outcome.code, text(&outcome.stderr)), (0, ""));
    let out = text(&outcome.stdout);
    for line in [
        "package tank/tree@1, with descendants and properties",
        "  tank/tree (filesystem)",
        "      org.example:note = hi",
        "    @1  full, created 2026-11-21T00:09:07Z",
        "        guid 1923906016484935124",
        "        hold keep since 2026-11-21T00:09:07Z",
        "    tank/tree/child (filesystem)",
    ] {
        assert!(out.lines().any(|l| l == line), "{line:?} is not in\n{out}");
    }
    let piped = zstream(&["info", "-"], &golden::stream("tree-R-h"));
    assert_eq!(
        text(&piped.stdout).lines().skip(1).collect::<Vec<_>>(),
        out.lines().skip(1).collect::<Vec<_>>()
    );

    let cut = &golden::stream("tree-R")[..80_000];
    let outcome = zstream(&["info", "-"], cut);
    assert_eq!(outcome.code, 1);
    assert!(text(&outcome.stdout).contains("cut short"), "what is there is shown");
    assert!(text(&outcome.stderr).starts_with("zstream: -: the stream is cut short"));

    let line = zstream(&["info", "--json", &golden_file("fs-incr")], b"").stdout;
    let line = text(&line);
    assert_eq!(value(line, "from_guid"), "6145876587502195179");
    assert_eq!((value(line, "package"), value(line, "byte_order")), ("null".into(), "little-endian".into()));
}

#[test]
fn select_takes_exact_names() {
    let file = golden_file("fs-full-p");
    let outcome = zstream(&["select", &file, "tank/fs@a"], b"");
    assert_eq!((outcome.code, text(&outcome.stderr)), (0, ""));
    assert!(outcome.stdout == golden::stream("fs-full"));
    let increment = zstream(&["select", "-", "tank/fs@b"], &golden::stream("fs-package-I"));
    assert!(increment.stdout == golden::stream("fs-incr"));
    assert!(text(&increment.stderr).contains("guid 6145876587502195179, which the receiver must have"));

    let Outcome { stdout, stderr, code } =
        zstream(&["select", &golden_file("tree-R"), "tank/tree@1", "tank/t@1"], b"");
    assert_eq!((code, stdout.len()), (1, 0), "nothing is written when a name is wrong");
    let stderr = text(&stderr);
    assert!(
        stderr.starts_with("zstream: the stream does not contain tank/t@1; it contains\n  tank/tree@1\n"),
        "{stderr}"
    );
    let piped = zstream(&["select", "-", "tank/t@1"], &golden::stream("tree-R"));
    assert_eq!(piped.code, 1, "of a pipe it is known at the end");

    let package = zstream(&["select", "--package", &golden_file("fs-package-I"), "tank/fs"], b"");
    assert!(package.stdout == golden::stream("fs-package-I"));
    let two = zstream(&["select", "--package", &golden_file("tree-R"), "tank/tree", "tank/tree/child"], b"");
    assert_eq!(
        (two.code, text(&two.stderr)),
        (2, "zstream: --package accepts snapshots of one dataset only\n")
    );
}

#[test]
fn resume_token_and_join() {
    let dir = tempfile::tempdir().expect("a directory");
    let full = golden::stream("fs-full-Lec");
    let cut = in_dir(dir.path(), "cut", &full[..300_000]);
    let outcome = zstream(&["resume-token", &cut], b"");
    let (_, token) = golden::tokens().into_iter().find(|(name, _)| name == "fs-full-Lec").expect("its token");
    let out = text(&outcome.stdout);
    assert_eq!(outcome.code, 0);
    assert!(out.starts_with(&format!("token:  {token}\nlength: 128672\n")), "{out}");
    let json = zstream(&["resume-token", "--json", &cut], b"").stdout;
    assert_eq!(value(text(&json), "token"), token);
    assert_eq!(
        (value(text(&json), "keep_bytes"), value(text(&json), "object")),
        ("128672".into(), "130".into())
    );

    let joined = zstream(&["join", &cut, &golden_file("fs-full-Lec-resumed")], b"");
    assert_eq!((joined.code, text(&joined.stderr)), (0, ""));
    assert!(joined.stdout == full);
    // As the help says: cut to the length, and the rest through a pipe.
    let kept = in_dir(dir.path(), "kept", &full[..128_672]);
    let joined = zstream(&["join", "--cut", &kept, "-"], &golden::stream("fs-full-Lec-resumed"));
    assert!(joined.code == 0 && joined.stdout == full);
    let refused = zstream(&["join", &kept, &golden_file("fs-full-Lec-resumed")], b"");
    assert_eq!(refused.code, 1);

    let whole = zstream(&["resume-token", &golden_file("fs-full")], b"");
    assert_eq!((whole.code, whole.stdout.len()), (1, 0));
    assert!(text(&whole.stderr).contains("the stream is complete"));
    let package = zstream(&["resume-token", "-"], &golden::stream("tree-R")[..60_000]);
    assert!(text(&package.stdout).contains("The file is a package"), "{}", text(&package.stdout));
}

#[test]
fn byteswap_there_and_back() {
    let stream = golden::stream("vol-incr");
    let once = zstream(&["byteswap"], &stream);
    assert_eq!((once.code, text(&once.stderr)), (0, ""));
    let twice = zstream(&["byteswap", "-"], &once.stdout);
    assert!(once.stdout != stream && twice.stdout == stream);
    let raw = zstream(&["byteswap", "-v", &golden_file("e-aes-256-gcm-raw")], b"");
    let said = "zstream: 1 list converted to XDR, 0 blocks decompressed, 0 embedded blocks expanded\n";
    assert_eq!((raw.code, text(&raw.stderr)), (0, said));
    assert_eq!(zstream(&["verify", "-"], &raw.stdout).code, 0);
    assert_eq!(zstream(&["byteswap"], &stream[..stream.len() - 1]).code, 1);
}

/// A tape or device is written in whole blocks: the zeros with which the last one was filled up are ignored by every verb, with a
/// note, and what comes out is what comes out without them.
#[test]
fn zeros_after_the_stream_are_ignored_with_a_note() {
    let dir = tempfile::tempdir().expect("a directory");
    let stream = golden::stream("tree-R");
    let zeros = 10_240 - stream.len() % 10_240;
    let padded = [&stream[..], &vec![0; zeros]].concat();
    let (plain, file) = (in_dir(dir.path(), "plain", &stream), in_dir(dir.path(), "tape", &padded));
    let note =
        format!("note: {zeros} zero bytes after the end of the stream, padding of a block, are ignored");
    for args in [
        &["dump", "-v"][..],
        &["dump", "-C"],
        &["dump", "-Cd"],
        &["byteswap"],
        &["redup"],
        &["info"],
        &["select", "{}", "tank/tree/child"],
        &["select", "--package", "{}", "tank/tree/child"],
        &["-f", "{}", "ls", "tank/tree@1"],
        &["-f", "{}", "cat", "tank/tree@1", "/"],
    ] {
        let with = |file: &str| {
            let mut args: Vec<_> = args.iter().map(|word| word.replace("{}", file)).collect();
            if !args.iter().any(|word| word == file) {
                args.push(file.to_owned());
            }
            zstream(&args.iter().map(String::as_str).collect::<Vec<_>>(), b"")
        };
        let (expected, found) = (with(&plain), with(&file));
        let out = |outcome: &Outcome| String::from_utf8_lossy(&outcome.stdout).replace(&file, &plain);
        assert_eq!(out(&found), out(&expected), "{args:?}");
        assert_eq!(found.code, expected.code, "{args:?}: {}", text(&found.stderr));
        assert_eq!(text(&found.stderr).matches(&note).count(), 1, "{args:?}: {}", text(&found.stderr));
    }
    for args in [&["recompress", "zstd"][..], &["decompress"], &["dump"], &["byteswap", "-"]] {
        let (expected, found) = (zstream(args, &stream), zstream(args, &padded));
        assert!(found.stdout == expected.stdout && found.code == 0, "{args:?}: {}", text(&found.stderr));
        assert_eq!(text(&found.stderr), format!("zstream: {note}\n"), "{args:?}");
    }
    for (args, stdin) in [(&["verify", &file][..], &b""[..]), (&["verify", "-"], &padded)] {
        let outcome = zstream(args, stdin);
        let out = text(&outcome.stdout);
        assert!(out.contains("valid, 4 snapshots in 92 records and 113392 bytes\n"), "{out}");
        assert!(outcome.code == 0 && out.contains(&format!("  {note}\n")), "{out}");
    }
    for verb in ["verify", "info"] {
        let outcome = zstream(&[verb, "--json", &file], b"");
        assert_eq!(value(text(&outcome.stdout), "padding_bytes"), zeros.to_string());
        assert_eq!((outcome.code, text(&outcome.stderr)), (0, ""), "{verb}");
        assert_eq!(value(text(&zstream(&[verb, "--json", &plain], b"").stdout), "padding_bytes"), "0");
    }

    // The rest of a stream may come from a tape, too.
    let cut = in_dir(dir.path(), "cut", &stream[..stream.len() - 312]);
    assert_eq!(zstream(&["verify", &cut], b"").code, 1);
    let whole = zstream(&["resume-token", &file], b"");
    assert!(text(&whole.stderr).contains("the stream is complete"), "{}", text(&whole.stderr));

    // Anything else after END is an error, as it was.
    let garbage = in_dir(dir.path(), "garbage", &[&padded[..], b"x"].concat());
    for args in [&["verify", &garbage][..], &["dump", &garbage], &["info", &garbage], &["-f", &garbage, "ls"]]
    {
        assert_eq!(zstream(args, b"").code, 1, "{args:?}");
    }
}
