//! `zstream pool get`, `set` and `upgrade`: properties and features of a pool, as `zpool` has them.

use zstream::json::{PoolMember, pool_properties as properties_json};
use zstream::pools::{
    PoolProperty, checkpoint_pool, discard_checkpoint, missing_features, pool_properties, pool_property,
    set_pool, upgrade_pool, version_before_features,
};
use zstream::{OpenPool, PoolPlace, Prune, prune_dedup};

use crate::change::{change, command_line};
use crate::datasets::fields;
use crate::failure::Failure;
use crate::output::{self, warn_unprinted};
use crate::pool::{PoolOptions, warn_unsearched, warnings};
use crate::text::{Column, table};

/// The options of `zstream pool get`.
#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    /// For scripts: omit the heading, separate columns by a single tab
    #[arg(short = 'H')]
    script: bool,
    /// Print exact numbers
    #[arg(short = 'p')]
    literal: bool,
    /// Print JSON in the format of `zpool get -j`
    #[arg(short = 'j', long, conflicts_with = "script")]
    json: bool,
    /// With --json: print numbers as numbers, in full
    #[arg(long, requires = "json")]
    json_int: bool,
    /// Columns, separated by commas, or `all`
    #[arg(short = 'o', value_name = "FIELD,...", value_delimiter = ',',
        value_parser = ["all", "name", "property", "value", "source"],
        default_values = ["name", "property", "value", "source"])]
    fields: Vec<String>,
    /// Properties, separated by commas, or `all`
    #[arg(value_name = "PROPERTY,...")]
    properties: String,
    /// Name of the pool; required if the devices hold several
    #[arg(value_name = "POOL")]
    pool: Option<String>,
}

/// The options of `zstream pool set`.
#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    /// Properties as PROPERTY=VALUE, followed by the name of the pool
    #[arg(value_name = "PROPERTY=VALUE... POOL", required = true, num_args = 2..)]
    words: Vec<String>,
}

/// Refuses the name of anything but a pool.
fn check_pool_name(name: Option<&str>) -> Result<(), Failure> {
    match name.filter(|name| name.contains(['/', '@', '#'])) {
        Some(name) => Err(Failure::usage(format_args!("{name} is not the name of a pool"))),
        None => Ok(()),
    }
}

impl Get {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        check_pool_name(self.pool.as_deref())?;
        let open = options.open(self.pool.as_deref())?;
        let mut found = Vec::new();
        for name in self.properties.split(',') {
            match name {
                "all" => found.extend(pool_properties(&open)?),
                name => found.push(pool_property(&open, name).map_err(Failure::usage)?),
            }
        }
        let text = if self.json { self.json_text(&open, &found) } else { self.text(&open, &found) };
        output::print(&text)
    }

    fn text(&self, open: &OpenPool, found: &[PoolProperty]) -> String {
        let fields = fields(&self.fields, &["name", "property", "value", "source"]);
        let columns: Vec<_> = fields.iter().map(|field| Column::new(field.to_ascii_uppercase())).collect();
        let cell = |property: &PoolProperty, field: &str| match field {
            "name" => open.pool.name().to_owned(),
            "property" => property.name.clone(),
            "value" => property.show(self.literal),
            _ => property.source.to_string(),
        };
        let row = |property| fields.iter().map(|field| cell(property, field)).collect();
        let rows: Vec<Vec<String>> = found.iter().map(row).collect();
        table(&columns, &rows, self.script)
    }

    fn json_text(&self, open: &OpenPool, found: &[PoolProperty]) -> String {
        let literal = self.literal || self.json_int;
        let member =
            |property: &PoolProperty| (property.name.clone(), property.show(literal), property.source.kind());
        let properties: Vec<PoolMember> = found.iter().map(member).collect();
        properties_json("zpool get", &open.pool, &properties, self.json_int)
    }
}

