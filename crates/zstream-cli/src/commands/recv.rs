//! `zstream recv`: snapshots from a stream into a pool, as `zfs receive` does.

use std::io::Write as _;
use std::time::Instant;

use serde_json::json;
use zstream_dmu::error::Error as PoolError;
use zstream_dmu::pool::history::Event;
use zstream_dmu::pool::writer::WriteOptions;
use zstream_dsl::prop::parse::{Parsed, parse_assignment};
use zstream_dsl::prop::table::Property;
use zstream_dsl::prop::value::nice_number;
use zstream_dsl::write::WritablePool;
use zstream_format::judge::Errno;
use zstream_recv::engine::{Received, Receiving};
use zstream_recv::input::Input as Stream;
use zstream_recv::package::{Host, Note};
use zstream_recv::request::{Naming, Request};
use zstream_recv::rules::Encryption;

use crate::change::{cannot, change};
use crate::commands::create::create_parents;
use crate::commands::create_keys::Wanted;
use crate::failure::Failure;
use crate::input::Input;
use crate::interrupt::Interruptible;
use crate::output;
use crate::pool::PoolOptions;
use crate::progress::Meter;

/// Properties that say how a dataset is encrypted.
const KEY_PROPERTIES: [&str; 4] = ["encryption", "keyformat", "keylocation", "pbkdf2iters"];

/// The options of `zstream recv`: those of `zfs receive`.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, args_override_self = true)]
pub(crate) struct Args {
    /// Discard what an interrupted receive has left
    #[arg(short = 'A', conflicts_with_all = ["prefix", "tail", "force", "heal", "dry_run", "resumable", "settings", "exclude"])]
    abort: bool,
    /// Name what is received as at the sender, without the name of the pool, below FILESYSTEM
    #[arg(short = 'd', conflicts_with = "tail")]
    prefix: bool,
    /// Name what is received below FILESYSTEM by the last part of the name at the sender
    #[arg(short = 'e')]
    tail: bool,
    /// Roll the target back to the source of the increment; of a tree: also rename and destroy as at the sender
    ///
    /// With a full stream: replace a filesystem that has no snapshots. Snapshots that are younger than the source are
    /// destroyed.
    #[arg(short = 'F')]
    force: bool,
    /// Correct damaged blocks of a snapshot that is there
    #[arg(short = 'c')]
    heal: bool,
    /// Without holds
    #[arg(short = 'h')]
    without_holds: bool,
    /// Unmount what is in the way: nothing ever is mounted here
    #[arg(short = 'M')]
    unmount: bool,
    /// Change nothing, but judge everything and say what would be received (with -v)
    #[arg(short = 'n')]
    dry_run: bool,
    /// Keep what was received when the receive is interrupted, so that `send -t` can go on
    #[arg(short = 's')]
    resumable: bool,
    /// Do not mount: nothing ever is mounted here
    #[arg(short = 'u')]
    unmounted: bool,
    /// Say what is received, and how fast it was
    #[arg(short = 'v')]
    verbose: bool,
    /// Set a property, whatever comes; `origin=SNAPSHOT` makes a clone of the snapshot
    #[arg(short = 'o', value_name = "PROPERTY=VALUE", action = clap::ArgAction::Append)]
    settings: Vec<String>,
    /// Do not take over a property
    #[arg(short = 'x', value_name = "PROPERTY", action = clap::ArgAction::Append)]
    exclude: Vec<String>,
    /// Print a JSON object in a line for each snapshot
    ///
    /// Its keys: snapshot, guid (a string), incremental, bytes, records, corrected, seconds; of what is there already: snapshot, ignored.
    #[arg(long)]
    json: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,
    /// The dataset to be made or changed, or the snapshot to be made
    #[arg(value_name = "DATASET|SNAPSHOT")]
    to: String,
}

