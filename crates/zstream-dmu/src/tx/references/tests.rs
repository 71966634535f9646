use std::collections::BTreeMap;

use proptest::prelude::*;
use zstream_format::object_type::ObjectType;

use super::*;
use crate::brt::{REGION_BYTES, Table, Totals};
use crate::error::Fault;
use crate::made::Store;
use crate::object_set::ObjectSet as _;
use crate::zap::Zap;

const VDEV_BYTES: u64 = 40 * REGION_BYTES;
const BLOCK_BYTES: u64 = 4096;
const CLONING: &str = "com.fudosecurity:block_cloning";
const ENDIAN_GUID: &str = "com.truenas:block_cloning_endian";

/// A MOS with a directory and the features, the second one only if `is_word`.
fn mos(is_word: bool) -> Store {
    let mut store = Store::default();
    store.claim(DIRECTORY_OBJECT, &NewObject::new(ObjectType::OBJECT_DIRECTORY, 512)).unwrap();
    zap::write::create_in(&mut store, DIRECTORY_OBJECT, &NewZap::new(1)).unwrap();
    let features = zap::write::create(&mut store, ENTRIES_TYPE, &NewZap::new(3)).unwrap();
    let mut directory = ZapMut::open(&mut store, DIRECTORY_OBJECT).unwrap();
    directory.add("features_for_write", &Value::word(features.0)).unwrap();
    let mut list = ZapMut::open(&mut store, features).unwrap();
    list.add(CLONING, &Value::word(0)).unwrap();
    if is_word {
        list.add(ENDIAN_GUID, &Value::word(0)).unwrap();
    }
    store
}

fn references(store: &Store) -> Result<References> {
    let mut references = References::new([VDEV_BYTES, VDEV_BYTES]);
    references.open(store)?;
    Ok(references)
}

/// Everything in the tables.
fn entries(store: &Store) -> BTreeMap<(u32, u64), u64> {
    let mut found = BTreeMap::new();
    for vdev in 0..2 {
        if let Some(table) = Table::open(store, vdev).unwrap() {
            let mut offsets = Vec::new();
            table
                .entries(store, &mut |offset, count| {
                    offsets.push(offset);
                    found.insert((vdev, offset), count);
                })
                .unwrap();
            assert_eq!(table.wrong_regions(store, offsets).unwrap(), []);
        }
    }
    found
}

/// References added and dropped: vdev, block, whether it is added.
fn changes() -> impl Strategy<Value = Vec<Vec<(u32, u64, bool)>>> {
    let change = (0..2_u32, 0..12_u64, proptest::bool::weighted(0.55));
    proptest::collection::vec(proptest::collection::vec(change, 0..20), 1..12)
}