impl Set {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let Some((pool, assignments)) = self.words.split_last() else {
            return Err(Failure::usage("no pool given"));
        };
        if pool.contains('=') || assignments.iter().any(|text| !text.contains('=')) {
            return Err(Failure::usage("expected PROPERTY=VALUE..., then the name of the pool"));
        }
        check_pool_name(Some(pool))?;
        change(options, pool, |pool| Ok(set_pool(pool, assignments)?))
    }
}

/// Takes or discards the checkpoint.
pub(crate) fn checkpoint(options: &PoolOptions, name: &str, discard: bool) -> Result<(), Failure> {
    check_pool_name(Some(name))?;
    change(options, name, |pool| match discard {
        true => Ok(discard_checkpoint(pool)?),
        false => Ok(checkpoint_pool(pool).map(drop)?),
    })
}

/// Removes entries from the deduplication tables, and prints their number.
pub(crate) fn ddtprune(options: &PoolOptions, name: &str, prune: Prune) -> Result<(), Failure> {
    check_pool_name(Some(name))?;
    let pruned = change(options, name, |pool| Ok(prune_dedup(pool, prune)?))?;
    println!("removed {pruned} entries");
    Ok(())
}

/// Prints the features that an upgrade would enable in each pool.
pub(crate) fn list_upgrades(options: &PoolOptions) -> Result<(), Failure> {
    let place = options.place()?;
    for (pool, guid) in place.pools()? {
        let open = place.clone().named(guid.to_string()).open(None, &mut warnings())?;
        if let Some(version) = version_before_features(&open) {
            say!("{}", too_old(&pool, version))?;
            continue;
        }
        let missing = missing_features(&open)?;
        if missing.is_empty() {
            say!("Pool '{pool}' has all features enabled that `pool upgrade` enables.")?;
            continue;
        }
        say!("Pool '{pool}' does not have these features, which `pool upgrade {pool}` enables:")?;
        missing.iter().try_for_each(|feature| say!("  {feature}"))?;
    }
    Ok(())
}

fn too_old(pool: &str, version: u64) -> String {
    format!(
        "Pool '{pool}' has version {version}, from before there were features; only `zpool upgrade` upgrades it."
    )
}

/// Enables the features of a new pool.
pub(crate) fn upgrade(options: &PoolOptions, pool: &str) -> Result<(), Failure> {
    check_pool_name(Some(pool))?;
    upgrade_one(&options.place_to_write()?, pool)
}

/// Enables the features of a new pool in all pools. A pool that cannot be upgraded is reported, and does not keep the others from it.
pub(crate) fn upgrade_all(options: &PoolOptions) -> Result<(), Failure> {
    let place = options.place_to_write()?;
    let mut is_all = true;
    for (pool, guid) in place.pools()? {
        if let Err(failure) = upgrade_one(&place.clone().named(guid.to_string()), &pool) {
            eprintln!("zstream: {pool}: {}", failure.message().unwrap_or_default());
            is_all = false;
        }
    }
    if is_all { Ok(()) } else { Err(Failure::reported()) }
}

fn upgrade_one(place: &PoolPlace, name: &str) -> Result<(), Failure> {
    let open = place.open(Some(name), &mut warnings())?;
    if let Some(version) = version_before_features(&open) {
        return Err(Failure::new(too_old(name, version)));
    }
    let missing = missing_features(&open)?;
    drop(open);
    let enabled = match missing.is_empty() {
        true => Vec::new(),
        false => place.change(name, &command_line(), |pool| {
            warn_unsearched(pool);
            Ok::<_, Failure>(upgrade_pool(pool)?)
        })?,
    };
    let tell = || {
        if enabled.is_empty() {
            return say!("Pool '{name}' already has all supported and requested features enabled.");
        }
        say!("Enabled the following features on '{name}':")?;
        enabled.iter().try_for_each(|feature| say!("  {feature}"))
    };
    warn_unprinted(tell());
    Ok(())
}
