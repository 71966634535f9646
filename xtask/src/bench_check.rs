//! `zstream pool check` beside OpenZFS's `zdb -bcc`, of the same pool in the page cache; and `zstream extract` beside `cp`.
//!
//! The first is measured on the pool of `bench send`, the second on one that `zstream put` makes.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use crate::bench_send;
use crate::measure::measure;
use crate::pairs::{Pairs, mib, target_dir};
use crate::run::{Outcome, cargo, find, program, run};

/// What is promised of `pool check`: its share of zdb's time on the clock.
const CHECK_WALL_RATIO: f64 = 0.2;
/// Most memory, of all that is measured here.
const PEAK_BYTES: u64 = 256 << 20;

/// The snapshot with one file of 1 GiB, and that file.
const ONE: [&str; 2] = ["bench/one@s", "file"];
/// Its size.
const FILE_BYTES: u64 = 1 << 30;

/// `check`
pub(crate) fn check() -> Outcome {
    let (Some(zdb), Some(_)) = (find("zdb"), find("python3")) else {
        println!("SKIPPED: OpenZFS's zdb and python3 are needed");
        return Ok(());
    };
    let (ours, pool) = (build()?, bench_send::pool()?.file);
    let dir = text(pool.parent().ok_or("the pool has no directory")?)?;
    let (check, bcc) = (["-d", text(&pool)?, "pool", "check"], ["-e", "-p", dir, "-bcc", "bench"]);
    // It lies in the page cache then.
    measure(&ours, &check)?;
    let pairs = Pairs::measure((&ours, &check), (&zdb, &bcc))?;
    pairs.print("A pool with 2.8 GiB of blocks", "zstream pool check", "zdb -bcc");
    let mut missed = memory(&[&pairs]);
    if pairs.wall_ratio() > CHECK_WALL_RATIO {
        missed.push(format!("wall ratio {:.2} is above {CHECK_WALL_RATIO}", pairs.wall_ratio()));
    }
    judge(&missed)
}

/// `extract`
pub(crate) fn extract() -> Outcome {
    let ours = build()?;
    let pool = file_pool(&ours)?;
    let work = target_dir().join("bench/extract/work");
    let (out, reference) = (work.join("out"), work.join("reference"));
    let io = |error: std::io::Error| error.to_string();
    fs::create_dir_all(&out).map_err(io)?;
    let (pool, out_text, reference_text) = (text(&pool)?, text(&out)?, text(&reference)?);
    let stream = work.join("one.zfs");
    let stream = text(&stream)?;
    let send = format!("'{}' -d '{pool}' send {} > '{stream}'", text(&ours)?, ONE[0]);
    run(program("sh", &["-c", &send]))?;
    let cat = format!("'{}' -d '{pool}' cat {} {} > '{reference_text}'", text(&ours)?, ONE[0], ONE[1]);
    run(program("sh", &["-c", &cat]))?;

    let cp = find("cp").ok_or("no cp")?;
    let copy = ["--reflink=never", reference_text, out_text];
    let copied = out.join("reference");
    let clean = || {
        let _ = fs::remove_file(&copied);
        let _ = fs::remove_file(out.join(ONE[1]));
    };
    let mut all = Vec::new();
    for (title, source) in [("a pool", ["-d", pool]), ("a stream", ["-f", stream])] {
        let args = [&source[..], &["extract", "-C", out_text, ONE[0], ONE[1]]].concat();
        clean();
        measure(&ours, &args)?;
        if fs::read(out.join(ONE[1])).map_err(io)? != fs::read(&reference).map_err(io)? {
            return Err(format!("what comes out of {title} is not the file"));
        }
        let pairs = Pairs::measure_after(&clean, (&ours, &args), (&cp, &copy))?;
        pairs.print(&format!("1 GiB out of {title}"), "zstream extract", "cp");
        all.push(pairs);
    }
    fs::remove_dir_all(&work).map_err(io)?;
    judge(&memory(&all.iter().collect::<Vec<_>>()))
}

/// Our program.
fn build() -> Result<PathBuf, String> {
    run(cargo(&["build", "--release", "--locked", "--package", "zstream-cli"]))?;
    Ok(target_dir().join("release/zstream"))
}

/// The pool with a file, made where it is not there yet.
fn file_pool(ours: &Path) -> Result<PathBuf, String> {
    let dir = target_dir().join("bench/extract");
    let (pool, made, file) = (dir.join("bench.img"), dir.join("made.img"), dir.join(ONE[1]));
    if pool.is_file() {
        return Ok(pool);
    }
    let io = |error: std::io::Error| error.to_string();
    fs::create_dir_all(&dir).map_err(io)?;
    write_noise(&file).map_err(io)?;
    let (path, target) = (text(&made)?, ONE[0].replace("@s", ":/"));
    for words in [
        &["pool", "create", "--size", "1400M", "bench", path][..],
        &["-d", path, "create", "bench/one"],
        &["-d", path, "put", text(&file)?, &target],
        &["-d", path, "snapshot", ONE[0]],
    ] {
        run(program(text(ours)?, words))?;
    }
    fs::remove_file(&file).map_err(io)?;
    // Last, so that it stands for a pool that is whole.
    fs::rename(&made, &pool).map_err(io)?;
    Ok(pool)
}

/// Writes a file that does not compress, the same every time.
fn write_noise(path: &Path) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, fs::File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..FILE_BYTES / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes())?;
    }
    file.flush()
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()))
}

fn memory(pairs: &[&Pairs]) -> Vec<String> {
    let peak = pairs.iter().map(|pairs| pairs.peak_bytes()).max().unwrap_or(0);
    let above = || format!("{:.1} MiB of memory are not below {} MiB", mib(peak), PEAK_BYTES >> 20);
    (peak >= PEAK_BYTES).then(above).into_iter().collect()
}

fn judge(missed: &[String]) -> Outcome {
    if missed.is_empty() { Ok(()) } else { Err(format!("not as promised: {}", missed.join(", "))) }
}
