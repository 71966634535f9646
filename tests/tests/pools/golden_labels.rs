//! The labels of the golden pools, written again from what the MOS says of the pool: the same bytes.

use std::path::PathBuf;

use zstream_dmu::device::{Device, FileDevice};
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::testing::label_write;
use zstream_dmu::vdev::label::{self, CONFIG_BYTES, CONFIG_OFFSET, LABELS, Labels, RING_OFFSET, Role};
use zstream_dmu::vdev::uberblock;
use zstream_tests::golden;

fn read(device: &dyn Device, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    device.read_at(at, &mut bytes).expect("a part of a label");
    bytes
}

/// Compares all labels and uberblocks of the devices, and says how many uberblocks there were.
fn compare(paths: &[PathBuf]) -> usize {
    let pool = Pool::open(paths, &OpenOptions::default()).expect("a golden pool");
    let config = pool.config_list();
    let mut uberblocks = 0;
    for path in paths {
        let device = FileDevice::open(path).expect("a device");
        let labels = Labels::read(&device);
        assert_eq!(labels.good().count(), LABELS, "{}", path.display());
        let mut ashift = 0;
        for good in labels.good() {
            let Role::Member(role) = &good.role else { panic!("{:?}", good.role) };
            // A device that was offline when the pool was last written has an older one.
            if config.get_u64("txg") == Some(role.txg) {
                let list = label_write::list(config, role.guid.expect("a guid")).expect("a device");
                assert_eq!(list, good.list, "{} label {}", path.display(), good.number);
            }
            let at = label::offset(device.len(), good.number).expect("room") + CONFIG_OFFSET;
            let bytes = label_write::encode(&good.list, at).expect("a label");
            assert!(bytes == read(&device, at, CONFIG_BYTES), "{} label {}", path.display(), good.number);
            ashift = role.vdev_tree.ashift.expect("a sector size");
        }
        for found in label::uberblocks(&device, ashift).expect("uberblocks") {
            let size = uberblock::slot_bytes(ashift);
            let at =
                label::offset(device.len(), found.label).expect("room") + RING_OFFSET + found.slot * size;
            let bytes = label_write::encode_uberblock(&found.uberblock, ashift, at).expect("a slot");
            assert!(bytes == read(&device, at, size as usize), "{} slot {}", path.display(), found.slot);
            assert_eq!(found.slot, found.uberblock.txg.0 % uberblock::slots(ashift));
            uberblocks += 1;
        }
    }
    uberblocks
}

#[test]
fn labels_and_uberblocks_are_what_openzfs_wrote() {
    for pool in ["tank", "pmirror", "praidz1", "praidz2", "praidz3"] {
        let found = compare(&golden::pool(pool));
        assert!(found >= 4 * 10, "{pool}: {found} uberblocks");
    }
}

#[test]
fn labels_of_pools_of_odd_shapes_are_what_openzfs_wrote() {
    for pool in golden::SHAPES_POOLS {
        assert!(compare(&golden::shape(pool)) > 0, "{pool}");
    }
    for pool in golden::DRAID_POOLS {
        assert!(compare(&golden::draid(pool)) > 0, "{pool}");
    }
}
