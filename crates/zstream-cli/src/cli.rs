//! The command line, declared once: parser, help, completions and manual pages all come from here.
//!
//! A verb plugs in at two places: a file `commands/VERB.rs` with `struct Args` (derives [`clap::Args`]; its doc comments
//! are the help of the verb and of its options) and `fn run(&self) -> Result<(), Failure>`; a line in `verbs!`.
//!
//! Shared code of the verbs: [`Input`](crate::input::Input) opens a file or standard input and shows progress,
//! [`output::binary`](crate::output::binary), [`output::text`](crate::output::text) and
//! [`output::print`](crate::output::print) are the ways to standard output, [`Failure`] is what went wrong. Verbs that read a pool are run with
//! [`PoolOptions`], which stand before the verb, and open it.

use std::ffi::OsString;
use std::path::Path;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::commands::{
    bookmark, byteswap, cat, change_key, clone, completions, cp, create, decompress, destroy, dump, extract,
    get, hold, info, join, list, ls, man, pool, prune, put, recompress, recv, redup, rename, resume_token,
    select, send, set, snapshot, sync, token, verify,
};
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// Reads, checks, edits and writes ZFS send streams, without a kernel module.
///
/// A stream is the output of `zfs send`: one snapshot, or a package of several (`zfs send -R`, `-I`, `-p`). Verbs
/// that read streams accept both byte orders and every version of the format, and verify all checksums.
#[derive(Debug, Parser)]
#[command(name = "zstream", version, arg_required_else_help = true, max_term_width = 100)]
#[command(subcommand_precedence_over_arg = true)]
#[command(after_long_help = "\
Exit codes:
  0  done
  1  the input is invalid or the operation failed; standard error names the cause and the location
  2  usage error (verbs that OpenZFS's zstream also has use its codes)
  3  `sync --dry-run` found something to send")]
pub(crate) struct Cli {
    #[command(flatten)]
    pool: PoolOptions,
    #[command(subcommand)]
    command: Command,
}

/// Declares the verbs: the variants of `Command`, and the function that runs each of them on the pool, on the whole
/// command line, or on its own options only.
macro_rules! verbs {
    (@run $args:ident $run:ident $cli:ident) => { $args.$run() };
    (@run $args:ident $run:ident $cli:ident pool) => { $args.$run(&$cli.pool) };
    (@run $args:ident $run:ident $cli:ident command) => { $args.$run(Cli::command()) };
    ($($(#[$attribute:meta])* $verb:ident($args:ty).$run:ident($($given:ident)?);)*) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            $($(#[$attribute])* $verb($args),)*
        }

        impl Cli {
            /// Runs the verb.
            pub(crate) fn run(&self) -> Result<(), Failure> {
                match &self.command {
                    $(Command::$verb(args) => verbs!(@run args $run self $($given)?),)*
                }
            }
        }
    };
}

// Those that OpenZFS's `zstream` has come first.
verbs! {
    Dump(dump::Args).run();
    Decompress(decompress::Args).run();
    Recompress(recompress::Args).run();
    Redup(redup::Args).run();
    Token(token::Args).run();
    Verify(verify::Args).run();
    Info(info::Args).run();
    Select(select::Args).run();
    ResumeToken(resume_token::Args).run();
    Join(join::Args).run();
    Byteswap(byteswap::Args).run();
    Pool(pool::Args).run(pool);
    List(list::Args).run(pool);
    Get(get::Args).run(pool);
    Send(send::Args).run(pool);
    #[command(visible_alias = "receive")]
    Recv(recv::Args).run(pool);
    Sync(sync::Args).run(pool);
    Create(create::Args).run(pool);
    #[command(visible_alias = "snap")]
    Snapshot(snapshot::Args).run(pool);
    Clone(clone::Args).run(pool);
    Promote(clone::Promote).run(pool);
    Rollback(destroy::Rollback).run(pool);
    Rename(rename::Args).run(pool);
    Destroy(destroy::Args).run(pool);
    Prune(prune::Args).run(pool);
    Bookmark(bookmark::Args).run(pool);
    Redact(bookmark::Redact).run(pool);
    /// Adds a hold to snapshots, which prevents their destruction
    #[command(after_long_help = "\
Example:
  zstream -d disk.img hold -r keep tank@monday")]
    Hold(hold::Args).hold(pool);
    /// Removes a hold from snapshots
    #[command(after_long_help = "\
Example:
  zstream -d disk.img release -r keep tank@monday")]
    Release(hold::Args).release(pool);
    Holds(hold::Holds).run(pool);
    ChangeKey(change_key::Args).run(pool);
    LoadKey(change_key::Load).run(pool);
    Set(set::Args).run(pool);
    Inherit(set::Inherit).run(pool);
    Ls(ls::Args).run(pool);
    Cat(cat::Args).run(pool);
    Extract(extract::Args).run(pool);
    Put(put::Args).run(pool);
    Cp(cp::Args).run(pool);
    Completions(completions::Args).run(command);
    Man(man::Args).run(command);
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
