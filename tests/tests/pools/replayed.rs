//! Replay of intent logs: two pools that were frozen, so that the last changes are only in their logs, and what OpenZFS's
//! module showed after its own replay. One is encrypted, with its logs on a log vdev.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use zstream::{Control, Key, PoolPlace, ReplayOptions, Replayed, Source, replay};
use zstream_dmu::Random;
use zstream_dmu::block::ReadBlock;
use zstream_dmu::device::{Device, FileDevice};
use zstream_dmu::ids::{Bookmark, ObjectId};
use zstream_dmu::intent_log::{self, Change, Content, Created, Record, RecordKind};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::pool::{OpenOptions, Pool, WriteOptions};
use zstream_dmu::testing::{FailingCalls, FaultyDevice, OverlayDevice};
use zstream_dmu::vdev::LEAF_DATA_START;
use zstream_dsl::write::WritablePool;
use zstream_format::algorithm::ChecksumType;
use zstream_format::checksum::checksum;
use zstream_format::order::ByteOrder;
use zstream_tests::golden::{self, Manifest};
use zstream_tests::program::zstream;
use zstream_tests::rng::Rng;
use zstream_tests::writing::unreached;
use zstream_tests::{manifest, openzfs};
use zstream_zpl::node::Time;
use zstream_zpl::volume;
use zstream_zpl::writer::{Settings, Writer};

const POOLS: [(&str, &[&str]); 2] =
    [("rgolden", &["rgolden-1.img"]), ("rsealed", &["rsealed-1.img", "rsealed-log.img"])];

fn key() -> Key {
    Key::new("correct horse")
}

/// Copies of the members.
fn copies(members: &[&str], dir: &Path) -> Vec<PathBuf> {
    members.iter().map(|member| golden::copy(&golden::replayed_file(member), dir)).collect()
}

/// What the module shows, without the times of the replay.
fn expected(pool: &str) -> Manifest {
    let text = std::fs::read_to_string(golden::replayed_file(&format!("{pool}.txt"))).expect("a manifest");
    without_times(golden::parse_manifest(&text))
}

fn without_times(mut manifest: Manifest) -> Manifest {
    for (path, entry) in &mut manifest.entries {
        if !path.contains("/dated") {
            entry.mtime = (0, 0);
        }
    }
    manifest
}

/// Compares the filesystem and the volume of a pool with what the module shows.
fn check(place: &PoolPlace, pool: &str) {
    let source = Source::in_pool(place, pool, &key(), &mut Control::new()).expect("the filesystem");
    expected(pool).assert_same(&without_times(manifest::of(source.set())), pool);
    let volume =
        Source::in_pool(place, &format!("{pool}/vol"), &key(), &mut Control::new()).expect("the volume");
    let mut bytes = vec![0; 2 << 20];
    volume::content(volume.set()).expect("content").read(0, &mut bytes).expect("the first bytes");
    let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = std::fs::read_to_string(golden::replayed_file(&format!("{pool}.volume"))).expect("a sum");
    assert_eq!(Some(&sum[..]), shown.split_whitespace().next(), "{pool}/vol");
}

fn options() -> ReplayOptions {
    let mut options = ReplayOptions::default();
    options.force = true;
    options
}

fn replay_all(place: &PoolPlace) -> zstream::Result<Vec<Replayed>> {
    replay(place, &[], &options(), &key(), "test", &mut Control::new())
}

/// Nothing leads to space that is allocated, and everything is intact.
fn check_space(paths: &[PathBuf]) {
    let pool = Pool::open(paths, &OpenOptions::default()).expect("our own pool");
    for (vdev, leaked) in unreached(&pool) {
        assert!(leaked.is_empty(), "vdev {vdev} has places that nothing leads to: {leaked:?}");
    }
}

