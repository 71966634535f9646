//! `zstream create`: filesystems and volumes, as `zfs create` makes them.

use zstream::create::NewDataset;
use zstream_dsl::write::WritablePool;

use crate::change::{change, try_change};
use crate::failure::Failure;
use crate::output::{say_columns, warn_unprinted};
use crate::pool::PoolOptions;

/// Creates a filesystem or volume
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img create -o compression=zstd tank/home
  zstream -d disk.img create -p tank/a/b/c
  zstream -d disk.img create -s -V 8G -b 16K tank/vm")]
pub(crate) struct Args {
    /// Create missing parent datasets; succeed if the dataset exists
    #[arg(short = 'p')]
    parents: bool,
    /// Dry run: create nothing
    #[arg(short = 'n')]
    dry_run: bool,
    /// Print what is created
    #[arg(short = 'v')]
    verbose: bool,
    /// With -n or -v: print in a machine-parsable format, separated by tabs
    #[arg(short = 'P')]
    parsable: bool,
    /// Do not mount (no effect: zstream never mounts)
    #[arg(short = 'u')]
    unmounted: bool,
    /// Set a property; can be repeated
    #[arg(short = 'o', value_name = "PROPERTY=VALUE", action = clap::ArgAction::Append)]
    properties: Vec<String>,
    /// Create a volume of this size, rounded up to a multiple of the block size
    #[arg(short = 'V', value_name = "SIZE")]
    volume: Option<String>,
    /// Block size of the volume (property volblocksize)
    #[arg(short = 'b', value_name = "SIZE", requires = "volume")]
    block_size: Option<String>,
    /// Create a sparse volume, without a reservation
    #[arg(short = 's', requires = "volume")]
    sparse: bool,
    /// Name of the dataset
    #[arg(value_name = "NAME")]
    name: String,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        zstream::check_once(&self.properties)?;
        let new = self.new_dataset().map_err(Failure::usage)?;
        let make = |pool: &mut WritablePool| Ok(new.create(pool, options)?);
        let made = if self.dry_run {
            try_change(options, &self.name, make)?
        } else {
            change(options, &self.name, make)?
        };
        if self.dry_run {
            return self.tell(&made, &new);
        }
        if self.verbose {
            warn_unprinted(self.tell(&made, &new));
        }
        Ok(())
    }

    fn new_dataset(&self) -> zstream::Result<NewDataset> {
        let (size, block) = (self.volume.as_deref(), self.block_size.as_deref());
        let new = NewDataset::parse(&self.name, &self.properties, size, block)?;
        let new = if self.sparse { new.sparse() } else { new };
        Ok(if self.parents { new.with_parents() } else { new })
    }

    fn tell(&self, made: &[String], new: &NewDataset) -> Result<(), Failure> {
        for name in made {
            match (self.parsable, self.dry_run) {
                (true, _) => say_columns(&["create", name])?,
                (false, true) => say!("would create {name}")?,
                (false, false) => say!("create {name}")?,
            }
        }
        for parsed in new.properties() {
            let value = parsed.value.text().map(str::to_owned);
            let value =
                value.or_else(|_| parsed.value.u64().map(|number| number.to_string())).unwrap_or_default();
            match self.parsable {
                true => say_columns(&["property", &parsed.name, &value])?,
                false => say_columns(&["", &format!("{}={value}", parsed.name)])?,
            }
        }
        Ok(())
    }
}
