//! Pools: the options that say where one lies, opening it, and loading the keys of its encrypted datasets.
//!
//! The options stand before the verb, and are the same for all verbs that read a pool.

use std::path::PathBuf;

use zstream::{Control, Event, KeyFile, Keys, OpenPool, OtherError, PoolPlace, StreamPlace};
use zstream_dmu::ids::Txg;
use zstream_dmu::pool::writer::WriteOptions;
use zstream_dsl::write::WritablePool;

use crate::failure::Failure;
use crate::prompt;

/// Names the devices where the command line does not, as `PATH` names directories.
const DEVICE_VARIABLE: &str = "ZSTREAM_DEVICE";

/// Where the pool lies and what opens it.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Pools and stored streams")]
pub(crate) struct PoolOptions {
    /// The pool's disks, image files, or directories with them
    ///
    /// May be given several times; what is not given is taken from the environment variable ZSTREAM_DEVICE, a list with
    /// colons. To look at, mirrors and raidz open as long as enough members are there; to be changed, a pool needs all of
    /// them. A path that is the name of a verb is written `./ls`.
    #[arg(short = 'd', long = "device", value_name = "PATH", num_args = 1..)]
    devices: Vec<PathBuf>,
    /// Stream files, in order, to be read as if they were a pool: for `ls`, `cat` and `extract`
    ///
    /// A full stream and its increments, or packages. All checksums are verified first. Nothing is unpacked.
    #[arg(short = 'f', long = "file", value_name = "FILE", num_args = 1.., conflicts_with = "devices")]
    streams: Vec<PathBuf>,
    /// Show what there is of a stream that is cut short
    #[arg(long, requires = "streams", conflicts_with = "devices")]
    partial: bool,
    /// The pool as it was after this transaction group, if its uberblock is still there
    #[arg(long, value_name = "TXG")]
    txg: Option<u64>,
    /// File with the passphrase, hex digits or raw key of the encrypted dataset
    ///
    /// Without it the key is asked for where it is needed. `list` and `get` need none, and show more with it.
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,
}

impl PoolOptions {
    /// The stored streams that are to be read instead of a pool.
    pub(crate) fn streams(&self) -> Option<StreamPlace> {
        if self.streams.is_empty() {
            return None;
        }
        let mut place = StreamPlace::new(&self.streams);
        place.partial = self.partial;
        Some(place)
    }

    /// Where the pool lies.
    pub(crate) fn place(&self) -> Result<PoolPlace, Failure> {
        let place = PoolPlace::new(self.paths()?);
        Ok(match self.txg {
            Some(txg) => place.at_txg(Txg(txg)),
            None => place,
        })
    }

    /// Where the pool lies that is to be changed.
    pub(crate) fn place_to_write(&self) -> Result<PoolPlace, Failure> {
        if self.txg.is_some() {
            return Err(Failure::usage("--txg is for looking at a pool, not for changing it"));
        }
        self.place()
    }

    /// Where the pool's devices are.
    fn paths(&self) -> Result<Vec<PathBuf>, Failure> {
        if !self.streams.is_empty() {
            return Err(Failure::usage("this verb is for pools, not streams: name one with -d"));
        }
        let mut paths = self.devices.clone();
        if paths.is_empty() {
            let list = std::env::var_os(DEVICE_VARIABLE).unwrap_or_default();
            paths = std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect();
        }
        if paths.is_empty() {
            return Err(Failure::usage(format_args!(
                "no pool: name its disks or files with -d before the verb, or in {DEVICE_VARIABLE}"
            )));
        }
        Ok(paths)
    }

    /// Opens the pool for changes, and keeps other writers out of it. Where the devices hold several, `name` (of the pool,
    /// or of anything in it) chooses.
    pub(crate) fn open_writable(&self, name: Option<&str>, force: bool) -> Result<WritablePool, Failure> {
        let options = WriteOptions { force, ..WriteOptions::default() };
        Ok(self.place_to_write()?.open_writable(name, options, None)?)
    }

    /// Opens the pool, read-only. Where the devices hold several, `name` (of the pool, or of anything in it) chooses.
    pub(crate) fn open(&self, name: Option<&str>) -> Result<OpenPool, Failure> {
        Ok(self.place()?.open(name, &mut warnings())?)
    }
}

/// The key is in the file that was given, or is asked for.
impl Keys for PoolOptions {
    fn key(&self, root: &str) -> Result<Vec<u8>, OtherError> {
        match &self.key_file {
            Some(path) => KeyFile(path.clone()).key(root),
            None => Ok(prompt::ask(root)?),
        }
    }

    fn is_at_hand(&self) -> bool {
        self.key_file.is_some()
    }
}

/// Shows warnings.
pub(crate) fn warnings() -> Control<'static> {
    Control::new().watched_by(|event| {
        if let Event::Warning(warning) = event {
            eprintln!("zstream: {warning}");
        }
    })
}
