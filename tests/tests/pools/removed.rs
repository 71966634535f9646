//! Changes of pools with a checkpoint, and of pools from which vdevs were removed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use zstream_dmu::RangeSet;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::object_store::ObjectStore as _;
use zstream_dmu::pool::{OpenOptions, Pool, WriteOptions};
use zstream_dmu::zap::Zap;
use zstream_dsl::write::WritablePool;
use zstream_format::object_type::ObjectType;
use zstream_tests::blocks::blocks;
use zstream_tests::errors::Result;
use zstream_tests::openzfs;
use zstream_tests::program::zstream;
use zstream_tests::rng::Rng;
use zstream_tests::writing::unreached;
use zstream_tests::{every, golden};

/// The pool from which vdevs were removed, and whose datasets have lists of blocks that OpenZFS remapped since.
fn removed(dir: &Path) -> Vec<PathBuf> {
    golden::shape("removed").iter().map(|path| golden::copy(path, dir)).collect()
}

/// How many lists of remapped blocks there are, and how many other objects the feature counts: for each removed vdev its
/// map of obsolete ranges, the counts, and that they are precise.
fn counted(pool: &Pool) -> (u64, u64) {
    let mos = &**pool.mos();
    let entry = |object: u64, name: &str| {
        let zap = Zap::open(mos, ObjectId(object)).ok();
        zap.and_then(|zap| zap.lookup_u64(name).expect("an entry")).is_some_and(|value| value != 0)
    };
    let (mut lists, mut others) = (0, 0);
    let mut next = ObjectId(1);
    while let Some(object) = mos.next_object(next).expect("the MOS") {
        lists += u64::from(entry(object.0, "com.delphix:remap_deadlist"));
        next = ObjectId(object.0 + 1);
    }
    for top in pool.config().vdev_tree.children.iter().filter(|top| top.kind.name() == "indirect") {
        let zap = top.zap.expect("a ZAP of the vdev");
        others += u64::from(entry(zap, "com.delphix:indirect_obsolete_sm"));
        others += u64::from(entry(zap, "com.delphix:obsolete_counts_are_precise"));
        if let Some(mapping) = top.indirect_object.filter(|object| *object != 0) {
            let info = mos.info(ObjectId(mapping)).expect("a mapping");
            let bonus = info.bonus().expect("a bonus");
            others += u64::from(bonus.len() >= 32 && bonus[24..32] != [0; 8]);
        }
    }
    (lists, others)
}

/// What is allocated on each vdev for intent logs.
type Logs = BTreeMap<u32, RangeSet>;

/// Opens the pool and asserts that it has lost nothing. Returns the number of lists of remapped blocks.
fn judge(paths: &[PathBuf], logs: &Logs, at: &str) -> u64 {
    let pool = Pool::open(paths, &OpenOptions::default()).expect("our own pool");
    for (vdev, leaked) in unreached(&pool) {
        // That of the root dataset is gone after a rollback.
        let is_log = leaked.is_empty() || Some(&leaked) == logs.get(&vdev);
        assert!(is_log, "{at}: vdev {vdev} has places that nothing leads to: {leaked:?}");
    }
    for (pointer, place) in blocks(&pool) {
        let check = pool.reader().check_block(&pointer, place).expect("a checked block");
        assert!(check.bad.is_empty() && check.readable > 0, "{at}: {pointer} at {place}");
    }
    let (lists, others) = counted(&pool);
    assert_eq!(pool.features().count("obsolete_counts"), lists + others, "{at}: {lists} lists");
    lists
}

