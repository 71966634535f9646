//! The command line, declared once: parser, help, completions and manual pages all come from here.
//!
//! A verb plugs in at three places: a file `commands/VERB.rs` with `struct Args` (derives [`clap::Args`],
//! its doc comments are the help of its options) and `fn run(&self) -> Result<(), Failure>`; a variant of
//! [`Command`] whose doc comment is the verb's help; a line in [`Cli::run`].
//!
//! What verbs share: [`Input`](crate::input::Input) opens a file or standard input and shows progress,
//! [`output::binary`](crate::output::binary) and [`output::text`](crate::output::text) are the ways to
//! standard output, [`Failure`] is what went wrong. Verbs that read a pool are run with
//! [`PoolOptions`], which stand before the verb, and open it.

use std::ffi::OsString;
use std::path::Path;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::commands::{
    bookmark, byteswap, cat, change_key, clone, completions, create, decompress, destroy, dump, extract, get,
    hold, info, join, list, ls, man, pool, put, recompress, recv, redup, rename, resume_token, select, send,
    set, snapshot, token, verify,
};
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// Reads, checks, edits and writes ZFS send streams, without a kernel module.
///
/// A stream is what `zfs send` writes: one snapshot, or a package of many (`zfs send -R`, `-I`, `-p`).
/// Every verb that reads one takes either byte order and every format since the first, and checks all
/// checksums.
#[derive(Debug, Parser)]
#[command(name = "zstream", version, arg_required_else_help = true, max_term_width = 100)]
#[command(subcommand_precedence_over_arg = true)]
#[command(after_long_help = "\
Exit codes:
  0  done
  1  the input is bad, or the operation failed; one line on standard error says what and where
  2  the command line is wrong (the verbs that OpenZFS has too keep OpenZFS's codes)")]
pub(crate) struct Cli {
    #[command(flatten)]
    pool: PoolOptions,
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
    /// Decompresses single blocks of a stream
    ///
    /// Reads a stream from standard input and writes it to standard output. The blocks named are decompressed
    /// with the algorithm given, whatever their records say, so that a stream can be received whose blocks are
    /// marked wrongly. `off` marks a block plain that is plain. A block that cannot be made plain stays as it
    /// is: a line on standard error says so, and the exit code is 1.
    #[command(after_long_help = "\
Examples:
  zstream decompress -v 130,0,lz4 130,131072,lz4 < in.zfs > out.zfs
  zstream dump -v in.zfs | grep '^WRITE object = 130 '       the offsets of an object's blocks")]
    Decompress(decompress::Args),
    /// Compresses all blocks of a stream anew, or decompresses them
    ///
    /// Reads a stream from standard input and writes it to standard output, on all cores. Blocks that do not
    /// get smaller are sent plain. The feature flags say what the result may hold. Raw (encrypted) snapshots
    /// pass through as they are.
    #[command(after_long_help = "\
Examples:
  zstream recompress zstd < in.zfs > out.zfs
  zstream recompress -l 19 zstd < in.zfs > archive.zfs
  zfs send -c pool/fs@snap | zstream recompress off | zfs receive old/fs")]
    Recompress(recompress::Args),
    /// Makes a deduplicated stream (`zfs send -D` of old) a plain one
    ///
    /// Receivers since OpenZFS 2.0 refuse deduplicated streams. Each reference is replaced by the block that it
    /// refers to. Memory: some 32 to 75 bytes for each block of the stream.
    #[command(after_long_help = "\
Examples:
  zstream redup old.zfs | zfs receive pool/fs
  zstream redup -v old.zfs > new.zfs")]
    Redup(redup::Args),
    /// Prints what a resume token says
    ///
    /// A receive that was interrupted (`zfs receive -s`) leaves a token, from which `zfs send -t` goes on.
    #[command(after_long_help = "\
Example:
  zstream token $(zfs get -H -o value receive_resume_token pool/fs)")]
    Token(token::Args),
    /// Says whether files hold whole streams
    ///
    /// Exit code 0: every checksum is right, every record is one that a receiver takes, the END is there, and
    /// nothing is behind it but another stream. Else 1, with the place of the fault, what was expected there
    /// and what was found, and how much of the stream before it is good. Marks of known faults of senders are
    /// shown as warnings. Runs on all cores.
    #[command(after_long_help = "\
Examples:
  zstream verify backup.zfs
  zstream verify --json *.zfs | jq -r 'select(.ok | not) | .file'
  zfs send -R pool@snap | tee backup.zfs | zstream verify -")]
    Verify(verify::Args),
    /// Shows the snapshots in a file: names, guids, sizes, properties
    ///
    /// Reads the headers only, of a file in the time of a few seeks, and so says nothing about whether the
    /// data is good: that is `zstream verify`. What comes before a fault is shown all the same.
    #[command(after_long_help = "\
Examples:
  zstream info backup.zfs
  zstream info --json backup.zfs | jq '.streams[].snapshots[].name'")]
    Info(info::Args),
    /// Takes single datasets or snapshots out of a package
    ///
    /// Writes the streams of the snapshots asked for, in the order of the package, as they are in it. One
    /// `zfs receive` takes one stream, so several snapshots need several, reading the same input; or ask for
    /// --package. Everything is read and checked, and standard error says which snapshot an increment needs.
    #[command(after_long_help = "\
Examples:
  zstream select all.zfs tank/home@monday | zfs receive backup/home
  zstream select all.zfs tank/home@mon tank/home@tue |
      { zfs receive backup/home && zfs receive backup/home; }
  zstream select --package all.zfs tank/home | zfs receive backup/home")]
    Select(select::Args),
    /// Finds how to go on with a stream whose file was cut short
    ///
    /// Prints the token with which `zfs send -t` goes on, and the length of what is good before that point.
    /// What the sender then gives begins with a header of its own, so the two are not simply put behind each
    /// other: `zstream join` makes them the stream that an unbroken send would have given. Where there is no
    /// way to go on, it says why, and which snapshots are whole. Exit code 1 then.
    ///
    /// A token is for one snapshot: of a package the snapshot that was cut is completed, and what followed is
    /// not sent.
    #[command(after_long_help = "\
Example:
  zstream resume-token cut.zfs
  zfs send -t 1-c740b4779-... > rest.zfs
  zstream join cut.zfs rest.zfs > whole.zfs")]
    ResumeToken(resume_token::Args),
    /// Joins a stream that was cut short and what `zfs send -t` gave
    ///
    /// CUT is what is left of the stream, REST what the sender gave for the token of `zstream resume-token`,
    /// or for the token of a receiver that got CUT. The result is one whole stream, the same to the byte as an
    /// unbroken send. CUT need not be cut to the length that `resume-token` prints; if it was, say --cut.
    #[command(after_long_help = "\
Example:
  zfs send -t TOKEN | zstream join cut.zfs - > whole.zfs && zstream verify whole.zfs")]
    Join(join::Args),
    /// Turns a stream into the other byte order
    ///
    /// Headers and payloads, as a machine of the other byte order would send them. Twice gives the same stream
    /// again, with these exceptions, which stay in a form that says its order: native lists in BEGIN (raw,
    /// redacted and resumed streams) become XDR, which receivers read in either order; embedded or compressed
    /// blocks of types that are not plain bytes (directories) become plain ones. Receivers before OpenZFS 2.0
    /// may take less.
    #[command(after_long_help = "\
Example:
  zstream byteswap from-sparc.zfs > x86.zfs")]
    Byteswap(byteswap::Args),
    /// Shows or checks a pool as a whole
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img pool show
  zstream -d /dev/sdb -d /dev/sdc pool check tank")]
    Pool(pool::Args),
    /// Lists the datasets of a pool
    ///
    /// Columns, widths and numbers are those of `zfs list`; times are in UTC. `available` is shown as `-` where the
    /// space of the pool depends on more than its sizes: with special or dedup vdevs, deduplicated or cloned blocks, a
    /// checkpoint or an expanded raidz.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img list -t all
  zstream -d disk.img list -Hp -o name,used -S used -r tank/home")]
    List(list::Args),
    /// Shows properties of datasets, and where they come from
    ///
    /// As `zfs get` shows them; times are in UTC, and nothing is mounted. What is not to be known is `-`: without its key
    /// (--key-file, before the verb) so is what users and groups have of an encrypted filesystem.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img get all tank/home
  zstream -d disk.img get -r -s local,received compression,recordsize tank
  zstream -d disk.img --key-file key get userused@1000,userquota@1000 tank/home
  zstream token $(zstream -d disk.img get -H -o value receive_resume_token tank/home)")]
    Get(get::Args),
    /// Writes a snapshot of a pool, or many, as a stream to standard output
    ///
    /// The bytes are those of `zfs send` with the same options. The pool is only read; it should not be in use meanwhile. A
    /// stream is never written to a terminal.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img send tank/home@monday > monday.zfs
  zstream -d disk.img send -i @monday tank/home@tuesday | ssh host zfs receive backup/home
  zstream -d /dev/sdb -d /dev/sdc send -R -w tank@monday | zstd > tank.zfs.zst
  zstream -d disk.img send -nvP -I @monday tank/home@friday
  zstream -d disk.img send -t 1-c740b4779-...")]
    Send(send::Args),
    /// Makes snapshots in a pool from a stream on standard input
    ///
    /// The options are those of `zfs receive`. Everything is judged before anything is changed, and a block is written only
    /// when its checksum was seen. A receive that fails leaves the target as it was; with -s what came is kept, and `get
    /// receive_resume_token` shows with which token `send -t` goes on. The pool must not be in use otherwise. A snapshot of a
    /// package that the target has already is skipped.
    #[command(
        visible_alias = "receive",
        after_long_help = "\
Examples:
  zstream -d disk.img recv tank/copy < backup.zfs
  zstream -d a.img send tank/fs@s | zstream -d b.img recv copy/fs
  zstream -d disk.img recv -sv -F tank/copy < increment.zfs
  zstream -d disk.img recv -d -u -x mountpoint -o compression=zstd tank/backups < tree.zfs
  zstream -d disk.img recv -A tank/copy                     discards what an interrupted receive left"
    )]
    Recv(recv::Args),
    /// Makes a filesystem, or a volume
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img create -o compression=zstd tank/home
  zstream -d disk.img create -p tank/a/b/c
  zstream -d disk.img create -s -V 8G -b 16K tank/vm")]
    Create(create::Args),
    /// Makes snapshots, all at one moment
    #[command(visible_alias = "snap")]
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img snapshot tank/home@monday
  zstream -d disk.img snapshot -r tank@before-upgrade")]
    Snapshot(snapshot::Args),
    /// Makes a clone of a snapshot: a dataset that starts with its content
    #[command(after_long_help = "\
