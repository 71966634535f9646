//! The sync of a set, which writes its changes.

use std::sync::Arc;

use zstream_format::algorithm::CompressionType;
use zstream_format::byteswap;
use zstream_format::object_type::{ObjectType, SwapClass};
use zstream_format::order::ByteOrder;

use super::ObjsetWriter;
use super::accounting::Deltas;
use super::overlay::{Dirty, Overlay, Source, Spill};
use super::tree_sync::{Account, TreeSync, kill_tree};
use crate::blkptr::{BlockKind, BlockPointer};
use crate::block::Block;
use crate::block::StoredBlock;
use crate::error::{Error, Result};
use crate::ids::{Bookmark, ObjectId};
use crate::objset::{GROUP_USED_OBJECT, Objset, PROJECT_USED_OBJECT, USER_USED_OBJECT, allocated_slots};
use crate::zio::write::{Content, Ledger, Protection, WriteProps, WriteRequest, Written};

/// The limit for the bytes of blocks that are passed to the writer together.
pub(super) const BATCH_BYTES: usize = 32 << 20;

/// The limit for the number of blocks that are passed to the writer together.
pub(super) const BATCH_BLOCKS: usize = 4096;

/// The block number of a spill block in an [`Outgoing`].
const SPILL: u64 = Bookmark::SPILL.0;

/// A dirty block that is about to be written.
pub(super) struct Outgoing {
    pub(super) object: u64,
    pub(super) block: u64,
    pub(super) dirty: Dirty,
    props: WriteProps,
    before: BlockPointer,
}

impl Outgoing {
    fn request(&self, source: &Source) -> Option<WriteRequest<'_>> {
        let content = match &self.dirty {
            Dirty::Data(content) => Content::Logical(content),
            Dirty::Stored(stored) => Content::Stored(stored),
            Dirty::Written(_) => return None,
        };
        let at = source.at(ObjectId(self.object), 0, self.block);
        Some(WriteRequest { content, props: self.props, at, before: self.before })
    }

    /// Writes dirty blocks.
    pub(super) fn write(batch: &[Self], source: &Source) -> Result<Vec<Written>> {
        let requests: Vec<WriteRequest<'_>> = batch.iter().filter_map(|out| out.request(source)).collect();
        source.writer.write_blocks(&requests)
    }
}

impl ObjsetWriter {
    /// Writes all changes and returns the pointer to the new objset block. Without changes, returns that of the old
    /// one.
    ///
    /// A second call in the same transaction group rewrites the blocks of the first one in place.
    ///
    /// # Errors
    ///
    /// Fails if there is no space, if a block cannot be read or written, and if the ledger returns an error. The
    /// transaction group is then lost, and the set cannot be changed any more.
    pub fn sync(&mut self, ledger: &mut dyn Ledger) -> Result<BlockPointer> {
        self.check()?;
        if !self.is_dirty() {
            return Ok(self.root);
        }
        let result = self.sync_all(ledger);
        self.is_broken = result.is_err();
        result
    }

    fn sync_all(&mut self, ledger: &mut dyn Ledger) -> Result<BlockPointer> {
        self.write_data()?;
        let mut deltas = Deltas::default();
        for (object, mut overlay) in std::mem::take(&mut self.objects) {
            let object = ObjectId(object);
            self.sync_object(object, &mut overlay, ledger)?;
            self.count_object(&mut overlay, &mut deltas)?;
            if let Some(dnode) = overlay.dnode {
                self.put_dnode(object, &dnode)?;
            }
        }
        self.apply_counts(deltas)?;
        self.write_data()?;
        for (object, mut overlay) in std::mem::take(&mut self.objects) {
            let object = ObjectId(object);
            self.sync_object(object, &mut overlay, ledger)?;
            let dnode = overlay.dnode.map(Arc::new);
            match object {
                USER_USED_OBJECT => self.phys.user_used = dnode,
                GROUP_USED_OBJECT => self.phys.group_used = dnode,
                PROJECT_USED_OBJECT => self.phys.project_used = dnode,
                other => {
                    return Err(Error::internal(format!("object {other} was changed by accounting")));
                }
            }
        }
        let mut meta = std::mem::take(&mut self.meta);
        self.write_meta(&mut meta)?;
        self.sync_object(ObjectId(0), &mut meta, ledger)?;
        let dnode = Arc::new(meta.dnode(ObjectId(0))?.clone());
        self.phys.meta_dnode = Arc::clone(&dnode);
        self.write_head(ledger)?;
        self.meta = Overlay::over(dnode);
        self.base = Some(Objset::written(
            Arc::clone(&self.source.reader),
            self.source.id,
            self.root,
            self.phys.clone(),
            self.source.locked,
        ));
        self.is_head_dirty = false;
        self.dnodes_crypt.clear();
        self.dirty_bytes = 0;
        self.rescan();
        Ok(self.root)
    }

