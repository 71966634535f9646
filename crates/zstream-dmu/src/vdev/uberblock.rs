//! Uberblocks: the roots of the pool, one for each of the last transaction groups.
//!
//! Each label has a ring of slots of 1 to 8 KiB, depending on the sector size. A slot has one uberblock and ends with
//! an embedded checksum. The uberblock of transaction group `t` is in slot `t mod slots` of all labels.

use std::ops::Deref;

use zstream_format::checksum::verify_embedded;
use zstream_format::order::ByteOrder;
use zstream_format::structure;

use super::label::verifier;
use crate::blkptr::{BlockPointer, SECTOR_BYTES};
use crate::ids::Txg;

/// The first word of an uberblock (`UBERBLOCK_MAGIC`).
pub const MAGIC: u64 = 0x00ba_b10c;

/// The word that marks the MMP fields as present (`MMP_MAGIC`).
pub const MMP_MAGIC: u64 = 0xa11c_ea11;

/// The size of an uberblock in bytes, without the rest of its slot.
pub const UBERBLOCK_BYTES: usize = UberblockPhys::LEN;

/// The size of a ring of uberblocks in bytes.
pub const RING_BYTES: u64 = 128 << 10;

structure! {
    /// The root of the pool in one transaction group, as stored (`uberblock_t`).
    pub UberblockPhys[216] {
        /// [`MAGIC`], in the byte order of the machine that wrote it.
        magic: u64,
        /// The version of the pool.
        version: u64,
        /// The transaction group.
        txg: Txg,
        /// The sum of the guids of all vdevs in the tree, modulo 2^64.
        guid_sum: u64,
        /// The time of the write, in seconds since 1970.
        timestamp: u64,
        /// The pointer to the objset block of the MOS.
        root: BlockPointer,
        /// The highest version that the writing software supports.
        software_version: u64,
        /// [`MMP_MAGIC`] if the MMP fields are present.
        mmp_magic: u64,
        /// The delay of multihost writes in nanoseconds; 0 if multihost is off.
        mmp_delay: u64,
        /// The multihost settings and sequence number: bits 0..8 valid, 8..32 interval, 32..48 sequence, 48..64 fail
        /// intervals.
        mmp_config: u64,
        /// In the uberblock of a checkpoint, the transaction group that it preserves.
        checkpoint_txg: Txg,
        /// The progress of a raidz expansion: bits 0..55 sectors moved, 55..64 scratch state.
        raidz_reflow_info: u64,
    }
}

/// An uberblock and its byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uberblock {
    /// The byte order.
    pub order: ByteOrder,
    /// The fields.
    pub phys: UberblockPhys,
}

impl Deref for Uberblock {
    type Target = UberblockPhys;

    fn deref(&self) -> &UberblockPhys {
        &self.phys
    }
}

impl Uberblock {
    /// Parses the uberblock at the start of a slot, without verifying its checksum; returns `None` if there is none.
    #[must_use]
    pub fn parse(slot: &[u8]) -> Option<Self> {
        let orders = [ByteOrder::Little, ByteOrder::Big].into_iter();
        let mut found =
            orders.filter_map(|order| Some(Self { order, phys: UberblockPhys::read(slot, order)? }));
        found.find(|uberblock| uberblock.magic == MAGIC)
    }

    /// Returns the bytes, in the byte order of the uberblock.
    #[must_use]
    pub fn encode(&self) -> [u8; UBERBLOCK_BYTES] {
        self.phys.to_bytes(self.order)
    }

    /// Returns the sequence number of a multihost write within the second, or 0 if there is none.
    #[must_use]
    pub fn mmp_sequence(&self) -> u16 {
        let valid = self.mmp_magic == MMP_MAGIC && self.mmp_config & 2 != 0;
        if valid { (self.mmp_config >> 32) as u16 } else { 0 }
    }

    /// Returns the key by which uberblocks are ordered: the greatest is the newest state of the pool.
    #[must_use]
    pub fn rank(&self) -> (Txg, u64, u16) {
        (self.txg, self.timestamp, self.mmp_sequence())
    }

    /// Returns the number of bytes of a raidz vdev that an expansion has moved.
    #[must_use]
    pub fn reflowed_to(&self) -> u64 {
        (self.raidz_reflow_info & ((1 << 55) - 1)).saturating_mul(SECTOR_BYTES)
    }

    /// Returns `true` if an expansion was interrupted while the moved sectors were only in the scratch area.
    #[must_use]
    pub(crate) fn reflow_in_scratch(&self) -> bool {
        self.raidz_reflow_info >> 55 == 1
    }
}

/// Returns the size of a slot of the ring in bytes, for sectors of 2^`ashift` bytes.
#[must_use]
pub fn slot_bytes(ashift: u8) -> u64 {
    1 << ashift.clamp(10, 13)
}

