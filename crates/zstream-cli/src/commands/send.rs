//! `zstream send`: snapshots of a pool as a stream, as `zfs send` writes it.

use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use zstream_dsl::prop::value::{nice_bytes, nice_number};
use zstream_format::token::ResumeToken;
use zstream_send::job::{From, Job, Step};
use zstream_send::note::Note;
use zstream_send::package::LIST_BYTES_MAX;
use zstream_send::plan::{Form, Options};
use zstream_send::refusal::{Errno, Refusal};
use zstream_send::request::{Request, resume};
use zstream_send::{Progress, Replaced};

use crate::failure::Failure;
use crate::output;
use crate::pool::{OpenPool, PoolOptions};
use crate::progress::Meter;
use crate::text::Clock;

/// Raises or lowers how long the list of a package may be, in bytes, as it does for `zfs`.
const LIST_BYTES_VARIABLE: &str = "ZFS_SENDRECV_MAX_NVLIST";
/// How often progress is shown.
const TICK: Duration = Duration::from_secs(1);

/// The options of `zstream send`: those of `zfs send`.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Increment since this snapshot or bookmark
    ///
    /// `@snapshot` and `#bookmark` are of the filesystem that is sent; of its origin, or a snapshot before that, the full
    /// name. What begins with neither is taken for a snapshot.
    #[arg(short = 'i', value_name = "SNAPSHOT|BOOKMARK")]
    incremental: Option<String>,
    /// The same with all snapshots between, each an increment of the one before
    #[arg(short = 'I', value_name = "SNAPSHOT", conflicts_with = "incremental")]
    intermediates: Option<String>,
    /// With all datasets below, their snapshots, properties and clones
    #[arg(short = 'R', long)]
    replicate: bool,
    /// With -R: leave out datasets that do not have the snapshot
    #[arg(short = 's', long)]
    skip_missing: bool,
    /// With -R: leave out these datasets and all below them
    #[arg(short = 'X', long, value_name = "DATASET,...", value_delimiter = ',')]
    exclude: Vec<String>,
    /// With properties
    #[arg(short = 'p', long)]
    props: bool,
    /// With properties that were received, and none that were set here
    #[arg(short = 'b', long)]
    backup: bool,
    /// With holds
    #[arg(short = 'h', long)]
    holds: bool,
    /// Leave out what this redaction bookmark of the filesystem lists
    #[arg(short = 'd', long, value_name = "BOOKMARK")]
    redact: Option<String>,
    /// Go on where an interrupted receive stopped, as its token says
    #[arg(short = 't', long = "resume", value_name = "TOKEN",
        conflicts_with_all = ["incremental", "intermediates", "replicate", "props", "backup", "holds", "saved", "redact", "name"])]
    token: Option<String>,
    /// What an interrupted receive has got so far
    #[arg(short = 'S', long, conflicts_with_all = ["incremental", "intermediates", "replicate", "props", "backup", "holds",
        "large_block", "embed", "compressed", "raw", "redact"])]
    saved: bool,
    /// Blocks above 128 KiB as they are, instead of in pieces
    #[arg(short = 'L', long)]
    large_block: bool,
    /// Blocks that are stored in their pointers as such
    #[arg(short = 'e', long)]
    embed: bool,
    /// Compressed blocks as they are stored
    #[arg(short = 'c', long)]
    compressed: bool,
    /// Everything as it is stored; of encrypted datasets without knowing their keys. Implies -L -e -c
    #[arg(short = 'w', long)]
    raw: bool,
    /// Send nothing
    #[arg(short = 'n', long)]
    dryrun: bool,
    /// Say how long the stream will be, and then how far it is, each second; twice: with blocks
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// For scripts: numbers in full, columns separated by one tab
    #[arg(short = 'P', long)]
    parsable: bool,
    /// Show how far it is as the name of the process
    #[arg(short = 'V', long)]
    proctitle: bool,
    /// Does nothing: deduplicated streams are no longer made
    #[arg(short = 'D', long)]
    dedup: bool,
    /// With -n or -v: the true length of the stream, instead of the guess that `zfs` makes
    ///
    /// Looks at all pointers to blocks, but not at their content.
    #[arg(long)]
    exact: bool,
    /// Instead of failing on blocks that cannot be read, send 0x2f5baddb10c for them, and list them
    #[arg(long)]
    corrupt_data: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,
    /// The snapshot; a filesystem or volume as it is; with -S the one that was being received
    #[arg(value_name = "SNAPSHOT", required_unless_present = "token")]
    name: Option<String>,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        self.check()?;
        if self.dedup {
            eprintln!(
                "WARNING: deduplicated send is no longer supported.  A regular,\nnon-deduplicated stream will be generated.\n"
            );
        }
        // A dry run may print to a terminal: it prints no stream.
        let mut out = if self.dryrun { output::text()? } else { output::binary()? };
        let token = self.token.as_deref().map(ResumeToken::parse).transpose();
        let token = token.map_err(|error| Failure::new(format_args!("cannot resume send: {error}")))?;
        let to_name = token.as_ref().and_then(|token| token.to_name.to_str());
        let open = options.open(self.name.as_deref().or(to_name))?;
        let job = self.job(&open, token.as_ref()).map_err(|refusal| self.failure(&refusal))?;
        for step in &job.steps {
            if step.needs_key().map_err(|refusal| self.failure(&refusal))? {
                options.unlock(&step.dataset)?;
            }
        }
        let sizes = self.estimates(&open, &job, token.as_ref(), &mut out)?;
        if !self.dryrun {
            self.send(&open, &job, &sizes, &mut out)?;
        } else {
            out.flush().map_err(|error| Failure::output(&error))?;
        }
        if job.is_complete { Ok(()) } else { Err(Failure::new("not all of what was asked for could be sent")) }
    }

    /// What the parser does not see of a command line that makes no sense.
    fn check(&self) -> Result<(), Failure> {
        if !self.exclude.is_empty() && !self.replicate {
            return Err(Failure::new("datasets can be left out (-X) of recursive sends (-R) only"));
        }
        for name in &self.exclude {
            if !name.contains('/') || name.contains(['@', '#']) || zstream_dsl::name::Name::parse(name).is_err() {
                return Err(Failure::usage(format_args!("-X {name}: not the name of a dataset below a pool's root")));
            }
        }
        if self.skip_missing && !self.replicate {
            return Err(Failure::usage("-s is for recursive sends (-R) only"));
        }
        if self.saved && self.name.as_ref().is_some_and(|name| name.contains('@')) {
            return Err(Failure::usage("-S is for the dataset that was being received, not a snapshot"));
        }
        Ok(())
    }

    fn job(&self, open: &OpenPool, token: Option<&ResumeToken>) -> Result<Job, Refusal> {
        let form = Form {
            large_blocks: self.large_block || self.raw,
            embedded: self.embed || self.raw,
            compressed: self.compressed || self.raw,
            raw: self.raw,
        };
        if let Some(token) = token {
            return resume(token, form, &open.dsl);
        }
        let list_bytes = std::env::var(LIST_BYTES_VARIABLE).ok().and_then(|bytes| bytes.parse().ok());
        let request = Request {
            from: self.incremental.clone().or_else(|| self.intermediates.clone()),
            intermediates: self.intermediates.is_some(),
            replicate: self.replicate,
            skip_missing: self.skip_missing,
            exclude: self.exclude.clone(),
            properties: self.props,
            backup: self.backup,
            holds: self.holds,
            redact: self.redact.clone(),
            saved: self.saved,
            form,
            list_bytes_max: list_bytes.unwrap_or(LIST_BYTES_MAX),
            ..Request::new(self.name.clone().unwrap_or_default())
        };
        let mut note = |note: Note| {
            if !note.is_detail() || self.is_verbose() {
                eprintln!("{note}");
            }
        };
        request.resolve(&open.dsl, &mut note)
    }

    /// Whether lengths are told.
    fn is_verbose(&self) -> bool {
        self.verbose > 0 || self.parsable || self.proctitle
    }

    /// Whether progress is shown each second.
    fn shows_progress(&self) -> bool {
        self.verbose > 0
    }

    /// What went wrong, with what it went wrong with.
    fn failure(&self, refusal: &Refusal) -> Failure {
        if refusal.errno() == Errno::Epipe {
            return Failure::output(&io::ErrorKind::BrokenPipe.into());
        }
        match (&self.name, &self.token) {
            (_, Some(_)) => Failure::new(format_args!("cannot resume send: {refusal}")),
            (Some(name), _) => Failure::new(format_args!("cannot send '{name}': {refusal}")),
            _ => Failure::new(refusal),
        }
    }

    /// The lengths of all steps, which are printed if asked for: on standard output where that is not for the stream.
    fn estimates(
        &self,
        open: &OpenPool,
        job: &Job,
        token: Option<&ResumeToken>,
        out: &mut dyn Write,
    ) -> Result<Vec<u64>, Failure> {
        let is_wanted = self.is_verbose() || io::stderr().is_terminal();
        if !is_wanted {
            return Ok(vec![0; job.steps.len()]);
        }
        let mut text = Vec::new();
        if let Some(token) = token.filter(|_| self.is_verbose()) {
            text.extend(token.print_contents());
        }
        let progress = Progress::default();
        let mut sizes = Vec::new();
        for step in &job.steps {
            let size = if self.exact {
                step.measure(open.pool.features(), &progress)
            } else {
                step.estimate(open.pool.features(), &progress)
            };
            let size = size.map_err(|refusal| self.failure(&refusal))?;
            sizes.push(size);
            text.extend(self.line(step, size, job.header.is_some()).bytes());
        }
        let total = sizes.iter().sum();
        text.extend(self.total(total).bytes());
        // -V alone prints nothing.
        if self.shows_progress() || self.parsable {
            if self.dryrun {
                out.write_all(&text).map_err(|error| Failure::output(&error))?;
            } else {
                eprint!("{}", String::from_utf8_lossy(&text));
            }
        }
        Ok(sizes)
    }

    /// What `zfs send -v` says of one snapshot before it is sent.
    fn line(&self, step: &Step, size: u64, is_many: bool) -> String {
        let from = step.from.as_ref().filter(|_| !step.from_origin);
        let is_many = is_many && (self.replicate || self.intermediates.is_some());
        let from = from.map(|from| if is_many { from.short_name() } else { from.name() });
        let name = &step.name;
        if self.parsable {
            return match from {
                Some(from) => format!("incremental\t{from}\t{name}\t{size}\n"),
                None => format!("full\t{name}\t{size}\n"),
            };
        }
        let size = match size {
            0 => String::new(),
            size => format!(" estimated size is {}", nice_bytes(size)),
        };
        match from {
            Some(from) if from.contains(['@', '#']) => format!("send from {from} to {name}{size}\n"),
            Some(from) => format!("send from @{from} to {name}{size}\n"),
            None => format!("full send of {name}{size}\n"),
        }
    }

    fn total(&self, size: u64) -> String {
        if self.parsable {
            format!("size\t{size}\n")
        } else if self.replicate || self.intermediates.is_some() {
            format!("total estimated size is {}\n", nice_bytes(size))
        } else {
            format!("total estimated size is {}\n", nice_number(size))
        }
    }

    fn send(
        &self,
        open: &OpenPool,
        job: &Job,
        sizes: &[u64],
        out: &mut (dyn Write + Send),
    ) -> Result<(), Failure> {
        let options = Options { corrupt_data: self.corrupt_data, ..Options::default() };
        let progress = Progress::default();
        let (begins, events) = channel::<String>();
        let total = sizes.iter().sum();
        let sent = std::thread::scope(|scope| {
            let progress = &progress;
            let watcher = scope.spawn(move || {
                let mut watch = Watch::new(self, total);
                loop {
                    match events.recv_timeout(TICK) {
                        Ok(name) => watch.begin(name, progress),
                        Err(RecvTimeoutError::Timeout) => watch.tick(progress),
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            });
            let mut begun = |step: &Step| {
                // A watcher that is gone has nobody to tell.
                let _ = begins.send(step.name.clone());
            };
            let sent = job.send(out, open.pool.features(), options, progress, &mut begun);
            drop(begins);
            // It has nothing to give back, and a panic in it is none of the stream.
            let _ = watcher.join();
            sent
        });
        let sent = sent.map_err(|refusal| self.failure(&refusal))?;
        for Replaced { object, offset, length } in &sent.replaced {
            eprintln!("zstream: replaced {length} bytes at {offset} of object {object}, which cannot be read");
        }
        Ok(())
    }
}
