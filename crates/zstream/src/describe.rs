//! Descriptions of pools, as `zstream pool show` shows them.

use std::collections::BTreeMap;

use zstream_dmu::ids::Txg;

use zstream_dmu::mos::{Feature, FeatureState};
use zstream_dmu::pool::{Notice, Pool};
use zstream_dmu::vdev::{PoolState, Vdev, VdevState};
use zstream_dsl::Erratum;
use zstream_dsl::scrub::Lines;
use zstream_format::ids::Guid;

use crate::error::Result;
use crate::place::OpenPool;
use crate::text::line;

/// A pool: its vdevs, features and datasets.
///
/// ```no_run
/// use zstream::describe::PoolDescription;
/// use zstream::{Control, PoolPlace};
///
/// # fn main() -> zstream::Result<()> {
/// let open = PoolPlace::new(["disk.img"]).open(None, &mut Control::new())?;
/// let pool = PoolDescription::of(&open)?;
/// println!("{}: {} vdevs, {} datasets", pool.name, pool.vdevs.len(), pool.datasets.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolDescription {
    /// Its name.
    pub name: String,
    /// Its guid.
    pub guid: Guid,
    /// The state in its labels.
    pub state: PoolState,
    /// The state of its vdevs.
    pub health: VdevState,
    /// The version of its format.
    pub version: u64,
    /// The transaction group that is open.
    pub txg: Txg,
    /// The transaction groups whose uberblocks still exist.
    pub available_txgs: Vec<Txg>,
    /// The top-level vdevs.
    pub vdevs: Vec<VdevDescription>,
    /// The features that the pool has, by name.
    pub features: Vec<FeatureDescription>,
    /// The datasets that can be read.
    pub datasets: Vec<DatasetDescription>,
    /// Errors of the datasets that cannot be read.
    pub unreadable: Vec<String>,
    /// Errata of the pool, with the names of the datasets that have them.
    pub errata: BTreeMap<Erratum, Vec<String>>,
    /// Conditions that restrict the use of the pool.
    pub notices: Vec<Notice>,
}

/// A vdev of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VdevDescription {
    /// Its name.
    pub name: String,
    /// The name of its type: `mirror`, `disk`.
    pub kind: String,
    /// Its guid.
    pub guid: Guid,
    /// Its state.
    pub state: VdevState,
    /// The allocation class of a top-level vdev that is not for normal data: `special`, `dedup` or `log`.
    pub class: Option<String>,
    /// Its children.
    pub children: Vec<Self>,
}

/// A feature of a pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct FeatureDescription {
    /// Its short name; the guid of a feature that is not known.
    pub name: String,
    /// Its guid: `com.delphix:async_destroy`.
    pub guid: String,
    /// `active`, `enabled` or `disabled`.
    pub state: &'static str,
    /// The count of its uses.
    pub count: u64,
}

/// A dataset of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatasetDescription {
    /// Its name.
    pub name: String,
    /// Its object number.
    pub object: u64,
    /// The address of its root block, as text.
    pub root: String,
}

impl PoolDescription {
    /// The description of an open pool.
    ///
    /// # Errors
    /// The pool cannot be read. Datasets that cannot be read are [listed](Self::unreadable).
    pub fn of(open: &OpenPool) -> Result<Self> {
        let pool = &open.pool;
        let lines = Lines::new(&open.dsl)?;
        let vdevs = pool.vdevs().tops().iter();
        let vdevs =
            vdevs.map(|top| Ok(VdevDescription { class: class(pool, top)?, ..VdevDescription::of(top) }));
        let datasets = lines.datasets().iter().map(|dataset| DatasetDescription {
            name: dataset.name().to_owned(),
            object: dataset.object().0,
            root: dataset.phys().root.to_string(),
        });
        Ok(Self {
            name: pool.name().to_owned(),
            guid: pool.guid(),
            state: pool.state(),
            health: pool.health(),
            version: pool.version(),
            txg: pool.txg(),
            available_txgs: pool.available_txgs().to_vec(),
            vdevs: vdevs.collect::<Result<_>>()?,
            features: features(pool),
            datasets: datasets.collect(),
            unreadable: lines.failures().iter().map(ToString::to_string).collect(),
            errata: Erratum::of_pool(&lines),
            notices: pool.notices(),
        })
    }

    /// The description as lines of text, as `zstream pool show` prints it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "name:     {}\nguid:     {}\nstate:    {}\nhealth:   {}\nversion:  {}\ntxg:      {}\nvdevs:\n",
            line(&self.name),
            self.guid.0,
            self.state,
            self.health,
            self.version,
            self.txg.0
        );
        self.vdevs.iter().for_each(|top| top.add_text(&mut text, 1));
        for state in ["active", "enabled"] {
            let names = self.features.iter().filter(|feature| feature.state == state);
            let names: Vec<_> = names.map(|feature| feature.name.as_str()).collect();
            text += &format!("features {state}: {}\n", line(names.join(", ")));
        }
        errata_lines(&self.errata).iter().for_each(|erratum| text += &format!("{}\n", line(erratum)));
        text += "datasets:\n";
        for DatasetDescription { name, object, root } in &self.datasets {
            text += &format!("  {}  object {object}  root {}\n", line(name), line(root));
        }
        text
    }
}

impl VdevDescription {
    /// Adds a line for the vdev and for each one below it.
    fn add_text(&self, text: &mut String, depth: usize) {
        let class = self.class.as_ref().map_or_else(String::new, |class| format!("  {class}"));
        let shown = line(format_args!("{}  {}{class}", self.name, self.state));
        *text += &format!("{:indent$}{shown}\n", "", indent = 2 * depth);
        self.children.iter().for_each(|child| child.add_text(text, depth + 1));
    }

    fn of(vdev: &Vdev) -> Self {
        Self {
            name: vdev.name().to_owned(),
            kind: vdev.config().kind.name(),
            guid: vdev.guid(),
            state: vdev.state(),
            class: None,
            children: vdev.children().iter().map(Self::of).collect(),
        }
    }
}

/// The allocation class of a top-level vdev.
fn class(pool: &Pool, top: &Vdev) -> Result<Option<String>> {
    Ok(if top.config().is_log { Some("log".to_owned()) } else { pool.allocation_class(top)? })
}

fn features(pool: &Pool) -> Vec<FeatureDescription> {
    let describe = |(guid, count)| FeatureDescription {
        name: Feature::by_guid(guid).map_or(guid, |feature| feature.name).to_owned(),
        guid: guid.to_owned(),
        state: state_name(&pool.features().state(guid)),
        count,
    };
    let mut all: Vec<_> = pool.features().iter().map(describe).collect();
    all.sort();
    all
}

/// The name of the state of a feature, as `zpool get` shows it.
pub(crate) fn state_name(state: &FeatureState) -> &'static str {
    match state {
        FeatureState::Active(_) => "active",
        FeatureState::Enabled => "enabled",
        FeatureState::Disabled => "disabled",
    }
}

/// A line for each erratum of a pool: its number and name, what to do about it, and the datasets that have it.
#[must_use]
pub(crate) fn errata_lines(found: &BTreeMap<Erratum, Vec<String>>) -> Vec<String> {
    let line = |(erratum, names): (&Erratum, &Vec<String>)| {
        format!("{erratum}: {} ({})", erratum.advice(), names.join(", "))
    };
    found.iter().map(line).collect()
}
