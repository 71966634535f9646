//! Tests of changes to ZAPs, which are compared with maps and read back.

use std::collections::BTreeMap;

use proptest::prelude::*;
use zstream_format::object_type::ObjectType;

use super::*;
use crate::made::Store;
use crate::object_set::ObjectSet;
use crate::zap::{Match, Zap};

const TYPE: ObjectType = ObjectType::ZAP_OTHER;

fn make(zap: NewZap) -> (Store, ObjectId) {
    let mut store = Store::default();
    let object = create(&mut store, TYPE, &zap).unwrap();
    (store, object)
}

/// Returns all entries. Checks that each is found by its key and that the counts are correct.
fn read(store: &Store, object: ObjectId) -> BTreeMap<String, Value> {
    let zap = Zap::open(store, object).unwrap();
    let mut entries = BTreeMap::new();
    for entry in zap.entries() {
        let entry = entry.unwrap();
        let found = match &entry.key {
            Key::Name(name) => zap.lookup(name).unwrap(),
            Key::Words(words) => zap.lookup_words(words).unwrap(),
        };
        assert_eq!(found.as_ref(), Some(&entry.value), "{}", entry.key);
        assert!(entries.insert(entry.key.to_string(), entry.value).is_none());
    }
    assert_eq!(zap.info().entries, entries.len() as u64);
    entries
}

fn same_name(name: &str) -> String {
    Key::from(name).to_string()
}

#[test]
fn a_micro_zap_grows_by_sectors_and_becomes_fat() {
    let (mut store, object) = make(NewZap::new(0x1234));
    let mut zap = ZapMut::open(&mut store, object).unwrap();
    for n in 0..2047_u64 {
        zap.add(format!("name-{n}"), &Value::word(n)).unwrap();
    }
    let exists = zap.add("name-7", &Value::word(1)).unwrap_err();
    assert!(matches!(exists.fault(), Fault::Exists { .. }), "{exists}");
    assert_eq!(store.info(object).unwrap().block_bytes, 128 << 10);
    let before = read(&store, object);
    assert_eq!(before.len(), 2047);
    assert!(Zap::open(&store, object).unwrap().info().is_micro);

    ZapMut::open(&mut store, object).unwrap().add("one-more", &Value::word(0)).unwrap();
    let info = Zap::open(&store, object).unwrap().info();
    assert!(!info.is_micro && info.leaves >= 16 && info.salt == 0x1235, "{info:?}");
    assert_eq!(store.info(object).unwrap().block_bytes, 16 << 10);
    let mut after = read(&store, object);
    assert_eq!(after.remove(&same_name("one-more")), Some(Value::word(0)));
    assert_eq!(after, before);
}

#[test]
fn what_a_micro_zap_cannot_hold_makes_it_fat() {
    let long = "n".repeat(50);
    let cases =
        [("short", Value::string("text")), (long.as_str(), Value::word(1)), ("two", Value::words(&[1, 2]))];
    for (name, value) in cases {
        for is_update in [false, true] {
            let (mut store, object) = make(NewZap::new(9));
            let mut zap = ZapMut::open(&mut store, object).unwrap();
            zap.add("short", &Value::word(3)).unwrap();
            if is_update || name == "short" {
                zap.update(name, &value).unwrap();
            } else {
                zap.add(name, &value).unwrap();
            }
            assert!(!Zap::open(&store, object).unwrap().info().is_micro);
            assert_eq!(read(&store, object).get(&same_name(name)), Some(&value));
        }
    }
    let (mut store, object) = make(NewZap::new(9));
    let name = "n".repeat(49);
    ZapMut::open(&mut store, object).unwrap().add(name.as_str(), &Value::word(3)).unwrap();
    assert!(Zap::open(&store, object).unwrap().info().is_micro);
}

#[test]
fn the_pointer_table_leaves_the_header_and_doubles() {
    let words = ZapFlags::WORD_KEYS | ZapFlags::LONG_HASH;
    let mut store = Store::default();
    let new = NewObject::new(TYPE, 1024);
    let zap = NewZap { flags: words, ..NewZap::new(77) };
    let object = create_with(&mut store, &new, &zap).unwrap();
    let mut expected = BTreeMap::new();
    let mut zap = ZapMut::open(&mut store, object).unwrap();
    for n in 0..9000_u64 {
        let key = [n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n];
        zap.add(&key[..], &Value::word(n)).unwrap();
        expected.insert(Key::from(&key[..]).to_string(), Value::word(n));
    }
    assert_eq!(read(&store, object), expected);
    let header = store.block(object, BlockId(0)).unwrap().unwrap();
    let word = |at: usize| u64::from_le_bytes(*header[at..].first_chunk().unwrap());
    // 64 entries in half of 1 KiB, then 128 in each block.
    assert!(word(24) >= 8 && 1 << word(32) == word(24) * 128, "{} blocks, shift {}", word(24), word(32));
}

