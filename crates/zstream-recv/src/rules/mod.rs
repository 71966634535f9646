//! The rules of a begin: everything that OpenZFS's receiver asks before it touches anything
//! (`dmu_recv_begin_check`, `dmu_recv_resume_begin_check`, and what `dmu_recv_stream` asks of keys).
//!
//! ```text
//! name -> header and list -> features against the pool -> [resuming: its state] -> target is there | target is new -> keys
//! ```
//!
//! One function per rule; the order is OpenZFS's, so that a stream that breaks several is refused with the same
//! errno. Here nothing is changed. What comes out is a [`Destination`]. Magic and byte order are the business of
//! [`zstream_format::stream`].
//!
//! Departures: where OpenZFS 2.3.2 looks for large blocks in the parent of a new clone, the origin is asked, as is
//! meant; the keys of raw streams and the point at which a stream goes on are judged here, where OpenZFS has
//! begun already and has to undo it; and keys with a wrapping that would lock the target are refused, which it takes.

mod encryption;
mod existing;
mod fresh;
mod heal;
mod resume;
mod stream;

use std::sync::Arc;

use zstream_dmu::ids::ObjectId;
use zstream_dmu::mos::Features;
use zstream_dsl::OpenMos;
use zstream_dsl::dataset::{Dataset, Dir};
use zstream_dsl::name::Name;
use zstream_dsl::pool::Dsl;
use zstream_format::flags::FeatureFlags;
use zstream_format::judge::Limits;
use zstream_format::nvlist::NvList;
use zstream_format::record::{Begin, MAX_BLOCK_BYTES};

pub use self::encryption::{Encryption, KeyData, OwnKey};
pub(crate) use self::stream::pool_feature;
use crate::error::Result;
use crate::refusal::Refusal;

/// A dataset as it is in the transaction group in which a stream is judged.
pub(crate) type Found<'t> = Dataset<OpenMos<'t>>;

/// The pool that receives.
#[derive(Clone)]
pub struct Receiver<'a> {
    /// Its datasets, in the open transaction group.
    pub dsl: &'a Arc<Dsl<OpenMos<'a>>>,
    /// Its features.
    pub features: &'a Features,
    /// Its version.
    pub version: u64,
}

/// What a pool with these features allows in records.
pub(crate) fn limits(features: &Features) -> Limits {
    let large = |feature| features.is_enabled(feature);
    Limits {
        max_block_bytes: if large("large_blocks") { MAX_BLOCK_BYTES as u32 } else { 128 << 10 },
        max_dnode_slots: if large("large_dnode") { 32 } else { 1 },
    }
}

/// What is asked for, once it is known which snapshot is made (`dmu_recv_begin`'s arguments).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The filesystem or volume: `pool/fs`.
    pub dataset: String,
    /// The snapshot's short name.
    pub snapshot: String,
    /// The snapshot that a new dataset is to be a clone of.
    pub origin: Option<String>,
    /// Roll the target back if needed (`-F`).
    pub force: bool,
    /// Keep what was received when the receive is interrupted (`-s`).
    pub resumable: bool,
    /// Correct blocks of a snapshot that is there (`-c`).
    pub heal: bool,
    /// How it is encrypted, where it is made new and the stream is not raw.
    pub encryption: Encryption,
    /// Whether the sender reports that it is an encryption root there, so that it becomes one with the keys of a raw stream.
    pub is_encryption_root: bool,
}

impl Target {
    /// The full name of the snapshot.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}@{}", self.dataset, self.snapshot)
    }
}

/// How a stream begins.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Its header.
    pub begin: &'a Begin,
    /// The list behind it.
    pub list: Option<&'a NvList>,
}

impl Head<'_> {
    /// Its features.
    #[must_use]
    pub fn features(&self) -> FeatureFlags {
        self.begin.version_info.features()
    }

    pub(crate) fn has(&self, feature: FeatureFlags) -> bool {
        self.features().contains(feature)
    }

    pub(crate) fn is_incremental(&self) -> bool {
        self.begin.from_guid.0 != 0
    }

    fn numbers(&self, key: &str) -> Option<&[u64]> {
        self.list.and_then(|list| list.get_u64_array(key))
    }

    /// Guids of the snapshots that the stream was redacted by.
    #[must_use]
    pub fn redact_snaps(&self) -> Option<&[u64]> {
        self.numbers("redact_snaps")
    }

    /// Guids of the snapshots that the source of the increment was redacted by.
    #[must_use]
    pub fn redact_from_snaps(&self) -> Option<&[u64]> {
        self.numbers("redact_from_snaps")
    }
}

/// Where a stream goes, all rules being kept. It holds until the pool is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<D = ObjectId> {
    /// Into a new dataset.
    New {
        /// The snapshot that it is a clone of.
        origin: Option<D>,
    },
    /// Into a hidden clone of a dataset, which then takes its place.
    Existing {
        /// The dataset.
        head: D,
        /// The snapshot to start from; none for a full stream.
        base: Option<D>,
    },
    /// Further into what an interrupted receive left.
    Resume {
        /// What is filled: a dataset, or the hidden clone.
        filled: D,
        /// The dataset that the hidden clone is to replace.
        head: Option<D>,
    },
    /// Into the damaged blocks of a snapshot.
    Heal {
        /// The snapshot.
        snapshot: D,
    },
}

