//! Synchronization: brings the snapshots that a target lacks, from wherever they are.
//!
//! ```text
//!             list                          list
//!   source ---------> plan for each <--------------- target
//!     |               dataset: plan                    ^
//!     |                  | steps                       |
//!     +--- send -------> transfer ------- receive -----+        one thread for each dataset that is under way
//!     |                                                |
//!     +<-- mark: bookmarks and holds ---- done --------+
//! ```
//!
//! A source is a pool that is not imported, stored streams, or a running ZFS; a target is a pool or a running ZFS.

mod command;
mod filter;
mod location;
mod mark;
mod plan;
mod pool;
mod run;
mod running;
mod side;
mod state;
mod streams;
mod transfer;

use std::collections::HashMap;

pub use self::filter::Filter;
pub use self::location::{Location, RunningZfs};
use self::pool::{PoolSource, PoolTarget};
use self::run::{Pair, Run};
use self::running::Zfs;
use self::side::{Source, Target};
use self::streams::StreamSource;
use self::transfer::Limiter;
use crate::control::{Control, Event};
use crate::datasets::check_once;
use crate::error::{Result, SyncFault};
use crate::place::{Keys, PoolPlace, StreamPlace};
use crate::receive::ReceiveRequest;
use crate::synced::{SyncNote, Synced};

/// A request to synchronize datasets.
///
/// Every dataset is planned by itself: from the last snapshot of the target, which the source has as a snapshot or
/// bookmark of the same guid, up to the newest one of the source.
///
/// ```no_run
/// use zstream::sync::{SyncPlace, SyncRequest};
/// use zstream::{Control, NoKeys, PoolPlace};
///
/// # fn main() -> zstream::Result<()> {
/// let source = SyncPlace::Pool { place: PoolPlace::new(["disk.img"]), dataset: "tank/home".to_owned() };
/// let target = SyncPlace::Pool { place: PoolPlace::new(["backup.img"]), dataset: "backup/home".to_owned() };
/// let mut request = SyncRequest::default();
/// request.recursive = true;
/// let synced = request.run(&source, &target, "my program", &NoKeys, &mut Control::new())?;
/// println!("{} snapshots", synced.snapshots);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SyncRequest {
    /// Include all descendants.
    pub recursive: bool,
    /// Roll the target back to the last snapshot in common, replace a target without snapshots, and discard interrupted
    /// receives that cannot be resumed.
    pub force: bool,
    /// Only the newest snapshot, without intermediates.
    pub latest_only: bool,
    /// Send blocks as plain data, as `zfs send` without options. By default they are sent as stored: raw where a dataset is
    /// encrypted, else with large blocks, embedded and compressed.
    pub plain: bool,
    /// Include properties.
    pub properties: bool,
    /// The prefix of a bookmark to keep at the source, on the last snapshot that the target has: `PREFIX_SNAPSHOT`. Older
    /// bookmarks of that prefix are destroyed.
    pub bookmark: Option<String>,
    /// The tag of a hold to keep at the source, in the same way.
    pub hold: Option<String>,
    /// The number of datasets that are sent at once; 0 is 1. A pool that is not imported receives one at a time.
    pub jobs: usize,
    /// The datasets and snapshots to send.
    pub filter: Filter,
    /// A limit of the speed of all streams together, in bytes per second.
    pub bytes_per_second: Option<u64>,
    /// Change nothing.
    pub dry_run: bool,
    set: Vec<String>,
    exclude_properties: Vec<String>,
}

/// A place of datasets to synchronize.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SyncPlace {
    /// A dataset of a pool that is not imported.
    Pool {
        /// The pool.
        place: PoolPlace,
        /// The dataset.
        dataset: String,
    },
    /// A dataset in stored streams; it cannot be a target.
    Streams {
        /// The streams.
        place: StreamPlace,
        /// The dataset, by its name in the streams.
        dataset: String,
    },
    /// A dataset of a running ZFS.
    Running(RunningZfs),
}

impl SyncPlace {
    fn dataset(&self) -> &str {
        match self {
            Self::Pool { dataset, .. } | Self::Streams { dataset, .. } => dataset,
            Self::Running(running) => &running.dataset,
        }
    }
}

