//! Opening of a pool from devices with labels.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rayon::prelude::*;
use zstream_format::checksum::Salt;
use zstream_format::nvlist::NvList;
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::absent;
use super::apart::Apart;
use super::scan::{self, Candidate};
use super::{Notice, OpenOptions, Pool, VERSIONS};
use crate::block::ReadBlock;
use crate::error::{Error, Fault, Result};
use crate::ids::{Guid, ObjectId, Txg};
use crate::mos::DIRECTORY_OBJECT;
use crate::mos::features::{self, Features};
use crate::object_set::ObjectSet;
use crate::objset::Objset;
use crate::vdev::config::{PoolConfig, PoolState, VdevConfig, VdevType};
use crate::vdev::indirect::{ENTRY_BYTES, Mapping};
use crate::vdev::label::Role;
use crate::vdev::raidz::with_scratch;
use crate::vdev::uberblock::Uberblock;
use crate::vdev::{Member, VdevState, VdevTree};
use crate::zap::Zap;
use crate::zio::BlockReader;

/// The block size of packed nvlists in the MOS, to which they are padded (`SPA_CONFIG_BLOCKSIZE`).
pub(super) const CONFIG_BLOCK_BYTES: u32 = 16 << 10;

/// The size limit of packed nvlists that are read from the MOS.
pub(super) const CONFIG_BYTES_MAX: u64 = 64 << 20;

/// The limit for the number of top-level vdevs in labels. The field in a DVA would allow 2^24.
pub(super) const TOPS_MAX: u64 = 65_536;

/// The size of the parts in which mappings are read: a multiple of the entry size.
const MAPPING_CHUNK_BYTES: usize = ENTRY_BYTES * 65_536;

const LE: ByteOrder = ByteOrder::Little;

pub(super) fn open(candidates: Vec<Candidate>, options: &OpenOptions) -> Result<Pool> {
    let candidates = scan::choose(candidates, options.name.as_deref())?;
    let rings = read_rings(&candidates);
    let members = members(&candidates, &rings);
    let uberblocks = newest_uberblocks(&candidates, &rings);
    let apart = Apart::of(&candidates, &rings);
    let chosen = choose_uberblock(&rings, options.txg);
    let (uberblock, available) = match rings.into_iter().collect::<Result<Vec<_>>>() {
        // There is no uberblock because this device cannot be read.
        Err(unreadable) if chosen.is_err() => return Err(unreadable),
        _ => chosen?,
    };
    check_version(uberblock.version)?;
    let labels = label_configs(&candidates, uberblock.txg);
    let newest = labels
        .iter()
        .copied()
        .max_by_key(|config| config.txg)
        .ok_or_else(|| Error::from(Fault::NotAMember("no device has a label of the pool".to_owned())))?;
    features::unknown(newest.features_for_read.iter().map(String::as_str))?;
    let label_state = newest.state;

    let tops = label_tops(&labels)?;
    let read_from = with_scratch(&members, &tops, &uberblock);
    let tree = Arc::new(VdevTree::build(newest.pool_guid, &tops, &read_from, uberblock.reflowed_to())?);
    tree.set_newest(&uberblocks);
    let reader = Arc::new(BlockReader::new(Arc::clone(&tree), options.cache_bytes, options.observer.clone()));
    let (config, config_list) =
        read_config(&reader, &uberblock).map_err(|error| explain(&tree, &tops, &uberblock, error))?;
    drop(reader);
    let (pool_guid, newest, notices) = (newest.pool_guid, uberblocks, Vec::new());
    let opened = Opened {
        uberblock,
        available,
        label_state,
        pool_guid,
        config,
        config_list,
        members,
        newest,
        apart,
        notices,
    };
    finish(opened, options)
}

/// A pool whose config in the MOS was read.
pub(super) struct Opened {
    pub(super) uberblock: Uberblock,
    /// The transaction groups of all uberblocks.
    pub(super) available: Vec<Txg>,
    pub(super) label_state: PoolState,
    /// The guid of the pool in the labels.
    pub(super) pool_guid: Guid,
    pub(super) config: PoolConfig,
    pub(super) config_list: NvList,
    pub(super) members: HashMap<Guid, Member>,
    /// The transaction groups of the newest uberblocks on the members.
    pub(super) newest: HashMap<Guid, Txg>,
    /// The members that were written apart from their siblings.
    pub(super) apart: Apart,
    pub(super) notices: Vec<Notice>,
}

