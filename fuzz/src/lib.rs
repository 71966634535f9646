//! Coverage-guided fuzzing of the targets of `zstream-tests`, in the layout of `cargo fuzz`.
//!
//! Each file in `fuzz_targets` is a program for the target of its name. libFuzzer chooses what is kept; two of three inputs
//! are damaged by the target itself, which knows what a record, a checksum or a block is.

use std::path::PathBuf;
use std::sync::OnceLock;

use peak_alloc::PeakAlloc;
use zstream_tests::fuzz::{Rng, Target, targets};

#[doc(hidden)]
pub use libfuzzer_sys;

/// Adds up the memory that is held.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// One input of so many is damaged by libFuzzer, which knows only bytes.
const PLAIN_ONE_IN: u32 = 3;

/// A target with the inputs it starts from.
struct Open {
    target: &'static Target,
    corpus: Vec<Vec<u8>>,
}

static OPEN: OnceLock<Open> = OnceLock::new();

/// Opens the target `name`. With `SEEDS=DIR` in the environment its inputs are written there, and the program ends.
///
/// # Panics
/// There is no such target, or the inputs cannot be written.
pub fn open(name: &str) {
    let target =
        targets::TARGETS.iter().find(|target| target.name == name).expect("a target of zstream-tests");
    let corpus = (target.corpus)();
    if let Some(dir) = std::env::var_os("SEEDS").map(PathBuf::from) {
        std::fs::create_dir_all(&dir).expect("a directory for the inputs");
        let kept = zstream_tests::fuzz::kept(name);
        for (n, input) in corpus.iter().chain(&kept).enumerate() {
            std::fs::write(dir.join(format!("seed-{n:05}")), input).expect("an input is written");
        }
        println!("{}: {} inputs", name, corpus.len() + kept.len());
        std::process::exit(0);
    }
    // What a target prepares once is not a part of what its first input holds.
    (target.run)(&corpus[0]);
    OPEN.get_or_init(|| Open { target, corpus });
}

fn opened() -> &'static Open {
    OPEN.get().expect("the target was opened")
}

/// Runs one input.
///
/// # Panics
/// The target fails, or holds more memory than it may.
pub fn run(input: &[u8]) {
    let target = opened().target;
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    (target.run)(input);
    let held = MEMORY.peak_usage().saturating_sub(before);
    assert!(
        held <= target.memory_limit_bytes + 2 * input.len(),
        "held {held} bytes for an input of {}",
        input.len()
    );
}

/// Damages the first `size` bytes of `data` in place; the new length.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    if seed.is_multiple_of(PLAIN_ONE_IN) {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let Open { target, corpus } = opened();
    let mut rng = Rng::new(u64::from(seed), target.name, 0);
    let mut input = data[..size].to_vec();
    (target.mutate)(&mut input, &mut rng, corpus);
    let len = input.len().min(max_size);
    data[..len].copy_from_slice(&input[..len]);
    len
}

/// The program of the target that the binary is named after.
#[macro_export]
macro_rules! target {
    () => {
        use $crate::libfuzzer_sys;

        $crate::libfuzzer_sys::fuzz_target!(init: $crate::open(env!("CARGO_BIN_NAME")), |data: &[u8]| {
            $crate::run(data);
        });

        $crate::libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            $crate::mutate(data, size, max_size, seed)
        });
    };
}
