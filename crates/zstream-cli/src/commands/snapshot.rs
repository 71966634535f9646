//! `zstream snapshot`: snapshots, as `zfs snapshot` makes them.

use zstream_dmu::error::Error;
use zstream_dmu::ids::ObjectId;
use zstream_dsl::prop::parse::parse_assignment;
use zstream_dsl::prop::table::Types;
use zstream_dsl::write::{Setting, Tx, WritablePool};

use crate::change::{cannot, change};
use crate::commands::create::check_once;
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// The options of `zstream snapshot`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Of all datasets below too
    #[arg(short = 'r')]
    recursive: bool,
    /// Set a user's property of each; may be given several times
    #[arg(short = 'o', value_name = "PROPERTY=VALUE")]
    properties: Vec<String>,
    /// Their names
    #[arg(value_name = "DATASET@SNAPSHOT", required = true)]
    names: Vec<String>,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let first = self.names.first().map(String::as_str).unwrap_or_default();
        change(options, first, |pool| self.make(pool))
    }

    fn make(&self, pool: &mut WritablePool) -> Result<(), Failure> {
        check_once(&self.properties).map_err(Failure::usage)?;
        let properties = self.properties.iter().map(|text| parse_assignment(text));
        let properties = properties.collect::<Result<Vec<_>, _>>().map_err(Failure::usage)?;
        let failed = cannot("create snapshots");
        let mut tx = pool.tx();
        for parsed in &properties {
            tx.check_assignment(parsed, Types::SNAPSHOT, true).map_err(&failed)?;
        }
        let names = match self.recursive {
            // What was received in part only is passed over, as there.
            true => below(&tx, &self.names, |head| Ok(!tx.is_filled(head)?))?,
            false => self.names.clone(),
        };
        for snapshot in tx.snapshot(&names).map_err(&failed)? {
            for parsed in &properties {
                tx.set_property(snapshot, &parsed.name, &Setting::Local(parsed.value.clone()))
                    .map_err(&failed)?;
            }
        }
        Ok(())
    }
}

/// Names of snapshots of these datasets and of all below them that are wanted.
pub(super) fn below(
    tx: &Tx<'_>,
    names: &[String],
    is_wanted: impl Fn(ObjectId) -> Result<bool, Error>,
) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for name in names {
        let (filesystem, short) = name
            .split_once('@')
            .ok_or_else(|| Failure::usage(format_args!("{name} is not the name of a snapshot")))?;
        let head = tx.head_named(filesystem)?;
        tx.walk_dir(filesystem, tx.dataset(head)?.dir, &mut |name, head| {
            if is_wanted(head)? {
                all.push(format!("{name}@{short}"));
            }
            Ok(())
        })?;
    }
    Ok(all)
}
