//! The generation number of a file, which distinguishes files that used the same object
//! (`receive_object_is_same_generation`, `zpl_get_file_info`).

use crate::object_type::ObjectType;
use crate::order::ByteOrder;

/// The magic number of system attributes (`SA_MAGIC`).
const SA_MAGIC: u32 = 0x002F_505A;
/// The offset of the generation after the header of system attributes (`SA_GEN_OFFSET`).
const SA_GENERATION: usize = 16;
/// The offset of the generation in a znode (`zp_gen`).
const ZNODE_GENERATION: usize = 64;

/// Returns the generation of the file in its bonus, or `None` if the bonus has none. The generation of a bonus that
/// is not initialized is 0.
#[must_use]
pub fn generation(bonus_type: ObjectType, bonus: &[u8]) -> Option<u64> {
    let word = |order: ByteOrder, at: usize| bonus.get(at..at + 8).map(|bytes| order.u64(bytes));
    match bonus_type {
        ObjectType::ZNODE => word(ByteOrder::Little, ZNODE_GENERATION),
        ObjectType::SA => {
            let magic = bonus.get(..4)?;
            if ByteOrder::Little.u32(magic) == 0 {
                return Some(0);
            }
            // System attributes state their byte order, so receivers do not swap them.
            let order =
                [ByteOrder::Little, ByteOrder::Big].into_iter().find(|order| order.u32(magic) == SA_MAGIC)?;
            let header_bytes = usize::from(order.u16(bonus.get(4..6)?) >> 10) * 8;
            word(order, header_bytes + SA_GENERATION)
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
            order.put_u32(&mut bonus, SA_MAGIC);
            order.put_u16(&mut bonus[4..], (16 / 8) << 10 | 2);
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
