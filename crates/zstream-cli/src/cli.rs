//! The command line, declared once: parser, help, completions and manual pages all come from here.
//!
//! A verb plugs in at three places: a file `commands/VERB.rs` with `struct Args` (derives [`clap::Args`],
//! its doc comments are the help of its options) and `fn run(&self) -> Result<(), Failure>`; a variant of
//! [`Command`] whose doc comment is the verb's help; a line in [`Cli::run`].
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
    get, hold, info, join, list, ls, man, pool, put, recompress, recv, redup, rename, resume_token, select,
    send, set, snapshot, token, verify,
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
  2  usage error (verbs that OpenZFS's zstream also has use its codes)")]
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
    /// Without options, prints the BEGIN and END records of each snapshot and the number of records of each type, in
    /// the format of OpenZFS's `zstream dump`. All checksums are verified; the dump stops at the first mismatch with
    /// exit code 1.
    #[command(after_long_help = "\
Examples:
  zstream dump backup.zfs            summary of the stream
  zstream dump -v backup.zfs         one line per record
  zfs send pool/fs@snap | zstream dump")]
    Dump(dump::Args),
    /// Decompresses selected blocks of a stream
    ///
    /// Reads a stream from standard input and writes it to standard output. The named blocks are decompressed with
    /// the given algorithm, regardless of the compression that their records name. This repairs streams whose blocks
    /// are labelled with the wrong compression. `off` labels an uncompressed block as uncompressed. A block that
    /// cannot be decompressed is left unchanged and reported on standard error, and the exit code is 1.
    #[command(after_long_help = "\
Examples:
  zstream decompress -v 130,0,lz4 130,131072,lz4 < in.zfs > out.zfs
  zstream dump -v in.zfs | grep '^WRITE object = 130 '       lists the offsets of the blocks")]
    Decompress(decompress::Args),
    /// Recompresses or decompresses all blocks of a stream
    ///
    /// Reads a stream from standard input and writes it to standard output, using all cores. Blocks that do not get
    /// smaller are stored uncompressed. The feature flags of the stream are updated. Raw (encrypted) snapshots are
    /// copied unchanged.
    #[command(after_long_help = "\
Examples:
  zstream recompress zstd < in.zfs > out.zfs
  zstream recompress -l 19 zstd < in.zfs > archive.zfs
  zfs send -c pool/fs@snap | zstream recompress off | zfs receive old/fs")]
    Recompress(recompress::Args),
    /// Converts a deduplicated stream (from an old `zfs send -D`) to a regular one
    ///
    /// OpenZFS 2.0 and later cannot receive deduplicated streams. Each reference is replaced by the block that it
    /// refers to. Uses 32 to 75 bytes of memory per block of the stream.
    #[command(after_long_help = "\
Examples:
  zstream redup old.zfs | zfs receive pool/fs
  zstream redup -v old.zfs > new.zfs")]
    Redup(redup::Args),
    /// Prints the content of a resume token
    ///
    /// An interrupted receive (`zfs receive -s`) leaves a token, with which `zfs send -t` resumes the send.
    #[command(after_long_help = "\
Example:
  zstream token $(zfs get -H -o value receive_resume_token pool/fs)")]
    Token(token::Args),
    /// Verifies that files contain complete, intact streams
    ///
    /// Exit code 0 means that every checksum matches, a receiver accepts every record, the END record is present, and
    /// only another stream may follow it. Otherwise the exit code is 1, and the report shows the location of the
    /// fault, the expected and the found value, and how much of the stream before it is intact. Signs of known sender
    /// bugs are shown as warnings. Uses all cores.
    #[command(after_long_help = "\
Examples:
  zstream verify backup.zfs
  zstream verify --json *.zfs | jq -r 'select(.ok | not) | .file'
  zfs send -R pool@snap | tee backup.zfs | zstream verify -")]
    Verify(verify::Args),
    /// Shows the snapshots in a stream: names, guids, sizes, properties
    ///
    /// Reads only the headers, which takes a few seeks in a file, and does not verify the data; use `zstream verify`
    /// for that. If the stream is damaged, everything before the damage is shown.
    #[command(after_long_help = "\
Examples:
  zstream info backup.zfs
  zstream info --json backup.zfs | jq '.streams[].snapshots[].name'")]
    Info(info::Args),
    /// Extracts single datasets or snapshots from a package
    ///
    /// Writes the streams of the selected snapshots unchanged and in the order of the package. One `zfs receive`
    /// reads one stream: for several snapshots run several that read the same input, or use --package. The whole
    /// package is read and verified. The snapshot that an increment requires is reported on standard error.
    #[command(after_long_help = "\
Examples:
  zstream select all.zfs tank/home@monday | zfs receive backup/home
  zstream select all.zfs tank/home@mon tank/home@tue |
      { zfs receive backup/home && zfs receive backup/home; }
  zstream select --package all.zfs tank/home | zfs receive backup/home")]
    Select(select::Args),
    /// Makes a token to resume a truncated stream
    ///
    /// Prints a token for `zfs send -t` and the length of the intact part before the point where the send resumes.
    /// The resumed stream begins with its own header, so the two parts cannot simply be concatenated: `zstream join`
    /// joins them to the stream that an uninterrupted send would have written. If the stream cannot be resumed,
    /// prints the reason and the snapshots that are complete, and exits with code 1.
    ///
    /// A token covers one snapshot: in a package it completes the truncated snapshot. The snapshots after it must be
    /// sent again.
    #[command(after_long_help = "\
Example:
  zstream resume-token cut.zfs
  zfs send -t 1-c740b4779-... > rest.zfs
  zstream join cut.zfs rest.zfs > whole.zfs")]
    ResumeToken(resume_token::Args),
    /// Joins a truncated stream and its continuation from `zfs send -t`
    ///
    /// CUT is the truncated stream. REST is the output of `zfs send -t` for the token from `zstream resume-token`, or
    /// from the receiver that read CUT. The result is byte for byte the stream that an uninterrupted send would have
    /// written. CUT need not be truncated to the length that `resume-token` prints; if it is, use --cut.
    #[command(after_long_help = "\
Example:
  zfs send -t TOKEN | zstream join cut.zfs - > whole.zfs && zstream verify whole.zfs")]
    Join(join::Args),
    /// Converts a stream to the other byte order
    ///
    /// Converts headers and payloads to what a machine of the other byte order would send. Converting twice restores
    /// the original stream, with two exceptions: native nvlists in BEGIN records (raw, redacted and resumed streams)
    /// become XDR, which receivers of either byte order read; embedded or compressed blocks that do not hold plain
    /// bytes (directories, for example) become uncompressed. Receivers older than OpenZFS 2.0 may not accept the
    /// result.
    #[command(after_long_help = "\
Example:
  zstream byteswap from-sparc.zfs > x86.zfs")]
    Byteswap(byteswap::Args),
    /// Creates, shows, changes, checks or exports a pool
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img pool show
  zstream -d /dev/sdb -d /dev/sdc pool check tank")]
    Pool(pool::Args),
    /// Lists the datasets of a pool
    ///
    /// The output has the format of `zfs list`; times are in UTC. `available` is shown as `-` if the pool has special
    /// or dedup vdevs or an expanded raidz.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img list -t all
  zstream -d disk.img list -Hp -o name,used -S used -r tank/home")]
    List(list::Args),
    /// Shows properties of datasets and their sources
    ///
    /// The output has the format of `zfs get`; times are in UTC, and `mounted` is always `no`. Unknown values are
    /// shown as `-`. The space used by users and groups of an encrypted filesystem is unknown without its key
    /// (--key-file, before the verb).
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img get all tank/home
  zstream -d disk.img get -r -s local,received compression,recordsize tank
  zstream -d disk.img --key-file key get userused@1000,userquota@1000 tank/home
  zstream token $(zstream -d disk.img get -H -o value receive_resume_token tank/home)")]
    Get(get::Args),
    /// Writes one or more snapshots as a stream to standard output
    ///
    /// The output is byte for byte that of `zfs send` with the same options. The pool is opened read-only; it should
    /// not be in use at the same time. Refuses to write to a terminal.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img send tank/home@monday > monday.zfs
  zstream -d disk.img send -i @monday tank/home@tuesday | ssh host zfs receive backup/home
  zstream -d /dev/sdb -d /dev/sdc send -R -w tank@monday | zstd > tank.zfs.zst
  zstream -d disk.img send -nvP -I @monday tank/home@friday
  zstream -d disk.img send -t 1-c740b4779-...")]
    Send(send::Args),
    /// Receives snapshots into a pool from a stream on standard input
    ///
    /// The options are those of `zfs receive`. The request is validated before anything is changed, and a block is
    /// written only after its checksum is verified. A failed receive leaves the target unchanged. With -s the
    /// received data is kept: `get receive_resume_token` shows the token with which `send -t` resumes. The pool must
    /// not be in use by another program. Snapshots of a package that the target already has are skipped.
    #[command(
        visible_alias = "receive",
        after_long_help = "\
Examples:
  zstream -d disk.img recv tank/copy < backup.zfs
  zstream -d a.img send tank/fs@s | zstream -d b.img recv copy/fs
  zstream -d disk.img recv -sv -F tank/copy < increment.zfs
  zstream -d disk.img recv -d -u -x mountpoint -o compression=zstd tank/backups < tree.zfs
  zstream -d disk.img recv -A tank/copy                     discards the saved state"
    )]
    Recv(recv::Args),
    /// Creates a filesystem or volume
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img create -o compression=zstd tank/home
  zstream -d disk.img create -p tank/a/b/c
  zstream -d disk.img create -s -V 8G -b 16K tank/vm")]
    Create(create::Args),
    /// Creates snapshots atomically
    #[command(visible_alias = "snap")]
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img snapshot tank/home@monday
  zstream -d disk.img snapshot -r tank@before-upgrade")]
    Snapshot(snapshot::Args),
    /// Creates a clone of a snapshot
    #[command(after_long_help = "\
