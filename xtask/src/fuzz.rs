//! Runs `zstream-fuzz` (package `zstream-tests`), one process per target.
//!
//! With `--coverage`, libFuzzer runs a target: see `fuzz_coverage`.
//!
//! A process of its own means that a target which aborts or overflows its stack is a failure with a name, too.

use crate::fuzz_coverage::Coverage;
use crate::run::{Outcome, cargo, output, root, run};

/// How long each target runs when nothing is said.
const DEFAULT_SECONDS: u64 = 4;

/// How long a target runs guided by coverage when nothing is said.
const DEFAULT_HOURS: f64 = 1.0;

/// `fuzz [TARGET] [--seconds N] [--seed S]`, or `fuzz --coverage TARGET [--hours N] [--sanitizer S]`
pub(crate) fn task(args: &[String]) -> Outcome {
    if args.iter().any(|arg| arg == "--coverage") {
        return coverage(args)?.run();
    }
    let (mut target, mut seconds, mut seed) = (None, DEFAULT_SECONDS, 0);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut number = || {
            let value = args.next().ok_or(format!("{arg} needs a number"))?;
            value.parse::<u64>().map_err(|_| format!("{arg} needs a number, not {value:?}"))
        };
        match arg.as_str() {
            "--seconds" => seconds = number()?,
            "--seed" => seed = number()?,
            name if !name.starts_with('-') && target.is_none() => target = Some(name.to_string()),
            _ => return Err(format!("unexpected {arg:?}")),
        }
    }
    run(cargo(&["build", "--package", "zstream-tests", "--bin", "zstream-fuzz", "--locked"]))?;
    let fuzz = |more: &[&str]| {
        let fixed =
            ["run", "--quiet", "--package", "zstream-tests", "--bin", "zstream-fuzz", "--locked", "--"];
        cargo(&[&fixed, more].concat())
    };
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
    for name in chosen {
        run(fuzz(&["run", name, "--seconds", &seconds, "--seed", &seed]))
            .map_err(|failure| format!("{failure}\n{}", again(name, &seed)))?;
    }
    run(fuzz(&["canary", "--seed", &seed]))
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
