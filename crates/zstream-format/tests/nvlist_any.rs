//! nvlists of any shape, and bytes that are none.

use proptest::prelude::*;
use zstream_format::nvlist::{Encoding, MAX_DEPTH, NvFault, NvList, NvString, NvValue, Packed};
use zstream_format::order::ByteOrder;

fn string() -> impl Strategy<Value = NvString> {
    prop_oneof![
        "[a-zA-Z0-9_:.@/-]{0,20}".prop_map(NvString::from),
        proptest::collection::vec(1_u8..=255, 0..12).prop_map(NvString::from),
    ]
}

fn array<T: std::fmt::Debug>(element: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    proptest::collection::vec(element, 0..9)
}

fn leaf() -> impl Strategy<Value = NvValue> {
    let single = prop_oneof![
        Just(NvValue::Boolean),
        any::<bool>().prop_map(NvValue::BooleanValue),
        any::<u8>().prop_map(NvValue::Byte),
        any::<i8>().prop_map(NvValue::Int8),
        any::<u8>().prop_map(NvValue::Uint8),
        any::<i16>().prop_map(NvValue::Int16),
        any::<u16>().prop_map(NvValue::Uint16),
        any::<i32>().prop_map(NvValue::Int32),
        any::<u32>().prop_map(NvValue::Uint32),
        any::<i64>().prop_map(NvValue::Int64),
        any::<u64>().prop_map(NvValue::Uint64),
        any::<i64>().prop_map(NvValue::Hrtime),
        any::<f64>().prop_map(NvValue::Double),
        string().prop_map(NvValue::String),
    ];
    let many = prop_oneof![
        array(any::<bool>()).prop_map(NvValue::BooleanArray),
        array(any::<u8>()).prop_map(NvValue::ByteArray),
        array(any::<i8>()).prop_map(NvValue::Int8Array),
        array(any::<u8>()).prop_map(NvValue::Uint8Array),
        array(any::<i16>()).prop_map(NvValue::Int16Array),
        array(any::<u16>()).prop_map(NvValue::Uint16Array),
        array(any::<i32>()).prop_map(NvValue::Int32Array),
        array(any::<u32>()).prop_map(NvValue::Uint32Array),
        array(any::<i64>()).prop_map(NvValue::Int64Array),
        array(any::<u64>()).prop_map(NvValue::Uint64Array),
        array(string()).prop_map(NvValue::StringArray),
    ];
    prop_oneof![single, many]
}

fn list_of(value: impl Strategy<Value = NvValue>) -> impl Strategy<Value = NvList> {
    (0_u32..4, proptest::collection::vec((string(), value), 0..8)).prop_map(|(nvflag, pairs)| {
        let mut list = NvList::new();
        list.nvflag = nvflag;
        for (name, value) in pairs {
            list.push(name, value);
        }
        list
    })
}

fn list() -> impl Strategy<Value = NvList> {
    let value = leaf().prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            list_of(inner.clone()).prop_map(NvValue::List),
            proptest::collection::vec(list_of(inner), 0..4).prop_map(NvValue::ListArray),
        ]
    });
    list_of(value)
}

fn packed() -> impl Strategy<Value = Packed> {
    (0..6).prop_map(|which| match which {
        0 => Packed::native(ByteOrder::Little),
        1 => Packed::native(ByteOrder::Big),
        2 => Packed::xdr(ByteOrder::Little),
        3 => Packed::xdr(ByteOrder::Big),
        4 => Packed { signed_bytes: true, signed_shorts: true, ..Packed::xdr(ByteOrder::Little) },
        _ => Packed { signed_shorts: true, ..Packed::xdr(ByteOrder::Little) },
    })
}

/// Values of a list, in bytes of memory, as far as they lie on the heap.
fn heap_len(list: &NvList) -> usize {
    let strings =
        |texts: &[NvString]| texts.iter().map(|text| size_of::<NvString>() + text.as_bytes().len()).sum();
    list.iter()
        .map(|pair| {
            let value = match &pair.value {
                NvValue::String(text) => text.as_bytes().len(),
                NvValue::ByteArray(values) | NvValue::Uint8Array(values) => values.len(),
                NvValue::Int8Array(values) => values.len(),
                NvValue::BooleanArray(values) => values.len(),
                NvValue::Int16Array(values) => values.len() * 2,
                NvValue::Uint16Array(values) => values.len() * 2,
                NvValue::Int32Array(values) => values.len() * 4,
                NvValue::Uint32Array(values) => values.len() * 4,
                NvValue::Int64Array(values) => values.len() * 8,
                NvValue::Uint64Array(values) => values.len() * 8,
                NvValue::StringArray(texts) => strings(texts),
                NvValue::List(list) => heap_len(list),
                NvValue::ListArray(lists) => {
                    lists.iter().map(|list| size_of::<NvList>() + heap_len(list)).sum()
                }
                _ => 0,
            };
            size_of_val(pair) + pair.name.as_bytes().len() + value
        })
        .sum()
}

