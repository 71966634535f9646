//! `zstream verify` beside OpenZFS's `zstream dump`, on the same large stream.
//!
//! The stream lies in the page cache: it is read once before.

use std::path::Path;

use crate::measure::measure;
use crate::pairs::{Pairs, mib, target_dir};
use crate::run::{Outcome, cargo, find, run};

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
        make(&target, &stream, STREAM_MIB, block)?;
        let path = stream.to_str().ok_or("the path of the stream is not UTF-8")?;
        measure(&theirs, &["dump", path])?;
        let pairs = Pairs::measure((&ours, &["verify", path]), (&theirs, &["dump", path]))?;
        pairs.print(&format!("{name}, {STREAM_MIB} MiB"), "zstream verify", "OpenZFS zstream dump");
        if (name, block) == STREAMS[0] {
            missed = missed_of(&pairs);
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("not as promised: {}", missed.join(", "))) }
}

/// Makes a stream of so many MiB in blocks of so many bytes, where it is not there yet.
pub(crate) fn make(target: &Path, stream: &Path, mib: u32, block: u32) -> Outcome {
    if stream.is_file() {
        return Ok(());
    }
    std::fs::create_dir_all(target.join("bench")).map_err(|e| e.to_string())?;
    // Under another name until it is whole.
    let unfinished = stream.with_extension("part");
    let mut command = std::process::Command::new(target.join("debug/zstream-make-stream"));
    command.arg(&unfinished).args([mib.to_string(), block.to_string()]);
    run(command)?;
    std::fs::rename(&unfinished, stream).map_err(|e| e.to_string())
}

/// What of the promise was missed.
fn missed_of(pairs: &Pairs) -> Vec<String> {
    let mut missed = Vec::new();
    if pairs.wall_ratio() > WALL_RATIO {
        missed.push(format!("wall ratio {:.2} is above {WALL_RATIO}", pairs.wall_ratio()));
    }
    if pairs.cpu_ratio() > CPU_RATIO {
        missed.push(format!("CPU ratio {:.2} is above {CPU_RATIO}", pairs.cpu_ratio()));
    }
    if pairs.peak_bytes() >= PEAK_BYTES {
        let peak = mib(pairs.peak_bytes());
        missed.push(format!("{peak:.1} MiB of memory are not below {} MiB", PEAK_BYTES >> 20));
    }
    missed
}
