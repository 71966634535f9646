//! Receives of one snapshot (`dmu_recv_begin`, `dmu_recv_stream`, `dmu_recv_end`).
//!
//! ```text
//! judge     every rule, over the datasets of the open transaction group; nothing changes      rules
//! begin     the dataset to fill, marked inconsistent; with its saved state if it can be resumed
//! fill      record by record, each when the next one has vouched for it; at intervals a       apply
//!           transaction group is completed, with the point from which a receive resumes
//! end       content into place, the snapshot with the sender's guid and time: one transaction group
//! ```
//!
//! If the stream turns out to be damaged, its dataset is destroyed, or kept to be resumed. If the *pool*
//! fails, the open transaction group is lost and the pool has to be opened again. The dataset of the stream is
//! then discarded with [`Receiving::discard`].

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::block::ReadBlock;
use zstream_dmu::error::{Error as PoolError, Fault as PoolFault};
use zstream_dmu::ids::{Guid, ObjectId};
use zstream_dmu::mos::Features;
use zstream_dmu::objset::{Objset, ObjsetWriter};
use zstream_dmu::pool::history::Event;
use zstream_dmu::zap::Value;
use zstream_dsl::CryptoKey;
use zstream_dsl::write::{Change, Filling, ReceivedSnapshot, Resumable, Setting, Use, WritablePool};
use zstream_format::flags::{BeginFlags, FeatureFlags};
use zstream_format::judge::Limits;
use zstream_format::object_type::ObjsetType;
use zstream_format::record::Body;

use crate::apply::{Apply, Point, References};
use crate::error::{Error, Fault, Result};
use crate::input::{Input, Opening};
use crate::needs::Needs;
use crate::refusal::Refusal;
use crate::rules;
use crate::rules::{Destination, Encryption, Head, KeyData, Receiver, Target, pool_feature};

/// The number of stream bytes that one transaction group receives at most.
const GROUP_BYTES: u64 = 512 << 20;
/// The fixed part of the limit on changes that wait in memory, in bytes: dirty data, addresses of blocks that are
/// already written, and dnodes. Above the limit the transaction group is completed.
const GROUP_DIRTY_BYTES_BASE: u64 = 24 << 20;
/// The part of the limit that grows with each byte of the stream in the group. Files need less than this.
const GROUP_DIRTY_PER_STREAM_BYTE: u64 = 2;
/// The upper bound of the limit.
const GROUP_DIRTY_BYTES_MAX: u64 = 160 << 20;

/// The fixed part of the memory that a receive needs at most, in bytes, whatever its records cost.
pub const MEMORY_BYTES_BASE: u64 = 64 << 20;
/// The part of that memory that grows with each byte of the stream.
pub const MEMORY_PER_STREAM_BYTE: u64 = 4;
/// The upper bound of that memory, for a stream of any length.
pub const MEMORY_BYTES_MAX: u64 = 320 << 20;
/// The time that a transaction group stays open (`zfs_txg_timeout`), and so the most that an interrupted receive loses.
const GROUP_TIME: Duration = Duration::from_secs(5);
/// The version of the pools that are written (`SPA_VERSION_FEATURES`).
const POOL_VERSION: u64 = 5000;

/// Properties that decide how blocks are written.
const WRITING_PROPERTIES: [&str; 5] =
    ["checksum", "compression", "copies", "redundant_metadata", "special_small_blocks"];

/// Properties that are set when the receive ends, because they would hinder the receive itself.
const DELAYED: [&str; 3] = ["refquota", "refreservation", "keylocation"];

/// Returns how many bytes of changes may wait in memory after so many bytes of the stream in the group. A stream whose
/// records cost far more than they carry does not fill the memory: its groups are small.
fn group_dirty_bytes(stream_bytes: u64) -> u64 {
    let more = stream_bytes.saturating_mul(GROUP_DIRTY_PER_STREAM_BYTE);
    GROUP_DIRTY_BYTES_BASE.saturating_add(more).min(GROUP_DIRTY_BYTES_MAX)
}

/// A property that is set on the received dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Its name.
    pub name: String,
    /// The change of the property.
    pub setting: Setting,
}

