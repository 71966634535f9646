//! The transaction groups of a pool that can still be opened, and what is left in each of them.

use zstream_dmu::error::Error as PoolError;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dsl::scrub::Lines;

use crate::control::Control;
use crate::error::{Error, Result};
use crate::place::{OpenPool, PoolPlace};

/// A transaction group whose uberblock still exists.
#[derive(Debug)]
#[non_exhaustive]
pub struct Group {
    /// The transaction group.
    pub txg: Txg,
    /// The time at which it was completed, in seconds since 1970.
    pub timestamp: u64,
    /// What is left of it; the error with which the pool does not open.
    pub state: Result<GroupState>,
}

/// The datasets of a transaction group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupState {
    /// The number of filesystems, volumes and snapshots that open.
    pub datasets: u64,
    /// Errors of those that do not.
    pub unreadable: Vec<String>,
}

impl Group {
    /// Whether the pool and all its datasets open. Their blocks were not read.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.state.as_ref().is_ok_and(|state| state.unreadable.is_empty())
    }
}

/// The transaction groups of the pool in `place`, newest first, each with a quick check: the pool opens, with its
/// metadata, and each dataset opens. The content of datasets is not read. If the devices hold several pools, `name` selects
/// one.
///
/// # Errors
/// The devices cannot be read, or are not of one pool, or have no uberblock.
pub fn groups(place: &PoolPlace, name: Option<&str>, control: &mut Control<'_>) -> Result<Vec<Group>> {
    let mut found = Vec::new();
    for (txg, timestamp) in place.uberblocks(name)?.into_iter().rev() {
        control.cancel().check()?;
        found.push(group(place, name, txg, timestamp));
    }
    Ok(found)
}

/// The newest transaction group in which the pool and all its datasets open.
///
/// # Errors
/// As [`groups`]; there is none.
pub fn best(place: &PoolPlace, name: Option<&str>, control: &mut Control<'_>) -> Result<Txg> {
    let mut checked = 0;
    for (txg, timestamp) in place.uberblocks(name)?.into_iter().rev() {
        control.cancel().check()?;
        if group(place, name, txg, timestamp).is_sound() {
            return Ok(txg);
        }
        checked += 1;
    }
    Err(PoolError::bad_request(format!(
        "none of the {checked} transaction groups in the labels is sound; `pool show --txgs` shows what is lost in each"
    ))
    .into())
}

fn group(place: &PoolPlace, name: Option<&str>, txg: Txg, timestamp: u64) -> Group {
    // The warnings are those of every group.
    let open = place.clone().at_txg(txg).open(name, &mut Control::new());
    Group { txg, timestamp, state: open.and_then(|open| state(&open)) }
}

fn state(open: &OpenPool) -> Result<GroupState> {
    let lines = Lines::new(&open.dsl).map_err(Error::from)?;
    let mut state = GroupState::default();
    state.unreadable.extend(lines.failures().iter().map(ToString::to_string));
    for dataset in lines.datasets() {
        if dataset.phys().root.is_hole() {
            // The origin of all datasets, and what a receive has just begun, have no content.
            continue;
        }
        // The first object of each is needed for everything else.
        let first = dataset.objset_locked().and_then(|set| Ok(set.info(ObjectId(1)).map(drop)?));
        match first {
            Ok(()) => state.datasets += 1,
            Err(error) => state.unreadable.push(format!("{}: {error}", dataset.name())),
        }
    }
    Ok(state)
}
