//! Lists inside of lists: those nested too deeply are refused, by every verb that reads a stream, however deep they are.

use zstream_format::checksum::Checksum;
use zstream_format::flags::{BeginFlags, FeatureFlags, HeaderType, VersionInfo};
use zstream_format::ids::Guid;
use zstream_format::nvlist::{MAX_DEPTH, NvList};
use zstream_format::object_type::ObjsetType;
use zstream_format::record::{BEGIN_MAGIC, Begin, End, Header};
use zstream_tests::edit::rechained;
use zstream_tests::program::zstream;
use zstream_tests::receiving::Demo;
use zstream_tests::refusals::ORDER;

/// A packed list in XDR with so many lists below it, one in the other.
fn nested(depth: usize) -> Vec<u8> {
    const HEAD: [u8; 4] = [1, 1, 0, 0];
    const VERSION: [u32; 2] = [0, 1];
    const END: [u32; 2] = [0, 0];
    // A pair has its sizes, its name `a`, its type, and the number of values.
    const PAIR_BYTES: usize = 6 * 4;
    // In the native encoding: the pair, its name, and the empty list.
    const DECODED_BYTES: u32 = 16 + 8 + 24;
    const LIST: u32 = 19;
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
    let mut bytes = HEAD.to_vec();
    bytes.extend(words(&VERSION));
    for n in (0..depth).rev() {
        let below = (PAIR_BYTES + 16) * n + 16;
        let size = (PAIR_BYTES + below) as u32;
        bytes.extend(words(&[size, DECODED_BYTES, 1, u32::from_be_bytes(*b"a\0\0\0"), LIST, 1]));
        bytes.extend(words(&VERSION));
    }
    (0..=depth).for_each(|_| bytes.extend(words(&END)));
    bytes
}

/// A stream whose BEGIN has a list.
fn stream(list: &[u8], kind: HeaderType) -> Vec<u8> {
    // The records of a package itself have no guid.
    let to_guid = Guid(if kind == HeaderType::Package { 0 } else { 77 });
    let begin = Begin {
        magic: BEGIN_MAGIC,
        version_info: VersionInfo::new(kind, FeatureFlags::empty()),
        creation_time: 1_700_000_000,
        objset_type: ObjsetType::ZFS.0,
        flags: BeginFlags::empty(),
        to_guid,
        from_guid: Guid(0),
        to_name: Begin::name_field(b"tank/fs@s").unwrap(),
    };
    let mut header = Header::new(begin, ORDER);
    header.set_payload_len_field(list.len() as u32);
    let end = End { checksum: Checksum::ZERO, to_guid };
    rechained(&[(header, list.to_vec()), (Header::new(end, ORDER), Vec::new())]).expect("a stream")
}

#[test]
fn the_deepest_list_is_read_and_the_next_is_refused() {
    assert!(NvList::decode(&nested(MAX_DEPTH)).is_ok());
    for depth in [MAX_DEPTH + 1, 10_000, 1_000_000] {
        let error = NvList::decode(&nested(depth)).expect_err("it is too deep");
        assert!(error.to_string().contains("nested deeper than 100"), "{depth}: {error}");
    }
}

#[test]
fn streams_with_deep_lists_are_refused() {
    let demo = Demo::new("a", 12, 64 << 20);
    let before = demo.datasets();
    for kind in [HeaderType::Substream, HeaderType::Package] {
        for depth in [MAX_DEPTH + 1, 100_000] {
            let stream = stream(&nested(depth), kind);
            let what = format!("{kind:?}, {depth}");
            for words in [&["info", "-"][..], &["verify", "-"], &["dump", "-v"], &["recompress", "off"]] {
                let outcome = zstream(words, &stream);
                let said = String::from_utf8_lossy(&outcome.stderr).into_owned()
                    + &String::from_utf8_lossy(&outcome.stdout);
                assert!(outcome.code <= 2, "{what}: {words:?}: {said}");
                if ["info", "verify"].contains(&words[0]) {
                    assert!(outcome.code == 1 && said.contains("nested deeper"), "{what}: {words:?}: {said}");
                }
            }
            let (code, _, said) = demo.run(&[], "recv demo/new", &stream);
            assert!(code == 1 && said.contains("nested deeper"), "{what}: {said}");
            assert_eq!(demo.datasets(), before);
        }
    }
}
