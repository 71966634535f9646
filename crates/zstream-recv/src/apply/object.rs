//! OBJECT and OBJECT_RANGE: making objects what they are at the sender (`receive_object`,
//! `receive_handle_existing_object`).

use zstream_dmu::blkptr::CryptKind;
use zstream_dmu::block::StoredCrypt;
use zstream_dmu::dnode::NewObject;
use zstream_dmu::ids::{BlockId, ObjectId};
use zstream_dmu::object_set::ObjectInfo;
use zstream_dmu::receive_store::ReceiveStore;
use zstream_format::byteswap;
use zstream_format::flags::{BeginFlags, ObjectFlags, RangeFlags};
use zstream_format::judge::{BLKPTR_BYTES, bonus_room};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::record::{Object, ObjectRange, TO_OBJECT_END};

use super::generation::generation;
use super::{Apply, find};
use crate::error::Result;
use crate::misfit::Misfit;

/// The largest bonus of a dnode of one slot (`DN_OLD_MAX_BONUSLEN`).
const OLD_BONUS_BYTES: u64 = 320;

/// What is to become of an object that is there.
struct Change {
    /// Its content goes.
    free_content: bool,
    /// It goes, and one of the same number is made.
    make_anew: bool,
    /// Its block size afterwards: that of the record, or its own where smaller blocks are kept.
    block_bytes: u32,
}

impl Apply {
    /// How the dnodes that follow were encrypted. It counts from the first OBJECT on: a block without objects stays a
    /// hole.
    pub(super) fn object_range(&mut self, body: &ObjectRange) {
        self.seen(body.first_object);
        let swapped = body.flags.contains(RangeFlags::RAW_BYTESWAP);
        let crypt = StoredCrypt {
            kind: CryptKind::Encrypted,
            salt: body.salt,
            iv: body.iv,
            mac: body.mac,
            big_endian: self.is_foreign() != swapped,
        };
        self.range = Some((body.first_object, crypt));
    }

    pub(super) fn object(
        &mut self,
        set: &mut dyn ReceiveStore,
        body: &Object,
        payload: Vec<u8>,
    ) -> Result<()> {
        let object = body.object;
        let raw = self.terms.is_raw();
        let has_spill = body.flags.contains(ObjectFlags::SPILL);
        let spill_known = self.terms.flags.contains(BeginFlags::SPILL_BLOCK);
        if !raw {
            bonus_fits(body)?;
        }
        let bonus = self.bonus(body, payload)?;
        self.seen(object);

        let mut new = NewObject {
            object_type: body.object_type,
            block_bytes: body.block_size,
            indirect_shift: if raw { body.indirect_block_shift } else { 0 },
            bonus_type: body.bonus_type,
            // The judge holds it below 16 KiB.
            bonus_len: body.bonus_len as u16,
            dn_slots: body.slots(),
            checksum_type: body.checksum_type,
            compression: body.compression,
        };
        let found = find(set, object)?;
        let change = match &found {
            Some(info) => Some(self.change(info, set.pointer_count(object)?, body, &bonus)?),
            None => None,
        };
        if let Some(change) = &change {
            new.block_bytes = change.block_bytes;
            if change.make_anew {
                set.free(object)?;
            } else if change.free_content {
                set.free_range(object, 0, TO_OBJECT_END)?;
            }
        }
        free_interior(set, object, body.slots())?;
        match (&found, &change) {
            (Some(info), Some(change)) if !change.make_anew => {
                if raw && !change.free_content {
                    // Nothing may lie above the last block that is set below.
                    let end = body.max_block_id.saturating_add(1).saturating_mul(info.block_bytes);
                    set.free_range(object, end, TO_OBJECT_END)?;
                }
                if differs(info, &new) {
                    set.reclaim(object, &new, spill_known && has_spill)?;
                } else if spill_known && !has_spill && info.has_spill {
                    set.set_spill(object, None)?;
                }
            }
            _ => claim(set, object, &new)?,
        }
        if let Some((first, crypt)) = self.range.take() {
            set.set_dnodes_crypt(first, crypt)?;
        }
        set.set_algorithms(object, body.checksum_type, body.compression)?;
        if raw {
            // What was made anew has it already.
            if find(set, object)?.is_some_and(|info| info.max_block == BlockId(0)) {
                set.set_block_size(object, body.block_size, body.indirect_block_shift)?;
            }
            set.set_shape(object, body.levels, BlockId(body.max_block_id))?;
            set.set_bonus_stored(object, body.bonus_type, body.bonus_len as u16, &bonus)?;
        } else if body.bonus_len != 0 {
            set.set_bonus(object, body.bonus_type, &bonus)?;
        }
        Ok(())
    }

    /// The bonus in the pool's byte order: its used part, or in raw streams all of it as it came.
    fn bonus(&self, body: &Object, mut payload: Vec<u8>) -> Result<Vec<u8>> {
        let expected = u64::from(body.payload_len());
        if (payload.len() as u64) < expected {
            return Err(Misfit::Payload { found: payload.len(), expected }.into());
        }
        if self.terms.is_raw() {
            return Ok(payload);
        }
        if self.is_foreign() {
            byteswap::swap_block(body.bonus_type, &mut payload, ByteOrder::Big).map_err(Misfit::from)?;
        }
        payload.truncate(body.bonus_len as usize);
        Ok(payload)
    }