    /// Writes the dirty blocks of all objects, after those in flight.
    fn write_data(&mut self) -> Result<()> {
        self.land()?;
        let mut batch = Vec::new();
        let mut bytes = 0;
        let objects: Vec<u64> = self.objects.keys().copied().collect();
        for object in objects {
            for out in self.waiting(object, true)? {
                bytes += out.dirty.bytes();
                batch.push(out);
                if bytes >= BATCH_BYTES || batch.len() >= BATCH_BLOCKS {
                    self.write_batch(&mut batch)?;
                    bytes = 0;
                }
            }
        }
        self.write_batch(&mut batch)
    }

    /// Returns the dirty blocks of an object. Before the sync, its spill block is excluded, and blocks on disk are not
    /// overwritten.
    pub(super) fn waiting(&self, object: u64, is_sync: bool) -> Result<Vec<Outgoing>> {
        let Some(overlay) = self.objects.get(&object) else { return Ok(Vec::new()) };
        let Some(dnode) = &overlay.dnode else { return Ok(Vec::new()) };
        let props = self.properties.of_object(dnode, 0);
        let is_waiting = |dirty: &Dirty| !matches!(dirty, Dirty::Written(_));
        let mut waiting = Vec::new();
        for (block, dirty) in overlay.dirty.iter().filter(|(_, dirty)| is_waiting(dirty)) {
            let mut before = overlay.before(&self.source, ObjectId(object), *block)?;
            if !is_sync && before.kind() == BlockKind::Normal {
                before = BlockPointer::hole(props.object_type, 0, before.lsize(), before.logical_birth());
            }
            waiting.push(Outgoing { object, block: *block, dirty: dirty.clone(), props, before });
        }
        if let (Spill::New(dirty), true) = (&overlay.spill, is_sync)
            && is_waiting(dirty)
        {
            let props = self.properties.metadata(dnode.bonus_type, 0);
            let before = dnode.spill().copied().unwrap_or_default();
            waiting.push(Outgoing { object, block: SPILL, dirty: dirty.clone(), props, before });
        }
        Ok(waiting)
    }

    fn write_batch(&mut self, batch: &mut Vec<Outgoing>) -> Result<()> {
        let written = Outgoing::write(batch, &self.source)?;
        for (out, written) in batch.drain(..).zip(written) {
            if out.block != SPILL {
                self.note_written(&out, written);
            } else if let Some(overlay) = self.objects.get_mut(&out.object) {
                overlay.spill = Spill::New(Dirty::Written(Box::new(written)));
            }
        }
        Ok(())
    }

    /// Writes the dirty blocks of dnodes.
    fn write_meta(&self, meta: &mut Overlay) -> Result<()> {
        let blocks: Vec<u64> = meta.dirty.keys().copied().collect();
        for blocks in blocks.chunks(BATCH_BLOCKS / 4) {
            let mut outgoing = Vec::with_capacity(blocks.len());
            for block in blocks {
                let Some(Dirty::Data(content)) = meta.dirty.get(block) else { continue };
                let before = meta.before(&self.source, ObjectId(0), *block)?;
                let stored = self.stored_dnodes(*block, content, &before)?;
                outgoing.push((*block, content, stored, before));
            }
            let requests: Vec<WriteRequest<'_>> = outgoing
                .iter()
                .map(|(block, content, stored, before)| WriteRequest {
                    content: stored.as_ref().map_or(Content::Logical(content), Content::Stored),
                    props: WriteProps {
                        fill: allocated_slots(content).count() as u64,
                        ..self.properties.metadata(ObjectType::DNODE, 0)
                    },
                    at: self.source.at(ObjectId(0), 0, *block),
                    before: *before,
                })
                .collect();
            let written = self.source.writer.write_blocks(&requests)?;
            for (block, written) in blocks.iter().zip(written) {
                meta.put_written(*block, written);
            }
        }
        Ok(())
    }

