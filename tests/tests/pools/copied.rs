//! `pool copy`: whole pools on other devices, of every shape of vdevs, interrupted at every call, and refused.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zstream::{Cancel, Control, Error, Event, PoolCopy, PoolPlace, Request};
use zstream_dmu::device::{Device, EntryKind, Memory, Mode, OpenDevice};
use zstream_dmu::ids::Txg;
use zstream_dmu::testing::{FailingCalls, FaultyDevice};
use zstream_tests::golden;
use zstream_tests::lab::Lab;
use zstream_tests::openzfs;
use zstream_tests::program::zstream;

/// What the program prints of the pool on these members.
fn said(members: &[PathBuf], words: &[&str]) -> (i32, String) {
    let paths = members.iter().flat_map(|path| ["-d", path.to_str().expect("UTF-8")]);
    let words: Vec<&str> = paths.chain(words.iter().copied()).collect();
    let outcome = zstream(&words, b"");
    // Members have other paths.
    let text = String::from_utf8_lossy(&outcome.stdout).replace("/copies/", "/");
    (outcome.code, text)
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).expect("a file").len()
}

fn pools() -> Vec<(&'static str, Vec<PathBuf>)> {
    let shapes = golden::SHAPES_POOLS.into_iter().map(|pool| (pool, golden::shape(pool)));
    let whole = ["tank", "pmirror", "praidz1", "praidz2", "praidz3"].map(|pool| (pool, golden::pool(pool)));
    let logs = ("rgolden", vec![golden::replayed_file("rgolden-1.img")]);
    let log_vdev = ["rsealed-1.img", "rsealed-log.img"].map(golden::replayed_file).to_vec();
    let kept = ("checkpointed", vec![golden::kept_file("checkpointed.img")]);
    whole.into_iter().chain(shapes).chain([logs, ("rsealed", log_vdev), kept]).collect()
}

