//! Raw streams: blocks that lie encrypted, and dnodes that are authenticated by what is below them.
//!
//! A block of data is decrypted when it is read: type, salt, IV and MAC are in its record's header, which lies in front
//! of it. Dnodes are decrypted when the view is made. What is authenticated of them are their block pointers, cut
//! down to sizes and MACs, and the MAC of an indirect block is that of the pointers in it. No stream carries indirect
//! blocks, so the trees are put together again:
//!
//! ```text
//! WRITE: sizes, MAC -> pointer -> indirect blocks, up to the dnode's pointers ---.
//! OBJECT: shape of the dnode, bonus area ----------------------------------------+-> block of dnodes
//! OBJECT_RANGE: salt, IV, MAC of the block of dnodes ----------------------------'   its bonus areas are decrypted,
//!                                                                                    the rest is authenticated
//! the blocks of dnodes -> indirect blocks, up to the meta dnode -> portable MAC of the object set
//! ```
//!
//! So what a view shows is what was there when the snapshot was sent, in full: a record that was left out, exchanged or
//! taken from another snapshot is noticed, whatever the checksums of the stream say.

use rayon::prelude::*;
use zstream_dmu::blkptr::{BLOCK_POINTER_BYTES, BlockPointer, Dva, NormalBlock};
use zstream_dmu::dnode::{DNODE_CORE_BYTES, DNODE_SLOT_BYTES, DnodeFlags, INDIRECT_SHIFT, LEVELS_MAX};
use zstream_dmu::error::{Error, Fault, Result};
use zstream_dmu::ids::{BlockId, Bookmark, ObjectId, Txg};
use zstream_dmu::zio::crypt::{CryptParams, DatasetKey, KeyData, indirect_mac};
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::byteswap;
use zstream_format::flags::{SpillFlags, WriteFlags};
use zstream_format::object_type::{ObjectType, ObjsetType};
use zstream_format::order::ByteOrder;
use zstream_format::phys::{DnodeCore, ObjsetHead};
use zstream_format::record::{Body, HEADER_LEN, Header};

use crate::index::{Content, RangeOp, RawShape, Stored};
use crate::objects::{Entry, Objects, SLOTS_PER_BLOCK};
use crate::source::Source;

/// What the header of a raw block says of it.
pub(crate) struct Seal {
    params: CryptParams,
    object_type: ObjectType,
    /// The order that the block was written in.
    pub(crate) order: ByteOrder,
}

impl Seal {
    /// Reads the header in front of a block, which is in order `order`.
    pub(crate) fn read(source: &Source, stored: &Stored, order: ByteOrder) -> Result<Self> {
        let mut bytes = [0; HEADER_LEN];
        let at = stored.place.checked_sub(HEADER_LEN as u64);
        let at = at.ok_or_else(|| Error::corrupt("block of a raw stream", "no header in front of it"))?;
        source.read_exact(at, &mut bytes)?;
        let (params, object_type, swapped) = match Header::from_bytes(bytes, order).body() {
            Some(Body::Write(body)) => (
                CryptParams { salt: body.salt, iv: body.iv, mac: body.mac },
                body.object_type,
                body.flags.contains(WriteFlags::RAW_BYTESWAP),
            ),
            Some(Body::Spill(body)) => (
                CryptParams { salt: body.salt, iv: body.iv, mac: body.mac },
                // Senders leave the record's type zero.
                ObjectType::SA,
                body.flags.contains(SpillFlags::RAW_BYTESWAP),
            ),
            _ => return Err(Error::corrupt("block of a raw stream", "its header is not that of a block")),
        };
        Ok(Self { params, object_type, order: if swapped { order.swapped() } else { order } })
    }

    /// Decrypts the stored bytes, or authenticates those of a type that is not encrypted.
    pub(crate) fn open(&self, key: &DatasetKey, stored: &mut [u8]) -> Result<()> {
        if self.object_type.is_encrypted() {
            key.decrypt(stored, &self.params)
        } else {
            key.authenticate(stored, &self.params.mac)
        }
    }

