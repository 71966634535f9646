//! Writes of labels: the config for each device, and the rings of uberblocks.
//!
//! Labels are derived from the config in the MOS:
//!
//! ```text
//! config in the MOS                     label of a device
//!   version name state txg ...            the same
//!   hostid hostname                       the same
//!                                         top_guid guid [is_log]
//!   com.delphix:has_per_vdev_zaps         -
//!   vdev_children [hole_array]            the same
//!   vdev_tree: the root                   vdev_tree: the device's top-level vdev, without ZAPs of vdevs
//!   features_for_read                     the same
//! ```
//!
//! When a transaction group changes the config, the labels are written around the uberblock, so that at any time a
//! device has at least two labels that match the newest uberblock on it (`vdev_config_sync`):
//!
//! ```text
//! labels 0, 2 -> flush -> uberblock in all four rings -> flush -> labels 1, 3 -> flush
//! ```

use zstream_format::checksum::seal_embedded;
use zstream_format::nvlist::{NvList, NvPair, NvValue, Packed};
use zstream_format::order::ByteOrder;

use super::label::{
    self, BOOT_BYTES, BOOT_OFFSET, CONFIG_BYTES, CONFIG_OFFSET, LABELS, LIST_BYTES_MAX, RING_OFFSET,
};
use super::uberblock::{self, RING_BYTES, Uberblock};
use crate::device::Device;
use crate::error::{Error, Fault, Result};
use crate::ids::Guid;

/// The pairs of the config of the pool that labels do not have, at the top level.
const POOL_ONLY: [&str; 2] = ["com.delphix:has_per_vdev_zaps", "splitcfg"];

/// The pairs of the config of a vdev that labels do not have.
const VDEV_POOL_ONLY: [&str; 4] = [
    "com.klarasystems:vdev_zap_root",
    "com.delphix:vdev_zap_leaf",
    "com.delphix:vdev_zap_top",
    "com.datto:resilver_defer",
];

/// The pairs before the first of which the guids of the device are inserted.
const AFTER_GUIDS: [&str; 6] = [
    "com.delphix:has_per_vdev_zaps",
    "splitcfg",
    "hole_array",
    "vdev_children",
    "vdev_tree",
    "features_for_read",
];

/// Returns the nvlist for the label of the device `leaf` in a pool with this config in the MOS
/// (`spa_config_generate`).
///
/// # Errors
/// Fails if the config does not have such a device.
pub fn list(config: &NvList, leaf: Guid) -> Result<NvList> {
    let tree = config.get_list("vdev_tree");
    let tops = tree.and_then(|tree| tree.get_list_array("children")).unwrap_or_default();
    let top = tops.iter().find(|top| holds(top, leaf));
    let top = top.ok_or_else(|| Fault::NoVdev(format!("vdev {}", leaf.0)))?;
    let mut guids = NvList::new();
    guids.add_u64("top_guid", top.get_u64("guid").unwrap_or_default()).add_u64("guid", leaf.0);
    if top.get_u64("is_log").is_some_and(|is_log| is_log != 0) {
        guids.add_u64("is_log", 1);
    }
    let mut guids = Some(guids);
    let mut out = NvList::new();
    for NvPair { name, value } in config {
        let name = name.to_str().unwrap_or_default();
        if AFTER_GUIDS.contains(&name) {
            for pair in guids.take().into_iter().flatten() {
                out.push(pair.name, pair.value);
            }
        }
        match value {
            NvValue::List(_) if name == "vdev_tree" => {
                out.add_list(name, without_objects(top));
            }
            _ if POOL_ONLY.contains(&name) => {}
            _ => {
                out.push(name, value.clone());
            }
        }
    }
    Ok(out)
}

/// Returns `true` if the device `leaf` is in the tree of `vdev`.
fn holds(vdev: &NvList, leaf: Guid) -> bool {
    match vdev.get_list_array("children") {
        Some(children) => children.iter().any(|child| holds(child, leaf)),
        None => vdev.get_u64("guid") == Some(leaf.0),
    }
}

fn without_objects(vdev: &NvList) -> NvList {
    let kept = vdev.iter().filter(|pair| !VDEV_POOL_ONLY.iter().any(|name| pair.name == **name));
    let pairs = kept.map(|pair| {
        let value = match &pair.value {
            NvValue::ListArray(children) => {
                NvValue::ListArray(children.iter().map(without_objects).collect())
            }
            other => other.clone(),
        };
        NvPair { name: pair.name.clone(), value }
    });
    let mut out: NvList = pairs.collect();
    (out.version, out.nvflag) = (vdev.version, vdev.nvflag);
    out
}

