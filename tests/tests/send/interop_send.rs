//! Every dataset against `zdb -B`, OpenZFS's sender in user space, with all of its flags: `cargo xtask interop`.
//!
//! Pools besides the golden ones are looked for in the directory that `ZSTREAM_POOLS` names: images of single-disk pools.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rayon::prelude::*;
use zstream_dsl::dataset::Dir;
use zstream_send::error::Fault;
use zstream_send::plan::{Source, StreamPlan};
use zstream_send::{Progress, send};
use zstream_tests::compare::Comparison;
use zstream_tests::sending::Sending;
use zstream_tests::{golden, openzfs};

/// All that there are. Every dataset is sent with two of them, in turn; a few with all.
const FLAGS: [&str; 9] = ["", "Lec", "e", "Lc", "w", "c", "Le", "ec", "L"];
const CHOSEN: [&str; 4] = ["tank/fs@a", "tank/rs1m@s", "tank/dn@s", "tank/e-aes-256-gcm@t"];

/// A pool: its members, and a directory with nothing else, where `zdb` finds them.
struct Members {
    paths: Vec<PathBuf>,
    dir: tempfile::TempDir,
}

impl Members {
    fn new(paths: Vec<PathBuf>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for path in &paths {
            std::os::unix::fs::symlink(path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
        Self { paths, dir }
    }
}

/// What `zdb -B` writes. On pools with redaction bookmarks it may write all and then never end.
fn zdb(dir: &Path, pool: &str, objset: u64, flags: &str) -> Vec<u8> {
    let mut command = Command::new("timeout");
    command.arg("60").arg(openzfs::program("zdb")).args(["-e", "-p"]).arg(dir);
    command.arg("-B").arg(format!("{pool}/{objset}"));
    if !flags.is_empty() {
        command.arg(flags);
    }
    command.output().expect("zdb runs").stdout
}

/// A plan for what `zdb -B` does.
fn plan(sending: &Sending, name: &str, flags: &str) -> StreamPlan {
    let dataset = sending.dsl.dataset(name).unwrap();
    let mut plan = StreamPlan::new(Source::open(&dataset, sending.source(), flags.contains('w')).unwrap());
    plan.form.large_blocks = flags.contains('L');
    plan.form.embedded = flags.contains('e');
    plan.form.compressed = flags.contains('c');
    plan.form.raw = flags.contains('w');
    plan
}

/// Holds all datasets of a pool against `zdb -B`: how many streams.
fn compare(members: &Members, comparison: &mut Comparison) -> usize {
    let sending = Sending::open(&members.paths);
    let pool = sending.pool.name().to_owned();
    let mut cases = Vec::new();
    let mut turn = FLAGS.iter().cycle();
    let mut dirs = vec![sending.dsl.dir(&pool).unwrap()];
    while let Some(dir) = dirs.pop() {
        let is_shown = |child: &Arc<Dir>| child.phys().head.is_some() && !child.name().contains(['$', '%']);
        dirs.extend(dir.children().unwrap().into_iter().filter(is_shown));
        let head = dir.head().unwrap();
        if head.is_inconsistent() {
            continue;
        }
        let is_encrypted = head.encryption_root().unwrap().is_some();
        let snapshots = head.snapshots().unwrap();
        // A raw send of a head ends in an assertion of `zdb`, which is built with them: a head has no set of IVs.
        let head = (!is_encrypted).then_some(&head);
        for dataset in snapshots.iter().chain(head) {
            let count = if CHOSEN.contains(&dataset.name()) { FLAGS.len() } else { 2 };
            for flags in turn.by_ref().take(count) {
                // `zdb -B` cannot decrypt. The recordings and the kernel module say how that is done.
                let flags = if is_encrypted { "w" } else { *flags };
                cases.push((dataset.name().to_owned(), dataset.object().0, flags));
            }
        }
    }
    let outcomes: Vec<_> = cases
        .par_iter()
        .map(|(name, objset, flags)| {
            let mut ours = Vec::new();
            let sent = send(&plan(&sending, name, flags), &mut ours, &Progress::default());
            (format!("{name} {flags:?}"), sent.map(|_| ours), zdb(members.dir.path(), &pool, *objset, flags))
        })
        .collect();
    let count = outcomes.len();
    for (name, ours, theirs) in outcomes {
        match ours {
            Ok(ours) => comparison.add(&name, &ours, &theirs),
            Err(error) if matches!(error.fault(), Fault::LargeMicrozap) && theirs.is_empty() => {}
            Err(error) => comparison.fail(format!("{name}: {error}")),
        }
    }
    count
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_sends_are_those_of_zdb() {
    let mut comparison = Comparison::default();
    let mut count = 0;
    for pool in ["tank", "pmirror", "praidz1", "praidz2", "praidz3"] {
        count += compare(&Members::new(golden::pool(pool)), &mut comparison);
    }
    assert!(count > 120, "{count}");
    println!("{count} streams of the golden pools");
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_sends_of_other_pools_are_those_of_zdb() {
    let mut comparison = Comparison::default();
    let mut images = vec![golden::package_file("pack.img").unwrap()];
    if let Some(dir) = std::env::var_os("ZSTREAM_POOLS") {
        let entries = std::fs::read_dir(&dir).expect("the directory ZSTREAM_POOLS");
        let paths = entries.map(|entry| entry.unwrap().path());
        images.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "img")));
        assert!(images.len() > 1, "no images in {}", dir.display());
    } else {
        println!("SKIPPED: pools with random histories; ZSTREAM_POOLS does not say where they are");
    }
    for image in images {
        let count = compare(&Members::new(vec![image.clone()]), &mut comparison);
        println!("{count} streams of {}", image.display());
    }
}