/// Tells what happens.
struct Teller<'a> {
    options: &'a PoolOptions,
    verbose: bool,
    json: bool,
    dry_run: bool,
    heal: bool,
    meter: Meter,
    done: u64,
    started: Instant,
    /// The snapshot that was begun last.
    current: Option<String>,
    output: Result<(), Failure>,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        if self.abort {
            return self.abort(options);
        }
        let (mut request, keys) = self.request()?;
        let input = Input::open(None)?;
        let writing = WriteOptions { rehearsal: self.dry_run, ..WriteOptions::default() };
        let mut pool = options.open_to_write(Some(&self.to), writing, None)?;
        if let Some(encryption) = keys.for_receive(&mut pool, &self.to, options)? {
            request.encryption = Some(encryption);
        }
        self.unlock(options, &mut pool, &request)?;
        let mut teller = Teller {
            options,
            verbose: self.verbose,
            json: self.json,
            dry_run: self.dry_run,
            heal: self.heal,
            meter: Meter::new(input.regular_file().and_then(|file| Some(file.metadata().ok()?.len()))),
            done: 0,
            started: Instant::now(),
            current: None,
            output: Ok(()),
        };
        let input = Interruptible::new(input.into_raw())
            .map_err(|error| Failure::new(format_args!("cannot wait for signals: {error}")))?;
        let signal = input.signal();
        let mut stream = Stream::new(input);
        let mut receiving = Receiving::new(&mut pool);
        let result = receiving.receive_all(&mut stream, &request, &mut teller);
        let is_broken = receiving.is_broken();
        let Teller { current, output, meter, .. } = teller;
        drop(meter);
        let ended = if self.dry_run {
            Ok(false)
        } else if is_broken {
            drop(pool);
            self.clean_up(options, current.as_deref())
        } else {
            self.leave(pool, result.is_ok(), current.as_deref())
        };
        let Err(error) = result else {
            ended?;
            return output;
        };
        let (is_kept, unclean) = match ended {
            Ok(is_kept) => (is_kept, String::new()),
            Err(failure) => (false, format!("; cannot clean up: {}", failure.message())),
        };
        let hint = match is_kept {
            true => "; what came is kept, and `get receive_resume_token` shows how to go on",
            false => "",
        };
        let failure =
            Failure::new(format_args!("cannot receive: {error} [{}]{hint}{unclean}", error.errno()));
        Err(if error.errno() == Errno::EINTR { failure.by(signal.number()) } else { failure })
    }

    /// Leaves the pool, and says whether something is kept in it to be resumed.
    fn leave(&self, mut pool: WritablePool, is_done: bool, current: Option<&str>) -> Result<bool, Failure> {
        let mut is_kept = false;
        if is_done {
            pool.log(Event::Command(&command_line()))?;
        } else if let Some(name) = current.filter(|_| self.resumable) {
            let dataset = name.split('@').next().unwrap_or_default();
            is_kept = pool.tx().unfinished_receive(dataset)?.is_some();
        }
        pool.export()?;
        Ok(is_kept)
    }

    /// What is asked for, and how what is new is to be encrypted.
    fn request(&self) -> Result<(Request, Wanted), Failure> {
        let mut set: Vec<Parsed> = Vec::new();
        let mut keys = Wanted::default();
        let (mut origin, mut location) = (None, None);
        for text in &self.settings {
            if let Some(name) = text.strip_prefix("origin=") {
                origin = Some(name.to_owned());
            } else {
                let parsed = parse_assignment(text).map_err(Failure::usage)?;
                if keys.take(&parsed) {
                    if parsed.name == "keylocation" {
                        location = Some(parsed);
                    }
                    continue;
                }
                if parsed.property.is_some_and(|property| property.set_once || property.read_only) {
                    return Err(Failure::usage(format_args!("property {} cannot be set here", parsed.name)));
                }
                set.push(parsed);
            }
        }
        if keys.is_location_only() {
            // Raw streams bring the rest, and increments find it.
            set.extend(location);
            keys = Wanted::default();
        }
        let (mut exclude, mut encryption) = (Vec::new(), None);
        for name in &self.exclude {
            let found =
                if name.contains(':') { Some(name.as_str()) } else { Property::find(name).map(|p| p.name) };
            let found = found.ok_or_else(|| Failure::usage(format_args!("bad property {name:?}")))?;
            if set.iter().any(|parsed| parsed.name == found) {
                return Err(Failure::usage(format_args!("property {found} is both set and left out")));
            }
            if KEY_PROPERTIES.contains(&found) {
                encryption = Some(Encryption::Inherit);
            } else {
                exclude.push(found.to_owned());
            }
        }
        let naming = match (self.prefix, self.tail) {
            (true, _) => Naming::WithoutPool,
            (_, true) => Naming::Tail,
            _ => Naming::Below,
        };
        let request = Request {
            to: self.to.clone(),
            naming,
            force: self.force,
            resumable: self.resumable,
            dry_run: self.dry_run,
            heal: self.heal,
            without_holds: self.without_holds,
            origin,
            encryption,
            set,
            exclude,
        };
        Ok((request, keys))
    }

    /// Loads the key of the target or of its origin, or of what is above, where it is given. The key of a new encryption root
    /// opens nothing else.
    fn unlock(
        &self,
        options: &PoolOptions,
        pool: &mut WritablePool,
        request: &Request,
    ) -> Result<(), Failure> {
        let has_own = matches!(&request.encryption, Some(Encryption::On { own: Some(_), .. }));
        if !options.has_key_file() || has_own {
            return Ok(());
        }
        let mut name = request.origin.as_deref().or(Some(&self.to)).and_then(|name| name.split('@').next());
        while let Some(at) = name {
            let tx = pool.tx();
            let keys = tx.dir_named(at)?.map(|dir| tx.keys_of(dir)).transpose()?.flatten();
            if let Some(keys) = keys {
                return options.load_key(pool, keys.root).map(drop);
            }
            name = at.rsplit_once('/').map(|(above, _)| above);
        }
        Ok(())
    }

    /// The pool failed while it was written: the transaction group that was open is lost. What was made before it is
    /// destroyed, or with `-s` kept: says whether something is.
    fn clean_up(&self, options: &PoolOptions, current: Option<&str>) -> Result<bool, Failure> {
        let mut pool = options.open_writable(Some(&self.to), false)?;
        if let Some(name) = current.filter(|_| !self.resumable) {
            let dataset = name.split('@').next().unwrap_or_default();
            let mut receiving = Receiving::new(&mut pool);
            receiving.discard(dataset).map_err(Failure::new)?;
        }
        self.leave(pool, false, current)
    }

    fn abort(&self, options: &PoolOptions) -> Result<(), Failure> {
        change(options, &self.to, |pool| {
            let mut receiving = Receiving::new(pool);
            let found = receiving
                .discard(&self.to)
                .map_err(|error| Failure::new(format_args!("cannot abort the receive: {error}")))?;
            if found {
                return Ok(());
            }
            Err(cannot("abort the receive")(PoolError::invalid(format!(
                "'{}' does not have any resumable receive state to abort",
                self.to
            ))))
        })
    }
}