impl Destination<Found<'_>> {
    /// The same by object, for when the datasets change.
    fn objects(&self) -> Destination {
        let object = |dataset: &Option<Found<'_>>| dataset.as_ref().map(Dataset::object);
        match self {
            Self::New { origin } => Destination::New { origin: object(origin) },
            Self::Existing { head, base } => {
                Destination::Existing { head: head.object(), base: object(base) }
            }
            Self::Resume { filled, head } => {
                Destination::Resume { filled: filled.object(), head: object(head) }
            }
            Self::Heal { snapshot } => Destination::Heal { snapshot: snapshot.object() },
        }
    }
}

/// Judges a stream that is to be received.
///
/// # Errors
/// The first rule that it breaks, or a pool that cannot be read. Nothing was changed.
pub fn begin(receiver: &Receiver<'_>, head: Head<'_>, target: &Target) -> Result<Destination> {
    names(target)?;
    stream::judge(receiver, head, target)?;
    if head.has(FeatureFlags::RESUMING) {
        return resume::judge(receiver, head, target).map(|destination| destination.objects());
    }
    let destination = match receiver.dsl.find_head(&target.dataset)? {
        Some(found) if target.heal => heal::judge(head, target, &found)?,
        Some(found) => existing::judge(receiver, head, target, found)?,
        None if target.heal => return Err(Refusal::NoDatasetToHeal(target.dataset.clone()).into()),
        None => fresh::judge(receiver, head, target)?,
    };
    let (filled, base) = match &destination {
        Destination::New { origin } => (None, origin.as_ref()),
        Destination::Existing { head, base } => (base.as_ref().map(|_| head), base.as_ref()),
        Destination::Resume { .. } | Destination::Heal { .. } => (None, None),
    };
    encryption::writable(filled, base)?;
    encryption::raw(head, filled, base)?;
    if let Some(owner) = filled.or(base) {
        encryption::wrapping(head, target, owner, filled.is_some())?;
    }
    Ok(destination.objects())
}

/// The name is one that a snapshot can have, and none of those that ZFS keeps for itself.
fn names(target: &Target) -> Result<(), Refusal> {
    let name = target.full_name();
    let refuse = |why: &str| Err(Refusal::Name { name: name.clone(), why: why.to_owned() });
    if name.contains(['%', '$', '#']) {
        return refuse("it holds a character that is not allowed");
    }
    if target.snapshot.contains('@') || target.dataset.contains('@') {
        return refuse("it holds more than one @");
    }
    match Name::parse(&name) {
        Ok(_) => Ok(()),
        Err(error) => refuse(&error.to_string()),
    }
}

/// The source has blocks above 128 KiB and the stream cannot change them (`recv_check_large_blocks`).
fn large_blocks(head: Head<'_>, source: &Found<'_>) -> Result<()> {
    use zstream_dsl::dataset::feature::LARGE_BLOCKS;
    if !head.has(FeatureFlags::LARGE_BLOCKS) && source.has_feature(LARGE_BLOCKS)? {
        return Err(Refusal::LargeBlocks(source.name().to_owned()).into());
    }
    Ok(())
}

/// The stream brings all that a redacted source lacks (`redact_check`).
fn redactions(head: Head<'_>, source: &Found<'_>) -> Result<()> {
    let Some(lacks) = source.redaction_snapshots()? else { return Ok(()) };
    let within = |guids: &[u64]| guids.iter().all(|guid| lacks.contains(guid));
    let fits = if !head.is_incremental() {
        true
    } else if let Some(from) = head.redact_from_snaps() {
        within(from)
    } else if head.has(FeatureFlags::REDACTED) {
        head.redact_snaps().is_some_and(within)
    } else {
        lacks.contains(&head.begin.to_guid.0)
    };
    if fits { Ok(()) } else { Err(Refusal::Redacted(source.name().to_owned()).into()) }
}

/// No limit on snapshots or filesystems, here or above, is reached (`dsl_fs_ss_limit_check`).
fn limit(dir: &Arc<Dir<OpenMos<'_>>>, limit: &'static str, count: &str) -> Result<()> {
    let mut at = Some(dir.clone());
    while let Some(dir) = at {
        if let Some(there) = dir.entry(&format!("com.joyent:{count}"))? {
            let there = there.u64()?;
            if let Some(value) = dir.own_number(limit)?
                && there >= value
            {
                let dataset = dir.name().to_owned();
                return Err(Refusal::Limit { limit, dataset, value, count: there }.into());
            }
        }
        at = dir.parent().cloned();
    }
    Ok(())
}

fn snapshot_limit(dir: &Arc<Dir<OpenMos<'_>>>) -> Result<()> {
    limit(dir, "snapshot_limit", "snapshot_count")
}

fn filesystem_limit(dir: &Arc<Dir<OpenMos<'_>>>) -> Result<()> {
    limit(dir, "filesystem_limit", "filesystem_count")
}
