//! `ls`, `cat` and `extract` of the program, on the golden pools.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zstream_tests::golden::{self, Entry, Outcome};
use zstream_tests::program;

fn zstream(words: &[&str]) -> Outcome {
    let image = golden::image("tank.img");
    let mut args = vec!["-d", image.to_str().expect("UTF-8")];
    args.extend(words);
    program::zstream(&args, b"")
}

/// The output of a command that must succeed and say nothing else.
fn ok(words: &[&str]) -> Vec<u8> {
    let outcome = zstream(words);
    assert_eq!((String::from_utf8_lossy(&outcome.stderr).as_ref(), outcome.code), ("", 0), "{words:?}");
    outcome.stdout
}

/// The words of a command that must fail.
fn fails(code: i32, words: &[&str]) -> String {
    let outcome = zstream(words);
    assert_eq!(outcome.code, code, "{words:?}");
    String::from_utf8(outcome.stderr).expect("UTF-8")
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_root() -> bool {
    // What this process makes is its own.
    tempfile::tempfile().expect("a file").metadata().expect("its owner").uid() == 0
}

/// What lies below a directory, in the form of a manifest, without extended attributes.
fn found(root: &Path) -> BTreeMap<String, Entry> {
    let mut entries = BTreeMap::new();
    let mut left: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let meta = path.symlink_metadata().expect("what was listed");
        let kind = meta.file_type();
        let letter = match kind {
            _ if kind.is_file() => 'f',
            _ if kind.is_dir() => 'd',
            _ if kind.is_symlink() => 'l',
            _ if kind.is_fifo() => 'p',
            _ if kind.is_char_device() => 'c',
            _ => '?',
        };
        if kind.is_dir() {
            left.extend(fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("a name").path()));
        }
        let below = path.strip_prefix(root).expect("below the root").to_str().expect("UTF-8");
        let target = if kind.is_symlink() { fs::read_link(&path).expect("a link") } else { PathBuf::new() };
        let entry = Entry {
            kind: letter,
            mode: meta.mode() & 0o7777,
            uid: meta.uid().into(),
            gid: meta.gid().into(),
            size: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec() as u32),
            links: meta.nlink(),
            target: target.to_str().expect("UTF-8").to_owned(),
            sha256: kind.is_file().then(|| sha256(&fs::read(&path).expect("a file"))),
            xattrs: BTreeMap::new(),
        };
        entries.insert(if below.is_empty() { ".".to_owned() } else { format!("./{below}") }, entry);
    }
    entries
}

/// What a manifest says, as far as another file system can show the same.
fn expected(name: &str) -> BTreeMap<String, Entry> {
    let mut entries = golden::manifest(name).entries;
    entries.values_mut().for_each(|entry| entry.xattrs.clear());
    entries
}

fn comparable(mut entries: BTreeMap<String, Entry>) -> BTreeMap<String, Entry> {
    for entry in entries.values_mut().filter(|entry| entry.kind == 'd') {
        // Sizes and links of directories are the target file system's own.
        (entry.size, entry.links) = (0, 0);
    }
    entries
}

/// Owners and devices are root's to make.
fn as_restored(mut entries: BTreeMap<String, Entry>) -> BTreeMap<String, Entry> {
    if !is_root() {
        let mine = tempfile::tempfile().expect("a file").metadata().expect("its owner");
        entries.retain(|_, entry| entry.kind != 'c');
        entries
            .values_mut()
            .for_each(|entry| (entry.uid, entry.gid) = (mine.uid().into(), mine.gid().into()));
    }
    comparable(entries)
}