/// Encodes the nvlist of a label with its checksum, for byte `at` of the device.
///
/// # Errors
/// Fails if the nvlist does not fit.
pub fn encode(list: &NvList, at: u64) -> Result<Vec<u8>> {
    let packed = list
        .encode(Packed::xdr(ByteOrder::Little))
        .map_err(|error| Error::internal(format!("label cannot be encoded: {error}")))?;
    if packed.len() > LIST_BYTES_MAX {
        let (size, limit) = (packed.len() as u64, LIST_BYTES_MAX as u64);
        return Err(Fault::TooLarge { what: "label", size, limit }.into());
    }
    let mut bytes = packed;
    bytes.resize(CONFIG_BYTES, 0);
    seal_embedded(&mut bytes, label::verifier(at), ByteOrder::Little)?;
    Ok(bytes)
}

/// Writes the nvlist of label number `number`.
///
/// # Errors
/// Fails if the nvlist does not fit, or if the device cannot be written.
pub(crate) fn write_list(device: &dyn Device, number: usize, list: &NvList) -> Result<()> {
    let at = start(device, number)? + CONFIG_OFFSET;
    put(device, at, &encode(list, at)?)
}

/// Encodes the slot of an uberblock, for byte `at` of the device.
///
/// # Errors
/// Fails only on an internal error.
pub fn encode_uberblock(uberblock: &Uberblock, ashift: u8, at: u64) -> Result<Vec<u8>> {
    let mut slot = uberblock.encode().to_vec();
    slot.resize(uberblock::slot_bytes(ashift) as usize, 0);
    seal_embedded(&mut slot, label::verifier(at), uberblock.order)?;
    Ok(slot)
}

/// Writes an uberblock into all four rings of a device with sectors of 2^`ashift` bytes.
///
/// # Errors
/// Fails if the device cannot be written.
pub fn write_uberblock(device: &dyn Device, uberblock: &Uberblock, ashift: u8) -> Result<()> {
    let slot = uberblock.txg.0 % uberblock::slots(ashift);
    for number in 0..LABELS {
        let at = start(device, number)? + RING_OFFSET + slot * uberblock::slot_bytes(ashift);
        put(device, at, &encode_uberblock(uberblock, ashift, at)?)?;
    }
    Ok(())
}

/// Overwrites all four labels of a new device of a pool: a blank start, an empty boot environment, the nvlist, and a
/// ring without uberblocks (`vdev_label_init`). No label or uberblock of an earlier pool remains.
///
/// # Errors
/// Fails if the nvlist does not fit, or if the device cannot be written.
pub(crate) fn initialize(device: &dyn Device, list: &NvList) -> Result<()> {
    for number in 0..LABELS {
        let start = start(device, number)?;
        put(device, start, &[0; BOOT_OFFSET as usize])?;
        let mut boot = vec![0; BOOT_BYTES];
        seal_embedded(&mut boot, label::verifier(start + BOOT_OFFSET), ByteOrder::Little)?;
        put(device, start + BOOT_OFFSET, &boot)?;
        put(device, start + CONFIG_OFFSET, &encode(list, start + CONFIG_OFFSET)?)?;
        put(device, start + RING_OFFSET, &vec![0; RING_BYTES as usize])?;
    }
    Ok(())
}

fn start(device: &dyn Device, number: usize) -> Result<u64> {
    label::offset(device.len(), number).ok_or_else(|| {
        Fault::TooSmall(format!("device has {} bytes, too few for a member of a pool", device.len())).into()
    })
}