/// With `--replay` a pool is shown as the module shows it, and it does not change.
#[test]
fn a_pool_is_read_as_after_the_replay() {
    for (pool, members) in POOLS {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = copies(members, dir.path());
        let sums = || -> Vec<Vec<u8>> {
            let sum = |path: &PathBuf| Sha256::digest(std::fs::read(path).expect("a member")).to_vec();
            paths.iter().map(sum).collect()
        };
        let before = sums();
        check(&PoolPlace::new(&paths).replayed(Arc::new(key())), pool);
        assert_eq!(sums(), before);
    }
}

/// `pool replay` leaves what the module leaves: the same files, and no log. A second one has nothing to do.
#[test]
fn a_replay_leaves_what_the_module_leaves() {
    for (pool, members) in POOLS {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = copies(members, dir.path());
        let place = PoolPlace::new(&paths);
        let replayed = replay_all(&place).expect("a replay");
        assert_eq!(replayed.len(), 2, "{replayed:?}");
        assert!(replayed[0].records > 200 && replayed[1].records > 4, "{replayed:?}");
        check(&place, pool);
        check_space(&paths);
        assert_eq!(replay_all(&place).expect("a second replay"), []);
    }
}

/// OpenZFS agrees about the space.
#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_a_replayed_pool_is_clean_to_zdb() {
    for (pool, members) in POOLS {
        let dir = tempfile::tempdir().expect("a directory");
        replay_all(&PoolPlace::new(copies(members, dir.path()))).expect("a replay");
        openzfs::assert_no_leaks(dir.path(), pool);
    }
}

/// The program shows the records, needs the key of an encrypted dataset, and refuses what makes no sense.
#[test]
fn the_program_replays() {
    let dir = tempfile::tempdir().expect("a directory");
    let paths = copies(POOLS[1].1, dir.path());
    let dir = dir.path().to_str().expect("UTF-8");
    let key = format!("{dir}/key");
    std::fs::write(&key, "correct horse").expect("a file");
    let run = |words: &[&str]| {
        let outcome = zstream(&[&["-d", dir], words].concat(), b"");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (outcome.code, text(&outcome.stdout), text(&outcome.stderr))
    };
    assert_eq!(run(&["pool", "replay", "-f", "rsealed"]).0, 1);
    assert_eq!(run(&["--key-file", &key, "pool", "replay", "-f", "rsealed/none"]).0, 1);
    assert_eq!(run(&["--key-file", &key, "--replay", "pool", "replay"]).0, 2);
    let before = paths.iter().map(|path| std::fs::read(path).expect("a member")).collect::<Vec<_>>();
    let (code, out, _) = run(&["--key-file", &key, "pool", "replay", "-fnv"]);
    assert_eq!(code, 0);
    assert!(out.contains("records would be replayed") && out.contains("TX_RENAME_EXCHANGE"), "{out}");
    let after = paths.iter().map(|path| std::fs::read(path).expect("a member")).collect::<Vec<_>>();
    assert!(before == after, "a dry run changed the pool");
    // Without the key there is nothing that can be replayed, so nothing is changed.
    let (code, out, err) = run(&["pool", "replay", "-f"]);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    for name in ["rsealed", "rsealed/vol"] {
        assert!(err.contains(&format!("{name}: the log was not replayed: ")), "{err}");
    }
    let after = paths.iter().map(|path| std::fs::read(path).expect("a member")).collect::<Vec<_>>();
    assert!(before == after, "a replay without a key changed the pool");
    // A change of content replays the log first; the directory is new.
    let (code, _, err) = run(&["--key-file", &key, "ls", "rsealed", "new"]);
    assert!(code == 1 && err.contains("new"), "{err}");
    run(&["pool", "export", "-f", "rsealed"]);
    let (code, _, err) = run(&["--key-file", &key, "put", &key, "rsealed:/new/key"]);
    assert_eq!(code, 0, "{err}");
    let (_, out, _) = run(&["--key-file", &key, "ls", "rsealed", "new"]);
    assert!(out.contains("key") && out.contains("symlink"), "{out}");
    let (code, out, _) = run(&["--key-file", &key, "pool", "replay"]);
    assert!(code == 0 && out.starts_with("rsealed/vol: ") && !out.contains("rsealed:"), "{out}");
}

