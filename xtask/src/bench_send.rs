//! `zstream send` beside OpenZFS's `zdb -B`, of the same pool in the page cache.
//!
//! `tests/bench/send_pool.py` makes the pool, once. Before anything is measured, both write each stream once and the
//! streams are compared: that they are the same to the byte, and the pool is in the page cache.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::measure::measure;
use crate::pairs::{Pairs, mib, target_dir};
use crate::run::{Outcome, cargo, find, output, program, run, shown};

/// What is measured: a title, a snapshot of the pool, an option of both programs, and how much of what is read
/// makes the stream: all of it, or less than its length.
const CASES: &[(&str, &str, Option<&str>, bool)] = &[
    ("128 KiB blocks, uncompressed", "bench/plain@s", None, true),
    ("128 KiB blocks of lz4, with -c", "bench/packed@s", Some("c"), true),
    ("128 KiB blocks of lz4, decompressed", "bench/packed@s", None, false),
    ("8 KiB blocks, uncompressed", "bench/small@s", None, true),
];

/// The same in 1 and in 8 GiB.
const LONG: [&str; 2] = ["bench/long@1", "bench/long@8"];

/// What is promised, on two cores: of their time on the clock where blocks go as they are stored, and bytes.
const WALL_RATIO: f64 = 1.0 / 3.0;
const PEAK_BYTES: u64 = 128 << 20;
/// How much more memory eight times the data may take.
const GROWTH_BYTES: u64 = 8 << 20;

const CHUNK: usize = 1 << 20;

/// The pool, and the number of the objset of each snapshot.
pub(crate) struct Pool {
    /// Its only member.
    pub(crate) file: PathBuf,
    objsets: Vec<(String, String)>,
}

/// `send`
pub(crate) fn bench() -> Outcome {
    let (Some(theirs), Some(_)) = (find("zdb"), find("python3")) else {
        println!("SKIPPED: OpenZFS's zdb and python3 are needed");
        return Ok(());
    };
    run(cargo(&["build", "--release", "--locked", "--package", "zstream-cli"]))?;
    let ours = target_dir().join("release/zstream");
    let pool = pool()?;
    let mut missed = Vec::new();
    let mut peak = 0;
    for (title, snapshot, option, is_stored) in CASES {
        let (our_args, their_args) = (pool.ours(snapshot, *option)?, pool.theirs(snapshot, *option)?);
        let bytes = compare((&ours, &strs(&our_args)), (&theirs, &strs(&their_args)))?;
        let pairs = Pairs::measure((&ours, &strs(&our_args)), (&theirs, &strs(&their_args)))?;
        pairs.print(&format!("{title}: {:.0} MiB", mib(bytes)), "zstream send", "zdb -B");
        peak = peak.max(pairs.peak_bytes());
        if *is_stored {
            let (reached, bandwidth) = (bytes as f64 / pairs.wall(), bandwidth(&pool.file)?);
            let gib = |bytes: f64| bytes / f64::from(1 << 30);
            println!(
                "  {:.1} GiB/s, {:.0} % of the {:.1} GiB/s at which all cores can read the pool's file",
                gib(reached),
                reached / bandwidth * 100.0,
                gib(bandwidth)
            );
            if pairs.wall_ratio() > WALL_RATIO {
                missed
                    .push(format!("{title}: wall ratio {:.2} is above {WALL_RATIO:.2}", pairs.wall_ratio()));
            }
        }
    }
    let long = LONG.map(|snapshot| measure(&ours, &strs(&pool.ours(snapshot, None)?)));
    let [short, long] = long.map(|usage| usage.map(|usage| usage.peak_bytes));
    let (short, long) = (short?, long?);
    println!("\nmemory for 1 GiB {:.1} MiB, for 8 GiB {:.1} MiB", mib(short), mib(long));
    if long > short + GROWTH_BYTES {
        missed.push("memory grows with the stream".into());
    }
    if peak.max(long) >= PEAK_BYTES {
        missed.push(format!(
            "{:.1} MiB of memory are not below {} MiB",
            mib(peak.max(long)),
            PEAK_BYTES >> 20
        ));
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("not as promised: {}", missed.join(", "))) }
}

