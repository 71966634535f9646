//! Runs `zstream-fuzz` (package `zstream-tests`), one process per target.
//!
//! With `--coverage`, libFuzzer runs a target: see `fuzz_coverage`.
//!
//! A process of its own means that a target which aborts or overflows its stack is a failure with a name, too.

use crate::fuzz_coverage::Coverage;
use crate::run::{Outcome, cargo, output, program, root, run};
use std::sync::{Mutex, PoisonError};

/// How long each target runs when nothing is said.
const DEFAULT_SECONDS: u64 = 4;

/// How long a target runs guided by coverage when nothing is said.
const DEFAULT_HOURS: f64 = 1.0;

/// `fuzz [TARGET] [--seconds N] [--seed S] [--tested]`, or `fuzz --coverage TARGET [--hours N] [--sanitizer S]`
///
/// `--tested` takes the program that `cargo xtask test` has built, so that nothing is compiled again.
pub(crate) fn task(args: &[String]) -> Outcome {
    if args.iter().any(|arg| arg == "--coverage") {
        return coverage(args)?.run();
    }
    let (mut target, mut seconds, mut seed, mut tested) = (None, DEFAULT_SECONDS, 0, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut number = || {
            let value = args.next().ok_or(format!("{arg} needs a number"))?;
            value.parse::<u64>().map_err(|_| format!("{arg} needs a number, not {value:?}"))
        };
        match arg.as_str() {
            "--seconds" => seconds = number()?,
            "--seed" => seed = number()?,
            "--tested" => tested = true,
            name if !name.starts_with('-') && target.is_none() => target = Some(name.to_string()),
            _ => return Err(format!("unexpected {arg:?}")),
        }
    }
    let executable = executable(tested)?;
    let fuzz = |more: &[&str]| program(&executable, more);
    let (seconds, seed) = (seconds.to_string(), seed.to_string());
    let table = output(fuzz(&["list"]))?;
    let all: Vec<&str> = table.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let chosen: Vec<&str> = match &target {
        Some(name) => all.iter().copied().filter(|n| n == name).collect(),
        None => all,
    };
    if chosen.is_empty() {
        return Err(format!("no such target; there are:\n{table}"));
    }
    each(&chosen, |name| {
        run(fuzz(&["run", name, "--seconds", &seconds, "--seed", &seed]))
            .map_err(|failure| format!("{failure}\n{}", again(name, &seed)))
    })?;
    run(fuzz(&["canary", "--seed", &seed]))
}

/// Builds the program, or finds the one that the tests use. Returns its path.
fn executable(tested: bool) -> Result<String, String> {
    if !tested {
        run(cargo(&["build", "--package", "zstream-tests", "--bin", "zstream-fuzz", "--locked"]))?;
    }
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().current_dir(root()).exec();
    let target = metadata.map_err(|e| e.to_string())?.target_directory;
    Ok(target.join("debug").join("zstream-fuzz").into_string())
}

/// Calls a function for each target, on as many threads as there are cores. A failure lets no further target begin.
///
/// # Errors
///
/// Returns the first failure.
fn each(targets: &[&str], one: impl Fn(&str) -> Outcome + Sync) -> Outcome {
    let queue = Mutex::new(targets.iter());
    let take = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let stop = || *queue.lock().unwrap_or_else(PoisonError::into_inner) = [].iter();
    let worker = || {
        while let Some(name) = take() {
            one(name).inspect_err(|_| stop())?;
        }
        Ok(())
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or(Err("a target panicked".to_owned())))
    })
}

/// Reads `--coverage TARGET [--hours N] [--sanitizer S]`.
fn coverage(args: &[String]) -> Result<Coverage, String> {
    let mut wanted = Coverage { target: String::new(), hours: DEFAULT_HOURS, sanitizer: "none".to_owned() };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let value = args.next().ok_or(format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--coverage" => wanted.target.clone_from(value),
            "--sanitizer" => wanted.sanitizer.clone_from(value),
            "--hours" => {
                let hours = value.parse().ok().filter(|hours: &f64| hours.is_finite() && *hours > 0.0);
                wanted.hours = hours.ok_or(format!("--hours needs a number, not {value:?}"))?;
            }
            _ => return Err(format!("unexpected {arg:?}")),
        }
    }
    Ok(wanted)
}

/// How to see a failure again, also one that ended the process before it could say anything.
fn again(target: &str, seed: &str) -> String {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().current_dir(root()).exec();
    let note = metadata.map(|m| m.target_directory.join("fuzz").join(format!("{target}.iteration")));
    let iteration = note.ok().and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    let iteration = iteration.lines().next().unwrap_or("0");
    format!(
        "again: cargo run -p zstream-tests --bin zstream-fuzz -- once {target} --seed {seed} --iteration {iteration}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every target runs once, and the first failure is the result.
    #[test]
    fn each_target_runs_once_until_one_fails() {
        let seen = Mutex::new(Vec::new());
        let note = |name: &str| {
            seen.lock().unwrap().push(name.to_owned());
            if name == "bad" { Err("bad failed".to_owned()) } else { Ok(()) }
        };
        each(&["a", "b", "c"], note).unwrap();
        let mut names = std::mem::take(&mut *seen.lock().unwrap());
        names.sort();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(each(&["bad", "bad", "bad", "bad"], note), Err("bad failed".to_owned()));
        assert!(each(&[], note).is_ok());
    }
}
