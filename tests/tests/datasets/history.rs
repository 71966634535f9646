//! Long random histories of files and datasets together: content is that of a model, no place is lost, and OpenZFS finds
//! nothing wrong.

use std::thread::ScopedJoinHandle;

use zstream_dmu::testing::Loss;
use zstream_tests::every;
use zstream_tests::history::{History, POOL, copy_to};
use zstream_tests::openzfs;

/// Kinds of vdevs with their ashift.
const KINDS: [(&str, u8); 4] =
    [("a b", 12), ("mirror a b", 9), ("raidz a b c", 12), ("draid2:2d:6c:1s a b c d e f", 9)];

#[test]
fn a_random_history_is_that_of_the_model() {
    for (seed, (words, ashift)) in (1..).zip(KINDS) {
        let mut history = History::new(words, ashift, seed);
        for _ in 0..4 {
            history.run(100);
            history.judge(None);
        }
        assert!(history.done["done"] > 200, "{:?}", history.done);
    }
}

/// Vdevs with their ashift, and the longest block that is not a gang block: with gang headers of 512 bytes, and with those
/// that fill a sector.
const GANGED: [(&str, u8, u64); 2] = [("a b", 9, 512), ("mirror a b", 12, 8192)];
const GANGED_LARGE: [(&str, u8, u64); 2] = [("a b", 12, 4096), ("raidz a b c", 12, 4096)];
const LARGE_HEADERS: [&str; 1] = ["dynamic_gang_header"];

