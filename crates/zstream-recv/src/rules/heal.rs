//! Rules for a corrective receive, which repairs damaged blocks of an existing snapshot.

use zstream_format::flags::FeatureFlags;

use super::existing::{no_volume_with_children, not_interrupted, unlocked};
use super::{Destination, Head, OpenDataset, Target};
use crate::error::Result;
use crate::refusal::Refusal;

pub(super) fn judge<'t>(
    head: Head<'_>,
    target: &Target,
    found: &OpenDataset<'t>,
) -> Result<Destination<OpenDataset<'t>>> {
    unlocked(head, found)?;
    not_interrupted(found)?;
    let snapshot =
        found.snapshot(&target.snapshot)?.ok_or_else(|| Refusal::NothingToHeal(target.full_name()))?;
    no_volume_with_children(head, found)?;
    if target.force {
        return Err(Refusal::HealWith("-F").into());
    }
    if found.crypto_key()?.is_some() && head.has(FeatureFlags::EMBED_DATA) {
        return Err(Refusal::EmbeddedIntoEncrypted(found.name().to_owned()).into());
    }
    let (found, expected) = (snapshot.phys().guid, head.begin.to_guid);
    if found != expected {
        return Err(Refusal::HealGuid { name: target.full_name(), found, expected }.into());
    }
    Ok(Destination::Heal { snapshot })
}
