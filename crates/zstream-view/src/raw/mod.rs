//! Raw streams: encrypted blocks, and dnodes that authenticate their block trees.
//!
//! A data block is decrypted when it is read: type, salt, IV and MAC are in the header of its record, which precedes
//! it. Dnodes are decrypted when the view is opened. Their authenticated data includes the block pointers, reduced to
//! sizes and MACs, and the MAC of an indirect block covers the pointers in it. Streams have no indirect blocks, so the
//! trees are rebuilt:
//!
//! ```text
//! WRITE: sizes, MAC -> pointer -> indirect blocks, up to the pointers in the dnode --.
//! OBJECT: shape of the dnode, bonus area --------------------------------------------+-> dnode block
//! OBJECT_RANGE: salt, IV, MAC of the dnode block ------------------------------------'   bonus areas are decrypted,
//!                                                                                        the rest is authenticated
//! dnode blocks -> indirect blocks, up to the meta-dnode -> portable MAC of the object set
//! ```
//!
//! So a view shows exactly the content of the snapshot that was sent: a record that was removed, exchanged or taken from
//! another snapshot is detected, even if the checksums of the stream match.

mod seal;
mod tree;

use rayon::prelude::*;
use zstream_dmu::blkptr::{BLOCK_POINTER_BYTES, BlockPointer, NormalBlock};
use zstream_dmu::dnode::{DNODE_CORE_BYTES, DNODE_SLOT_BYTES, DnodeFlags};
use zstream_dmu::error::{Error, Fault, Result};
use zstream_dmu::ids::{BlockId, Bookmark, ObjectId};
use zstream_dmu::zio::crypt::{DatasetKey, KeyData};
use zstream_format::byteswap;
use zstream_format::object_type::{ObjectType, ObjsetType};
use zstream_format::order::ByteOrder;
use zstream_format::phys::{DnodeCore, ObjsetHead};

pub(crate) use self::seal::Seal;
use self::tree::{Tree, mac_words, template};
use crate::entry::Entry;
use crate::log::{Content, RangeOp, RawShape, Stored};
use crate::objects::{Objects, SLOTS_PER_BLOCK};
use crate::source::Source;

/// A snapshot of raw streams, with its key.
pub(crate) struct Locked<'a> {
    pub(crate) files: &'a [Source],
    pub(crate) key: &'a DatasetKey,
    pub(crate) keys: &'a KeyData,
    pub(crate) objset_type: ObjsetType,
}

