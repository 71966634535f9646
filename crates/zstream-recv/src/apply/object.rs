//! Records OBJECT and OBJECT_RANGE, which bring objects into the sender's form (`receive_object`,
//! `receive_handle_existing_object`).

use zstream_dmu::ReceiveStore;
use zstream_dmu::blkptr::CryptKind;
use zstream_dmu::block::StoredCrypt;
use zstream_dmu::dnode::NewObject;
use zstream_dmu::error::{Error as PoolError, Fault as PoolFault};
use zstream_dmu::ids::{BlockId, ObjectId};
use zstream_dmu::object_set::ObjectInfo;
use zstream_dmu::object_store::Kept;
use zstream_format::byteswap;
use zstream_format::effect::{self, Change, Present, pointer_count};
use zstream_format::flags::RangeFlags;
use zstream_format::judge::{SLOTS_PER_BLOCK, bonus_room};
use zstream_format::order::ByteOrder;
use zstream_format::record::{Object, ObjectRange, TO_OBJECT_END};

use super::{Apply, find};
use crate::error::{Error, Result};
use crate::misfit::Misfit;

impl Apply {
    /// Notes the encryption parameters of the dnodes that follow. They take effect with the first OBJECT: a block
    /// without objects remains a hole.
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

    /// Creates an object, or brings an existing one into the form that the record describes.
    pub(super) fn object(
        &mut self,
        set: &mut dyn ReceiveStore,
        body: &Object,
        payload: Vec<u8>,
    ) -> Result<()> {
        let object = body.object;
        if !self.terms.is_raw() {
            bonus_fits(body)?;
        }
        let bonus = self.bonus(body, payload)?;
        self.seen(object);
        self.shape(set, body, &bonus)?;
        if let Some((first, crypt)) = self.range.take() {
            set.set_dnodes_crypt(first, crypt)?;
        }
        set.set_algorithms(object, body.checksum_type, body.compression)?;
        if self.terms.is_raw() {
            set.set_shape(object, body.levels, BlockId(body.max_block_id))
                .map_err(|error| unmakeable(object, error))?;
            set.set_bonus_stored(object, body.bonus_type, body.bonus_len as u16, &bonus)
                .map_err(|error| unmakeable(object, error))?;
            check_shape(set, body)?;
        } else if body.bonus_len != 0 {
            set.set_bonus(object, body.bonus_type, &bonus).map_err(|error| unmakeable(object, error))?;
        }
        Ok(())
    }

    /// Claims the dnode of an object, in the slots that the record names. An existing object keeps the content and the
    /// spill block that fit its new form.
    fn shape(&self, set: &mut dyn ReceiveStore, body: &Object, bonus: &[u8]) -> Result<()> {
        let (object, raw) = (body.object, self.terms.is_raw());
        let mut new = NewObject {
            object_type: body.object_type,
            block_bytes: body.block_size,
            indirect_shift: if raw { body.indirect_block_shift } else { 0 },
            bonus_type: body.bonus_type,
            // The judge has checked that it is below 16 KiB.
            bonus_len: body.bonus_len as u16,
            dn_slots: body.slots(),
            checksum_type: body.checksum_type,
            compression: body.compression,
        };
        let pointers = pointer_count(body.bonus_type, body.bonus_len, body.slots());
        if raw && pointers != body.block_pointers {
            let found = body.block_pointers;
            return Err(Misfit::Pointers { object, found, expected: pointers }.into());
        }
        let found = find(set, object)?;
        let change = match &found {
            Some(info) => Some(self.change(info, set.pointer_count(object)?, body, bonus)?),
            None => None,
        };
        if let Some(change) = &change {
            new.block_bytes = change.block_bytes;
            if change.make_anew {
                set.free(object)?;
            }
        }
        free_interior(set, object, body.slots())?;
        match (&found, &change) {
            (Some(info), Some(change)) if !change.make_anew => {
                if let Some(end) = change.free_from {
                    // Nothing may be left above the last block that the record names.
                    set.free_range(object, end, TO_OBJECT_END)?;
                }
                if change.reclaim {
                    let kept = Kept { content: change.keep_content, spill: change.keep_spill };
                    set.reclaim(object, &new, kept).map_err(|error| unmakeable(object, error))?;
                } else if !change.keep_spill && info.has_spill {
                    set.set_spill(object, None)?;
                }
                Ok(())
            }
            _ => claim(set, object, &new),
        }
    }

