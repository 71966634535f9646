//! Resume tokens against libzfs. How the tokens were made: `data/token/record.py`.

#![cfg(feature = "gzip")]

use proptest::prelude::*;
use zstream_format::fletcher::fletcher4;
use zstream_format::nvlist::{NvPair, NvString, NvValue};
use zstream_format::order::ByteOrder;
use zstream_format::token::{self, ResumeToken, TokenError};

/// Every recorded token: what it is, its text, and what libzfs said.
fn recorded() -> Vec<(&'static str, String, &'static str)> {
    let cases: Vec<_> = include_str!("data/token/expected.txt")
        .lines()
        .map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            let [name, text, verdict] = fields[..] else { panic!("bad line {line:?}") };
            (name, text.replace("\\n", "\n"), verdict)
        })
        .collect();
    assert_eq!(cases.len(), 34);
    cases
}

fn find(wanted: &str) -> String {
    recorded().into_iter().find(|(name, ..)| *name == wanted).unwrap().1
}

#[test]
fn every_token_is_judged_as_libzfs_judges_it() {
    for (name, text, expected) in recorded() {
        let verdict = match token::decode(&text) {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(verdict, expected, "{name}");
    }
}

/// What a decoder leaves out cannot come back; every other token does, real or made with zlib.
#[test]
fn a_token_read_and_written_is_the_same_text() {
    let left_out =
        ["upper-case hex", "an odd digit more", "bytes behind the zlib stream", "a field too many"];
    let mut same = 0;
    for (name, text, verdict) in recorded() {
        if verdict != "ok" || left_out.contains(&name) {
            continue;
        }
        let decoded = token::decode(&text).unwrap();
        assert_eq!(token::encode(&decoded.list, decoded.packed.order).unwrap(), text, "{name}");
        if name != "no values at all" {
            assert_eq!(ResumeToken::parse(&text).unwrap().encode().unwrap(), text, "{name}");
        }
        same += 1;
    }
    assert_eq!(same, 7);
}

#[test]
fn real_tokens_print_as_zfs_send_prints_them() {
    let expected = [
        "resume token contents:\nnvlist version: 0\n\tobject = 0x8\n\toffset = 0x2a0000\n\tbytes = 0x31500\n\
         \ttoguid = 0x554a8a31af7551eb\n\ttoname = tank/fs@a\n",
        "resume token contents:\nnvlist version: 0\n\tobject = 0x82\n\toffset = 0x0\n\tbytes = 0x3f9c0\n\
         \ttoguid = 0x554a8a31af7551eb\n\ttoname = tank/fs@a\n\tembedok = 1\n\tcompressok = 1\n",
    ];
    let real: Vec<_> = recorded().into_iter().filter(|(name, ..)| *name == "a real one").collect();
    assert_eq!(real.len(), expected.len());
    for ((_, text, _), expected) in real.iter().zip(expected) {
        let printed = ResumeToken::parse(text).unwrap().print_contents();
        assert_eq!(String::from_utf8(printed).unwrap(), expected);
    }
}

#[test]
fn a_token_prints_as_zstream_token_prints_it() {
    let mut token = ResumeToken::parse(&find("made")).unwrap();
    token.compressed = true;
    let expected = "     object: 2\n     offset: 28672\n     bytes: 203680\n     toguid: 6203836143414058753\n     \
        toname: 'tp/a@s1'\n     compressok\n";
    assert_eq!(String::from_utf8(token.print()).unwrap(), expected);
}

#[test]
fn every_value_has_its_field() {
    let token = ResumeToken::parse(&find("all values")).unwrap();
    assert_eq!(token.from_guid, Some(99));
    assert_eq!((token.object, token.offset, token.bytes), (2, 28672, 203_680));
    assert_eq!(token.to_guid, 6_203_836_143_414_058_753);
    assert_eq!(token.to_name, "tp/a@s1");
    assert!(token.large_blocks && token.embedded && token.compressed && token.raw);
    assert_eq!(token.redact_snaps, Some(vec![0xeab1_34a7_949b_f8ee, 0x9a46_c1f6_a40a_084a]));
    assert_eq!(token.book_redact_snaps, Some(vec![]));
    assert!(token.others.is_empty());
    assert_eq!(token.order, ByteOrder::Little);

    let token = ResumeToken::parse(&find("an unknown value")).unwrap();
    let others = [("savedok", NvValue::String("new".into())), ("other", NvValue::Boolean)];
    assert_eq!(token.others, others.map(|(name, value)| NvPair { name: name.into(), value }));

    let missing = ResumeToken::parse(&find("no values at all")).unwrap_err();
    assert_eq!(missing, TokenError::Value { name: "object", expected: "a uint64" });
    let mut mistyped = ResumeToken::parse(&find("made")).unwrap().to_list();
    mistyped.set("rawok", NvValue::Uint64(1));
    let wrong = ResumeToken::from_list(&mistyped, ByteOrder::Little).unwrap_err();
    assert_eq!(wrong.to_string(), "resume token has no valid rawok, expected a boolean");
}

/// OpenZFS takes only its own byte order, here both are the same token.
#[test]
fn a_token_of_the_other_byte_order_is_read() {
    let little = ResumeToken::parse(&find("all values")).unwrap();
    let big = ResumeToken { order: ByteOrder::Big, ..little.clone() };
    let text = big.encode().unwrap();
    assert_ne!(text, little.encode().unwrap());
    assert_eq!(ResumeToken::parse(&text).unwrap(), big);
}

/// 10517, 16910: the last length mod 4 bytes are not summed, so damage there goes unnoticed by the
/// checksum, and only zlib's own finds it.
#[test]
fn the_last_bytes_are_not_in_the_checksum() {
    let text = find("made");
    let payload = text.rsplit('-').next().unwrap();
    assert_eq!(payload.len() / 2 % 4, 1, "the fixture should have a byte that is not summed");
    let bytes: Vec<u8> = (0..payload.len() / 2 - 1)
        .map(|at| u8::from_str_radix(&payload[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let summed = format!("{:x}", fletcher4(&bytes, ByteOrder::Little).0[0]);
    assert_eq!(text.split('-').nth(1), Some(&summed[..]));
    let damaged = format!("{}00", &text[..text.len() - 2]);
    assert_eq!(token::decode(&damaged), Err(TokenError::Decompression));
}

#[test]
fn a_length_without_end_is_refused_before_anything_is_allocated() {
    let text = find("made");
    let fields: Vec<_> = text.split('-').collect();
    let long = format!("1-{}-{:x}-{}", fields[1], u64::MAX, fields[3]);
    assert_eq!(token::decode(&long), Err(TokenError::TooLong { stated: u64::MAX }));
}

fn resume_token() -> impl Strategy<Value = ResumeToken> {
    let guids = || proptest::option::of(proptest::collection::vec(any::<u64>(), 0..20));
    (
        (proptest::option::of(any::<u64>()), any::<[u64; 4]>(), "[ -~]{0,80}"),
        (any::<[bool; 4]>(), guids(), guids(), any::<bool>()),
        proptest::collection::vec(("[g-z]{9,12}", any::<u64>()), 0..3),
    )
        .prop_map(
            |((from_guid, numbers, to_name), (flags, redact_snaps, book_redact_snaps, big), others)| {
                let [object, offset, bytes, to_guid] = numbers;
                let [large_blocks, embedded, compressed, raw] = flags;
                let pair =
                    |(name, value)| NvPair { name: NvString::from(name), value: NvValue::Uint64(value) };
                ResumeToken {
                    from_guid,
                    object,
                    offset,
                    bytes,
                    to_guid,
                    to_name: to_name.into(),
                    large_blocks,
                    embedded,
                    compressed,
                    raw,
                    redact_snaps,
                    book_redact_snaps,
                    others: others.into_iter().map(pair).collect(),
                    order: if big { ByteOrder::Big } else { ByteOrder::Little },
                }
            },
        )
}

proptest! {
    #[test]
    fn any_token_comes_back(token in resume_token()) {
        let text = token.encode().unwrap();
        prop_assert_eq!(&ResumeToken::parse(&text).unwrap(), &token);
    }

    /// A damaged token is refused, or is one of the few texts that say the same.
    #[test]
    fn a_damaged_token_never_says_something_else(
        token in resume_token(),
        at in any::<prop::sample::Index>(),
        byte in 0_u8..128,
    ) {
        let text = token.encode().unwrap();
        let mut damaged = text.into_bytes();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        if let Ok(found) = ResumeToken::parse(std::str::from_utf8(&damaged).unwrap()) {
            prop_assert_eq!(found, token);
        }
    }

    #[test]
    fn no_text_panics(text in "([0-9]{0,3}-[0-9a-f]{0,17}-[0-9a-f]{0,17}-)?\\PC{0,40}") {
        let _ = token::decode(&text);
    }
}