/// What is destroyed with its log leaves no space behind, and a log that was claimed is kept by other changes.
#[test]
fn a_log_is_discarded_with_its_dataset() {
    for (pool, members) in POOLS {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = copies(members, dir.path());
        let dir = dir.path().to_str().expect("UTF-8");
        let run = |words: &[&str]| {
            let outcome = zstream(&[&["-d", dir], words].concat(), b"");
            assert_eq!(outcome.code, 0, "{words:?}: {}", String::from_utf8_lossy(&outcome.stderr));
        };
        run(&["pool", "export", "-f", pool]);
        run(&["pool", "check", pool]);
        run(&["destroy", &format!("{pool}/vol")]);
        run(&["pool", "check", pool]);
        let replayed = replay_all(&PoolPlace::new(&paths)).expect("a replay of a claimed log");
        assert_eq!(replayed.iter().map(|one| &one.name[..]).collect::<Vec<_>>(), [pool]);
        check_space(&paths);
    }
}

/// The number of records of each filesystem.
const RECORDS: u64 = 289;

/// Replays with many transaction groups.
fn replay_in_groups(place: &PoolPlace) -> zstream::Result<Vec<Replayed>> {
    let mut options = options();
    options.dirty_bytes = Some(300_000);
    replay(place, &[], &options, &key(), "test", &mut Control::new())
}

/// Whatever call of a device fails, the replay can be repeated, and leaves the same.
#[test]
fn an_interrupted_replay_can_be_repeated() {
    for (pool, members) in POOLS {
        let devices =
            |plan: Option<FailingCalls>, below: &[Arc<dyn Device>]| -> (PoolPlace, Vec<Arc<FaultyDevice>>) {
                let faulty: Vec<_> = below
                    .iter()
                    .map(|device| {
                        let plan = plan.unwrap_or(FailingCalls::Once(u64::MAX));
                        Arc::new(FaultyDevice::new(Arc::clone(device), plan))
                    })
                    .collect();
                let named = faulty
                    .iter()
                    .enumerate()
                    .map(|(n, device)| (n.to_string(), Arc::clone(device) as Arc<dyn Device>));
                (PoolPlace::on_devices(named.collect::<Vec<_>>()), faulty)
            };
        let overlays = || -> Vec<Arc<dyn Device>> {
            let open = |member: &&str| {
                let file = FileDevice::open(&golden::replayed_file(member)).expect("a golden file");
                Arc::new(OverlayDevice::new(Arc::new(file))) as Arc<dyn Device>
            };
            members.iter().map(open).collect()
        };
        let (place, counted) = devices(None, &overlays());
        replay_in_groups(&place).expect("a replay");
        let calls = counted[0].calls();
        let (mut failed, mut continued) = (0, 0);
        for n in 0..24 {
            let below = overlays();
            let nth = calls * n / 24 + n % 7;
            let (place, _) = devices(Some(FailingCalls::From(nth)), &below);
            let interrupted = if n % 2 == 0 { replay_all(&place) } else { replay_in_groups(&place) };
            failed += u64::from(interrupted.is_err());
            let (place, _) = devices(None, &below);
            let again = replay_all(&place).unwrap_or_else(|error| panic!("{pool}, call {nth}: {error}"));
            // Records before the last group that was completed are not replayed again.
            continued += u64::from(again.iter().any(|one| one.name == pool && one.records < RECORDS));
            if n % 6 == 5 || n > 20 {
                check(&place, pool);
            }
        }
        assert!(failed > 12 && continued > 2, "{failed} of 24 failed, {continued} were continued");
    }
}

