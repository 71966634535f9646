//! `pool check`: that it reads all that takes space, and names every damaged file and no other.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use zstream_dmu::RangeSet;
use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::ids::Bookmark;
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::space::{LogSpaceMaps, VdevSpace};
use zstream_dmu::vdev::LEAF_DATA_START;
use zstream_dmu::zio::crypt::Keyring;
use zstream_dsl::Dsl;
use zstream_dsl::scrub::{self, Lines, Part};
use zstream_format::object_type::ObjsetType;
use zstream_tests::golden::{self, Outcome};
use zstream_tests::pools::{self, PASSPHRASE};
use zstream_tests::program::zstream;
use zstream_zpl::node::{FileType, Node};
use zstream_zpl::{Filesystem, Visit};

const POOLS: [&str; 5] = ["tank", "pmirror", "praidz1", "praidz2", "praidz3"];

/// A pool with a checkpoint, and one with a livelist of a clone that is gone.
const KEPT: [&str; 2] = ["checkpointed.img", "livelists.img"];

fn run(paths: &[PathBuf], args: &[&str]) -> Outcome {
    let mut words = vec!["-d"];
    words.extend(paths.iter().map(|path| path.to_str().expect("UTF-8")));
    words.extend(args);
    zstream(&words, &[])
}

/// The JSON object that `pool check` prints, and its exit code.
pub(crate) fn check(paths: &[PathBuf], options: &[&str]) -> (Value, i32) {
    let outcome = run(paths, &[options, &["pool", "check", "--json"]].concat());
    let text = String::from_utf8_lossy(&outcome.stdout);
    (serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")), outcome.code)
}

/// All blocks of a pool, by what they are part of.
pub(crate) fn blocks(pool: &Pool) -> Vec<(Part, BlockPointer, Bookmark)> {
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::new(Keyring::default())).expect("datasets");
    let lines = Lines::new(&dsl).expect("datasets");
    assert_eq!(lines.failures().len(), 0);
    let mut found = Vec::new();
    scrub::parts(pool, &lines, &mut |part, blocks| {
        for item in blocks {
            let item = item.expect("a good pool");
            found.push((part, item.pointer, item.at));
        }
    })
    .expect("lists of what is freed");
    if let Some(then) = pool.checkpoint().expect("its checkpoint") {
        let kept = pool.checkpointed().expect("what was freed since");
        let alone = blocks(&then).into_iter().filter(|(_, pointer, _)| kept.has(pointer)).collect::<Vec<_>>();
        assert!(!alone.is_empty() && !found.iter().any(|(_, pointer, _)| kept.has(pointer)));
        found.extend(alone);
    }
    found
}

/// What is read is what the space maps say is allocated: nothing is left out, nothing comes twice.
#[test]
fn all_that_takes_space_is_read() {
    let shapes = ["several", "expanded", "ganged"].map(golden::shape);
    let kept = KEPT.map(|name| vec![golden::kept_file(name)]);
    let others =
        [golden::gangs_file("gangcrypt.img"), golden::rewritten_file("rewritten.img")].map(|path| vec![path]);
    for paths in POOLS.map(golden::pool).into_iter().chain(shapes).chain(kept).chain(others) {
        let pool = Pool::open(&paths, &OpenOptions::default()).expect("a golden pool");
        let mos = &**pool.mos();
        let logs = LogSpaceMaps::open(mos).expect("logs");
        let mut read: Vec<RangeSet> = pool.vdevs().tops().iter().map(|_| RangeSet::default()).collect();
        for (part, pointer, at) in blocks(&pool) {
            for dva in pool.reader().ranges(&pointer).expect("a good pool") {
                let set = &mut read[dva.vdev() as usize];
                let twice = set.add(dva.offset(), dva.offset() + dva.asize()).is_err();
                assert!(!twice || pointer.is_dedup(), "{}: {part:?} {at} {dva} is there twice", pool.name());
            }
        }
        for (top, read) in pool.vdevs().tops().iter().zip(&read) {
            let Some(space) = VdevSpace::find(mos, top.config()).expect("space maps") else { continue };
            let allocated = space.allocated(mos, &logs).expect("space maps");
            let missed: Vec<_> =
                allocated.iter().filter(|(start, end)| !read.contains(*start, *end)).collect();
            assert_eq!(missed, [], "{} {}", pool.name(), top.name());
            assert_eq!(read.bytes(), allocated.bytes(), "{} {}", pool.name(), top.name());
        }
    }
}

