//! Pool options: the devices of a pool, how it is opened, and the keys of its encrypted datasets.
//!
//! The options precede the verb, and are the same for all verbs that read a pool.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use zstream::keys::KeySources;
use zstream::rescue;
use zstream::{
    Cause, Control, Error, Event, KeyFile, Keys, NoKeys, OpenNames, OpenPool, OtherError, PoolPlace, Secret,
    StreamPlace, Warning, unsearched,
};
use zstream_dmu::error::Fault;
use zstream_dmu::ids::Txg;
use zstream_dmu::pool::WriteOptions;
use zstream_dsl::write::WritablePool;

use crate::failure::Failure;
use crate::prompt;
use crate::storage::{self, Storage};
use crate::text::Count;

/// The environment variable with the default devices, separated by colons as in `PATH`.
const DEVICE_VARIABLE: &str = "ZSTREAM_DEVICE";

/// The location of the pool, and what is needed to open it.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Pools and stored streams")]
pub(crate) struct PoolOptions {
    /// Disks and image files of the pool, directories that contain them, or the URL of a pool in object storage
    ///
    /// URLs are `file:///DIRECTORY`, `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`, and for reading
    /// `https://HOST/DIRECTORY`. Can be repeated. Defaults to the colon-separated list in the environment variable ZSTREAM_DEVICE. Reading
    /// requires only as many members as the redundancy of mirrors and raidz allows; changing a pool requires all of
    /// them. Write a path that equals the name of a verb as `./ls`.
    #[arg(short = 'd', long = "device", value_name = "PATH", num_args = 1..)]
    devices: Vec<PathBuf>,
    /// Read these streams as if they were a pool (`ls`, `cat` and `extract` only)
    ///
    /// A full stream followed by its increments, or packages. All checksums are verified first. The streams are not
    /// unpacked.
    #[arg(short = 'f', long = "file", value_name = "FILE", num_args = 1.., conflicts_with = "devices")]
    streams: Vec<PathBuf>,
    /// Show the available part of a truncated stream
    #[arg(long, requires = "streams", conflicts_with = "devices")]
    partial: bool,
    /// Name of the pool, or its guid, if the devices hold several of that name
    ///
    /// Usually the name of the pool or dataset after the verb is enough.
    #[arg(long = "pool", value_name = "POOL", conflicts_with = "streams")]
    pool: Option<String>,
    /// Open the pool as of this transaction group, if its uberblock still exists
    ///
    /// `best` is the newest one in which the pool and all its datasets open. `pool show --txgs` lists them.
    #[arg(long, value_name = "TXG|best", value_parser = WantedTxg::parse)]
    txg: Option<WantedTxg>,
    /// Open a pool in object storage as of this generation, for reading
    ///
    /// `pool generations` lists them.
    #[arg(long, value_name = "NUMBER", conflicts_with = "streams")]
    generation: Option<u64>,
    /// Open the pool as of its checkpoint, for reading
    #[arg(long, conflicts_with_all = ["txg", "streams"])]
    checkpoint: bool,
    /// Read the pool as after the replay of its intent logs, which are not changed
    ///
    /// The last synchronous writes of a pool that was not exported are in the intent logs of its datasets. They are
    /// replayed in memory, as OpenZFS would do at mount. Encrypted datasets require --key-file. `pool replay` replays the
    /// logs for good.
    #[arg(long, conflicts_with_all = ["txg", "checkpoint", "streams", "rescue"])]
    replay: bool,
    /// Open a pool whose labels are damaged, moved or overwritten, for reading
    ///
    /// Searches for labels at other offsets, on named disks and files completely, on those in directories at both ends.
    /// Devices without labels of the pool are recognized as its members by their content. Each is reported.
    #[arg(long, conflicts_with = "streams")]
    rescue: bool,
    /// File with the passphrase, hex digits or raw key of the encrypted dataset
    ///
    /// If not given, prompts for the key when it is required. `list` and `get` do not require the key, but show more
    /// with it.
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,
}

fn is_url(path: &std::path::Path) -> bool {
    path.to_str().is_some_and(storage::is_url)
}

/// The transaction group of `--txg`.
#[derive(Clone, Copy, Debug)]
enum WantedTxg {
    Group(Txg),
    Best,
}

