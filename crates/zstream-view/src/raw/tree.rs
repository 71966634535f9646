//! Block trees that are rebuilt from their leaves.

use zstream_dmu::blkptr::{BLOCK_POINTER_BYTES, BlockPointer, Dva, NormalBlock};
use zstream_dmu::dnode::{INDIRECT_SHIFT, LEVELS_MAX};
use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::Txg;
use zstream_dmu::zio::crypt::indirect_mac;
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

/// A block tree over known leaves.
pub(super) struct Tree<'a> {
    pub(super) object_type: ObjectType,
    pub(super) indirect_shift: u8,
    pub(super) levels: u8,
    pub(super) version: u64,
    /// Returns the first block with content at or after a block.
    pub(super) next: &'a dyn Fn(u64) -> Option<u64>,
    pub(super) leaf: &'a dyn Fn(u64) -> Result<BlockPointer>,
}

impl Tree<'_> {
    /// Returns the pointers of a dnode with `count` of them.
    pub(super) fn roots(&self, count: u8) -> Result<Vec<BlockPointer>> {
        let bad = |what: &str, found: u64| Error::corrupt("dnode", format!("{what} {found}"));
        if !INDIRECT_SHIFT.contains(&self.indirect_shift) {
            return Err(bad("indirect block shift is", self.indirect_shift.into()));
        }
        if self.levels == 0 || self.levels > LEVELS_MAX {
            return Err(bad("number of levels is", self.levels.into()));
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

    /// log2 of the number of blocks under a pointer at a level.
    fn span_shift(&self, level: u8) -> u32 {
        u32::from(level) * (u32::from(self.indirect_shift) - BLOCK_POINTER_BYTES.trailing_zeros())
    }

    /// Returns the first block with content under a pointer, at or after `from`.
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

/// Returns a pointer with the fields that are constant or not authenticated.
pub(super) fn template() -> NormalBlock {
    let nowhere = Dva::default();
    NormalBlock {
        // Any address is possible; without one it would be a hole.
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

pub(super) fn mac_words(mac: &[u8; 16], order: ByteOrder) -> [u64; 4] {
    [0, 0, order.u64(&mac[..8]), order.u64(&mac[8..])]
}
