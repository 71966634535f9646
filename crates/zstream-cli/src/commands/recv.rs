//! `zstream recv`: snapshots from a stream into a pool, as `zfs receive` does.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::Instant;

use zstream::progress::receive_line;
use zstream::{Control, Error, Event, ReceiveError, ReceiveRequest, Receiver, abort_receive};
use zstream_dsl::prop::nice_number;
use zstream_recv::{Naming, Note, Received};

use crate::change::{change, command_line};
use crate::failure::Failure;
use crate::input::Input;
use crate::interrupt::{Interruptible, Signal};
use crate::output;
use crate::pool::PoolOptions;
use crate::progress::Meter;

/// Receives snapshots into a pool from a stream on standard input
///
/// The options are those of `zfs receive`. The request is validated before anything is changed, and a block is
/// written only after its checksum is verified. A failed receive leaves the target unchanged. With -s the
/// received data is kept: `get receive_resume_token` shows the token with which `send -t` resumes. The pool must
/// not be in use by another program. Snapshots of a package that the target already has are skipped.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, args_override_self = true)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img recv tank/copy < backup.zfs
  zstream -d a.img send tank/fs@s | zstream -d b.img recv copy/fs
  zstream -d disk.img recv -sv -F tank/copy < increment.zfs
  zstream -d disk.img recv -d -u -x mountpoint -o compression=zstd tank/backups < tree.zfs
  zstream -d disk.img recv -A tank/copy                     discards the saved state")]
pub(crate) struct Args {
    /// Discard the saved state of an interrupted receive
    #[arg(short = 'A', conflicts_with_all = ["prefix", "tail", "force", "heal", "dry_run", "resumable", "settings", "exclude"])]
    abort: bool,
    /// Append the sender's dataset name, without the pool name, to FILESYSTEM
    #[arg(short = 'd', conflicts_with = "tail")]
    prefix: bool,
    /// Append the last component of the sender's dataset name to FILESYSTEM
    #[arg(short = 'e')]
    tail: bool,
    /// Roll the target back to the source of the increment; for a package of a tree, also rename and destroy datasets
    /// as on the sender
    ///
    /// Snapshots more recent than the source are destroyed. With a full stream, replaces a filesystem that has no
    /// snapshots.
    #[arg(short = 'F')]
    force: bool,
    /// Corrective receive: repair damaged blocks of an existing snapshot
    #[arg(short = 'c')]
    heal: bool,
    /// Do not receive holds
    #[arg(short = 'h')]
    without_holds: bool,
    /// Force unmounting (no effect: zstream never mounts)
    #[arg(short = 'M')]
    unmount: bool,
    /// Dry run: validate everything, change nothing; with -v, print what would be received
    #[arg(short = 'n')]
    dry_run: bool,
    /// If the receive is interrupted, keep the received data so that `send -t` can resume
    #[arg(short = 's')]
    resumable: bool,
    /// Do not mount (no effect: zstream never mounts)
    #[arg(short = 'u')]
    unmounted: bool,
    /// Print what is received, and the speed
    #[arg(short = 'v')]
    verbose: bool,
    /// Override a received property; `origin=SNAPSHOT` receives as a clone of the snapshot
    #[arg(short = 'o', value_name = "PROPERTY=VALUE", action = clap::ArgAction::Append)]
    settings: Vec<String>,
    /// Ignore a received property
    #[arg(short = 'x', value_name = "PROPERTY", action = clap::ArgAction::Append)]
    exclude: Vec<String>,
    /// Print one JSON object per snapshot, one per line
    ///
    /// Keys: snapshot, guid (a string), incremental, bytes, records, corrected, seconds, dry_run; for a snapshot that
    /// already exists: snapshot, ignored. With -F also what is changed to match the sender: renamed and to, destroyed,
    /// or promoted, each with dry_run.
    #[arg(long)]
    json: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,
    /// Target dataset, or the snapshot to create
    #[arg(value_name = "DATASET|SNAPSHOT")]
    to: String,
}

