//! Feeds hostile input to the parsers; `cargo xtask fuzz` runs it.
//!
//! ```text
//! zstream-fuzz list                                     every target
//! zstream-fuzz run TARGET [--seconds N] [--seed S]      until the time is over or something fails
//! zstream-fuzz once TARGET --iteration I [--seed S]     one input again; it is left in target/fuzz
//! zstream-fuzz replay TARGET FILE                       one input from a file
//! zstream-fuzz pack TARGET DIR                          keeps the inputs in DIR: tests/corpora/TARGET.tar.xz
//! zstream-fuzz canary [--seed S]                        what must fail, and fails the run when it does not
//! ```

use peak_alloc::PeakAlloc;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use zstream_tests::fuzz::targets::{CANARIES, TARGETS};
use zstream_tests::fuzz::{self, Meter, Target, Until};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const METER: Meter = Meter {
    current: || MEMORY.current_usage(),
    peak: || MEMORY.peak_usage(),
    reset: || MEMORY.reset_peak_usage(),
};

/// A canary that has not failed after so many inputs is not seen at all.
const CANARY_ITERATIONS: u64 = 20_000;

/// The size limit of the kept inputs of one target, compressed.
const KEPT_BYTES_MAX: usize = 32 << 10;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match command(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn command(args: &[String]) -> Result<(), String> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (words, seconds, seed, iteration) = options(&words)?;
    match words[..] {
        ["list"] => {
            TARGETS.iter().for_each(|t| println!("{:16} {}", t.name, t.about));
            Ok(())
        }
        ["run", name] => run(find(name)?, seed, seconds),
        ["once", name] => {
            let target = find(name)?;
            let input = fuzz::input(target, &(target.corpus)(), seed, iteration);
            println!("the input of {} bytes is {}", input.len(), save(name, &input).display());
            fuzz::once(target, &input, METER)
        }
        ["replay", name, file] => {
            let input = std::fs::read(file).map_err(|e| format!("{file}: {e}"))?;
            fuzz::once(find(name)?, &input, METER)
        }
        ["pack", name, dir] => {
            let (count, bytes) = fuzz::pack(find(name)?.name, Path::new(dir), KEPT_BYTES_MAX)
                .map_err(|error| format!("{dir}: {error}"))?;
            println!("{name}: {count} inputs kept in {bytes} bytes");
            Ok(())
        }
        ["canary"] => canaries(seed),
        _ => Err(
            "usage: zstream-fuzz list | run TARGET | once TARGET | replay TARGET FILE | pack TARGET DIR | \
                  canary"
                .into(),
        ),
    }
}

/// Takes `--seconds`, `--seed` and `--iteration` out of the words.
fn options<'a>(args: &[&'a str]) -> Result<(Vec<&'a str>, u64, u64, u64), String> {
    let (mut words, mut seconds, mut seed, mut iteration) = (Vec::new(), 4, 0, 0);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let value = match *arg {
            "--seconds" => &mut seconds,
            "--seed" => &mut seed,
            "--iteration" => &mut iteration,
            word => {
                words.push(word);
                continue;
            }
        };
        *value = args.next().and_then(|n| n.parse().ok()).ok_or(format!("{arg} needs a number"))?;
    }
    Ok((words, seconds, seed, iteration))
}

fn find(name: &str) -> Result<&'static Target, String> {
    TARGETS.iter().chain(CANARIES).find(|t| t.name == name).ok_or(format!("no target {name}"))
}

fn run(target: &Target, seed: u64, seconds: u64) -> Result<(), String> {
    match fuzz::run(target, seed, Until::Time(Duration::from_secs(seconds)), METER) {
        Ok(iterations) => {
            println!("{}: {iterations} inputs, seed {seed}", target.name);
            Ok(())
        }
        Err(failure) => {
            let file = save(target.name, &failure.input);
            let at =
                failure.iteration.map_or("a kept input".into(), |n| format!("seed {seed}, iteration {n}"));
            Err(format!("{}: {at}: {}\nthe input: {}", target.name, failure.message, file.display()))
        }
    }
}

fn save(name: &str, input: &[u8]) -> PathBuf {
    let file = fuzz::work_dir().join(format!("{name}.input"));
    std::fs::write(&file, input).expect("the input is saved");
    file
}

fn canaries(seed: u64) -> Result<(), String> {
    for target in CANARIES {
        match fuzz::run(target, seed, Until::Iterations(CANARY_ITERATIONS), METER) {
            Err(failure) => {
                println!("{}: failed, as it must: {}", target.name, failure.message.replace('\n', " "))
            }
            Ok(_) => return Err(format!("{}: did not fail: the fuzzer is blind", target.name)),
        }
    }
    Ok(())
}
