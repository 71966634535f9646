//! `zstream sync`: brings the snapshots that a target lacks.

use std::path::PathBuf;

use zstream::sync::{Filter, Location, SyncPlace, SyncRequest};
use zstream::{Control, Event, PoolPlace, SyncNote};
use zstream_format::number::parse_bytes;

use crate::change::command_line;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output;
use crate::pool::PoolOptions;
use crate::progress::Meter;
use crate::storage::{self, Storage};
use crate::text::line;

/// The exit code of a dry run that finds something to do.
const BEHIND: u8 = 3;

/// Brings the snapshots that a target lacks: a backup that can be repeated
///
/// SRC and DST are `POOL/DATASET` of a pool that is not imported, `zfs:POOL/DATASET` of the running ZFS of this host, or
/// `ssh://[USER@]HOST[:PORT]/POOL/DATASET` of another host, where `zfs` is run as that user. -d before the verb names the
/// devices of the pool; if both are pools, it names those of SRC, and --to those of DST. With -f before the verb, SRC is a
/// dataset in stored streams.
///
/// Each dataset continues from the last snapshot of DST that SRC has as a snapshot or bookmark of the same guid, with all
/// snapshots in between. Encrypted datasets are sent raw, without a key; others as stored. An interrupted receive is resumed
/// by the next run. A clone is received as a clone if DST has its origin.
///
/// Exit codes: 0 if DST has everything, 1 if something failed, 3 if a dry run finds something to send.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d tank.img sync -r tank/home --to backup.img backup/home
  zstream -d s3://bucket/backup sync -r zfs:tank/home backup/home
  zstream -d backup.img sync -r --bookmark nightly zfs:tank/home backup/home
  zstream -d backup.img sync ssh://root@nas/tank/home backup/home --exclude '**/cache' --rate 10M
  zstream -d backup.img sync backup/home zfs:tank/restored
  zstream -f full.zfs -f increment.zfs sync tank/home --to backup.img backup/home")]
pub(crate) struct Args {
    /// Devices or URL of the pool of DST, if SRC is not in a running ZFS; can be repeated
    #[arg(long, value_name = "PATH")]
    to: Vec<PathBuf>,
    /// Include all descendants
    #[arg(short = 'r', long)]
    recursive: bool,
    /// Roll DST back to the last snapshot in common, replace a DST without snapshots, and discard an interrupted receive
    /// that cannot be resumed
    ///
    /// Destroys the snapshots of DST after the last one in common.
    #[arg(short = 'F')]
    force: bool,
    /// Send only the newest snapshot, without those in between
    #[arg(long)]
    latest: bool,
    /// Send plain data, as `zfs send` without options; requires the keys of encrypted datasets
    #[arg(long)]
    plain: bool,
    /// Include properties
    #[arg(short = 'p', long)]
    props: bool,
    /// Set a property at DST
    #[arg(short = 'o', value_name = "PROPERTY=VALUE")]
    settings: Vec<String>,
    /// Ignore a received property at DST
    #[arg(short = 'x', value_name = "PROPERTY")]
    exclude_props: Vec<String>,
    /// Keep the bookmark PREFIX_SNAPSHOT at SRC, on the last snapshot that DST has
    ///
    /// With it the snapshot can be destroyed at SRC, and the next increment still starts from it. Older bookmarks with
    /// this prefix are destroyed: use another prefix for each DST.
    #[arg(long, value_name = "PREFIX")]
    bookmark: Option<String>,
    /// Keep a hold with this tag at SRC, on the last snapshot that DST has
    #[arg(long, value_name = "TAG")]
    hold: Option<String>,
    /// Send so many datasets at once to a running ZFS; a pool receives one at a time
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Only datasets of SRC that match, or with @PATTERN or DATASETS@PATTERN only such snapshots; can be repeated
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Not these datasets with all below them, or with an @ not these snapshots; can be repeated
    ///
    /// `*` stands for characters other than the slash, `**` for any number of components.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Limit the speed of all streams together: bytes per second, such as 500K or 10M
    #[arg(long, value_name = "BYTES", value_parser = rate)]
    rate: Option<u64>,
    /// Change nothing, print what would be sent
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print one JSON object per step, one per line
    ///
    /// Keys: event (up_to_date, sends, sent, discards, marked, failed, done) and source, target, from, to, snapshots,
    /// resumed, estimated_bytes, bytes, seconds, message, dry_run where they apply.
    #[arg(long)]
    json: bool,
    /// Dataset to send
    #[arg(value_name = "SRC")]
    source: String,
    /// Dataset to receive into
    #[arg(value_name = "DST")]
    target: String,
}

