//! `zstream put`: what goes in comes out of `extract` and `cat`, or nothing goes in.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use zstream_tests::golden::Outcome;
use zstream_tests::program;

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// A pool `demo` in the file `demo.img`, the same every time, and the directory `src`.
    fn new(properties: &[&str]) -> Self {
        let bench = Self { dir: tempfile::tempdir().expect("a directory") };
        let image = bench.path("demo.img");
        let mut words =
            vec!["pool", "create", "--size", "128M", "--timestamp", "1800000000", "--guid-seed", "5"];
        for property in properties {
            words.extend(["-O", property]);
        }
        words.extend(["demo", &image]);
        good(&program::zstream(&words, b""));
        bench.fill(Path::new(&bench.path("src")));
        bench
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn fill(&self, src: &Path) {
        fs::create_dir_all(src.join("sub/deep")).expect("directories");
        fs::write(src.join("empty"), b"").expect("a file");
        fs::write(src.join("large"), noise(1_000_000)).expect("a file");
        fs::write(src.join("sub/text"), b"text\n").expect("a file");
        fs::set_permissions(src.join("sub/text"), fs::Permissions::from_mode(0o4711)).expect("a mode");
        fs::hard_link(src.join("sub/text"), src.join("hard")).expect("a link");
        symlink("../large", src.join("sub/deep/link")).expect("a link");
        let sparse = fs::File::create(src.join("sub/sparse")).expect("a file");
        sparse.set_len(3 << 20).expect("a size");
        fs::set_permissions(src.join("sub"), fs::Permissions::from_mode(0o750)).expect("a mode");
    }

    /// `zstream -d demo.img WORDS`
    fn run(&self, words: &[&str], input: &[u8]) -> Outcome {
        program::zstream(&[&["-d", &self.path("demo.img")], words].concat(), input)
    }

    fn put(&self, words: &[&str]) {
        good(&self.run(&[&["put"], words].concat(), b""));
    }

    fn image(&self) -> Vec<u8> {
        fs::read(self.path("demo.img")).expect("the image")
    }

    fn cat(&self, dataset: &str, path: &str) -> Vec<u8> {
        let outcome = self.run(&["cat", dataset, path], b"");
        good(&outcome);
        outcome.stdout
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        })
        .collect()
}

fn good(outcome: &Outcome) {
    assert_eq!((outcome.code, String::from_utf8_lossy(&outcome.stderr)), (0, "".into()));
}

/// Path, mode, owner, links, size, time and content of all below a directory.
fn listing(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let data = fs::symlink_metadata(&path).expect("a node");
        let content = if data.is_dir() {
            open.extend(
                fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()),
            );
            String::new()
        } else if data.is_symlink() {
            format!("{:?}", fs::read_link(&path).expect("a target"))
        } else {
            format!(
                "{} {:x?}",
                data.len(),
                fs::read(&path).expect("content").iter().map(|b| u64::from(*b)).sum::<u64>()
            )
        };
        let own = path.strip_prefix(root).expect("a part");
        let times = (data.mtime(), data.mtime_nsec());
        let links = if data.is_dir() { 0 } else { data.nlink() };
        found.push(format!(
            "{own:?} {:o} {} {} {links} {times:?} {content}",
            data.mode(),
            data.uid(),
            data.gid()
        ));
    }
    found.sort();
    found
}

#[test]
fn what_is_put_is_extracted() {
    let bench = Bench::new(&["compression=zstd"]);
    let noted = bench.path("src/sub/text");
    rustix::fs::setxattr(&noted, "user.note", b"kept", rustix::fs::XattrFlags::empty())
        .expect("an attribute");
    bench.put(&[&(bench.path("src") + "/"), "demo:/"]);
    // The root got the attributes of the source.
    let out = bench.path("out");
    fs::create_dir(&out).expect("a directory");
    good(&bench.run(&["extract", "-C", &out, "demo"], b""));
    assert_eq!(listing(Path::new(&out)), listing(Path::new(&bench.path("src"))));
    let mut note = [0; 5];
    let length = rustix::fs::getxattr(out + "/sub/text", "user.note", &mut note[..]).expect("an attribute");
    assert_eq!(&note[..length], b"kept");

    bench.put(&[&bench.path("src"), "demo:/"]);
    bench.put(&[&bench.path("src/sub/text"), "demo:/other"]);
    bench.put(&[&bench.path("src/empty"), &bench.path("src/sub"), "demo:/sub/deep"]);
    assert_eq!(bench.cat("demo", "src/sub/text"), b"text\n");
    assert_eq!(bench.cat("demo", "other"), b"text\n");
    assert_eq!(bench.cat("demo", "sub/deep/sub/text"), b"text\n");
    // What is there of the same name is replaced.
    bench.put(&[&bench.path("src/large"), "demo:/other"]);
    assert_eq!(bench.cat("demo", "other"), noise(1_000_000));
    good(&bench.run(&["pool", "check"], b""));
}

