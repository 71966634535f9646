//! `zstream send`: snapshots of a pool as a stream, as `zfs send` writes it.

mod watch;

use std::io::{self, IsTerminal as _, Write};
use std::sync::mpsc::channel;

use zstream::progress::SizeReport;
use zstream::{Control, Error, Event, OpenPool, SendRequest as Request, Sender, unlock};
use zstream_dsl::name::Name;
use zstream_format::errno::Errno;
use zstream_format::token::ResumeToken;
use zstream_send::job::Step;
use zstream_send::plan::{Options, StreamForm};
use zstream_send::{PACKAGE_LIST_BYTES_MAX, Progress, Refusal, Replaced};

use crate::failure::Failure;
use crate::output;
use crate::pool::PoolOptions;
use crate::text::complain_columns;
use watch::{Wanted, Watch};

/// The environment variable with the size limit of a package's nvlist in bytes, as for `zfs`.
const LIST_BYTES_VARIABLE: &str = "ZFS_SENDRECV_MAX_NVLIST";

/// Writes one or more snapshots as a stream to standard output
///
/// The output is byte for byte that of `zfs send` with the same options. The pool is opened read-only; it should
/// not be in use at the same time. Refuses to write to a terminal.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, args_override_self = true)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img send tank/home@monday > monday.zfs
  zstream -d disk.img send -i @monday tank/home@tuesday | ssh host zfs receive backup/home
  zstream -d /dev/sdb -d /dev/sdc send -R -w tank@monday | zstd > tank.zfs.zst
  zstream -d disk.img send -nvP -I @monday tank/home@friday
  zstream -d disk.img send -t 1-c740b4779-...")]