fn command_line() -> String {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}

impl Teller<'_> {
    fn print(&mut self, line: &str) {
        if self.output.is_ok() {
            self.output = output::text().and_then(|mut out| {
                writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
            });
        }
    }

    fn received(&mut self, received: &Received) {
        let seconds = self.started.elapsed().as_secs_f64();
        if self.json {
            let line = json!({
                "snapshot": received.name,
                "guid": received.guid.0.to_string(),
                "incremental": received.is_incremental,
                "bytes": received.bytes,
                "records": received.records,
                "corrected": received.corrected,
                "seconds": seconds,
            });
            self.print(&line.to_string());
        } else if self.verbose {
            let rate = received.bytes as f64 / seconds.max(0.001);
            if self.heal {
                self.print(&format!("corrected {} damaged blocks", received.corrected));
            }
            let (bytes, rate) = (nice_number(received.bytes), nice_number(rate as u64));
            self.print(&format!("received {bytes}B stream in {seconds:.2} seconds ({rate}B/sec)"));
        }
    }
}

impl Host for Teller<'_> {
    fn create_filesystem(&mut self, pool: &mut WritablePool, name: &str) -> zstream_recv::error::Result<()> {
        create_parents(pool, &format!("{name}/x"), self.options)
            .map(drop)
            .map_err(|failure| PoolError::invalid(failure.message()).into())
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Begins { from, to, is_incremental } => {
                self.started = Instant::now();
                if self.verbose && !self.json {
                    let verb = if self.dry_run { "would receive" } else { "receiving" };
                    let heal = if self.heal { "corrective " } else { "" };
                    let kind = if is_incremental { "incremental" } else { "full" };
                    self.print(&format!("{verb} {heal}{kind} stream of {from} into {to}"));
                }
                self.current = Some(to);
            }
            Note::Received(received) => {
                self.current = None;
                self.received(&received);
            }
            Note::Ignored(name) if self.json => {
                self.print(&json!({ "snapshot": name, "ignored": true }).to_string());
            }
            Note::Warning(text) => self.meter.line(&format!("zstream: {text}")),
            _ if !self.verbose || self.json => {}
            Note::Ignored(name) => self.print(&format!("snap {name} already exists; ignoring")),
            Note::Origin(name) => self.print(&format!("found clone origin {name}")),
            Note::Renamed { from, to } => self.print(&format!("renamed {from} to {to}")),
            Note::Destroyed(name) => self.print(&format!("destroyed {name}")),
            Note::Promoted(name) => self.print(&format!("promoted {name}")),
            _ => {}
        }
    }

    fn progress(&mut self, bytes: u64) {
        self.meter.add(bytes.saturating_sub(self.done) as usize);
        self.done = bytes;
    }
}
