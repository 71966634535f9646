//! Rules for the stream itself, and for its features in this pool (`recv_begin_check_feature_flags_impl`).

use zstream_format::flags::{BeginFlags, FeatureFlags, HeaderType};
use zstream_format::judge::{self, Breach};

use super::{Head, Receiver, Target};
use crate::refusal::Refusal;

/// The first pool version with system attributes (`SPA_VERSION_SA`).
const SYSTEM_ATTRIBUTES_VERSION: u64 = 24;

/// The feature that the pool needs for each feature of a stream.
const NEEDS: [(FeatureFlags, &str); 9] = [
    (FeatureFlags::EMBED_DATA, "embedded_data"),
    (FeatureFlags::LZ4, "lz4_compress"),
    (FeatureFlags::LARGE_BLOCKS, "large_blocks"),
    (FeatureFlags::LARGE_MICROZAP, "large_microzap"),
    (FeatureFlags::LARGE_DNODE, "large_dnode"),
    (FeatureFlags::REDACTED, "redacted_datasets"),
    (FeatureFlags::RAW, "encryption"),
    (FeatureFlags::ZSTD, "zstd_compress"),
    (FeatureFlags::LONGNAME, "longname"),
];

/// Checks the header and list of a stream, and that the pool supports them.
pub(super) fn judge(receiver: &Receiver<'_>, head: Head<'_>, target: &Target) -> Result<(), Refusal> {
    if head.begin.version_info.header_type() != HeaderType::Substream {
        return Err(Refusal::Package);
    }
    let clone = head.begin.flags.contains(BeginFlags::CLONE);
    if clone && target.origin.is_none() && !head.has(FeatureFlags::RESUMING) {
        return Err(Refusal::CloneWithoutOrigin(head.begin.from_guid));
    }
    judge::begin(head.begin)?;
    pool_features(receiver, head)?;
    if target.resumable && !receiver.features.is_enabled("extensible_dataset") {
        return Err(Refusal::ResumableNeedsExtensible);
    }
    if head.has(FeatureFlags::RAW) && head.list.is_none() {
        let (field, expected) = ("drr_payloadlen", "the length of a list with crypt_keydata");
        return Err(Breach::Value { field, found: 0, expected }.into());
    }
    judge::begin_list(head.features(), head.list)?;
    Ok(())
}

/// Returns the pool's feature that a feature of a stream needs; `None` for one that every pool supports.
pub(crate) fn pool_feature(feature: FeatureFlags) -> Option<&'static str> {
    NEEDS.into_iter().find(|(stream, _)| *stream == feature).map(|(_, needs)| needs)
}

fn pool_features(receiver: &Receiver<'_>, head: Head<'_>) -> Result<(), Refusal> {
    if head.has(FeatureFlags::SA_SPILL) && receiver.version < SYSTEM_ATTRIBUTES_VERSION {
        return Err(Refusal::PoolVersion { version: receiver.version });
    }
    match NEEDS.into_iter().find(|(stream, needs)| head.has(*stream) && !receiver.features.is_enabled(needs))
    {
        Some((stream, needs)) => Err(Refusal::PoolFeature { stream, needs }),
        None => Ok(()),
    }
}
