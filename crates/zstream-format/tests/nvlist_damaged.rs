//! Unsound packed lists against libnvpair's verdict. How they were made: `data/nvlist/damaged.py`.

use zstream_format::nvlist::{NvError, NvFault, NvList};

/// What libnvpair's user-space library takes though its kernel code does not (or, of the byte order, though
/// it could not be kept), and why it is refused here.
fn stricter(name: &str) -> Option<&'static str> {
    Some(match name {
        "xdr, byte order 9" => {
            "byte order 9, expected 0 (big-endian) or 1 (little-endian) (nvlist offset 0x1)"
        }
        "xdr, word that is no uint8" => "word 0x1ff is no uint8 (nvlist offset 0x24)",
        "xdr, word that is no int16" => "word 0x1ffff is no int16 (nvlist offset 0x24)",
        "xdr, NUL in a string" => "NUL inside a string (nvlist offset 0x29)",
        "xdr, NUL in a name" => "NUL inside a string (nvlist offset 0x19)",
        _ => return None,
    })
}

fn cases() -> impl Iterator<Item = (&'static str, Vec<u8>, i32)> {
    include_str!("data/nvlist/damaged.txt").lines().map(|line| {
        let fields: Vec<_> = line.split('\t').collect();
        let [name, hex, errno] = fields[..] else { panic!("bad line {line:?}") };
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (name, (0..hex.len()).step_by(2).map(byte).collect(), errno.parse().unwrap())
    })
}

fn decode(name: &str) -> Result<NvList, NvError> {
    let (_, bytes, _) = cases().find(|(found, ..)| *found == name).unwrap();
    NvList::decode(&bytes).map(|decoded| decoded.list)
}

#[test]
fn every_verdict_is_libnvpairs() {
    let mut seen = (0, 0, 0);
    for (name, bytes, expected) in cases() {
        match (NvList::decode(&bytes), stricter(name)) {
            (Ok(_), _) => {
                assert_eq!(expected, 0, "{name}: taken");
                seen.0 += 1;
            }
            (Err(error), None) => {
                assert_eq!(error.errno().number(), expected, "{name}: {error}");
                assert!(error.offset <= bytes.len(), "{name}: {error}");
                seen.1 += 1;
            }
            (Err(error), Some(text)) => {
                assert_eq!(expected, 0, "{name}: not stricter at all");
                assert_eq!(error.to_string(), text, "{name}");
                seen.2 += 1;
            }
        }
    }
    assert_eq!(seen, (11, 56, 5));
}

#[test]
fn errors_say_what_where_and_what_was_expected() {
    let says = |name: &str| decode(name).unwrap_err().to_string();
    assert_eq!(says("native, size too large"), "pair size 40, expected 32 (nvlist offset 0xc)");
    assert_eq!(says("native, size past the end"), "need 4092 bytes, have 32 (nvlist offset 0x10)");
    assert_eq!(
        says("native, name size past the pair"),
        "name size 300 in a pair of 32 bytes (nvlist offset 0x10)"
    );
    assert_eq!(says("native, type 28"), "data type 28, expected 1 to 27 (nvlist offset 0x18)");
    assert_eq!(
        says("native, two elements of one"),
        "2 elements of type uint64, which is no array (nvlist offset 0x14)"
    );
    assert_eq!(says("native, boolean 2 in an array"), "boolean 0x2, expected 0 or 1 (nvlist offset 0x28)");
    assert_eq!(
        says("native, version of an embedded list"),
        "version 1 of an embedded list, expected 0 (nvlist offset 0x24)"
    );
    assert_eq!(says("xdr, decoded size too small"), "pair size 24, expected 32 (nvlist offset 0x10)");
    assert_eq!(says("xdr, two counts"), "array of 2 elements in a pair of 1 (nvlist offset 0x24)");
    assert_eq!(says("xdr, negative count"), "-1 elements of type uint64_array (nvlist offset 0x20)");
    assert_eq!(says("xdr, huge count"), "need 2147483648 bytes, have 16 (nvlist offset 0x28)");
    assert_eq!(says("half a header"), "a packed nvlist has a header of 4 bytes, have 2 (nvlist offset 0x0)");
}

#[test]
fn what_cannot_be_packed_is_refused() {
    use zstream_format::nvlist::{MAX_NAME_LEN, Packed};
    use zstream_format::order::ByteOrder;

    for packed in [Packed::native(ByteOrder::Big), Packed::xdr(ByteOrder::Big)] {
        let fault = |list: &NvList| list.encode(packed).unwrap_err().fault;
        let mut list = NvList::new();
        list.add_boolean("n".repeat(MAX_NAME_LEN));
        assert_eq!(NvList::decode(&list.encode(packed).unwrap()).unwrap().list, list);
        let mut list = NvList::new();
        list.add_boolean("n".repeat(MAX_NAME_LEN + 1));
        assert_eq!(fault(&list), NvFault::NameLen { len: MAX_NAME_LEN + 1 });
        let mut list = NvList::new();
        list.add_boolean("a\0b");
        assert_eq!(fault(&list), NvFault::Nul);
        let mut list = NvList::new();
        list.add_string_array("a", vec!["b".into(), "c\0".into()]);
        assert_eq!(fault(&list), NvFault::Nul);
    }
    // XDR has a version for each list, the native encoding only for the outermost.
    let mut inner = NvList::new();
    inner.version = 1;
    let mut list = NvList::new();
    list.add_list("inner", inner);
    list.encode(Packed::xdr(ByteOrder::Big)).unwrap();
    let error = list.encode(Packed::native(ByteOrder::Big)).unwrap_err();
    assert_eq!((error.fault.clone(), error.errno().number()), (NvFault::Version { found: 1 }, 95));
}
