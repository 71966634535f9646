//! The program `zstream`, built together with the tests that run it.

use std::process::ExitCode;

fn main() -> ExitCode {
    zstream_cli::main()
}
