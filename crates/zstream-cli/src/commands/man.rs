//! `zstream man`: the manual pages, one for the program and one for each verb.

use std::path::PathBuf;

use crate::failure::Failure;

/// Writes the manual pages to a directory
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  zstream man ~/.local/share/man/man1")]
pub(crate) struct Args {
    /// Existing directory to write `zstream.1`, `zstream-dump.1` and so on to
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

impl Args {
    /// Writes the pages of the program with this command line.
    pub(crate) fn run(&self, program: clap::Command) -> Result<(), Failure> {
        clap_mangen::generate_to(program, &self.directory).map_err(|error| {
            Failure::new(format_args!("cannot write manual pages to {}: {error}", self.directory.display()))
        })
    }
}