/// Directories in directories take no longer than directories beside each other, except for the length of their paths.
#[test]
fn an_archive_may_be_deep() {
    // A walk goes no deeper than 2048.
    const DIRECTORIES: usize = 2000;
    let archive = |is_deep: bool| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut path = String::new();
        for n in 0..DIRECTORIES {
            path = if is_deep { path + "d/" } else { format!("{n}/") };
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_size(0);
            header.set_mode(0o755);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            builder.append_data(&mut header, &path, &[][..]).expect("memory");
        }
        builder.into_inner().expect("memory")
    };
    let take = |archive: &[u8]| {
        let bench = Bench::new(&[]);
        let begun = std::time::Instant::now();
        good(&bench.run(&["put", "--tar", "-", "demo:/"], archive));
        let time = begun.elapsed();
        good(&bench.run(&["pool", "check"], b""));
        (bench, time)
    };
    let (_, flat) = take(&archive(false));
    let (bench, deep) = take(&archive(true));
    let all = bench.run(&["extract", "--tar", "demo"], b"");
    good(&all);
    let entries = tar::Archive::new(&all.stdout[..]).entries().expect("an archive").count();
    assert_eq!(entries, DIRECTORIES + 1);
    assert!(deep < 10 * flat + std::time::Duration::from_secs(2), "{deep:?}, and {flat:?} without depth");
}

#[test]
fn an_archive_is_put_as_the_files_in_it() {
    let bench = Bench::new(&[]);
    bench.put(&[&(bench.path("src") + "/"), "demo:/"]);
    let archive = bench.run(&["extract", "--tar", "demo"], b"");
    good(&archive);
    let other = Bench::new(&[]);
    good(&other.run(&["put", "--tar", "-", "demo:/"], &archive.stdout));
    let out = other.path("out");
    fs::create_dir(&out).expect("a directory");
    good(&other.run(&["extract", "-C", &out, "demo"], b""));
    assert_eq!(listing(Path::new(&out)), listing(Path::new(&bench.path("src"))));
    // An archive that was cut puts nothing.
    let before = other.image();
    let cut = other.run(&["put", "--tar", "-", "demo:/"], &archive.stdout[..600_000]);
    assert_eq!(cut.code, 1);
    assert!(String::from_utf8_lossy(&cut.stderr).contains("nothing was written"), "{cut:?}");
    assert!(other.image() == before || other.cat("demo", "sub/text") == b"text\n");
    good(&other.run(&["pool", "check"], b""));
}

#[test]
fn with_a_timestamp_the_same_files_make_the_same_image() {
    let bench = Bench::new(&[]);
    // Large enough that blocks are written while others are read.
    fs::write(bench.path("src/huge"), noise(45 << 20)).expect("a file");
    let first = bench.image();
    bench.put(&["--timestamp", "1700000000", &(bench.path("src") + "/"), "demo:/"]);
    let made = bench.image();
    fs::write(bench.path("demo.img"), first).expect("the first image");
    std::thread::sleep(std::time::Duration::from_millis(20));
    bench.put(&["--timestamp", "1700000000", &(bench.path("src") + "/"), "demo:/"]);
    assert!(made == bench.image());
}

#[test]
fn a_failure_puts_nothing() {
    let bench = Bench::new(&[]);
    let before = bench.image();
    let src = bench.path("src");
    for (words, code, text) in [
        (vec![&src[..], "/nowhere/file", "demo:/"], 1, "/nowhere/file: No such file or directory"),
        (vec![&src[..], "demo:/missing/directory"], 1, "directory missing not found"),
        (vec![&src[..], &src[..], "demo:/new"], 1, "new"),
        (vec![&src[..], "demo/none:/"], 1, "dataset demo/none not found"),
        (vec![&src[..], "demo@snap:/"], 2, "only filesystems and volumes"),
        (vec![&src[..], "demo:/a/../b"], 2, "'..'"),
        (vec!["--tar", "/dev/null", "demo:/"], 0, ""),
    ] {
        let outcome = bench.run(&[&["put"], &words[..]].concat(), b"");
        let error = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert_eq!(outcome.code, code, "{words:?}: {error}");
        assert!(error.contains(text), "{words:?}: {error:?}, expected {text:?}");
    }
    let huge = bench.path("huge");
    fs::write(&huge, noise(80 << 20)).expect("a file");
    let outcome = bench.run(&["put", &huge, "demo:/"], b"");
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("no space left"), "{outcome:?}");
    // Only the empty archive wrote something: the line in the history.
    assert!(bench.image() != before);
    assert_eq!(bench.run(&["ls", "demo"], b"").stdout, b"");
    good(&bench.run(&["pool", "check"], b""));
}