fn put(device: &dyn Device, at: u64, bytes: &[u8]) -> Result<()> {
    device.write_at(at, bytes).map_err(|error| Error::from(error).at_offset(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MemoryDevice;
    use crate::ids::Txg;
    use crate::vdev::label::{LABEL_BYTES, Labels, Role};

    fn config(state: u64) -> NvList {
        let leaf = |id: u64| {
            let mut leaf = NvList::new();
            leaf.add_string("type", "file").add_u64("id", id).add_u64("guid", 10 + id);
            leaf.add_string("path", "/x").add_u64("com.delphix:vdev_zap_leaf", 7);
            leaf
        };
        let mut top = NvList::new();
        top.add_string("type", "mirror").add_u64("id", 0).add_u64("guid", 5).add_u64("ashift", 12);
        top.add_u64("is_log", 1).add_list_array("children", vec![leaf(0), leaf(1)]);
        let mut tree = NvList::new();
        tree.add_string("type", "root").add_u64("id", 0).add_u64("guid", 1);
        tree.add_list_array("children", vec![top]);
        let mut config = NvList::new();
        config.add_u64("version", 5000).add_string("name", "tank").add_u64("state", state).add_u64("txg", 9);
        config.add_u64("pool_guid", 1).add_string("hostname", "here");
        config.add_boolean("com.delphix:has_per_vdev_zaps").add_u64("vdev_children", 1);
        config.add_list("vdev_tree", tree).add_list("features_for_read", NvList::new());
        config
    }

    #[test]
    fn a_label_has_what_its_device_needs() {
        let list = list(&config(1), Guid(11)).unwrap();
        let names: Vec<_> = list.iter().map(|pair| pair.name.to_string()).collect();
        let expected = [
            "version",
            "name",
            "state",
            "txg",
            "pool_guid",
            "hostname",
            "top_guid",
            "guid",
            "is_log",
            "vdev_children",
            "vdev_tree",
            "features_for_read",
        ];
        assert_eq!(names, expected);
        assert_eq!((list.get_u64("top_guid"), list.get_u64("guid")), (Some(5), Some(11)));
        let tree = list.get_list("vdev_tree").unwrap();
        assert_eq!(tree.get_str("type"), Some("mirror"));
        let children = tree.get_list_array("children").unwrap();
        assert!(children.iter().all(|child| !child.contains("com.delphix:vdev_zap_leaf")));
        assert_eq!(children.len(), 2);
        assert!(super::list(&config(1), Guid(5)).is_err(), "a mirror has no label");
    }

    #[test]
    fn a_new_device_has_four_labels_and_nothing_of_its_past() {
        let device = MemoryDevice::from(vec![0xa5; (9 << 20) + 512]);
        initialize(&device, &list(&config(0), Guid(10)).unwrap()).unwrap();
        let labels = Labels::read(&device);
        assert_eq!(labels.good().count(), LABELS);
        for label in labels.good() {
            let Role::Member(config) = &label.role else { panic!("{:?}", label.role) };
            assert_eq!((config.guid, config.top_guid), (Some(Guid(10)), Some(Guid(5))));
        }
        assert_eq!(label::uberblocks(&device, 9).unwrap(), []);
        let bytes = device.to_vec();
        assert_eq!(bytes[..BOOT_OFFSET as usize], [0; BOOT_OFFSET as usize]);
        assert!(bytes[2 * LABEL_BYTES as usize..][..4096].iter().all(|byte| *byte == 0xa5));
    }

    #[test]
    fn an_uberblock_is_found_in_every_ring() {
        for ashift in [9, 12, 14] {
            let device = MemoryDevice::new(9 << 20);
            initialize(&device, &list(&config(0), Guid(10)).unwrap()).unwrap();
            let mut bytes = [0; uberblock::UBERBLOCK_BYTES];
            ByteOrder::Little.put_u64(&mut bytes, uberblock::MAGIC);
            let mut uberblock = Uberblock::parse(&bytes).unwrap();
            for txg in [130, 131, 259] {
                uberblock.phys.txg = Txg(txg);
                write_uberblock(&device, &uberblock, ashift).unwrap();
            }
            let found = label::uberblocks(&device, ashift).unwrap();
            let newest: Vec<_> = found.iter().filter(|found| found.uberblock.txg == Txg(259)).collect();
            assert_eq!(newest.len(), LABELS);
            assert!(newest.iter().all(|found| found.slot == 259 % uberblock::slots(ashift)));
            assert_eq!(found.len(), LABELS * 2, "txg 131 had the same slot");
        }
    }

    #[test]
    fn a_list_that_does_not_fit_is_refused() {
        let mut config = config(0);
        config.add_string("comment", "x".repeat(CONFIG_BYTES));
        let device = MemoryDevice::new(9 << 20);
        let error = write_list(&device, 0, &list(&config, Guid(10)).unwrap()).unwrap_err();
        assert!(matches!(error.fault(), Fault::TooLarge { what: "label", .. }), "{error}");
    }
}
