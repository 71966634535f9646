//! The changes of receives that are not part of [`ObjectStore`].

use zstream_format::object_type::ObjectType;

use super::slots::SLOTS;
use super::{ObjsetWriter, Overlay};
use crate::blkptr::BlockPointer;
use crate::block::{StoredBlock, StoredCrypt};
use crate::dnode::{Dnode, LEVELS_MAX};
use crate::error::{Error, Fault, Result};
use crate::ids::{BlockId, ObjectId};
use crate::intent_log::ZilHeader;
use crate::object_store::ObjectStore;
use crate::objset::ObjsetFlags;
use crate::receive_store::ReceiveStore;
use crate::zio::crypt::KeyData;
use crate::zio::write::Protection;

impl ObjsetWriter {
    /// Sets the parameters of the whole object set from a raw stream (`dsl_crypto_recv_raw_objset_sync`): the shape of
    /// the meta-dnode and the MAC. The local MAC becomes zero, and the accounting of users becomes incomplete.
    ///
    /// # Errors
    ///
    /// Fails if the set does not keep blocks in stored form, and if its meta-dnode cannot have this shape.
    pub fn set_raw_head(&mut self, head: &KeyData) -> Result<()> {
        self.check()?;
        self.check_kept()?;
        let is_new = self.base.is_none();
        let own_bytes = self.meta.dnode(ObjectId(0))?.block_bytes();
        let meta = self.meta.dnode_mut(ObjectId(0))?;
        let misfit = |what: &str, found: u64, expected: u64| {
            Err(Error::bad_shape(format!("{what} of the meta-dnode is {found}, expected {expected}")))
        };
        if head.meta_block_bytes != own_bytes {
            return misfit("block size", head.meta_block_bytes, own_bytes);
        }
        if usize::from(head.meta_pointers) != meta.pointers().len() {
            return misfit("number of pointers", head.meta_pointers.into(), meta.pointers().len() as u64);
        }
        if head.meta_levels == 0 || head.meta_levels > LEVELS_MAX {
            return misfit("number of levels", head.meta_levels.into(), LEVELS_MAX.into());
        }
        if is_new {
            meta.set_indirect_shift(head.meta_indirect_shift);
        }
        if head.meta_indirect_shift != meta.indirect_shift {
            return misfit("indirect shift", head.meta_indirect_shift.into(), meta.indirect_shift.into());
        }
        let levels = meta.levels_for(meta.max_block.max(BlockId(head.meta_max_block)))?;
        if head.meta_levels < levels || !is_new && head.meta_levels < meta.levels {
            return misfit("number of levels", head.meta_levels.into(), levels.max(meta.levels).into());
        }
        meta.levels = head.meta_levels;
        meta.checksum_type = head.meta_checksum;
        meta.compression = head.meta_compression;
        meta.max_block = meta.max_block.max(BlockId(head.meta_max_block));
        self.phys.portable_mac = head.portable_mac;
        self.phys.local_mac = [0; 32];
        self.phys.flags.remove(ObjsetFlags::USER_ACCOUNTING_COMPLETE);
        self.phys.zil = ZilHeader::default();
        self.is_head_dirty = true;
        Ok(())
    }

    fn check_kept(&self) -> Result<()> {
        if self.properties.protection == Protection::Kept {
            return Ok(());
        }
        Err(Error::unsupported("encrypted content in a set that is not received raw"))
    }

    /// Returns the encryption parameters of a block of dnodes in a set that is received raw.
    pub(super) fn dnodes_crypt(&self, block: u64, before: &BlockPointer) -> Result<StoredCrypt> {
        if let Some(crypt) = self.dnodes_crypt.get(&block) {
            return Ok(*crypt);
        }
        // Block pointers may have changed without a change to the content under the MAC.
        StoredCrypt::of(before).ok_or_else(|| {
            Error::bad_request(format!(
                "objects {} to {} were received without encryption parameters",
                block * SLOTS,
                block * SLOTS + SLOTS - 1
            ))
        })
    }
}

impl ReceiveStore for ObjsetWriter {
    fn as_store(&mut self) -> &mut dyn ObjectStore {
        self
    }

    fn pointer_count(&self, object: ObjectId) -> Result<u8> {
        let count = match (self.objects.get(&object.0), &self.base) {
            (Some(overlay), _) => overlay.dnode(object)?.pointers().len(),
            (None, Some(base)) => base.dnode(object)?.pointers().len(),
            (None, None) => return Err(Fault::NoObject(object).into()),
        };
        Ok(count as u8)
    }

    fn stored_block(&self, object: ObjectId, block: BlockId) -> Result<Option<StoredBlock>> {
        match (self.objects.get(&object.0), &self.base) {
            (Some(overlay), _) => overlay.stored_block(&self.source, object, block.0),
            (None, Some(base)) => base.stored_block(object, block),
            (None, None) => Err(Fault::NoObject(object).into()),
        }
    }

    fn set_dnodes_crypt(&mut self, first: ObjectId, crypt: StoredCrypt) -> Result<()> {
        self.start_change()?;
        self.check_kept()?;
        let block = first.0 / SLOTS;
        // The block is rewritten even if none of its objects changed.
        self.meta.block_mut(&self.source, ObjectId(0), block, false)?;
        let meta: &mut Dnode = self.meta.dnode_mut(ObjectId(0))?;
        meta.levels = meta.levels.max(meta.levels_for(BlockId(block))?);
        meta.max_block = meta.max_block.max(BlockId(block));
        self.dnodes_crypt.insert(block, crypt);
        Ok(())
    }

    fn set_shape(&mut self, object: ObjectId, levels: u8, max_block: BlockId) -> Result<()> {
        self.start_change()?;
        self.land_before(object, max_block.0, u64::MAX)?;
        self.change(object, |overlay: &mut Overlay, source| {
            let dnode = overlay.dnode_mut(object)?;
            if levels > LEVELS_MAX || levels < dnode.levels_for(max_block)? {
                return Err(Error::bad_shape(format!(
                    "object {object} cannot have {levels} levels up to block {max_block}, expected at most {LEVELS_MAX} \
                     and enough for the block"
                )));
            }
            dnode.levels = dnode.levels.max(levels);
            let last = dnode.max_block;
            dnode.max_block = max_block;
            if max_block < last {
                overlay.free(max_block.0 + 1, last.0.saturating_add(1), &*source.writer);
            }
            Ok(())
        })
    }

    fn set_bonus_stored(
        &mut self,
        object: ObjectId,
        bonus_type: ObjectType,
        bonus_len: u16,
        area: &[u8],
    ) -> Result<()> {
        self.start_change()?;
        self.change(object, |overlay, _| {
            overlay.dnode_mut(object)?.set_bonus_area(bonus_type, bonus_len.into(), area)
        })
    }
}