fn rate(text: &str) -> Result<u64, String> {
    parse_bytes(text)
        .filter(|rate| *rate > 0)
        .ok_or_else(|| "expected a number of bytes, such as 10M".to_owned())
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let (source, target) = self.places(options)?;
        let request = self.request()?;
        let interrupt = Interrupt::catch()?;
        let (mut meter, mut printed) = (Meter::new(None), Ok(()));
        let watch = |event: Event<'_>| match &event {
            Event::Sync(note) => self.note(note, &meter, &mut printed),
            _ => meter.event(&event),
        };
        let mut control = Control::new().watched_by(watch).cancelled_by(&interrupt.cancel());
        let synced = request.run(&source, &target, &command_line(), options, &mut control);
        drop(control);
        let synced = synced.map_err(|error| {
            interrupt.failure(error, ": what was received until then is kept; run it again")
        })?;
        if self.json && printed.is_ok() {
            printed = output::print(&format!("{}\n", zstream::json::synced(&synced, self.dry_run)));
        }
        match (synced.failed, synced.behind) {
            (1.., _) => Err(Failure::reported()),
            (0, 1..) if self.dry_run => printed.and(Err(Failure::code(BEHIND))),
            _ if self.dry_run => printed,
            _ => {
                output::warn_unprinted(printed);
                Ok(())
            }
        }
    }

    fn note(&self, note: &SyncNote, meter: &Meter, printed: &mut Result<(), Failure>) {
        if let SyncNote::Failed { source, target, error } = note {
            meter.line(&format!("zstream: {source} to {target}: {error}"));
        }
        let text =
            if self.json { Some(zstream::json::sync(note).to_string()) } else { note.text().map(line) };
        if let (Some(text), true) = (text, printed.is_ok()) {
            *printed = output::print(&format!("{text}\n"));
        }
    }

    fn request(&self) -> Result<SyncRequest, Failure> {
        let mut request = SyncRequest::default();
        (request.recursive, request.force, request.dry_run) = (self.recursive, self.force, self.dry_run);
        (request.latest_only, request.plain, request.properties) = (self.latest, self.plain, self.props);
        (request.bookmark, request.hold) = (self.bookmark.clone(), self.hold.clone());
        (request.jobs, request.bytes_per_second) = (self.jobs, self.rate);
        request.filter = Filter::new(&self.include, &self.exclude).map_err(Failure::usage)?;
        request.set_properties(&self.settings, &self.exclude_props).map_err(Failure::usage)?;
        Ok(request)
    }

    /// The places of SRC and DST.
    fn places(&self, options: &PoolOptions) -> Result<(SyncPlace, SyncPlace), Failure> {
        let parse = |text: &str| text.parse::<Location>().map_err(Failure::usage);
        let source = match (parse(&self.source)?, options.streams()) {
            (Location::Dataset(dataset), Some(place)) => SyncPlace::Streams { place, dataset },
            (_, Some(_)) => return Err(Failure::usage("with -f, SRC is a dataset in the streams")),
            (Location::Dataset(dataset), None) => SyncPlace::Pool { place: options.place()?, dataset },
            (Location::Running(running), None) => SyncPlace::Running(running),
        };
        let target = match parse(&self.target)? {
            Location::Running(_) if !self.to.is_empty() => {
                return Err(Failure::usage("--to names the devices of a pool, and DST is in a running ZFS"));
            }
            Location::Running(running) => SyncPlace::Running(running),
            Location::Dataset(dataset) if !self.to.is_empty() => {
                storage::check_names(self.to.iter().map(|path| path.as_os_str()))?;
                let place = PoolPlace::new(&self.to).through(storage::opener(&Storage::default())?);
                SyncPlace::Pool { place, dataset }
            }
            Location::Dataset(dataset) if matches!(source, SyncPlace::Running(_)) => {
                SyncPlace::Pool { place: options.place_to_write()?, dataset }
            }
            _ => return Err(Failure::usage("name the devices of the pool of DST with --to")),
        };
        Ok((source, target))
    }
}
