//! The program `zstream` as a library, so that tests can build it as they build themselves: it parses the command line, runs one verb, and turns what went wrong into one line
//! on standard error and an exit code.
//!
//! Exit codes: 0 done, 1 the input is bad or the operation failed, 2 usage. The verbs that replace those of
//! OpenZFS's `zstream` keep its codes for usage errors (`cli::usage_code`).

// Not `forbid`: the macro of `started` allows itself what it needs.
#![deny(unsafe_code)]

/// Prints a message with what is hidden in names escaped; see [`text::line`].
macro_rules! eprintln {
    () => { $crate::text::complain("") };
    ($($arg:tt)*) => { $crate::text::complain(format_args!($($arg)*)) };
}

/// Prints a line with what is hidden in names escaped; see [`text::line`].
macro_rules! say {
    ($($arg:tt)*) => { $crate::output::say(format_args!($($arg)*)) };
}

mod change;
mod cli;
mod commands;
mod datasets;
mod failure;
mod files;
mod input;
mod interrupt;
mod output;
mod pool;
mod progress;
mod prompt;
mod started;
mod storage;
mod text;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::failure::Failure;

/// Runs the program on the words of the command line and gives its exit code.
pub fn main() -> ExitCode {
    let words = cli::words(std::env::args_os());
    let outcome = match Cli::try_parse_from(&words) {
        Ok(cli) => cli.run(),
        Err(error) => {
            // Help and version are "errors" too; they go to standard output and exit with 0.
            let code = if error.use_stderr() { cli::usage_code(&words) } else { 0 };
            if code == 0
                && let Err(closed) = started::check_stdout()
            {
                return Failure::output(&closed).report();
            }
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            return match printed {
                Err(lost) if code == 0 => Failure::output(&lost).report(),
                // If standard error is closed, the error cannot be reported.
                _ => ExitCode::from(code),
            };
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
