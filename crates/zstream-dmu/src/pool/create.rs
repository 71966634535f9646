//! The creation of a pool (`spa_create`).
//!
//! This module creates everything in a pool except the datasets. The layer above receives the pool open in its first
//! transaction group, creates the datasets, and commits. Before this commit the devices have labels but no uberblock,
//! so they are not recognized as a pool.
//!
//! ```text
//! object                                content
//! 1                                     the MOS's directory
//! 32 ..                                  for each vdev a metaslab array and ZAPs of properties, in the order of the
//! tree
//!    features_for_read, features_for_write, feature_descriptions [feature_enabled_txg]
//!    vdev_zap_map                        lists the ZAPs of vdevs
//!    history, config, sync_bplist [pool_props]
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use zstream_format::algorithm::CompressionType;
use zstream_format::checksum::Salt;
use zstream_format::nvlist::NvList;
use zstream_format::object_type::{ObjectType, ObjsetType};
use zstream_format::order::ByteOrder;

use super::absent::Absent;
use super::config_list::{create_packed, number, write_packed};
use super::history::{self, Event};
use super::layout::{member_asize, metaslab_shift};
use super::maintained::FeatureSet;
use super::spec::{Shape, TopSpec, VdevClass, check_name};
use super::writer::{PoolWriter, mos_properties};
use super::{VERSIONS, ZAP_METADATA};
use crate::blkptr::BlockPointer;
use crate::block::ReadBlock;
use crate::bpobj::write as lists;
use crate::cache;
use crate::device::Device;
use crate::dnode::NewObject;
use crate::error::{Error, Fault, Result};
use crate::host::Host;
use crate::ids::{Guid, ObjectId, Txg};
use crate::mos::DIRECTORY_OBJECT;
use crate::object_store::ObjectStore;
use crate::objset::writer::ObjsetWriter;
use crate::random::Random;
use crate::space::vdev_space::VdevSpace;
use crate::space::{Allocator, MapForm};
use crate::vdev::config::{ASHIFT_RANGE, PoolState, VdevConfig};
use crate::vdev::sync::PoolLabels;
use crate::vdev::uberblock::{self, MMP_MAGIC, Uberblock, UberblockPhys};
use crate::vdev::{MEMBER_BYTES_MIN, Member, VdevTree};
use crate::zap::{NewZap, Value, ZapMut, number_key, write as zap};
use crate::zio::AllocationClass;
use crate::zio::large_headers::{self, LargeHeaders};
use crate::zio::write::WriteBlock;
use crate::zio::{BlockReader, BlockWriter, WriterSettings};

/// The first transaction group of a pool (`TXG_INITIAL`).
pub(crate) const TXG_INITIAL: Txg = Txg(4);

/// The default sector size of new pools: 4 KiB, so that an image can be copied to any disk.
pub const ASHIFT_DEFAULT: u8 = 12;

/// The first object without a fixed number.
const FIRST_OBJECT: u64 = 32;

/// The block size of the list of deferred frees (also `SPA_CONFIG_BLOCKSIZE`).
const SYNC_LIST_BLOCK_BYTES: u32 = 16 << 10;

/// A device that will become a member.
#[derive(Clone, Debug)]
pub struct NewMember {
    /// The absolute path.
    pub path: String,
    /// Whether it is a disk, or otherwise a file.
    pub is_disk: bool,
    /// The device, open for writing.
    pub device: Arc<dyn Device>,
}

/// The parameters of a new pool.
#[derive(Debug)]
pub struct NewPool {
    /// The name.
    pub name: String,
    /// The top-level vdevs.
    pub tops: Vec<TopSpec<NewMember>>,
    /// The logarithm of the sector size, 9 to 16.
    pub ashift: u8,
    /// The features.
    pub features: FeatureSet,
    /// The properties that are stored in the MOS, by name, as numbers, such as `failmode` and `autotrim`.
    pub properties: Vec<(String, u64)>,
    /// The property `comment`.
    pub comment: Option<String>,
    /// The property `compatibility`: the names of the sets of `features`.
    pub compatibility: Option<String>,
    /// The host that creates the pool.
    pub host: Host,
    /// The time to record for all events in seconds since 1970, instead of the current time.
    pub now: Option<u64>,
    /// The source of guids and salts.
    pub random: Random,
}

/// The vdev tree of a new pool, and the objects that it requires.
struct PoolLayout {
    /// The config as it will be in the MOS, except for its state.
    config: NvList,
    members: HashMap<Guid, Member>,
    spaces: Vec<VdevSpace>,
    /// The ZAPs of vdevs, with the class of top-level vdevs that have one.
    zaps: Vec<(ObjectId, Option<VdevClass>)>,
    /// The distributed spares: id and guid of their vdev, and number in it.
    spares: Vec<(u64, Guid, u64)>,
}

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> ObjectId {
        self.0 += 1;
        ObjectId(self.0 - 1)
    }
}