/// A writer of the filesystem of the first pool, in memory, and its records.
fn opened() -> (WritablePool, zstream_dmu::objset::ObjsetWriter, Writer, Vec<Record>) {
    let path = golden::replayed_file("rgolden-1.img");
    let writing = WriteOptions { force: true, rehearsal: true, ..WriteOptions::default() };
    let dir = Box::leak(Box::new(tempfile::tempdir().expect("a directory")));
    let mut pool = WritablePool::open(&[golden::copy(&path, dir.path())], &writing).expect("the pool");
    let head = pool.dsl().head("rgolden").expect("the filesystem").object();
    let set = pool.open_to_replay(head).expect("its objects");
    let now = Time { seconds: 1, nanoseconds: 0 };
    let settings = Settings { record_bytes: 128 << 10, dn_slots: 1, xattrs_inline: true, now };
    let writer = Writer::open(&set, settings, Random::from_seed(1)).expect("a writer");
    let reader = Arc::clone(pool.pool().reader());
    let records = intent_log::records(&*reader, head.0, set.intent_log());
    let records = records.collect::<Result<Vec<_>, _>>().expect("records");
    (pool, set, writer, records)
}

/// Changes one field of a new node.
fn distort_created(created: &mut Created, choice: u8, word: u64, name: Vec<u8>) {
    match choice % 8 {
        0 => created.directory = ObjectId(word),
        1 => created.node.object = ObjectId(word),
        2 => created.node.mode = word,
        3 => created.node.slots = word as u8,
        4 => created.node.uid = word,
        5 => created.node.rdev = word,
        6 => created.target = name,
        _ => created.name = name,
    }
}

/// Changes one field of a record.
fn distort(record: &mut Record, choice: u8, word: u64) {
    let object = ObjectId(word);
    let name = |choice: u8| match choice % 5 {
        0 => Vec::new(),
        1 => b"..".to_vec(),
        2 => vec![b'x'; word as usize % 3000],
        3 => b"a/b\xff".to_vec(),
        _ => b"old".to_vec(),
    };
    match &mut record.change {
        Change::Create(created) => distort_created(created, choice, word, name(choice / 8)),
        Change::Remove { directory, name: found } => match choice % 2 {
            0 => *directory = object,
            _ => *found = name(choice / 2),
        },
        Change::Link { directory, object: found, .. } => match choice % 2 {
            0 => *directory = object,
            _ => *found = object,
        },
        Change::Rename { from, to, from_name, to_name, .. } => match choice % 4 {
            0 => *from = object,
            1 => *to = object,
            2 => *from_name = name(choice / 4),
            _ => *to_name = name(choice / 4),
        },
        Change::Write { object: found, offset, len, content } => match choice % 4 {
            0 => *found = object,
            1 => *offset = word.min(u64::MAX - *len),
            2 => *len = word.min(u64::MAX - *offset),
            _ => *content = Content::Inline(vec![7; word as usize % 300_000]),
        },
        Change::Extend { object: found, offset, len } | Change::Truncate { object: found, offset, len } => {
            match choice % 3 {
                0 => *found = object,
                1 => *offset = word,
                _ => *len = word,
            }
        }
        Change::SetAttributes(set) => match choice % 6 {
            0 => set.object = object,
            1 => set.mask = word & 0x3f,
            2 => set.mode = word,
            3 => set.uid = word,
            4 => (set.mask, set.size) = (8, word),
            _ => set.atime = [word, word],
        },
        Change::SetXattr { object: found, name: key, value } => match choice % 3 {
            0 => *found = object,
            1 => *key = name(choice / 3),
            _ => *value = Some(vec![1; word as usize % 100_000]),
        },
        Change::Clone { object: found, offset, len, block_bytes, pointers } => match choice % 5 {
            0 => *found = object,
            1 => *offset = word.min(u64::MAX - *len),
            2 => *len = word.min(u64::MAX - *offset),
            3 => *block_bytes = word,
            _ => pointers.truncate(word as usize % 3),
        },
        Change::SetAcl { .. } => {}
    }
    if choice == 255 {
        record.kind = RecordKind::Exchange;
    }
}

