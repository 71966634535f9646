//! The tasks that contributors and CI run: `cargo xtask TASK`.
//!
//! All tasks stand in [`TASKS`], one line each; `ci` composes others and does nothing itself.

mod bench;
mod bench_check;
mod bench_kinds;
mod bench_put;
mod bench_recv;
mod bench_send;
mod bench_verify;
mod check;
mod demo;
mod fields;
mod fuzz;
mod fuzz_coverage;
mod interop;
mod interop_vm;
mod layers;
mod licences;
mod measure;
mod packages;
mod pairs;
mod run;
mod thorough;

use run::Outcome;
use std::process::ExitCode;

/// A task: its name, what it does, and one line of help.
type Task = (&'static str, fn(&[String]) -> Outcome, &'static str);

/// Every task, in the order in which the help shows them.
const TASKS: &[Task] = &[
    ("ci", ci, "everything below that needs nothing but Rust, in the order of CI_TASKS"),
    ("demo", demo::task, "files to a pool, to a stream, to another pool, and back: target/demo"),
    ("fmt", check::fmt, "formatting is rustfmt's"),
    ("clippy", check::clippy, "clippy has nothing to say"),
    ("docs", check::docs, "the documentation builds without a warning"),
    ("layers", layers::task, "no crate depends on one above it, and no module"),
    ("fields", fields::task, "every public struct with public fields has a class that says why"),
    ("licences", licences::task, "every dependency has a licence that deny.toml allows"),
    (
        "features",
        check::features,
        "the crates build by themselves, with every single codec, and without C code when there is none",
    ),
    ("packages", packages::task, "every package has its licences and metadata, and stays small"),
    ("test", check::test, "the tests of every crate"),
    ("test-golden", check::test_golden, "of these, the tests against what OpenZFS made: tests/golden"),
    (
        "fuzz",
        fuzz::task,
        "[TARGET] [--seconds N] [--seed S] [--tested]: hostile input, every target or one; \
         --coverage TARGET [--hours N] [--sanitizer none|address]: guided by coverage, with cargo-fuzz",
    ),
    (
        "interop",
        interop::task,
        "against OpenZFS's own tools, where they are installed; with ZSTREAM_VM, against its kernel module",
    ),
    ("thorough", thorough::task, "[FILTER]...: takes every case where the tests take a sample; hours"),
    ("bench", bench::task, "[NAME]: measure, every benchmark or one"),
];

/// What `ci` runs, with which arguments.
const CI_TASKS: &[(&str, &[&str])] = &[
    ("fmt", &[]),
    ("layers", &[]),
    ("fields", &[]),
    ("clippy", &[]),
    ("licences", &[]),
    ("features", &[]),
    ("packages", &[]),
    ("docs", &[]),
    ("test", &[]),
    ("fuzz", &["--seconds", "2", "--tested"]),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = args.split_first() else {
        print!("{}", help());
        return ExitCode::SUCCESS;
    };
    if name == measure::TASK {
        // Not in the table: nobody calls it but `bench`.
        return match measure::task(rest) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("{failure}");
                ExitCode::FAILURE
            }
        };
    }
    let Some((_, task, _)) = TASKS.iter().find(|(n, ..)| n == name) else {
        eprint!("no task {name:?}\n{}", help());
        return ExitCode::from(2);
    };
    match task(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("cargo xtask {name}: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The table of tasks as text.
fn help() -> String {
    let width = TASKS.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let line = |(name, _, about): &Task| format!("  {name:width$}  {about}\n");
    format!("usage: cargo xtask TASK\n\n{}", TASKS.iter().map(line).collect::<String>())
}

/// Runs every task of [`CI_TASKS`]; the first that fails ends it.
fn ci(_: &[String]) -> Outcome {
    for (name, args) in CI_TASKS {
        let (_, task, _) = TASKS.iter().find(|(n, ..)| n == name).ok_or(format!("no task {name}"))?;
        run::title(name);
        let started = std::time::Instant::now();
        let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
        task(&args).map_err(|failure| format!("{name}: {failure}"))?;
        println!("{name}: ok ({:.0} s)", started.elapsed().as_secs_f64());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ci` must not name a task that is gone, nor itself.
    #[test]
    fn ci_names_tasks_of_the_table() {
        for (name, _) in CI_TASKS {
            assert!(TASKS.iter().any(|(n, ..)| n == name), "{name}");
            assert_ne!(*name, "ci");
        }
    }

    /// The help shows every task.
    #[test]
    fn help_is_the_table() {
        for (name, _, about) in TASKS {
            assert!(help().contains(name) && help().contains(about));
        }
    }
}