#[test]
fn ls_shows_what_the_manifest_says() {
    for (snapshot, name) in [("tank/fs@a", "tank_fs_a"), ("tank/dn@s", "tank_dn_s")] {
        let listed = String::from_utf8(ok(&["ls", "-lR", snapshot])).unwrap();
        let manifest = golden::manifest(name).entries;
        assert_eq!(listed.lines().count(), manifest.len() - 1, "{snapshot}");
        for line in listed.lines() {
            let mut words = line.split_whitespace();
            let mode = words.next().unwrap();
            let numbers: Vec<u64> = words.by_ref().take(3).map(|word| word.parse().unwrap()).collect();
            let rest = words.collect::<Vec<_>>();
            let (size, rest) =
                if rest[0].ends_with(',') { (0, &rest[2..]) } else { (rest[0].parse().unwrap(), &rest[1..]) };
            let entry = &manifest[&format!("./{}", rest[1])];
            assert!(mode.starts_with(if entry.kind == 'f' { '-' } else { entry.kind }), "{line}");
            assert_eq!(numbers, [entry.links, entry.uid, entry.gid], "{line}");
            assert_eq!(size, entry.size, "{line}");
            assert_eq!(rest.get(3).copied().unwrap_or_default(), entry.target, "{line}");
        }
    }
    assert_eq!(ok(&["ls", "tank/fs@a", "dir"]), b"a\ndeep\nhard\nlink\nlonglink\n");
    let null = String::from_utf8(ok(&["ls", "-l", "tank/fs@a", "null"])).unwrap();
    assert_eq!(null.trim_end(), "crw-r--r--   1     0     0         1, 3 2026-11-21T00:08:31Z null");
}

#[test]
fn cat_gives_the_bytes_of_files_and_volumes() {
    let manifest = golden::manifest("tank_fs_a").entries;
    for path in ["text", "sparse", "embedded", "empty", "naïve-文件"] {
        let content = ok(&["cat", "tank/fs@a", path]);
        assert_eq!(Some(sha256(&content)), manifest[&format!("./{path}")].sha256, "{path}");
    }
    assert!(ok(&["cat", "tank/vol@s"]).starts_with(b"1\n2\n3\n"));
    assert!(fails(1, &["cat", "tank/fs@a", "dir"]).contains("not a regular file"));
    assert!(fails(1, &["cat", "tank/fs@a", "dir/nothing"]).contains("not found"));
    assert!(fails(1, &["cat", "tank/none@a", "x"]).contains("tank/none"));
    assert!(fails(2, &["cat", "tank/vol@s", "x"]).contains("volume"));
}