    /// The class by which the block is swapped, if it has to be.
    pub(crate) fn swap(&self, block: &mut [u8]) -> Result<()> {
        if self.order == ByteOrder::Big {
            byteswap::swap_block(self.object_type, block, ByteOrder::Big)?;
        }
        Ok(())
    }

    /// What is authenticated of the pointer to the block.
    fn pointer(&self, stored: &Stored) -> BlockPointer {
        BlockPointer::normal(&NormalBlock {
            lsize: stored.logical.into(),
            psize: stored.physical.into(),
            compression: stored.compression,
            object_type: self.object_type,
            byte_order: self.order,
            checksum: mac_words(&self.params.mac, self.order),
            ..template()
        })
    }
}

/// A pointer's fields that are not authenticated, and those that are always the same.
fn template() -> NormalBlock {
    let nowhere = Dva::default();
    NormalBlock {
        // Any address will do: without one it would be a hole.
        dvas: [Dva::new(0, 0, 512, false), nowhere, nowhere],
        lsize: 512,
        psize: 512,
        compression: CompressionType::OFF,
        checksum_type: ChecksumType::OFF,
        object_type: ObjectType::NONE,
        level: 0,
        dedup: false,
        uses_crypt: true,
        byte_order: ByteOrder::Little,
        logical_birth: Txg(1),
        physical_birth: Txg(0),
        fill: 1,
        checksum: [0; 4],
    }
}

fn mac_words(mac: &[u8; 16], order: ByteOrder) -> [u64; 4] {
    [0, 0, order.u64(&mac[..8]), order.u64(&mac[8..])]
}

/// A tree of blocks over leaves that are known.
struct Tree<'a> {
    object_type: ObjectType,
    indirect_shift: u8,
    levels: u8,
    version: u64,
    /// The first block with content from one on.
    next: &'a dyn Fn(u64) -> Option<u64>,
    leaf: &'a dyn Fn(u64) -> Result<BlockPointer>,
}

impl Tree<'_> {
    /// The pointers in a dnode with `count` of them.
    fn roots(&self, count: u8) -> Result<Vec<BlockPointer>> {
        let bad = |what: &str, found: u64| Error::corrupt("dnode", format!("{what} {found}"));
        if !INDIRECT_SHIFT.contains(&self.indirect_shift) {
            return Err(bad("indirect block shift", self.indirect_shift.into()));
        }
        if self.levels == 0 || self.levels > LEVELS_MAX {
            return Err(bad("levels", self.levels.into()));
        }
        let top = self.levels - 1;
        let reach = u128::from(count) << self.span_shift(top);
        if let Ok(reach) = u64::try_from(reach)
            && let Some(block) = (self.next)(reach)
        {
            return Err(bad("the tree does not reach block", block));
        }
        (0..u64::from(count)).map(|index| self.pointer(top, index)).collect()
    }

    /// Logarithm of the number of blocks under a pointer of a level.
    fn span_shift(&self, level: u8) -> u32 {
        u32::from(level) * (u32::from(self.indirect_shift) - BLOCK_POINTER_BYTES.trailing_zeros())
    }

    /// The first block with content under a pointer, from one on.
    fn next_under(&self, level: u8, index: u64, from: u128) -> Option<u64> {
        let end = u128::from(index + 1) << self.span_shift(level);
        let found = (self.next)(u64::try_from(from).ok()?)?;
        (u128::from(found) < end).then_some(found)
    }

    fn pointer(&self, level: u8, index: u64) -> Result<BlockPointer> {
        let mut at = u128::from(index) << self.span_shift(level);
        if self.next_under(level, index, at).is_none() {
            return Ok(BlockPointer::EMPTY);
        }
        if level == 0 {
            return (self.leaf)(index);
        }
        let below = self.span_shift(level - 1);
        let mut block = vec![0; 1 << self.indirect_shift];
        while let Some(found) = self.next_under(level, index, at) {
            let child = found >> below;
            let place = (child - (index << (self.span_shift(1)))) as usize * BLOCK_POINTER_BYTES;
            let pointer = self.pointer(level - 1, child)?;
            block[place..place + BLOCK_POINTER_BYTES].copy_from_slice(&pointer.encode(ByteOrder::Little));
            at = u128::from(child + 1) << below;
        }
        let mac = indirect_mac(&block, ByteOrder::Little, self.version);
        Ok(BlockPointer::normal(&NormalBlock {
            lsize: block.len() as u64,
            object_type: self.object_type,
            level,
            checksum: mac_words(&mac, ByteOrder::Little),
            ..template()
        }))
    }
}