    /// Returns a block of dnodes that was received raw in stored form, or `None` if it is encrypted here or all zeros.
    fn stored_dnodes(
        &self,
        block: u64,
        content: &Block,
        before: &BlockPointer,
    ) -> Result<Option<StoredBlock>> {
        if self.properties.protection != Protection::Kept || allocated_slots(content).next().is_none() {
            return Ok(None);
        }
        let crypt = self.dnodes_crypt(block, before)?;
        let mut bytes = content.to_vec();
        if crypt.big_endian {
            // The block was encrypted and authenticated in the byte order of the sender.
            byteswap::swap(SwapClass::Dnode, &mut bytes, ByteOrder::Little).map_err(|error| {
                Error::internal(format!("cannot swap the bytes of a block of dnodes: {error}"))
            })?;
        }
        Ok(Some(StoredBlock {
            bytes,
            logical_bytes: content.len() as u32,
            compression: CompressionType::OFF,
            crypt: Some(crypt),
            embedded: false,
        }))
    }

    /// Applies an overlay to the object on disk. The data blocks must already be written.
    fn sync_object(&self, object: ObjectId, overlay: &mut Overlay, ledger: &mut dyn Ledger) -> Result<()> {
        let mut account = Account::new(&self.source, ledger);
        if let Some(base) = overlay.base.clone() {
            if overlay.is_base_gone {
                kill_tree(&mut account, object, &base)?;
            }
            let is_spill_gone = match &overlay.spill {
                Spill::Kept => false,
                Spill::Gone => true,
                Spill::New(Dirty::Written(written)) => !written.in_place,
                Spill::New(_) => true,
            };
            if let Some(spill) = base.spill().filter(|_| is_spill_gone) {
                account.kill(spill)?;
            }
            if overlay.is_new {
                (account.killed, account.has_changed) = (0, false);
            }
        }
        if overlay.dnode.is_none() {
            return Ok(());
        }
        if let Spill::New(Dirty::Written(written)) = &overlay.spill {
            if !written.in_place {
                account.born(&written.pointer)?;
            }
            let pointer = written.pointer;
            overlay.dnode_mut(object)?.set_spill(Some(pointer))?;
        }
        TreeSync { source: &self.source, properties: &self.properties, object }
            .sync(overlay, &mut account)?;
        let Account { born, killed, has_changed, .. } = account;
        if has_changed {
            overlay.dnode_mut(object)?.add_used(born, killed);
        }
        Ok(())
    }

    fn write_head(&mut self, ledger: &mut dyn Ledger) -> Result<()> {
        if self.properties.protection == Protection::Keyed {
            [self.phys.portable_mac, self.phys.local_mac] =
                self.source.writer.objset_macs(self.source.id, &self.phys.encode())?;
        }
        let content = self.phys.encode();
        let fill = self.phys.meta_dnode.pointers().iter().map(BlockPointer::fill).sum();
        let written = self.source.writer.write_block(&WriteRequest {
            content: Content::Logical(&content),
            props: WriteProps { fill, ..self.properties.metadata(ObjectType::OBJSET, 0) },
            at: Bookmark::root(self.source.id),
            before: self.root,
        })?;
        if !written.in_place {
            let mut account = Account::new(&self.source, ledger);
            account.born(&written.pointer)?;
            account.kill(&self.root)?;
        }
        self.root = written.pointer;
        self.phys.phys_bytes = content.len();
        Ok(())
    }
}
