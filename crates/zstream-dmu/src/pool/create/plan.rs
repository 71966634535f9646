//! The vdev tree of a new pool, and the numbers of the objects that it requires.

use std::collections::HashMap;
use std::sync::Arc;

use zstream_format::nvlist::NvList;

use super::super::VERSIONS;
use super::super::layout::{member_asize, metaslab_shift};
use super::super::spec::{TopSpec, VdevClass};
use super::{NewMember, NewPool, TXG_INITIAL};
use crate::error::{Error, Fault, Result};
use crate::ids::{Guid, ObjectId};
use crate::space::vdev_space::VdevSpace;
use crate::vdev::config::PoolState;
use crate::vdev::{MEMBER_BYTES_MIN, Member};
use crate::zio::AllocationClass;

/// The first object without a fixed number.
const FIRST_OBJECT: u64 = 32;

/// The vdev tree of a new pool, and the objects that it requires.
pub(super) struct PoolLayout {
    /// The config as it will be in the MOS, except for its state.
    pub(super) config: NvList,
    pub(super) members: HashMap<Guid, Member>,
    pub(super) spaces: Vec<VdevSpace>,
    /// The ZAPs of vdevs, with the class of top-level vdevs that have one.
    pub(super) zaps: Vec<(ObjectId, Option<VdevClass>)>,
    /// The distributed spares: id and guid of their vdev, and number in it.
    pub(super) spares: Vec<(u64, Guid, u64)>,
}

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> ObjectId {
        self.0 += 1;
        ObjectId(self.0 - 1)
    }
}

/// Plans the vdev tree of a new pool.
pub(super) fn plan(new: &NewPool) -> Result<PoolLayout> {
    let guid = new.random.guid()?;
    let mut numbers = Numbers(FIRST_OBJECT);
    let mut plan = PoolLayout {
        config: NvList::new(),
        members: HashMap::new(),
        spaces: Vec::new(),
        zaps: Vec::new(),
        spares: Vec::new(),
    };
    let txg = TXG_INITIAL.0;
    let mut root = NvList::new();
    root.add_string("type", "root").add_u64("id", 0).add_u64("guid", guid.0).add_u64("create_txg", txg);
    if new.features.contains("vdev_zaps_v2") {
        let zap = numbers.next();
        plan.zaps.push((zap, None));
        root.add_u64("com.klarasystems:vdev_zap_root", zap.0);
    }
    let tops = (0..).zip(&new.tops).map(|(id, top)| plan_top(new, id, top, &mut numbers, &mut plan));
    let tops: Vec<NvList> = tops.collect::<Result<_>>()?;
    let count = tops.len() as u64;
    root.add_list_array("children", tops);

    let mut features = NvList::new();
    for feature in new.features.iter().filter(|feature| feature.needed_for_mos) {
        features.add_boolean(feature.guid);
    }
    let config = &mut plan.config;
    config.add_u64("version", VERSIONS.2).add_string("name", new.name.as_str());
    config.add_u64("state", PoolState::Active.into()).add_u64("txg", txg).add_u64("pool_guid", guid.0);
    config.add_u64("errata", 0);
    for (name, text) in [("comment", &new.comment), ("compatibility", &new.compatibility)] {
        if let Some(text) = text {
            config.add_string(name, text.as_str());
        }
    }
    if new.host.id != 0 {
        config.add_u64("hostid", u64::from(new.host.id));
    }
    config.add_string("hostname", new.host.name.as_str()).add_boolean("com.delphix:has_per_vdev_zaps");
    config.add_u64("vdev_children", count).add_list("vdev_tree", root);
    config.add_list("features_for_read", features);
    Ok(plan)
}