#[test]
fn an_image_is_put_into_a_volume() {
    let bench = Bench::new(&[]);
    good(&bench.run(&["create", "-V", "20M", "demo/vol"], b""));
    let mut image = noise(9 << 20);
    image[1 << 20..4 << 20].fill(0);
    fs::write(bench.path("raw"), &image).expect("an image");
    bench.put(&[&bench.path("raw"), "demo/vol"]);
    image.resize(20 << 20, 0);
    assert!(bench.run(&["cat", "demo/vol"], b"").stdout == image);
    // A second image goes over the first; zeros in it are written, too.
    fs::write(bench.path("raw"), vec![0; 2 << 20]).expect("an image");
    bench.put(&[&bench.path("raw"), "demo/vol"]);
    image[..2 << 20].fill(0);
    assert!(bench.run(&["cat", "demo/vol"], b"").stdout == image);
    fs::write(bench.path("raw"), vec![1; (20 << 20) + 1]).expect("an image");
    let outcome = bench.run(&["put", &bench.path("raw"), "demo/vol"], b"");
    assert_eq!(outcome.code, 1);
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("larger than the volume"), "{outcome:?}");
    assert!(bench.run(&["cat", "demo/vol"], b"").stdout == image);
    good(&bench.run(&["pool", "check"], b""));
}

#[test]
fn encrypted_datasets_are_written_with_their_key() {
    let bench = Bench::new(&[]);
    let [image, key, src] = ["secret.img", "key", "src"].map(|name| bench.path(name));
    fs::write(&key, "correct horse").expect("a key");
    let with_key = ["-d", &image, "--key-file", &key];
    let run = |words: &[&str]| program::zstream(&[&with_key[..], words].concat(), b"");
    let create =
        ["pool", "create", "--size", "128M", "-O", "encryption=on", "-O", "keyformat=passphrase", "demo"];
    good(&program::zstream(&[&with_key[2..], &create, &[&image]].concat(), b""));
    good(&run(&["put", &src, "demo:/"]));
    good(&run(&["create", "demo/below"]));
    good(&run(&["put", &format!("{src}/"), "demo/below:/"]));
    for (dataset, path) in [("demo", "/src/large"), ("demo/below", "/large")] {
        let outcome = run(&["cat", dataset, path]);
        assert!(outcome.stdout == noise(1_000_000), "{outcome:?}");
    }
    let get = run(&["get", "-Hp", "-o", "value", "encryption,encryptionroot,keylocation", "demo"]);
    assert_eq!(String::from_utf8_lossy(&get.stdout), "aes-256-gcm\ndemo\nprompt\n");
    let locked = program::zstream(&["-d", &image, "put", &src, "demo:/"], b"");
    assert!(String::from_utf8_lossy(&locked.stderr).contains("demo is encrypted"), "{locked:?}");
    fs::write(&key, "wrong horse").expect("a key");
    let wrong = run(&["put", &src, "demo:/"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("cannot load the key of demo"), "{wrong:?}");
    good(&run(&["pool", "check"]));
}

/// Space and objects are counted by owner from the start, as in file systems that OpenZFS makes.
#[test]
fn what_owners_use_is_counted() {
    let bench = Bench::new(&["compression=off"]);
    let src = bench.path("src");
    bench.put(&[&format!("{src}/"), "demo:/"]);
    let owner = fs::metadata(&src).expect("a directory").uid();
    let get = |what: &str| {
        let outcome = bench.run(&["get", "-Hp", "-o", "value", &format!("{what}@{owner}"), "demo"], b"");
        String::from_utf8_lossy(&outcome.stdout).trim_end().parse::<u64>().expect("a number")
    };
    // Four files, a link, two directories, and the root where it is the superuser who puts them.
    let objects = get("userobjused");
    assert!(objects == 8 || (owner != 0 && objects == 7), "{objects} objects");
    // One file has a million bytes in records of 128 KiB, the others next to nothing.
    let bytes = get("userused");
    assert!((1 << 20..(1 << 20) + (100 << 10)).contains(&bytes), "{bytes} bytes");
}

#[test]
fn volumes_grow_and_shrink() {
    let bench = Bench::new(&["compression=off"]);
    good(&bench.run(&["create", "-V", "8M", "demo/vol"], b""));
    let image = noise(8 << 20);
    fs::write(bench.path("raw"), &image).expect("an image");
    bench.put(&[&bench.path("raw"), "demo/vol"]);
    let get = |what: &str| {
        let outcome = bench.run(&["get", "-Hp", "-o", "value", what, "demo/vol"], b"");
        String::from_utf8_lossy(&outcome.stdout).trim_end().parse::<u64>().expect("a number")
    };
    let reserved = get("refreservation");
    good(&bench.run(&["set", "volsize=2M", "demo/vol"], b""));
    assert!(get("referenced") < 3 << 20, "what is behind the end is freed");
    assert!(get("refreservation") < reserved - (5 << 20));
    good(&bench.run(&["set", "volsize=8M", "demo/vol"], b""));
    assert_eq!(get("refreservation"), reserved);
    let mut expected = image;
    expected[2 << 20..].fill(0);
    assert!(bench.run(&["cat", "demo/vol"], b"").stdout == expected);
    let outcome = bench.run(&["set", "volsize=1000001", "demo/vol"], b"");
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("expected a multiple"), "{outcome:?}");
    good(&bench.run(&["pool", "check"], b""));
}