/// The offset of a block: some share a region, and one is the last of the vdev.
fn offset(block: u64) -> u64 {
    if block == 11 { VDEV_BYTES - BLOCK_BYTES } else { block * (REGION_BYTES / 3) / 512 * 512 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn tables_are_as_a_model_of_them(groups in changes(), is_word: bool, reopens: bool) {
        let mut store = mos(is_word);
        let mut references = references(&store).unwrap();
        let mut model: BTreeMap<(u32, u64), u64> = BTreeMap::new();
        for group in groups {
            let before = store.clone();
            for (vdev, block, is_added) in group {
                let offset = offset(block);
                let count = model.entry((vdev, offset)).or_default();
                if is_added {
                    references.add(Some(&before), vdev, offset, BLOCK_BYTES).unwrap();
                    *count += 1;
                } else {
                    let is_shared = references.drop(Some(&before), vdev, offset, BLOCK_BYTES).unwrap();
                    prop_assert_eq!(is_shared, *count > 0);
                    *count = count.saturating_sub(1);
                }
            }
            model.retain(|_, count| *count > 0);
            if references.is_dirty() {
                write_all(&mut store, Guid(7), &mut references).unwrap();
            }
            prop_assert!(!references.is_dirty());
            references.committed();
            if reopens {
                references = super::tests::references(&store).unwrap();
            }
            prop_assert_eq!(references.is_used(), !model.is_empty());
            prop_assert_eq!(&entries(&store), &model);
            let saved = model.values().sum::<u64>() * BLOCK_BYTES;
            let used = model.len() as u64 * BLOCK_BYTES;
            let expected = Totals { entries: model.len() as u64, used_bytes: used, saved_bytes: saved };
            prop_assert_eq!(references.totals(), expected);
            prop_assert_eq!(Totals::of(&store, 2).unwrap(), expected);
            let tables = (0..2).filter(|vdev| model.keys().any(|(of, _)| of == vdev)).count() as u64;
            prop_assert_eq!(features::count(&store, FEATURE).unwrap(), Some(tables));
            prop_assert_eq!(features::count(&store, ENDIAN).unwrap(), is_word.then_some(tables));
        }
    }

    /// Values that no version writes: every operation ends in an error or a count, and none panics.
    #[test]
    fn hostile_tables_are_errors(
        field in 0..7_usize,
        word: u64,
        value in prop_oneof![Just(0), Just(u64::MAX), any::<u64>()],
        entry in 0..4,
        is_word: bool,
    ) {
        let mut store = mos(is_word);
        let mut first = references(&store).unwrap();
        for block in [0, 1, 11] {
            first.add(Some(&store), 0, offset(block), BLOCK_BYTES).unwrap();
        }
        write_all(&mut store, Guid(7), &mut first).unwrap();
        let table = ObjectId(Zap::open(&store, DIRECTORY_OBJECT).unwrap().lookup_u64(directory_name(0)).unwrap().unwrap());
        let entries = Table::open(&store, 0).unwrap().unwrap().entries_object();
        if entry == 0 {
            let mut bonus = store.info(table).unwrap().bonus().unwrap().to_vec();
            bonus[8 * field..8 * field + 8].copy_from_slice(&[value, word][field % 2].to_le_bytes());
            store.set_bonus(table, COUNTS_TYPE, &bonus).unwrap();
        } else {
            let value = match entry {
                1 => Value::word(value),
                2 => Value::from_bytes(&value.to_le_bytes()),
                _ => Value::from_bytes(&value.to_le_bytes()[..(word % 8) as usize]),
            };
            ZapMut::open(&mut store, entries).unwrap().update(&[offset(1)][..], &value).unwrap();
        }
        let fault = |result: Result<()>| match result.as_ref().map_err(crate::error::Error::fault) {
            Ok(()) | Err(Fault::Corrupt { .. } | Fault::NoObject(_) | Fault::BadRequest(_)) => Ok(()),
            Err(fault) => Err(TestCaseError::fail(fault.to_string())),
        };
        fault(Table::open(&store, 0).and_then(|table| table.map_or(Ok(()), |table| table.entries(&store, &mut |_, _| {}))))?;
        match references(&store) {
            Err(error) => fault(Err(error))?,
            Ok(mut references) => {
                for block in [0, 1, 1, 11, 5] {
                    fault(references.drop(Some(&store), 0, offset(block), BLOCK_BYTES).map(drop))?;
                    fault(references.add(Some(&store), 0, offset(block), BLOCK_BYTES))?;
                }
            }
        }
    }
}

/// A table of a big-endian host, whose entries are big-endian bytes, with one of a little-endian host.
#[test]
fn tables_of_both_byte_orders_are_read() {
    let mut store = mos(false);
    let mut first = references(&store).unwrap();
    for block in [0, 1] {
        first.add(Some(&store), 0, offset(block), BLOCK_BYTES).unwrap();
    }
    first.add(Some(&store), 0, offset(1), BLOCK_BYTES).unwrap();
    write_all(&mut store, Guid(7), &mut first).unwrap();
    let table = Table::open(&store, 0).unwrap().unwrap();
    let object = ObjectId(
        Zap::open(&store, DIRECTORY_OBJECT).unwrap().lookup_u64(directory_name(0)).unwrap().unwrap(),
    );
    let mut bonus = store.info(object).unwrap().bonus().unwrap().to_vec();
    bonus[TablePhys::offset_of("byte_order")] = 1;
    store.set_bonus(object, COUNTS_TYPE, &bonus).unwrap();
    let value = Value::from_bytes(&2_u64.to_be_bytes());
    ZapMut::open(&mut store, table.entries_object()).unwrap().update(&[offset(1)][..], &value).unwrap();
    let table = Table::open(&store, 0).unwrap().unwrap();
    assert!(table.is_foreign());
    let mut found = Vec::new();
    table.entries(&store, &mut |offset, count| found.push((offset, count))).unwrap();
    found.sort_unstable();
    assert_eq!(found, [(offset(0), 1), (offset(1), 2)]);
    let mut references = references(&store).unwrap();
    for expected in [true, true, false] {
        assert_eq!(references.drop(Some(&store), 0, offset(1), BLOCK_BYTES).unwrap(), expected);
    }
    assert!(references.drop(Some(&store), 0, offset(0), BLOCK_BYTES).unwrap());
    write_all(&mut store, Guid(7), &mut references).unwrap();
    assert!(Table::open(&store, 0).unwrap().is_none());
}
