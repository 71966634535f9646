//! Reasons to refuse a receive before anything is changed.

use zstream_dmu::ids::{Guid, ObjectId};
use zstream_dsl::Erratum;
use zstream_format::errno::Errno;
use zstream_format::flags::FeatureFlags;
use zstream_format::judge::Breach;

/// A rule of `dmu_recv_begin` that a stream breaks, for this pool and this target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// An invalid name for the snapshot.
    #[error("{name:?}: {why}")]
    Name {
        /// The name.
        name: String,
        /// The reason.
        why: String,
    },
    /// A header or list that breaks a rule that does not depend on the pool.
    #[error("{0}")]
    Begin(#[from] Breach),
    /// The header of a package instead of one snapshot.
    #[error("the stream is a package, not one snapshot")]
    Package,
    /// A package of one dataset that holds none of its snapshots.
    #[error("the package holds no snapshot")]
    NothingInPackage,
    /// A feature of the stream that needs a feature that the pool does not have.
    #[error("the stream requires feature {needs}, which is not enabled in the pool")]
    PoolFeature {
        /// The feature of the stream.
        stream: FeatureFlags,
        /// The pool's feature, by its short name.
        needs: &'static str,
    },
    /// A stream with spill blocks for a pool of a version before system attributes.
    #[error("the stream requires pool version 24 or later, the pool has {version}")]
    PoolVersion {
        /// The pool's version.
        version: u64,
    },
    /// A resumable receive into a pool that cannot keep its state in the dataset.
    #[error("a resumable receive requires feature extensible_dataset, which is not enabled in the pool")]
    ResumableNeedsExtensible,
    /// A stream that has to be received as a clone of a snapshot that does not exist.
    #[error("the stream creates a clone of snapshot {0}, which is not in the pool")]
    CloneWithoutOrigin(Guid),
    /// A clone for a target that already exists.
    #[error("{0} exists, but the stream creates a clone")]
    CloneIntoExisting(String),
    /// An origin for a target that already exists.
    #[error("{0} exists, so that it cannot get an origin")]
    OriginForExisting(String),
    /// A key that is not loaded, of the target or of the dataset above a new target.
    #[error("the key of {0} is not loaded")]
    KeyNotLoaded(String),
    /// A new dataset that has to be encrypted without a key.
    #[error("cannot encrypt the new dataset: {0}")]
    KeyMissing(&'static str),
    /// A property of encryption that is not allowed.
    #[error("encryption properties are not allowed: {0}")]
    EncryptionGiven(&'static str),
    /// A pool that does not support encrypted datasets.
    #[error("feature encryption is not enabled in the pool")]
    NoEncryption,
    /// A target with the saved state of an interrupted receive.
    #[error("{0} has the saved state of an interrupted receive; resume it, or discard it with recv -A")]
    Interrupted(String),
    /// A snapshot that already exists.
    #[error("snapshot {0} exists")]
    SnapshotExists(String),
    /// A snapshot that already exists under another name than the requested one.
    #[error("cannot create {requested}: the snapshot already exists as {found}")]
    ExistsAs {
        /// The requested full name.
        requested: String,
        /// The full name of the existing snapshot.
        found: String,
    },
    /// A volume for a target with children.
    #[error("{0} has children, but the stream is of a volume")]
    VolumeWithChildren(String),
    /// A parent that is not a filesystem.
    #[error("{0} is not a filesystem, so that it cannot have children")]
    ParentNotFilesystem(String),
    /// A limit on the number of snapshots or filesystems that is reached.
    #[error("{limit} of {dataset} is {value}, and {count} exist already")]
    Limit {
        /// The property.
        limit: &'static str,
        /// The dataset with the limit.
        dataset: String,
        /// Its value.
        value: u64,
        /// The current number.
        count: u64,
    },
    /// A raw increment for a dataset that is not encrypted.
    #[error("{0} is not encrypted, but the stream is raw")]
    RawIntoPlain(String),
    /// Embedded blocks for an encrypted dataset, which cannot store them encrypted.
    #[error("{0} is encrypted, but the stream has embedded blocks")]
    EmbeddedIntoEncrypted(String),
    /// An increment whose source is not a snapshot of the target.
    #[error("{dataset} has no snapshot {from}, which the stream starts from")]
    NoSource {
        /// The target.
        dataset: String,
        /// Guid of the source.
        from: Guid,
    },
    /// A target that has changed since the source of the increment.
    #[error("{dataset} has changed since {snapshot}, the source of the stream{}; -F rolls it back", newest_text(newest.as_ref()))]
    Modified {
        /// The target.
        dataset: String,
        /// The source of the increment.
        snapshot: String,
        /// The newest snapshot, if it is another one.
        newest: Option<String>,
    },
    /// A raw increment that does not start from the newest snapshot.
    #[error(
        "{dataset} has a newer snapshot than {snapshot}, which the raw stream starts from; -F destroys it"
    )]
    NewerSnapshot {
        /// The target.
        dataset: String,
        /// The source of the increment.
        snapshot: String,
    },
    /// A stream without some of the content that is missing from its redacted source.
    #[error("{0} is redacted, but the stream was sent from a source with other redactions")]
    Redacted(String),
    /// A stream that splits blocks above 128 KiB, for a source that has them.
    #[error("{0} has blocks above 128 KiB, but the stream does not; send it with -L")]
    LargeBlocks(String),
    /// A full stream for an existing dataset, without `-F`.
    #[error("{0} exists; a full stream replaces it only with -F")]
    Exists(String),
    /// A full stream for a dataset with snapshots.
    #[error("{0} has snapshots (such as {1}); destroy them before a full stream replaces it")]
    HasSnapshots(String, String),
    /// A full stream for a clone.
    #[error("{0} is a clone; destroy it before a full stream replaces it")]
    IsClone(String),
    /// A full stream for an encrypted dataset, or a raw full stream for any dataset.
    #[error("cannot replace {0}: {1}")]
    CannotReplace(String, &'static str),
    /// A missing dataset above a new target.
    #[error("{0} does not exist")]
    NoParent(String),
    /// An increment for a target that does not exist.
    #[error("{0} does not exist, but the stream is an increment")]
    IncrementalIntoNothing(String),
    /// A full stream for a clone that does not list free ranges.
    #[error("the full stream does not list free ranges, so that it cannot be received as a clone")]
    NoFreeRecords,
    /// An origin that does not exist.
    #[error("origin {0} does not exist")]
    NoOrigin(String),
    /// An origin that is not a snapshot.
    #[error("origin {0} is not a snapshot")]
    OriginNotSnapshot(String),
    /// An origin that is not the source of the stream.
    #[error("origin {name} has guid {found}, the stream starts from {expected}")]
    OriginGuid {
        /// Its name.
        name: String,
        /// Its guid.
        found: Guid,
        /// The guid in the stream.
        expected: Guid,
    },
    /// A target whose saved state belongs to another stream.
    #[error("cannot resume the receive into {dataset} with this stream: {why}")]
    NotResumable {
        /// The target.
        dataset: String,
        /// The reason.
        why: String,
    },
    /// A resumed full receive over an existing dataset, without `-F`.
    #[error("{0} exists; resuming a full receive over it needs -F")]
    ResumeExists(String),
    /// A receive to resume that does not exist.
    #[error("{0} does not exist, so that there is nothing to resume")]
    NothingToResume(String),
    /// A stream that resumes at another point than the one the dataset expects.
    #[error("the stream resumes at object {}, offset {}, but {dataset} expects object {}, offset {}", found.0, found.1, expected.0, expected.1)]
    ResumePoint {
        /// The target.
        dataset: String,
        /// The point in the stream.
        found: (ObjectId, u64),
        /// The point that the dataset expects.
        expected: (ObjectId, u64),
    },
    /// A stream or source without the IV set.
    #[error("the IV set of the source is missing from the stream or {0}: {erratum}", erratum = Erratum::NoIvSet)]
    IvSetMissing(String),
    /// A target with keys that must not be used for writing.
    #[error("{dataset} can only be read: {erratum}: {}", .erratum.advice())]
    FirstKeys {
        /// The target.
        dataset: String,
        /// The fault of its keys.
        erratum: Erratum,
    },
    /// A source that is another encryption of the same snapshot.
    #[error("{dataset} has IV set {found:x}, but the stream starts from {expected:x}")]
    IvSet {
        /// The source.
        dataset: String,
        /// Its IV set.
        found: u64,
        /// The IV set that the stream starts from.
        expected: u64,
    },
    /// A raw increment with other keys than the target's.
    #[error("the keys of {0} differ from those of the stream")]
    OtherKey(String),
    /// A raw stream whose keys are wrapped by another key than the target's.
    #[error(
        "{dataset} inherits the key of {root}, but the stream has another one, which would lock {dataset}: \
         receive {root} first, send it with the stream (send -R), or give {dataset} a key of its own (change-key -o keyformat=)"
    )]
    OtherWrapping {
        /// The dataset that has the keys.
        dataset: String,
        /// Its encryption root.
        root: String,
    },
    /// A raw stream whose meta dnode differs in shape from the target's.
    #[error("{field} of the meta dnode of {dataset} is {found}, but {expected} in the stream")]
    MetaDnode {
        /// The target.
        dataset: String,
        /// The field that differs.
        field: &'static str,
        /// The value in the target.
        found: u64,
        /// The value in the stream.
        expected: u64,
    },
    /// A corrective receive for a snapshot that does not exist.
    #[error("snapshot {0} does not exist, so that there is nothing to repair")]
    NothingToHeal(String),
    /// A corrective receive for a dataset that does not exist.
    #[error("{0} does not exist, so that there is nothing to repair")]
    NoDatasetToHeal(String),
    /// A corrective receive with a stream of another snapshot.
    #[error("snapshot {name} has guid {found}, the stream is of {expected}")]
    HealGuid {
        /// Its name.
        name: String,
        /// Its guid.
        found: Guid,
        /// The guid in the stream.
        expected: Guid,
    },
    /// A corrective receive with an option that excludes it.
    #[error("a corrective receive cannot be combined with {0}")]
    HealWith(&'static str),
}

