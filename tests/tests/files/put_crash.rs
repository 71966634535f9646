//! The power fails while `zstream put` runs: what it wrote until then leaves a pool with all of the files or with none.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use zstream_dmu::ids::Txg;
use zstream_dmu::testing::Loss;
use zstream_tests::golden::copy;
use zstream_tests::history::copy_to;
use zstream_tests::rng::Rng;
use zstream_tests::sending::Sending;
use zstream_tests::state::{State, whole};
use zstream_tests::traced::{Trace, failing};
use zstream_tests::{created, openzfs, program, receiving};

const POOL: &str = "demo";

/// A tree with every kind of node that needs no rights, and one file of this many bytes.
fn fill(src: &Path, bytes: usize) {
    let mut rng = Rng(9);
    fs::create_dir_all(src.join("sub/deep")).expect("directories");
    fs::create_dir(src.join("many")).expect("a directory");
    for n in 0..150 {
        let length = n * 37 % 6000;
        fs::write(src.join(format!("many/file {n}")), rng.bytes(length)).expect("a file");
    }
    let noise: Vec<u8> = (0..bytes).map(|_| rng.below(256) as u8).collect();
    fs::write(src.join("large"), noise).expect("a file");
    fs::write(src.join("sub/empty"), b"").expect("a file");
    fs::hard_link(src.join("large"), src.join("sub/hard")).expect("a link");
    symlink("x".repeat(500), src.join("sub/deep/link")).expect("a link");
    fs::File::create(src.join("sub/sparse")).and_then(|file| file.set_len(1 << 20)).expect("a file");
}

fn zstream(words: &[&str]) {
    let outcome = program::zstream(words, b"");
    assert_eq!(outcome.code, 0, "{words:?}: {}", String::from_utf8_lossy(&outcome.stderr));
}

/// A pool with a tree, and another tree that is put over that.
struct Bench {
    dir: TempDir,
    /// The members of the pool, and copies of them as they were in the beginning.
    files: Vec<PathBuf>,
    before: Vec<PathBuf>,
    old_txg: Txg,
    old: State,
}

impl Bench {
    fn new(vdevs: &[&str], options: &[&str], bytes: usize) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let [pool, copies] = ["pool", "copies"].map(|name| dir.path().join(name));
        for path in [&pool, &copies] {
            fs::create_dir(path).expect("a directory");
        }
        let names: Vec<&&str> = vdevs.iter().filter(|word| **word != "mirror").collect();
        let files: Vec<PathBuf> = names.iter().map(|name| pool.join(name)).collect();
        let pool = pool.to_str().expect("UTF-8");
        let words = vdevs.iter().map(|word| match *word {
            "mirror" => "mirror".to_owned(),
            name => format!("{pool}/{name}"),
        });
        let words: Vec<String> = words.collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        zstream(&[&["pool", "create", "--size", "256M"], options, &[POOL], &words].concat());
        fill(&dir.path().join("first"), 300_000);
        fill(&dir.path().join("second"), bytes);
        fs::remove_file(dir.path().join("second/many/file 7")).expect("a file");
        let first = dir.path().join("first/");
        zstream(&["-d", pool, "put", first.to_str().expect("UTF-8"), "demo:/"]);
        let before: Vec<PathBuf> = files.iter().map(|file| copy(file, &copies)).collect();
        let old = Sending::open(&before);
        let (old_txg, old) = (old.pool.txg(), whole(&old));
        Self { dir, files, before, old_txg, old }
    }

    /// The words that put the second tree.
    fn put(&self) -> Vec<String> {
        let path = |name: &str| self.dir.path().join(name).to_str().expect("UTF-8").to_owned();
        vec!["-d".to_owned(), path("pool"), "put".to_owned(), path("second/"), "demo:/".to_owned()]
    }
}