#[test]
fn a_growth_that_openzfs_left_unfinished_is_finished() {
    let flags = ZapFlags::WORD_KEYS | ZapFlags::LONG_HASH;
    let mut store = Store::default();
    let object =
        create_with(&mut store, &NewObject::new(TYPE, 512), &NewZap { flags, ..NewZap::new(5) }).unwrap();
    let mut zap = ZapMut::open(&mut store, object).unwrap();
    for n in 0..400_u64 {
        zap.add(&[n][..], &Value::word(n)).unwrap();
    }
    let expected = read(&store, object);
    let header = store.block(object, BlockId(0)).unwrap().unwrap().to_vec();
    let word = |at: usize| u64::from_le_bytes(*header[at..].first_chunk().unwrap());
    let (first, blocks, free) = (word(16), word(24), word(56));
    assert!(blocks >= 2);
    // The state after the first block of the table was copied.
    let old = store.block(object, BlockId(first)).unwrap().unwrap();
    let copied: Vec<u8> = old.chunks_exact(8).flat_map(|entry| [entry, entry].concat()).collect();
    store.write(object, free << 9, &copied).unwrap();
    for (at, value) in [(40, free), (48, 1), (56, free + 2 * blocks)] {
        store.write(object, at, &value.to_le_bytes()).unwrap();
    }
    assert_eq!(read(&store, object), expected);
    ZapMut::open(&mut store, object).unwrap();
    assert_eq!(read(&store, object), expected);
    let header = store.block(object, BlockId(0)).unwrap().unwrap();
    assert_eq!(u64::from_le_bytes(*header[16..].first_chunk().unwrap()), free);
    assert!(store.block(object, BlockId(first)).unwrap().is_none());
}

#[test]
fn keys_of_one_hash_are_told_apart_until_a_leaf_is_full() {
    let flags = ZapFlags::WORD_KEYS | ZapFlags::PREHASHED_KEY;
    let mut store = Store::default();
    let object =
        create_with(&mut store, &NewObject::new(TYPE, 4096), &NewZap { flags, ..NewZap::new(5) }).unwrap();
    let mut zap = ZapMut::open(&mut store, object).unwrap();
    for n in 0..20_u64 {
        zap.add(&[1_u64 << 63, n][..], &Value::word(n)).unwrap();
    }
    for n in [3, 7, 8] {
        zap.remove(&[1_u64 << 63, n][..]).unwrap();
    }
    zap.add(&[1_u64 << 63, 100][..], &Value::word(100)).unwrap();
    let differentiators: Vec<_> = {
        let zap = Zap::open(&store, object).unwrap();
        zap.entries().map(|entry| entry.unwrap()).map(|entry| (entry.differentiator, entry.key)).collect()
    };
    assert!(differentiators.contains(&(3, Key::Words(vec![1_u64 << 63, 100]))));
    let mut zap = ZapMut::open(&mut store, object).unwrap();
    let error = (200..400_u64).find_map(|n| zap.add(&[1_u64 << 63, n][..], &Value::word(n)).err()).unwrap();
    assert!(error.to_string().contains("too many keys"), "{error}");
    assert!(read(&store, object).len() > 40);
}

#[test]
fn names_hash_in_their_normalized_form() {
    let norm_flags = NormFlags::UPPER;
    let (mut store, object) = make(NewZap { norm_flags, ..NewZap::new(3) });
    let mut zap = ZapMut::open(&mut store, object).unwrap();
    for n in 0..300_u64 {
        zap.add(format!("Snap-{n}"), &Value::words(&[n, n])).unwrap();
    }
    zap.add("SNAP-5", &Value::word(5)).unwrap();
    assert_eq!(read(&store, object).len(), 301);
    let zap = Zap::open(&store, object).unwrap();
    assert_eq!(zap.find("sNAP-77", Match::Normalized).unwrap().unwrap().value, Value::words(&[77, 77]));
    assert_eq!(zap.find("sNAP-77", Match::Exact).unwrap(), None);
}

