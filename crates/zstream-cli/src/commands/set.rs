//! `zstream set` and `zstream inherit`: properties of datasets, as `zfs` changes them.

use zstream::create::resize_volume;
use zstream::unlock_to_write;
use zstream_dsl::prop::parse::parse_assignment;

use crate::change::{cannot, change};
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// The options of `zstream set`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not mount or share anything anew: nothing ever is here
    #[arg(short = 'u')]
    unmounted: bool,
    /// The properties as PROPERTY=VALUE, then the datasets
    #[arg(value_name = "PROPERTY=VALUE... NAME", required = true, num_args = 2..)]
    words: Vec<String>,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let (assignments, names): (Vec<&String>, Vec<&String>) =
            self.words.iter().partition(|word| word.contains('='));
        let Some(first) = names.first() else { return Err(Failure::usage("no dataset is named")) };
        if assignments.is_empty() {
            return Err(Failure::usage("no property is set: PROPERTY=VALUE"));
        }
        let parsed = assignments.iter().map(|text| parse_assignment(text));
        let parsed = parsed.collect::<Result<Vec<_>, _>>().map_err(Failure::usage)?;
        change(options, first, |pool| {
            for name in &names {
                let failed = cannot(format!("set property for '{name}'"));
                for parsed in &parsed {
                    let mut tx = pool.tx();
                    let dataset = tx.dataset_named(name).map_err(&failed)?;
                    if parsed.name != "volsize" {
                        tx.assign(dataset, parsed).map_err(&failed)?;
                        continue;
                    }
                    tx.check_assignment(parsed, tx.types_of(dataset)?, false).map_err(&failed)?;
                    unlock_to_write(pool, dataset, options)?;
                    resize_volume(pool, dataset, parsed.value.u64()?).map_err(&failed)?;
                }
            }
            Ok(())
        })
    }
}

/// The options of `zstream inherit`.
#[derive(Debug, clap::Args)]
pub(crate) struct Inherit {
    /// Of all datasets below too
    #[arg(short = 'r')]
    recursive: bool,
    /// Back to what was received, where something was
    #[arg(short = 'S')]
    received: bool,
    /// The property
    #[arg(value_name = "PROPERTY")]
    property: String,
    /// The datasets
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

impl Inherit {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let first = self.names.first().map(String::as_str).unwrap_or_default();
        change(options, first, |pool| {
            let mut tx = pool.tx();
            for name in &self.names {
                let failed = cannot(format!("inherit {} for '{name}'", self.property));
                let dataset = tx.dataset_named(name).map_err(&failed)?;
                let mut all = vec![dataset];
                if self.recursive {
                    let dir = tx.dataset(dataset)?.dir;
                    all.clear();
                    tx.walk_dir(name, dir, &mut |_, head| {
                        all.push(head);
                        Ok(())
                    })?;
                }
                for dataset in all {
                    tx.inherit(dataset, &self.property, self.received).map_err(&failed)?;
                }
            }
            Ok(())
        })
    }
}
