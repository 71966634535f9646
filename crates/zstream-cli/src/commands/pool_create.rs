//! `zstream pool create`.

use std::ffi::OsStr;

use zstream::create::NewPool;
use zstream_format::number::parse_bytes;

use crate::change::command_line;
use crate::failure::Failure;
use crate::pool::PoolOptions;
use crate::storage::{self, Storage};

/// The arguments of `zstream pool create`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Use files and disks that belong to another pool, and mix vdevs of different redundancy
    #[arg(short)]
    force: bool,
    /// Dry run: print the layout of the pool, create nothing
    #[arg(short = 'n')]
    dry_run: bool,
    /// Enable only the named features
    #[arg(short = 'd')]
    without_features: bool,
    /// Set a property of the pool: ashift, autoexpand, autoreplace, autotrim, comment, compatibility, delegation,
    /// failmode, feature@NAME, listsnapshots
    ///
    /// `ashift` defaults to 12 (4 KiB sectors), so that an image can be copied to any disk. Without `compatibility`
    /// and `feature@...`, enables all features that zstream maintains and OpenZFS 2.1 supports.
    #[arg(short = 'o', value_name = "PROPERTY=VALUE")]
    properties: Vec<String>,
    /// Set a property of the root filesystem
    #[arg(short = 'O', value_name = "PROPERTY=VALUE")]
    filesystem_properties: Vec<String>,
    /// Mountpoint of the root filesystem; the same as -O mountpoint=PATH
    #[arg(short = 'm', value_name = "PATH")]
    mountpoint: Option<String>,
    /// Create sparse files of this size, such as 1G or 512M
    ///
    /// For a pool in object storage, the size of its address space, by default nearly 16T, as much as a file of ext4 can have. It takes space only for what is written.
    #[arg(long, value_name = "SIZE")]
    size: Option<String>,
    /// Size of the objects of a pool in object storage, by default 8M
    #[arg(long, value_name = "SIZE")]
    chunk: Option<String>,
    /// Derive guids and salts from this seed, for reproducible images
    #[arg(long, value_name = "NUMBER")]
    guid_seed: Option<u64>,
    /// Use this time, in seconds since 1970, instead of the current time
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,
    /// Name of the pool
    #[arg(value_name = "NAME")]
    name: String,
    /// Files, disks and URLs (`s3://BUCKET/PREFIX`), and keywords: mirror, raidz1, raidz2, raidz3, special, dedup, log, and draid, also with
    /// numbers, such as draid2:4d:11c:1s (parity, data, children, spares)
    #[arg(value_name = "VDEV", required = true)]
    vdevs: Vec<String>,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let new = self.new_pool()?;
        if self.dry_run {
            for top in new.tops() {
                let class = top.class.bias().map(|class| format!("{class} ")).unwrap_or_default();
                say!("{class}{} {}", top.shape, top.leaves.join(" "))?;
            }
            return Ok(());
        }
        new.create(&command_line(), options)?;
        Ok(())
    }

    /// The pool as requested, validated before anything is changed.
    fn new_pool(&self) -> Result<NewPool, Failure> {
        storage::check_names(self.vdevs.iter().map(OsStr::new))?;
        let mut new = NewPool::new(&self.name, &self.vdevs).map_err(Failure::usage)?;
        (new.force, new.seed, new.timestamp) = (self.force, self.guid_seed, self.timestamp);
        if !self.force {
            new.check_redundancy()
                .map_err(|error| Failure::usage(format_args!("{error}; use -f to create the pool anyway")))?;
        }
        if let Some(bytes) = self.file_bytes(&new)? {
            new = new.with_file_size(bytes).map_err(Failure::usage)?;
        }
        let chunk_bytes = self.chunk.as_deref().map(size).transpose()?;
        new = new.through(storage::opener(&Storage { chunk_bytes, ..Storage::default() })?);
        new = new.with_properties(&self.properties, self.without_features).map_err(Failure::usage)?;
        let mountpoint = self.mountpoint.as_ref().map(|path| format!("mountpoint={path}"));
        for text in self.filesystem_properties.iter().chain(&mountpoint) {
            new = new.set_on_root(text).map_err(Failure::usage)?;
        }
        Ok(new)
    }

    /// The size of new files, and of the address spaces of pools in object storage.
    fn file_bytes(&self, new: &NewPool) -> Result<Option<u64>, Failure> {
        let mut leaves = new.tops().iter().flat_map(|top| &top.leaves);
        match &self.size {
            Some(text) => size(text).map(Some),
            None => Ok(leaves.all(|leaf| storage::is_url(leaf)).then_some(storage::DEVICE_BYTES)),
        }
    }
}

fn size(text: &str) -> Result<u64, Failure> {
    parse_bytes(text).ok_or_else(|| Failure::usage(format_args!("{text:?} is not a size")))
}