/// Overwrites the first bytes of these copies of a block.
pub(crate) fn damage(image: &Path, pointer: &BlockPointer, copies: std::ops::Range<usize>) {
    let file = std::fs::OpenOptions::new().write(true).open(image).expect("a copy");
    for dva in pointer.dvas().skip(copies.start).take(copies.len()) {
        file.write_all_at(&[0x5a; 64], LEAF_DATA_START + dva.offset()).expect("room");
    }
}

/// Whether the node can be read to its end, with its extended attributes.
fn is_whole(fs: &Filesystem<'_>, node: &Node) -> bool {
    let content = match node.file_type() {
        Some(FileType::File) => fs.content(node).and_then(|content| {
            let mut buffer = vec![0; 1 << 20];
            let mut at = 0;
            loop {
                match content.read(at, &mut buffer)? {
                    0 => return Ok(()),
                    length => at += length as u64,
                }
            }
        }),
        Some(FileType::Symlink) => fs.target(node).map(drop),
        _ => Ok(()),
    };
    let xattrs = || fs.xattrs(node).is_ok_and(|list| list.iter().all(|it| fs.xattr_value(it).is_ok()));
    content.is_ok() && xattrs()
}

/// The files of a pool that cannot be read, by dataset and path: found by reading all of them.
pub(crate) fn unreadable(paths: &[PathBuf]) -> BTreeSet<String> {
    let dsl = pools::unlocked(paths).expect("a pool");
    let mut found = BTreeSet::new();
    for dataset in Lines::new(&dsl).expect("datasets").datasets() {
        let name = dataset.name();
        // A damaged dnode of the user accounting and the like is no file.
        let Ok(set) = dataset.objset() else { continue };
        if set.objset_type() != ObjsetType::ZFS || name.contains(['$', '%']) {
            continue;
        }
        let Ok(fs) = Filesystem::open(&*set) else { continue };
        for visit in fs.walk(fs.node(fs.root()).expect("its root")) {
            let (path, whole) = match visit {
                Visit::Node { path, node } => (path, is_whole(&fs, &node)),
                Visit::Leave { .. } => continue,
                Visit::Failed { path, .. } => (path, false),
            };
            if !whole {
                found.insert(format!("{name}:/{}", String::from_utf8(path).expect("UTF-8")));
            }
        }
    }
    found
}

/// The files that a check calls lost, in part or as a whole.
pub(crate) fn named(report: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for damaged in report["damaged"].as_array().expect("a list") {
        let lost = damaged["lost"] == true || damaged["lost_bytes"] != serde_json::json!([]);
        for path in damaged["paths"].as_array().expect("a list").iter().filter(|_| lost) {
            found.insert(format!(
                "{}:{}",
                damaged["in"].as_str().expect("a name"),
                path.as_str().expect("a path")
            ));
        }
    }
    found
}

/// Damages blocks of every kind, all their copies, in turn: the files named are those that cannot be read any more, in
/// every snapshot, clone and head that has them.
#[test]
fn damaged_files_are_named_in_every_dataset() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("key");
    std::fs::write(&key, PASSPHRASE).expect("a file");
    let key = ["--key-file", key.to_str().expect("UTF-8")];
    let whole = golden::image("tank.img");
    let blocks =
        blocks(&Pool::open(std::slice::from_ref(&whole), &OpenOptions::default()).expect("the pool"));
    // Files of half-received snapshots.
    let before = unreadable(std::slice::from_ref(&whole));
    let in_datasets = || blocks.iter().filter(|(part, ..)| matches!(part, Part::Dataset(_)));
    let spills = in_datasets().filter(|(.., at)| at.block == Bookmark::SPILL).step_by(5);
    let indirect = in_datasets().filter(|(.., at)| at.object.0 != 0 && at.level > 0).step_by(9);
    let dnodes = in_datasets().filter(|(.., at)| at.object.0 == 0 && at.level == 0).step_by(7);
    let data = in_datasets().filter(|(.., at)| at.object.0 != 0 && at.level == 0).step_by(97);
    let (mut files, mut shared, mut directories, mut old) = (0, 0, 0, 0);
    for (part, pointer, at) in spills.chain(indirect).chain(dnodes).chain(data) {
        let image = golden::copy(&whole, dir.path());
        damage(&image, pointer, 0..3);
        let paths = [image];
        let (report, code) = check(&paths, &key);
        assert_eq!((code, &report["ok"], &report["lost_blocks"]), (1, &false.into(), &1.into()), "{at}");
        let (named, expected) = (named(&report), &unreadable(&paths) - &before);
        // What lies below a directory that is lost is not known by name.
        assert!(named.is_superset(&expected), "{part:?} {at}: {named:?}, expected {expected:?}");
        let below = |path: &String| {
            expected.iter().any(|above| path.starts_with(&format!("{above}/")) || above.ends_with(":/"))
        };
        let more: Vec<_> = named.difference(&expected).filter(|path| !below(path)).collect();
        let accounted = report["damaged"].as_array().expect("a list").len();
        assert!(accounted > 0, "{at}");
        // A hole at the end of the last block, a directory that was never read to its end: damaged, if not felt.
        assert!(more.len() <= 1, "{part:?} {at}: {more:?} can be read");
        files += expected.len();
        shared += usize::from(expected.len() > 1);
        // In snapshots, and in no head.
        old += usize::from(!expected.is_empty() && expected.iter().all(|path| path.contains('@')));
        directories += more.len();
    }
    assert!(files > 40 && shared > 5 && old > 2, "{files} {shared} {directories} {old}");
}

