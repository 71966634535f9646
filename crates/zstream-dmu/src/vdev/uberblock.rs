//! Uberblocks: the roots of the pool, one for each of the last transaction groups.
//!
//! Each label has a ring of slots of 1 to 8 KiB, by the sector size; a slot holds one uberblock and ends in an embedded
//! checksum. The uberblock of transaction group `t` is written into slot `t mod slots` of all labels.

use std::ops::Deref;

use zstream_format::checksum::verify_embedded;
use zstream_format::order::ByteOrder;
use zstream_format::structure;

use super::label::verifier;
use crate::blkptr::{BlockPointer, SECTOR_BYTES};
use crate::ids::Txg;

/// First word of an uberblock (`UBERBLOCK_MAGIC`).
pub const MAGIC: u64 = 0x00ba_b10c;

/// Word that says that the MMP fields are there (`MMP_MAGIC`).
pub const MMP_MAGIC: u64 = 0xa11c_ea11;

/// Bytes of an uberblock that have a meaning.
pub const UBERBLOCK_BYTES: usize = UberblockPhys::LEN;

/// Size of a ring of uberblocks.
pub const RING_BYTES: u64 = 128 << 10;

structure! {
    /// The root of the pool as of one transaction group, as it is stored (`uberblock_t`).
    pub UberblockPhys[216] {
        /// [`MAGIC`], in the byte order of the pool's writer.
        magic: u64,
        /// Pool version.
        version: u64,
        /// The transaction group.
        txg: Txg,
        /// Sum of the guids of all vdevs in the tree, modulo 2^64.
        guid_sum: u64,
        /// When it was written, in seconds since 1970.
        timestamp: u64,
        /// Pointer to the objset block of the MOS.
        root: BlockPointer,
        /// Highest version that the writing software knew.
        software_version: u64,
        /// [`MMP_MAGIC`] when the MMP fields are there.
        mmp_magic: u64,
        /// Delay of multihost writes in nanoseconds; 0 when multihost is off.
        mmp_delay: u64,
        /// Multihost settings and sequence number: bits 0..8 valid, 8..32 interval, 32..48 sequence, 48..64 fail intervals.
        mmp_config: u64,
        /// In the uberblock of a checkpoint: the transaction group it keeps.
        checkpoint_txg: Txg,
        /// Progress of a raidz expansion: bits 0..55 sectors moved, 55..64 scratch state.
        raidz_reflow_info: u64,
    }
}

/// An uberblock, and the order in which it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uberblock {
    /// The order.
    pub order: ByteOrder,
    /// Its fields.
    pub phys: UberblockPhys,
}

impl Deref for Uberblock {
    type Target = UberblockPhys;

    fn deref(&self) -> &UberblockPhys {
        &self.phys
    }
}

impl Uberblock {
    /// Reads the uberblock at the start of a slot; `None` when there is none. Nothing is verified.
    #[must_use]
    pub fn parse(slot: &[u8]) -> Option<Self> {
        let orders = [ByteOrder::Little, ByteOrder::Big].into_iter();
        let mut found =
            orders.filter_map(|order| Some(Self { order, phys: UberblockPhys::read(slot, order)? }));
        found.find(|uberblock| uberblock.magic == MAGIC)
    }

    /// The bytes, in the uberblock's own order.
    #[must_use]
    pub fn encode(&self) -> [u8; UBERBLOCK_BYTES] {
        self.phys.to_bytes(self.order)
    }

    /// Sequence number of a multihost write within the second; 0 when there is none.
    #[must_use]
    pub fn mmp_sequence(&self) -> u16 {
        let valid = self.mmp_magic == MMP_MAGIC && self.mmp_config & 2 != 0;
        if valid { (self.mmp_config >> 32) as u16 } else { 0 }
    }

    /// What decides between uberblocks: the greatest is the pool's newest state.
    #[must_use]
    pub fn rank(&self) -> (Txg, u64, u16) {
        (self.txg, self.timestamp, self.mmp_sequence())
    }

    /// Bytes of a raidz vdev that an expansion has moved.
    #[must_use]
    pub fn reflowed_to(&self) -> u64 {
        (self.raidz_reflow_info & ((1 << 55) - 1)).saturating_mul(SECTOR_BYTES)
    }

    /// Whether an expansion was interrupted while what it had moved was in the scratch area only.
    #[must_use]
    pub fn reflow_in_scratch(&self) -> bool {
        self.raidz_reflow_info >> 55 == 1
    }
}

/// Size of a slot of the ring for sectors of 2^`ashift` bytes.
#[must_use]
pub fn slot_bytes(ashift: u8) -> u64 {
    1 << ashift.clamp(10, 13)
}

/// Number of slots in a ring for sectors of 2^`ashift` bytes.
#[must_use]
pub fn slots(ashift: u8) -> u64 {
    RING_BYTES / slot_bytes(ashift)
}

/// The uberblocks in a ring whose checksum holds, with the numbers of their slots. `ring` lies at byte `offset` of its device.
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
        // Without the valid bit the sequence says nothing.
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
