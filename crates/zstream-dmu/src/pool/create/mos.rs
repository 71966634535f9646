//! The objects of a new pool.

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::nvlist::NvList;
use zstream_format::object_type::ObjectType;

use super::super::config_list::{create_packed, number, write_packed};
use super::super::spec::{Shape, TopSpec, VdevClass};
use super::super::{ZAP_METADATA, history};
use super::plan::PoolLayout;
use super::{NewPool, TXG_INITIAL};
use crate::bpobj::write as lists;
use crate::dnode::NewObject;
use crate::error::{Error, Result};
use crate::ids::{Guid, ObjectId};
use crate::mos::DIRECTORY_OBJECT;
use crate::object_store::ObjectStore;
use crate::objset::writer::ObjsetWriter;
use crate::zap::{NewZap, Value, ZapMut, number_key, write as zap};

/// The block size of the list of deferred frees (also `SPA_CONFIG_BLOCKSIZE`).
const SYNC_LIST_BLOCK_BYTES: u32 = 16 << 10;

/// Creates the objects of a new pool, and returns the one of its config, which is not written yet.
pub(super) fn fill_mos(
    mos: &mut ObjsetWriter,
    new: &NewPool,
    plan: &PoolLayout,
    salt: &[u8],
    dspace: u64,
) -> Result<ObjectId> {
    let random = &new.random;
    mos.claim(DIRECTORY_OBJECT, &NewObject::new(ObjectType::OBJECT_DIRECTORY, 0))?;
    zap::create_in(mos, DIRECTORY_OBJECT, &NewZap::new(random.u64()?))?;
    for space in &plan.spaces {
        mos.claim(space.metaslab_array, &NewObject::new(ObjectType::OBJECT_ARRAY, 0))?;
        // Metaslabs without allocations have object 0.
        mos.write(space.metaslab_array, 0, &vec![0; 8 * space.metaslabs() as usize])?;
    }
    for (object, class) in &plan.zaps {
        mos.claim(*object, &NewObject::new(ZAP_METADATA, 0))?;
        zap::create_in(mos, *object, &NewZap::new(random.u64()?))?;
        if let Some(bias) = class.and_then(VdevClass::bias) {
            ZapMut::open(mos, *object)?.add("org.zfsonlinux:allocation_bias", &Value::string(bias))?;
        }
    }
    create_features(mos, new)?;
    let map = zap::create(mos, ZAP_METADATA, &NewZap::new(random.u64()?))?;
    let mut entries = ZapMut::open(mos, map)?;
    for (object, _) in &plan.zaps {
        entries.add(number_key(object.0).as_str(), &Value::word(object.0))?;
    }
    history::create(mos, dspace)?;
    let config = create_packed(mos)?;
    let frees = lists::create(mos, SYNC_LIST_BLOCK_BYTES, false)?;
    // A compressed list would change its size in each pass, and the transaction group would need more passes.
    mos.set_algorithms(frees, ChecksumType::INHERIT, CompressionType::OFF)?;
    let mut directory = ZapMut::open(mos, DIRECTORY_OBJECT)?;
    directory.add("com.delphix:vdev_zap_map", &Value::word(map.0))?;
    directory.add("config", &Value::word(config.0))?;
    directory.add("sync_bplist", &Value::word(frees.0))?;
    directory.add("creation_version", &Value::word(number(&plan.config, "version")))?;
    directory.add("deflate", &Value::word(1))?;
    directory.add("org.illumos:checksum_salt", &Value::from_bytes(salt))?;
    if let Some(spares) = spares(new, plan)? {
        let object = create_packed(mos)?;
        write_packed(mos, object, &spares)?;
        ZapMut::open(mos, DIRECTORY_OBJECT)?.add("spares", &Value::word(object.0))?;
    }
    if !new.properties.is_empty() {
        let object = zap::create(mos, ObjectType::POOL_PROPS, &NewZap::new(random.u64()?))?;
        let mut entries = ZapMut::open(mos, object)?;
        for (name, value) in &new.properties {
            entries.update(name.as_str(), &Value::word(*value))?;
        }
        ZapMut::open(mos, DIRECTORY_OBJECT)?.add("pool_props", &Value::word(object.0))?;
    }
    Ok(config)
}

/// Returns the list of spares, in the order of `vdev_config_generate`; `None` if there are none.
fn spares(new: &NewPool, plan: &PoolLayout) -> Result<Option<NvList>> {
    let spare = |(id, guid, number): &(u64, Guid, u64)| {
        let parity = new.tops[*id as usize].shape.losses_allowed(0);
        let mut list = NvList::new();
        list.add_string("type", "dspare").add_u64("guid", new.random.guid()?.0);
        list.add_string("path", format!("draid{parity}-{id}-{number}")).add_u64("top_guid", guid.0);
        list.add_u64("spareid", *number).add_u64("whole_disk", 1).add_u64("is_spare", 1);
        list.add_u64("ashift", u64::from(new.ashift));
        Ok(list)
    };
    let list: Vec<NvList> = plan.spares.iter().map(spare).collect::<Result<_>>()?;
    let mut spares = NvList::new();
    spares.add_list_array("spares", list);
    Ok((!plan.spares.is_empty()).then_some(spares))
}

fn special_tops(new: &NewPool) -> u64 {
    let is_special = |top: &&TopSpec<_>| !matches!(top.class, VdevClass::Normal | VdevClass::Log);
    new.tops.iter().filter(is_special).count() as u64
}

fn draid_tops(new: &NewPool) -> u64 {
    new.tops.iter().filter(|top| matches!(top.shape, Shape::Draid(_))).count() as u64
}

/// Refuses vdevs that require a feature that the pool does not have.
pub(super) fn check_features(new: &NewPool) -> Result<()> {
    for (count, feature, vdevs) in [
        (special_tops(new), "allocation_classes", "special and dedup vdevs"),
        (draid_tops(new), "draid", "dRAID vdevs"),
    ] {
        if count > 0 && !new.features.contains(feature) {
            return Err(Error::bad_request(format!("{vdevs} require the feature {feature}")));
        }
    }
    Ok(())
}

fn create_features(mos: &mut ObjsetWriter, new: &NewPool) -> Result<()> {
    let create = |mos: &mut ObjsetWriter, name: &str| -> Result<ObjectId> {
        let object = zap::create(mos, ZAP_METADATA, &NewZap::new(new.random.u64()?))?;
        ZapMut::open(mos, DIRECTORY_OBJECT)?.add(name, &Value::word(object.0))?;
        Ok(object)
    };
    let read = create(mos, "features_for_read")?;
    let write = create(mos, "features_for_write")?;
    let descriptions = create(mos, "feature_descriptions")?;
    let notes_txgs = new.features.contains("enabled_txg");
    for feature in new.features.iter() {
        let count = match feature.name {
            "enabled_txg" => new.features.iter().count() as u64,
            "allocation_classes" => special_tops(new),
            "vdev_zaps_v2" => 1,
            "draid" => draid_tops(new),
            _ => u64::from(feature.active_when_enabled),
        };
        let list = if feature.read_only_compatible { write } else { read };
        ZapMut::open(mos, list)?.add(feature.guid, &Value::word(count))?;
        ZapMut::open(mos, descriptions)?.add(feature.guid, &Value::string(feature.description))?;
    }
    if notes_txgs {
        let object = create(mos, "feature_enabled_txg")?;
        let mut entries = ZapMut::open(mos, object)?;
        for feature in new.features.iter() {
            entries.add(feature.guid, &Value::word(TXG_INITIAL.0))?;
        }
    }
    Ok(())
}
