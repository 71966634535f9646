//! Receives of one snapshot (`dmu_recv_begin`, `dmu_recv_stream`, `dmu_recv_end`).
//!
//! ```text
//! judge     every rule, over the datasets of the open transaction group; nothing changes         rules
//! begin     the dataset to fill, marked inconsistent; with its saved state if it can be resumed    start
//! fill      record by record, each when the next one has vouched for it; at intervals a          fill, apply
//!           transaction group is completed, with the point from which a receive resumes          group
//! end       content into place, the snapshot with the sender's guid and time: one                end, assign
//!           transaction group
//! ```
//!
//! If the stream turns out to be damaged, its dataset is destroyed, or kept to be resumed. If the *pool*
//! fails, the open transaction group is lost and the pool has to be opened again. The dataset of the stream is
//! then discarded with [`Receiving::discard`].

mod assign;
mod end;
mod fill;
mod group;
mod start;

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use zstream_dmu::ids::{Guid, ObjectId};
use zstream_dmu::mos::Features;
use zstream_dmu::objset::{Objset, ObjsetWriter};
use zstream_dsl::write::WritablePool;
use zstream_format::judge::Limits;

pub use self::assign::Assignment;
use self::fill::read_past;
use self::group::Group;
use crate::apply::{Apply, Point};
use crate::error::{Error, Fault, Result};
use crate::input::{Input, Opening};
use crate::rules;
use crate::rules::{Destination, KeyData, Receiver, Target};

/// The fixed part of the memory that a receive needs at most, in bytes, whatever its records cost.
pub const MEMORY_BYTES_BASE: u64 = 64 << 20;
/// The part of that memory that grows with each byte of the stream.
pub const MEMORY_PER_STREAM_BYTE: u64 = 4;
/// The upper bound of that memory, for a stream of any length.
pub const MEMORY_BYTES_MAX: u64 = 320 << 20;
/// The version of the pools that are written (`SPA_VERSION_FEATURES`).
const POOL_VERSION: u64 = 5000;

/// A snapshot that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// The full name of the snapshot.
    pub name: String,
    /// Its guid.
    pub guid: Guid,
    /// `true` if the stream was an increment.
    pub is_incremental: bool,
    /// Bytes of the stream.
    pub bytes: u64,
    /// Records of the stream.
    pub records: u64,
    /// Damaged blocks that were repaired.
    pub corrected: u64,
    /// Warnings about properties that could not be set, with the reason.
    pub warnings: Vec<String>,
    /// Heads that had the key of the target, and became encryption roots of their own because the target got another
    /// key.
    pub detached: Vec<ObjectId>,
}

/// A pool that receives streams.
pub struct Receiving<'p> {
    pool: &'p mut WritablePool,
    /// The snapshots received so far, which later parts of a deduplicated stream may refer to.
    received: HashMap<Guid, Arc<Objset>>,
    /// The number of snapshots that were checked.
    judged: u64,
    is_broken: bool,
    /// `true` if the open transaction group has changes that must not be completed if the next snapshot is refused.
    has_pending: bool,
}

impl std::fmt::Debug for Receiving<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiving").field("judged", &self.judged).finish_non_exhaustive()
    }
}

/// A dataset that is being filled.
struct Job {
    /// The dataset or hidden clone that is filled.
    filled: ObjectId,
    /// The dataset that the hidden clone replaces.
    head: Option<ObjectId>,
    set: ObjsetWriter,
    apply: Apply,
    /// `true` if the dataset has entries for the point from which to resume.
    keeps_point: bool,
    /// `true` if the received data is kept when the stream is cut short.
    is_kept: bool,
    /// `true` if a full stream is received over the content of an origin.
    is_full_clone: bool,
    point: Option<(Point, u64)>,
    /// Bytes that were received from earlier streams.
    bytes_before: u64,
    has_large_dnodes: bool,
    keys: Option<KeyData>,
    group: Group,
    warnings: Vec<String>,
    detached: Vec<ObjectId>,
}

impl<'p> Receiving<'p> {
    /// Starts to receive into a pool.
    pub fn new(pool: &'p mut WritablePool) -> Self {
        Self { pool, received: HashMap::new(), judged: 0, is_broken: false, has_pending: false }
    }

    /// Returns `true` if the pool failed while it was written, and so has to be opened again.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Ends receiving, so that nothing holds the pool's devices when the pool is closed. Returns `true` if the pool [is
    /// broken](Self::is_broken).
    #[must_use]
    pub fn finish(self) -> bool {
        self.is_broken
    }

    /// Returns the pool.
    pub fn pool(&mut self) -> &mut WritablePool {
        self.pool
    }

    /// Completes the open transaction group.
    ///
    /// # Errors
    /// Fails if the pool cannot be written. It [is broken](Self::is_broken) then.
    pub(crate) fn commit(&mut self) -> Result<()> {
        self.pool.commit().inspect_err(|_| self.is_broken = true)?;
        self.has_pending = false;
        Ok(())
    }

    /// Notes that the open transaction group has changes that are completed only with the next snapshot.
    pub(crate) fn mark_pending(&mut self) {
        self.has_pending = true;
    }

    /// Completes the transaction group if it has changes that wait for a snapshot.
    ///
    /// # Errors
    /// Fails like [`commit`](Self::commit).
    pub(crate) fn commit_pending(&mut self) -> Result<()> {
        if self.has_pending { self.commit() } else { Ok(()) }
    }