/// A snapshot of raw streams, to be unlocked.
pub(crate) struct Locked<'a> {
    pub(crate) files: &'a [Source],
    pub(crate) key: &'a DatasetKey,
    pub(crate) keys: &'a KeyData,
    pub(crate) objset_type: ObjsetType,
}

impl Locked<'_> {
    /// Decrypts the bonus buffers of all objects, and authenticates everything but the blocks themselves.
    ///
    /// # Errors
    /// [`Fault::Authentication`]; a header that cannot be read again.
    pub(crate) fn open(&self, objects: &mut Objects) -> Result<()> {
        objects.leave_off_block();
        if let Some(object) = objects.outside_ranges() {
            return Err(Error::corrupt("raw stream", format!("object {object} is in no OBJECT_RANGE")));
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

    /// The bonus buffers of the objects in a block of dnodes.
    fn bonuses(&self, objects: &Objects, range: &RangeOp) -> Result<Vec<(u64, Box<[u8]>)>> {
        let order = range.order;
        let mut block = vec![0; SLOTS_PER_BLOCK as usize * DNODE_SLOT_BYTES];
        let mut areas = Vec::new();
        for (object, entry) in objects.in_block(range.first) {
            let located = |error: Error| error.at_bookmark(at(ObjectId(object), BlockId(0)));
            let start = (object - range.first) as usize * DNODE_SLOT_BYTES;
            let dnode = block.get_mut(start..start + usize::from(entry.op.slots) * DNODE_SLOT_BYTES);
            let dnode = dnode.ok_or_else(|| {
                located(Error::corrupt("dnode", format!("{} slots reach over its block", entry.op.slots)))
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

    /// Writes a dnode as it lay in its block, as far as it is authenticated. Where its bonus is, and how long.
    fn dnode(
        &self,
        object: u64,
        entry: &Entry,
        order: ByteOrder,
        dnode: &mut [u8],
    ) -> Result<(usize, usize)> {
        let op = &entry.op;
        let missing = || Error::corrupt("raw stream", "the object comes from a stream that is not raw");
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
        // The types were judged: they have one byte.
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
                let detail = format!("bonus area of {} bytes in room for {}", op.bonus.len(), area.len());
                return Err(Error::corrupt("dnode", detail));
            }
        }
        Ok((area.start, len))
    }

    /// The header of a block, by which it is opened.
    fn seal(&self, object: u64, block: BlockId, stored: &Stored) -> Result<Seal> {
        let Some(order) = stored.swap.raw_order() else {
            return Err(Error::corrupt("raw stream", "the block comes from a stream that is not raw"));
        };
        // Numbers of files are made by counting them.
        let source = &self.files[usize::from(stored.file)];
        Seal::read(source, stored, order).map_err(|error| {
            error.on_vdev(source.name()).at_offset(stored.place).at_bookmark(at(ObjectId(object), block))
        })
    }

    /// Authenticates the blocks of dnodes as a whole.
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

/// Writes the fixed part of a dnode, as far as it is authenticated, and the pointers after it. Where the bonus area is.
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
        return Err(Error::corrupt("dnode", "more pointers than it has room for"));
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
    u16::try_from(block_bytes / 512).map_err(|_| Error::corrupt("dnode", "blocks of over 32 MiB"))
}

/// The block at an offset, which has to be there as it was sent.
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
    let detail = format!("the {bytes} bytes at {start} of an object are not one block");
    Error::corrupt("raw stream", detail)
}

/// The place of a block in a view, which has no object set of its own.
pub(crate) fn at(object: ObjectId, block: BlockId) -> Bookmark {
    Bookmark { objset: 0, object, level: 0, block }
}
