//! Rules that a receive has to pass before it begins: all checks that OpenZFS's receiver does before it changes
//! anything (`dmu_recv_begin_check`, `dmu_recv_resume_begin_check`, and the checks of keys in `dmu_recv_stream`).
//!
//! ```text
//! name -> header and list -> features against the pool -> [resuming: its state] -> target is there | target is new -> keys
//! ```
//!
//! There is one function per rule, in OpenZFS's order, so that a stream that breaks several rules is refused with the
//! same errno. Nothing is changed here; the result is a [`Destination`]. Magic and byte order are checked by
//! [`zstream_format::stream`].
//!
//! Departures: OpenZFS 2.3.2 looks for large blocks in the parent of a new clone; here the origin is checked, as
//! intended. The keys of raw streams and the point at which a stream resumes are checked here, while OpenZFS has
//! already begun and has to undo it. Keys with a wrapping that would lock the target are refused, while OpenZFS accepts
//! them.

mod encryption;
mod existing;
mod fresh;
mod heal;
mod resume;
mod stream;

use std::sync::Arc;

use zstream_dmu::ids::ObjectId;
use zstream_dmu::mos::Features;
use zstream_dsl::dataset::{Dataset, Dir};
use zstream_dsl::name::Name;
use zstream_dsl::{Dsl, OpenMos};
use zstream_format::flags::FeatureFlags;
use zstream_format::judge::Limits;
use zstream_format::nvlist::NvList;
use zstream_format::record::{Begin, MAX_BLOCK_BYTES};

pub(crate) use self::encryption::KeyData;
pub use self::encryption::{Encryption, OwnKey};
pub(crate) use self::stream::pool_feature;
use crate::error::Result;
use crate::refusal::Refusal;

/// A dataset in the transaction group in which a stream is checked.
pub(crate) type OpenDataset<'t> = Dataset<OpenMos<'t>>;

/// The pool that receives.
#[derive(Clone)]
pub(crate) struct Receiver<'a> {
    /// Its datasets, in the open transaction group.
    pub dsl: &'a Arc<Dsl<OpenMos<'a>>>,
    /// Its features.
    pub features: &'a Features,
    /// Its version.
    pub version: u64,
}

/// Returns the limits that a pool with these features sets for records.
pub(crate) fn limits(features: &Features) -> Limits {
    let large = |feature| features.is_enabled(feature);
    Limits {
        max_block_bytes: if large("large_blocks") { MAX_BLOCK_BYTES as u32 } else { 128 << 10 },
        max_dnode_slots: if large("large_dnode") { 32 } else { 1 },
    }
}

/// The requested target, once the snapshot is known (`dmu_recv_begin`'s arguments).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The filesystem or volume: `pool/fs`.
    pub dataset: String,
    /// The snapshot's short name.
    pub snapshot: String,
    /// The snapshot that becomes the origin of a new dataset.
    pub origin: Option<String>,
    /// Roll the target back if needed (`-F`).
    pub force: bool,
    /// Keep the received data when the receive is interrupted (`-s`).
    pub resumable: bool,
    /// Repair blocks of an existing snapshot (`-c`).
    pub heal: bool,
    /// The encryption of a new dataset, unless the stream is raw.
    pub encryption: Encryption,
    /// `true` if it is an encryption root at the sender, so that it becomes one with the keys of a raw stream.
    pub is_encryption_root: bool,
}

impl Target {
    /// Returns the full name of the snapshot.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}@{}", self.dataset, self.snapshot)
    }
}

/// The start of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    /// Its header.
    pub begin: &'a Begin,
    /// The list after it.
    pub list: Option<&'a NvList>,
}

impl Head<'_> {
    /// Returns its features.
    #[must_use]
    pub(crate) fn features(&self) -> FeatureFlags {
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

    /// Returns the guids of the snapshots that the stream was redacted by.
    #[must_use]
    pub(crate) fn redact_snaps(&self) -> Option<&[u64]> {
        self.numbers("redact_snaps")
    }

    /// Returns the guids of the snapshots that the source of the increment was redacted by.
    #[must_use]
    pub(crate) fn redact_from_snaps(&self) -> Option<&[u64]> {
        self.numbers("redact_from_snaps")
    }
}

/// The destination of a stream that passed all rules. It is valid until the pool changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<D = ObjectId> {
    /// A new dataset.
    New {
        /// The snapshot that becomes its origin.
        origin: Option<D>,
    },
    /// A hidden clone of a dataset, which then replaces it.
    Existing {
        /// The dataset.
        head: D,
        /// The snapshot to start from; `None` for a full stream.
        base: Option<D>,
    },
    /// A dataset that an interrupted receive left.
    Resume {
        /// The dataset or hidden clone that is filled.
        filled: D,
        /// The dataset that the hidden clone replaces.
        head: Option<D>,
    },
    /// The damaged blocks of a snapshot.
    Heal {
        /// The snapshot.
        snapshot: D,
    },
}

impl Destination<OpenDataset<'_>> {
    /// Returns the same destination by object number, for when the datasets change.
    fn objects(&self) -> Destination {
        let object = |dataset: &Option<OpenDataset<'_>>| dataset.as_ref().map(Dataset::object);
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

/// Checks a stream against all rules.
///
/// # Errors
/// Fails with the first rule that the stream breaks, or if the pool cannot be read. Nothing is changed.
pub(crate) fn begin(receiver: &Receiver<'_>, head: Head<'_>, target: &Target) -> Result<Destination> {
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

/// Checks that a snapshot can have the name, and that ZFS does not reserve it.
fn names(target: &Target) -> Result<(), Refusal> {
    let name = target.full_name();
    let refuse = |why: &str| Err(Refusal::Name { name: name.clone(), why: why.to_owned() });
    if name.contains(['%', '$', '#']) {
        return refuse("it contains a character that is not allowed");
    }
    if target.snapshot.contains('@') || target.dataset.contains('@') {
        return refuse("it contains more than one @");
    }
    match Name::parse(&name) {
        Ok(_) => Ok(()),
        Err(error) => refuse(&error.to_string()),
    }
}

/// Checks that the stream can change the source's blocks above 128 KiB, if there are any (`recv_check_large_blocks`).
fn large_blocks(head: Head<'_>, source: &OpenDataset<'_>) -> Result<()> {
    use zstream_dsl::dataset::feature::LARGE_BLOCKS;
    if !head.has(FeatureFlags::LARGE_BLOCKS) && source.has_feature(LARGE_BLOCKS)? {
        return Err(Refusal::LargeBlocks(source.name().to_owned()).into());
    }
    Ok(())
}

/// Checks that the stream has everything that is missing from a redacted source (`redact_check`).
fn redactions(head: Head<'_>, source: &OpenDataset<'_>) -> Result<()> {
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

/// Checks that no limit on snapshots or filesystems is reached, in this directory or above (`dsl_fs_ss_limit_check`).
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
