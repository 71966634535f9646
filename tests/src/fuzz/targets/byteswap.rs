//! Payloads in the other byte order. An input is an object type (one byte) and a block of it.

use crate::edit::records;
use crate::golden;
use zstream_format::byteswap::swap_block;
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::record::Body;

/// Bonus buffers, directories and other metadata of the golden streams, one per type and size.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for name in ["fs-full", "dn", "tree-R", "vol"] {
        for (header, payload) in records(&golden::stream(name)) {
            let kind = match header.body() {
                Some(Body::Object(o)) => o.bonus_type,
                Some(Body::Write(w)) if w.object_type != ObjectType::PLAIN_FILE_CONTENTS => w.object_type,
                _ => continue,
            };
            if payload.len() <= 16 << 10 {
                found.push([&[kind.0 as u8], &payload[..]].concat());
            }
        }
    }
    found.sort();
    found.dedup_by_key(|input| (input[0], input.len()));
    found
}

/// Swapped there and back is the identity, in both directions.
pub(super) fn run(input: &[u8]) {
    let Some((kind, block)) = input.split_first() else { return };
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let mut swapped = block.to_vec();
        if swap_block(ObjectType((*kind).into()), &mut swapped, order).is_err() {
            continue;
        }
        swap_block(ObjectType((*kind).into()), &mut swapped, order.swapped()).expect("what was swapped");
        assert!(swapped == block, "there and back, from {order:?}");
    }
}