proptest! {
    #[test]
    fn any_list_comes_back(list in list(), packed in packed(), tail in proptest::collection::vec(1_u8.., 0..5)) {
        let bytes = list.encode(packed).unwrap();
        prop_assert_eq!(bytes.len() % 4, 0);
        let decoded = NvList::decode(&[&bytes[..], &tail].concat()).unwrap();
        prop_assert_eq!(decoded.used_len, bytes.len());
        // NaNs differ from themselves but not in their bytes.
        prop_assert_eq!(format!("{:?}", decoded.list), format!("{list:?}"));
        prop_assert_eq!(decoded.list.encode(decoded.packed).unwrap(), bytes);
        prop_assert_eq!((decoded.packed.encoding, decoded.packed.order), (packed.encoding, packed.order));
    }

    /// A list cut short is refused, and the error lies inside it.
    #[test]
    fn a_list_cut_short_is_refused(list in list(), packed in packed(), at in any::<prop::sample::Index>()) {
        let bytes = list.encode(packed).unwrap();
        let whole = NvList::decode(&bytes).unwrap();
        let cut = &bytes[..at.index(bytes.len())];
        match NvList::decode(cut) {
            Err(error) => prop_assert!(error.offset <= cut.len()),
            // Only the words reserved for empty arrays may be missing.
            Ok(decoded) => {
                prop_assert_eq!(packed.encoding, Encoding::Xdr);
                prop_assert_eq!(format!("{:?}", decoded.list), format!("{:?}", whole.list));
                prop_assert!(bytes[decoded.used_len..].iter().all(|byte| *byte == 0));
            }
        }
    }

    /// Whatever is decoded of damaged bytes takes memory in proportion to them, and packs again to
    /// something that is the same list.
    #[test]
    fn a_damaged_list_is_refused_or_is_a_list(
        list in list(),
        packed in packed(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = list.encode(packed).unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        match NvList::decode(&bytes) {
            Err(error) => {
                prop_assert!(error.offset <= bytes.len());
                prop_assert!([14, 22, 95].contains(&error.errno().number()));
            }
            Ok(decoded) => {
                prop_assert!(heap_len(&decoded.list) <= 10 * decoded.used_len);
                let again = decoded.list.encode(decoded.packed).unwrap();
                let decoded_again = NvList::decode(&again).unwrap();
                prop_assert_eq!(format!("{:?}", decoded_again.list), format!("{:?}", decoded.list));
            }
        }
    }

    #[test]
    fn no_bytes_panic(
        head in prop_oneof![Just([0_u8, 1, 0, 0]), Just([0, 0, 0, 0]), Just([1, 1, 0, 0])],
        small in proptest::collection::vec(prop_oneof![Just(0_u8), 0_u8..32, any::<u8>()], 0..200),
    ) {
        let bytes = [&head[..], &small].concat();
        if let Ok(decoded) = NvList::decode(&bytes) {
            prop_assert!(heap_len(&decoded.list) <= 10 * decoded.used_len);
            let _ = decoded.list.print();
        }
    }
}

/// Lists within lists, `depth` below the outermost.
fn nested(depth: usize) -> NvList {
    let mut list = NvList::new();
    for _ in 0..depth {
        let mut outer = NvList::new();
        outer.add_list("a", list);
        list = outer;
    }
    list
}

#[test]
fn lists_nest_as_deep_as_libnvpair_allows() {
    for packed in [Packed::native(ByteOrder::Little), Packed::xdr(ByteOrder::Little)] {
        let deepest = nested(MAX_DEPTH);
        let bytes = deepest.encode(packed).unwrap();
        assert_eq!(NvList::decode(&bytes).unwrap().list, deepest);
        let fault = nested(MAX_DEPTH + 1).encode(packed).unwrap_err().fault;
        assert_eq!(fault, NvFault::Depth { encoding: packed.encoding });
    }
}

/// Far more levels than the stack has room for, as bytes that are cheap to make.
#[test]
fn bytes_that_nest_without_end_are_refused() {
    let mut native = vec![0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    let mut xdr = vec![1, 1, 0, 0];
    for _ in 0..100_000 {
        for word in [48_u32, 2, 1, 19, 0x61, 0, 0, 1, 0, 0, 0, 0] {
            native.extend(word.to_le_bytes());
        }
        for word in [0_u32, 1, 48, 48, 1, 0x6100_0000, 19, 1] {
            xdr.extend(word.to_be_bytes());
        }
    }
    let error = NvList::decode(&native).unwrap_err();
    assert_eq!(
        (error.fault.clone(), error.errno().number()),
        (NvFault::Depth { encoding: Encoding::Native }, 22)
    );
    let error = NvList::decode(&xdr).unwrap_err();
    assert_eq!(
        (error.fault.clone(), error.errno().number()),
        (NvFault::Depth { encoding: Encoding::Xdr }, 14)
    );
}