/// A record whose fields make no sense is an error, or has an effect; it never ends the program.
#[test]
fn records_that_make_no_sense_are_errors() {
    const WORDS: [u64; 6] = [0, u64::MAX, u64::MAX >> 1, 1 << 48, 1 << 32, 34];
    for seed in 0..24 {
        let mut rng = Rng(0x9e37_79b9_7f4a_7c15 ^ seed);
        let (pool, mut set, mut writer, mut records) = opened();
        for _ in 0..1 + rng.below(40) {
            let at = rng.below(records.len());
            let word = match rng.below(4) {
                0 => u64::MAX / (1 + rng.below(1000) as u64),
                1 => WORDS[rng.below(WORDS.len())],
                _ => rng.below(200) as u64,
            };
            distort(&mut records[at], rng.below(256) as u8, word);
        }
        let reader = Arc::clone(pool.pool().reader());
        let results = records.iter().map(|record| writer.replay(&mut set, &*reader, record).is_ok());
        let good = results.filter(|is_good| *is_good).count();
        assert!(good > 0, "seed {seed}");
        // Only the effect is of interest: the set is dropped.
        drop(writer.flush(&mut set));
    }
}

/// Damage within a claimed log that its checksums do not show: an error with its place, and the pool stays as it was.
#[test]
fn damaged_records_are_errors_with_their_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = copies(POOLS[0].1, dir.path()).remove(0);
    let pool = Pool::open(std::slice::from_ref(&path), &OpenOptions::default()).expect("the pool");
    let (head, zil) = {
        let place = PoolPlace::new([&path]);
        let open = place.open(None, &mut Control::new()).expect("the pool");
        let head = open.dsl.head("rgolden").expect("the filesystem");
        let set = head.objset().expect("its objects");
        (set.objset_id(), set.phys().zil)
    };
    let log: Vec<_> = intent_log::blocks(&**pool.reader(), head, &zil)
        .map(|block| block.pointer)
        .filter(|pointer| pointer.checksum_type() == ChecksumType::ZILOG2)
        .collect();
    assert!(log.len() > 3);
    let order = ByteOrder::Little;
    let mut errors = 0;
    for (n, pointer) in log.iter().enumerate().take(log.len() - 1) {
        let intact = pool.reader().read_stored(pointer, Bookmark::root(head)).expect("a log block").to_vec();
        // The kind, the length and a field of the first record.
        for (at, byte) in [(184, 99), (192, 1), (192, 255), (200, 255), (184 + 32, 255), (184 + 40, 255)] {
            let mut bytes = intact.clone();
            bytes[at] = byte;
            let used = (order.u64(&bytes[136..]) as usize).next_multiple_of(4096).min(bytes.len());
            let put = |bytes: &mut [u8], words: [u64; 4]| {
                for (word, place) in words.into_iter().zip(bytes[152..184].chunks_exact_mut(8)) {
                    order.put_u64(place, word);
                }
            };
            put(&mut bytes, pointer.checksum());
            let sum = checksum(ChecksumType::FLETCHER_4, &bytes[..used], order, None).expect("a checksum");
            put(&mut bytes, sum.0);
            let file = FileDevice::open(&path).expect("a copy");
            let overlay = Arc::new(OverlayDevice::new(Arc::new(file)));
            overlay.write_at(LEAF_DATA_START + pointer.dva(0).offset(), &bytes).expect("memory");
            let place = PoolPlace::on_devices([("0".to_owned(), overlay as Arc<dyn Device>)]);
            if let Err(error) = replay_all(&place) {
                errors += 1;
                let text = error.to_string();
                assert!(
                    text.starts_with("rgolden: ") && text.contains("record"),
                    "block {n}, byte {at}: {text}"
                );
            }
        }
    }
    assert!(errors > 3, "{errors}");
}
