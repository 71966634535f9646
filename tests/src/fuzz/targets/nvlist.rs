//! nvlists.

use zstream_format::nvlist::{Encoding, NvError, NvFault, NvList, Packed};
use zstream_format::order::ByteOrder;

/// Encoded, decoded and encoded is the same, in every encoding and by way of every other.
pub(super) fn run(input: &[u8]) {
    let Ok(decoded) = NvList::decode(input) else { return };
    assert!(decoded.used_len <= input.len());
    let again = decoded.list.encode(decoded.packed).expect("what was decoded can be encoded");
    // XDR reserves a word per empty array at the end, which not every writer leaves there
    let reserved = again.get(decoded.used_len..).expect("encoded again it is not shorter");
    assert!(reserved.iter().all(|b| *b == 0), "encoded again: {} bytes more", reserved.len());
    let twice = NvList::decode(&again).expect("what was encoded can be decoded");
    assert!(twice.list.encode(decoded.packed).is_ok_and(|bytes| bytes == again), "encoded, decoded, encoded");
    assert_eq!((twice.packed, twice.used_len), (decoded.packed, again.len()), "decoded again");
    let others = [
        Packed::native(ByteOrder::Little),
        Packed::native(ByteOrder::Big),
        Packed::xdr(ByteOrder::Little),
        Packed { signed_bytes: true, signed_shorts: true, ..Packed::xdr(ByteOrder::Big) },
    ];
    for packed in others {
        let bytes = match decoded.list.encode(packed) {
            // XDR can hold a nested list of another version, native cannot
            Err(NvError { fault: NvFault::Version { .. }, .. }) if packed.encoding == Encoding::Native => {
                continue;
            }
            bytes => bytes.expect("any other list can be encoded in any way"),
        };
        let other = NvList::decode(&bytes).expect("what was encoded can be decoded");
        // a double that is not a number is not equal to itself: the bytes are compared
        let back = other.list.encode(decoded.packed).expect("and back");
        assert!(back == again, "by way of {packed:?}");
        assert_eq!(other.used_len, bytes.len(), "by way of {packed:?}");
    }
    std::hint::black_box(decoded.list.print());
}