/// The progress report of a receive.
struct Teller {
    verbose: bool,
    json: bool,
    dry_run: bool,
    heal: bool,
    meter: Meter,
    started: Instant,
    output: Result<(), Failure>,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        if self.abort {
            return change(options, &self.to, |pool| {
                abort_receive(pool, &self.to)
                    .map_err(|error| Failure::new(format_args!("cannot abort the receive: {error}")))
            });
        }
        let mut request = self.request()?;
        let input = Input::open(None)?;
        // Data after the stream is left to the next program.
        request.exact = input.is_pipe();
        let receiver = Receiver::open(&options.place_to_write()?, request, options)?;
        let mut teller = Teller {
            verbose: self.verbose,
            json: self.json,
            dry_run: self.dry_run,
            heal: self.heal,
            meter: Meter::new(input.regular_file().and_then(|file| Some(file.metadata().ok()?.len()))),
            started: Instant::now(),
            output: Ok(()),
        };
        // A file shares its place with this one.
        let mut again = input.again()?;
        let start = again.as_mut().map(|file| file.stream_position()).transpose();
        let start =
            start.map_err(|error| Failure::new(format_args!("cannot read standard input: {error}")))?;
        let input = Interruptible::new(input.into_raw())
            .map_err(|error| Failure::new(format_args!("cannot wait for signals: {error}")))?;
        let signal = input.signal();
        let mut control = Control::new().watched_by(|event| teller.event(event));
        let result = receiver.receive(input, &command_line(), &mut control);
        drop(control);
        let Teller { output, meter, .. } = teller;
        drop(meter);
        match result {
            Ok(received) => {
                if let (Some(file), Some(start)) = (&mut again, start) {
                    file.seek(SeekFrom::Start(start + received.stream_bytes)).map_err(|error| {
                        Failure::new(format_args!("cannot seek to the end of the stream: {error}"))
                    })?;
                }
                if self.dry_run {
                    return output;
                }
                output::warn_unprinted(output);
                Ok(())
            }
            Err(Error::Receive(error)) => Err(failure(&error, &signal)),
            Err(error) => Err(error.into()),
        }
    }

    /// The request.
    fn request(&self) -> Result<ReceiveRequest, Failure> {
        zstream::check_once(&self.settings)?;
        zstream::check_once(&self.exclude)?;
        let mut request = ReceiveRequest::new(&self.to);
        request.naming = match (self.prefix, self.tail) {
            (true, _) => Naming::WithoutPool,
            (_, true) => Naming::Tail,
            _ => Naming::Below,
        };
        (request.force, request.resumable, request.dry_run) = (self.force, self.resumable, self.dry_run);
        (request.heal, request.without_holds) = (self.heal, self.without_holds);
        for text in &self.settings {
            request.set(text).map_err(Failure::usage)?;
        }
        for name in &self.exclude {
            request.exclude(name)?;
        }
        Ok(request)
    }
}

/// The failure of a receive, and how to resume it.
fn failure(error: &ReceiveError, signal: &Signal) -> Failure {
    let hint = match error.is_kept {
        true => "; the received data is kept: `get receive_resume_token` shows the token to resume with",
        false => "",
    };
    let unclean = match &error.unclean {
        Some(unclean) => format!("; cannot clean up: {unclean}"),
        None => String::new(),
    };
    let reason = format_args!("cannot receive: {} [{}]{hint}{unclean}", error.error, error.errno());
    let failure = Failure::new(reason);
    if error.is_cancelled() { failure.by(signal.number()) } else { failure }
}

impl Teller {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Receive(note) => self.note(note),
            other => self.meter.event(&other),
        }
    }

    fn print(&mut self, line: &str) {
        let line = if self.json { line.to_owned() } else { crate::text::line(line) };
        if self.output.is_ok() {
            self.output = output::text().and_then(|mut out| {
                writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
            });
        }
    }

    fn received(&mut self, received: &Received) {
        let seconds = self.started.elapsed().as_secs_f64();
        if self.json {
            self.print(&zstream::json::received(received, seconds, self.dry_run).to_string());
        } else if self.verbose && !self.dry_run {
            let rate = received.bytes as f64 / seconds.max(0.001);
            if self.heal {
                self.print(&format!("corrected {} damaged blocks", received.corrected));
            }
            let (bytes, rate) = (nice_number(received.bytes), nice_number(rate as u64));
            self.print(&format!("received {bytes}B stream in {seconds:.2} seconds ({rate}B/sec)"));
        }
    }

    fn note(&mut self, note: Note) {
        match &note {
            Note::Begins { .. } => self.started = Instant::now(),
            Note::Received(received) => return self.received(received),
            Note::Warning(text) => return self.meter.line(&format!("zstream: {text}")),
            _ => {}
        }
        let line = match &note {
            Note::Ignored(name) if self.json => Some(zstream::json::ignored(name).to_string()),
            note if self.json => {
                zstream::json::tree_change(note, self.dry_run).map(|change| change.to_string())
            }
            note if self.verbose => receive_line(note, self.dry_run, self.heal),
            _ => None,
        };
        if let Some(line) = line {
            self.print(&line);
        }
    }
}
