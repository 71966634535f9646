//! Rules for an existing target, where the stream is received into a hidden clone of it
//! (`recv_begin_check_existing_impl`).

use zstream_dsl::RECEIVE_CHILD;
use zstream_format::flags::{BeginFlags, FeatureFlags};
use zstream_format::object_type::ObjsetType;

use super::{
    Destination, Encryption, Head, OpenDataset, Receiver, Target, large_blocks, redactions, snapshot_limit,
};
use crate::error::Result;
use crate::refusal::Refusal;

pub(super) fn judge<'t>(
    receiver: &Receiver<'t>,
    head: Head<'_>,
    target: &Target,
    found: OpenDataset<'t>,
) -> Result<Destination<OpenDataset<'t>>> {
    unlocked(head, &found)?;
    no_clone(head, target, &found)?;
    not_interrupted(&found)?;
    if found.snapshot(&target.snapshot)?.is_some() {
        return Err(Refusal::SnapshotExists(target.full_name()).into());
    }
    no_volume_with_children(head, &found)?;
    snapshot_limit(found.dir())?;
    let base = if head.is_incremental() {
        encryption(head, &found)?;
        Some(source(head, target, &found)?)
    } else {
        replaceable(receiver, head, target, &found)?;
        None
    };
    Ok(Destination::Existing { head: found, base })
}

/// Checks that the key is loaded if the stream is not raw, since its content is encrypted here.
pub(super) fn unlocked(head: Head<'_>, found: &OpenDataset<'_>) -> Result<()> {
    if !head.has(FeatureFlags::RAW) && !found.is_unlocked()? {
        return Err(Refusal::KeyNotLoaded(found.name().to_owned()).into());
    }
    Ok(())
}

fn no_clone(head: Head<'_>, target: &Target, found: &OpenDataset<'_>) -> Result<(), Refusal> {
    let name = found.name().to_owned();
    if head.begin.flags.contains(BeginFlags::CLONE) {
        return Err(Refusal::CloneIntoExisting(name));
    }
    if target.origin.is_some() {
        return Err(Refusal::OriginForExisting(name));
    }
    Ok(())
}

/// Checks that neither the dataset nor a hidden clone of it has the saved state of a receive.
pub(super) fn not_interrupted(found: &OpenDataset<'_>) -> Result<()> {
    if found.dir().child(RECEIVE_CHILD)?.is_some() || found.has_receive_state()? {
        return Err(Refusal::Interrupted(found.name().to_owned()).into());
    }
    Ok(())
}

pub(super) fn no_volume_with_children(head: Head<'_>, found: &OpenDataset<'_>) -> Result<()> {
    if head.begin.objset_type != ObjsetType::ZFS.0 && !found.dir().children()?.is_empty() {
        return Err(Refusal::VolumeWithChildren(found.name().to_owned()).into());
    }
    Ok(())
}

fn encryption(head: Head<'_>, found: &OpenDataset<'_>) -> Result<()> {
    let encrypted = found.crypto_key()?.is_some();
    let name = || found.name().to_owned();
    if !encrypted && head.has(FeatureFlags::RAW) {
        return Err(Refusal::RawIntoPlain(name()).into());
    }
    if encrypted && head.has(FeatureFlags::EMBED_DATA) {
        return Err(Refusal::EmbeddedIntoEncrypted(name()).into());
    }
    Ok(())
}

/// Returns the snapshot that the hidden clone starts from: the source of the increment, or the newest one if nothing
/// has changed since.
fn source<'t>(head: Head<'_>, target: &Target, found: &OpenDataset<'t>) -> Result<OpenDataset<'t>> {
    let from = found
        .snapshot_by_guid(head.begin.from_guid)?
        .ok_or_else(|| Refusal::NoSource { dataset: found.name().to_owned(), from: head.begin.from_guid })?;
    let (dataset, snapshot) = (found.name().to_owned(), from.name().to_owned());
    let newest = found.previous()?;
    let from_is_newest = newest.as_ref().is_some_and(|newest| newest.object() == from.object());
    let base = if target.force {
        from
    } else {
        if is_modified_since(found, &from)? {
            let newest = newest.filter(|_| !from_is_newest).map(|newest| newest.name().to_owned());
            return Err(Refusal::Modified { dataset, snapshot, newest }.into());
        }
        if head.has(FeatureFlags::RAW) && !from_is_newest {
            return Err(Refusal::NewerSnapshot { dataset, snapshot }.into());
        }
        match newest {
            Some(newest) if !from_is_newest => newest,
            _ => from,
        }
    };
    redactions(head, &base)?;
    large_blocks(head, &base)?;
    Ok(base)
}

/// Returns `true` if a dataset differs from one of its snapshots (`dsl_dataset_modified_since_snap`). The intent log
/// alone does not count.
fn is_modified_since(found: &OpenDataset<'_>, snapshot: &OpenDataset<'_>) -> Result<bool> {
    if found.phys().root.birth() <= snapshot.phys().creation_txg {
        return Ok(false);
    }
    let now = found.objset_locked()?;
    let then = snapshot.objset_locked()?;
    Ok(now.phys().meta_dnode != then.phys().meta_dnode)
}

/// Checks that a full stream may replace the dataset: only by force, and only if neither is encrypted.
fn replaceable(
    receiver: &Receiver<'_>,
    head: Head<'_>,
    target: &Target,
    found: &OpenDataset<'_>,
) -> Result<()> {
    let name = found.name().to_owned();
    if !target.force {
        return Err(Refusal::Exists(name).into());
    }
    if found.crypto_key()?.is_some() {
        return Err(Refusal::CannotReplace(name, "it is encrypted").into());
    }
    if head.has(FeatureFlags::RAW) {
        return Err(Refusal::CannotReplace(name, "the stream is raw").into());
    }
    // The dataset keeps its encryption, but the rules for a new one still apply.
    if matches!(target.encryption, Encryption::On { .. }) {
        return Err(Refusal::CannotReplace(name, "it is not encrypted, but encryption is requested").into());
    }
    if let Some(parent) = found.dir().parent() {
        super::encryption::of_new(receiver, head, parent, &target.encryption)?;
    }
    Ok(())
}