impl Locked<'_> {
    /// Decrypts the bonus buffers of all objects, and authenticates everything except the data blocks.
    ///
    /// # Errors
    /// Returns [`Fault::Authentication`], or an error if a header cannot be read again.
    pub(crate) fn open(&self, objects: &mut Objects) -> Result<()> {
        objects.leave_off_block();
        if let Some(object) = objects.outside_ranges() {
            return Err(Error::corrupt("raw stream", format!("object {object} is not in an OBJECT_RANGE")));
        }
        let ranges: Vec<&RangeOp> = objects.ranges().values().collect();
        let opened: Vec<_> =
            ranges.par_iter().map(|range| self.bonuses(objects, range)).collect::<Result<_>>()?;
        if !objects.is_cut() {
            self.verify_objset(objects)?;
        }
        for (object, bonus) in opened.into_iter().flatten() {
            objects.set_bonus(object, bonus);
        }
        Ok(())
    }

    /// Decrypts the bonus buffers of the objects in a dnode block.
    fn bonuses(&self, objects: &Objects, range: &RangeOp) -> Result<Vec<(u64, Box<[u8]>)>> {
        let order = range.order;
        let mut block = vec![0; SLOTS_PER_BLOCK as usize * DNODE_SLOT_BYTES];
        let mut areas = Vec::new();
        for (object, entry) in objects.in_block(range.first) {
            let located = |error: Error| error.at_bookmark(at(ObjectId(object), BlockId(0)));
            let start = (object - range.first) as usize * DNODE_SLOT_BYTES;
            let dnode = block.get_mut(start..start + usize::from(entry.op.slots) * DNODE_SLOT_BYTES);
            let dnode = dnode.ok_or_else(|| {
                let detail = format!("it has {} slots, which exceed its block", entry.op.slots);
                located(Error::corrupt("dnode", detail))
            })?;
            let (bonus_at, len) = self.dnode(object, entry, order, dnode).map_err(located)?;
            areas.push((object, entry.op.bonus_type, start + bonus_at, len));
        }
        self.key
            .decrypt_dnodes(&mut block, &range.params, order)
            .map_err(|error| error.at_bookmark(at(ObjectId(0), BlockId(range.first / SLOTS_PER_BLOCK))))?;
        let bonus = |(object, bonus_type, from, len): (u64, ObjectType, usize, usize)| {
            let mut bonus = block[from..from + len.next_multiple_of(8)].to_vec();
            if order == ByteOrder::Big && len > 0 {
                byteswap::swap_block(bonus_type, &mut bonus, ByteOrder::Big)
                    .map_err(|error| Error::from(error).at_bookmark(at(ObjectId(object), BlockId(0))))?;
            }
            bonus.truncate(len);
            Ok((object, bonus.into()))
        };
        areas.into_iter().map(bonus).collect()
    }

    /// Writes the authenticated part of a dnode as in its block. Returns the offset and the length of the bonus.
    fn dnode(
        &self,
        object: u64,
        entry: &Entry,
        order: ByteOrder,
        dnode: &mut [u8],
    ) -> Result<(usize, usize)> {
        let op = &entry.op;
        let missing = || Error::corrupt("raw stream", "the object is from a stream that is not raw");
        let shape = op.raw.ok_or_else(missing)?;
        let bytes = u64::from(op.block_bytes);
        let next = |block: u64| {
            entry.from(block.checked_mul(bytes)?).map(|(start, _)| start.max(block * bytes) / bytes)
        };
        let leaf = |block: u64| {
            let stored = whole_block(entry, block * bytes, bytes)?;
            Ok(self.seal(object, BlockId(block), &stored)?.pointer(&stored))
        };
        let RawShape { indirect_shift, levels, pointers, .. } = shape;
        let version = self.key.version();
        let tree =
            Tree { object_type: op.object_type, indirect_shift, levels, version, next: &next, leaf: &leaf };
        let spill = match &entry.spill {
            None => None,
            Some(Content::Stored(stored)) => {
                Some(self.seal(object, Bookmark::SPILL, stored)?.pointer(stored))
            }
            Some(Content::Redacted) => return Err(Fault::Redacted.into()),
            Some(Content::Absent) => return Err(Fault::Absent.into()),
        };
        // The types were validated: they fit in a byte.
        let core = DnodeCore {
            object_type: op.object_type.0 as u8,
            indirect_shift,
            levels,
            bonus_type: op.bonus_type.0 as u8,
            checksum_type: op.checksum_type,
            compression: op.compression,
            block_sectors: sectors(bytes)?,
            bonus_len: shape.bonus_len,
            extra_slots: op.slots - 1,
            max_block: BlockId(shape.max_block),
            ..DnodeCore::default()
        };
        let area = put_dnode(dnode, order, core, &tree.roots(pointers)?, spill.as_ref())?;
        let room = dnode.get_mut(area.clone()).and_then(|area| area.get_mut(..op.bonus.len()));
        let len = usize::from(shape.bonus_len);
        match room {
            Some(room) if len.next_multiple_of(8) <= area.len() => room.copy_from_slice(&op.bonus),
            _ => {
                let detail =
                    format!("bonus area is {} bytes, there is room for {}", op.bonus.len(), area.len());
                return Err(Error::corrupt("dnode", detail));
            }
        }
        Ok((area.start, len))
    }

    /// Reads the encryption parameters of a block.
    fn seal(&self, object: u64, block: BlockId, stored: &Stored) -> Result<Seal> {
        let Some(order) = stored.swap.raw_order() else {
            return Err(Error::corrupt("raw stream", "the block is from a stream that is not raw"));
        };
        // The index is valid: it was assigned when the file was indexed.
        let source = &self.files[usize::from(stored.file)];
        Seal::read(source, stored, order).map_err(|error| {
            error.on_vdev(source.name()).at_offset(stored.place).at_bookmark(at(ObjectId(object), block))
        })
    }

    /// Authenticates all dnode blocks together.
    fn verify_objset(&self, objects: &Objects) -> Result<()> {
        let keys = self.keys;
        let next = |block: u64| {
            let from = block.checked_mul(SLOTS_PER_BLOCK)?;
            objects.ranges().range(from..).next().map(|(first, _)| first / SLOTS_PER_BLOCK)
        };
        let leaf = |block: u64| {
            let range = &objects.ranges()[&(block * SLOTS_PER_BLOCK)];
            Ok(BlockPointer::normal(&NormalBlock {
                lsize: keys.meta_block_bytes,
                psize: keys.meta_block_bytes,
                object_type: ObjectType::DNODE,
                byte_order: range.order,
                checksum: mac_words(&range.params.mac, range.order),
                ..template()
            }))
        };
        let tree = Tree {
            object_type: ObjectType::DNODE,
            indirect_shift: keys.meta_indirect_shift,
            levels: keys.meta_levels,
            version: self.key.version(),
            next: &next,
            leaf: &leaf,
        };
        let core = DnodeCore {
            object_type: ObjectType::DNODE.0 as u8,
            indirect_shift: keys.meta_indirect_shift,
            levels: keys.meta_levels,
            checksum_type: keys.meta_checksum,
            compression: keys.meta_compression,
            block_sectors: sectors(keys.meta_block_bytes)?,
            max_block: BlockId(keys.meta_max_block),
            ..DnodeCore::default()
        };
        let order = ByteOrder::Little;
        let (objset_type, portable_mac) = (self.objset_type.0.into(), keys.portable_mac);
        let mut head = ObjsetHead { objset_type, portable_mac, ..ObjsetHead::default() };
        put_dnode(&mut head.meta_dnode, order, core, &tree.roots(keys.meta_pointers)?, None)?;
        self.key.verify_objset(&head.to_bytes(order), order)
    }
}