    /// Returns the change that brings an existing object into the form that the record describes.
    fn change(&self, info: &ObjectInfo, pointers: u8, body: &Object, bonus: &[u8]) -> Result<Change> {
        let present = Present {
            object_type: info.object_type,
            bonus_type: info.bonus_type,
            bonus: info.bonus.as_deref(),
            block_bytes: info.block_bytes,
            slots: info.dn_slots,
            pointers,
            indirect_bytes: info.indirect_bytes,
            levels: info.levels.unwrap_or(1),
            last_block: info.max_block.0,
        };
        let change =
            effect::object(&self.terms, self.is_full, &present, body, bonus).map_err(Misfit::from)?;
        if change.shrinks {
            let (object, found, new) = (body.object, info.block_bytes, body.block_size);
            return Err(Misfit::ShrunkBlock { object, found, new }.into());
        }
        Ok(change)
    }

    /// Returns the bonus in the pool's byte order: its used part, or all of it in raw streams. Encrypted parts of a raw
    /// bonus are not swapped, since system attributes are bytes. If its block of dnodes becomes big-endian, the bonus
    /// is swapped back with it.
    fn bonus(&self, body: &Object, mut payload: Vec<u8>) -> Result<Vec<u8>> {
        let expected = u64::from(body.payload_len());
        if (payload.len() as u64) < expected {
            return Err(Misfit::Payload { found: payload.len(), expected }.into());
        }
        if self.terms.is_raw() {
            if self.is_foreign() && body.bonus_len != 0 {
                let used = body.bonus_len as usize;
                byteswap::swap_bonus_area(body.bonus_type, &mut payload, used, ByteOrder::Big)
                    .map_err(Misfit::from)?;
            }
            return Ok(payload);
        }
        if self.is_foreign() {
            byteswap::swap_block(body.bonus_type, &mut payload, ByteOrder::Big).map_err(Misfit::from)?;
        }
        payload.truncate(body.bonus_len as usize);
        Ok(payload)
    }
}

/// Checks that a bonus fits the slots of its own dnode. OpenZFS 2.3 does not check this.
fn bonus_fits(body: &Object) -> Result<(), Misfit> {
    let (object, found, slots) = (body.object, body.bonus_len, body.slots());
    let room = bonus_room(slots);
    if u64::from(found) > room {
        return Err(Misfit::Bonus { object, found, slots, room });
    }
    Ok(())
}

/// Frees the objects in all slots of a large dnode except for its first.
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

/// Allocates an object. Fails if the stream has not freed another object that covers its slot.
fn claim(set: &mut dyn ReceiveStore, object: ObjectId, new: &NewObject) -> Result<()> {
    let Err(error) = set.claim(object, new) else { return Ok(()) };
    let block = object.0 / SLOTS_PER_BLOCK * SLOTS_PER_BLOCK;
    for at in (block..object.0).map(ObjectId) {
        let is_across = |info: ObjectInfo| at.0 + u64::from(info.dn_slots) > object.0;
        if find(set, at)?.is_some_and(is_across) {
            return Err(Misfit::Interior(object).into());
        }
    }
    Err(unmakeable(object, error))
}

/// Returns the error for a description that no dnode can have, or that does not fit this one.
fn unmakeable(object: ObjectId, error: PoolError) -> Error {
    match error.fault() {
        PoolFault::BadShape(_) => Misfit::Unmakeable { object, why: error.to_string() }.into(),
        _ => error.into(),
    }
}

/// Checks that an object matches the raw stream to the bit, since the MAC over its block of dnodes covers it.
fn check_shape(set: &dyn ReceiveStore, body: &Object) -> Result<()> {
    let object = body.object;
    let info = set.info(object)?;
    let indirect_bytes = 1_u64.checked_shl(body.indirect_block_shift.into()).unwrap_or(0);
    let fields = [
        ("block size", info.block_bytes, body.block_size.into()),
        ("indirect block size", info.indirect_bytes.unwrap_or_default(), indirect_bytes),
        ("number of levels", info.levels.unwrap_or_default().into(), body.levels.into()),
        ("last block", info.max_block.0, body.max_block_id),
        ("number of slots", info.dn_slots.into(), body.slots().into()),
        ("number of block pointers", set.pointer_count(object)?.into(), body.block_pointers.into()),
    ];
    for (field, found, expected) in fields {
        if found != expected {
            let why = format!("its {field} would be {found}, but is {expected} in the stream");
            return Err(Misfit::Unmakeable { object, why }.into());
        }
    }
    Ok(())
}
