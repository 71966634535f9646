//! Creation and modification of dnodes.

use super::{
    DNODE_CORE_BYTES, DNODE_POINTERS_MAX, DNODE_SLOT_BYTES, DNODE_SLOTS_MAX, Dnode, DnodeFlags, LEVELS_MAX,
};
use crate::blkptr::{BLOCK_BYTES_MAX, BLOCK_POINTER_BYTES, BlockPointer, SECTOR_BYTES};
use crate::error::{Error, Result};
use crate::ids::BlockId;
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::ObjectType;

/// The default and maximum binary logarithm of the size of indirect blocks (`DN_MAX_INDBLKSHIFT`).
pub(crate) const INDIRECT_SHIFT_DEFAULT: u8 = 17;

/// The minimum binary logarithm of the size of new indirect blocks (`DN_MIN_INDBLKSHIFT`).
const INDIRECT_SHIFT_MIN: u8 = 12;

/// The properties of a new object (`dmu_object_alloc_dnsize`, `dmu_object_claim_dnsize`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewObject {
    /// The type of the object.
    pub object_type: ObjectType,
    /// The size of data blocks in bytes, a multiple of 512; 0 for the minimum.
    pub block_bytes: u32,
    /// The binary logarithm of the size of indirect blocks; 0 for the default of the object set.
    pub indirect_shift: u8,
    /// The type of the bonus.
    pub bonus_type: ObjectType,
    /// The length of the used part of the bonus in bytes. It is filled with zeros.
    pub bonus_len: u16,
    /// The number of slots of 512 bytes of the dnode; 0 for one.
    pub dn_slots: u8,
    /// The checksum function of blocks; [`ChecksumType::INHERIT`] for that of the object set.
    pub checksum_type: ChecksumType,
    /// The compression of blocks; [`CompressionType::INHERIT`] for that of the object set.
    pub compression: CompressionType,
}

impl NewObject {
    /// Creates an object of one slot with the checksum and compression of the object set.
    #[must_use]
    pub fn new(object_type: ObjectType, block_bytes: u32) -> Self {
        Self {
            object_type,
            block_bytes,
            indirect_shift: 0,
            bonus_type: ObjectType::NONE,
            bonus_len: 0,
            dn_slots: 0,
            checksum_type: ChecksumType::INHERIT,
            compression: CompressionType::INHERIT,
        }
    }

    /// Returns the same object with a bonus.
    #[must_use]
    pub fn with_bonus(self, bonus_type: ObjectType, bonus_len: u16) -> Self {
        Self { bonus_type, bonus_len, ..self }
    }
}

impl Dnode {
    /// Creates the dnode of a new object without blocks (`dnode_allocate`). Its bonus is filled with zeros.
    ///
    /// # Errors
    ///
    /// Fails if the properties violate a rule.
    pub fn new(new: &NewObject) -> Result<Self> {
        if !new.object_type.is_valid() || new.object_type == ObjectType::NONE {
            return Err(Error::bad_shape(format!("object cannot be of type {}", new.object_type)));
        }
        let slots = usize::from(new.dn_slots.max(1));
        if slots > DNODE_SLOTS_MAX {
            let (size, limit) = (slots * DNODE_SLOT_BYTES, DNODE_SLOTS_MAX * DNODE_SLOT_BYTES);
            return Err(Error::bad_shape(format!("dnode is {size} bytes, limit {limit}")));
        }
        let room = bonus_room(slots, 1);
        if usize::from(new.bonus_len) > room {
            return Err(too_long(usize::from(new.bonus_len), room));
        }
        // The space after the bonus is used for block pointers, unless the bonus has system attributes, which grow.
        let pointer_count = if new.bonus_type == ObjectType::SA {
            1
        } else {
            DNODE_POINTERS_MAX.min(1 + (room - usize::from(new.bonus_len)) / BLOCK_POINTER_BYTES)
        };
        let mut dnode = Self {
            object_type: new.object_type,
            indirect_shift: INDIRECT_SHIFT_DEFAULT,
            levels: 1,
            bonus_type: new.bonus_type,
            checksum_type: new.checksum_type,
            compression: new.compression,
            flags: DnodeFlags::empty(),
            block_sectors: 1,
            bonus_len: new.bonus_len,
            extra_slots: (slots - 1) as u8,
            max_block: BlockId(0),
            used: 0,
            pointers: vec![BlockPointer::EMPTY; pointer_count],
            bonus_area: vec![0; bonus_room(slots, pointer_count)].into(),
            spill: None,
        };
        if new.indirect_shift != 0 {
            dnode.set_indirect_shift(new.indirect_shift);
        }
        dnode.set_block_bytes(if new.block_bytes == 0 { SECTOR_BYTES as u32 } else { new.block_bytes })?;
        Ok(dnode)
    }