#[test]
fn extract_restores_all_of_a_snapshot() {
    for (snapshot, name) in [("tank/fs@a", "tank_fs_a"), ("tank/rs512@s", "tank_rs512_s")] {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().to_str().unwrap();
        let outcome = zstream(&["extract", snapshot, "-C", target]);
        let stderr = String::from_utf8_lossy(&outcome.stderr);
        // Without root the device is missing, and that is said.
        let complaint = if is_root() { "" } else { "null" };
        assert_eq!((stderr.is_empty(), outcome.code), (is_root(), i32::from(!is_root())), "{stderr}");
        assert!(stderr.contains(complaint), "{stderr}");
        let (found, expected) = (comparable(found(dir.path())), as_restored(expected(name)));
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (path, entry) in &expected {
            assert_eq!(&found[path], entry, "{snapshot}: {path}");
        }
        let meta = |name: &str| dir.path().join(name).metadata().unwrap();
        assert_eq!(meta("tiny").ino(), meta("dir/hard").ino(), "a hard link");
        assert!(meta("sparse").blocks() * 512 < 4 << 20, "holes stay holes");
        if is_root() {
            assert_eq!(meta("null").rdev(), fs::metadata("/dev/null").unwrap().rdev());
        }
        let mut value = [0; 64];
        match rustix::fs::getxattr(dir.path().join("tiny"), "user.small", &mut value) {
            Ok(length) => assert_eq!(&value[..length], b"value"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn extract_restores_parts_and_encrypted_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().to_str().unwrap();
    let key = dir.path().join("key");
    fs::write(&key, "correct horse\n").unwrap();
    let image = golden::image("tank.img");
    let run = |key: Option<&Path>| {
        let mut args = vec!["-d", image.to_str().unwrap()];
        args.extend(key.iter().flat_map(|key| ["--key-file", key.to_str().unwrap()]));
        args.extend(["extract", "tank/e-aes-256-gcm@s", "-C", target, "dir/deep", "/text"]);
        program::zstream(&args, b"")
    };
    let outcome = run(None);
    assert_eq!(outcome.code, 1);
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("--key-file"));
    assert_eq!(run(Some(&key)), Outcome { stdout: Vec::new(), stderr: Vec::new(), code: 0 });
    let manifest = golden::manifest("tank_e-aes-256-gcm_s").entries;
    for path in ["dir/deep/er/b", "text"] {
        let content = fs::read(dir.path().join(path)).unwrap();
        assert_eq!(Some(sha256(&content)), manifest[&format!("./{path}")].sha256, "{path}");
    }
    assert!(!dir.path().join("dir/a").exists());
    fs::write(&key, "wrong horse").unwrap();
    let stderr = String::from_utf8(run(Some(&key)).stderr).unwrap();
    assert!(stderr.contains("cannot load the key of tank/e-aes-256-gcm: the key is not the one"), "{stderr}");
}

/// Links that lie in the target are not followed, and what is there is not overwritten.
#[test]
fn extract_stays_in_its_target() {
    let outside = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().to_str().unwrap();
    symlink(outside.path(), dir.path().join("dir")).unwrap();
    symlink(outside.path().join("victim"), dir.path().join("tiny")).unwrap();
    fs::write(dir.path().join("text"), "mine").unwrap();
    let stderr = fails(1, &["extract", "tank/fs@a", "-C", target]);
    for name in ["dir", "tiny", "text"] {
        assert!(stderr.contains(&format!("zstream: {name}: ")), "{stderr}");
    }
    assert!(stderr.contains("zstream: restored "), "{stderr}");
    assert!(stderr.ends_with("3 items could not be restored: 2 files, 1 directory\n"), "{stderr}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "something was written outside");
    assert_eq!(fs::read(dir.path().join("text")).unwrap(), b"mine");
    assert!(dir.path().join("random").exists(), "the rest is restored");
    let stderr = fails(1, &["extract", "tank/fs@a", "-C", target, "dir/deep"]);
    assert!(stderr.contains("dir/deep"), "{stderr}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "something was written outside");
    assert!(fails(2, &["extract", "tank/fs@a", "-C", target, "../x"]).contains("'..'"));
}

#[test]
fn a_volume_extracts_to_a_sparse_image() {
    let dir = tempfile::tempdir().unwrap();
    assert!(ok(&["extract", "tank/vol@t", "-C", dir.path().to_str().unwrap()]).is_empty());
    let image = dir.path().join("vol.img");
    assert_eq!(fs::read(&image).unwrap(), ok(&["cat", "tank/vol@t"]));
    let meta = image.metadata().unwrap();
    assert!(meta.len() == 8 << 20 && meta.blocks() * 512 < 1 << 20, "{meta:?}");
}

/// An archive that another reader of archives understands, with every file as the manifest has it.
#[test]
fn an_archive_holds_the_same() {
    let bytes = ok(&["extract", "--tar", "tank/fs@a"]);
    assert_eq!(bytes, ok(&["extract", "--tar", "tank/fs@a"]), "the same again");
    let manifest = golden::manifest("tank_fs_a").entries;
    let mut archive = tar::Archive::new(&bytes[..]);
    let (mut seen, mut sparse_seen) = (0, 0);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut records = BTreeMap::new();
        if let Some(extensions) = entry.pax_extensions().unwrap() {
            for record in extensions {
                let record = record.unwrap();
                records.insert(record.key().unwrap().to_owned(), record.value_bytes().to_vec());
            }
        }
        let sparse = records.get("GNU.sparse.name").cloned();
        let path = sparse.clone().unwrap_or_else(|| entry.path_bytes().into_owned());
        let path = path.strip_suffix(b"/").unwrap_or(&path);
        let path = match path {
            b"." => ".".to_owned(),
            path => format!("./{}", std::str::from_utf8(path).unwrap()),
        };
        let expected = &manifest[&path];
        let header = entry.header().clone();
        assert_eq!(header.mode().unwrap(), expected.mode, "{path}");
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (expected.uid, expected.gid), "{path}");
        assert_eq!(header.mtime().unwrap(), expected.mtime.0 as u64, "{path}");
        let fraction = records.get("mtime").map(|time| String::from_utf8_lossy(time).into_owned());
        let (seconds, nanoseconds) = expected.mtime;
        assert_eq!(fraction, (nanoseconds != 0).then(|| format!("{seconds}.{nanoseconds:09}")), "{path}");
        let link = entry.link_name_bytes().map(|name| name.into_owned());
        if header.entry_type() == tar::EntryType::Link {
            assert_eq!((path.as_str(), link.as_deref()), ("./tiny", Some(&b"dir/hard"[..])));
        } else {
            for (name, value) in &expected.xattrs {
                assert_eq!(records[&format!("SCHILY.xattr.{name}")], value.as_bytes(), "{path}");
            }
            let target = link.unwrap_or_default();
            assert_eq!(OsStr::from_bytes(&target), OsStr::new(&expected.target), "{path}");
        }
        if header.entry_type() == tar::EntryType::Regular {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            if sparse.is_some() {
                assert!((content.len() as u64) < expected.size, "{path}: holes are left out");
                content = expanded(&content, expected.size as usize);
                sparse_seen += 1;
            }
            assert_eq!(Some(sha256(&content)), expected.sha256, "{path}");
        }
        seen += 1;
    }
    // The file of zeros is one hole.
    assert_eq!((seen, sparse_seen), (manifest.len(), 2));
}

/// The content of a file in the sparse format of GNU tar 1.0.
fn expanded(stored: &[u8], size: usize) -> Vec<u8> {
    let mut lines = stored.split(|byte| *byte == b'\n');
    let mut used = 0;
    let mut number = || {
        let line = lines.next().unwrap();
        used += line.len() + 1;
        std::str::from_utf8(line).unwrap().parse::<usize>().unwrap()
    };
    let count = number();
    let map: Vec<_> = (0..count).map(|_| (number(), number())).collect();
    let mut data = &stored[used.next_multiple_of(512)..];
    let mut content = vec![0; size];
    for (offset, length) in map {
        let (part, rest) = data.split_at(length);
        content[offset..offset + length].copy_from_slice(part);
        data = rest;
    }
    assert!(data.is_empty());
    content
}

/// GNU tar, where it is installed, restores holes and content.
#[test]
fn gnu_tar_reads_sparse_files() {
    let tar = std::process::Command::new("tar").arg("--version").output();
    if !tar.is_ok_and(|tar| String::from_utf8_lossy(&tar.stdout).contains("GNU tar")) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.tar"), ok(&["extract", "--tar", "tank/fs@a", "sparse", "text"])).unwrap();
    let unpacked =
        std::process::Command::new("tar").args(["xf", "a.tar"]).current_dir(dir.path()).output().unwrap();
    assert!(unpacked.status.success(), "{unpacked:?}");
    let manifest = golden::manifest("tank_fs_a").entries;
    for name in ["sparse", "text"] {
        let content = fs::read(dir.path().join(name)).unwrap();
        assert_eq!(Some(sha256(&content)), manifest[&format!("./{name}")].sha256, "{name}");
    }
    assert!(dir.path().join("sparse").metadata().unwrap().blocks() * 512 < 1 << 20);
}

/// The devices can come from the environment, and a list of several may stand before the verb.
#[test]
fn devices_are_named_before_the_verb() {
    let members = golden::pool("praidz1");
    let mut args = vec!["-d"];
    args.extend(members.iter().map(|path| path.to_str().unwrap()));
    args.extend(["ls", "praidz1@s", "dir"]);
    let named = program::zstream(&args, b"");
    assert_eq!((named.code, &named.stdout[..]), (0, &b"a\ndeep\nhard\nlink\nlonglink\n"[..]));
    let outcome = program::zstream(&["ls", "praidz1@s"], b"");
    assert_eq!(outcome.code, 2);
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("ZSTREAM_DEVICE"));
    let listed = std::process::Command::new(program::path())
        .args(["ls", "praidz1@s", "dir"])
        .env("ZSTREAM_DEVICE", std::env::join_paths(&members).unwrap())
        .output()
        .unwrap();
    assert_eq!(listed.stdout, named.stdout);
}