/// Returns the space of a new top-level vdev. `metaslab_array` is the object with the array of its metaslabs' maps.
fn space_of(new: &NewPool, id: u64, top: &TopSpec<NewMember>, metaslab_array: ObjectId) -> Result<VdevSpace> {
    let member_bytes =
        |member: &NewMember| member_asize(member.device.len()).map_err(|error| error.on_vdev(&member.path));
    let sizes = top.leaves.iter().map(member_bytes).collect::<Result<Vec<_>>>()?;
    let asize = top.shape.asize(&sizes);
    // OpenZFS does not open smaller vdevs. Only dRAID leaves so much of its members unused that this happens.
    let least = member_asize(MEMBER_BYTES_MIN)?;
    if asize < least {
        let shape = top.shape;
        let why =
            format!("{shape} vdev has {asize} bytes, at least {least} are required: use larger members");
        return Err(Fault::TooSmall(why).into());
    }
    let class = match top.class {
        VdevClass::Normal => Some(AllocationClass::Normal),
        VdevClass::Special => Some(AllocationClass::Special),
        VdevClass::Dedup => Some(AllocationClass::Dedup),
        VdevClass::Log => None,
    };
    Ok(VdevSpace {
        vdev: id as u32,
        ashift: new.ashift,
        asize,
        metaslab_array,
        metaslab_shift: metaslab_shift(asize),
        alignment: top.shape.alignment(new.ashift),
        unflushed_txgs: None,
        checkpoint_map: None,
        class,
        belongs_to: class,
    })
}

/// Plans a top-level vdev and returns its nvlist, in the order of `vdev_config_generate`.
fn plan_top(
    new: &NewPool,
    id: u64,
    top: &TopSpec<NewMember>,
    numbers: &mut Numbers,
    plan: &mut PoolLayout,
) -> Result<NvList> {
    let space = space_of(new, id, top, numbers.next())?;
    let zap = numbers.next();
    plan.zaps.push((zap, (top.class != VdevClass::Normal).then_some(top.class)));
    let (array, shift, asize) = (space.metaslab_array, space.metaslab_shift, space.asize);
    plan.spaces.push(space);
    let at_top = |list: &mut NvList| {
        list.add_u64("metaslab_array", array.0).add_u64("metaslab_shift", u64::from(shift));
        list.add_u64("ashift", u64::from(new.ashift)).add_u64("asize", asize);
        list.add_u64("is_log", u64::from(top.class == VdevClass::Log));
    };
    let mut leaf = |id: u64, member: &NewMember, is_top: bool| -> Result<NvList> {
        let (guid, own) = (new.random.guid()?, numbers.next());
        let kind = if member.is_disk { "disk" } else { "file" };
        let mut list = NvList::new();
        list.add_string("type", kind).add_u64("id", id).add_u64("guid", guid.0);
        list.add_string("path", member.path.as_str());
        if member.is_disk {
            list.add_u64("whole_disk", 0);
        }
        if is_top {
            at_top(&mut list);
        }
        list.add_u64("create_txg", TXG_INITIAL.0).add_u64("com.delphix:vdev_zap_leaf", own.0);
        if is_top {
            list.add_u64("com.delphix:vdev_zap_top", zap.0);
        }
        plan.zaps.push((own, None));
        let device = Arc::clone(&member.device);
        plan.members.insert(guid, Member { name: member.path.clone(), device });
        Ok(list)
    };
    let Some(kind) = top.shape.kind() else {
        let [member] = &top.leaves[..] else {
            return Err(Error::bad_request(format!(
                "{} vdev has {} members, expected 1",
                top.shape,
                top.leaves.len()
            )));
        };
        return leaf(id, member, true);
    };
    let children = (0..).zip(&top.leaves).map(|(id, member)| leaf(id, member, false));
    let children: Vec<NvList> = children.collect::<Result<_>>()?;
    let mut list = NvList::new();
    let guid = new.random.guid()?;
    list.add_string("type", kind).add_u64("id", id).add_u64("guid", guid.0);
    for (name, number) in top.shape.numbers() {
        list.add_u64(name, number);
    }
    plan.spares.extend((0..top.shape.spares() as u64).map(|spare| (id, guid, spare)));
    at_top(&mut list);
    list.add_u64("create_txg", TXG_INITIAL.0).add_u64("com.delphix:vdev_zap_top", zap.0);
    list.add_list_array("children", children);
    Ok(list)
}