#[test]
fn limits_are_named() {
    let (mut store, object) = make(NewZap::new(3));
    let mut zap = ZapMut::open(&mut store, object).unwrap();
    let errors = [
        zap.add("", &Value::word(1)),
        zap.add("a\0b", &Value::word(1)),
        zap.add("n".repeat(1024), &Value::word(1)),
        zap.add("n", &Value::from_bytes(&[0; 8193])),
        zap.add(&[1_u64][..], &Value::word(1)),
        zap.remove("n"),
    ];
    let texts = [
        "cannot be the name",
        "cannot be the name",
        "ZAP key is too large: 1025",
        "ZAP value is too large: 8193",
        "names",
        "not found",
    ];
    for (error, text) in errors.into_iter().zip(texts) {
        let error = error.unwrap_err().to_string();
        assert!(error.contains(text), "{error}, expected {text}");
    }
    assert!(!zap.remove_if_there("n").unwrap());
    assert!(read(&store, object).is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Add(u16, Value),
    Update(u16, Value),
    Remove(u16),
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => any::<u64>().prop_map(Value::word),
        1 => proptest::collection::vec(any::<u64>(), 0..12).prop_map(|words| Value::words(&words)),
        1 => "[a-z]{0,90}".prop_map(|text| Value::string(&text)),
        1 => proptest::collection::vec(any::<u16>(), 0..40).prop_map(|integers| Value::u16s(&integers)),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let key = 0_u16..300;
    prop_oneof![
        3 => (key.clone(), any_value()).prop_map(|(key, value)| Step::Add(key, value)),
        2 => (key.clone(), any_value()).prop_map(|(key, value)| Step::Update(key, value)),
        1 => key.prop_map(Step::Remove),
    ]
}

/// Returns a name whose length depends on the number.
fn name(key: u16) -> String {
    let filler = if key.is_multiple_of(7) { "x".repeat(usize::from(key)) } else { String::new() };
    format!("key-{key}{filler}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_history_ends_as_a_map_would(
        steps in proptest::collection::vec(any_step(), 1..500), salt: u64, upper: bool, words_only: bool,
        small_blocks: bool, reopen in 1_usize..40,
    ) {
        let norm_flags = if upper { NormFlags::UPPER } else { NormFlags::empty() };
        let flags = if small_blocks { ZapFlags::LONG_HASH } else { ZapFlags::empty() };
        let mut store = Store::default();
        let zap = NewZap { salt, norm_flags, flags };
        let new = NewObject::new(TYPE, if small_blocks { 4096 } else { 0 });
        let object = create_with(&mut store, &new, &zap).unwrap();
        let mut model: BTreeMap<String, Value> = BTreeMap::new();
        for steps in steps.chunks(reopen) {
            let mut zap = ZapMut::open(&mut store, object).unwrap();
            for step in steps {
                match step {
                    Step::Add(key, value) | Step::Update(key, value) => {
                        let value = if words_only { &Value::word(u64::from(*key)) } else { value };
                        let there = model.contains_key(&name(*key));
                        let is_add = matches!(step, Step::Add(..));
                        let result =
                            if is_add { zap.add(name(*key), value) } else { zap.update(name(*key), value) };
                        prop_assert_eq!(result.is_err(), is_add && there);
                        if result.is_ok() {
                            model.insert(name(*key), value.clone());
                        }
                    }
                    Step::Remove(key) => {
                        let there = model.remove(&name(*key)).is_some();
                        prop_assert_eq!(zap.remove_if_there(name(*key)).unwrap(), there);
                    }
                }
            }
        }
        let model: BTreeMap<_, _> =
            model.into_iter().map(|(key, value)| (same_name(&key), value)).collect();
        prop_assert_eq!(read(&store, object), model);
    }

    #[test]
    fn damaged_zaps_give_errors_and_end(
        flips in proptest::collection::vec((0_usize..8 * 1024, any::<u8>()), 1..16),
        keys in proptest::collection::vec(0_u16..200, 1..60), small_blocks: bool,
    ) {
        let mut store = Store::default();
        let flags = if small_blocks { ZapFlags::LONG_HASH } else { ZapFlags::empty() };
        let new = NewObject::new(TYPE, if small_blocks { 1024 } else { 0 });
        let object = create_with(&mut store, &new, &NewZap { flags, ..NewZap::new(1) }).unwrap();
        let mut zap = ZapMut::open(&mut store, object).unwrap();
        for key in 0..60 {
            zap.add(name(key), &Value::word(1)).ok();
        }
        for (offset, value) in flips {
            store.damage(object, offset, value);
        }
        if let Ok(mut zap) = ZapMut::open(&mut store, object) {
            for key in keys {
                let result = match key % 3 {
                    0 => zap.add(name(key), &Value::words(&[2, 3])),
                    1 => zap.update(name(key), &Value::word(9)),
                    _ => zap.remove(name(key)),
                };
                drop(result);
            }
        }
    }
}