fn newest_text(newest: Option<&String>) -> String {
    newest.map_or_else(String::new, |newest| format!(" (its newest snapshot is {newest})"))
}

impl Refusal {
    /// Returns the errno of OpenZFS 2.3.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Begin(breach) => breach.errno(),
            Self::Name { .. }
            | Self::Package
            | Self::NothingInPackage
            | Self::CloneWithoutOrigin(_)
            | Self::CloneIntoExisting(_)
            | Self::OriginForExisting(_)
            | Self::KeyMissing(_)
            | Self::EncryptionGiven(_)
            | Self::RawIntoPlain(_)
            | Self::EmbeddedIntoEncrypted(_)
            | Self::Redacted(_)
            | Self::CannotReplace(..)
            | Self::NoFreeRecords
            | Self::OriginNotSnapshot(_)
            | Self::NotResumable { .. }
            | Self::ResumePoint { .. }
            | Self::MetaDnode { .. }
            | Self::HealWith(_) => Errno::EINVAL,
            Self::PoolFeature { .. }
            | Self::PoolVersion { .. }
            | Self::ResumableNeedsExtensible
            | Self::NoEncryption
            | Self::NoDatasetToHeal(_)
            | Self::HealGuid { .. } => Errno::ENOTSUP,
            Self::KeyNotLoaded(_) | Self::OtherKey(_) | Self::OtherWrapping { .. } => Errno::EACCES,
            Self::Interrupted(_) => Errno::EBUSY,
            Self::SnapshotExists(_)
            | Self::Exists(_)
            | Self::HasSnapshots(..)
            | Self::ExistsAs { .. }
            | Self::IsClone(_) => Errno::EEXIST,
            Self::VolumeWithChildren(_) | Self::ParentNotFilesystem(_) => Errno::ZFS_ERR_WRONG_PARENT,
            Self::Limit { .. } => Errno::EDQUOT,
            Self::NoSource { .. } | Self::OriginGuid { .. } => Errno::ENODEV,
            Self::Modified { .. } | Self::NewerSnapshot { .. } => Errno::ETXTBSY,
            Self::LargeBlocks(_) => Errno::ZFS_ERR_STREAM_LARGE_BLOCK_MISMATCH,
            Self::NoParent(_)
            | Self::IncrementalIntoNothing(_)
            | Self::NoOrigin(_)
            | Self::NothingToResume(_)
            | Self::NothingToHeal(_) => Errno::ENOENT,
            Self::ResumeExists(_) => Errno::ZFS_ERR_RESUME_EXISTS,
            Self::FirstKeys { .. } => Errno::ENOTSUP,
            Self::IvSetMissing(_) => Errno::ZFS_ERR_FROM_IVSET_GUID_MISSING,
            Self::IvSet { .. } => Errno::ZFS_ERR_FROM_IVSET_GUID_MISMATCH,
        }
    }
}
