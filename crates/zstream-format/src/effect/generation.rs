//! The generation number of a file, which tells whether an object is still the same one
//! (`receive_object_is_same_generation`, `zpl_get_file_info`).

use crate::object_type::ObjectType;
use crate::order::ByteOrder;
use crate::phys::{SaFixed, SaHeader, ZnodePhys};

/// Where the generation lies after the header of system attributes.
const SA_GENERATION: usize = SaFixed::offset_of("generation");
/// Where it lies in a znode.
const ZNODE_GENERATION: usize = ZnodePhys::offset_of("generation");

/// The generation of the file that a bonus belongs to; `None` where it has none. A bonus that is not filled in yet has
/// generation 0.
#[must_use]
pub fn generation(bonus_type: ObjectType, bonus: &[u8]) -> Option<u64> {
    let word = |order: ByteOrder, at: usize| bonus.get(at..at + 8).map(|bytes| order.u64(bytes));
    match bonus_type {
        ObjectType::ZNODE => word(ByteOrder::Little, ZNODE_GENERATION),
        ObjectType::SA => {
            if bonus.get(..4)? == [0; 4] {
                return Some(0);
            }
            let (header, order) = SaHeader::find(bonus)?;
            word(order, header.header_bytes() + SA_GENERATION)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generation_is_found_in_either_order() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let mut bonus = vec![0; 168];
            SaHeader::new(2, 16).encode(&mut bonus, order);
            order.put_u64(&mut bonus[16 + 16..], 77);
            assert_eq!(generation(ObjectType::SA, &bonus), Some(77), "{order:?}");
        }
        assert_eq!(generation(ObjectType::SA, &[0; 168]), Some(0), "not filled in yet");
        assert_eq!(generation(ObjectType::SA, &[1; 168]), None);
        assert_eq!(generation(ObjectType::SA, &[0; 3]), None);
        let mut znode = vec![0; 264];
        ByteOrder::Little.put_u64(&mut znode[64..], 5);
        assert_eq!(generation(ObjectType::ZNODE, &znode), Some(5));
        assert_eq!(generation(ObjectType::NONE, &znode), None);
    }
}
