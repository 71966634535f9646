//! Replay of records that change the content of files.

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::block::ReadBlock;
use zstream_dmu::ids::{BlockId, ObjectId};
use zstream_dmu::intent_log::Content;
use zstream_dmu::object_store::CloneStore;

use super::super::nodes::{ARCHIVE, AV_MODIFIED, file_type};
use super::{Writer, attributes, words};
use crate::error::{Error, Result};
use crate::node::{FileType, Node};
use crate::sa::Attribute;
use crate::volume::{logged_bytes, too_far};

/// The flag of a file with holes.
const SPARSE: u64 = 1 << 45;

/// Sets the block size of an object that has one block at most.
fn set_block_bytes(set: &mut dyn CloneStore, object: ObjectId, bytes: u64) -> Result<()> {
    let bytes = u32::try_from(bytes).map_err(|_| Error::bad_request(format!("block of {bytes} bytes")))?;
    Ok(set.set_block_size(object, bytes, 0)?)
}

impl Writer {
    fn file(&self, set: &dyn CloneStore, object: ObjectId) -> Result<Node> {
        let node = self.node(set, object)?;
        match file_type(&node)? {
            FileType::File => Ok(node),
            _ => Err(Error::other_type(format!("object {object} in the intent log is not a regular file"))),
        }
    }

    /// Sets the size of a file, and the times of a change of its content.
    fn set_content(&self, set: &mut dyn CloneStore, node: &Node, size: u64) -> Result<()> {
        let changes = [
            (Attribute::Size, vec![size]),
            (Attribute::Flags, vec![node.flags | AV_MODIFIED | ARCHIVE]),
            (Attribute::Mtime, words(self.settings.now)),
            (Attribute::Ctime, words(self.settings.now)),
        ];
        attributes::patch(set, &self.registry, node.object, &changes)
    }

    /// Increases the block size of a file with one block that grows up to byte `end` (`zfs_grow_blocksize`).
    fn grow_blocks(&self, set: &mut dyn CloneStore, object: ObjectId, end: u64) -> Result<()> {
        let info = set.info(object)?;
        let (now, most) = (info.block_bytes, u64::from(self.settings.record_bytes));
        if end <= now || now.is_power_of_two() && now >= most || info.max_block != BlockId(0) {
            return Ok(());
        }
        let limit = if now > most { now.next_power_of_two() } else { most };
        let bytes = end.min(limit).next_multiple_of(512);
        set_block_bytes(set, object, bytes)
    }

    pub(super) fn replay_write(
        &self,
        set: &mut dyn CloneStore,
        reader: &dyn ReadBlock,
        object: ObjectId,
        (offset, len): (u64, u64),
        content: &Content,
    ) -> Result<()> {
        let node = self.file(set, object)?;
        let (start, bytes) = logged_bytes(reader, set.objset_id(), object, (offset, len), content)?;
        let end = start.checked_add(bytes.len() as u64).ok_or_else(|| too_far(object))?;
        // A whole block may extend past the end of the file.
        let size = match content {
            Content::Block(_) if node.size < offset + len => offset + len,
            _ => node.size.max(end),
        };
        self.grow_blocks(set, object, node.size.max(end))?;
        set.write(object, start, &bytes)?;
        self.set_content(set, &node, size)
    }

    pub(super) fn replay_extend(&self, set: &mut dyn CloneStore, object: ObjectId, end: u64) -> Result<()> {
        if end <= self.file(set, object)?.size {
            return Ok(());
        }
        attributes::patch(set, &self.registry, object, &[(Attribute::Size, vec![end])])
    }

    pub(super) fn replay_truncate(
        &self,
        set: &mut dyn CloneStore,
        object: ObjectId,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        self.free_space(set, object, offset, len)?;
        let node = self.file(set, object)?;
        self.set_content(set, &node, node.size)
    }

    /// Frees a range of a file. A length of 0 extends to the end, which becomes the offset; a file that is shorter grows
    /// (`zfs_freesp`).
    pub(super) fn free_space(
        &self,
        set: &mut dyn CloneStore,
        object: ObjectId,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        let node = self.file(set, object)?;
        let end = offset.checked_add(len).ok_or_else(|| too_far(object))?;
        let set_size = |set: &mut dyn CloneStore, size, flags| {
            let changes = [(Attribute::Size, vec![size]), (Attribute::Flags, vec![flags])];
            attributes::patch(set, &self.registry, object, &changes)
        };
        if offset < node.size && len == 0 {
            set.free_range(object, offset, u64::MAX)?;
            let flags = if offset == 0 { node.flags & !SPARSE } else { node.flags };
            return set_size(set, offset, flags);
        }
        if offset < node.size {
            set.free_range(object, offset, len.min(node.size - offset))?;
        }
        if end > node.size {
            self.grow_blocks(set, object, end)?;
            return set_size(set, end, node.flags);
        }
        Ok(())
    }

    pub(super) fn replay_clone(
        &self,
        set: &mut dyn CloneStore,
        object: ObjectId,
        (offset, len): (u64, u64),
        block_bytes: u64,
        pointers: &[BlockPointer],
    ) -> Result<()> {
        let node = self.file(set, object)?;
        let info = set.info(object)?;
        if info.block_bytes < block_bytes && info.max_block == BlockId(0) {
            set_block_bytes(set, object, block_bytes)?;
        }
        let found = set.info(object)?.block_bytes;
        if found != block_bytes || !offset.is_multiple_of(found) {
            return Err(Error::corrupt(
                "log record",
                format!(
                    "it clones blocks of {block_bytes} bytes at {offset}, object {object} has blocks of {found}"
                ),
            ));
        }
        set.put_clones(object, BlockId(offset / found), pointers)?;
        self.set_content(set, &node, node.size.max(offset + len))
    }
}