/// Two spellings of one name are an error that shows both, and nothing is put; over what is there, either spelling takes its place.
#[test]
fn spellings_of_one_name_are_one_file() {
    for (properties, names) in [
        (&["casesensitivity=insensitive"][..], ["A", "a"]),
        (&["normalization=formD"], ["e\u{301}", "\u{e9}"]),
        (&["normalization=formKC", "casesensitivity=insensitive"], ["\u{2460}x", "1X"]),
    ] {
        let bench = Bench::new(properties);
        let both = Path::new(&bench.path("both")).to_owned();
        for (n, name) in names.iter().enumerate() {
            fs::create_dir_all(both.join(format!("{n}"))).expect("a directory");
            fs::write(both.join(format!("{n}/{name}")), format!("{n}")).expect("a file");
        }
        let [first, second] = [0, 1].map(|n| format!("{}/{n}/", both.display()));
        let before = bench.image();
        let outcome = bench.run(&["put", &first, &second, "demo:/"], b"");
        let text = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert_eq!(outcome.code, 1, "{text}");
        assert!(text.contains("are equivalent names in this filesystem"), "{text}");
        assert!(bench.image() == before, "nothing is put");
        for (source, content) in [(&first, "0"), (&second, "1")] {
            bench.put(&[source, "demo:/"]);
            for name in names {
                assert_eq!(bench.cat("demo", name), content.as_bytes(), "{name}");
            }
            let listed = bench.run(&["ls", "demo"], b"");
            assert_eq!(listed.stdout.iter().filter(|byte| **byte == b'\n').count(), 1);
        }
    }
}

/// What the filesystem does not take is refused with the errno of OpenZFS's module.
#[test]
fn names_that_cannot_be_kept_are_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let cases: [(&[&str], Vec<u8>, &str); 2] = [
        (&["utf8only=on"], b"caf\xe9".to_vec(), "is not UTF-8, which the filesystem requires"),
        (&["normalization=formD"], "\u{ac00}".repeat(60).into_bytes(), "its form is too long"),
    ];
    for (properties, name, why) in cases {
        let bench = Bench::new(properties);
        let dir = Path::new(&bench.path("bad")).to_owned();
        fs::create_dir(&dir).expect("a directory");
        fs::write(dir.join(std::ffi::OsStr::from_bytes(&name)), b"x").expect("a file");
        let outcome = bench.run(&["put", &format!("{}/", dir.display()), "demo:/"], b"");
        let text = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert!(outcome.code == 1 && text.contains(why), "{text}");
    }
}