Example:
  zstream -d disk.img clone tank/home@monday tank/test")]
    Clone(clone::Args),
    /// Promotes a clone: swaps it with its origin
    #[command(after_long_help = "\
Example:
  zstream -d disk.img promote tank/test")]
    Promote(clone::Promote),
    /// Rolls a dataset back to a snapshot
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img rollback tank/home@tuesday
  zstream -d disk.img rollback -r tank/home@monday")]
    Rollback(destroy::Rollback),
    /// Renames a dataset or snapshot
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img rename tank/home tank/old/home
  zstream -d disk.img rename -r tank@monday @first")]
    Rename(rename::Args),
    /// Destroys datasets, snapshots or a bookmark
    ///
    /// Destroys either everything that was named or nothing. Fails and lists the dependents if something else depends
    /// on a dataset.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img destroy -nv tank/home@monday%friday
  zstream -d disk.img destroy -r tank/old
  zstream -d disk.img destroy tank/home#monday")]
    Destroy(destroy::Args),
    /// Creates a bookmark of a snapshot, or copies a bookmark
    #[command(after_long_help = "\
Example:
  zstream -d disk.img bookmark tank/home@monday '#monday'")]
    Bookmark(bookmark::Args),
    /// Creates a redaction bookmark for redacted sends
    ///
    /// A redacted send of the snapshot (`zstream send --redact BOOKMARK`) omits every block that no redaction
    /// snapshot contains. Redaction snapshots are snapshots of clones of the snapshot in which sensitive data was
    /// overwritten or removed.
    #[command(after_long_help = "\
