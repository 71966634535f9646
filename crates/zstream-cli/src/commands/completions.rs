//! `zstream completions`: shell completion scripts.

use clap_complete::Shell;
use std::io::Write as _;

use crate::failure::Failure;
use crate::output;

/// Prints a shell completion script
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  zstream completions bash > ~/.local/share/bash-completion/completions/zstream")]
pub(crate) struct Args {
    /// Shell
    shell: Shell,
}

impl Args {
    /// Writes the script for the program with this command line.
    pub(crate) fn run(&self, mut program: clap::Command) -> Result<(), Failure> {
        // Into memory first: the generator panics where writing fails.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, "zstream", &mut script);
        let mut out = output::text()?;
        out.write_all(&script).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
    }
}
