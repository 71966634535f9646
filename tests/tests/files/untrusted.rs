//! Files that somebody else made: what is left out of them, sizes that are only holes, and trees that are deep.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tar::{Builder, EntryType, Header};
use zstream_tests::receiving::Demo;

fn entry(archive: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, mode: u32, owner: u64) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_size(0);
    header.set_mtime(0);
    if kind == EntryType::Char {
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
    }
    archive.append_data(&mut header, path, &b""[..]).unwrap();
}

/// A pool of so many MiB with an empty filesystem.
fn empty(size: u64) -> Demo {
    let demo = Demo::new("a", 12, size << 20);
    assert_eq!(demo.run(&[], "create demo/fs", b"").0, 0);
    demo
}

fn demo() -> Demo {
    let demo = empty(128);
    let mut archive = Builder::new(Vec::new());
    entry(&mut archive, "dir", EntryType::Directory, 0o2755, 12);
    entry(&mut archive, "dir/program", EntryType::Regular, 0o6755, 12);
    entry(&mut archive, "dir/fifo", EntryType::Fifo, 0o644, 12);
    entry(&mut archive, "dir/null", EntryType::Char, 0o666, 12);
    let (code, _, message) = demo.run(&[], "put --tar - demo/fs", &archive.into_inner().unwrap());
    assert_eq!(code, 0, "{message}");
    demo
}

fn extract(demo: &Demo, options: &str) -> (tempfile::TempDir, i32, String) {
    let target = tempfile::tempdir().unwrap();
    let line = format!("extract {options} -C {} demo/fs", target.path().display());
    let (code, _, message) = demo.run(&[], &line, b"");
    (target, code, message)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_is_dangerous_is_left_out_on_request() {
    let is_root = rustix::process::geteuid().is_root();
    let demo = demo();
    let (target, code, message) = extract(&demo, "");
    let dir = target.path().join("dir");
    // Only root makes devices.
    assert_eq!(code, i32::from(!is_root), "{message}");
    assert!(fs::symlink_metadata(dir.join("fifo")).unwrap().file_type().is_fifo());
    assert_eq!((mode(&dir), mode(&dir.join("program"))), (0o2755, 0o6755));
    if is_root {
        assert!(fs::symlink_metadata(dir.join("null")).unwrap().file_type().is_char_device());
        assert_eq!(fs::metadata(dir.join("program")).unwrap().uid(), 12);
    }

    let (target, code, message) = extract(&demo, "--no-special --no-setuid --no-same-owner");
    let dir = target.path().join("dir");
    assert_eq!((code, message.as_str()), (0, ""));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "only the program");
    assert_eq!((mode(&dir), mode(&dir.join("program"))), (0o755, 0o755));
    let own = rustix::process::geteuid().as_raw();
    assert_eq!(fs::metadata(dir.join("program")).unwrap().uid(), own);

    // Each option does only what it says.
    let (target, ..) = extract(&demo, "--no-setuid");
    assert!(target.path().join("dir/fifo").exists());
    let (target, ..) = extract(&demo, "--no-special");
    assert_eq!(mode(&target.path().join("dir/program")), 0o6755);
    // A program that runs as its owner must not become one that runs as whoever extracts it.
    let (target, ..) = extract(&demo, "--no-same-owner");
    assert_eq!(mode(&target.path().join("dir/program")), 0o755);
    let (_target, code, message) = extract(&demo, "--tar --no-setuid");
    assert_eq!(code, 2, "{message}");
}

/// A name for a special file is not made, nor a link to one.
#[test]
fn further_names_of_special_files_are_left_out_too() {
    let demo = demo();
    let mut archive = Builder::new(Vec::new());
    entry(&mut archive, "a", EntryType::Fifo, 0o644, 0);
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Link);
    header.set_size(0);
    archive.append_link(&mut header, "b", "a").unwrap();
    let (code, _, message) = demo.run(&[], "put --tar - demo/fs", &archive.into_inner().unwrap());
    assert_eq!(code, 0, "{message}");
    let (target, code, message) = extract(&demo, "--no-special");
    assert_eq!((code, message.as_str()), (0, ""));
    assert!(!target.path().join("a").exists() && !target.path().join("b").exists());
}