/// What only the checkpoint has is read, and its files are named as those of the checkpoint; what it shares with the pool
/// is named as the pool's.
#[test]
fn files_of_a_checkpoint_are_named() {
    let whole = golden::kept_file("checkpointed.img");
    let (report, code) = check(std::slice::from_ref(&whole), &[]);
    assert_eq!((code, &report["ok"]), (0, &true.into()), "{report}");
    let pool = Pool::open(std::slice::from_ref(&whole), &OpenOptions::default()).expect("the pool");
    let then = pool.checkpoint().expect("its checkpoint").expect("one");
    assert_eq!(report["checkpoint"]["txg"], then.txg().0);
    let text =
        String::from_utf8(run(std::slice::from_ref(&whole), &["pool", "check"]).stdout).expect("UTF-8");
    assert!(text.contains(&format!("checkpoint of transaction group {}: checked ", then.txg())), "{text}");
    let dsl = Dsl::open(then.name(), then.mos().clone(), Arc::new(Keyring::default())).expect("datasets");
    let shared = ["checkpointed/stays:/same"];
    for (dataset, path, expected) in [
        (
            "checkpointed/goes@s",
            "file",
            &["checkpoint: checkpointed/goes:/file", "checkpoint: checkpointed/goes@s:/file"][..],
        ),
        (
            "checkpointed/stays@s",
            "d/removed",
            &["checkpoint: checkpointed/stays:/d/removed", "checkpoint: checkpointed/stays@s:/d/removed"],
        ),
        ("checkpointed/stays", "same", &shared),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let image = golden::copy(&whole, dir.path());
        let set = dsl.dataset(dataset).expect("it").objset().expect("its objects");
        let object = Filesystem::open(&*set).expect("files").resolve(path.as_bytes()).expect("a file").object;
        let at = Bookmark { objset: 0, object, level: 0, block: zstream_dmu::ids::BlockId(0) };
        damage(&image, &set.pointer(at).expect("a pointer"), 0..3);
        let (report, code) = check(&[image], &[]);
        assert_eq!((code, &report["lost_blocks"]), (1, &1.into()), "{report}");
        assert_eq!(named(&report), expected.iter().map(ToString::to_string).collect(), "{dataset} {path}");
    }
}

/// Blocks that wait to be freed are counted by what lists them.
#[test]
fn what_waits_to_be_freed_is_said() {
    let paths = [golden::kept_file("livelists.img")];
    let pool = Pool::open(&paths, &OpenOptions::default()).expect("the pool");
    let listed = blocks(&pool).iter().filter(|(part, ..)| *part == Part::Freeing("deleted_clones")).count();
    assert!(listed > 0);
    let (report, code) = check(&paths, &[]);
    assert_eq!((code, &report["ok"]), (0, &true.into()), "{report}");
    let waiting = report["waiting"].as_array().expect("a list");
    let clones = waiting.iter().find(|waiting| waiting["list"] == "deleted_clones").expect("the livelists");
    assert_eq!((&clones["blocks"], &clones["complete"]), (&listed.into(), &true.into()));
    let text = String::from_utf8(run(&paths, &["pool", "check"]).stdout).expect("UTF-8");
    assert!(text.contains(&format!("not read: {listed} blocks, ")), "{text}");
    assert!(text.contains(" waiting to be freed (deleted_clones)\n"), "{text}");
}

