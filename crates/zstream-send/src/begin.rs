//! The start of a stream: its features, its BEGIN record and the list after it.

use zstream_dmu::ids::Guid;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::zio::crypt::KeyFormat;
use zstream_dsl::CryptoKey;
use zstream_format::flags::{BeginFlags, FeatureFlags, HeaderType, VersionInfo};
use zstream_format::nvlist::{NvList, Packed};
use zstream_format::record::{BEGIN_MAGIC, Begin, Header};

use crate::error::{Error, Fault, Result};
use crate::form::ORDER;
use crate::output::{Output, Payload};
use crate::plan::{Source, StreamPlan};

/// The alignment of lists in XDR, in bytes.
const LIST_ALIGN: usize = 8;

/// Returns the features of the stream (`setup_featureflags`).
///
/// # Errors
/// Fails if the version of the filesystem cannot be read, and if a form that the dataset requires is not requested.
pub(crate) fn features(plan: &StreamPlan) -> Result<FeatureFlags> {
    let (source, form, active) = (&plan.source, plan.form, plan.source.active);
    let mut features = FeatureFlags::empty();
    let mut set = |flag, wanted| features.set(flag, wanted);
    let raw = form.raw && source.is_encrypted();
    let compressed = form.compressed || form.raw;
    // Encrypted datasets have no embedded blocks.
    let embedded = (form.embedded || form.raw) && !source.is_encrypted() && active.embedded_data;
    let large_blocks = (form.large_blocks || form.raw) && active.large_blocks;
    if active.large_microzap && !large_blocks {
        return Err(Fault::LargeMicrozap.into());
    }
    let has_attributes = match (source.has_system_attributes)(&*source.objset) {
        // A filesystem whose version cannot be read is sent like all filesystems of today, which have them.
        Err(_) if plan.options.corrupt_data => true,
        found => found?,
    };
    set(FeatureFlags::SA_SPILL, has_attributes);
    set(FeatureFlags::LARGE_BLOCKS, large_blocks);
    set(FeatureFlags::EMBED_DATA, embedded);
    set(FeatureFlags::COMPRESSED, compressed);
    set(FeatureFlags::RAW, raw);
    set(FeatureFlags::LZ4, (embedded || compressed) && active.lz4_compress);
    set(FeatureFlags::ZSTD, compressed && active.zstd_compress);
    set(FeatureFlags::RESUMING, is_resuming(plan));
    set(FeatureFlags::REDACTED, plan.redact.is_some());
    set(FeatureFlags::LARGE_DNODE, active.large_dnode);
    set(FeatureFlags::LONGNAME, active.longname);
    set(FeatureFlags::LARGE_MICROZAP, active.large_microzap);
    Ok(features)
}

/// Returns `true` if the stream continues another. Object 0 at offset 0 is the start.
pub(crate) fn is_resuming(plan: &StreamPlan) -> bool {
    plan.resume.is_some_and(|resume| resume.object.0 != 0 || resume.offset != 0)
}

/// Writes BEGIN and its list.
pub(crate) fn begin(plan: &StreamPlan, features: FeatureFlags, output: &mut Output<'_>) -> Result<()> {
    let source = &plan.source;
    let mut flags = BeginFlags::SPILL_BLOCK;
    flags.set(BeginFlags::CLONE, plan.base.as_ref().is_some_and(|base| base.is_origin));
    flags.set(BeginFlags::CI_DATA, source.case_insensitive);
    flags.set(BeginFlags::FREERECORDS, plan.options.freerecords_flag);
    let to_name = Begin::name_field(source.begin_name.as_bytes())
        .ok_or_else(|| Fault::NameTooLong(source.begin_name.clone()))?;
    let begin = Begin {
        magic: BEGIN_MAGIC,
        version_info: VersionInfo::new(HeaderType::Substream, features),
        creation_time: source.creation_time,
        objset_type: source.objset.objset_type().0,
        flags,
        to_guid: source.begin_guid,
        from_guid: plan.base.as_ref().map_or(Guid(0), |base| base.guid),
        to_name,
    };
    let list = list(plan, features);
    let encoding = if plan.options.xdr_lists { Packed::xdr(ORDER) } else { Packed::native(ORDER) };
    let mut packed = if list.is_empty() {
        Vec::new()
    } else {
        list.encode(encoding).map_err(|error| Error::internal(error.to_string()))?
    };
    if plan.options.xdr_lists {
        packed.resize(packed.len().next_multiple_of(LIST_ALIGN), 0);
    }
    let mut header = Header::new(begin, ORDER);
    let length = u32::try_from(packed.len())
        .map_err(|_| Error::internal(format!("the list after BEGIN is {} bytes", packed.len())))?;
    header.set_payload_len_field(length);
    output.header(&header, Payload::from(&packed[..]))
}

