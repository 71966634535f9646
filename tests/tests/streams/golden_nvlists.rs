//! Every nvlist of the golden streams.

use zstream_format::nvlist::{Encoding, NvList};
use zstream_tests::edit::records;
use zstream_tests::{fuzz::corpus, golden};

/// Decoded and encoded, each real payload has the same bytes, with nothing left over but padding to 8.
#[test]
fn decode_then_encode() {
    let lists = corpus::nvlists();
    assert!(lists.len() >= 10, "{} lists", lists.len());
    let mut encodings = [0, 0];
    for bytes in &lists {
        let decoded = NvList::decode(bytes).expect("a list of OpenZFS");
        let again = decoded.list.encode(decoded.packed).expect("the same list");
        assert!(again == bytes[..decoded.used_len]);
        assert!(bytes.len() - decoded.used_len < 8 && bytes[decoded.used_len..].iter().all(|b| *b == 0));
        encodings[usize::from(decoded.packed.encoding == Encoding::Xdr)] += 1;
    }
    assert!(encodings.iter().all(|n| *n > 0), "both encodings are there: {encodings:?}");
}

/// Every list stands in the recorded dump of its stream as it is printed here, byte for byte.
#[test]
fn printed_as_libnvpair_does() {
    let mut compared = 0;
    for name in golden::streams() {
        let dump = golden::expected(&format!("dump/{name}")).expect("a recorded dump").stdout;
        for (header, payload) in records(&golden::stream(&name)) {
            if payload.is_empty() || header.type_number() != 0 {
                continue;
            }
            let printed = NvList::decode(&payload).expect("a list of OpenZFS").list.print();
            let is_there = dump.windows(printed.len()).any(|part| part == printed);
            assert!(is_there, "{name}: not in the dump:\n{}", String::from_utf8_lossy(&printed));
            compared += 1;
        }
    }
    assert_eq!(compared, 14);
}
