//! Kinds of pools beside a plain one, all ours: raidz, dRAID, deduplication, and cloned blocks.
//!
//! ```text
//! receive 1 GiB of 128 KiB blocks    CPU per byte stored, raidz2 and draid2 beside a stripe of as many members
//! receive 1 GiB of 128 KiB blocks    with dedup=blake3, beside no deduplication
//! replace a file of 1 GiB            all its blocks cloned, beside none
//! check a million blocks             all cloned, beside none
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use crate::bench_put::{text, write};
use crate::bench_verify::make;
use crate::measure::{Usage, measure};
use crate::pairs::{PAIRS, Pairs, target_dir};
use crate::run::{Outcome, cargo, find, output, program, run};

/// The stream that is received, in MiB, and the bytes of its blocks.
const STREAM: (u32, u32) = (1024, 128 << 10);
/// The members of a pool, and what raidz2 and draid2 of so many store for each byte of data.
const MEMBERS: u32 = 6;
const STORED_RATIO: f64 = 1.5;
/// The most CPU per byte stored, as a share of the plain pool's.
const CPU_RATIO: f64 = 1.5;
/// The longest time with deduplication, as a share of that without it.
const DEDUP_WALL_RATIO: f64 = 2.0;
/// The most CPU for the replacement of a cloned file, as a share of that of an uncloned one.
const REPLACE_CPU_RATIO: f64 = 1.5;
/// The longest check of a pool with cloned blocks, as a share of the same pool without clones.
const CHECK_WALL_RATIO: f64 = 1.2;

/// Lets blocks be cloned.
const CLONING: [&str; 2] = ["-o", "feature@block_cloning=enabled"];

/// `kinds`
pub(crate) fn bench() -> Outcome {
    let Some(sh) = find("sh") else {
        println!("SKIPPED: sh is needed");
        return Ok(());
    };
    run(cargo(&["build", "--release", "--locked", "--package", "zstream-cli"]))?;
    run(cargo(&["build", "--locked", "--package", "zstream-tests", "--bin", "zstream-make-stream"]))?;
    let target = target_dir();
    let dir = target.join("bench/kinds");
    let bench = Bench { zstream: text(&target.join("release/zstream"))?, sh, dir };
    let mut missed = Vec::new();
    let stream = target.join(format!("bench/recv-{}-{}.zfs", STREAM.0, STREAM.1));
    fs::create_dir_all(&bench.dir).map_err(|error| error.to_string())?;
    make(&target, &stream, STREAM.0, STREAM.1)?;
    let stream = text(&stream)?;
    for kind in ["raidz2", "draid2:4d:6c:0s"] {
        let ratio = bench.receive(&stream, &[kind], &[])?.cpu_ratio() / STORED_RATIO;
        println!("  CPU per byte stored {ratio:.2}");
        if ratio > CPU_RATIO {
            missed.push(format!("{kind}: CPU per byte stored {ratio:.2} is above {CPU_RATIO}"));
        }
    }
    let ratio = bench.receive(&stream, &[], &["-O", "dedup=blake3"])?.wall_ratio();
    if ratio > DEDUP_WALL_RATIO {
        missed.push(format!("dedup=blake3: wall ratio {ratio:.2} is above {DEDUP_WALL_RATIO}"));
    }
    let ratio = bench.replace()?;
    if ratio > REPLACE_CPU_RATIO {
        missed.push(format!("a cloned file: CPU ratio {ratio:.2} is above {REPLACE_CPU_RATIO}"));
    }
    let ratio = bench.check()?;
    if ratio > CHECK_WALL_RATIO {
        missed.push(format!("a check of cloned blocks: wall ratio {ratio:.2} is above {CHECK_WALL_RATIO}"));
    }
    fs::remove_dir_all(&bench.dir).map_err(|error| error.to_string())?;
    if missed.is_empty() { Ok(()) } else { Err(format!("not as promised: {}", missed.join(", "))) }
}

struct Bench {
    zstream: String,
    sh: PathBuf,
    dir: PathBuf,
}

impl Bench {
    /// The members of a pool in the folder `name`.
    fn members(&self, name: &str) -> Result<Vec<String>, String> {
        (0..MEMBERS).map(|n| text(&self.dir.join(name).join(n.to_string()))).collect()
    }

