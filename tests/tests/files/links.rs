//! Very many names of one file: put, listed, extracted, sent and received. With `ZSTREAM_THOROUGH=1000` there are a million.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use tar::{Builder, EntryType, Header};
use zstream_tests::every;
use zstream_tests::program::zstream;
use zstream_tests::receiving::Demo;

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(0);
    header
}

/// An archive with a file `first` and so many more names of it.
fn archive(links: usize) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    archive.append_data(&mut header(EntryType::Regular, 5), "first", &b"first"[..]).unwrap();
    for n in 1..links {
        archive.append_link(&mut header(EntryType::Link, 0), format!("link{n:07}"), "first").unwrap();
    }
    archive.into_inner().unwrap()
}

/// What the program writes to its output.
fn output(demo: &Demo, line: &str) -> Vec<u8> {
    let member = demo.members()[0].display().to_string();
    let words: Vec<&str> = ["-d", &member].into_iter().chain(line.split_whitespace()).collect();
    let outcome = zstream(&words, b"");
    assert_eq!(outcome.code, 0, "{line}: {}", String::from_utf8_lossy(&outcome.stderr));
    outcome.stdout
}

#[test]
fn very_many_names_of_one_file() {
    let links = if every::step(2) == 1 { 1_000_000 } else { 1500 };
    let (a, b) = (Demo::new("a", 12, 1 << 30), Demo::new("b", 12, 1 << 30));
    assert_eq!(a.run(&[], "create demo/fs", b"").0, 0);
    let (code, _, message) = a.run(&[], "put --tar - demo/fs", &archive(links));
    assert_eq!(code, 0, "{message}");
    assert_eq!(a.run(&[], "snapshot demo/fs@s", b"").0, 0);
    let stream = output(&a, "send demo/fs@s");
    let (code, _, message) = b.run(&[], "recv demo/fs", &stream);
    assert_eq!(code, 0, "{message}");
    for demo in [&a, &b] {
        let (code, listed, message) = demo.run(&[], "ls -l demo/fs", b"");
        assert_eq!(code, 0, "{message}");
        assert_eq!(listed.lines().count(), links);
        let count = format!(" {links} ");
        assert!(listed.lines().all(|line| line.contains(&count)), "{}", listed.lines().next().unwrap());
    }
    // File systems have limits of their own: ext4 has 65000 names for a file.
    let names = links.min(60_000);
    let target = tempfile::tempdir().unwrap();
    if names == links {
        let (code, _, message) = b.run(&[], &format!("extract -C {} demo/fs", target.path().display()), b"");
        assert_eq!(code, 0, "{message}");
        assert_eq!(fs::metadata(target.path().join("first")).unwrap().nlink(), links as u64);
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), links);
    }
    b.check("very many names");
}