/// The pool, made where it is not there yet.
pub(crate) fn pool() -> Result<Pool, String> {
    let dir = target_dir().join("bench/send");
    let (file, list) = (dir.join("bench.img"), dir.join("objsets"));
    let io = |e: std::io::Error| e.to_string();
    if !list.is_file() {
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).map_err(io)?;
        let path = file.to_str().ok_or("the path of the pool is not UTF-8")?;
        let make = program("python3", &["tests/bench/send_pool.py", path]);
        println!("$ {}", shown(&make));
        // Last, so that it stands for a pool that is whole.
        std::fs::write(&list, output(make)?).map_err(io)?;
    }
    let text = std::fs::read_to_string(&list).map_err(io)?;
    let pair = |line: &str| line.split_once(' ').map(|(name, id)| (name.to_owned(), id.to_owned()));
    Ok(Pool { file, objsets: text.lines().filter_map(pair).collect() })
}

impl Pool {
    fn ours(&self, snapshot: &str, option: Option<&str>) -> Result<Vec<String>, String> {
        let file = self.file.to_str().ok_or("the path of the pool is not UTF-8")?;
        let option = option.map(|option| format!("-{option}"));
        let words = ["-d", file, "send"].map(str::to_owned).into_iter();
        Ok(words.chain(option).chain([snapshot.to_owned()]).collect())
    }

    fn theirs(&self, snapshot: &str, option: Option<&str>) -> Result<Vec<String>, String> {
        let dir = self.file.parent().and_then(Path::to_str).ok_or("the path of the pool is not UTF-8")?;
        let id = self.objsets.iter().find(|(name, _)| name == snapshot).map(|(_, id)| id);
        let id = id.ok_or_else(|| format!("no {snapshot} in the pool that was made"))?;
        let objset = format!("bench/{id}");
        let words = ["-e", "-p", dir, "-B", &objset].map(str::to_owned).into_iter();
        Ok(words.chain(option.map(str::to_owned)).collect())
    }
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Bytes per second that all cores together read of a file in the page cache; the best of some tries.
fn bandwidth(file: &Path) -> Result<f64, String> {
    let file = File::open(file).map_err(|e| e.to_string())?;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let part = (1 << 30) / threads / CHUNK;
    let read = |first: usize| {
        let mut buffer = vec![0; CHUNK];
        (first..first + part).try_for_each(|chunk| file.read_exact_at(&mut buffer, (chunk * CHUNK) as u64))
    };
    let mut best = 0.0_f64;
    for _ in 0..5 {
        let started = Instant::now();
        thread::scope(|scope| {
            let read = &read;
            let readers: Vec<_> = (0..threads).map(|n| scope.spawn(move || read(n * part))).collect();
            readers.into_iter().try_for_each(|reader| reader.join().expect("reading does not panic"))
        })
        .map_err(|e| e.to_string())?;
        best = best.max((threads * part * CHUNK) as f64 / started.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Runs both and compares what they write; its length.
fn compare(ours: (&Path, &[&str]), theirs: (&Path, &[&str])) -> Result<u64, String> {
    let mut children = [spawn(ours)?, spawn(theirs)?];
    let mut outputs =
        children.each_mut().map(|child| BufReader::with_capacity(CHUNK, child.stdout.take().expect("piped")));
    let mut chunks = [vec![0; CHUNK], vec![0; CHUNK]];
    let mut bytes = 0;
    loop {
        let mut lengths = [0; 2];
        for (n, output) in outputs.iter_mut().enumerate() {
            lengths[n] = fill(output, &mut chunks[n]).map_err(|e| e.to_string())?;
        }
        if lengths[0] != lengths[1] || chunks[0][..lengths[0]] != chunks[1][..lengths[1]] {
            return Err(format!("zstream and zdb write different streams; they part behind byte {bytes}"));
        }
        bytes += lengths[0] as u64;
        if lengths[0] < CHUNK {
            break;
        }
    }
    for child in &mut children {
        let status = child.wait().map_err(|e| e.to_string())?;
        if !status.success() {
            return Err(format!("sending failed: {status}"));
        }
    }
    Ok(bytes)
}

fn spawn((program, args): (&Path, &[&str])) -> Result<Child, String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().map_err(|e| format!("cannot run `{}`: {e}", shown(&command)))
}

/// Reads until the chunk is full or there is no more.
fn fill(from: &mut impl Read, chunk: &mut [u8]) -> std::io::Result<usize> {
    let mut done = 0;
    while done < chunk.len() {
        match from.read(&mut chunk[done..])? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}