/// Fails before calls that `is_tried` picks.
fn sweep(vdevs: &[&str], options: &[&str], bytes: usize, is_tried: &dyn Fn(usize, usize) -> bool) {
    let bench = Bench::new(vdevs, options, bytes);
    let Bench { files, before, old_txg, old, .. } = &bench;
    let trace = Trace::of(&bench.put(), files);
    let new = Sending::open(files);
    let (new_txg, new) = (new.pool.txg(), whole(&new));
    assert_ne!(*old, new);
    // Data, the labels on both sides of the uberblock: nothing is left to chance.
    assert!(trace.flushes() >= 3 * files.len(), "{} flushes", trace.flushes());

    let (mut of_old, mut of_new) = (0, 0);
    for cut in (0..=trace.len()).filter(|cut| is_tried(*cut, trace.len())) {
        for loss in [Loss::Nothing, Loss::All, Loss::Torn(cut as u64), Loss::Torn(!cut as u64)] {
            let at = format!("{vdevs:?}, {loss:?} before call {cut} of {}", trace.len());
            let devices = trace.crashed(before, cut, loss);
            let found = Sending::of(created::open(&devices).unwrap_or_else(|error| panic!("{at}: {error}")));
            assert!((*old_txg..=new_txg).contains(&found.pool.txg()), "{at}: {}", found.pool.txg());
            let state = whole(&found);
            if state == *old {
                of_old += 1;
            } else {
                assert_eq!(state, new, "{at}: neither what was there nor what was put");
                of_new += 1;
            }
            receiving::check(&found, &at);
            if cut.is_multiple_of(67) || cut == trace.len() {
                let crashed = tempfile::tempdir().expect("a directory");
                for (n, device) in devices.iter().enumerate() {
                    copy_to(&**device, &crashed.path().join(n.to_string())).expect("a copy");
                }
                openzfs::assert_no_leaks(crashed.path(), POOL);
            }
        }
    }
    assert!(of_old > 0 && of_new > 0, "{of_old} times as before, {of_new} times as after");
    println!("{vdevs:?}: {} calls, {of_old} times as before, {of_new} times as after", trace.len());
}

#[test]
#[ignore = "needs OpenZFS's zdb, and strace: cargo xtask interop"]
fn interop_a_put_that_loses_power_at_any_write_has_put_everything_or_nothing() {
    sweep(&["a"], &["-O", "compression=lz4"], 400_000, &|_, _| true);
    sweep(&["mirror", "a", "b"], &["-O", "xattr=dir", "-O", "recordsize=8K"], 100_000, &|cut, _| {
        cut.is_multiple_of(3)
    });
}

/// So much that blocks are written, and flushed, while others are still gathered.
#[test]
#[ignore = "needs OpenZFS's zdb, and strace: cargo xtask interop"]
fn interop_a_large_put_that_loses_power_has_put_everything_or_nothing() {
    sweep(&["a"], &["-O", "compression=off"], 90 << 20, &|cut, all| cut.is_multiple_of(61) || cut + 40 > all);
}

/// Some call on a member or on the source fails, at first, later, or from then on.
#[test]
#[ignore = "needs strace: cargo xtask interop"]
fn interop_a_put_in_which_a_call_fails_says_so_and_has_put_everything_or_nothing() {
    let bench = Bench::new(&["a"], &["-O", "compression=lz4"], 3_000_000);
    let (mut failures, mut whole_ones) = (0, 0);
    for (call, last) in
        [("pwrite64", 60), ("pwritev", 20), ("fdatasync", 6), ("pread64", 40), ("statx", 40), ("openat", 40)]
    {
        for first in (1..=last).step_by(if last > 10 { 3 } else { 1 }) {
            for more in ["", "+"] {
                let at = format!("{call} {first}{more}");
                let work = tempfile::tempdir().expect("a directory");
                let files: Vec<PathBuf> = bench.before.iter().map(|file| copy(file, work.path())).collect();
                let mut words = bench.put();
                words[1] = work.path().to_str().expect("UTF-8").to_owned();
                let (succeeded, message) = failing(&words, call, &format!("{first}{more}"));
                let found = Sending::open(&files);
                let has_new = whole(&found) != bench.old;
                receiving::check(&found, &at);
                if succeeded {
                    whole_ones += 1;
                    assert!(has_new, "{at}: it says that all is well");
                } else {
                    failures += 1;
                    // A member that cannot be looked at may be none; the program itself may not start.
                    let is_named = message.contains("Input/output error") || !call.starts_with('p');
                    assert!(is_named && !message.is_empty(), "{at}: {message:?}");
                }
            }
        }
    }
    println!("{failures} failures, {whole_ones} calls that were never made or did not matter");
    assert!(failures > 60, "only {failures} failures");
}
