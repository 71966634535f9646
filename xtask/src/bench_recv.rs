//! `zstream recv` into a new pool in a file, beside the least that could be done with a stream: writing it to a file with
//! `dd`, and a flush.
//!
//! The stream lies in the page cache; its blocks do not compress. Where there is a virtual machine with OpenZFS's kernel module,
//! the second part takes place in it: beside `zfs receive`.

use std::path::Path;

use crate::bench_verify::make;
use crate::interop_vm;
use crate::measure::measure;
use crate::pairs::{Pairs, mib, target_dir};
use crate::run::{Outcome, cargo, find, program, run};

/// Streams: name, MiB, bytes of a block. That with small blocks shows the cost of a record, the short one whether memory
/// grows.
const STREAMS: [(&str, u32, u32); 3] = [
    ("128 KiB records", 1024, 128 << 10),
    ("8 KiB records", 1024, 8 << 10),
    ("128 KiB records", 256, 128 << 10),
];

/// What is promised of the first stream: its share of the time that writing a file takes.
const WALL_RATIO: f64 = 1.5;
/// How much more memory four times the data may take, and the most memory of all.
const GROWTH_BYTES: u64 = 16 << 20;
const PEAK_BYTES: u64 = 512 << 20;

/// `recv`
pub(crate) fn bench() -> Outcome {
    let (Some(sh), Some(_)) = (find("sh"), find("dd")) else {
        println!("SKIPPED: sh and dd are needed");
        return Ok(());
    };
    run(cargo(&["build", "--release", "--locked", "--package", "zstream-cli"]))?;
    run(cargo(&["build", "--locked", "--package", "zstream-tests", "--bin", "zstream-make-stream"]))?;
    let target = target_dir();
    let dir = target.join("bench/recv");
    std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
    let ours = text(&target.join("release/zstream"))?.to_owned();
    let (pool, file) = (dir.join("bench.img"), dir.join("file"));
    let (pool, file) = (text(&pool)?, text(&file)?);
    let prepare = || {
        let _ = (std::fs::remove_file(pool), std::fs::remove_file(file));
        // What fails here fails again where it is told.
        let _ = program(&ours, &["pool", "create", "--size", "2G", "bench", pool]).status();
        // What earlier runs left to be written is not to be paid for by the next.
        let _ = program("sync", &[]).status();
    };
    let mut missed = Vec::new();
    let mut peaks = Vec::new();
    for (name, size, block) in STREAMS {
        let stream = target.join(format!("bench/recv-{size}-{block}.zfs"));
        make(&target, &stream, size, block)?;
        let stream = text(&stream)?;
        let receive = format!("exec '{ours}' -d '{pool}' recv bench/fs < '{stream}'");
        let copy = format!("exec dd if='{stream}' of='{file}' bs=1M conv=fsync status=none");
        // It lies in the page cache then.
        measure(&sh, &["-c", &copy])?;
        let pairs = Pairs::measure_after(&prepare, (&sh, &["-c", &receive]), (&sh, &["-c", &copy]))?;
        pairs.print(&format!("{name}, {size} MiB"), "zstream recv", "dd conv=fsync");
        peaks.push(pairs.peak_bytes());
        if peaks.len() == 1 && pairs.wall_ratio() > WALL_RATIO {
            missed.push(format!("wall ratio {:.2} is above {WALL_RATIO}", pairs.wall_ratio()));
        }
    }
    let _ = (std::fs::remove_file(pool), std::fs::remove_file(file));
    let (long, short, most) = (peaks[0], peaks[2], peaks.iter().copied().max().unwrap_or(0));
    println!("\nmemory for 256 MiB {:.1} MiB, for 1 GiB {:.1} MiB", mib(short), mib(long));
    if long > short + GROWTH_BYTES {
        missed.push("memory grows with the stream".into());
    }
    if most > PEAK_BYTES {
        missed.push(format!("{:.1} MiB of memory are above {} MiB", mib(most), PEAK_BYTES >> 20));
    }
    if let Err(error) = interop_vm::bench_recv() {
        missed.push(error);
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("not as promised: {}", missed.join(", "))) }
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()))
}
