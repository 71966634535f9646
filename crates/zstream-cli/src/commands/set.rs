//! `zstream set` and `zstream inherit`: properties of datasets, as `zfs` changes them.

use zstream::quotas::{Quota, set_quotas};
use zstream_dsl::prop::parse_assignment;

use crate::change::change;
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// Sets properties of datasets, and quotas of users, groups and projects
///
/// Quotas are properties like userquota@1000, groupobjquota@50 or defaultprojectquota of a filesystem, whose key is
/// required if it is encrypted. Users and groups are named by their numbers.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img set compression=zstd-9 atime=off tank/home
  zstream -d disk.img set userquota@1000=10G defaultuserquota=1G tank/home
  zstream -d disk.img set org.example:owner=ann tank/home@monday")]
pub(crate) struct Args {
    /// Do not remount or reshare (no effect: zstream never mounts or shares)
    #[arg(short = 'u')]
    unmounted: bool,
    /// Properties as PROPERTY=VALUE, followed by datasets
    #[arg(value_name = "PROPERTY=VALUE... NAME", required = true, num_args = 2..)]
    words: Vec<String>,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let (assignments, names): (Vec<&String>, Vec<&String>) =
            self.words.iter().partition(|word| word.contains('='));
        let Some(first) = names.first() else { return Err(Failure::usage("no dataset given")) };
        if assignments.is_empty() {
            return Err(Failure::usage("no property given: PROPERTY=VALUE"));
        }
        let (mut quotas, mut properties) = (Vec::new(), Vec::new());
        for text in assignments {
            match Quota::parse(text) {
                Some(quota) => quotas.push(quota.map_err(Failure::usage)?),
                None => properties.push(parse_assignment(text).map_err(Failure::usage)?),
            }
        }
        change(options, first, |pool| {
            names.iter().try_for_each(|name| {
                zstream::set(pool, name, &properties, options)?;
                if !quotas.is_empty() {
                    set_quotas(pool, name, &quotas, options)?;
                }
                Ok(())
            })
        })
    }
}

/// Clears a property so that it is inherited
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img inherit -r compression tank/home
  zstream -d disk.img inherit -S mountpoint tank/received")]
pub(crate) struct Inherit {
    /// Include all descendants
    #[arg(short = 'r')]
    recursive: bool,
    /// Revert to the received value, if there is one
    #[arg(short = 'S')]
    received: bool,
    /// Property
    #[arg(value_name = "PROPERTY")]
    property: String,
    /// Datasets
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

impl Inherit {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        change(options, &self.names[0], |pool| {
            self.names.iter().try_for_each(|name| {
                Ok(zstream::inherit(pool, name, &self.property, self.recursive, self.received)?)
            })
        })
    }
}