    fn change(&self, info: &ObjectInfo, has_pointers: u8, body: &Object, bonus: &[u8]) -> Result<Change> {
        let raw = self.terms.is_raw();
        let pointers = pointers(body.bonus_type, body.bonus_len);
        if raw && pointers != body.block_pointers {
            let (object, found) = (body.object, body.block_pointers);
            return Err(Misfit::Pointers { object, found, expected: pointers }.into());
        }
        let mut change = Change { free_content: false, make_anew: false, block_bytes: body.block_size };
        if u64::from(body.block_size) != info.block_bytes {
            if raw || self.is_full || is_replaced(info, body) {
                change.free_content = true;
            } else {
                self.resized(info, body, bonus, &mut change)?;
            }
        }
        let slots_differ = body.slots() != info.dn_slots;
        change.free_content |= slots_differ || pointers < has_pointers;
        change.make_anew = slots_differ;
        if raw {
            let indirect = 1_u64 << body.indirect_block_shift.min(24);
            let indirect_differs = info.indirect_bytes.is_some_and(|bytes| bytes != indirect);
            let levels = info.levels.unwrap_or(1);
            change.free_content |= indirect_differs || body.levels < levels;
            change.make_anew |= (levels > 1 && indirect_differs) || body.levels < levels;
        }
        Ok(change)
    }

    /// A file of several blocks comes with another block size. The same file, sent with large blocks for the first time,
    /// keeps its blocks, since not all of them are in the increment; another file of the same number does not.
    fn resized(&self, info: &ObjectInfo, body: &Object, bonus: &[u8], change: &mut Change) -> Result<()> {
        let object = body.object;
        let before = info.bonus.as_deref().and_then(|old| generation(info.bonus_type, old));
        let now = generation(body.bonus_type, bonus);
        match (before, now) {
            (Some(before), Some(now)) if before == now => {
                if u64::from(body.block_size) <= info.block_bytes {
                    let (found, new) = (info.block_bytes, body.block_size);
                    return Err(Misfit::ShrunkBlock { object, found, new }.into());
                }
                // A block size is at most 16 MiB.
                change.block_bytes = info.block_bytes as u32;
            }
            (Some(_), Some(_)) => change.free_content = true,
            _ => return Err(Misfit::NoGeneration(object).into()),
        }
        Ok(())
    }
}

/// Whether all of the object's content is in the stream anyway: only files have ever had large blocks, and one block is
/// always sent whole.
fn is_replaced(info: &ObjectInfo, body: &Object) -> bool {
    let file = ObjectType::PLAIN_FILE_CONTENTS;
    body.object_type != file || info.object_type != file || info.max_block == BlockId(0)
}

/// The block pointers that a bonus leaves room for in a dnode of one slot (`deduce_nblkptr`).
fn pointers(bonus_type: ObjectType, bonus_len: u32) -> u8 {
    if bonus_type == ObjectType::SA {
        return 1;
    }
    let room = OLD_BONUS_BYTES - u64::from(bonus_len).min(OLD_BONUS_BYTES);
    1 + (room / BLKPTR_BYTES) as u8
}

/// Whether an object has to be made one of another description (`dmu_object_reclaim`).
fn differs(info: &ObjectInfo, new: &NewObject) -> bool {
    info.object_type != new.object_type
        || info.block_bytes != u64::from(new.block_bytes)
        || info.bonus_type != new.bonus_type
        || info.bonus.as_ref().is_some_and(|bonus| bonus.len() != usize::from(new.bonus_len))
}

/// A bonus has to fit the slots of its own dnode. OpenZFS 2.3 does not look.
fn bonus_fits(body: &Object) -> Result<(), Misfit> {
    let (object, found, slots) = (body.object, body.bonus_len, body.slots());
    let room = bonus_room(slots);
    if u64::from(found) > room {
        return Err(Misfit::Bonus { object, found, slots, room });
    }
    Ok(())
}

/// Frees the objects in the slots that a large dnode takes behind its first.
fn free_interior(set: &mut dyn ReceiveStore, object: ObjectId, slots: u8) -> Result<()> {
    let end = object.0 + u64::from(slots);
    let mut at = ObjectId(object.0 + 1);
    while at.0 < end {
        match set.next_object(at)? {
            Some(inside) if inside.0 < end => set.free(inside)?,
            _ => break,
        }
        at = ObjectId(at.0 + 1);
    }
    Ok(())
}

/// Makes an object; what lies in the middle of another one was not freed by the stream.
fn claim(set: &mut dyn ReceiveStore, object: ObjectId, new: &NewObject) -> Result<()> {
    use zstream_dmu::error::Fault;
    set.claim(object, new).map_err(|error| match error.fault() {
        Fault::Invalid(_) => Misfit::Interior(object).into(),
        _ => crate::error::Error::from(error),
    })
}
