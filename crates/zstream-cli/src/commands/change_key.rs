//! `zstream change-key` and `zstream load-key -n`: wrapping keys, changed and verified as by `zfs`.

use zstream::keys::{KeyChange, KeyCheck};
use zstream_dsl::prop::parse_assignment;

use crate::change::change;
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// The options of `zstream change-key`.
#[derive(Debug, clap::Args)]
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

/// The options of `zstream load-key`.
#[derive(Debug, clap::Args)]
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
        let check = KeyCheck {
            names: self.names.clone(),
            recursive: self.recursive,
            all: self.all,
            location: self.location.clone(),
        };
        let checked = check.run(&open, options.key_sources())?;
        let count = checked.len();
        let mut failures: Vec<_> = checked.into_iter().filter_map(|key| key.result.err()).collect();
        say!("{} / {count} key(s) successfully verified", count - failures.len())?;
        let Some(last) = failures.pop() else { return Ok(()) };
        failures.iter().for_each(|failure| eprintln!("zstream: {failure}"));
        Err(last.into())
    }
}
