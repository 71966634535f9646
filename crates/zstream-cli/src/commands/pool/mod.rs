//! `zstream pool`: verbs for a pool as a whole.

mod check;
mod properties;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::{Value, json};
use zstream::OpenPool;
use zstream_dmu::mos::{Feature, FeatureState};
use zstream_dmu::pool::Pool;
use zstream_dmu::vdev::Vdev;
use zstream_dsl::Erratum;
use zstream_dsl::scrub::Lines;

use super::pool_create;
use crate::failure::Failure;
use crate::output;
use crate::pool::PoolOptions;

/// The arguments of `zstream pool`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Creates a pool in files or disks
    ///
    /// VDEV has the syntax of `zpool create`. No kernel module is required and nothing is mounted; any host can
    /// import the pool. The previous content of files and disks is lost.
    #[command(after_long_help = "\
Examples:
  zstream pool create --size 1G demo demo.img
  zstream pool create --size 512M -O compression=zstd tank mirror a.img b.img
  zstream pool create -o ashift=12 -o compatibility=openzfs-2.1-linux tank raidz2 /dev/sd[b-f]")]
    Create(pool_create::Args),
    /// Marks the pool as exported, so that any host can import it
    ///
    /// Required only for a pool that was still imported when its host or a program terminated: zstream's own verbs
    /// always leave a pool exported.
    Export {
        /// Export the pool even if another host may have it imported
        #[arg(short)]
        force: bool,
        /// Name of the pool; required if the devices hold several
        #[arg(value_name = "POOL")]
        pool: Option<String>,
    },
    /// Shows properties of the pool, and its features
    ///
    /// The output has the format of `zpool get`. Values that are known only of an imported pool are shown as `-`.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img pool get all
  zstream -d disk.img pool get -Hp -o value free,feature@encryption tank")]
    Get(properties::Get),
    /// Sets properties of the pool, or enables features
    ///
    /// PROPERTY is one of autoexpand, autoreplace, autotrim, ashift, bootfs, comment, compatibility, delegation,
    /// failmode, listsnapshots, a user property (its name contains a colon; without a value it is removed), or
    /// feature@NAME, whose only value is `enabled`. A feature cannot be disabled again.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img pool set comment='off site' tank
  zstream -d disk.img pool set feature@zstd_compress=enabled tank")]
    Set(properties::Set),
    /// Enables the features of a new pool in an existing one
    ///
    /// Enables the features that `pool create` would enable: those of the property `compatibility`, or else those that
    /// OpenZFS 2.1 does not require to be known. This cannot be undone: programs that do not know the features may no
    /// longer be able to change or read the pool. Without POOL and -a, prints the features that would be enabled in each
    /// pool. Pools of versions 1 to 28 are not upgraded.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img pool upgrade
  zstream -d disk.img pool upgrade tank")]
    Upgrade {
        /// Upgrade all pools on the devices
        #[arg(short)]
        all: bool,
        /// Name of the pool
        #[arg(value_name = "POOL", conflicts_with = "all")]
        pool: Option<String>,
    },
    /// Shows the pool: name, guid, transaction group, vdevs, features, datasets
    Show {
        /// Print one JSON object
        ///
        /// Keys: name, guid, state, health, version, txg, available_txgs, vdevs (each with name, type, guid, state,
        /// class, children), features (name, guid, state, count), datasets (name, object, root). Guids are strings.
        #[arg(long)]
        json: bool,
        /// Name of the pool; required if the devices hold several
        #[arg(value_name = "POOL")]
        pool: Option<String>,
    },
    /// Reads and verifies every copy of every block
    ///
    /// Like a scrub, but repairs nothing. Reads the copies on all members, parity, intent logs, and blocks that only
    /// the pool's checkpoint references. Prints the path of each damaged file in every dataset that contains the
    /// damaged blocks. Blocks waiting to be freed are counted, but not read. The exit code is 1 if there is any
    /// damage, even if it is repairable. Checking encrypted datasets does not require their keys; with the key
    /// (--key-file) their files are shown by name, and the key is verified on every dataset that inherits it.
    Check {
        /// Print one JSON object
        ///
        /// Keys: pool, ok, blocks, copies, bytes, bad_copies, lost_blocks, damaged (each with in, paths, what,
        /// object, lost, lost_bytes, blocks), not_listed, unchecked, locked (dataset, root), members (name,
        /// unreadable, wrong), missing, waiting (list, blocks, bytes, complete), checkpoint (txg, blocks).
        #[arg(long)]
        json: bool,
        /// Show every damaged block and copy
        #[arg(short, long, conflicts_with = "json")]
        verbose: bool,
        /// Name of the pool; required if the devices hold several
        #[arg(value_name = "POOL")]
        pool: Option<String>,
    },
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        match &self.command {
            Command::Create(args) => args.run(options),
            Command::Export { force, pool } => {
                options.open_writable(pool.as_deref(), *force)?.export()?;
                Ok(())
            }
            Command::Get(args) => args.run(options),
            Command::Set(args) => args.run(options),
            Command::Upgrade { all: true, .. } => properties::upgrade_all(options),
            Command::Upgrade { pool: Some(pool), .. } => properties::upgrade(options, pool),
            Command::Upgrade { .. } => properties::list_upgrades(options),
            Command::Show { json, pool } => {
                let open = options.open(pool.as_deref())?;
                let text = if *json { format!("{}\n", show_json(&open)?) } else { show_text(&open)? };
                let mut out = output::text()?;
                out.write_all(text.as_bytes())
                    .and_then(|()| out.flush())
                    .map_err(|error| Failure::output(&error))
            }
            Command::Check { json, verbose, pool } => {
                let form = check::Form { json: *json, verbose: *verbose };
                check::run(&options.open(pool.as_deref())?, options, form)
            }
        }
    }
}