impl WantedTxg {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "best" => Ok(Self::Best),
            _ => text
                .parse()
                .map(|txg| Self::Group(Txg(txg)))
                .map_err(|_| "expected a number or `best`".to_owned()),
        }
    }
}

impl PoolOptions {
    /// True if the devices are given before the verb.
    pub(crate) fn has_devices(&self) -> bool {
        !self.devices.is_empty()
    }

    /// The streams to read instead of a pool.
    pub(crate) fn streams(&self) -> Option<StreamPlace> {
        if self.streams.is_empty() {
            return None;
        }
        let mut place = StreamPlace::new(&self.streams);
        place.partial = self.partial;
        Some(place)
    }

    /// The location of the pool.
    pub(crate) fn place(&self) -> Result<PoolPlace, Failure> {
        let paths = self.paths()?;
        if self.generation.is_some() && !paths.iter().any(|path| is_url(path)) {
            return Err(Failure::usage(
                "--generation is for a pool in object storage, which -d names by its URL",
            ));
        }
        let storage = Storage { generation: self.generation, ..Storage::default() };
        let place = PoolPlace::new(paths).through(storage::opener(&storage)?);
        let place = match &self.pool {
            Some(pool) => place.named(pool),
            None => place,
        };
        let place = if self.rescue { place.rescued() } else { place };
        Ok(match self.txg {
            Some(WantedTxg::Group(txg)) => place.at_txg(txg),
            Some(WantedTxg::Best) => {
                let txg = rescue::best(&place, None, &mut Control::new())?;
                eprintln!("zstream: opening the pool as of transaction group {txg}");
                place.at_txg(txg)
            }
            None if self.checkpoint => place.at_checkpoint(),
            None if self.replay => place.replayed(self.keys_to_replay()),
            None => place,
        })
    }

    /// The keys of the datasets whose logs are replayed in memory: there is no prompt for them.
    fn keys_to_replay(&self) -> Arc<dyn Keys + Send + Sync> {
        match &self.key_file {
            Some(path) => Arc::new(KeyFile(path.clone())),
            None => Arc::new(NoKeys),
        }
    }

    /// The location of a pool to change.
    pub(crate) fn place_to_write(&self) -> Result<PoolPlace, Failure> {
        if self.txg.is_some() {
            return Err(Failure::usage("--txg is for reading a pool only"));
        }
        if self.generation.is_some() {
            return Err(Failure::usage("--generation is for reading a pool only"));
        }
        if self.checkpoint {
            return Err(Failure::usage("--checkpoint is for reading a pool only"));
        }
        if self.replay {
            return Err(Failure::usage("--replay is for reading a pool only: use `pool replay`"));
        }
        if self.rescue {
            return Err(Failure::usage("--rescue is for reading a pool only"));
        }
        self.place()
    }

    /// The URLs among the pool's devices.
    #[cfg(feature = "object")]
    pub(crate) fn urls(&self) -> Result<Vec<String>, Failure> {
        let paths = self.paths()?.into_iter().filter(|path| is_url(path));
        Ok(paths.map(|path| path.display().to_string()).collect())
    }

    /// True if a generation other than the newest one is read.
    #[cfg(feature = "object")]
    pub(crate) fn has_generation(&self) -> bool {
        self.generation.is_some()
    }

    /// The paths of the pool's devices.
    fn paths(&self) -> Result<Vec<PathBuf>, Failure> {
        if !self.streams.is_empty() {
            return Err(Failure::usage("this verb requires a pool: use -d instead of -f"));
        }
        let mut paths = self.devices.clone();
        if paths.is_empty() {
            let list = std::env::var_os(DEVICE_VARIABLE).unwrap_or_default();
            paths = storage::split_list(&list);
        }
        if paths.is_empty() {
            return Err(Failure::usage(format_args!(
                "no pool given: name its disks, files or URL with -d before the verb, or in {DEVICE_VARIABLE}"
            )));
        }
        storage::check_names(paths.iter().map(|path| path.as_os_str()))?;
        Ok(paths)
    }