/// A member of a mirror or raidz with random damage: nothing is lost, all is named, and so is the member.
#[test]
fn repairable_damage_is_named_with_its_member() {
    for name in &POOLS[1..] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut paths = golden::pool(name);
        paths[2] = golden::copy(&paths[2], dir.path());
        let file = std::fs::OpenOptions::new().write(true).open(&paths[2]).expect("a copy");
        // All that the member holds, behind its front labels.
        file.write_all_at(&vec![0xa5; 8 << 20], LEAF_DATA_START).expect("room");
        let (report, code) = check(&paths, &[]);
        assert_eq!(
            (code, &report["lost_blocks"], &report["unchecked"]),
            (1, &0.into(), &serde_json::json!([]))
        );
        assert!(report["bad_copies"].as_u64().expect("a number") > 20, "{name}: {report}");
        let member = &report["members"][0];
        assert!(member["name"].as_str().expect("a name").ends_with("-3.img"), "{name}: {member}");
        assert_eq!(report["members"].as_array().expect("a list").len(), 1, "{name}");
        let paths_named = report["damaged"].as_array().expect("a list").iter();
        let random = paths_named.flat_map(|damaged| damaged["paths"].as_array().expect("a list"));
        assert!(random.clone().any(|path| path == "/random"), "{name}");
        assert_eq!(named(&report), BTreeSet::new(), "{name}: nothing is lost");
    }
}

/// Text and exit code, and what is said of members that are missing.
#[test]
fn clean_pools_and_missing_members() {
    for name in POOLS {
        let paths = golden::pool(name);
        let (report, code) = check(&paths, &[]);
        assert_eq!((code, &report["ok"]), (0, &true.into()), "{name}: {report}");
        // Blocks as `zdb -bcc` counts them.
        let expected = if name == "tank" { 1338 } else { 56 };
        assert_eq!(report["blocks"], expected, "{name}");
    }
    let text =
        String::from_utf8(run(&golden::pool("pmirror")[..3], &["pool", "check"]).stdout).expect("UTF-8");
    assert_eq!(text.matches(" is missing: its copies were not checked\n").count(), 2, "{text}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.last(), Some(&"pmirror: checked 56 blocks, 130 copies, 582K"), "{text}");
}

/// A member whose labels are all gone counts as missing, which is said; where nothing is missing it has no place.
#[test]
fn a_member_without_labels_counts_as_missing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut paths = golden::pool("praidz1");
    paths[1] = dir.path().join("blank.img");
    std::fs::write(&paths[1], vec![0; 64 << 20]).expect("a file");
    let outcome = run(&paths, &["pool", "check"]);
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.code, 0, "{said}");
    assert!(said.contains("blank.img") && said.contains("it is treated as missing"), "{said}");
    let files = run(&paths, &["cat", "praidz1@s", "text"]);
    let said = String::from_utf8_lossy(&files.stderr);
    assert!(
        files.code == 0
            && files.stdout == run(&golden::pool("praidz1"), &["cat", "praidz1@s", "text"]).stdout
    );
    assert!(said.contains("pool praidz1: missing "), "{said}");
    let mut too_many = golden::pool("praidz1");
    too_many.push(paths[1].clone());
    let outcome = run(&too_many, &["pool", "check"]);
    assert!(outcome.code == 1 && String::from_utf8_lossy(&outcome.stderr).contains("not a member of a pool"));
}

/// What a line looks like: path, bytes, and with -v the copies.
#[test]
fn a_flipped_block_is_reported() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = golden::copy(&golden::image("tank.img"), dir.path());
    let pool = Pool::open(std::slice::from_ref(&image), &OpenOptions::default()).expect("the copy");
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::new(Keyring::default())).expect("datasets");
    let set = dsl.dataset("tank/fs@a").expect("it").objset().expect("its objects");
    let fs = Filesystem::open(&*set).expect("a file system");
    let object = fs.resolve(b"random").expect("a file").object;
    let at = Bookmark { objset: 0, object, level: 0, block: zstream_dmu::ids::BlockId(1) };
    damage(&image, &set.pointer(at).expect("a pointer"), 0..3);
    let outcome = run(&[image], &["pool", "check", "-v"]);
    let text = String::from_utf8_lossy(&outcome.stdout);
    for snapshot in ["tank/fs@a", "tank/fs@b", "tank/fs@c", "tank/fs"] {
        assert!(text.contains(&format!("{snapshot}:/random: bytes 131072-262143 lost\n")), "{text}");
    }
    assert!(text.contains(&format!("    object {object} level 0 block 1 lost; copy 0:")), "{text}");
    assert!(text.contains("tank.img: corrupt data in 1 place, 0 unreadable"), "{text}");
    assert_eq!(outcome.code, 1);
    let message = String::from_utf8_lossy(&outcome.stderr);
    assert!(message.ends_with(" copies are damaged, 1 block lost\n"), "{message}");
}