Example:
  zstream -d disk.img clone tank/home@monday tank/test")]
    Clone(clone::Args),
    /// Makes a clone independent of its origin, which becomes a clone of it
    #[command(after_long_help = "\
Example:
  zstream -d disk.img promote tank/test")]
    Promote(clone::Promote),
    /// Makes a dataset what its last snapshot is
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img rollback tank/home@tuesday
  zstream -d disk.img rollback -r tank/home@monday")]
    Rollback(destroy::Rollback),
    /// Gives a dataset or snapshot another name
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img rename tank/home tank/old/home
  zstream -d disk.img rename -r tank@monday @first")]
    Rename(rename::Args),
    /// Destroys datasets, snapshots or a bookmark
    ///
    /// All of it is destroyed, or nothing. What something else depends on is refused, with a list of that.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img destroy -nv tank/home@monday%friday
  zstream -d disk.img destroy -r tank/old
  zstream -d disk.img destroy tank/home#monday")]
    Destroy(destroy::Args),
    /// Makes a bookmark of a snapshot or of another bookmark
    #[command(after_long_help = "\
Example:
  zstream -d disk.img bookmark tank/home@monday '#monday'")]
    Bookmark(bookmark::Args),
    /// Makes a bookmark that leaves out what clones have changed
    ///
    /// A redacted send of the snapshot (`zstream send --redact BOOKMARK`) leaves out every block that none of the redaction
    /// snapshots has. They are snapshots of clones of the snapshot, in which what is secret was overwritten or removed.
    #[command(after_long_help = "\