#[test]
fn a_size_that_takes_hours_is_said_first_and_can_be_refused() {
    let demo = empty(128);
    let sources = tempfile::tempdir().unwrap();
    let source = |name: &str, bytes| {
        let path = sources.path().join(name);
        fs::File::create(&path).unwrap().set_len(bytes).unwrap();
        path.display().to_string()
    };
    let (small, large) = (source("small", 5), source("large", 4 << 40));
    let (code, _, message) = demo.run(&[], &format!("put {small} {large} demo/fs:/"), b"");
    assert_eq!(code, 0, "{message}");
    let (code, out, message) = demo.run(&[], "cat --max-size 1G demo/fs small large", b"");
    assert_eq!((code, out.as_str()), (1, "\0\0\0\0\0"), "{message}");
    let said = "zstream: large: 4398046511104 bytes (4.00T), more than --max-size 1073741824\n";
    assert_eq!(message, said);
    assert_eq!(demo.run(&[], "cat --max-size 5 demo/fs small", b"").0, 0);
    let (code, _, message) = demo.run(&[], "cat --max-size much demo/fs small", b"");
    assert_eq!(code, 2, "{message}");

    // Without a limit it is printed, with the size before.
    let mut command = std::process::Command::new(zstream_tests::program::path());
    command.arg("-d").arg(&demo.members()[0]).args(["cat", "demo/fs", "large"]);
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut part = [1; 100_000];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut part).unwrap();
    assert!(part.iter().all(|byte| *byte == 0));
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(message, "zstream: large: printing 4398046511104 bytes (4.00T); --max-size sets a limit\n");
}

/// Extended attributes beside the others and, where there is no more room, in files of their own.
#[test]
fn many_extended_attributes_are_kept() {
    const COUNT: usize = 4000;
    let demo = empty(256);
    let mut archive = Builder::new(Vec::new());
    let names: Vec<String> = (0..COUNT).map(|n| format!("SCHILY.xattr.user.a{n}")).collect();
    let values: Vec<String> = (0..COUNT).map(|n| format!("{n:>0$}", n % 30)).collect();
    let pairs = names.iter().zip(&values).map(|(name, value)| (name.as_str(), value.as_bytes()));
    archive.append_pax_extensions(pairs).unwrap();
    entry(&mut archive, "x", EntryType::Regular, 0o644, 0);
    let (code, _, message) = demo.run(&[], "put --tar - demo/fs", &archive.into_inner().unwrap());
    assert_eq!(code, 0, "{message}");
    let members: Vec<String> = demo.members().iter().map(|path| path.display().to_string()).collect();
    let out = zstream_tests::program::zstream(&["-d", &members[0], "extract", "--tar", "demo/fs", "x"], b"");
    let mut archive = tar::Archive::new(&out.stdout[..]);
    let mut found = archive.entries().unwrap().next().unwrap().unwrap();
    let found = found.pax_extensions().unwrap().unwrap();
    let found: std::collections::BTreeMap<String, String> = found
        .map(|pair| pair.unwrap())
        .map(|pair| (pair.key().unwrap().to_owned(), pair.value().unwrap().to_owned()))
        .filter(|(name, _)| name.starts_with("SCHILY.xattr."))
        .collect();
    assert_eq!(found, names.into_iter().zip(values).collect());
    demo.check("after many extended attributes");
}

/// Two programs that start at the same moment, again and again: each does all of its work or refuses, and the pool is clean.
#[test]
fn two_writers_at_once_do_not_meet() {
    let demo = empty(128);
    let times = if std::env::var_os("ZSTREAM_THOROUGH").is_some() { 1000 } else { 12 };
    let mut expected = 0;
    for time in 0..times {
        let start = |writer: &str| {
            let mut command = std::process::Command::new(zstream_tests::program::path());
            command.arg("-d").arg(&demo.members()[0]).args(["snapshot", &format!("demo/fs@{writer}{time}")]);
            command.stderr(std::process::Stdio::piped()).spawn().unwrap()
        };
        let both = [start("a"), start("b")];
        for child in both {
            let output = child.wait_with_output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr);
            let is_refused = message.contains("another program has it open for writing");
            assert_eq!(output.status.code(), Some(i32::from(is_refused)), "{message}");
            expected += usize::from(!is_refused);
        }
    }
    let found = demo.datasets().keys().filter(|name| name.contains('@')).count();
    assert_eq!(found, expected);
    assert!(expected >= times, "one of two succeeds");
    demo.check("after two writers");
}

/// Deeper than a process may have files open.
#[test]
fn deep_trees_are_restored_with_few_open_files() {
    const DEPTH: usize = 1500;
    let demo = empty(256);
    let mut archive = Builder::new(Vec::new());
    let mut path = String::new();
    for depth in 0..DEPTH {
        path.push_str(["a/", "b/"][depth % 2]);
        entry(&mut archive, &path, EntryType::Directory, 0o700, 0);
    }
    entry(&mut archive, &format!("{path}file"), EntryType::Regular, 0o600, 0);
    let (code, _, message) = demo.run(&[], "put --tar - demo/fs", &archive.into_inner().unwrap());
    assert_eq!(code, 0, "{message}");
    let (target, code, message) = extract(&demo, "");
    assert_eq!((code, message.as_str()), (0, ""));
    assert!(target.path().join(path).join("file").is_file());
}