/// Writes the authenticated fields in the fixed part of a dnode, and the pointers after it. Returns the range of the bonus area.
fn put_dnode(
    dnode: &mut [u8],
    order: ByteOrder,
    core: DnodeCore,
    pointers: &[BlockPointer],
    spill: Option<&BlockPointer>,
) -> Result<std::ops::Range<usize>> {
    let start = DNODE_CORE_BYTES + pointers.len() * BLOCK_POINTER_BYTES;
    let end = dnode.len() - if spill.is_some() { BLOCK_POINTER_BYTES } else { 0 };
    if start > end {
        return Err(Error::corrupt("dnode", "it has more pointers than fit"));
    }
    let flags = if spill.is_some() { DnodeFlags::SPILL_POINTER } else { DnodeFlags::empty() };
    DnodeCore { pointer_count: pointers.len() as u8, flags: flags.bits(), ..core }.encode(dnode, order);
    let places = dnode[DNODE_CORE_BYTES..].chunks_exact_mut(BLOCK_POINTER_BYTES);
    for (place, pointer) in places.zip(pointers) {
        place.copy_from_slice(&pointer.encode(order));
    }
    if let Some(pointer) = spill {
        dnode[end..].copy_from_slice(&pointer.encode(order));
    }
    Ok(start..end)
}

fn sectors(block_bytes: u64) -> Result<u16> {
    u16::try_from(block_bytes / 512).map_err(|_| Error::corrupt("dnode", "block size is more than 32 MiB"))
}

/// Returns the block at an offset, which must be complete as it was sent.
fn whole_block(entry: &Entry, start: u64, bytes: u64) -> Result<Stored> {
    match entry.from(start) {
        Some((from, extent)) if from == start && extent.len == bytes => match extent.content {
            Content::Stored(stored) if stored.skip == 0 && u64::from(stored.logical) == bytes => Ok(stored),
            Content::Redacted => Err(Fault::Redacted.into()),
            Content::Absent => Err(Fault::Absent.into()),
            Content::Stored(_) => Err(part(start, bytes)),
        },
        _ => Err(part(start, bytes)),
    }
}

fn part(start: u64, bytes: u64) -> Error {
    let detail = format!("the {bytes} bytes at {start} of an object are not a single block");
    Error::corrupt("raw stream", detail)
}

/// Returns the bookmark of a block in a view, which has no object set number.
pub(crate) fn at(object: ObjectId, block: BlockId) -> Bookmark {
    Bookmark { objset: 0, object, level: 0, block }
}
