//! The attributes of a file at fixed places of its bonus: the generation, which distinguishes files that used the same object,
//! and the owners, for whom space is counted (`zpl_get_file_info`).
//!
//! Receives and the accounting of object sets need nothing else of files.

use crate::object_type::ObjectType;
use crate::order::ByteOrder;
use crate::phys::{SaFixed, SaHeader, ZnodePhys};

/// The owners of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owners {
    /// The user.
    pub user: u64,
    /// The group.
    pub group: u64,
    /// The project; 0 where it has none.
    pub project: u64,
}

fn word(bonus: &[u8], at: usize, order: ByteOrder) -> Option<u64> {
    bonus.get(at..at + 8).map(|bytes| order.u64(bytes))
}

/// Returns the generation of the file in its bonus, or `None` if the bonus has none. The generation of a bonus that
/// is not initialized is 0.
#[must_use]
pub fn generation(bonus_type: ObjectType, bonus: &[u8]) -> Option<u64> {
    const SA: usize = SaFixed::offset_of("generation");
    const ZNODE: usize = ZnodePhys::offset_of("generation");
    match bonus_type {
        ObjectType::ZNODE => word(bonus, ZNODE, ByteOrder::Little),
        ObjectType::SA if bonus.get(..4)? == [0; 4] => Some(0),
        ObjectType::SA => {
            let (header, order) = SaHeader::find(bonus)?;
            word(bonus, header.header_bytes() + SA, order)
        }
        _ => None,
    }
}

/// Returns the owners of the file in its bonus, or `None` if the bonus is not that of a file. The user and group of a bonus
/// that is not initialized are 0.
#[must_use]
pub fn owners(bonus_type: ObjectType, bonus: &[u8]) -> Option<Owners> {
    const ZNODE: [usize; 2] = [ZnodePhys::offset_of("uid"), ZnodePhys::offset_of("gid")];
    const SA: [usize; 4] = [
        SaFixed::offset_of("uid"),
        SaFixed::offset_of("gid"),
        SaFixed::offset_of("flags"),
        SaFixed::offset_of("project"),
    ];
    match bonus_type {
        ObjectType::ZNODE => {
            let [user, group] = ZNODE.map(|at| word(bonus, at, ByteOrder::Little));
            Some(Owners { user: user?, group: group?, project: 0 })
        }
        ObjectType::SA => {
            let Some((header, order)) = SaHeader::find(bonus.get(..8)?) else {
                return Some(Owners::default());
            };
            let [user, group, flags, project] = SA.map(|at| word(bonus, header.header_bytes() + at, order));
            let project = if flags? & SaFixed::HAS_PROJECT != 0 { project? } else { 0 };
            Some(Owners { user: user?, group: group?, project })
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

    #[test]
    fn owners_are_found_in_either_order() {
        let fixed = SaFixed { uid: 1000, gid: 100, project: 7, ..SaFixed::default() };
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let bonus = |flags| {
                let mut bonus = vec![0; 16 + SaFixed::LEN];
                SaHeader::new(2, 16).encode(&mut bonus, order);
                SaFixed { flags, ..fixed }.encode(&mut bonus[16..], order);
                bonus
            };
            let found = |bonus: &[u8]| owners(ObjectType::SA, bonus);
            let without = Some(Owners { user: 1000, group: 100, project: 0 });
            assert_eq!(found(&bonus(0)), without);
            assert_eq!(
                found(&bonus(SaFixed::HAS_PROJECT)),
                without.map(|found| Owners { project: 7, ..found })
            );
            // An old bonus ends before the project.
            let short = 16 + SaFixed::offset_of("project");
            assert_eq!(found(&bonus(0)[..short]), without);
            assert_eq!(found(&bonus(SaFixed::HAS_PROJECT)[..short]), None);
        }
        assert_eq!(owners(ObjectType::SA, &[0; 168]), Some(Owners::default()), "not filled in yet");
        assert_eq!(owners(ObjectType::SA, &[0; 7]), None);
        let znode = ZnodePhys { uid: 5, gid: 6, ..ZnodePhys::default() }.to_bytes(ByteOrder::Little);
        assert_eq!(owners(ObjectType::ZNODE, &znode), Some(Owners { user: 5, group: 6, project: 0 }));
        assert_eq!(owners(ObjectType::NONE, &znode), None);
    }
}