/// Returns the list after BEGIN; its entries are in the order of OpenZFS.
fn list(plan: &StreamPlan, features: FeatureFlags) -> NvList {
    let (source, base) = (&plan.source, plan.base.as_ref());
    let mut list = NvList::new();
    let redacted = plan.redact.as_ref().map(|redact| redact.snapshots().to_vec());
    if let Some(snapshots) = redacted.or_else(|| source.redaction_snapshots.clone()) {
        list.add_u64_array("redact_snaps", snapshots);
    }
    let given = base.and_then(|base| match &base.redaction_list {
        Some(redactions) => Some(redactions.snapshots().to_vec()),
        None => base.redaction_snapshots.clone(),
    });
    if let Some(snapshots) = given {
        list.add_u64_array("redact_from_snaps", snapshots);
    }
    if let Some(resume) = plan.resume.filter(|_| is_resuming(plan)) {
        list.add_u64("resume_object", resume.object.0).add_u64("resume_offset", resume.offset);
    }
    if let Some(key) = source.key.as_ref().filter(|_| features.contains(FeatureFlags::RAW)) {
        list.add_list("crypt_keydata", key_data(source, key, base.map_or(0, |base| base.ivset_guid)));
    }
    list
}

/// Returns the wrapped keys and the shape of the meta-dnode for the receiver (`dsl_crypto_populate_key_nvlist`).
fn key_data(source: &Source, key: &CryptoKey, from_ivset_guid: u64) -> NvList {
    let wrapped = &key.wrapped;
    let (format, rounds, salt) = match key.format {
        KeyFormat::Raw => (1, 0, 0),
        KeyFormat::Hex => (2, 0, 0),
        KeyFormat::Passphrase { salt, rounds } => (3, rounds, salt),
    };
    let phys = source.objset.phys();
    let meta = &phys.meta_dnode;
    let mut list = NvList::new();
    list.add_u64("DSL_CRYPTO_SUITE", u64::from(wrapped.suite.0))
        .add_u64("DSL_CRYPTO_GUID", wrapped.guid.0)
        .add_u64("DSL_CRYPTO_VERSION", wrapped.version)
        .add_u8_array("DSL_CRYPTO_MASTER_KEY_1", wrapped.master.to_vec())
        .add_u8_array("DSL_CRYPTO_HMAC_KEY_1", wrapped.hmac.to_vec())
        .add_u8_array("DSL_CRYPTO_IV", wrapped.iv.to_vec())
        .add_u8_array("DSL_CRYPTO_MAC", wrapped.mac.to_vec())
        .add_u8_array("portable_mac", phys.portable_mac.to_vec())
        .add_u64("keyformat", format)
        .add_u64("pbkdf2iters", rounds)
        .add_u64("pbkdf2salt", salt)
        .add_u64("mdn_checksum", u64::from(meta.checksum_type.0))
        .add_u64("mdn_compress", u64::from(meta.compression.0))
        .add_u64("mdn_nlevels", u64::from(meta.levels))
        .add_u64("mdn_blksz", meta.block_bytes())
        .add_u64("mdn_indblkshift", u64::from(meta.indirect_shift))
        .add_u64("mdn_nblkptr", meta.pointers().len() as u64)
        .add_u64("mdn_maxblkid", meta.max_block.0)
        .add_u64("to_ivset_guid", source.ivset_guid)
        .add_u64("from_ivset_guid", from_ivset_guid);
    list
}