Example:
  zstream -d disk.img redact tank/home@monday public tank/cleaned@done")]
    Redact(bookmark::Redact),
    /// Adds a hold to snapshots, which prevents their destruction
    #[command(after_long_help = "\
Example:
  zstream -d disk.img hold -r keep tank@monday")]
    Hold(hold::Args),
    /// Removes a hold from snapshots
    #[command(after_long_help = "\
Example:
  zstream -d disk.img release -r keep tank@monday")]
    Release(hold::Args),
    /// Lists the holds of snapshots
    #[command(after_long_help = "\
Example:
  zstream -d disk.img holds -r tank@monday")]
    Holds(hold::Holds),
    /// Changes the wrapping key of a dataset, or inherits it from the parent
    ///
    /// The data is not re-encrypted: only the keys of the dataset, and of all datasets that inherit its wrapping key,
    /// are wrapped again. The current key is read from --key-file, with -l from the current keylocation, or else
    /// prompted for. The new key is read from the new keylocation.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img --key-file old change-key -o keylocation=file:///etc/new tank/home
  zstream -d disk.img --key-file key change-key -o keyformat=hex -o keylocation=file:///etc/hex tank/home/own
  zstream -d disk.img --key-file key change-key -i tank/home/own")]
    ChangeKey(change_key::Args),
    /// Verifies keys of encrypted datasets
    ///
    /// Tries the key of each encryption root on all datasets that inherit it. The key is read from -L, --key-file or
    /// the property keylocation. Keys do not stay loaded, so -n is required.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img --key-file key load-key -n tank/home
  zstream -d disk.img load-key -n -a")]
    LoadKey(change_key::Load),
    /// Sets properties of datasets, and quotas of users, groups and projects
    ///
    /// Quotas are properties like userquota@1000, groupobjquota@50 or defaultprojectquota of a filesystem, whose key is
    /// required if it is encrypted. Users and groups are named by their numbers.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img set compression=zstd-9 atime=off tank/home
  zstream -d disk.img set userquota@1000=10G defaultuserquota=1G tank/home
  zstream -d disk.img set org.example:owner=ann tank/home@monday")]
    Set(set::Args),
    /// Clears a property so that it is inherited
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img inherit -r compression tank/home
  zstream -d disk.img inherit -S mountpoint tank/received")]
    Inherit(set::Inherit),
    /// Lists files in a filesystem or snapshot
    ///
    /// Without PATH, lists the root directory. Prints one name per line, or full paths with -R. Bytes of a name that
    /// are not printable text are shown as `\\xNN`.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img ls tank/home@monday
  zstream -d /dev/sdb -d /dev/sdc ls -lR tank/home@monday docs
  zstream -f full.zfs increment.zfs ls @tuesday docs
  zstream -f backup.zfs ls -lR")]
    Ls(ls::Args),
    /// Writes the content of files or of a volume to standard output
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img cat tank/home@monday docs/letter.txt
  zstream -d disk.img cat tank/vm@monday | file -
  zstream -f backup.zfs cat docs/letter.txt")]
    Cat(cat::Args),
    /// Extracts files from a filesystem or snapshot, or a volume to an image file
    ///
    /// Without PATH, extracts everything. Restores holes, modes, times, extended attributes, symbolic and hard links,
    /// FIFOs and sockets; as root also owners and devices. Never writes outside DIR, does not follow symbolic links
    /// in it, and does not overwrite existing files. A file that cannot be read completely is skipped. Everything
    /// that cannot be restored is reported on standard error, and the exit code is 1.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img extract tank/home@monday -C /tmp/restored
  zstream -d disk.img extract tank/home@monday docs/2024 docs/2025
  zstream -f backup.zfs extract -C /tmp/restored
  zstream -d disk.img extract --tar tank/home@monday | zstd > home.tar.zst
  zstream -d disk.img extract tank/vm@monday         writes vm.img")]
    Extract(extract::Args),
    /// Copies files into a filesystem, or an image into a volume
    ///
    /// If PATH is a directory, SRC is copied into it; otherwise SRC is copied to that name, and the parent directory
    /// must exist. Preserves owners, modes, times, extended attributes, holes, symbolic and hard links, devices,
    /// FIFOs and sockets. Existing files are replaced; a directory is never replaced by another type. If anything
    /// fails, the dataset is left unchanged, except that with more than 8 GiB of data a part may already be written.
    /// The properties recordsize, compression, checksum, copies, xattr and dnodesize are honoured. With --timestamp
    /// the same sources produce a bit-identical image.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img put notes.txt photos tank/home:/
  zstream -d disk.img put rootfs/ tank/root:/        the content of rootfs
  zstream -d disk.img put --tar layer.tar tank/root:/
  zstream -d disk.img put disk.raw tank/vm           an image into a volume")]
    Put(put::Args),
    /// Copies a file within a pool, by cloning its blocks
    ///
    /// The copy shares the blocks of the file, which are counted in block reference tables, like `cp --reflink` on a
    /// mounted filesystem. That requires the pool's feature block_cloning, and without encryption or with the same key.
    /// Blocks that cannot be cloned are copied, with a note, unless --reflink=always. Preserves owner, mode, times and
    /// extended attributes. An existing file is replaced.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img cp tank/vm:/base.raw tank/vm:/new.raw
  zstream -d disk.img cp tank/home@monday:/letter.txt tank/home:/")]
    Cp(cp::Args),
    /// Prints a shell completion script
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
            Command::Cp(args) => args.run(&self.pool),
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
