//! Why a receive is refused before anything is touched.

use zstream_dmu::ids::{Guid, ObjectId};
use zstream_dsl::erratum::Erratum;
use zstream_format::errno::Errno;
use zstream_format::flags::FeatureFlags;
use zstream_format::judge::Breach;

/// A rule of `dmu_recv_begin` that a stream breaks, for this pool and this target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The name of the snapshot to be made is none.
    #[error("{name:?} cannot be received into: {why}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The header or its list breaks a rule that does not depend on the pool.
    #[error("{0}")]
    Begin(#[from] Breach),
    /// The header of a package where one snapshot is to be received.
    #[error("the stream is a package, not one snapshot")]
    Package,
    /// A package of one dataset that has none of its snapshots.
    #[error("the package holds no snapshot")]
    NothingInPackage,
    /// The feature of the stream needs one that the pool does not have.
    #[error("the stream needs feature {needs}, which is not enabled in the pool")]
    PoolFeature {
        /// What the stream uses.
        stream: FeatureFlags,
        /// The pool's feature, by its short name.
        needs: &'static str,
    },
    /// The pool is of a version before system attributes, the stream has spill blocks.
    #[error("the stream needs pool version 24 or later, the pool has {version}")]
    PoolVersion {
        /// The pool's version.
        version: u64,
    },
    /// Resumable receives keep entries in the dataset.
    #[error(
        "a receive that can be resumed needs feature extensible_dataset, which is not enabled in the pool"
    )]
    ResumableNeedsExtensible,
    /// A stream that has to be received as a clone, without a snapshot to clone.
    #[error("the stream is received as a clone of snapshot {0}, which is not in the pool")]
    CloneWithoutOrigin(Guid),
    /// A clone cannot be received into a dataset that is there.
    #[error("{0} exists, and the stream makes a clone")]
    CloneIntoExisting(String),
    /// An origin was named for a dataset that is there.
    #[error("{0} exists, and an origin was named for it")]
    OriginForExisting(String),
    /// The key of the target, or of the dataset above a new target, is not loaded.
    #[error("the key of {0} is not loaded")]
    KeyNotLoaded(String),
    /// A new dataset is to be encrypted, and there is no key for it.
    #[error("the new dataset cannot be encrypted: {0}")]
    KeyMissing(&'static str),
    /// A property of encryption was given where it cannot be chosen.
    #[error("how it is encrypted cannot be chosen: {0}")]
    EncryptionGiven(&'static str),
    /// The pool cannot have encrypted datasets.
    #[error("feature encryption is not enabled in the pool")]
    NoEncryption,
    /// A receive that was interrupted has left its state.
    #[error("{0} has the state of an interrupted receive; resume it, or discard it with recv -A")]
    Interrupted(String),
    /// The snapshot is there already.
    #[error("snapshot {0} exists")]
    SnapshotExists(String),
    /// The snapshot is there already under another name than the one that was asked for.
    #[error("{asked} is not made: the snapshot exists as {found}")]
    ThereAs {
        /// The full name that was asked for.
        asked: String,
        /// The full name of the snapshot.
        found: String,
    },
    /// Only filesystems have children.
    #[error("{0} has children, and the stream is of a volume")]
    VolumeWithChildren(String),
    /// Only filesystems have children.
    #[error("{0} is not a filesystem, so nothing can be received below it")]
    ParentNotFilesystem(String),
    /// A limit on the number of snapshots or filesystems is reached.
    #[error("{limit} of {dataset} is {value}, and {count} are there")]
    Limit {
        /// The property.
        limit: &'static str,
        /// The dataset that has it.
        dataset: String,
        /// Its value.
        value: u64,
        /// How many there are.
        count: u64,
    },
    /// A raw increment for a dataset that is not encrypted.
    #[error("{0} is not encrypted, and the stream is raw")]
    RawIntoPlain(String),
    /// Embedded blocks are not encrypted, so an encrypted dataset cannot have them.
    #[error("{0} is encrypted, and the stream has embedded blocks")]
    EmbeddedIntoEncrypted(String),
    /// The source of an increment is not among the target's snapshots.
    #[error("{dataset} has no snapshot {from}, which the stream starts from")]
    NoSource {
        /// The target.
        dataset: String,
        /// Guid of the source.
        from: Guid,
    },
    /// The target has changed since the snapshot that the increment starts from.
    #[error("{dataset} was changed since {snapshot}, the source of the stream{}; -F rolls it back", newest_text(newest.as_ref()))]
    Modified {
        /// The target.
        dataset: String,
        /// The source of the increment.
        snapshot: String,
        /// The newest snapshot, if it is another one.
        newest: Option<String>,
    },
    /// A raw increment has to start from the newest snapshot.
    #[error(
        "{dataset} has a newer snapshot than {snapshot}, which the raw stream starts from; -F destroys it"
    )]
    NewerSnapshot {
        /// The target.
        dataset: String,
        /// The source of the increment.
        snapshot: String,
    },
    /// The stream does not hold all that the redacted source lacks.
    #[error("{0} is redacted, and the stream was sent from a source with other redactions")]
    Redacted(String),
    /// The source has blocks above 128 KiB; the stream splits them.
    #[error("{0} has blocks above 128 KiB, and the stream was sent without them (send -L)")]
    LargeBlocks(String),
    /// A full stream replaces a dataset only by force.
    #[error("{0} exists; a full stream replaces it only with -F")]
    Exists(String),
    /// A full stream replaces only a dataset without snapshots.
    #[error("{0} has snapshots (such as {1}); they have to be destroyed before a full stream replaces it")]
    HasSnapshots(String, String),
    /// A full stream does not replace a clone.
    #[error("{0} is a clone; it has to be destroyed before a full stream replaces it")]
    IsClone(String),
    /// A full stream cannot replace an encrypted dataset, nor a raw one any dataset.
    #[error("{0} cannot be replaced: {1}")]
    CannotReplace(String, &'static str),
    /// What is above a new target is not there.
    #[error("{0} does not exist")]
    NoParent(String),
    /// An increment for a target that is not there.
    #[error("{0} does not exist, and the stream is an increment")]
    IncrementalIntoNothing(String),
    /// A full stream as a clone, from a sender that left out what is free.
    #[error("the full stream does not say what is free, so it cannot be received as a clone")]
    NoFreeRecords,
    /// The origin that was named is no snapshot, or not there.
    #[error("origin {0} does not exist")]
    NoOrigin(String),
    /// The origin that was named is no snapshot.
    #[error("origin {0} is not a snapshot")]
    OriginNotSnapshot(String),
    /// The origin that was named is not the one that the stream starts from.
    #[error("origin {name} has guid {found}, the stream starts from {expected}")]
    OriginGuid {
        /// Its name.
        name: String,
        /// Its guid.
        found: Guid,
        /// What the stream says.
        expected: Guid,
    },
    /// The dataset to go on with does not wait for this stream.
    #[error("the receive into {dataset} cannot be resumed with this stream: {why}")]
    NotResumable {
        /// The target.
        dataset: String,
        /// Why not.
        why: String,
    },
    /// Resuming a full receive over a dataset that is there.
    #[error("{0} exists; resuming a full receive over it needs -F")]
    ResumeExists(String),
    /// There is nothing to go on with.
    #[error("{0} does not exist, so no receive can be resumed")]
    NothingToResume(String),
    /// Where the stream goes on is not where the dataset stands.
    #[error("the stream goes on at object {}, offset {}; {dataset} stands at object {}, offset {}", found.0, found.1, expected.0, expected.1)]
    ResumePoint {
        /// The target.
        dataset: String,
        /// What the stream says.
        found: (ObjectId, u64),
        /// Where the dataset stands.
        expected: (ObjectId, u64),
    },
    /// Neither the stream nor the source may leave out which IV set it is.
    #[error("the stream or {0} does not say the IV set of the source: {erratum}", erratum = Erratum::NoIvSet)]
    IvSetMissing(String),
    /// The target has keys with which nothing is written any more.
    #[error("{dataset} can only be read: {erratum}: {}", .erratum.advice())]
    FirstKeys {
        /// The target.
        dataset: String,
        /// What is wrong with its keys.
        erratum: Erratum,
    },
    /// The source of a raw increment is another encryption of the same snapshot.
    #[error("{dataset} has IV set {found:x}, the stream starts from {expected:x}")]
    IvSet {
        /// The source.
        dataset: String,
        /// Its IV set.
        found: u64,
        /// That of the stream's source.
        expected: u64,
    },
    /// The keys of a raw increment are not those of the target.
    #[error("{0} has other keys than the stream")]
    OtherKey(String),
    /// The keys of a raw stream are wrapped by another key than the one that opens the target.
    #[error(
        "{dataset} has the key of {root}, and the stream comes with another one, which would lock it: \
         receive {root} first, send it with the stream (send -R), or give {dataset} a key of its own (change-key -o keyformat=)"
    )]
    OtherWrapping {
        /// The dataset that has the keys.
        dataset: String,
        /// Its encryption root.
        root: String,
    },
    /// The table of objects of a raw stream has another shape than the target's.
    #[error("{dataset} has {field} {found} of its table of objects, the stream {expected}")]
    MetaDnode {
        /// The target.
        dataset: String,
        /// What differs.
        field: &'static str,
        /// The target's.
        found: u64,
        /// The stream's.
        expected: u64,
    },
    /// A corrective receive needs the snapshot that it corrects.
    #[error("snapshot {0} does not exist, so there is nothing to correct")]
    NothingToHeal(String),
    /// A corrective receive into a dataset that is not there.
    #[error("{0} does not exist, so there is nothing to correct")]
    NoDatasetToHeal(String),
    /// A corrective receive of another snapshot.
    #[error("snapshot {name} has guid {found}, the stream is of {expected}")]
    HealGuid {
        /// Its name.
        name: String,
        /// Its guid.
        found: Guid,
        /// What the stream says.
        expected: Guid,
    },
    /// A corrective receive together with something that excludes it.
    #[error("a corrective receive cannot be done with {0}")]
    HealWith(&'static str),
}

fn newest_text(newest: Option<&String>) -> String {
    newest.map_or_else(String::new, |newest| format!(" (its newest snapshot is {newest})"))
}

impl Refusal {
    /// The errno of OpenZFS 2.3.
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
            | Self::ThereAs { .. }
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