/// Names, guids, states and counts of the features that the pool has.
fn features(pool: &Pool) -> Vec<(String, &str, &'static str, u64)> {
    let row = |(guid, count)| {
        let name = Feature::by_guid(guid).map_or(guid, |feature| feature.name);
        let state = match pool.features().state(guid) {
            FeatureState::Active(_) => "active",
            FeatureState::Enabled => "enabled",
            FeatureState::Disabled => "disabled",
        };
        (name.to_owned(), guid, state, count)
    };
    let mut rows: Vec<_> = pool.features().iter().map(row).collect();
    rows.sort();
    rows
}

fn show_text(open: &OpenPool) -> Result<String, Failure> {
    let pool = &open.pool;
    let mut text = format!(
        "name:     {}\nguid:     {}\nstate:    {}\nhealth:   {}\nversion:  {}\ntxg:      {}\nvdevs:\n",
        crate::text::line(pool.name()),
        pool.guid().0,
        pool.state(),
        pool.health(),
        pool.version(),
        pool.txg().0
    );
    for top in pool.vdevs().tops() {
        let class = class(pool, top)?.map_or_else(String::new, |class| format!("  {class}"));
        vdev_text(&mut text, top, 1, &class);
    }
    for wanted in ["active", "enabled"] {
        let names: Vec<String> = features(pool)
            .into_iter()
            .filter(|(_, _, state, _)| *state == wanted)
            .map(|(name, ..)| name)
            .collect();
        // Writing to a `String` does not fail.
        let _ = writeln!(text, "features {wanted}: {}", crate::text::line(names.join(", ")));
    }
    let lines = lines(open)?;
    errata(&Erratum::of_pool(&lines))
        .iter()
        .for_each(|line| text += &format!("{}\n", crate::text::line(line)));
    text += "datasets:\n";
    for dataset in lines.datasets() {
        let _ = writeln!(
            text,
            "  {}  object {}  root {}",
            crate::text::line(dataset.name()),
            dataset.object(),
            crate::text::line(dataset.phys().root)
        );
    }
    Ok(text)
}

/// All datasets; those that cannot be read are reported on standard error.
fn lines(open: &OpenPool) -> Result<Lines, Failure> {
    let lines = Lines::new(&open.dsl)?;
    lines.failures().iter().for_each(|error| eprintln!("zstream: {error}"));
    Ok(lines)
}

/// A line for each erratum of the pool: its number and name, what to do about it, and the datasets that have it.
pub(super) fn errata(found: &BTreeMap<Erratum, Vec<String>>) -> Vec<String> {
    let line = |(erratum, names): (&Erratum, &Vec<String>)| {
        format!("{erratum}: {} ({})", erratum.advice(), names.join(", "))
    };
    found.iter().map(line).collect()
}

/// The same as data.
pub(super) fn errata_json(found: &BTreeMap<Erratum, Vec<String>>) -> Value {
    let entry = |(erratum, names): (&Erratum, &Vec<String>)| {
        json!({
            "number": erratum.number(),
            "name": erratum.name(),
            "advice": erratum.advice(),
            "datasets": names,
        })
    };
    found.iter().map(entry).collect()
}

fn class(pool: &Pool, top: &Vdev) -> Result<Option<String>, Failure> {
    if top.config().is_log {
        return Ok(Some("log".to_owned()));
    }
    Ok(pool.allocation_class(top)?)
}

fn vdev_text(text: &mut String, vdev: &Vdev, depth: usize, class: &str) {
    let indent = 2 * depth;
    let _ = writeln!(
        text,
        "{:indent$}{}",
        "",
        crate::text::line(format_args!("{}  {}{class}", vdev.name(), vdev.state()))
    );
    for child in vdev.children() {
        vdev_text(text, child, depth + 1, "");
    }
}

fn vdev_json(vdev: &Vdev, class: Option<&str>) -> Value {
    json!({
        "name": vdev.name(),
        "type": vdev.config().kind.name(),
        "guid": vdev.guid().0.to_string(),
        "state": vdev.state().to_string(),
        "class": class,
        "children": vdev.children().iter().map(|child| vdev_json(child, None)).collect::<Vec<_>>(),
    })
}

fn show_json(open: &OpenPool) -> Result<Value, Failure> {
    let pool = &open.pool;
    let vdevs = pool.vdevs().tops().iter().map(|top| Ok(vdev_json(top, class(pool, top)?.as_deref())));
    let features = features(pool);
    let features = features.iter().map(
        |(name, guid, state, count)| json!({ "name": name, "guid": guid, "state": state, "count": count }),
    );
    let lines = lines(open)?;
    let datasets = lines.datasets().iter().map(|dataset| {
        json!({
            "name": dataset.name(),
            "object": dataset.object().0,
            "root": dataset.phys().root.to_string(),
        })
    });
    Ok(json!({
        "name": pool.name(),
        "guid": pool.guid().0.to_string(),
        "state": pool.state().to_string(),
        "health": pool.health().to_string(),
        "version": pool.version(),
        "txg": pool.txg().0,
        "available_txgs": pool.available_txgs().iter().map(|txg| txg.0).collect::<Vec<_>>(),
        "vdevs": vdevs.collect::<Result<Vec<_>, Failure>>()?,
        "features": features.collect::<Vec<_>>(),
        "datasets": datasets.collect::<Vec<_>>(),
        "errata": errata_json(&Erratum::of_pool(&lines)),
        "notices": pool.notices().iter().map(ToString::to_string).collect::<Vec<_>>(),
    }))
}