impl Assignment {
    /// Returns the same assignment for the hidden clone that is filled, if the property decides how blocks are written.
    fn for_writing(&self) -> Option<Self> {
        match &self.setting {
            Setting::Local(value) | Setting::Received(value)
                if WRITING_PROPERTIES.contains(&self.name.as_str()) =>
            {
                Some(Self { name: self.name.clone(), setting: Setting::Local(value.clone()) })
            }
            _ => None,
        }
    }
}

/// A snapshot that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Heads for which a warning about missing deduplication was already given.
    not_deduplicated: HashSet<ObjectId>,
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

/// The transaction group that is open.
struct Group {
    begun: Instant,
    from: u64,
}

struct Snapshots<'a>(&'a HashMap<Guid, Arc<Objset>>);

impl References for Snapshots<'_> {
    fn snapshot(&self, guid: Guid) -> Option<Arc<Objset>> {
        self.0.get(&guid).map(Arc::clone)
    }
}

impl<'p> Receiving<'p> {
    /// Starts to receive into a pool.
    pub fn new(pool: &'p mut WritablePool) -> Self {
        let not_deduplicated = HashSet::new();
        Self {
            pool,
            received: HashMap::new(),
            judged: 0,
            not_deduplicated,
            is_broken: false,
            has_pending: false,
        }
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

    fn begin<R: Read>(
        &mut self,
        input: &Input<R>,
        opening: &Opening,
        target: &Target,
        destination: Destination,
        settings: &[Assignment],
    ) -> Result<Job> {
        let begin = &opening.begin;
        let raw = opening.head().has(FeatureFlags::RAW);
        let is_insensitive = begin.flags.contains(BeginFlags::CI_DATA);
        let keys = match (&opening.list, raw) {
            (Some(list), true) => Some(KeyData::parse(list)?),
            _ => None,
        };
        let (filled, head, is_resumed, is_full_clone) = match destination {
            Destination::New { origin: Some(origin) } => {
                let filled = self.pool.create_received_clone(origin, &target.dataset)?;
                self.use_key(filled, origin);
                (filled, None, false, begin.from_guid == Guid(0))
            }
            Destination::New { origin: None } => {
                let filled = self.pool.tx().create(&target.dataset, is_insensitive)?;
                if !raw {
                    self.encrypt(filled, &target.encryption)?;
                }
                (filled, None, false, false)
            }
            Destination::Existing { head, base } => {
                let filled = self.pool.create_receive_child(head, base, is_insensitive)?;
                self.use_key(filled, head);
                (filled, Some(head), false, false)
            }
            Destination::Resume { filled, head } => {
                if let Some(head) = head {
                    self.use_key(filled, head);
                }
                (filled, head, true, false)
            }
            Destination::Heal { .. } => return Err(Refusal::HealWith("a dataset to fill").into()),
        };
        let mut bytes_before = 0;
        let mut warnings = Vec::new();
        if is_resumed {
            bytes_before = self.pool.dsl().dataset_by_object(filled)?.receive_number("bytes")?;
        } else {
            let filling = filling(opening.head(), target);
            self.pool.tx().begin_receive(filled, &filling)?;
            match head {
                None => {
                    let early = |assignment: &&Assignment| !DELAYED.contains(&assignment.name.as_str());
                    warnings = self.assign(filled, settings.iter().filter(early))?;
                }
                Some(_) => {
                    let writing: Vec<_> = settings.iter().filter_map(Assignment::for_writing).collect();
                    self.assign(filled, writing.iter())?;
                }
            }
        }
        if !raw
            && (head.is_some() || is_resumed)
            && begin.from_guid != Guid(0)
            && let Some(base) = self.pool.tx().raw_base(filled)?
        {
            warnings.push(format!(
                "{base} was received raw: this increment is not raw, so that no later raw increment from the sender fits {}",
                target.dataset
            ));
        }
        // A clone has the keys of its origin, which stay as they are until everything was received.
        if let (Some(keys), None) = (&keys, head)
            && self.pool.dsl().dataset_by_object(filled)?.dir().origin()?.is_none()
        {
            self.pool.tx().receive_keys(filled, keys.data.format, &keys.data.wrapped)?;
        }
        let (is_empty, name) = {
            let filled = self.pool.dsl().dataset_by_object(filled)?;
            (filled.phys().root.is_hole(), filled.name().to_owned())
        };
        let objset_type = ObjsetType(begin.objset_type);
        let mut set = match (is_empty, raw) {
            (true, true) => self.pool.create_kept_set(filled, objset_type)?,
            (true, false) => self.pool.create_set(filled, objset_type)?,
            (false, true) => self.pool.open_kept_head(filled)?,
            (false, false) => self.pool.open_head(filled)?,
        };
        if let Some(keys) = &keys {
            set.set_raw_head(&keys.data)?;
        }
        let what = if is_resumed { "resume receive" } else { "receive" };
        self.pool.log(Event::Internal(what, &format!("{name} ({filled})")))?;
        let keeps_point = is_resumed || target.resumable;
        // The new dataset and its object set are on disk before the first record is applied.
        self.pool.sync(filled, &mut set)?;
        self.commit()?;
        let limits = self.limits()?;
        Ok(Job {
            filled,
            head,
            set,
            apply: Apply::new(begin, limits, opening.header.order()),
            keeps_point,
            is_kept: target.resumable,
            is_full_clone,
            point: None,
            bytes_before,
            has_large_dnodes: false,
            keys,
            group: Group { begun: Instant::now(), from: input.offset() },
            warnings,
            detached: Vec::new(),
        })
    }

    /// Returns the limits that the pool sets for records.
    pub(crate) fn limits(&mut self) -> Result<Limits> {
        Ok(rules::limits(&Features::read(self.pool.pool().mos())?))
    }

    /// Sets properties. Those that are refused are skipped, with a warning.
    fn assign<'a>(
        &mut self,
        head: ObjectId,
        settings: impl Iterator<Item = &'a Assignment>,
    ) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        let mut is_marked = false;
        for Assignment { name, setting } in settings {
            let mut tx = self.pool.tx();
            if matches!(setting, Setting::Received(_)) && !is_marked {
                tx.set_has_received(head)?;
                is_marked = true;
            }
            let is_allowed = match setting {
                Setting::Local(value) if name == "keylocation" => {
                    tx.dsl().dataset_by_object(head)?.check_key_location(value.text()?)
                }
                Setting::Local(value) | Setting::Received(value) => tx.dsl().check_value(name, value),
                _ => Ok(()),
            };
            if let Err(error) = is_allowed.and_then(|()| tx.set_property(head, name, setting)) {
                if !error.is_refusal() {
                    return Err(error.into());
                }
                let dataset = self.pool.dsl().dataset_by_object(head)?.name().to_owned();
                warnings.push(format!("cannot receive {name} property on {dataset}: {error}"));
            }
        }
        Ok(warnings)
    }

    /// Reads and writes a dataset with the key of the dataset that it starts from, if that key is loaded.
    fn use_key(&mut self, filled: ObjectId, from: ObjectId) {
        if let Some(key) = self.pool.keyring().get(from.0) {
            self.pool.add_key(filled, &key);
        }
    }

    /// Gives keys to a new dataset that has to be encrypted. They are wrapped by a key of its own, or by the key of the
    /// dataset above it.
    fn encrypt(&mut self, filled: ObjectId, encryption: &Encryption) -> Result<()> {
        let above = {
            let filled = self.pool.dsl().dataset_by_object(filled)?;
            filled.dir().parent().map(|parent| CryptoKey::of(parent)).transpose()?.flatten()
        };
        let (suite, own) = match (encryption, &above) {
            (Encryption::Off, _) | (Encryption::Inherit, None) => return Ok(()),
            (Encryption::Inherit, Some(above)) => (above.wrapped.suite, None),
            (Encryption::On { suite, own }, _) => {
                let suite = suite.or(above.as_ref().map(|above| above.wrapped.suite));
                (suite.ok_or(Refusal::KeyMissing("no dataset above has a key"))?, own.as_ref())
            }
        };
        let locked = || PoolError::from(PoolFault::Encrypted { what: "the dataset above".to_owned() });
        let wrapping = match (own, above) {
            (Some(own), _) => own.wrapping.clone(),
            (None, Some(above)) => self.pool.wrapping(above.root).cloned().ok_or_else(locked)?,
            (None, None) => return Err(Refusal::KeyMissing("no dataset above has a key").into()),
        };
        let location = own.map(|own| own.location.as_str());
        Ok(self.pool.encrypt(filled, suite, &wrapping, location)?)
    }

    /// Applies all records up to END, and returns their number.
    fn fill<R: Read>(
        &mut self,
        job: &mut Job,
        input: &mut Input<R>,
        opening: &Opening,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64> {
        let counted_from = input.counted_from();
        let records = input.records(opening, |at, offset| {
            let point = job
                .apply
                .record(&mut job.set, &Snapshots(&self.received), &at.header, at.payload)
                .map_err(|error| error.at(at.place))?;
            if !job.has_large_dnodes
                && let Some(Body::Object(object)) = at.header.body()
                && object.slots() > 1
            {
                job.has_large_dnodes = true;
                self.pool.tx().activate_feature(job.filled, "large_dnode", &Value::word(0))?;
            }
            if let Some(point) = point {
                job.point = Some((point, job.bytes_before + at.end.saturating_sub(counted_from)));
            }
            progress(offset);
            if job.set.dirty_bytes() as u64 > group_dirty_bytes(offset - job.group.from)
                || offset - job.group.from > GROUP_BYTES
                || job.group.begun.elapsed() > GROUP_TIME
            {
                self.complete_group(job)?;
                self.pool.tx().check_quotas(job.filled)?;
                job.group = Group { begun: Instant::now(), from: offset };
            }
            Ok(())
        })?;
        if job.is_full_clone {
            job.apply.free_above(&mut job.set)?;
        }
        Ok(records)
    }

    /// Reads all records up to END without applying them. Returns their number, and the space that their blocks need.
    fn measure<R: Read>(
        &mut self,
        job: &Job,
        input: &mut Input<R>,
        opening: &Opening,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(u64, u64)> {
        let mut needs = Needs::new(self.pool, job.filled)?;
        let records = input.records(opening, |at, offset| {
            if let Some(body) = at.header.body() {
                needs.record(&body, &at.payload)?;
            }
            progress(offset);
            Ok(())
        })?;
        Ok((records, needs.bytes()))
    }

    /// Checks, in a rehearsal, that the pool and quotas have room. The space counts as used for the snapshots that
    /// follow.
    fn check_room(&mut self, job: &Job, needs: u64) -> Result<()> {
        let head = job.head.unwrap_or(job.filled);
        let dir = self.pool.dsl().dataset_by_object(head)?.dir().object();
        let mut tx = self.pool.tx();
        if job.head.is_some() {
            tx.check_received_refquota(head, needs)?;
        }
        let used = i64::try_from(needs).unwrap_or(i64::MAX);
        tx.use_space(dir, Use::Head, Change { used, ..Change::default() })?;
        Ok(tx.check_quotas(head)?)
    }

    fn complete_group(&mut self, job: &mut Job) -> Result<()> {
        if let (Some((point, bytes)), true) = (job.point, job.keeps_point) {
            self.pool.tx().set_resume_point(job.filled, point, bytes)?;
        }
        self.pool.sync(job.filled, &mut job.set)?;
        self.pool.commit()?;
        Ok(())
    }

    fn end(
        &mut self,
        job: &mut Job,
        opening: &Opening,
        target: &Target,
        settings: &[Assignment],
    ) -> Result<()> {
        self.pool.sync(job.filled, &mut job.set)?;
        self.pool.tx().check_quotas(job.filled)?;
        let received = ReceivedSnapshot {
            name: target.snapshot.clone(),
            guid: opening.begin.to_guid,
            creation_time: opening.begin.creation_time,
            ivset: job.keys.as_ref().map(|keys| keys.to_ivset).filter(|guid| *guid != 0),
        };
        let mut tx = self.pool.tx();
        let snapshot = tx.end_receive(job.filled, job.head, target.force, &received)?;
        let (name, root) = {
            let snapshot = tx.dsl().dataset_by_object(snapshot)?;
            (snapshot.name().to_owned(), snapshot.phys().root)
        };
        if let Some(keys) = &job.keys {
            // The rules have accepted these keys. If that was wrong, too much has changed already.
            let (target_head, becomes_root) = (job.head.unwrap_or(job.filled), target.is_encryption_root);
            let received =
                self.pool.receive_keys(target_head, keys.data.format, &keys.data.wrapped, becomes_root);
            job.detached = received.inspect_err(|_| self.is_broken = true)?;
        }
        let late =
            |assignment: &&Assignment| job.head.is_some() || DELAYED.contains(&assignment.name.as_str());
        let warnings = self.assign(job.head.unwrap_or(job.filled), settings.iter().filter(late))?;
        job.warnings.extend(warnings);
        let head = job.head.unwrap_or(job.filled);
        let deduplicated = {
            let dataset = self.pool.dsl().dataset_by_object(head)?;
            dataset.wants_dedup()?.then(|| dataset.name().to_owned())
        };
        if let Some(name) = deduplicated
            && self.not_deduplicated.insert(head)
        {
            job.warnings.push(format!("{name} has dedup on: its blocks are written without deduplication"));
        }
        self.pool.log(Event::Internal("finish receiving", &format!("{name} snap={}", target.snapshot)))?;
        self.commit()?;
        let keyring = self.pool.keyring();
        if let Some(key) = keyring.get(job.head.unwrap_or(job.filled).0) {
            keyring.insert(snapshot.0, key);
        }
        let set = self.referred(snapshot, root, job.keys.is_some())?;
        self.received.insert(opening.begin.to_guid, set);
        Ok(())
    }

    /// Returns the objects of a snapshot in the form that references need: as stored if the stream is raw.
    fn referred(&self, snapshot: ObjectId, root: BlockPointer, raw: bool) -> Result<Arc<Objset>> {
        let reader = Arc::clone(self.pool.pool().reader()) as Arc<dyn ReadBlock>;
        let open = if raw { Objset::open_locked } else { Objset::open };
        Ok(Arc::new(open(reader, snapshot.0, root)?))
    }

    /// Registers a snapshot that the target already has, since later parts of a deduplicated stream may refer to it. A
    /// snapshot that cannot be read in the form that the stream needs counts as not received.
    pub(crate) fn refer_to(&mut self, dataset: &str, snapshot: &str, head: Head<'_>) -> Result<()> {
        if !head.features().intersects(FeatureFlags::DEDUP | FeatureFlags::DEDUPPROPS) {
            return Ok(());
        }
        let (object, root) = {
            let snapshot = self.pool.dsl().snapshot(&format!("{dataset}@{snapshot}"))?;
            (snapshot.object(), snapshot.phys().root)
        };
        if let Ok(set) = self.referred(object, root, head.has(FeatureFlags::RAW)) {
            self.received.insert(head.begin.to_guid, set);
        }
        Ok(())
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

/// Reads all records up to END without applying them.
fn read_past<R: Read>(input: &mut Input<R>, opening: &Opening, progress: &mut dyn FnMut(u64)) -> Result<u64> {
    input.records(opening, |_, offset| {
        progress(offset);
        Ok(())
    })
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

fn filling(head: Head<'_>, target: &Target) -> Filling {
    let has = |feature| head.has(feature);
    let begin = head.begin;
    // `large_dnode` and the features of algorithms are activated by the first block or object that uses them. The
    // sender used these features at least once. A later receiver has to know them, even if nothing that uses them is
    // left (OpenZFS 2.4.1).
    let active = [FeatureFlags::LARGE_BLOCKS, FeatureFlags::LONGNAME, FeatureFlags::LARGE_MICROZAP];
    let redacted = has(FeatureFlags::REDACTED);
    Filling {
        redactions: redacted.then(|| head.redact_snaps().unwrap_or_default().to_vec()),
        features: active.into_iter().filter(|flag| has(*flag)).filter_map(pool_feature).collect(),
        resumable: target.resumable.then(|| Resumable {
            from_guid: begin.from_guid,
            to_guid: begin.to_guid,
            to_name: begin.name().to_vec(),
            large_blocks: has(FeatureFlags::LARGE_BLOCKS),
            embedded: has(FeatureFlags::EMBED_DATA),
            compressed: has(FeatureFlags::COMPRESSED),
            raw: has(FeatureFlags::RAW),
            from_redactions: head.redact_from_snaps().map(<[u64]>::to_vec),
        }),
    }
}