/// Opens a pool with the vdev tree of its config.
pub(super) fn finish(opened: Opened, options: &OpenOptions) -> Result<Pool> {
    let Opened { uberblock, available, label_state, config, config_list, mut notices, .. } = opened;
    if config.pool_guid != opened.pool_guid || config.vdev_tree.guid != opened.pool_guid {
        let detail = format!(
            "belongs to pool {}, the labels belong to pool {}",
            config.pool_guid.0, opened.pool_guid.0
        );
        return Err(Error::corrupt("config in the MOS", detail));
    }
    let guid_sum = config.vdev_tree.guid_sum();
    if guid_sum != uberblock.guid_sum {
        let detail = format!("guids of the vdevs add up to {guid_sum}, expected {}", uberblock.guid_sum);
        return Err(Error::corrupt("config in the MOS", detail));
    }
    let tops = &config.vdev_tree.children;
    let members = with_scratch(&opened.members, tops, &uberblock);
    let tree = VdevTree::build(config.pool_guid, tops, &members, uberblock.reflowed_to())?;
    let tree = Arc::new(tree);
    tree.set_newest(&opened.newest);
    if !options.allow_missing {
        check_members(&tree)?;
    }
    let reader = Arc::new(BlockReader::new(Arc::clone(&tree), options.cache_bytes, options.observer.clone()));
    let (mos, features) =
        read_mos(&reader, &uberblock, options, &mut notices).map_err(|error| explain_lost(&tree, error))?;
    // A member about whose log nothing is known is trusted least.
    let _ = absent::load(&*mos, &tree);
    notices.extend(opened.apart.mark(&tree).into_iter().map(Notice::Apart));
    let refused = Vec::new();
    Ok(Pool {
        uberblock,
        available,
        label_state,
        config,
        config_list,
        reader,
        mos,
        features,
        refused,
        notices,
    })
}

/// Opens the MOS and reads its features. Loads the mappings of removed vdevs and the salt into the reader. In a rescue,
/// what cannot be read of these becomes a notice.
fn read_mos(
    reader: &Arc<BlockReader>,
    uberblock: &Uberblock,
    options: &OpenOptions,
    notices: &mut Vec<Notice>,
) -> Result<(Arc<Objset>, Features)> {
    let mos = Arc::new(open_mos(reader, uberblock)?);
    let mut or_notice = |what: &str, error: Error| match options.rescue {
        true => {
            notices.push(Notice::unread(what, &error));
            Ok(())
        }
        false => Err(error),
    };
    match load_mappings(reader.vdevs(), &mos) {
        // The data on the removed vdevs is lost, too.
        Err(_) if options.allow_missing && reader.vdevs().lost().next().is_some() => {}
        Err(error) => or_notice("the mappings of removed vdevs", error)?,
        Ok(()) => {}
    }
    if let Err(error) = load_salt(reader, &mos) {
        or_notice("the salt of checksums", error)?;
    }
    let features = match read_features(&*mos, uberblock.version) {
        Ok(features) => features,
        Err(error) => {
            or_notice("the features of the pool", error)?;
            Features::default()
        }
    };
    features.check_readable()?;
    Ok((mos, features))
}

fn load_salt(reader: &BlockReader, mos: &Objset) -> Result<()> {
    if let Some(salt) = Zap::open(mos, DIRECTORY_OBJECT)?.lookup("org.illumos:checksum_salt")? {
        let salt: [u8; Salt::SIZE] = salt.bytes()?.try_into().map_err(|_| {
            Error::corrupt("pool salt", format!("is {} bytes, expected {}", salt.len(), Salt::SIZE))
        })?;
        reader.set_salt(Salt::new(salt));
    }
    Ok(())
}

fn check_version(version: u64) -> Result<()> {
    let (oldest, newest, with_features) = VERSIONS;
    if (oldest..=newest).contains(&version) || version == with_features {
        return Ok(());
    }
    Err(Error::unsupported(format!("pool version {version}")))
}

