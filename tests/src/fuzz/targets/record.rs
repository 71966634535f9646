//! Single records.

use super::super::corpus::streams;
use crate::edit::records;
use zstream_format::order::ByteOrder;
use zstream_format::record::{HEADER_LEN, Header};

/// One record of each type and size of payload field that the streams hold.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> =
        streams().iter().flat_map(|s| records(s)).map(|(header, _)| header.as_bytes().to_vec()).collect();
    found.sort();
    found.dedup_by_key(|bytes| bytes[..56].to_vec());
    found.truncate(2000);
    found
}

/// In both orders: parsed and encoded is the identity, so is swapping twice, and a swapped record says the same.
pub(super) fn run(input: &[u8]) {
    let Some(bytes) = input.first_chunk::<HEADER_LEN>() else { return };
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let header = Header::from_bytes(*bytes, order);
        let Some(body) = header.body() else { continue };
        let mut again = header.clone();
        again.set_body(body);
        assert_eq!(again.as_bytes(), bytes, "parsed and encoded");
        let mut swapped = header.clone();
        swapped.byteswap();
        assert_eq!(swapped.body(), Some(body), "swapped");
        assert_eq!(swapped.payload_len(), header.payload_len(), "swapped");
        swapped.byteswap();
        assert_eq!(swapped.as_bytes(), bytes, "swapped twice");
        let _ = (format!("{header:?}"), header.trailer(), header.unused());
    }
}
