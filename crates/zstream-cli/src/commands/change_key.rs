//! `zstream change-key` and `zstream load-key -n`: wrapping keys, changed and verified as by `zfs`.

use zstream::keys::{KeyChange, KeyCheck};
use zstream_dsl::prop::parse_assignment;

use crate::change::change;
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// Changes the wrapping key of a dataset, or inherits it from the parent
///
/// The data is not re-encrypted: only the keys of the dataset, and of all datasets that inherit its wrapping key,
/// are wrapped again. The current key is read from --key-file, with -l from the current keylocation, or else
/// prompted for. The new key is read from the new keylocation.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img --key-file old change-key -o keylocation=file:///etc/new tank/home
  zstream -d disk.img --key-file key change-key -o keyformat=hex -o keylocation=file:///etc/hex tank/home/own
  zstream -d disk.img --key-file key change-key -i tank/home/own")]
pub(crate) struct Args {
    /// Read the current key from the property keylocation of the dataset
    #[arg(short = 'l')]
    load: bool,
    /// Inherit the key of the parent dataset
    #[arg(short = 'i')]
    inherit: bool,
    /// Set keyformat, keylocation, pbkdf2iters or a user property; can be repeated
    #[arg(short = 'o', value_name = "PROPERTY=VALUE")]
    properties: Vec<String>,
    /// Dataset
    #[arg(value_name = "NAME")]
    name: String,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let properties = self.properties.iter().map(|text| parse_assignment(text)).collect::<Result<_, _>>();
        let properties = properties.map_err(Failure::usage)?;
        let wanted = if self.inherit { KeyChange::to_inherited } else { KeyChange::to_new };
        let wanted = wanted(properties)?.from_location(self.load);
        change(options, &self.name, |pool| Ok(wanted.run(pool, &self.name, options.key_sources())?))
    }
}

/// Verifies keys of encrypted datasets
///
/// Tries the key of each encryption root on all datasets that inherit it. The key is read from -L, --key-file or
/// the property keylocation. Keys do not stay loaded, so -n is required.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img --key-file key load-key -n tank/home
  zstream -d disk.img load-key -n -a")]
pub(crate) struct Load {
    /// Verify the key without loading it (required: keys are never loaded)
    #[arg(short = 'n', required = true)]
    noop: bool,
    /// Include all encryption roots below
    #[arg(short = 'r', conflicts_with = "all")]
    recursive: bool,
    /// Verify the keys of all encryption roots of the pool
    #[arg(short = 'a', conflicts_with = "names")]
    all: bool,
    /// Override the property keylocation: prompt or file:///PATH
    #[arg(short = 'L', value_name = "KEYLOCATION")]
    location: Option<String>,
    /// Encryption roots
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,
}

impl Load {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let is_several = self.recursive || self.all;
        if is_several && self.location.as_deref().is_some_and(|location| location != "prompt") {
            return Err(Failure::usage("with -r or -a, -L accepts only prompt"));
        }
        let open = options.open(self.names.first().map(String::as_str))?;
        let mut check = KeyCheck::default();
        (check.recursive, check.all) = (self.recursive, self.all);
        (check.names, check.location) = (self.names.clone(), self.location.clone());
        let checked = check.run(&open, options.key_sources())?;
        let count = checked.len();
        let mut failures: Vec<_> = checked.into_iter().filter_map(|key| key.result.err()).collect();
        say!("{} / {count} key(s) successfully verified", count - failures.len())?;
        let Some(last) = failures.pop() else { return Ok(()) };
        failures.iter().for_each(|failure| eprintln!("zstream: {failure}"));
        Err(last.into())
    }
}