/// Returns the newest uberblock of each transaction group in the labels of a pool, oldest first.
pub(super) fn uberblocks(candidates: Vec<Candidate>, name: Option<&str>) -> Result<Vec<Uberblock>> {
    newest_of_each(read_rings(&scan::choose(candidates, name)?), std::iter::empty())
}

/// Returns the newest uberblock of each transaction group, oldest first.
pub(super) fn newest_of_each(
    rings: Vec<Ring>,
    others: impl Iterator<Item = Uberblock>,
) -> Result<Vec<Uberblock>> {
    let mut groups: BTreeMap<Txg, Uberblock> = BTreeMap::new();
    let mut failed = None;
    for ring in rings.into_iter().chain([Ok(others.collect())]) {
        match ring {
            Ok(ring) => {
                for uberblock in ring {
                    let kept = groups.entry(uberblock.txg).or_insert(uberblock);
                    if kept.rank() < uberblock.rank() {
                        *kept = uberblock;
                    }
                }
            }
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if groups.is_empty() => Err(error),
        _ => Ok(groups.into_values().collect()),
    }
}

/// The uberblocks on one device.
pub(super) type Ring = Result<Vec<Uberblock>>;

pub(super) fn read_rings(candidates: &[Candidate]) -> Vec<Ring> {
    let read = |candidate: &Candidate| {
        let ashift = candidate.config().and_then(|config| config.vdev_tree.ashift).unwrap_or(9);
        let found = candidate
            .labels
            .uberblocks(&*candidate.member.device, ashift)
            .map_err(|error| error.on_vdev(&candidate.member.name))?;
        Ok(found.into_iter().map(|found| found.uberblock).collect())
    };
    candidates.par_iter().map(read).collect()
}

/// Returns the newest uberblock on any device, or the one of a transaction group, and the transaction groups of all
/// uberblocks.
pub(super) fn choose_uberblock(rings: &[Ring], txg: Option<Txg>) -> Result<(Uberblock, Vec<Txg>)> {
    let all = || rings.iter().flatten().flatten();
    let available: Vec<Txg> =
        all().map(|uberblock| uberblock.txg).collect::<BTreeSet<_>>().into_iter().collect();
    let wanted = all().filter(|uberblock| txg.is_none_or(|txg| uberblock.txg == txg));
    match (wanted.max_by_key(|uberblock| uberblock.rank()), txg) {
        (Some(uberblock), _) => Ok((*uberblock, available)),
        (None, Some(requested)) => Err(Fault::NoSuchTxg { requested, available }.into()),
        (None, None) => Err(Error::corrupt("pool", "no device has a valid uberblock")),
    }
}

/// Returns the config in the label of each device as of the uberblock.
fn label_configs(candidates: &[Candidate], txg: Txg) -> Vec<&PoolConfig> {
    let labels = candidates.iter().filter_map(|candidate| candidate.labels.best(Some(txg)));
    let configs = labels.filter_map(|label| match &label.role {
        Role::Member(config) => Some(&**config),
        Role::Auxiliary { .. } => None,
    });
    configs.collect()
}

/// Returns the members by the guid of their vdev. If two devices have the same guid, for example an image and a copy
/// of it, the one with the newer uberblock wins, then the one with the newer label.
pub(super) fn members(candidates: &[Candidate], rings: &[Ring]) -> HashMap<Guid, Member> {
    let mut members: HashMap<Guid, (_, &Member)> = HashMap::new();
    for (candidate, ring) in candidates.iter().zip(rings) {
        let Some(config) = candidate.config() else { continue };
        let Some(guid) = config.guid else { continue };
        let newest = ring.iter().flatten().map(Uberblock::rank).max();
        let new = ((newest, config.txg), &candidate.member);
        let kept = members.entry(guid).or_insert(new);
        if kept.0 < new.0 {
            *kept = new;
        }
    }
    members.into_iter().map(|(guid, (_, member))| (guid, member.clone())).collect()
}

/// Returns the transaction groups of the newest uberblocks on the members.
pub(super) fn newest_uberblocks(candidates: &[Candidate], rings: &[Ring]) -> HashMap<Guid, Txg> {
    let mut newest = HashMap::new();
    for (candidate, ring) in candidates.iter().zip(rings) {
        let Some(guid) = candidate.config().and_then(|config| config.guid) else { continue };
        let Some(txg) = ring.iter().flatten().map(|uberblock| uberblock.txg).max() else { continue };
        let kept = newest.entry(guid).or_insert(txg);
        *kept = txg.max(*kept);
    }
    newest
}

/// Returns the top-level vdevs in the labels. A vdev that is not in any label is of type missing, although it may
/// exist.
pub(super) fn label_tops(labels: &[&PoolConfig]) -> Result<Vec<VdevConfig>> {
    let mut tops: BTreeMap<u64, &PoolConfig> = BTreeMap::new();
    let mut count = 0;
    for config in labels {
        let id = config.vdev_tree.id;
        count = count.max(id.saturating_add(1)).max(config.vdev_children.unwrap_or(0));
        let kept = tops.entry(id).or_insert(config);
        if kept.txg < config.txg {
            *kept = config;
        }
    }
    if count > TOPS_MAX {
        return Err(
            Fault::TooLarge { what: "number of top-level vdevs", size: count, limit: TOPS_MAX }.into()
        );
    }
    let missing = |id| VdevConfig::bare(VdevType::Missing, id, Guid(0));
    Ok((0..count)
        .map(|id| tops.get(&id).map_or_else(|| missing(id), |config| config.vdev_tree.clone()))
        .collect())
}

pub(super) fn open_mos(reader: &Arc<BlockReader>, uberblock: &Uberblock) -> Result<Objset> {
    Objset::open(Arc::clone(reader) as Arc<dyn ReadBlock>, 0, uberblock.root)
}

/// Reads the pool's config from the MOS, which has the whole vdev tree.
pub(super) fn read_config(reader: &Arc<BlockReader>, uberblock: &Uberblock) -> Result<(PoolConfig, NvList)> {
    let mos = open_mos(reader, uberblock)?;
    let directory = Zap::open(&mos, DIRECTORY_OBJECT)?;
    let object = directory.lookup_u64("config")?.ok_or_else(|| Error::no_entry("MOS object", "config"))?;
    let list = read_packed_list(&mos, ObjectId(object))?;
    let config = PoolConfig::parse(&list)?;
    if config.vdev_tree.kind != VdevType::Root {
        let name = config.vdev_tree.kind.name();
        return Err(Error::corrupt(
            "config in the MOS",
            format!("vdev tree is of type {name}, expected root"),
        ));
    }
    Ok((config, list))
}

/// Reads a packed nvlist from an object. Its length is in the bonus.
pub(super) fn read_packed_list(set: &dyn ObjectSet, object: ObjectId) -> Result<NvList> {
    let info = set.info(object)?;
    info.expect_type(ObjectType::PACKED_NVLIST)?;
    let bonus = info.bonus()?;
    if bonus.len() < 8 {
        return Err(Error::corrupt("packed nvlist", format!("bonus is {} bytes, expected 8", bonus.len())));
    }
    let size = LE.u64(bonus);
    if size > CONFIG_BYTES_MAX {
        return Err(Fault::TooLarge { what: "packed nvlist", size, limit: CONFIG_BYTES_MAX }.into());
    }
    let mut bytes = vec![0; size as usize];
    set.read(object, 0, &mut bytes)?;
    match NvList::decode(&bytes) {
        Ok(decoded) => Ok(decoded.list),
        Err(error) => Err(Error::corrupt("packed nvlist", format!("object {object}: {error}"))),
    }
}

/// Adds the reason to an error from reading the MOS if members are missing.
fn explain(tree: &VdevTree, tops: &[VdevConfig], uberblock: &Uberblock, error: Error) -> Error {
    if let Err(missing) = check_known_members(tree) {
        return missing;
    }
    if !tree.cut_members().is_empty() {
        return explain_cut(tree, error);
    }
    let guid_sum = tops.iter().fold(tree.guid().0, |sum, top| sum.wrapping_add(top.guid_sum()));
    if guid_sum == uberblock.guid_sum {
        return error;
    }
    Fault::NoLabels(error).into()
}

/// Adds the reason to a read error if vdevs are missing.
fn explain_lost(tree: &VdevTree, error: Error) -> Error {
    match Notice::of_lost(tree) {
        Some(lost) => Fault::TooMuchMissing { what: lost.to_string(), error }.into(),
        None => explain_cut(tree, error),
    }
}

/// Adds the possible reason to a read error if the end of a member is missing.
fn explain_cut(tree: &VdevTree, error: Error) -> Error {
    match tree.cut_members().first() {
        Some(cut) => Fault::TooMuchMissing { what: cut.to_string(), error }.into(),
        None => error,
    }
}

fn check_known_members(tree: &VdevTree) -> Result<()> {
    for top in tree.tops().iter().filter(|top| top.state() == VdevState::Unavailable) {
        let children = top.children();
        if top.config().kind.is_leaf() {
            return Err(Fault::NoMember(top.name().to_owned()).into());
        }
        let missing = children.iter().filter(|child| !child.is_available()).count();
        let Some(allowed) = top.config().kind.losses_allowed(children.len()) else { continue };
        let children = children.len();
        return Err(Fault::TooManyMissing { vdev: top.name().to_owned(), missing, children, allowed }.into());
    }
    Ok(())
}

/// Refuses a pool that is not entirely readable. Log devices are not required.
fn check_members(tree: &VdevTree) -> Result<()> {
    if tree.state() != VdevState::Unavailable {
        return Ok(());
    }
    check_known_members(tree)?;
    let missing = tree.tops().iter().find(|top| !top.is_available());
    Err(Error::no_vdev(missing.map_or("any", |top| top.name())))
}

/// Reads the mappings of removed vdevs. A mapping may be stored on a vdev that was itself removed later, so mappings
/// are retried until none is left. The mapping of the last removed vdev can always be read.
fn load_mappings(tree: &VdevTree, mos: &Objset) -> Result<()> {
    let tops = tree.tops().iter().map(|top| top.config());
    let mut left: Vec<&VdevConfig> = tops.filter(|config| config.kind == VdevType::Indirect).collect();
    while !left.is_empty() {
        let mut failed = Vec::new();
        let mut first = None;
        for config in &left {
            match read_mapping(mos, config) {
                Ok(mapping) => tree.set_mapping(config.id, mapping)?,
                Err(error) => {
                    first = first.or(Some(error.on_vdev(config.display_name())));
                    failed.push(*config);
                }
            }
        }
        match first {
            Some(error) if failed.len() == left.len() => return Err(error),
            _ => left = failed,
        }
    }
    Ok(())
}

fn read_mapping(mos: &Objset, config: &VdevConfig) -> Result<Mapping> {
    let object = config.indirect_object.filter(|&object| object != 0);
    // A vdev that was removed while it was empty has no mapping object.
    let Some(object) = object.map(ObjectId) else { return Ok(Mapping::default()) };
    let entries = Mapping::entries_in_bonus(mos.info(object)?.bonus()?)?;
    let (mut mapping, mut at, end) = (Mapping::default(), 0, entries * ENTRY_BYTES as u64);
    let mut bytes = vec![0; MAPPING_CHUNK_BYTES];
    while at < end {
        let part = &mut bytes[..(end - at).min(MAPPING_CHUNK_BYTES as u64) as usize];
        mos.read(object, at, part)?;
        mapping.extend(part)?;
        at += part.len() as u64;
    }
    Ok(mapping)
}

impl Features {
    /// Reads the features of a pool of a version with feature flags, from the current state of its MOS.
    ///
    /// # Errors
    /// Fails if a ZAP of features cannot be read.
    pub fn read(mos: &dyn ObjectSet) -> Result<Self> {
        read_features(mos, VERSIONS.2)
    }
}

fn read_features(mos: &dyn ObjectSet, version: u64) -> Result<Features> {
    if version != VERSIONS.2 {
        return Ok(Features::default());
    }
    let directory = Zap::open(mos, DIRECTORY_OBJECT)?;
    let list = |name: &str| -> Result<BTreeMap<String, u64>> {
        let object = directory.lookup_u64(name)?.ok_or_else(|| Error::no_entry("MOS object", name))?;
        let zap = Zap::open(mos, ObjectId(object))?;
        zap.entries()
            .map(|entry| {
                let entry = entry?;
                Ok((String::from_utf8_lossy(entry.key.name()?).into_owned(), entry.value.u64()?))
            })
            .collect()
    };
    Ok(Features::new(list("features_for_read")?, list("features_for_write")?))
}