impl SyncRequest {
    /// Sets properties at the target (`PROPERTY=VALUE`), and ignores others that are received.
    ///
    /// # Errors
    /// As [`ReceiveRequest::set`] and [`ReceiveRequest::exclude`]; a property is given twice.
    pub fn set_properties(&mut self, set: &[String], exclude: &[String]) -> Result<()> {
        check_once(set)?;
        check_once(exclude)?;
        let mut receive = ReceiveRequest::new("");
        set.iter().try_for_each(|set| receive.set(set))?;
        exclude.iter().try_for_each(|name| receive.exclude(name))?;
        (self.set, self.exclude_properties) = (set.to_vec(), exclude.to_vec());
        Ok(())
    }

    /// Brings the snapshots that `target` lacks. Each step is reported as [`Event::Sync`], and so is each dataset that
    /// fails: see [`Synced::failed`]. `keys` provides the keys of pools on either side, and `command` is the line in the
    /// history of a pool that is changed.
    ///
    /// # Errors
    /// The source does not exist; one of the places cannot be read; a bookmark or hold cannot be added; it was cancelled.
    pub fn run(
        &self,
        source: &SyncPlace,
        target: &SyncPlace,
        command: &str,
        keys: &(dyn Keys + Sync),
        control: &mut Control<'_>,
    ) -> Result<Synced> {
        let mut other = None;
        let from: Box<dyn Source + '_> = match source {
            SyncPlace::Pool { place, dataset } => {
                if self.has_marks() {
                    place.check_writable()?;
                }
                let open = place.open(Some(dataset), control)?;
                other = Some(open.pool.guid());
                let (place, dataset, command) = (place.clone(), dataset.clone(), command.to_owned());
                Box::new(PoolSource { place, open, dataset, keys, command })
            }
            SyncPlace::Streams { .. } if self.has_marks() => return Err(SyncFault::Unchangeable.into()),
            SyncPlace::Streams { place, dataset } => Box::new(StreamSource::open(&place.paths, dataset)?),
            SyncPlace::Running(running) => {
                Box::new(Zfs { at: running.clone(), cancel: control.cancel().clone() })
            }
        };
        let to: Box<dyn Target + '_> = match target {
            SyncPlace::Pool { place, .. } => {
                let (place, command) = (place.clone(), command.to_owned());
                Box::new(PoolTarget { place, keys, command, other })
            }
            SyncPlace::Streams { dataset, .. } => {
                return Err(crate::error::Request::NotWritable(dataset.clone()).into());
            }
            SyncPlace::Running(running) => {
                Box::new(Zfs { at: running.clone(), cancel: control.cancel().clone() })
            }
        };
        self.bring(&*from, &*to, (source.dataset(), target.dataset()), control)
    }

    /// True if bookmarks or holds are kept at the source.
    fn has_marks(&self) -> bool {
        self.bookmark.is_some() || self.hold.is_some()
    }

    fn bring(
        &self,
        source: &dyn Source,
        target: &dyn Target,
        (from, to): (&str, &str),
        control: &mut Control<'_>,
    ) -> Result<Synced> {
        let heads = source.list(self.recursive, control)?;
        if heads.is_empty() {
            return Err(SyncFault::NoSource { from: from.to_owned() }.into());
        }
        let there = target.list(to, self.recursive, control)?;
        let mut there: HashMap<String, _> = there.into_iter().map(|head| (head.name.clone(), head)).collect();
        let target_name = |name: &str| format!("{to}{}", name.strip_prefix(from).unwrap_or_default());
        let names = heads.iter().map(|head| (head.name.clone(), target_name(&head.name))).collect();
        let chosen = heads.into_iter().filter(|head| self.filter.has_dataset(&head.name));
        let pair = |source: state::Head| {
            let name = target_name(&source.name);
            Pair { target: there.remove(&name), source, name }
        };
        let pairs: Vec<Pair> = chosen.map(pair).collect();
        let limiter = Limiter::new(self.bytes_per_second);
        let run = Run { request: self, source, target, limiter, top: to, names };
        let (synced, last) = run.all(&pairs, control)?;
        // Also after an interruption: what the target has then begins the next increment.
        if self.has_marks() && !self.dry_run {
            for name in source.mark(&last, self)? {
                control.event(Event::Sync(SyncNote::Marked { name }));
            }
        }
        control.cancel().check()?;
        Ok(synced)
    }
}
