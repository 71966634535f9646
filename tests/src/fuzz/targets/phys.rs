//! The small structures of a pool: block pointers, dnodes, uberblocks, labels. Corpora are those of the golden pools.

use crate::devices::{Patch, Patched};
use crate::golden;
use std::collections::BTreeSet;
use std::sync::Arc;
use zstream_dmu::blkptr::{BLOCK_POINTER_BYTES, BlockPointer};
use zstream_dmu::block::ReadBlock;
use zstream_dmu::device::FileDevice;
use zstream_dmu::dnode::Dnode;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::traverse::{Options, Traverse, Visit};
use zstream_dmu::vdev::PoolConfig;
use zstream_dmu::vdev::label::{CONFIG_BYTES, CONFIG_OFFSET, Label, Role, uberblocks};
use zstream_dmu::vdev::uberblock::Uberblock;
use zstream_format::checksum::seal_embedded;
use zstream_format::nvlist::NvList;
use zstream_format::order::ByteOrder;

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

/// Every visit to the golden pool's MOS.
fn visits() -> Vec<Visit> {
    let pool = Pool::open(&golden::pool("tank"), &OpenOptions::default()).expect("the golden pool");
    let reader: Arc<dyn ReadBlock> = pool.reader().clone();
    let all = Traverse::new(reader, 0, pool.uberblock().root, Options::default());
    all.collect::<Result<_, _>>().expect("a whole MOS")
}

pub(super) fn block_pointers() -> Vec<Vec<u8>> {
    let found: BTreeSet<Vec<u8>> =
        visits().iter().map(|visit| visit.pointer.encode(ByteOrder::Little).to_vec()).collect();
    found.into_iter().collect()
}

/// Parsed and encoded is the identity in both orders, and by way of the other order too. One that is valid has sizes
/// within limits.
pub(super) fn block_pointer(input: &[u8]) {
    let Some(bytes) = input.first_chunk::<BLOCK_POINTER_BYTES>() else { return };
    for order in ORDERS {
        let pointer = BlockPointer::parse(bytes, order);
        assert_eq!(pointer.encode(order), *bytes, "parsed and encoded");
        assert_eq!(BlockPointer::parse(&pointer.encode(order.swapped()), order.swapped()), pointer);
        assert_eq!(BlockPointer::from_words(*pointer.words()), pointer);
        let _ = (pointer.to_string(), format!("{pointer:?}"), pointer.asize(), pointer.fill(), pointer.mac());
        let payload = pointer.embedded_payload();
        if pointer.validate().is_ok() && pointer.is_embedded() {
            let len = payload.map(|payload| payload.len() as u64);
            assert!(len.is_none_or(|len| len == pointer.embedded_psize()), "{pointer:?}");
        }
    }
}

pub(super) fn dnodes() -> Vec<Vec<u8>> {
    let found: BTreeSet<Vec<u8>> =
        visits().iter().filter_map(|visit| visit.dnode.as_ref()).map(|dnode| dnode.encode()).collect();
    found.into_iter().collect()
}

/// Encoded and parsed is the identity; what is there fits into the slots.
pub(super) fn dnode(input: &[u8]) {
    let Ok(Some(dnode)) = Dnode::parse(input) else { return };
    let bytes = dnode.encode();
    assert_eq!(bytes.len(), dnode.slots() * 512);
    assert!(bytes.len() <= input.len());
    let again = Dnode::parse(&bytes).expect("what was parsed").expect("is allocated");
    assert!(again == dnode, "encoded and parsed");
    assert!(dnode.bonus().len() <= dnode.bonus_area().len());
    let _ = (dnode.block_bytes(), dnode.indirect_bytes(), dnode.used_bytes(), dnode.pointers().len());
}

pub(super) fn uberblock_corpus() -> Vec<Vec<u8>> {
    let device = FileDevice::open(&golden::image("raidz1-1.img")).expect("an image");
    let found = uberblocks(&device, 12).expect("a ring");
    assert!(!found.is_empty());
    found.iter().map(|found| found.uberblock.encode().to_vec()).collect()
}

/// Encoded and parsed is the identity.
pub(super) fn uberblock(input: &[u8]) {
    let Some(uberblock) = Uberblock::parse(input) else { return };
    let bytes = uberblock.encode();
    assert!(Uberblock::parse(&bytes).as_ref() == Some(&uberblock), "encoded and parsed");
    let _ = (uberblock.rank(), uberblock.reflowed_to(), uberblock.mmp_sequence());
}

pub(super) fn labels() -> Vec<Vec<u8>> {
    let images = ["tank.img", "mirror-1.img", "raidz1-3.img", "raidz3-5.img"];
    let list = |file| {
        let device = FileDevice::open(&golden::image(file)).expect("an image");
        let list = Label::read(&device, 0).expect("a label").list;
        list.encode(zstream_format::nvlist::Packed::xdr(ByteOrder::Little)).expect("the list of a label")
    };
    images.into_iter().map(list).collect()
}

/// Size of the device that labels are put on.
const DEVICE_BYTES: u64 = 64 << 20;

/// A label with a right checksum says what its list says; with a flipped bit it is no label.
pub(super) fn label(input: &[u8]) {
    let mut area = input.to_vec();
    area.resize(CONFIG_BYTES, 0);
    seal_embedded(&mut area, [CONFIG_OFFSET, 0, 0, 0], ByteOrder::Little).expect("room for a seal");
    let on_device = |area: &[u8]| {
        let patch = Patch::Replace(CONFIG_OFFSET, area.to_vec());
        Label::read(&Patched::zeros(DEVICE_BYTES, vec![patch]), 0)
    };
    let read = on_device(&area);
    let list = NvList::decode(&area).map(|decoded| decoded.list);
    match (&read, &list) {
        // a double that is not a number is not equal to itself, so lists are not compared
        (Ok(label), Ok(list)) => match &label.role {
            Role::Member(config) => {
                assert!(PoolConfig::parse(list).is_ok_and(|parsed| parsed.guid == config.guid));
            }
            Role::Auxiliary { guid, .. } => assert_eq!(list.get_u64("guid"), Some(guid.0)),
        },
        (Ok(_), Err(_)) => panic!("a label without a list"),
        (Err(error), _) => drop(error.to_string()),
    }
    let flipped = input.len() % CONFIG_BYTES;
    area[flipped] ^= 1;
    assert!(on_device(&area).is_err(), "byte {flipped} is flipped");
}