    /// The sources of keys for a verb that reads some and makes others.
    pub(crate) fn key_sources(&self) -> KeySources<'_> {
        let given = self.is_at_hand().then_some(self as &dyn Keys);
        KeySources { given, prompt: &Terminal, can_prompt: prompt::can_ask() }
    }

    /// Opens the pool for changes, and locks out other writers. If the devices hold several pools, `name` (of the
    /// pool or of anything in it) selects one.
    pub(crate) fn open_writable(&self, name: Option<&str>, force: bool) -> Result<WritablePool, Failure> {
        let options = WriteOptions { force, ..WriteOptions::default() };
        let pool = self.place_to_write()?.open_writable(name, options, None)?;
        warn_unsearched(&pool);
        Ok(pool)
    }

    /// Opens the pool read-only. If the devices hold several pools, `name` (of the pool or of anything in it) selects
    /// one.
    pub(crate) fn open(&self, name: Option<&str>) -> Result<OpenPool, Failure> {
        self.place()?.open(name, &mut warnings()).map_err(|error| self.unopened(error))
    }

    /// The failure of a pool that is opened read-only, with what may open it.
    fn unopened(&self, error: Error) -> Failure {
        // The description of another format says what to do.
        let is_lost = matches!(&error, Error::Pool(Cause::Pool(pool))
            if matches!(pool.fault(), Fault::NotAMember(why) if !why.contains("it is ")));
        if is_lost && !self.rescue {
            return Failure::new(format_args!(
                "{error}; --rescue searches for labels that were moved or lost"
            ));
        }
        error.into()
    }

    /// Opens the pools of these names read-only; without names, the only pool. Names in pools that do not exist are
    /// reported, unless all names are of one pool.
    pub(crate) fn open_all(
        &self,
        names: &[String],
        incomplete: &Incomplete,
    ) -> Result<Vec<OpenNames>, Failure> {
        let opened = self.place()?.open_all(names, &mut incomplete.control());
        let opened = opened.map_err(|error| self.unopened(error))?;
        if opened.is_empty() {
            return Err(Failure::reported());
        }
        Ok(opened)
    }
}

/// Prompts for keys on the terminal.
struct Terminal;

impl Keys for Terminal {
    fn key(&self, root: &str) -> Result<Secret, OtherError> {
        Ok(prompt::ask(root)?)
    }

    fn new_key(&self, root: &str) -> Result<Secret, OtherError> {
        Ok(prompt::ask_new(root)?)
    }
}

/// Reads the key from the given file, or prompts for it.
impl Keys for PoolOptions {
    fn key(&self, root: &str) -> Result<Secret, OtherError> {
        match &self.key_file {
            Some(path) => KeyFile(path.clone()).key(root),
            None => Terminal.key(root),
        }
    }

    fn new_key(&self, root: &str) -> Result<Secret, OtherError> {
        match &self.key_file {
            None if prompt::can_ask() => Terminal.new_key(root),
            _ => self.key(root),
        }
    }

    fn is_at_hand(&self) -> bool {
        self.key_file.is_some()
    }
}

/// Prints which datasets could not be searched for interrupted receives.
pub(crate) fn warn_unsearched(pool: &WritablePool) {
    unsearched(pool).for_each(|warning| eprintln!("zstream: {warning}"));
}

/// What is missing in an output: the number of items that cannot be read, and whether a name was omitted. Each was reported.
#[derive(Debug, Default)]
pub(crate) struct Incomplete {
    unreadable: Cell<u64>,
    omitted: Cell<bool>,
}

impl Incomplete {
    /// A control that prints warnings, and counts what is missing.
    pub(crate) fn control(&self) -> Control<'_> {
        Control::new().watched_by(|event| {
            let Event::Warning(warning) = event else { return };
            eprintln!("zstream: {warning}");
            match warning {
                Warning::Unreadable(_) | Warning::UnreadableProperties { .. } => {
                    self.unreadable.update(|count| count + 1);
                }
                Warning::Omitted(_) => self.omitted.set(true),
                _ => {}
            }
        })
    }

    /// Fails if there was anything.
    pub(crate) fn judge(&self) -> Result<(), Failure> {
        match (self.unreadable.get(), self.omitted.get()) {
            (0, false) => Ok(()),
            (0, true) => Err(Failure::reported()),
            (count, _) => Err(Failure::new(format_args!(
                "the output is not complete: {} cannot be read",
                Count(count, "item")
            ))),
        }
    }
}

/// A control that prints warnings.
pub(crate) fn warnings() -> Control<'static> {
    Control::new().watched_by(|event| {
        if let Event::Warning(warning) = event {
            eprintln!("zstream: {warning}");
        }
    })
}