    /// Gives up the changes that wait for a snapshot, after an error. A pool without completed transaction groups is
    /// dropped as it is. Otherwise it must not be closed with these changes.
    pub(crate) fn drop_pending(&mut self) {
        self.is_broken |= self.has_pending && self.pool.has_committed();
    }

    pub(crate) fn mark_broken(&mut self) {
        self.is_broken = true;
    }

    /// Checks a receive against all rules, and changes nothing.
    ///
    /// # Errors
    /// Fails with the first rule that the stream breaks.
    pub fn judge(&mut self, opening: &Opening, target: &Target) -> Result<Destination> {
        self.judged += 1;
        let dsl = self.pool.dsl();
        let features = Features::read(*dsl.mos())?;
        let receiver = Receiver { dsl: &dsl, features: &features, version: POOL_VERSION };
        rules::begin(&receiver, opening.head(), target).map_err(|error| error.at(opening.place))
    }

    /// Checks one snapshot and receives it. `progress` is called with the number of bytes of the input that were read.
    /// A rehearsal does everything except for writing content.
    ///
    /// # Errors
    /// Fails if the stream breaks a rule, is incomplete, or cannot be applied. The target is then as before; with
    /// `resumable`, the received data is kept to be resumed. If the pool fails, it [is broken](Self::is_broken).
    pub fn receive<R: Read>(
        &mut self,
        input: &mut Input<R>,
        opening: Opening,
        target: &Target,
        settings: &[Assignment],
        progress: &mut dyn FnMut(u64),
    ) -> Result<Received> {
        let destination = self.judge(&opening, target)?;
        self.receive_judged(input, opening, target, destination, settings, progress)
    }

    /// Receives one snapshot into a destination that was checked, in a pool that has not changed since.
    pub(crate) fn receive_judged<R: Read>(
        &mut self,
        input: &mut Input<R>,
        opening: Opening,
        target: &Target,
        destination: Destination,
        settings: &[Assignment],
        progress: &mut dyn FnMut(u64),
    ) -> Result<Received> {
        let is_rehearsal = self.pool.pool().is_rehearsal();
        if let Destination::Heal { snapshot } = destination {
            if !is_rehearsal {
                return self.heal(input, opening, snapshot, progress);
            }
            let name = self.pool.dsl().dataset_by_object(snapshot)?.name().to_owned();
            let records = read_past(input, &opening, progress)?;
            return Ok(received(name, input, &opening, records));
        }
        let mut job = self
            .begin(input, &opening, target, destination, settings)
            .inspect_err(|_| self.is_broken = true)?;
        let mut needs = 0;
        let result = if is_rehearsal {
            self.measure(&job, input, &opening, progress).map(|(records, bytes)| {
                needs = bytes;
                records
            })
        } else {
            self.fill(&mut job, input, &opening, progress)
        };
        let records = match result {
            Ok(records) => records,
            Err(error) => return Err(self.fail(job, error)),
        };
        let mut received = received(target.full_name(), input, &opening, records);
        let ended = self
            .end(&mut job, &opening, target, settings)
            .and_then(|()| if is_rehearsal { self.check_room(&job, needs) } else { Ok(()) });
        match ended {
            Ok(()) => {
                (received.warnings, received.detached) = (job.warnings, job.detached);
                Ok(received)
            }
            Err(error) => Err(self.fail(job, error)),
        }
    }

    /// Returns the limits that the pool sets for records.
    pub(crate) fn limits(&mut self) -> Result<Limits> {
        Ok(rules::limits(&Features::read(self.pool.pool().mos())?))
    }

    /// Cleans up after a stream that was cut short or is damaged. What was received is kept to be resumed, or
    /// destroyed.
    fn fail(&mut self, mut job: Job, error: Error) -> Error {
        let is_pool = matches!(error.fault(), Fault::Pool(_));
        if is_pool || self.is_broken {
            self.is_broken = true;
            return error;
        }
        let is_kept = job.is_kept;
        let cleaned = self.complete_group(&mut job).and_then(|()| {
            if !is_kept {
                self.pool.tx().abandon_receive(job.filled)?;
                self.pool.commit()?;
            }
            Ok(())
        });
        self.is_broken |= cleaned.is_err();
        error
    }

    /// Destroys the state of an unfinished receive in a dataset (`zfs receive -A`). Returns `true` if there was one.
    ///
    /// # Errors
    /// Fails if the pool cannot be read or written.
    pub fn discard(&mut self, dataset: &str) -> Result<bool> {
        let filled = self.pool.dsl().unfinished_receive(dataset)?.map(|filled| filled.object());
        let Some(filled) = filled else { return Ok(false) };
        self.pool.tx().abandon_receive(filled)?;
        self.commit()?;
        Ok(true)
    }
}

/// Returns the summary of a stream that was read to its end.
pub(crate) fn received<R: Read>(name: String, input: &Input<R>, opening: &Opening, records: u64) -> Received {
    Received {
        name,
        guid: opening.begin.to_guid,
        is_incremental: opening.begin.from_guid != Guid(0),
        bytes: input.offset() - opening.place.offset,
        records,
        corrected: 0,
        warnings: Vec::new(),
        detached: Vec::new(),
    }
}