Example:
  zstream -d disk.img redact tank/home@monday public tank/cleaned@done")]
    Redact(bookmark::Redact),
    /// Puts a hold on snapshots: they cannot be destroyed
    #[command(after_long_help = "\
Example:
  zstream -d disk.img hold -r keep tank@monday")]
    Hold(hold::Args),
    /// Takes a hold off snapshots
    #[command(after_long_help = "\
Example:
  zstream -d disk.img release -r keep tank@monday")]
    Release(hold::Args),
    /// Lists the holds of snapshots
    #[command(after_long_help = "\
Example:
  zstream -d disk.img holds -r tank@monday")]
    Holds(hold::Holds),
    /// Gives a dataset another key, or lets it inherit that of the dataset above
    ///
    /// What is protected stays as it is: its keys are wrapped anew, and with them those of all that has its key. The key so
    /// far is the one of --key-file, with -l the one at its place, or it is asked for; the new one comes from keylocation.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img --key-file old change-key -o keylocation=file:///etc/new tank/home
  zstream -d disk.img --key-file key change-key -o keyformat=hex -o keylocation=file:///etc/hex tank/home/own
  zstream -d disk.img --key-file key change-key -i tank/home/own")]
    ChangeKey(change_key::Args),
    /// Tries keys: whether they open the datasets that have them
    ///
    /// Of every encryption root the key is tried on all datasets that it has to open. It is the one of -L, of --key-file, or
    /// the one at its keylocation. Keys do not stay loaded here.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img --key-file key load-key -n tank/home
  zstream -d disk.img load-key -n -a")]
    LoadKey(change_key::Load),
    /// Sets properties of datasets
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img set compression=zstd-9 atime=off tank/home
  zstream -d disk.img set org.example:owner=ann tank/home@monday")]
    Set(set::Args),
    /// Makes datasets take a property from above again
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img inherit -r compression tank/home
  zstream -d disk.img inherit -S mountpoint tank/received")]
    Inherit(set::Inherit),
    /// Lists files of a file system or snapshot
    ///
    /// Without PATH: what is in the root directory. Names are one to a line; with -R whole paths. What is not text in a name
    /// is shown as `\\xNN`.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img ls tank/home@monday
  zstream -d /dev/sdb -d /dev/sdc ls -lR tank/home@monday docs
  zstream -f full.zfs increment.zfs ls @tuesday docs
  zstream -f backup.zfs ls -lR")]
    Ls(ls::Args),
    /// Writes the content of files, or of a volume, to standard output
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img cat tank/home@monday docs/letter.txt
  zstream -d disk.img cat tank/vm@monday | file -
  zstream -f backup.zfs cat docs/letter.txt")]
    Cat(cat::Args),
    /// Copies files out of a file system or snapshot, or a volume to an image file
    ///
    /// Without PATH: all of it. Holes, modes, times, extended attributes, symbolic and hard links, FIFOs and sockets are
    /// restored, and for root owners and devices. Nothing is written outside of DIR, symbolic links in it are not followed,
    /// and what is there already is not overwritten. A file that cannot be read to its end is left out. Each thing that could
    /// not be restored is a line on standard error, and the exit code is 1 then.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img extract tank/home@monday -C /tmp/restored
  zstream -d disk.img extract tank/home@monday docs/2024 docs/2025
  zstream -f backup.zfs extract -C /tmp/restored
  zstream -d disk.img extract --tar tank/home@monday | zstd > home.tar.zst
  zstream -d disk.img extract tank/vm@monday         makes vm.img")]
    Extract(extract::Args),
    /// Puts files into a file system, or an image into a volume
    ///
    /// SRC goes into PATH if that is a directory, else it gets that name; the directory above has to be there. Owners, modes,
    /// times, extended attributes, holes, symbolic and hard links, devices, FIFOs and sockets are kept. What is there of the
    /// same name is replaced, but no directory by something else. Nothing is put if anything fails; of more than 8 GiB, what
    /// came before may stay. Files are written as the properties recordsize, compression, checksum, copies, xattr and
    /// dnodesize say. With --timestamp the same sources make the same image, to the bit.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img put notes.txt photos tank/home:/
  zstream -d disk.img put rootfs/ tank/root:/        what is in rootfs, with its attributes
  zstream -d disk.img put --tar layer.tar tank/root:/
  zstream -d disk.img put disk.raw tank/vm           an image into a volume")]
    Put(put::Args),
    /// Prints a script that completes this command line in a shell
    #[command(after_long_help = "\