/// Every block of the copy is intact, and so are the intent logs: of what is not copied there would be zeros.
#[test]
fn pools_of_every_shape_are_copied() {
    for (pool, members) in pools() {
        let dir = tempfile::tempdir().expect("a directory");
        let copies = dir.path().join("copies");
        std::fs::create_dir(&copies).expect("a directory");
        let copied = PoolCopy::new(PoolPlace::new(&members), &copies)
            .run(None, &mut Control::new())
            .unwrap_or_else(|error| panic!("{pool}: {error}"));
        assert_eq!((&*copied.pool, copied.members.len(), copied.resumed_bytes), (pool, members.len(), 0));
        let targets: Vec<PathBuf> = copied.members.into_iter().map(|(_, target)| target).collect();
        for words in [
            &["pool", "check", "--json"][..],
            &["list", "-Hp", "-r", "-t", "all"],
            &["pool", "replay", "-nv"],
        ] {
            assert_eq!(said(&targets, words), said(&members, words), "{pool}: {words:?}");
        }
        for (member, target) in members.iter().zip(&targets) {
            assert_eq!(size(member), size(target), "{pool}");
        }
    }
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_zdb_finds_copies_clean() {
    for (pool, members) in pools() {
        let dir = tempfile::tempdir().expect("a directory");
        let copy = PoolCopy::new(PoolPlace::new(&members), dir.path()).run(None, &mut Control::new());
        copy.unwrap_or_else(|error| panic!("{pool}: {error}"));
        openzfs::assert_no_leaks(dir.path(), pool);
    }
}

/// Names in memory, of which a new device may fail, and each may pass for a disk.
#[derive(Debug)]
struct Shelf {
    memory: Arc<Memory>,
    plan: FailingCalls,
    is_disk: bool,
}

impl Shelf {
    fn new(plan: FailingCalls) -> Arc<Self> {
        Arc::new(Self { memory: Arc::new(Memory::new()), plan, is_disk: false })
    }

    fn sound() -> Arc<Self> {
        Self::new(FailingCalls::Once(u64::MAX))
    }
}

impl OpenDevice for Shelf {
    fn kind(&self, name: &Path) -> io::Result<EntryKind> {
        let kind = self.memory.kind(name)?;
        Ok(if self.is_disk && kind == EntryKind::File { EntryKind::Disk } else { kind })
    }

    fn list(&self, directory: &Path, most: usize) -> io::Result<Vec<PathBuf>> {
        self.memory.list(directory, most)
    }

    fn open(&self, name: &Path, mode: Mode) -> io::Result<Arc<dyn Device>> {
        let device = self.memory.open(name, mode)?;
        if mode == Mode::Read {
            return Ok(device);
        }
        Ok(Arc::new(FaultyDevice::new(device, self.plan)))
    }

    fn remove(&self, name: &Path) -> io::Result<()> {
        self.memory.remove(name)
    }
}

/// A small pool with a file.
fn lab() -> Lab {
    let lab = Lab::new(&["a"]);
    lab.put("a", "a", "note", &[7; 3 << 20]);
    lab
}

fn is_pool(shelf: &Arc<Shelf>, name: &str) -> bool {
    let place = PoolPlace::new([name]).through(Arc::clone(shelf) as _);
    place.open(None, &mut Control::new()).is_ok()
}

/// A copy that fails at any call leaves no pool, and the next one makes it.
#[test]
fn a_copy_that_fails_anywhere_is_resumed() {
    let lab = lab();
    let from = || PoolPlace::new([lab.image("a")]);
    let (mut failed, mut resumed) = (0, 0);
    for call in 0.. {
        let shelf = Shelf::new(FailingCalls::Once(call));
        let first =
            PoolCopy::new(from(), "copy").through(Arc::clone(&shelf) as _).run(None, &mut Control::new());
        if first.is_ok() {
            assert!(call > 10, "{call} calls");
            break;
        }
        failed += 1;
        let is_complete = is_pool(&shelf, "copy");
        let plan = FailingCalls::Once(u64::MAX);
        let again = Arc::new(Shelf { memory: Arc::clone(&shelf.memory), plan, is_disk: false });
        let copy = PoolCopy::new(from(), "copy").through(Arc::clone(&again) as _);
        let copy = if is_complete { copy.overwriting() } else { copy };
        match copy.run(None, &mut Control::new()) {
            Ok(copied) => resumed += u64::from(copied.resumed_bytes > 0),
            // The progress could not be recorded: nobody knows what the file is.
            Err(Error::Member { .. }) => {
                copy.overwriting()
                    .run(None, &mut Control::new())
                    .unwrap_or_else(|error| panic!("{call}: {error}"));
            }
            Err(error) => panic!("{call}: {error}"),
        }
        let open = PoolPlace::new(["copy"]).through(again as _).open(None, &mut Control::new());
        assert_eq!(open.unwrap_or_else(|error| panic!("{call}: {error}")).pool.name(), "a");
    }
    assert!(failed > 10 && resumed > 2, "{failed} failed, {resumed} resumed");
}

/// What is changed during the copy is noticed, and what is cancelled is no pool.
#[test]
fn a_pool_that_changes_is_not_copied() {
    let lab = lab();
    let shelf = Shelf::sound();
    let copy = PoolCopy::new(PoolPlace::new([lab.image("a")]), "copy").through(Arc::clone(&shelf) as _);
    let cancel = Cancel::new();
    let mut control = Control::new().cancelled_by(&cancel).watched_by(|event| {
        if let Event::Bytes(1..) = event {
            cancel.cancel();
        }
    });
    let error = copy.run(None, &mut control).expect_err("it was cancelled");
    drop(control);
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert!(!is_pool(&shelf, "copy"));

    let mut is_changed = false;
    let mut control = Control::new().watched_by(|event| {
        if let (Event::Bytes(1..), false) = (event, is_changed) {
            is_changed = true;
            lab.does("a", &["snapshot a@1"]);
        }
    });
    let error = copy.run(None, &mut control).expect_err("the pool was changed");
    drop(control);
    assert!(error.to_string().contains("was changed during the copy"), "{error}");
    assert!(!is_pool(&shelf, "copy"));
    // The state that was copied in part is gone.
    let error = copy.run(None, &mut Control::new()).expect_err("the file exists");
    assert!(error.to_string().contains("exists"), "{error}");
    let copied = copy.overwriting().run(None, &mut Control::new()).expect("a copy");
    assert_eq!(copied.resumed_bytes, 0);
    assert!(is_pool(&shelf, "copy"));
}

/// A disk that is larger has labels at its end, and one that is smaller is refused.
#[test]
fn a_copy_on_a_disk_has_four_labels() {
    let lab = lab();
    let len = size(&lab.image("a"));
    for (bytes, expected) in [(len + (64 << 20) + 4096, ""), (len - (1 << 20), "the copy requires")] {
        let plan = FailingCalls::Once(u64::MAX);
        let shelf = Arc::new(Shelf { memory: Arc::new(Memory::new()), plan, is_disk: true });
        drop(
            shelf
                .memory
                .open(Path::new("disk"), Mode::Create { len: bytes, replace: false })
                .expect("a disk"),
        );
        let copy = PoolCopy::new(PoolPlace::new([lab.image("a")]), "disk").through(Arc::clone(&shelf) as _);
        match copy.run(None, &mut Control::new()) {
            Ok(_) => assert_eq!(expected, ""),
            Err(error) => {
                assert!(!expected.is_empty() && error.to_string().contains(expected), "{error}");
                continue;
            }
        }
        let disk = shelf.memory.open(Path::new("disk"), Mode::Read).expect("a disk");
        let labels = zstream_dmu::vdev::label::Labels::read(&*disk);
        assert_eq!(labels.good().count(), 4);
        let error = copy.run(None, &mut Control::new()).expect_err("it has a pool");
        assert!(error.to_string().contains("is part of"), "{error}");
    }
}

#[test]
fn what_cannot_be_copied_is_refused() {
    let lab = lab();
    let image = lab.image("a");
    let path = image.to_str().expect("UTF-8");
    let place = || PoolPlace::new([&image]);
    let error = PoolCopy::new(place(), &image).run(None, &mut Control::new()).expect_err("itself");
    assert!(matches!(error, Error::Request(Request::SamePool)), "{error}");
    let error =
        PoolCopy::new(place().at_txg(Txg(4)), "x").run(None, &mut Control::new()).expect_err("the past");
    assert!(matches!(error, Error::Request(Request::EarlierTxg)), "{error}");
    let raidz: Vec<String> = golden::pool("praidz1").iter().map(|path| path.display().to_string()).collect();
    let several: Vec<&str> = raidz.iter().map(String::as_str).collect();
    for (words, expected) in [
        (vec![path], "no pool given"),
        (vec!["-f"], "required arguments were not provided"),
        ([&several[..], &["nowhere"]].concat(), "name an existing directory"),
        (vec![path, several[0]], "exists; use -f"),
    ] {
        let outcome = zstream(&[&["pool", "copy"], &words[..]].concat(), b"");
        let error = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert!(outcome.code != 0 && error.contains(expected), "{words:?}: {error}");
    }
}
