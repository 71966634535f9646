//! Rules for a target that does not exist, so that the stream creates a new dataset.

use zstream_format::flags::{BeginFlags, FeatureFlags};
use zstream_format::object_type::ObjsetType;

use super::{
    Destination, Head, OpenDataset, Receiver, Target, filesystem_limit, large_blocks, redactions,
    snapshot_limit,
};
use crate::error::Result;
use crate::refusal::Refusal;

pub(super) fn judge<'t>(
    receiver: &Receiver<'t>,
    head: Head<'_>,
    target: &Target,
) -> Result<Destination<OpenDataset<'t>>> {
    let dsl = receiver.dsl;
    let clone = head.begin.flags.contains(BeginFlags::CLONE) || target.origin.is_some();
    if head.is_incremental() && !clone {
        return Err(Refusal::IncrementalIntoNothing(target.dataset.clone()).into());
    }
    if !head.is_incremental() && clone && !head.begin.flags.contains(BeginFlags::FREERECORDS) {
        return Err(Refusal::NoFreeRecords.into());
    }
    let (above, _) = target.dataset.rsplit_once('/').ok_or_else(|| Refusal::NoParent(String::new()))?;
    let parent = dsl.find_head(above)?.ok_or_else(|| Refusal::NoParent(above.to_owned()))?;
    if !head.has(FeatureFlags::RAW) && target.origin.is_none() {
        super::encryption::of_new(receiver, head, parent.dir(), &target.encryption)?;
    }
    filesystem_limit(parent.dir())?;
    snapshot_limit(parent.dir())?;
    if parent.objset_locked()?.phys().objset_type != ObjsetType::ZFS {
        return Err(Refusal::ParentNotFilesystem(above.to_owned()).into());
    }
    let origin = target.origin.as_deref().map(|name| origin(receiver, head, name)).transpose()?;
    Ok(Destination::New { origin })
}

fn origin<'t>(receiver: &Receiver<'t>, head: Head<'_>, name: &str) -> Result<OpenDataset<'t>> {
    let origin = match receiver.dsl.dataset(name) {
        Ok(origin) => origin,
        Err(error) if error.is_not_found() => {
            return Err(Refusal::NoOrigin(name.to_owned()).into());
        }
        Err(error) => return Err(error.into()),
    };
    if !origin.is_snapshot() {
        return Err(Refusal::OriginNotSnapshot(name.to_owned()).into());
    }
    let (found, expected) = (origin.phys().guid, head.begin.from_guid);
    if head.is_incremental() && found != expected {
        return Err(Refusal::OriginGuid { name: name.to_owned(), found, expected }.into());
    }
    let encrypted = origin.crypto_key()?.is_some();
    if encrypted && head.has(FeatureFlags::EMBED_DATA) {
        return Err(Refusal::EmbeddedIntoEncrypted(name.to_owned()).into());
    }
    if encrypted && !head.has(FeatureFlags::RAW) && !origin.is_unlocked()? {
        return Err(Refusal::KeyNotLoaded(name.to_owned()).into());
    }
    if !encrypted && head.has(FeatureFlags::RAW) {
        return Err(Refusal::RawIntoPlain(name.to_owned()).into());
    }
    redactions(head, &origin)?;
    large_blocks(head, &origin)?;
    Ok(origin)
}