#[test]
fn a_random_history_of_gang_blocks_is_that_of_the_model() {
    let (small, large) =
        (GANGED.map(|pool| (pool, &[][..])), GANGED_LARGE.map(|pool| (pool, &LARGE_HEADERS[..])));
    for (seed, ((words, ashift, whole_max), features)) in (11..).zip(small.into_iter().chain(large)) {
        let mut history = History::with_features(words, ashift, seed, features).and_ganged(whole_max);
        for _ in 0..2 {
            history.run(50);
            let is_active = history.judge(None).is_active(LARGE_HEADERS[0]);
            assert_eq!(is_active, !features.is_empty(), "{words}");
        }
        assert!(history.done["done"] > 50, "{:?}", history.done);
    }
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_random_histories_of_gang_blocks_are_clean_to_zdb() {
    ganged_histories(&GANGED, &[], "zdb");
}

#[test]
#[ignore = "needs the zdb of OpenZFS 2.4: cargo xtask interop"]
fn interop_2_4_random_histories_of_large_gang_headers_are_clean_to_zdb() {
    ganged_histories(&GANGED_LARGE, &LARGE_HEADERS, "zdb-2.4");
}

fn ganged_histories(pools: &[(&'static str, u8, u64)], features: &[&str], zdb: &str) {
    for (seed, &(words, ashift, whole_max)) in (seed()..).zip(pools) {
        let mut history = History::with_features(words, ashift, seed, features).and_ganged(whole_max);
        for _ in 0..4 {
            is_clean_after(&mut history, 100, zdb);
        }
        println!("{words}, seed {seed}: {:?}", history.done);
    }
}

/// Vdevs with their ashift, and the members that are away one after the other; at least one way to read everything is left.
const DEGRADED: [(&str, u8, &[&[usize]]); 3] = [
    ("mirror a b c", 9, &[&[0], &[0, 1], &[], &[1]]),
    ("raidz2 a b c d e", 12, &[&[1, 3], &[1], &[3], &[]]),
    ("mirror a b raidz c d e", 12, &[&[1], &[1, 2], &[2], &[]]),
];

#[test]
fn a_random_history_of_members_that_come_and_go_is_that_of_the_model() {
    for (seed, (words, ashift, away)) in (21..).zip(DEGRADED) {
        let mut history = History::new(words, ashift, seed);
        for absent in away {
            history.without(absent);
            history.run(40);
            history.judge(None);
        }
        assert!(history.done["done"] > 50, "{:?}", history.done);
    }
}

#[test]
fn a_crash_of_a_degraded_pool_leaves_a_transaction_group() {
    for (words, ashift, away) in DEGRADED {
        let mut history = History::recorded(words, ashift, 9);
        for absent in &away[..2] {
            history.without(absent);
            history.run(3);
        }
        for cut in (0..=history.events()).step_by(23) {
            for loss in [Loss::Nothing, Loss::All, Loss::Torn(cut as u64)] {
                history.crash(cut, loss);
            }
        }
    }
}

/// Files cloned within and across heads and from snapshots: each block has as many references as are counted.
#[test]
fn a_random_history_of_clones_is_that_of_the_model() {
    for (seed, (words, ashift)) in (21..).zip(KINDS) {
        let mut history = History::cloning(words, ashift, seed);
        for _ in 0..4 {
            history.run(60);
            history.judge(None);
        }
        assert!(history.done["cloned"] > 20 && history.done["done"] > 100, "{:?}", history.done);
    }
    let mut history = History::cloning("a b", 9, 31).and_ganged(512);
    history.run(80);
    history.judge(None);
    assert!(history.done["cloned"] > 5, "{:?}", history.done);
}

/// Files deduplicated and cloned, in plain and encrypted filesystems, with every form of tables.
#[test]
fn a_random_history_of_deduplicated_blocks_is_that_of_the_model() {
    for (seed, (words, ashift)) in (50..).zip(KINDS) {
        let mut history = History::deduplicating(words, ashift, seed);
        for _ in 0..4 {
            history.run(60);
            history.judge(None);
        }
        assert!(history.done["done"] > 100, "{:?}", history.done);
    }
    let mut history = History::deduplicating("a b", 9, 60).and_ganged(512);
    history.run(80);
    history.judge(None);
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_random_histories_of_deduplicated_blocks_are_clean_to_zdb() {
    for (seed, (words, ashift)) in (seed()..).zip(KINDS) {
        let mut history = History::deduplicating(words, ashift, seed);
        for _ in 0..4 {
            is_clean_after(&mut history, 100, "zdb");
        }
        println!("{words}, seed {seed}: {:?}", history.done);
    }
}

#[test]
fn a_crash_leaves_the_counts_of_a_transaction_group() {
    let kinds = || KINDS.into_iter().zip(41..);
    let cloning = kinds().map(|((words, ashift), seed)| History::cloning(words, ashift, seed));
    let deduplicating = kinds().map(|((words, ashift), seed)| History::deduplicating(words, ashift, seed));
    for mut history in cloning.chain(deduplicating) {
        // So that there is something to clone.
        history.run(12);
        let mut history = history.and_recorded();
        history.run(8);
        for cut in (0..=history.events()).step_by(29) {
            for loss in [Loss::Nothing, Loss::All, Loss::Torn(cut as u64)] {
                history.crash(cut, loss);
            }
        }
    }
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_random_histories_of_members_that_come_and_go_are_clean_to_zdb() {
    for (seed, (words, ashift, away)) in (seed()..).zip(DEGRADED) {
        let mut history = History::new(words, ashift, seed);
        for round in 0..3 {
            for absent in away {
                history.without(absent);
                is_clean_after(&mut history, 100, "zdb");
            }
            println!("{words}, seed {seed}, round {round}: {:?}", history.done);
        }
    }
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_random_histories_of_clones_are_clean_to_zdb() {
    // Odd seeds: OpenZFS 2.3 does not know the other encoding.
    for (seed, (words, ashift)) in ((seed() | 1)..).step_by(2).zip(KINDS) {
        let mut history = History::cloning(words, ashift, seed);
        for _ in 0..6 / every::step(2) {
            is_clean_after(&mut history, 100, "zdb");
        }
        println!("{words}, seed {seed}: {:?}", history.done);
    }
}

#[test]
fn a_random_history_with_checkpoints_keeps_what_they_need() {
    for (seed, (words, ashift)) in (21..).zip(KINDS) {
        let mut history = History::checkpointed(words, ashift, seed);
        for _ in 0..4 {
            history.run(50);
            history.judge(None);
        }
        let [taken, discarded] = ["checkpoint", "discard"].map(|word| history.done.get(word).copied());
        assert!(taken > Some(1) && discarded > Some(1), "{:?}", history.done);
    }
}

/// Clones that are written, snapshotted, cloned again and destroyed: their livelists have their blocks.
#[test]
fn a_random_history_of_livelists_is_that_of_the_model() {
    for (seed, (words, ashift)) in (70..).zip(KINDS) {
        let mut history = History::with_livelists(words, ashift, seed);
        for _ in 0..4 {
            history.run(60);
            history.judge(None);
        }
        assert!(history.done["done"] > 100, "{:?}", history.done);
        assert!(history.done["livelists"] > 0 || seed % 2 == 1, "{:?}", history.done);
    }
    let mut history = History::with_livelists("a b", 9, 80).and_ganged(512);
    history.run(80);
    history.judge(None);
}

#[test]
fn a_crash_leaves_the_livelists_of_a_transaction_group() {
    for ((words, ashift), seed) in KINDS.into_iter().zip([62, 64, 66, 68]) {
        let mut history = History::with_livelists(words, ashift, seed);
        // So that there are clones.
        history.run(40);
        let mut history = history.and_recorded();
        history.run(8);
        for cut in (0..=history.events()).step_by(29) {
            for loss in [Loss::Nothing, Loss::All, Loss::Torn(cut as u64)] {
                history.crash(cut, loss);
            }
        }
    }
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_random_histories_of_livelists_are_clean_to_zdb() {
    livelist_histories("zdb");
}

#[test]
#[ignore = "needs the zdb of OpenZFS 2.4: cargo xtask interop"]
fn interop_2_4_random_histories_of_livelists_are_clean_to_zdb() {
    livelist_histories("zdb-2.4");
}

fn livelist_histories(zdb: &str) {
    for (seed, (words, ashift)) in (seed()..).zip(KINDS) {
        let mut history = History::with_livelists(words, ashift, seed);
        for _ in 0..6 / every::step(2) {
            is_clean_after(&mut history, 80, zdb);
            let dir = tempfile::tempdir().expect("a directory");
            history.judge(Some(dir.path()));
            openzfs::assert_no_lost_objects(zdb, dir.path(), POOL);
        }
        println!("{words}, seed {seed}: {:?}", history.done);
    }
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_random_histories_with_checkpoints_are_clean_to_zdb() {
    for (seed, (words, ashift)) in (seed()..).zip(KINDS) {
        let mut history = History::checkpointed(words, ashift, seed);
        for _ in 0..8 / every::step(2) {
            is_clean_after(&mut history, 100, "zdb");
        }
        println!("{words}, seed {seed}: {:?}", history.done);
    }
}

/// Cloning, deduplication and checkpoints at once: with gang blocks, with blocks on removed vdevs, and with members that come
/// and go. Each with the members that are away one after the other.
fn several(seed: u64) -> [(History, &'static [&'static [usize]]); 4] {
    let more = |history: History| history.and_deduplicating().and_checkpointed();
    [
        (more(History::removed(seed)), &[&[], &[]]),
        (more(History::removed(seed + 1).and_ganged(2048)), &[&[], &[]]),
        (more(History::new("raidz2 a b c d e", 9, seed)).and_ganged(2048), &[&[1, 3], &[1], &[]]),
        (more(History::new("mirror a b mirror c d", 12, seed)).and_ganged(8192), &[&[1], &[1, 2], &[]]),
    ]
}

#[test]
fn a_random_history_of_several_kinds_at_once_is_that_of_the_model() {
    for (mut history, away) in several(90) {
        for absent in away {
            history.without(absent);
            history.run(40);
            history.judge(None);
        }
        let did = |word: &str| history.done.get(word).copied().unwrap_or(0);
        assert!(
            did("done") > 40 && did("cloned") > 0 && did("checkpoint") > 0,
            "{history:?} {:?}",
            history.done
        );
    }
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_random_histories_of_several_kinds_at_once_are_clean_to_zdb() {
    for (mut history, away) in several(seed()) {
        for round in 0..2 / every::step(2) {
            for absent in away {
                history.without(absent);
                is_clean_after(&mut history, 60, "zdb");
            }
            println!("{history:?}, round {round}: {:?}", history.done);
        }
    }
}

/// The lists of remapped blocks, obsolete maps and counts of references, whenever the power fails.
#[test]
fn a_crash_leaves_the_remapped_blocks_of_a_transaction_group() {
    for (seed, is_mixed) in [(82, false), (83, true)] {
        let history = History::removed(seed);
        let mut history = if is_mixed { history.and_deduplicating().and_checkpointed() } else { history };
        history.run(if is_mixed { 10 } else { 1 });
        let mut history = history.and_recorded();
        history.run(12);
        for cut in (0..=history.events()).step_by(19) {
            for loss in [Loss::Nothing, Loss::All, Loss::Torn(cut as u64)] {
                history.crash(cut, loss);
            }
        }
    }
}

/// Runs these steps. The pool is then that of the model, and this `zdb` finds it clean.
fn is_clean_after(history: &mut History, steps: usize, zdb: &str) {
    history.run(steps);
    let dir = tempfile::tempdir().expect("a directory");
    history.judge(Some(dir.path()));
    openzfs::assert_no_leaks_by(zdb, dir.path(), history.name());
}

fn seed() -> u64 {
    std::env::var("ZSTREAM_SEED").ok().map_or(100, |text| text.parse().expect("a number"))
}

/// Seeds of one's own: `ZSTREAM_SEED=17`.
#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_long_random_histories_are_clean_to_zdb() {
    let steps = 250 / every::step(3);
    for (seed, (words, ashift)) in (seed()..).zip(KINDS) {
        let mut history = History::new(words, ashift, seed);
        for _ in 0..8 {
            is_clean_after(&mut history, steps, "zdb");
        }
        println!("{words}, seed {seed}: {:?}", history.done);
    }
}

/// The power fails before every write of a short history, and what was not flushed is there, lost, or there in sectors.
fn sweep(words: &'static str, ashift: u8, steps: usize, step: usize, look: impl Fn(&History, usize, Loss)) {
    let mut history = History::recorded(words, ashift, 7);
    history.run(steps);
    for cut in (0..=history.events()).step_by(step) {
        let losses = [Loss::Nothing, Loss::All, Loss::Torn(cut as u64), Loss::Torn(!cut as u64)];
        for loss in losses.into_iter().take(if step == 1 { 4 } else { 3 }) {
            look(&history, cut, loss);
        }
    }
}

#[test]
fn a_crash_leaves_files_and_datasets_of_a_transaction_group() {
    for ((words, ashift), step) in KINDS.into_iter().zip([17, 31, 37, 101]) {
        sweep(words, ashift, 8, step, |history, cut, loss| {
            history.crash(cut, loss);
        });
    }
}

/// Prefixes of the writes, every one in a thorough run; OpenZFS checks a sample.
#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_a_crash_at_every_write_leaves_a_pool_that_is_clean_to_zdb() {
    let sweep = |(words, ashift)| {
        sweep(words, ashift, 8, every::step(17), |history, cut, loss| {
            let devices = history.crash(cut, loss);
            if cut % 199 < every::step(17) {
                let dir = tempfile::tempdir().expect("a directory");
                for (n, device) in devices.iter().enumerate() {
                    copy_to(&**device, &dir.path().join(n.to_string())).expect("a copy");
                }
                openzfs::assert_no_leaks(dir.path(), POOL);
            }
        });
    };
    // A panic in one of them is one here.
    std::thread::scope(|scope| {
        KINDS.map(|kind| scope.spawn(move || sweep(kind))).map(ScopedJoinHandle::join)
    })
    .into_iter()
    .for_each(|swept| swept.expect("a clean pool"));
}
