//! The command line, declared once: parser, help, completions and manual pages all come from here.
//!
//! A verb plugs in at three places: a file `commands/VERB.rs` with `struct Args` (derives [`clap::Args`],
//! its doc comments are the help of its options) and `fn run(&self) -> Result<(), Failure>`; a variant of
//! [`Command`] whose doc comment is the verb's help; a line in [`Cli::run`].
//!
//! What verbs share: [`Input`](crate::input::Input) opens a file or standard input and shows progress,
//! [`output::binary`](crate::output::binary) and [`output::text`](crate::output::text) are the ways to
//! standard output, [`Failure`] is what went wrong.

use std::ffi::OsString;
use std::path::Path;

use clap::{Parser, Subcommand};

use crate::commands::dump;
use crate::failure::Failure;

/// Reads, checks, edits and writes ZFS send streams, without a kernel module.
///
/// A stream is what `zfs send` writes: one snapshot, or a package of many (`zfs send -R`, `-I`, `-p`).
/// Every verb that reads one takes either byte order and every format since the first, and checks all
/// checksums.
#[derive(Debug, Parser)]
#[command(name = "zstream", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_long_help = "\
Exit codes:
  0  done
  1  the input is bad, or the operation failed; one line on standard error says what and where
  2  the command line is wrong (the verbs that OpenZFS has too keep OpenZFS's codes)")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The verbs. Those that OpenZFS's `zstream` has come first.
#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the records of a stream
    ///
    /// Without options: the header and the end of each snapshot, and how many records of each type there
    /// are. The text is that of OpenZFS's `zstream dump`. All checksums are checked; the first one that is
    /// wrong ends the dump with exit code 1.
    #[command(after_long_help = "\
Examples:
  zstream dump backup.zfs            what the file holds
  zstream dump -v backup.zfs         one line for each record
  zfs send pool/fs@snap | zstream dump")]
    Dump(dump::Args),
}

impl Cli {
    /// Runs the verb.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Dump(args) => args.run(),
        }
    }
}

/// The name under which the program is `zstream dump`.
const DUMP_NAME: &str = "zstreamdump";

/// The words of the command line. Under the name [`DUMP_NAME`] the verb `dump` is understood.
pub(crate) fn words(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<_> = args.collect();
    let name = words.first().and_then(|path| Path::new(path).file_name());
    if name.is_some_and(|name| name == DUMP_NAME) {
        words.insert(1, "dump".into());
    }
    words
}

/// The exit code for a command line that cannot be parsed: OpenZFS's where the verb is one of its `zstream`.
pub(crate) fn usage_code(words: &[OsString]) -> u8 {
    const OPENZFS_VERBS: [&str; 5] = ["dump", "decompress", "recompress", "redup", "token"];
    let verb = words.get(1).and_then(|word| word.to_str());
    if verb.is_some_and(|verb| OPENZFS_VERBS.contains(&verb)) { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_declaration_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_old_name_means_dump() {
        let given = ["/usr/sbin/zstreamdump", "-v", "file"].map(OsString::from);
        assert_eq!(words(given.into_iter())[1..], ["dump", "-v", "file"]);
        let given = ["/usr/sbin/zstream", "token"].map(OsString::from);
        assert_eq!(words(given.into_iter())[1..], ["token"]);
    }
}
