//! The fuzz harness: seeded, deterministic, in stable Rust.
//!
//! A [`Target`] is a corpus (from the golden data), a way to damage it, and a function that must neither panic nor
//! take more memory than the target is allowed. Every target asserts an equality; that parsing "does not crash"
//! comes for free. Iteration N of a target with a seed is always the same input, so a failure is found again by
//! three words: target, seed, iteration.
//!
//! Inputs that once failed are kept in `regressions/TARGET/`, those that reach most in `corpora/TARGET.tar.xz`; every run
//! begins with them. `fuzz/` in the root of the repository runs the same targets guided by coverage.

pub mod corpus;
mod kept;
pub mod mutate;
mod rng;
pub mod targets;

pub use kept::{kept, pack};
pub use rng::Rng;

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One input may take this long. Far above what any needs, also on a busy machine.
const INPUT_LIMIT: Duration = Duration::from_secs(20);

/// How a target damages an input; the last argument is the corpus.
pub type Mutate = fn(&mut Vec<u8>, &mut Rng, &[Vec<u8>]);

/// Something that is fed hostile input.
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// The equality it asserts.
    pub about: &'static str,
    /// The inputs to start from.
    pub corpus: fn() -> Vec<Vec<u8>>,
    /// How they are damaged.
    pub mutate: Mutate,
    /// Panics when the equality does not hold.
    pub run: fn(&[u8]),
    /// Memory that one run may hold at once, beside its input.
    pub memory_limit_bytes: usize,
}

/// Reads the memory held by the whole program; the binary owns the allocator.
#[derive(Clone, Copy)]
pub struct Meter {
    /// Bytes held now.
    pub current: fn() -> usize,
    /// The most bytes held since the last reset.
    pub peak: fn() -> usize,
    /// Forgets the peak.
    pub reset: fn(),
}

/// A failure, and how to come to it again.
#[derive(Debug)]
pub struct Failure {
    /// What was not as it should be.
    pub message: String,
    /// The input, made smaller where that was possible.
    pub input: Vec<u8>,
    /// The iteration; `None` for a kept regression.
    pub iteration: Option<u64>,
}

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After so much time.
    Time(Duration),
    /// After so many iterations.
    Iterations(u64),
}

/// How often a target ran, or how it failed.
pub fn run(target: &Target, seed: u64, until: Until, meter: Meter) -> Result<u64, Failure> {
    let corpus = (target.corpus)();
    assert!(!corpus.is_empty(), "{} has no corpus", target.name);
    let hook = Hook::set();
    for input in regressions(target.name).into_iter().chain(kept(target.name)) {
        attempt(target, &input, meter, &hook).map_err(|m| Failure { message: m, input, iteration: None })?;
    }
    let watch = Watch::start(target.name, seed);
    let started = Instant::now();
    let mut iteration = 0;
    loop {
        let enough = match until {
            Until::Time(limit) => started.elapsed() >= limit && iteration >= corpus.len() as u64,
            Until::Iterations(limit) => iteration >= limit,
        };
        if enough {
            return Ok(iteration);
        }
        let input = input(target, &corpus, seed, iteration);
        watch.next(iteration);
        if let Err(message) = attempt(target, &input, meter, &hook) {
            watch.pause();
            let input = smaller(input, |i| attempt(target, i, meter, &hook).is_err());
            return Err(Failure { message, input, iteration: Some(iteration) });
        }
        iteration += 1;
    }
}

/// The input of one iteration. The first ones are the corpus as it is.
pub fn input(target: &Target, corpus: &[Vec<u8>], seed: u64, iteration: u64) -> Vec<u8> {
    if let Some(whole) = usize::try_from(iteration).ok().and_then(|n| corpus.get(n)) {
        return whole.clone();
    }
    let mut rng = Rng::new(seed, target.name, iteration);
    let mut input = rng.pick(corpus).clone();
    (target.mutate)(&mut input, &mut rng, corpus);
    input
}

/// Runs a target on one input; the message says what was wrong.
pub fn once(target: &Target, input: &[u8], meter: Meter) -> Result<(), String> {
    attempt(target, input, meter, &Hook::set())
}

fn attempt(target: &Target, input: &[u8], meter: Meter, hook: &Hook) -> Result<(), String> {
    let before = (meter.current)();
    (meter.reset)();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let held = (meter.peak)().saturating_sub(before);
    if outcome.is_err() {
        return Err(hook.message());
    }
    if held > target.memory_limit_bytes {
        return Err(format!("held {held} bytes for an input of {}", input.len()));
    }
    Ok(())
}

/// Cuts pieces out of a failing input as long as it keeps failing, for two seconds at most.
fn smaller(mut input: Vec<u8>, fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let end = Instant::now() + Duration::from_secs(2);
    let mut piece = input.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < input.len() && Instant::now() < end {
            let mut less = input.clone();
            less.drain(at..(at + piece).min(input.len()));
            if fails(&less) {
                input = less;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    input
}

/// The kept inputs of a target.
pub fn regressions(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target);
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files.iter().map(|f| fs::read(f).expect("a kept input")).collect()
}

/// Where failing inputs and the number of the running iteration are left.
pub fn work_dir() -> PathBuf {
    let dir = crate::golden::target_dir().join("fuzz");
    fs::create_dir_all(&dir).expect("a directory for the fuzzer");
    dir
}

/// Keeps panics silent and remembers what the last one said.
struct Hook {
    last: Arc<Mutex<String>>,
}

impl Hook {
    fn set() -> Self {
        let last = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&last);
        panic::set_hook(Box::new(move |info| {
            *into.lock().unwrap_or_else(|e| e.into_inner()) = info.to_string();
        }));
        Hook { last }
    }

    fn message(&self) -> String {
        self.last.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        drop(panic::take_hook());
    }
}

/// Notes the running iteration in a file (for a run that ends by a signal) and ends the program when one input takes
/// too long.
struct Watch {
    note: fs::File,
    since: Arc<AtomicU64>,
    started: Instant,
}

/// No input is running.
const IDLE: u64 = u64::MAX;

impl Watch {
    fn start(target: &'static str, seed: u64) -> Self {
        let note =
            fs::File::create(work_dir().join(format!("{target}.iteration"))).expect("a file for the fuzzer");
        let since = Arc::new(AtomicU64::new(IDLE));
        let started = Instant::now();
        let weak = Arc::downgrade(&since);
        let path = work_dir().join(format!("{target}.iteration"));
        std::thread::spawn(move || {
            while let Some(since) = weak.upgrade() {
                let began = since.load(Ordering::Relaxed);
                drop(since);
                if began != IDLE && started.elapsed() > Duration::from_millis(began) + INPUT_LIMIT {
                    let iteration = fs::read_to_string(&path).unwrap_or_default();
                    let mut out = std::io::stderr().lock();
                    let _ = writeln!(
                        out,
                        "{target}: seed {seed}, iteration {}: takes over {INPUT_LIMIT:?}",
                        iteration.trim()
                    );
                    std::process::exit(1);
                }
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        Watch { note, since, started }
    }

    fn next(&self, iteration: u64) {
        self.note.write_all_at(format!("{iteration}\n").as_bytes(), 0).expect("the note is written");
        self.since.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn pause(&self) {
        self.since.store(IDLE, Ordering::Relaxed);
    }
}
