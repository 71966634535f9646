//! The trivial ACL, which is equivalent to a mode (`acl_trivial_access_masks`, `zfs_acl_chmod`).
//!
//! The ACL has entries for owner, group and everyone. If a class has fewer rights than a later one, an entry before
//! these denies the difference, since the first entry with a right decides.

use zstream_format::order::ByteOrder;
use zstream_format::phys::AceHeader;

const ALLOW: u16 = 0;
const DENY: u16 = 1;

const OWNER: u16 = 0x1000;
/// The flags for the owning group, and for a group.
const GROUP: u16 = 0x2000 | 0x40;
const EVERYONE: u16 = 0x4000;

const READ: u32 = 0x1;
/// The rights to write and append.
const WRITE: u32 = 0x2 | 0x4;
const EXECUTE: u32 = 0x20;

/// The rights that everyone has: to read attributes, named attributes and the ACL, and to synchronize.
const COMMON: u32 = 0x8 | 0x80 | 0x2_0000 | 0x10_0000;
/// The rights of the owner: to write attributes, named attributes and the ACL, and to change the owner.
const OWNERS: u32 = 0x10 | 0x100 | 0x4_0000 | 0x8_0000;

/// The rights for each bit of a mode.
const RIGHTS: [(u32, u32); 3] = [(4, READ), (2, WRITE), (1, EXECUTE)];

/// Returns the number of entries of the ACL for a mode, and the entries.
pub(super) fn trivial(mode: u32) -> (u64, Vec<u8>) {
    let [owner, group, other] = [mode >> 6 & 7, mode >> 3 & 7, mode & 7];
    let mask =
        |bits: u32| RIGHTS.iter().filter(|(bit, _)| bits & bit != 0).fold(0, |all, (_, right)| all | right);
    let entries = [
        // Rights that owner and everyone have, but not the group.
        (ALLOW, OWNER, mask(owner & !group & other)),
        (DENY, OWNER, mask(!owner & (group | other))),
        (DENY, GROUP, mask(!group & other)),
        (ALLOW, OWNER, COMMON | OWNERS | mask(owner)),
        (ALLOW, GROUP, COMMON | mask(group)),
        (ALLOW, EVERYONE, COMMON | mask(other)),
    ];
    let mut out = Vec::new();
    let mut count = 0;
    for (kind, flags, mask) in entries.into_iter().filter(|(.., mask)| *mask != 0) {
        out.extend(AceHeader { kind, flags, mask }.to_bytes(ByteOrder::Little));
        count += 1;
    }
    (count, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Masks that OpenZFS wrote for these modes.
    #[test]
    fn a_mode_becomes_the_acl_that_openzfs_makes() {
        let masks = |mode| {
            let (count, entries) = trivial(mode);
            assert_eq!(entries.len(), count as usize * 8);
            entries.chunks(8).map(|entry| u64::from_le_bytes(entry.try_into().unwrap())).collect::<Vec<_>>()
        };
        let (owner, group, everyone) = (0x1000 << 16, 0x2040 << 16, 0x4000 << 16);
        let what = |mask: u64| mask << 32;
        assert_eq!(
            masks(0o755),
            [owner | what(0x1e_01bf), group | what(0x12_00a9), everyone | what(0x12_00a9)]
        );
        assert_eq!(
            masks(0o644),
            [owner | what(0x1e_019f), group | what(0x12_0089), everyone | what(0x12_0089)]
        );
        // The owner has fewer rights than others, so they are denied first.
        assert_eq!(masks(0o077)[0], 1 | owner | what(0x27));
        assert_eq!(masks(0o704).len(), 5);
    }
}