    /// Makes a new pool in a folder of its own.
    fn create(&self, name: &str, kind: &[&str], options: &[&str]) -> Outcome {
        let dir = self.dir.join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let members = self.members(name)?;
        let mut args = vec!["pool", "create", "--size", "2G"];
        args.extend(options);
        args.push("bench");
        args.extend(kind);
        args.extend(members.iter().map(String::as_str));
        output(program(&self.zstream, &args)).map(drop)?;
        // The next program must not pay for what this one left to be written.
        output(program("sync", &[])).map(drop)
    }

    /// Receives a stream into a pool of a kind and into a plain one, in turns.
    fn receive(&self, stream: &str, kind: &[&str], options: &[&str]) -> Result<Pairs, String> {
        let one = |name: &str| {
            let dir = text(&self.dir.join(name))?;
            Ok::<_, String>(format!("exec '{}' -d '{dir}' recv bench/fs < '{stream}'", self.zstream))
        };
        let (ours, theirs) = (one("kind")?, one("plain")?);
        let prepare = || {
            for (name, kind, options) in [("kind", kind, options), ("plain", &[][..], &[][..])] {
                if let Err(error) = self.create(name, kind, options) {
                    println!("{error}");
                }
            }
        };
        let pairs = Pairs::measure_after(&prepare, (&self.sh, &["-c", &ours]), (&self.sh, &["-c", &theirs]))?;
        let title = [kind, options].concat().join(" ");
        pairs.print(&format!("recv, {} MiB in blocks of 128 KiB", STREAM.0), &title, "plain");
        Ok(pairs)
    }

    /// Replaces a file all of whose blocks are cloned, and one without clones. Returns the ratio of the CPU.
    fn replace(&self) -> Result<f64, String> {
        let files = [self.dir.join("old"), self.dir.join("new")];
        for (seed, file) in (1..).zip(&files) {
            write(file, seed, 1 << 30).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        let prepare = || {
            for name in ["kind", "plain"] {
                let made =
                    self.create(name, &[], &[]).and_then(|()| self.put(name, &files[0], "bench:/file"));
                let made = made.and_then(|()| if name == "kind" { self.clone(name) } else { Ok(()) });
                if let Err(error) = made {
                    println!("{error}");
                }
            }
        };
        let dirs = [text(&self.dir.join("kind"))?, text(&self.dir.join("plain"))?];
        let new = text(&files[1])?;
        let args = dirs.each_ref().map(|dir| ["-d", dir.as_str(), "put", new.as_str(), "bench:/file"]);
        let ours = Path::new(&self.zstream);
        let pairs = Pairs::measure_after(&prepare, (ours, &args[0]), (ours, &args[1]))?;
        pairs.print("put over a file of 1 GiB", "cloned", "not cloned");
        for file in &files {
            fs::remove_file(file).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(pairs.cpu_ratio())
    }

    /// Checks a pool with a million blocks, without and with a clone of all of them. Returns the ratio of the times.
    fn check(&self) -> Result<f64, String> {
        let file = self.dir.join("million");
        write(&file, 3, 4096 * 1_000_000).map_err(|error| format!("{}: {error}", file.display()))?;
        self.create("plain", &[], &[&CLONING[..], &["-O", "recordsize=4K"]].concat())?;
        self.put("plain", &file, "bench:/file")?;
        fs::remove_file(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let dir = text(&self.dir.join("plain"))?;
        let ours = Path::new(&self.zstream);
        let check = || measure(ours, &["-d", &dir, "pool", "check"]);
        let checks = || (0..PAIRS).map(|_| check()).collect::<Result<Vec<Usage>, String>>();
        // The pool lies in the page cache then.
        check()?;
        let before = checks()?;
        self.clone("plain")?;
        let after = checks()?;
        let pairs = Pairs::of(after.into_iter().zip(before));
        pairs.print("pool check of a million blocks", "all cloned", "none cloned");
        Ok(pairs.wall_ratio())
    }

    fn put(&self, name: &str, file: &Path, to: &str) -> Outcome {
        let (dir, file) = (text(&self.dir.join(name))?, text(file)?);
        output(program(&self.zstream, &["-d", &dir, "put", &file, to])).map(drop)
    }

    fn clone(&self, name: &str) -> Outcome {
        let dir = text(&self.dir.join(name))?;
        output(program(&self.zstream, &["-d", &dir, "cp", "bench:/file", "bench:/clone"])).map(drop)
    }
}