pub(crate) struct Args {
    /// Send an increment from this snapshot or bookmark
    ///
    /// `@snapshot` and `#bookmark` refer to the dataset that is sent; use the full name for its origin or a snapshot
    /// before that. A name without @ or # is the name of a snapshot.
    #[arg(short = 'i', value_name = "SNAPSHOT|BOOKMARK", action = clap::ArgAction::Append)]
    incremental: Vec<String>,
    /// Like -i, but send all intermediate snapshots too, each as an increment from the one before
    #[arg(short = 'I', value_name = "SNAPSHOT", action = clap::ArgAction::Append)]
    intermediates: Vec<String>,
    /// Include all descendants with their snapshots, properties and clones
    #[arg(short = 'R', long)]
    replicate: bool,
    /// With -R: skip datasets that do not have the snapshot
    #[arg(short = 's', long)]
    skip_missing: bool,
    /// With -R: exclude these datasets and their descendants
    #[arg(short = 'X', long, value_name = "DATASET,...", value_delimiter = ',')]
    exclude: Vec<String>,
    /// Include properties
    #[arg(short = 'p', long)]
    props: bool,
    /// Include only received properties, not those set locally
    #[arg(short = 'b', long)]
    backup: bool,
    /// Include holds
    #[arg(short = 'h', long)]
    holds: bool,
    /// Redacted send: omit the blocks that this redaction bookmark lists
    #[arg(short = 'd', long, value_name = "BOOKMARK")]
    redact: Option<String>,
    /// Resume an interrupted receive from its token
    #[arg(short = 't', long = "resume", value_name = "TOKEN",
        conflicts_with_all = ["incremental", "intermediates", "replicate", "props", "backup", "holds", "saved", "redact", "name"])]
    token: Option<String>,
    /// Send the saved state of an interrupted receive
    #[arg(short = 'S', long, conflicts_with_all = ["incremental", "intermediates", "replicate", "props", "backup", "holds",
        "large_block", "embed", "compressed", "raw", "redact"])]
    saved: bool,
    /// Send blocks larger than 128 KiB without splitting them
    #[arg(short = 'L', long)]
    large_block: bool,
    /// Send embedded blocks as WRITE_EMBEDDED records
    #[arg(short = 'e', long)]
    embed: bool,
    /// Send compressed blocks as stored
    #[arg(short = 'c', long)]
    compressed: bool,
    /// Raw send: all blocks as stored; requires no encryption key. Implies -L -e -c
    #[arg(short = 'w', long)]
    raw: bool,
    /// Dry run: send nothing
    #[arg(short = 'n', long)]
    dryrun: bool,
    /// Print the estimated size, then the progress every second; -vv also prints the number of blocks
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// For scripts: print exact numbers, separate columns by a single tab
    #[arg(short = 'P', long)]
    parsable: bool,
    /// Show progress in the process title
    #[arg(short = 'V', long)]
    proctitle: bool,
    /// No effect: deduplicated streams are no longer supported
    #[arg(short = 'D', long)]
    dedup: bool,
    /// With -n or -v: compute the exact size of the stream, instead of the estimate of `zfs`
    ///
    /// Reads all block pointers, but not the blocks.
    #[arg(long)]
    exact: bool,
    /// Replace unreadable blocks by the pattern 0x2f5baddb10c and list them, instead of failing
    #[arg(long)]
    corrupt_data: bool,
    /// Write the lists of raw, redacted and resumed streams in XDR, which receivers of either byte order read
    ///
    /// OpenZFS's development branch does the same; its releases up to 2.4, and this program without the option, write
    /// them in the byte order of the sender. Receivers read both on machines of the same byte order.
    #[arg(long)]
    xdr: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,
    /// Snapshot; or a filesystem or volume in its current state; with -S the target of the interrupted receive
    #[arg(value_name = "SNAPSHOT", required_unless_present = "token")]
    name: Option<String>,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        self.check()?;
        if self.dedup {
            eprintln!("WARNING: deduplicated send is no longer supported.  A regular,");
            eprintln!("non-deduplicated stream will be generated.");
            eprintln!();
        }
        // A dry run may print to a terminal: it prints no stream.
        let mut out: Box<dyn Write> =
            if self.dryrun { Box::new(output::text()?) } else { Box::new(output::binary()?) };
        let token = self.token.as_deref().map(ResumeToken::parse).transpose();
        let token = token.map_err(|error| self.failure(&error.into()))?;
        let to_name = token.as_ref().and_then(|token| token.to_name.to_str());
        let open = options.open(self.name.as_deref().or(to_name))?;
        let sender = self.sender(&open, token.as_ref()).map_err(|error| self.failed(error))?;
        let reads = |step: &&Step| !self.dryrun || self.exact || step.is_measured();
        for step in sender.steps().iter().filter(reads) {
            if step.needs_key().map_err(|refusal| self.failure(&refusal))? {
                unlock(&step.dataset, options)?;
            }
        }
        let total_bytes = self.estimate(&open, &sender, token.as_ref(), &mut out)?;
        if self.dryrun {
            out.flush().map_err(|error| Failure::output(&error))?;
        } else {
            self.send(&sender, total_bytes, &mut out)?;
        }
        if sender.is_complete() {
            Ok(())
        } else {
            Err(Failure::new("not everything that was requested could be sent"))
        }
    }

    /// Checks of the command line that the parser cannot make.
    fn check(&self) -> Result<(), Failure> {
        if self.incremental.len() + self.intermediates.len() > 1 {
            return Err(Failure::usage("only one -i or -I can be given"));
        }
        for name in &self.exclude {
            if !name.contains('/') || name.contains(['@', '#']) || Name::parse(name).is_err() {
                return Err(Failure::usage(format_args!(
                    "-X {name}: not the name of a dataset below the root of a pool"
                )));
            }
        }
        if !self.exclude.is_empty() && !self.replicate {
            return Err(Failure::new("-X requires a recursive send (-R)"));
        }
        if self.saved && self.name.as_ref().is_some_and(|name| name.contains('@')) {
            return Err(Failure::usage("-S requires the dataset that was being received, not a snapshot"));
        }
        if self.skip_missing && !self.replicate && self.token.is_none() && !self.saved {
            return Err(Failure::usage("-s requires a recursive send (-R)"));
        }
        Ok(())
    }

    fn sender<'p>(&self, open: &'p OpenPool, token: Option<&ResumeToken>) -> zstream::Result<Sender<'p>> {
        let form = StreamForm {
            large_blocks: self.large_block || self.raw,
            embedded: self.embed || self.raw,
            compressed: self.compressed || self.raw,
            raw: self.raw,
        };
        if let Some(token) = token {
            let mut sender = Sender::resume(open, token, form)?;
            sender.options = self.options();
            return Ok(sender);
        }
        let list_bytes = std::env::var(LIST_BYTES_VARIABLE).ok().and_then(|bytes| bytes.parse().ok());
        let request = Request {
            from: self.incremental.iter().chain(&self.intermediates).next().cloned(),
            intermediates: !self.intermediates.is_empty(),
            replicate: self.replicate,
            skip_missing: self.skip_missing,
            exclude: self.exclude.clone(),
            properties: self.props,
            backup: self.backup,
            holds: self.holds,
            redact: self.redact.clone(),
            saved: self.saved,
            form,
            list_bytes_max: list_bytes.unwrap_or(PACKAGE_LIST_BYTES_MAX),
            ..Request::new(self.name.clone().unwrap_or_default())
        };
        let mut control = Control::new().watched_by(|event| match event {
            Event::Send(note) if !note.is_detail() || self.is_verbose() => eprintln!("{note}"),
            _ => {}
        });
        let mut sender = Sender::new(open, &request, &mut control)?;
        sender.options = self.options();
        Ok(sender)
    }

    /// True if the sizes are required.
    fn is_verbose(&self) -> bool {
        self.verbose > 0 || self.parsable || self.proctitle
    }

    /// True if several snapshots are requested.
    fn is_many(&self) -> bool {
        self.replicate || !self.intermediates.is_empty()
    }

    fn failed(&self, error: Error) -> Failure {
        match error {
            Error::Send(refusal) => self.failure(&refusal),
            error => error.into(),
        }
    }

    /// The failure, with the name of the snapshot.
    fn failure(&self, refusal: &Refusal) -> Failure {
        if refusal.errno() == Errno::EPIPE {
            return Failure::output(&io::ErrorKind::BrokenPipe.into());
        }
        match &self.name {
            Some(name) => Failure::new(format_args!("cannot send '{name}': {refusal}")),
            None => Failure::new(format_args!("cannot resume send: {refusal}")),
        }
    }

    /// The estimated total size, printed if requested: on standard output if that is not used for the stream.
    fn estimate(
        &self,
        open: &OpenPool,
        sender: &Sender<'_>,
        token: Option<&ResumeToken>,
        out: &mut dyn Write,
    ) -> Result<u64, Failure> {
        // The bar on a terminal wants to know too.
        if !self.is_verbose() && (self.dryrun || !io::stderr().is_terminal()) {
            return Ok(0);
        }
        let mut report = SizeReport::new(self.parsable, self.is_many());
        if let Some(token) = token {
            report.text.extend(token.print_contents());
        }
        let progress = Progress::default();
        let mut total_bytes = 0_u64;
        for step in sender.steps() {
            let pool = open.source();
            let size = match self.exact {
                true => step.measure(pool, self.options(), &progress),
                false => step.estimate(pool, self.options(), &progress),
            };
            let size = size.map_err(|refusal| self.failure(&refusal))?;
            total_bytes = total_bytes.wrapping_add(size);
            report.step(step, size);
        }
        report.total(total_bytes);
        // For one snapshot -V alone prints nothing.
        if self.verbose > 0 || self.parsable || (self.proctitle && self.is_many()) {
            if self.dryrun {
                out.write_all(&report.text).map_err(|error| Failure::output(&error))?;
            } else {
                let text = String::from_utf8_lossy(&report.text);
                // Tabs that are left separate columns: those in names were escaped.
                text.lines().for_each(|line| complain_columns(&line.split('\t').collect::<Vec<_>>()));
            }
        }
        Ok(total_bytes)
    }

    /// The options of the library.
    fn options(&self) -> Options {
        Options { corrupt_data: self.corrupt_data, xdr_lists: self.xdr, ..Options::default() }
    }

    fn send(&self, sender: &Sender<'_>, total_bytes: u64, out: &mut dyn Write) -> Result<(), Failure> {
        let wanted = Wanted {
            lines: self.verbose > 0,
            blocks: self.verbose > 1,
            parsable: self.parsable,
            title: self.proctitle,
        };
        let progress = Progress::default();
        let watch = Watch::new(wanted, total_bytes, &progress);
        let (begins, begun) = channel();
        let sent = std::thread::scope(|scope| {
            let watcher = scope.spawn(move || watch.run(&begun));
            let sent = sender.send_with(out, &progress, &mut |step: &Step| {
                // The watcher may be gone.
                let _ = begins.send(step.name.clone());
            });
            drop(begins);
            // It returns nothing, and a panic in it does not affect the stream.
            let _ = watcher.join();
            sent
        });
        let sent = sent.map_err(|error| self.failed(error))?;
        for Replaced { object, offset, length, .. } in &sent.replaced {
            eprintln!("zstream: replaced {length} unreadable bytes at offset {offset} of object {object}");
        }
        Ok(())
    }
}
