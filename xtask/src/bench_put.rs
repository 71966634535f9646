//! `zstream put` beside `tar`: a tree of many small files and one of few large ones, into a pool in a file and into an archive.
//!
//! The trees are made once, under `target/bench/put`, and are in the page cache when they are read. Half of their content
//! compresses. Each run of `put` gets a new pool, each run of `tar` a new file; making the pool is not measured.
//!
//! `put` returns when everything is on the disk, `tar` when the kernel has it. What is promised is promised against `tar` as it
//! is; how long the disk takes after it is shown beside that.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::measure::measure;
use crate::pairs::{Pairs, mib, target_dir};
use crate::run::{Outcome, cargo, find, output, program, run};

/// Small files, in how many directories.
const SMALL_FILES: u64 = 100_000;
const DIRECTORIES: u64 = 100;
/// Large files, and the size of each.
const LARGE_FILES: u64 = 8;
const LARGE_BYTES: u64 = 256 << 20;
/// Size of the pool's file.
const POOL_SIZE: &str = "6G";
/// What is promised for large files, as a share of the time of `tar` with the same compression.
const WALL_RATIO: f64 = 2.0;
/// How much more memory eight times the data may take.
const GROWTH_BYTES: u64 = 64 << 20;
/// How much memory any number of small files may take: changes up to a limit gather, then they are completed.
const SMALL_PEAK_BYTES: u64 = 320 << 20;
/// How often each is measured.
const PAIRS: usize = 3;
/// Content is made in blocks of this size.
const BLOCK_BYTES: usize = 4096;

/// `put`
pub(crate) fn bench() -> Outcome {
    let Some(tar) = find("tar") else {
        println!("SKIPPED: tar is needed");
        return Ok(());
    };
    run(cargo(&["build", "--release", "--locked", "--package", "zstream-cli"]))?;
    let ours = target_dir().join("release/zstream");
    let dir = target_dir().join("bench/put");
    let trees = trees(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let [pool, archive] = ["pool.img", "archive.tar"].map(|name| text(&dir.join(name)));
    let (pool, archive) = (pool?, archive?);
    let mut missed = Vec::new();
    for (title, tree, is_large) in &trees {
        let tree = text(tree)?;
        for compression in ["off", "lz4", "zstd"] {
            let filter = match (compression, find(compression)) {
                ("off", _) => None,
                (_, Some(filter)) => Some(text(&filter)?),
                (_, None) => {
                    println!("SKIPPED: {compression} for tar is not installed");
                    continue;
                }
            };
            let prepare = || {
                let _ = fs::remove_file(&archive);
                if let Err(error) = new_pool(&ours, &pool, compression) {
                    println!("{error}");
                }
                // What the run before it left to the disk is no business of the next.
                if let Err(error) = output(program("sync", &[])) {
                    println!("{error}");
                }
            };
            let put = ["-d", &pool, "put", &tree, "bench:/"];
            let mut theirs = vec!["-cf", archive.as_str(), tree.as_str()];
            if let Some(filter) = &filter {
                theirs.splice(0..0, ["-I", filter.as_str()]);
            }
            let pairs = Pairs::measure_some(PAIRS, &prepare, (&ours, &put), (&tar, &theirs))?;
            pairs.print(&format!("{title}, {compression}"), "zstream put", "tar");
            if let Some(sync) = find("sync") {
                let flush = measure(&sync, &[&archive])?.wall;
                println!("  the disk is done with tar's archive {:.3} s later", flush.as_secs_f64());
            }
            if *is_large && pairs.wall_ratio() > WALL_RATIO {
                missed.push(format!("{title}, {compression}: wall ratio {:.2}", pairs.wall_ratio()));
            }
            if !*is_large && pairs.peak_bytes() > SMALL_PEAK_BYTES {
                missed.push(format!("{title}, {compression}: {:.1} MiB of memory", mib(pairs.peak_bytes())));
            }
        }
    }
    let mut peaks = Vec::new();
    for tree in [dir.join("large/0"), dir.join("large")] {
        new_pool(&ours, &pool, "lz4")?;
        peaks.push(measure(&ours, &["-d", &pool, "put", &text(&tree)?, "bench:/"])?.peak_bytes);
    }
    println!(
        "\nmemory for one large file {:.1} MiB, for {LARGE_FILES} {:.1} MiB",
        mib(peaks[0]),
        mib(peaks[1])
    );
    if peaks[1] > peaks[0] + GROWTH_BYTES {
        missed.push("memory grows with the tree".into());
    }
    for file in [&pool, &archive] {
        let _ = fs::remove_file(file);
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("not as promised: {}", missed.join(", "))) }
}

/// Returns a path as an argument.
pub(crate) fn text(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_owned).ok_or_else(|| "a path that is not UTF-8".into())
}

fn new_pool(zstream: &Path, file: &str, compression: &str) -> Outcome {
    let _ = fs::remove_file(file);
    let option = format!("compression={compression}");
    let zstream = text(zstream)?;
    output(program(&zstream, &["pool", "create", "--size", POOL_SIZE, "-O", &option, "bench", file]))
        .map(drop)
}

/// The trees, made where they are not there yet: title, directory, whether its files are large.
fn trees(dir: &Path) -> std::io::Result<Vec<(&'static str, PathBuf, bool)>> {
    let (small, large, whole) = (dir.join("small"), dir.join("large"), dir.join("whole"));
    if !whole.is_file() {
        for n in 0..DIRECTORIES {
            fs::create_dir_all(small.join(n.to_string()))?;
        }
        for n in 0..SMALL_FILES {
            let path = small.join((n % DIRECTORIES).to_string()).join(format!("file {n}"));
            write(&path, n, 100 + n * 7919 % 8000)?;
        }
        fs::create_dir_all(&large)?;
        for n in 0..LARGE_FILES {
            write(&large.join(n.to_string()), n, LARGE_BYTES)?;
        }
        // Last, so that it stands for trees that are whole.
        fs::write(&whole, b"")?;
    }
    Ok(vec![("100,000 small files", small, false), ("2 GiB of large files", large, true)])
}

/// Writes a file of which every second block compresses.
pub(crate) fn write(path: &Path, seed: u64, bytes: u64) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut block = [0; BLOCK_BYTES];
    let mut left = bytes;
    let mut is_text = false;
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&if is_text { state & 0x0703_0007_0300_0103 } else { state }.to_le_bytes());
        }
        let part = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        out.write_all(&block[..part])?;
        left -= part as u64;
        is_text = !is_text;
    }
    out.flush()
}