/// Does one thing to the pool, or is refused.
fn step(pool: &mut WritablePool, rng: &mut Rng, count: usize) -> Result<()> {
    let (mut heads, mut snapshots) = (Vec::new(), Vec::new());
    pool.dsl().walk(&mut |dir| {
        let head = dir.head()?;
        heads.push((head.name().to_owned(), head.object()));
        snapshots.extend(head.snapshots()?.iter().map(|snapshot| snapshot.name().to_owned()));
        Ok(())
    })?;
    let (name, head) = rng.pick(&heads).expect("the root");
    let new = format!("removed/d{count}");
    match (rng.below(12), rng.pick(&snapshots)) {
        (0..=4, _) => {
            let mut set = pool.open_head(head)?;
            for _ in 0..1 + rng.below(4) {
                let from = ObjectId(rng.below(60) as u64 + 1);
                let Some(object) = set.next_object(from)? else { continue };
                let info = set.info(object)?;
                if info.object_type != ObjectType::PLAIN_FILE_CONTENTS {
                    continue;
                }
                let offset = rng.below(info.end() as usize) as u64;
                match rng.below(3) {
                    0 => set.free_range(object, offset, 30_000)?,
                    _ => set.write(object, offset, &rng.bytes(20_000))?,
                }
            }
            pool.sync(head, &mut set)?;
            Ok(())
        }
        (5 | 6, _) => Ok(pool.tx().snapshot(&[format!("{name}@s{count}")]).map(drop)?),
        (7, Some(snapshot)) if heads.len() < 5 => Ok(pool.clone_snapshot(&snapshot, &new).map(drop)?),
        (8 | 9, Some(snapshot)) => Ok(pool.tx().destroy_snapshots(&[snapshot], false)?),
        (10, _) if count.is_multiple_of(2) => Ok(pool.tx().destroy(&name)?),
        (10, _) => Ok(pool.tx().promote(&name)?),
        _ => Ok(pool.rollback(&name, None)?),
    }
}

/// Changes a pool at random. Returns the number of steps that were done with lists of remapped blocks.
fn history(seed: u64, steps: usize, clean: impl Fn(&Path)) -> usize {
    let dir = tempfile::tempdir().expect("a directory");
    let paths = removed(dir.path());
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let logs = unreached(&Pool::open(&paths, &OpenOptions::default()).expect("a golden pool"));
    let (mut lists, mut with_lists) = (judge(&paths, &logs, "the golden pool"), 0);
    assert!(lists > 0);
    for count in 0..steps {
        let mut pool = WritablePool::open(&paths, &WriteOptions::default()).expect("our own pool");
        let outcome = step(&mut pool, &mut rng, count);
        let at = format!("seed {seed}, step {count}: {outcome:?}");
        match outcome {
            Ok(()) => {
                with_lists += usize::from(lists > 0);
                pool.export().expect("an export");
            }
            Err(error) => assert!(error.refusal().is_some(), "{at}"),
        }
        lists = judge(&paths, &logs, &at);
        clean(dir.path());
    }
    with_lists
}

#[test]
fn lists_of_remapped_blocks_follow_their_snapshots() {
    let with_lists: usize = (1..5).map(|seed| history(seed, 40, |_| ())).sum();
    assert!(with_lists > 20, "{with_lists}");
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_lists_of_remapped_blocks_are_those_that_zdb_expects() {
    let clean = |dir: &Path| {
        openzfs::assert_no_leaks(dir, "removed");
        openzfs::assert_no_lost_objects("zdb", dir, "removed");
    };
    history(11, 15 / every::step(3), clean);
    if every::step(3) == 1 {
        history(12, 15, clean);
    }
}

#[test]
fn a_pool_has_one_checkpoint_at_most() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = golden::copy(&golden::kept_file("checkpointed.img"), dir.path());
    let run = |args: &[&str]| {
        let outcome = zstream(&[&["-d", image.to_str().expect("UTF-8")], args].concat(), &[]);
        (outcome.code, String::from_utf8_lossy(&[outcome.stdout, outcome.stderr].concat()).into_owned())
    };
    let (code, text) = run(&["pool", "checkpoint", "checkpointed"]);
    assert!(code == 1 && text.contains("exists"), "{text}");
    let (code, text) = run(&["--checkpoint", "list", "-H", "-o", "name"]);
    assert_eq!((code, text.as_str()), (0, "checkpointed\ncheckpointed/goes\ncheckpointed/stays\n"));
    assert_eq!(run(&["--checkpoint", "create", "checkpointed/x"]).0, 2);
    assert_eq!(run(&["pool", "checkpoint", "--discard", "checkpointed"]), (0, String::new()));
    let (code, text) = run(&["pool", "get", "-H", "-o", "value", "checkpoint,feature@zpool_checkpoint"]);
    assert_eq!((code, text.as_str()), (0, "-\nenabled\n"));
    let (code, text) = run(&["pool", "checkpoint", "--discard", "checkpointed"]);
    assert!(code == 1 && text.contains("checkpoint does not exist"), "{text}");
    let (code, text) = run(&["--checkpoint", "list"]);
    assert!(code == 1 && text.contains("does not have a checkpoint"), "{text}");
    assert_eq!(run(&["pool", "check"]).0, 0);
}
