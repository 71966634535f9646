//! nvlists against what OpenZFS packs and prints. How the files were made: `data/nvlist/README.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use zstream_format::nvlist::{DataType, Encoding, NvList, NvString, NvValue, Packed};
use zstream_format::order::ByteOrder;

/// The fixtures with that extension: path and content.
fn fixtures(directory: &str, extension: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nvlist").join(directory);
    let mut found: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    found.sort();
    assert!(found.len() >= 2, "no .{extension} in {}", directory.display());
    found
}

/// Every packed list OpenZFS gave us.
fn packed_fixtures() -> Vec<(PathBuf, Vec<u8>)> {
    [("libnvpair", "native"), ("libnvpair", "xdr"), ("golden", "begin"), ("golden", "label")]
        .into_iter()
        .flat_map(|(directory, extension)| fixtures(directory, extension))
        .collect()
}

fn collect_types(list: &NvList, types: &mut BTreeSet<i32>) {
    for pair in list {
        types.insert(pair.value.data_type().number());
        match &pair.value {
            NvValue::List(list) => collect_types(list, types),
            NvValue::ListArray(lists) => lists.iter().for_each(|list| collect_types(list, types)),
            _ => {}
        }
    }
}

#[test]
fn real_lists_round_trip_byte_for_byte() {
    let mut types = BTreeSet::new();
    for (path, bytes) in packed_fixtures() {
        let decoded = NvList::decode(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(decoded.used_len, bytes.len(), "{}", path.display());
        let again = decoded.list.encode(decoded.packed).unwrap();
        assert!(again == bytes, "{}: packed otherwise", path.display());
        collect_types(&decoded.list, &mut types);
    }
    let all: BTreeSet<i32> = DataType::ALL.iter().map(|data_type| data_type.number()).collect();
    assert_eq!(types, all, "a data type has no fixture");
}

#[test]
fn real_lists_print_as_openzfs_prints_them() {
    for (path, bytes) in packed_fixtures() {
        let expected = fs::read(path.with_extension("print")).unwrap();
        let printed = NvList::decode(&bytes).unwrap().list.print();
        let (printed, expected) = (printed.escape_ascii(), expected.escape_ascii());
        assert_eq!(printed.to_string(), expected.to_string(), "{}", path.display());
    }
}

#[test]
fn lists_dump_as_zdb_dumps_them() {
    for (path, bytes) in fixtures("libnvpair", "native") {
        let expected = fs::read(path.with_extension("dump")).unwrap();
        let dumped = NvList::decode(&bytes).unwrap().list.dump(5);
        let (dumped, expected) = (dumped.escape_ascii(), expected.escape_ascii());
        assert_eq!(dumped.to_string(), expected.to_string(), "{}", path.display());
    }
}

#[test]
fn both_encodings_hold_the_same_list() {
    for (path, native) in fixtures("libnvpair", "native") {
        // Doubles that are no number are unlike themselves; their bytes were compared above.
        if path.file_stem().is_some_and(|stem| stem == "doubles") {
            continue;
        }
        let xdr = fs::read(path.with_extension("xdr")).unwrap();
        let native = NvList::decode(&native).unwrap();
        let xdr = NvList::decode(&xdr).unwrap();
        assert_eq!(native.list, xdr.list, "{}", path.display());
        assert_eq!(native.packed, Packed::native(ByteOrder::Little));
        assert_eq!(xdr.packed.encoding, Encoding::Xdr);
    }
}

#[test]
fn the_other_byte_order_and_back_is_nothing_lost() {
    for (path, bytes) in packed_fixtures() {
        let decoded = NvList::decode(&bytes).unwrap();
        let big = decoded.list.encode(Packed::native(ByteOrder::Big)).unwrap();
        assert_eq!(big[..12], [&[0, 0, 0, 0, 0, 0, 0, 0][..], &decoded.list.nvflag.to_be_bytes()].concat());
        let turned = NvList::decode(&big).unwrap();
        assert_eq!(turned.packed, Packed::native(ByteOrder::Big));
        assert!(turned.list.encode(decoded.packed).unwrap() == bytes, "{}", path.display());
    }
}

#[test]
fn user_space_extends_signs_and_the_kernel_does_not() {
    let bytes = fixtures("libnvpair", "xdr");
    let (_, scalars) = bytes.iter().find(|(path, _)| path.ends_with("scalars.xdr")).unwrap();
    let decoded = NvList::decode(scalars).unwrap();
    assert!(decoded.packed.signed_bytes && decoded.packed.signed_shorts);
    assert_eq!(decoded.list.get_u8("uint8 128"), Some(0x80));
    assert_eq!(decoded.list.get_i16("int16 -32768"), Some(i16::MIN));

    let kernel = decoded.list.encode(Packed::xdr(ByteOrder::Little)).unwrap();
    assert_ne!(&kernel, scalars);
    let again = NvList::decode(&kernel).unwrap();
    assert_eq!(again.packed, Packed::xdr(ByteOrder::Little));
    assert_eq!(again.list, decoded.list);
}

/// The payload of a resumed send of `tp/a@s1`: object 2, offset 0x7000.
const RESUMED: [u8; 96] = [
    0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, // header, version, flag
    0x28, 0, 0, 0, 0x0e, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, // size, name size, count, type
    0x72, 0x65, 0x73, 0x75, 0x6d, 0x65, 0x5f, 0x6f, 0x62, 0x6a, 0x65, 0x63, 0x74, 0, 0,
    0, // resume_object
    2, 0, 0, 0, 0, 0, 0, 0, //
    0x28, 0, 0, 0, 0x0e, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, //
    0x72, 0x65, 0x73, 0x75, 0x6d, 0x65, 0x5f, 0x6f, 0x66, 0x66, 0x73, 0x65, 0x74, 0, 0,
    0, // resume_offset
    0, 0x70, 0, 0, 0, 0, 0, 0, //
    0, 0, 0, 0, // end
];

#[test]
fn a_list_made_here_is_the_kernels() {
    let mut list = NvList::new();
    list.add_u64("resume_object", 2).add_u64("resume_offset", 0x7000);
    assert_eq!(list.encode(Packed::native(ByteOrder::Little)).unwrap(), RESUMED);
}

#[test]
fn a_package_header_made_here_is_libnvpairs() {
    let mut snaps = NvList::new();
    snaps.add_u64("s1", 0xabcd_ef01_0203_0405);
    let mut filesystem = NvList::new();
    filesystem.add_string("name", "p/f").add_u64("parentfromsnap", 0).add_list("snaps", snaps);
    let mut fss = NvList::new();
    fss.add_list("0x1f", filesystem);
    let mut list = NvList::new();
    list.add_string("tosnap", "s1").add_boolean("not_recursive").add_list("fss", fss);
    let hex = "01010000 00000000 00000001 \
        00000024 00000020 00000006 746f736e 61700000 00000009 00000001 00000002 73310000 \
        00000024 00000020 0000000d 6e6f745f 72656375 72736976 65000000 00000001 00000000 \
        000000e8 00000030 00000003 66737300 00000013 00000001 00000000 00000001 \
        000000c0 00000030 00000004 30783166 00000013 00000001 00000000 00000001 \
        00000020 00000020 00000004 6e616d65 00000009 00000001 00000003 702f6600 \
        0000002c 00000028 0000000e 70617265 6e746672 6f6d736e 61700000 00000008 00000001 00000000 00000000 \
        0000004c 00000030 00000005 736e6170 73000000 00000013 00000001 00000000 00000001 \
        00000020 00000020 00000002 73310000 00000008 00000001 abcdef01 02030405 \
        00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000";
    let expected: Vec<u8> = hex
        .split_whitespace()
        .flat_map(|word| u32::from_str_radix(word, 16).unwrap().to_be_bytes())
        .collect();
    assert_eq!(expected.len(), 324);
    assert_eq!(list.encode(Packed::xdr(ByteOrder::Little)).unwrap(), expected);
}

/// 12854, 18372: kernels pad BEGIN payloads, newer ones to a multiple of 8 behind an XDR list.
#[test]
fn bytes_behind_the_list_are_not_taken() {
    for (path, bytes) in packed_fixtures() {
        for tail in [&[0xff_u8; 7][..], &[1, 0, 0, 0]] {
            let decoded = NvList::decode(&[&bytes, tail].concat()).unwrap();
            assert_eq!(decoded.used_len, bytes.len(), "{}", path.display());
        }
    }
}

#[test]
fn a_look_up_finds_the_later_of_two() {
    let bytes = fixtures("libnvpair", "native");
    let (_, duplicates) = bytes.iter().find(|(path, _)| path.ends_with("duplicates.native")).unwrap();
    let mut list = NvList::decode(duplicates).unwrap().list;
    assert_eq!(list.len(), 4);
    assert_eq!(list.get("twice"), Some(&NvValue::Uint64(3)));
    // No unique names: libnvpair refuses typed look-ups, here they find the last of the type.
    assert_eq!(list.nvflag, 0);
    assert_eq!(list.get_str("twice"), Some("second"));
    // Unique names: what is found is the last of the name, of whatever type.
    list.nvflag = NvList::UNIQUE_NAME;
    assert_eq!(list.get_str("twice"), None);
    assert_eq!(list.get_u64("twice"), Some(3));
    list.set("twice", NvValue::Boolean);
    assert_eq!(list.iter().map(|pair| pair.name.to_string()).collect::<Vec<_>>(), ["other", "twice"]);
    assert!(list.get_boolean("twice"));
    assert_eq!(list.remove("twice"), 1);
    assert!(!list.contains("twice"));
}

#[test]
fn a_string_that_is_no_text_keeps_its_bytes() {
    let mut list = NvList::new();
    list.add_string("caf\u{e9}", &b"caf\xe9 \\"[..]);
    assert_eq!(list.get_str("caf\u{e9}"), None);
    let string = list.get_string("caf\u{e9}").unwrap();
    assert_eq!(string.as_bytes(), b"caf\xe9 \\");
    assert_eq!(format!("{string}"), "caf\\xe9 \\");
    assert_eq!(format!("{string:?}"), "\"caf\\xe9 \\\\\"");
    assert_eq!(list.print(), b"nvlist version: 0\n\tcaf\xc3\xa9 = caf\xe9 \\\n");
    assert_eq!(list.to_string(), "nvlist version: 0\n\tcaf\u{e9} = caf\\xe9 \\\n");
    assert_eq!(NvString::from("a"), "a");
}