    /// Sets the size of data blocks, rounded up to sectors.
    ///
    /// # Errors
    ///
    /// Fails if it is 0 or exceeds 16 MiB.
    pub(crate) fn set_block_bytes(&mut self, bytes: u32) -> Result<()> {
        let rounded = u64::from(bytes).next_multiple_of(SECTOR_BYTES);
        if rounded == 0 || rounded > BLOCK_BYTES_MAX {
            return Err(Error::bad_shape(format!(
                "data blocks are {bytes} bytes, expected 1 to {BLOCK_BYTES_MAX}"
            )));
        }
        self.block_sectors = (rounded / SECTOR_BYTES) as u16;
        Ok(())
    }

    /// Sets the binary logarithm of the size of indirect blocks, limited to the range of OpenZFS.
    pub(crate) fn set_indirect_shift(&mut self, shift: u8) {
        self.indirect_shift = shift.clamp(INDIRECT_SHIFT_MIN, INDIRECT_SHIFT_DEFAULT);
    }

    /// Returns the mutable block pointers at the top of the tree.
    pub(crate) fn pointers_mut(&mut self) -> &mut [BlockPointer] {
        &mut self.pointers
    }

    /// Sets the type and the used part of the bonus. The rest of its area is filled with zeros.
    ///
    /// # Errors
    ///
    /// Fails if it exceeds the area.
    pub fn set_bonus(&mut self, bonus_type: ObjectType, bytes: &[u8]) -> Result<()> {
        self.set_bonus_area(bonus_type, bytes.len(), bytes)
    }

    /// Sets the bonus from a raw stream: `used` bytes are used, but `area` may be longer.
    ///
    /// # Errors
    ///
    /// Fails if it exceeds the area.
    pub(crate) fn set_bonus_area(&mut self, bonus_type: ObjectType, used: usize, area: &[u8]) -> Result<()> {
        let room = self.bonus_area.len();
        if area.len().max(used) > room {
            return Err(too_long(area.len().max(used), room));
        }
        self.bonus_area.fill(0);
        self.bonus_area[..area.len()].copy_from_slice(area);
        self.bonus_type = bonus_type;
        self.bonus_len = used as u16;
        Ok(())
    }

    /// Sets or removes the pointer of the spill block, which uses 128 bytes of the bonus area.
    ///
    /// # Errors
    ///
    /// Fails if the bonus leaves no space for it.
    pub fn set_spill(&mut self, spill: Option<BlockPointer>) -> Result<()> {
        let whole = bonus_room(self.slots(), self.pointers.len());
        let room = whole.checked_sub(if spill.is_some() { BLOCK_POINTER_BYTES } else { 0 });
        let Some(room) = room.filter(|room| usize::from(self.bonus_len) <= *room) else {
            return Err(Error::bad_shape(format!(
                "bonus of {} bytes leaves no space for a spill pointer in {} slots with {} block pointers",
                self.bonus_len,
                self.slots(),
                self.pointers.len()
            )));
        };
        let mut area = vec![0; room];
        let kept = room.min(self.bonus_area.len());
        area[..kept].copy_from_slice(&self.bonus_area[..kept]);
        self.bonus_area = area.into();
        self.flags.set(DnodeFlags::SPILL_POINTER, spill.is_some());
        self.spill = spill;
        Ok(())
    }

    /// Changes the used space, which is in bytes from then on (`dnode_diduse_space`).
    pub(crate) fn add_used(&mut self, born: u64, killed: u64) {
        self.used = self.used_bytes().saturating_add(born).saturating_sub(killed);
        self.flags.insert(DnodeFlags::USED_BYTES);
    }

