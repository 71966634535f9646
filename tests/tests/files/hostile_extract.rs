//! `extract` of file systems that were made to lead out of the target: names with `..` and slashes, absolute names, links
//! to follow. From a stream and from a pool, into a directory and as an archive.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use zstream_format::object_type::ObjectType;
use zstream_format::record::Body;
use zstream_format::stream::StreamWriter;
use zstream_tests::edit::records;
use zstream_tests::golden::Outcome;
use zstream_tests::program;

/// Directories around a target, with a stream and a pool of the same hostile file system.
struct Trap {
    dir: tempfile::TempDir,
    stream: PathBuf,
    pool: PathBuf,
}

fn run(words: &[&str], input: &[u8]) -> Outcome {
    program::zstream(words, input)
}

fn good(words: &[&str], input: &[u8]) -> Vec<u8> {
    let outcome = run(words, input);
    assert_eq!((outcome.code, String::from_utf8_lossy(&outcome.stderr)), (0, "".into()), "{words:?}");
    outcome.stdout
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The stream with other names in its directories. Names there are in fields of 50 bytes.
fn renamed(stream: &[u8], names: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = StreamWriter::new(Vec::new());
    let mut changed = 0;
    for (header, mut payload) in records(stream) {
        let is_directory = matches!(header.body(), Some(Body::Write(write))
            if write.object_type == ObjectType::DIRECTORY_CONTENTS);
        for (from, to) in names.iter().filter(|_| is_directory) {
            let field = [from.as_bytes(), &[0]].concat();
            let found: Vec<usize> =
                (0..payload.len() - field.len()).filter(|at| payload[*at..].starts_with(&field)).collect();
            for at in found {
                payload[at..at + 50].fill(0);
                payload[at..at + to.len()].copy_from_slice(to.as_bytes());
                changed += 1;
            }
        }
        writer.write(&header, &payload).expect("the same records");
    }
    assert_eq!(changed, names.len());
    writer.into_inner()
}

impl Trap {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let (outside, src, first) = (path("outside"), path("src"), path("first.img"));
        fs::create_dir_all(&outside).expect("a directory");
        fs::write(outside.join("victim"), "mine").expect("a file");
        for below in ["src/twin-link", "src/twin-dir", "src/deep/er"] {
            fs::create_dir_all(path(below)).expect("a directory");
        }
        fs::remove_dir(src.join("twin-link")).expect("the directory");
        symlink(&outside, src.join("twin-link")).expect("a link");
        symlink("../outside", src.join("deep/relative")).expect("a link");
        symlink(outside.join("victim"), src.join("to-victim")).expect("a link");
        for file in
            ["a-parent", "an-absolute", "only-dots", "good", "twin-dir/victim", "deep/er/file", "file-twin"]
        {
            fs::write(src.join(file), file).expect("a file");
        }
        good(&["pool", "create", "--size", "64M", "first", text(&first)], b"");
        good(&["-d", text(&first), "put", &format!("{}/", text(&src)), "first:/"], b"");
        good(&["-d", text(&first), "snapshot", "first@s"], b"");
        let stream = good(&["-d", text(&first), "send", "first@s"], b"");
        let absolute = text(&outside.join("new")).to_owned();
        let stream = renamed(
            &stream,
            &[
                ("a-parent", "../outside/new"),
                ("an-absolute", &absolute),
                ("only-dots", ".."),
                ("twin-link", "twin"),
                ("twin-dir", "twin"),
                ("file-twin", "to-victim"),
            ],
        );
        let trap = Self { stream: path("stream"), pool: path("second.img"), dir };
        fs::write(&trap.stream, &stream).expect("a file");
        good(&["pool", "create", "--size", "64M", "second", text(&trap.pool)], b"");
        good(&["-d", text(&trap.pool), "recv", "second/fs"], &stream);
        trap
    }

    /// What reads it, in both ways.
    fn sources(&self) -> [[&str; 3]; 2] {
        [["-f", text(&self.stream), "first@s"], ["-d", text(&self.pool), "second/fs@s"]]
    }

    fn assert_untouched(&self) {
        let outside = self.dir.path().join("outside");
        let names: Vec<_> = fs::read_dir(&outside)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names, ["victim"]);
        assert_eq!(fs::read_to_string(outside.join("victim")).expect("a file"), "mine");
    }
}

/// What is said of the names that are none, whatever is read.
fn assert_told(outcome: &Outcome) {
    let stderr = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.code, 1, "{stderr}");
    for part in [
        "name \"../outside/new\" has a slash",
        "/outside/new\" has a slash",
        "name \"..\" is reserved",
        "name \"twin\" exists twice",
        "name \"to-victim\" exists twice",
        "5 items could not be restored: 5 names\n",
    ] {
        assert!(stderr.contains(part), "{part:?} is not in {stderr}");
    }
}

#[test]
fn nothing_is_written_outside_of_the_target() {
    let trap = Trap::new();
    for (n, [how, path, name]) in trap.sources().into_iter().enumerate() {
        let target = trap.dir.path().join(format!("target{n}"));
        fs::create_dir(&target).expect("a directory");
        let outcome = run(&[how, path, "extract", "-C", text(&target), name], b"");
        assert_told(&outcome);
        trap.assert_untouched();
        for file in ["good", "deep/er/file"] {
            assert_eq!(fs::read_to_string(target.join(file)).expect("a file"), file);
        }
        // A second time, when the links lie in the target.
        let outcome = run(&[how, path, "extract", "-C", text(&target), name], b"");
        assert_eq!(outcome.code, 1);
        trap.assert_untouched();
        // By a path through a link.
        for inside in ["twin/victim", "deep/relative/victim", "to-victim"] {
            run(&[how, path, "extract", "-C", text(&target), name, inside], b"");
            trap.assert_untouched();
        }
    }
}

/// The names in an archive lead nowhere but below where it is unpacked, and none lies below a link.
#[test]
fn archives_have_no_names_that_lead_out() {
    let trap = Trap::new();
    for [how, path, name] in trap.sources() {
        let outcome = run(&[how, path, "extract", "--tar", name], b"");
        assert_told(&outcome);
        let mut archive = tar::Archive::new(&outcome.stdout[..]);
        let (mut links, mut names) = (Vec::new(), Vec::new());
        for entry in archive.entries().expect("an archive") {
            let entry = entry.expect("an entry");
            let name = String::from_utf8(entry.path_bytes().into_owned()).expect("UTF-8");
            assert!(!name.starts_with('/') && !name.split('/').any(|part| part == ".."), "{name}");
            assert!(
                !links.iter().any(|link| name == *link || name.starts_with(&format!("{link}/"))),
                "{name}"
            );
            if entry.header().entry_type() == tar::EntryType::Symlink {
                links.push(name.clone());
            }
            names.push(name);
        }
        assert!(names.iter().any(|name| name == "deep/er/file"), "{names:?}");
        assert!(links.iter().any(|link| link == "deep/relative"), "{links:?}");
    }
}