/// A dataset may have colons in its name; the path begins with a slash.
#[test]
fn datasets_with_colons_are_put_into() {
    let bench = Bench::new(&[]);
    good(&bench.run(&["create", "demo/x:y"], b""));
    let text = bench.path("src/sub/text");
    for (target, path) in [("demo/x:y:/", "text"), ("demo/x:y:/a:", "a:"), ("demo/x:y", "text")] {
        bench.put(&[&text, target]);
        assert_eq!(bench.cat("demo/x:y", path), b"text\n", "{target}");
    }
}

/// Holes of an image are not read, and become holes of the volume: also where it had data.
#[test]
fn holes_of_an_image_are_not_read() {
    use std::os::unix::fs::FileExt as _;
    const SIZE: u64 = 64 << 30;
    let bench = Bench::new(&[]);
    good(&bench.run(&["create", "-s", "-V", "64G", "demo/vol"], b""));
    let raw = bench.path("raw");
    let image = |parts: &[(u64, &[u8])]| {
        let file = fs::File::create(&raw).expect("an image");
        file.set_len(SIZE).expect("a size");
        parts.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).expect("bytes"));
    };
    image(&[(5000, &noise(100_000)), (SIZE - 3, b"end")]);
    bench.put(&[&raw, "demo/vol"]);
    image(&[(33 << 30, b"middle"), (SIZE - 3, b"end")]);
    let before = std::time::Instant::now();
    bench.put(&[&raw, "demo/vol"]);
    assert!(before.elapsed().as_secs() < 60, "64 GiB of zeros take longer");
    let open = program::zstream(
        &["-d", &bench.path("demo.img"), "get", "-Hp", "-o", "value", "referenced", "demo/vol"],
        b"",
    );
    let referenced: u64 = String::from_utf8_lossy(&open.stdout).trim().parse().expect("a number");
    assert!(referenced < 200_000, "what the first image had is freed: {referenced}");
    good(&bench.run(&["snapshot", "demo/vol@a"], b""));
    let stream = bench.run(&["send", "demo/vol@a"], b"");
    good(&stream);
    for (at, bytes) in [(33_u64 << 30, &b"middle"[..]), (SIZE - 3, b"end")] {
        let found = stream.stdout.windows(bytes.len()).filter(|window| *window == bytes).count();
        assert_eq!(found, 1, "the bytes at {at}");
    }
    // One that is larger than the volume is refused, also where its end is a hole.
    image(&[]);
    fs::File::options().write(true).open(&raw).expect("it").set_len(SIZE + 1).expect("a size");
    let outcome = bench.run(&["put", &raw, "demo/vol"], b"");
    let text = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert!(outcome.code == 1 && text.contains("larger than the volume"), "{text}");
}

/// Volumes with large blocks, as far as the pool has the feature.
#[test]
fn volumes_may_have_large_blocks() {
    let bench = Bench::new(&[]);
    good(&bench.run(&["create", "-V", "8M", "-b", "1M", "demo/vol"], b""));
    let raw = bench.path("raw");
    fs::write(&raw, noise(8 << 20)).expect("an image");
    bench.put(&[&raw, "demo/vol"]);
    let outcome = bench.run(&["cat", "demo/vol"], b"");
    assert!(outcome.stdout == noise(8 << 20));
    let outcome = bench.run(&["get", "-Hp", "-o", "value", "volblocksize", "demo/vol"], b"");
    assert_eq!(outcome.stdout, b"1048576\n");
    let outcome = bench.run(&["pool", "show"], b"");
    let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
    let active = text.lines().find(|line| line.starts_with("features active")).expect("features");
    assert!(active.contains("large_blocks"), "{active}");
    let old = bench.path("old.img");
    good(&program::zstream(&["pool", "create", "-d", "--size", "64M", "old", &old], b""));
    let outcome = program::zstream(&["-d", &old, "create", "-V", "8M", "-b", "1M", "old/vol"], b"");
    assert_ne!(outcome.code, 0, "the pool does not have the feature");
}

/// The same property twice is refused, as `zfs` does.
#[test]
fn properties_are_given_once() {
    let bench = Bench::new(&[]);
    for words in [
        &["create", "-o", "atime=on", "-o", "atime=off", "demo/a"][..],
        &["recv", "-o", "atime=on", "-o", "atime=off", "demo/a"],
        &["recv", "-x", "atime", "-x", "atime", "demo/a"],
    ] {
        let outcome = bench.run(words, b"");
        let text = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert_eq!(outcome.code, 2, "{text}");
        assert!(text.contains("property 'atime' specified multiple times"), "{text}");
    }
}