fn plan(new: &NewPool) -> Result<PoolLayout> {
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

impl PoolWriter {
    /// Creates a pool on these devices and opens it in its first transaction group. Datasets must be created before
    /// this group is committed, which writes the first uberblock. The previous content of the devices is lost
    /// immediately.
    ///
    /// # Errors
    /// Fails if the name, a vdev or the sector size is invalid, and if a device is too small or fails.
    pub fn create(new: NewPool) -> Result<Self> {
        check_name(&new.name)?;
        if !ASHIFT_RANGE.contains(&u64::from(new.ashift)) {
            return Err(Error::bad_request(format!("ashift is {}, expected {ASHIFT_RANGE:?}", new.ashift)));
        }
        check_features(&new)?;
        let plan = plan(&new)?;
        let tree = plan.config.get_list("vdev_tree").map(VdevConfig::parse).transpose()?;
        let tree = tree.ok_or_else(|| Error::bad_request("pool has no vdevs"))?;
        let vdevs = Arc::new(VdevTree::build(tree.guid, &tree.children, &plan.members, 0)?);
        let reader = Arc::new(BlockReader::new(vdevs, cache::DEFAULT_BYTES, None));
        let mut salt = [0; Salt::SIZE];
        new.random.fill(&mut salt)?;
        reader.set_salt(Salt::new(salt));
        let form = MapForm {
            two_words: new.features.contains("spacemap_v2"),
            histogram: new.features.contains("spacemap_histogram"),
        };
        let space = Arc::new(Allocator::create(Arc::clone(&reader), &plan.spaces, form, TXG_INITIAL)?);
        let large_headers = Arc::new(LargeHeaders::of(new.features.contains(large_headers::FEATURE), false));
        let settings = WriterSettings {
            salt: Some(Salt::new(salt)),
            hole_birth: new.features.contains("hole_birth"),
            embedded_data: new.features.contains("embedded_data"),
            large_headers: Arc::clone(&large_headers),
            #[cfg(any(test, feature = "testing"))]
            whole_max: None,
            #[cfg(any(test, feature = "testing"))]
            is_uncompressed: false,
        };
        let writer: Arc<dyn WriteBlock> = Arc::new(BlockWriter::new(Arc::clone(&space) as _, settings));
        let labels = PoolLabels::new(Arc::clone(reader.vdevs()));
        labels.initialize(&plan.config)?;
        let properties = mos_properties(new.features.contains("lz4_compress"));
        let mut mos = ObjsetWriter::create(
            Arc::clone(&reader) as Arc<dyn ReadBlock>,
            Arc::clone(&writer),
            0,
            ObjsetType::META,
            properties,
        )?;
        let room = space.space_use().room;
        let config_object = fill_mos(&mut mos, &new, &plan, &salt, room.normal)?;
        let mut pool = Self {
            reader,
            space,
            writer,
            mos,
            labels,
            config_object,
            is_config_old: true,
            is_rehearsal: false,
            large_headers,
            absent: Absent::default(),
            notices: Vec::new(),
            last: no_uberblock(&tree),
            host: new.host,
            now: new.now,
            config: plan.config,
        };
        let version =
            format!("pool version {}; software version zstream-{}", VERSIONS.2, env!("CARGO_PKG_VERSION"));
        pool.log(Event::Internal("create", &version))?;
        Ok(pool)
    }
}

/// Returns the state before the first uberblock.
fn no_uberblock(tree: &VdevConfig) -> Uberblock {
    let phys = UberblockPhys {
        magic: uberblock::MAGIC,
        version: VERSIONS.2,
        txg: Txg(TXG_INITIAL.0 - 1),
        guid_sum: tree.guid_sum(),
        timestamp: 0,
        root: BlockPointer::EMPTY,
        software_version: VERSIONS.2,
        mmp_magic: MMP_MAGIC,
        mmp_delay: 0,
        mmp_config: 0,
        checkpoint_txg: Txg(0),
        raidz_reflow_info: 0,
    };
    Uberblock { order: ByteOrder::Little, phys }
}

/// Creates the objects of a new pool, and returns the one of its config, which is not written yet.
fn fill_mos(
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
    mos.set_algorithms(frees, zstream_format::algorithm::ChecksumType::INHERIT, CompressionType::OFF)?;
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
fn check_features(new: &NewPool) -> Result<()> {
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
