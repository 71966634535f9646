//! Pools: the options that say where one lies, opening it, and loading the keys of its encrypted datasets.
//!
//! The options stand before the verb, and are the same for all verbs that read a pool.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use zstream_dmu::error::Error;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::pool::writer::{PoolWriter, WriteOptions};
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::vdev::Vdev;
use zstream_dmu::zio::crypt::Keyring;
use zstream_dsl::dataset::Dataset;
use zstream_dsl::pool::Dsl;
use zstream_dsl::write::{Wrapping, WritablePool};

use crate::failure::Failure;
use crate::prompt;

/// Names the devices where the command line does not, as `PATH` names directories.
const DEVICE_VARIABLE: &str = "ZSTREAM_DEVICE";
/// More than any key: a passphrase has up to 512 bytes.
const KEY_BYTES_MAX: u64 = 4096;

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

/// An open pool and its datasets.
#[derive(Debug)]
pub(crate) struct OpenPool {
    /// The pool.
    pub(crate) pool: Pool,
    /// Its datasets.
    pub(crate) dsl: Arc<Dsl>,
}

impl OpenPool {
    /// Names of the members that are not there.
    pub(crate) fn missing(&self) -> Vec<String> {
        fn below(vdev: &Vdev, found: &mut Vec<String>) {
            if vdev.children().is_empty() && !vdev.is_available() {
                found.push(vdev.name().to_owned());
            }
            vdev.children().iter().for_each(|child| below(child, found));
        }
        let mut found = Vec::new();
        self.pool.vdevs().tops().iter().for_each(|top| below(top, &mut found));
        found
    }
}

impl PoolOptions {
    /// The stream files that are to be read instead of a pool.
    pub(crate) fn streams(&self) -> &[PathBuf] {
        &self.streams
    }

    /// Whether streams may be cut short.
    pub(crate) fn partial(&self) -> bool {
        self.partial
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
        self.open_to_write(name, WriteOptions { force, ..WriteOptions::default() }, None)
    }

    /// Like [`open_writable`](Self::open_writable), with more options: the name is filled in. With a seed, what is made is the
    /// same every time.
    pub(crate) fn open_to_write(
        &self,
        name: Option<&str>,
        options: WriteOptions,
        seed: Option<u64>,
    ) -> Result<WritablePool, Failure> {
        if self.txg.is_some() {
            return Err(Failure::usage("--txg is for looking at a pool, not for changing it"));
        }
        let name = name.and_then(|name| name.split(['/', '@', '#']).next()).map(str::to_owned);
        let options = WriteOptions { name, ..options };
        Ok(WritablePool::over(PoolWriter::open(&self.paths()?, &options)?, seed)?)
    }

    /// Opens the pool, read-only. Where the devices hold several, `name` (of the pool, or of anything in it) chooses.
    pub(crate) fn open(&self, name: Option<&str>) -> Result<OpenPool, Failure> {
        self.open_with(name, OpenOptions::default())
    }

    /// Like [`open`](Self::open), with more options: `name` and `--txg` are filled in.
    pub(crate) fn open_with(&self, name: Option<&str>, options: OpenOptions) -> Result<OpenPool, Failure> {
        let paths = self.paths()?;
        let name = name.and_then(|name| name.split(['/', '@', '#']).next()).map(str::to_owned);
        let options = OpenOptions { name, txg: self.txg.map(Txg), ..options };
        let pool = Pool::open(&paths, &options)?;
        pool.refused().iter().for_each(|(_, error)| eprintln!("zstream: {error}; it counts as missing"));
        let keyring = Arc::new(Keyring::default());
        pool.reader().set_keys(Some(keyring.clone()));
        let dsl = Dsl::open(pool.name(), pool.mos().clone(), keyring)?;
        Ok(OpenPool { pool, dsl })
    }

    /// Loads the key of a dataset, and with it those of all with the same encryption root. Does nothing for one that is not
    /// encrypted or is unlocked already.
    pub(crate) fn unlock(&self, dataset: &Dataset) -> Result<(), Failure> {
        if dataset.is_unlocked()? {
            return Ok(());
        }
        let Some(root) = dataset.encryption_root()? else { return Ok(()) };
        let key = self.key(root.name())?;
        dataset.dsl().load_key(&root, &key).map_err(|error| no_key(root.name(), &error))?;
        if !dataset.is_unlocked()? {
            let dataset = dataset.dir().name();
            return Err(Failure::new(format_args!(
                "the key of {} does not open {dataset}, whose encryption root it is: change-key {dataset} with the key that it \
                 came with makes it a root of its own",
                root.name()
            )));
        }
        Ok(())
    }

    /// Loads the key of a head that is to be written, where it is encrypted.
    pub(crate) fn unlock_to_write(&self, pool: &mut WritablePool, head: ObjectId) -> Result<(), Failure> {
        let tx = pool.tx();
        let Some(keys) = tx.keys_of(tx.dataset(head)?.dir)? else { return Ok(()) };
        self.load_key(pool, keys.root).map(drop)
    }

    /// Loads the key of an encryption root of a pool that is to be written.
    pub(crate) fn load_key(&self, pool: &mut WritablePool, root: ObjectId) -> Result<Wrapping, Failure> {
        let name = pool.tx().dir_name(root)?;
        pool.load_key(root, &self.key(&name)?).map_err(|error| no_key(&name, &error))
    }

    /// Whether there is a key that nobody has to be asked for.
    pub(crate) fn has_key_file(&self) -> bool {
        self.key_file.is_some()
    }

    /// The key of a dataset: from the file with it, or asked for.
    pub(crate) fn key(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let Some(path) = &self.key_file else { return prompt::ask(name) };
        let mut key = Vec::new();
        File::open(path)
            .and_then(|file| file.take(KEY_BYTES_MAX).read_to_end(&mut key))
            .map_err(|error| Failure::new(format_args!("{}: {error}", path.display())))?;
        Ok(key)
    }
}

/// The key in the file given, for looking at many datasets at once: it unlocks those whose key it is. Nobody is asked.
#[derive(Debug)]
pub(crate) struct GivenKey<'a> {
    options: &'a PoolOptions,
    /// Encryption roots that it was tried on, and why it is not their key.
    tried: BTreeMap<String, Option<Error>>,
}

impl<'a> GivenKey<'a> {
    pub(crate) fn of(options: &'a PoolOptions) -> Self {
        Self { options, tried: BTreeMap::new() }
    }

    /// Unlocks a dataset, if it is encrypted and the key is its.
    pub(crate) fn unlock(&mut self, dataset: &Dataset) -> Result<(), Failure> {
        if !self.options.has_key_file() || dataset.is_unlocked()? {
            return Ok(());
        }
        let Some(root) = dataset.encryption_root()? else { return Ok(()) };
        if self.tried.contains_key(root.name()) {
            return Ok(());
        }
        let key = self.options.key(root.name())?;
        let error = dataset.dsl().load_key(&root, &key).err();
        self.tried.insert(root.name().to_owned(), error);
        Ok(())
    }

    /// A key that is of none of the datasets is an error; of the others it is said that they stay locked.
    pub(crate) fn judge(self) -> Result<(), Failure> {
        let fits = self.tried.values().any(Option::is_none);
        for (root, error) in &self.tried {
            match error {
                Some(error) if fits => eprintln!("zstream: {root} stays locked: {error}"),
                Some(error) => return Err(no_key(root, error)),
                None => {}
            }
        }
        Ok(())
    }
}

pub(crate) fn no_key(root: &str, error: &Error) -> Failure {
    Failure::new(format_args!("cannot load the key of {root}: {error}"))
}