/// Returns the number of slots in a ring, for sectors of 2^`ashift` bytes.
#[must_use]
pub fn slots(ashift: u8) -> u64 {
    RING_BYTES / slot_bytes(ashift)
}

/// Returns the uberblocks in a ring whose checksum is correct, with the numbers of their slots. `ring` starts at byte
/// `offset` of its device.
#[must_use]
pub fn scan(ring: &[u8], offset: u64, ashift: u8) -> Vec<(u64, Uberblock)> {
    let size = slot_bytes(ashift);
    let slots = ring.chunks_exact(size as usize).zip(0..);
    let good = slots.filter_map(|(slot, number)| {
        let uberblock = Uberblock::parse(slot)?;
        let sealed = verify_embedded(slot, verifier(offset + number * size)).is_ok();
        sealed.then_some((number, uberblock))
    });
    good.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zstream_format::checksum::seal_embedded;

    use super::*;

    fn sample(order: ByteOrder) -> Uberblock {
        let mut words = [0; 27];
        for (n, word) in words.iter_mut().enumerate() {
            *word = n as u64 + 1;
        }
        let mut bytes = [0; UBERBLOCK_BYTES];
        for (n, word) in words.into_iter().enumerate() {
            order.put_u64(&mut bytes[8 * n..], word);
        }
        order.put_u64(&mut bytes, MAGIC);
        Uberblock::parse(&bytes).unwrap()
    }

    #[test]
    fn an_uberblock_survives_both_orders() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let uberblock = sample(order);
            assert_eq!((uberblock.order, uberblock.txg, uberblock.raidz_reflow_info), (order, Txg(3), 27));
            assert_eq!(Uberblock::parse(&uberblock.encode()), Some(uberblock));
        }
        assert_eq!(Uberblock::parse(&[0; UBERBLOCK_BYTES]), None);
        assert_eq!(Uberblock::parse(&[]), None);
    }

    #[test]
    fn newer_wins_then_later_then_multihost_sequence() {
        let of = |phys| Uberblock { order: ByteOrder::Little, phys };
        let phys = UberblockPhys { mmp_magic: MMP_MAGIC, mmp_config: 2, ..sample(ByteOrder::Little).phys };
        let base = of(phys);
        let sequence = of(UberblockPhys { mmp_config: 2 | 5 << 32, ..phys });
        let later = of(UberblockPhys { timestamp: base.timestamp + 1, ..phys });
        let newer = of(UberblockPhys { txg: Txg(4), timestamp: 0, ..phys });
        assert!(
            base.rank() < sequence.rank() && sequence.rank() < later.rank() && later.rank() < newer.rank()
        );
        // The sequence is ignored without the valid bit.
        assert_eq!(of(UberblockPhys { mmp_config: 5 << 32, ..phys }).rank(), base.rank());
    }

    #[test]
    fn slots_follow_the_sector_size() {
        assert_eq!([9, 10, 12, 13, 16].map(slot_bytes), [1024, 1024, 4096, 8192, 8192]);
        assert_eq!((slots(9), slots(16)), (128, 16));
    }

    #[test]
    fn any_flipped_bit_of_a_slot_takes_its_uberblock_out() {
        let offset = 128 << 10;
        let mut ring = vec![0; RING_BYTES as usize];
        for (number, order) in [(3_usize, ByteOrder::Little), (4, ByteOrder::Big)] {
            let slot = &mut ring[number * 1024..][..1024];
            slot[..UBERBLOCK_BYTES].copy_from_slice(&sample(order).encode());
            seal_embedded(slot, verifier(offset + number as u64 * 1024), order).unwrap();
        }
        assert_eq!(scan(&ring, offset, 9).iter().map(|(n, _)| *n).collect::<Vec<_>>(), [3, 4]);
        assert!(scan(&ring, offset + 1024, 9).is_empty(), "the checksum knows its place");
        for byte in (3 * 1024..4 * 1024).step_by(7).chain(4 * 1024 - 40..4 * 1024) {
            ring[byte] ^= 0x10;
            assert_eq!(scan(&ring, offset, 9).len(), 1, "byte {byte}");
            ring[byte] ^= 0x10;
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(mut slot in prop::collection::vec(any::<u8>(), 0..1024)) {
            let _ = Uberblock::parse(&slot);
            if slot.len() >= 8 {
                ByteOrder::Big.put_u64(&mut slot, MAGIC);
                if let Some(uberblock) = Uberblock::parse(&slot) {
                    let _ = (uberblock.rank(), uberblock.reflowed_to());
                    prop_assert_eq!(&uberblock.encode()[..], &slot[..UBERBLOCK_BYTES]);
                }
            }
        }
    }

    zstream_format::round_trips! { UberblockPhys }
}
