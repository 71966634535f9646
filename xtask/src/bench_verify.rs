//! `zstream verify` beside OpenZFS's `zstream dump`, on the same large stream.
//!
//! The two run in turns, so that whatever else the machine does falls on both. The stream lies in the page
//! cache: it is read once before. Shown are the medians, and the medians of the ratios within a pair.

use std::path::{Path, PathBuf};

use crate::measure::{Usage, measure};
use crate::run::{Outcome, cargo, find, root, run};

const PAIRS: usize = 5;
const STREAM_MIB: u32 = 1024;
/// Streams: name, and bytes of a block. That with small blocks shows the cost of a record.
const STREAMS: [(&str, u32); 2] = [("128 KiB records", 128 << 10), ("4 KiB records", 4 << 10)];

/// What is promised, of the first stream, on two cores: of their time on the clock, of their time on the
/// cores, and bytes.
const WALL_RATIO: f64 = 0.5;
const CPU_RATIO: f64 = 1.0;
const PEAK_BYTES: u64 = 64 << 20;

/// `verify`
pub(crate) fn bench() -> Outcome {
    let Some(theirs) = find("zstream") else {
        println!("SKIPPED: OpenZFS's zstream is not installed");
        return Ok(());
    };
    run(cargo(&["build", "--release", "--locked", "--package", "zstream-cli"]))?;
    run(cargo(&["build", "--locked", "--package", "zstream-tests", "--bin", "zstream-make-stream"]))?;
    let target = target_dir();
    let ours = target.join("release/zstream");
    let mut missed = Vec::new();
    for (name, block) in STREAMS {
        let stream = target.join(format!("bench/stream-{block}.zfs"));
        make(&target, &stream, block)?;
        let pairs = pairs(&ours, &theirs, &stream)?;
        let shown = report(name, &pairs);
        if (name, block) == STREAMS[0] {
            missed = shown;
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("not as promised: {}", missed.join(", "))) }
}

fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn make(target: &Path, stream: &Path, block: u32) -> Outcome {
    if stream.is_file() {
        return Ok(());
    }
    std::fs::create_dir_all(target.join("bench")).map_err(|e| e.to_string())?;
    // Under another name until it is whole.
    let unfinished = stream.with_extension("part");
    let mut command = std::process::Command::new(target.join("debug/zstream-make-stream"));
    command.arg(&unfinished).args([STREAM_MIB.to_string(), block.to_string()]);
    run(command)?;
    std::fs::rename(&unfinished, stream).map_err(|e| e.to_string())
}

fn pairs(ours: &Path, theirs: &Path, stream: &Path) -> Result<Vec<(Usage, Usage)>, String> {
    let path = stream.to_str().ok_or("the path of the stream is not UTF-8")?;
    measure(theirs, &["dump", path])?;
    (0..PAIRS).map(|_| Ok((measure(ours, &["verify", path])?, measure(theirs, &["dump", path])?))).collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints the figures; what of the promise was missed.
fn report(name: &str, pairs: &[(Usage, Usage)]) -> Vec<String> {
    let seconds = |of: fn(&(Usage, Usage)) -> f64| median(pairs.iter().map(of));
    let wall = [seconds(|(a, _)| a.wall.as_secs_f64()), seconds(|(_, b)| b.wall.as_secs_f64())];
    let cpu = [seconds(|(a, _)| a.cpu.as_secs_f64()), seconds(|(_, b)| b.cpu.as_secs_f64())];
    let wall_ratio = seconds(|(a, b)| a.wall.as_secs_f64() / b.wall.as_secs_f64());
    let cpu_ratio = seconds(|(a, b)| a.cpu.as_secs_f64() / b.cpu.as_secs_f64());
    let peak = pairs.iter().map(|(a, _)| a.peak_bytes).max().unwrap_or(0);
    let their_peak = pairs.iter().map(|(_, b)| b.peak_bytes).max().unwrap_or(0);
    println!("\n{name}, {STREAM_MIB} MiB, {PAIRS} pairs      zstream verify   OpenZFS zstream dump   ratio");
    println!("  wall   {:>28.3} s {:>20.3} s {wall_ratio:>7.2}", wall[0], wall[1]);
    println!("  CPU    {:>28.3} s {:>20.3} s {cpu_ratio:>7.2}", cpu[0], cpu[1]);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("  memory {:>26.1} MiB {:>18.1} MiB", mib(peak), mib(their_peak));
    let mut missed = Vec::new();
    if wall_ratio > WALL_RATIO {
        missed.push(format!("wall ratio {wall_ratio:.2} is above {WALL_RATIO}"));
    }
    if cpu_ratio > CPU_RATIO {
        missed.push(format!("CPU ratio {cpu_ratio:.2} is above {CPU_RATIO}"));
    }
    if peak >= PEAK_BYTES {
        missed.push(format!("{:.1} MiB of memory are not below {} MiB", mib(peak), PEAK_BYTES >> 20));
    }
    missed
}