    /// Returns the minimum number of levels of a tree with `block`.
    ///
    /// # Errors
    ///
    /// Fails if no number of levels suffices.
    pub(crate) fn levels_for(&self, block: BlockId) -> Result<u8> {
        let step = self.pointers_per_block_shift();
        (1..=LEVELS_MAX)
            .find(|levels| {
                let top = block.0.checked_shr(u32::from(levels - 1) * step).unwrap_or(0);
                top < self.pointers.len() as u64
            })
            .ok_or_else(|| Error::bad_shape(format!("block {block} exceeds the maximum size of an object")))
    }
}

/// Returns the size of the bonus area of a dnode with `slots` slots, `pointers` block pointers and no spill pointer.
fn bonus_room(slots: usize, pointers: usize) -> usize {
    slots * DNODE_SLOT_BYTES - DNODE_CORE_BYTES - pointers * BLOCK_POINTER_BYTES
}

fn too_long(bytes: usize, room: usize) -> Error {
    Error::bad_shape(format!("bonus is {bytes} bytes, but the dnode has space for {room}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(bonus_type: ObjectType, bonus_len: u16, dn_slots: u8) -> NewObject {
        NewObject { dn_slots, ..NewObject::new(ObjectType::BPOBJ, 0).with_bonus(bonus_type, bonus_len) }
    }

    /// The counts that OpenZFS chose for objects of the golden pools.
    #[test]
    fn the_bonus_leaves_room_for_pointers() {
        for (bonus_type, bonus_len, slots, pointers) in [
            (ObjectType::NONE, 0, 1, 3),
            (ObjectType::BPOBJ_HDR, 48, 1, 3),
            (ObjectType::BPOBJ_HDR, 64, 1, 3),
            (ObjectType::BPOBJ_HDR, 65, 1, 2),
            (ObjectType::DSL_DIR, 256, 1, 1),
            (ObjectType::DSL_DATASET, 320, 1, 1),
            (ObjectType::SA, 0, 1, 1),
            (ObjectType::DSL_DATASET, 320, 2, 3),
        ] {
            let dnode = Dnode::new(&object(bonus_type, bonus_len, slots)).unwrap();
            assert_eq!(dnode.pointers().len(), pointers, "{bonus_type} {bonus_len} {slots}");
            let bytes = dnode.encode();
            assert_eq!(bytes.len(), dnode.slots() * DNODE_SLOT_BYTES);
            assert_eq!(Dnode::parse(&bytes).unwrap().unwrap(), dnode);
        }
        assert!(Dnode::new(&object(ObjectType::SA, 321, 1)).is_err());
        assert!(Dnode::new(&object(ObjectType::SA, 0, 33)).is_err());
    }

    #[test]
    fn a_spill_pointer_takes_its_place_from_the_bonus_and_gives_it_back() {
        let mut dnode = Dnode::new(&object(ObjectType::SA, 0, 1)).unwrap();
        dnode.set_bonus(ObjectType::SA, &[7; 192]).unwrap();
        let before = dnode.clone();
        dnode.set_spill(Some(BlockPointer::EMPTY)).unwrap();
        assert_eq!((dnode.bonus(), dnode.bonus_area().len()), (&[7; 192][..], 192));
        assert_eq!(Dnode::parse(&dnode.encode()).unwrap().unwrap(), dnode);
        assert!(dnode.set_bonus(ObjectType::SA, &[7; 193]).is_err());
        dnode.set_spill(None).unwrap();
        assert_eq!(dnode, before);
        dnode.set_bonus(ObjectType::SA, &[7; 193]).unwrap();
        assert!(dnode.set_spill(Some(BlockPointer::EMPTY)).unwrap_err().to_string().contains("193 bytes"));
    }

    #[test]
    fn levels_grow_with_the_highest_block() {
        let mut dnode = Dnode::new(&object(ObjectType::NONE, 0, 1)).unwrap();
        for (block, levels) in [(0, 1), (2, 1), (3, 2), (3071, 2), (3072, 3), (u64::MAX, 8)] {
            assert_eq!(dnode.levels_for(BlockId(block)).unwrap(), levels, "block {block}");
        }
        dnode.indirect_shift = 10;
        assert!(dnode.levels_for(BlockId(u64::MAX)).is_err());
    }
}
