//! The program `zstream`. All of it is in the library of this package.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    zstream_cli::main()
}