Example:
  zstream completions bash > ~/.local/share/bash-completion/completions/zstream")]
    Completions(completions::Args),
    /// Writes the manual pages to a directory
    #[command(after_long_help = "\
Example:
  zstream man ~/.local/share/man/man1")]
    Man(man::Args),
}

impl Cli {
    /// Runs the verb.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Dump(args) => args.run(),
            Command::Decompress(args) => args.run(),
            Command::Recompress(args) => args.run(),
            Command::Redup(args) => args.run(),
            Command::Token(args) => args.run(),
            Command::Verify(args) => args.run(),
            Command::Info(args) => args.run(),
            Command::Select(args) => args.run(),
            Command::ResumeToken(args) => args.run(),
            Command::Join(args) => args.run(),
            Command::Byteswap(args) => args.run(),
            Command::Pool(args) => args.run(&self.pool),
            Command::List(args) => args.run(&self.pool),
            Command::Get(args) => args.run(&self.pool),
            Command::Send(args) => args.run(&self.pool),
            Command::Recv(args) => args.run(&self.pool),
            Command::Create(args) => args.run(&self.pool),
            Command::Snapshot(args) => args.run(&self.pool),
            Command::Clone(args) => args.run(&self.pool),
            Command::Promote(args) => args.run(&self.pool),
            Command::Rollback(args) => args.run(&self.pool),
            Command::Rename(args) => args.run(&self.pool),
            Command::Destroy(args) => args.run(&self.pool),
            Command::Bookmark(args) => args.run(&self.pool),
            Command::Redact(args) => args.run(&self.pool),
            Command::Hold(args) => args.hold(&self.pool),
            Command::Release(args) => args.release(&self.pool),
            Command::Holds(args) => args.run(&self.pool),
            Command::ChangeKey(args) => args.run(&self.pool),
            Command::LoadKey(args) => args.run(&self.pool),
            Command::Set(args) => args.run(&self.pool),
            Command::Inherit(args) => args.run(&self.pool),
            Command::Ls(args) => args.run(&self.pool),
            Command::Cat(args) => args.run(&self.pool),
            Command::Extract(args) => args.run(&self.pool),
            Command::Put(args) => args.run(&self.pool),
            Command::Completions(args) => args.run(Self::command()),
            Command::Man(args) => args.run(Self::command()),
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
