//! Writes to ranges of top-level vdevs.
//!
//! A write goes to all sides of a mirror and all columns of raidz, except to members that are missing or offline: what
//! those miss is recorded with the transaction group (see `pool/absent.rs`). It fails if a member that is present fails.

use std::borrow::Cow;
use std::sync::Arc;

use rayon::prelude::*;

use super::{Kind, LEAF_DATA_START, Vdev, VdevTree};
use crate::blkptr::Dva;
use crate::device::Device;
use crate::error::{Error, Fault, Result};
use crate::ids::Txg;
use crate::vdev::raidz;

impl Vdev {
    /// Returns the allocated size of a block of `psize` bytes, born in `birth`, on this top-level vdev
    /// (`vdev_psize_to_asize`).
    #[must_use]
    pub fn asize(&self, psize: u64, birth: Txg) -> u64 {
        self.config.asize_of(psize, birth)
    }

    fn sector_bytes(&self) -> u64 {
        1 << self.config.sector_shift()
    }

    /// Writes `pieces` one after the other, starting at `offset`. Together they are whole sectors.
    fn write(&self, offset: u64, birth: u64, pieces: &[&[u8]]) -> Result<()> {
        match &self.kind {
            Kind::Leaf(Some(device)) => {
                let at = LEAF_DATA_START + offset;
                let place = |error| Error::from(error).on_vdev(&self.name).at_offset(at);
                device.write_pieces_at(at, pieces).map_err(place)
            }
            Kind::Leaf(None) => Err(Fault::NoMember(self.name.clone()).into()),
            Kind::Mirror(children) => {
                self.expect_writable()?;
                let mut children = children.iter().filter(|child| child.is_writable());
                children.try_for_each(|child| child.write(offset, birth, pieces))
            }
            Kind::Raidz(..) | Kind::Draid(_) => {
                self.expect_writable()?;
                let bytes = match pieces {
                    [bytes] => Cow::Borrowed(*bytes),
                    _ => Cow::Owned(pieces.concat()),
                };
                let (map, children) = self.striped(offset, bytes.len(), birth)?;
                raidz::store(&map, &bytes, |child, offset, pieces| match children[child].is_writable() {
                    true => children[child].write(offset, birth, pieces),
                    false => Ok(()),
                })
            }
            Kind::DraidSpare(spare) => {
                spare.with_member(offset, |member| member.write(offset, birth, pieces))
            }
            Kind::Indirect(_) | Kind::Nothing => Err(self.holds_nothing()),
        }
    }

    /// Discards a range on all devices that support it.
    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        match &self.kind {
            Kind::Leaf(Some(device)) if device.hints().can_discard => {
                let at = LEAF_DATA_START + offset;
                let place = |error| Error::from(error).on_vdev(&self.name).at_offset(at);
                device.discard(at, len).map_err(place)
            }
            Kind::Mirror(children) => {
                let mut children = children.iter().filter(|child| child.is_writable());
                children.try_for_each(|child| child.discard(offset, len))
            }
            _ => Ok(()),
        }
    }

    /// Refuses to write with too few members.
    fn expect_writable(&self) -> Result<()> {
        if self.is_writable() {
            return Ok(());
        }
        let missing = self.children().iter().filter(|child| !child.is_writable()).count();
        let (vdev, children) = (self.name.clone(), self.children().len());
        let allowed = self.config.kind.losses_allowed(children).unwrap_or(0);
        Err(Fault::TooManyMissing { vdev, missing, children, allowed }.into())
    }

    /// Returns the devices below this vdev.
    pub(crate) fn leaves(&self) -> Vec<&Vdev> {
        match self.children() {
            [] if self.config.kind.is_leaf() => vec![self],
            children => children.iter().flat_map(Vdev::leaves).collect(),
        }
    }
}

impl VdevTree {
    /// Writes `bytes` at `dva`, padded with zeros to whole sectors. `birth` is the transaction group of the block.
    ///
    /// # Errors
    /// Fails if the address is not on a vdev that holds blocks, or if a member cannot be written.
    pub fn write(&self, dva: Dva, birth: Txg, bytes: &[u8]) -> Result<()> {
        self.write_run(&[(dva, bytes)], birth)
    }

    /// Writes to each of several addresses like [`write`](Self::write), with one write for adjacent addresses.
    ///
    /// # Errors
    /// Fails like [`write`](Self::write). The error has the first address of the adjacent ones.
    pub(crate) fn write_places(&self, places: &[(Dva, &[u8])], birth: Txg) -> Result<()> {
        // A block whose allocated size exceeds its bytes has parity or padding.
        let adjoin = |(a, bytes): &(Dva, &[u8]), (b, _): &(Dva, &[u8])| {
            let len = bytes.len() as u64;
            a.vdev() == b.vdev() && a.asize() == len && a.offset().checked_add(len) == Some(b.offset())
        };
        places.chunk_by(adjoin).try_for_each(|run| self.write_run(run, birth))
    }

    /// Writes to adjacent addresses. All but the last block have whole sectors; the last one is padded.
    fn write_run(&self, run: &[(Dva, &[u8])], birth: Txg) -> Result<()> {
        let dva = run[0].0;
        let len: u64 = run.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let (top, offset) = self.locate(dva, len).map_err(|error| error.at_address(dva))?;
        let mut pieces: Vec<&[u8]> = run.iter().map(|(_, bytes)| *bytes).collect();
        let zeros = vec![0; (len.next_multiple_of(top.sector_bytes()) - len) as usize];
        if !zeros.is_empty() {
            pieces.push(&zeros);
        }
        top.write(offset, birth.0, &pieces).map_err(|error| error.at_address(dva))
    }

    /// Discards the free range `start..end` of a top-level vdev on the devices that support it.
    ///
    /// # Errors
    /// Fails if a device fails.
    pub(crate) fn discard(&self, top: u32, (start, end): (u64, u64)) -> Result<()> {
        let vdev = self.tops.get(top as usize).ok_or_else(|| Error::no_vdev(top))?;
        vdev.discard(start, end - start)
    }

    /// Returns all devices of the pool.
    pub(crate) fn leaves(&self) -> Vec<&Vdev> {
        self.tops.iter().flat_map(Vdev::leaves).collect()
    }

    /// Returns the members that are written, with their devices: all that are present and not offline.
    pub(crate) fn written(&self) -> Vec<(&Vdev, &Arc<dyn Device>)> {
        let leaves = self.leaves().into_iter().filter(|leaf| leaf.is_writable());
        leaves.filter_map(|leaf| Some((leaf, leaf.device()?))).collect()
    }

    /// Returns `true` if one flush after all writes of a transaction group is enough, and what the group frees can be
    /// discarded before: the only device of the pool has the state of its last flush after a crash. With several devices,
    /// an uberblock of the last group may still be the newest while one of them is flushed already.
    pub(crate) fn is_flush_atomic(&self) -> bool {
        matches!(self.written()[..], [(_, device)] if device.hints().is_flush_atomic)
    }

    /// Flushes all members that are written. Returns after everything that was written is on stable storage.
    ///
    /// # Errors
    /// Fails if a member cannot be flushed.
    pub fn flush(&self) -> Result<()> {
        let flush = |(leaf, device): (&Vdev, &Arc<dyn Device>)| {
            device.flush().map_err(|error| Error::from(error).on_vdev(&leaf.name))
        };
        self.written().into_par_iter().try_for_each(flush)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::device::{Device, FailingCalls, FaultyDevice, MemoryDevice};
    use crate::ids::Guid;
    use crate::vdev::config::{VdevConfig, VdevType};
    use crate::vdev::raidz::{Expansion, Geometry};
    use crate::vdev::tests::leaf;
    use crate::vdev::{Effort, Member, Reading, VdevState};

    const DEVICE_BYTES: usize = 32 << 20;

    fn config(kind: VdevType, children: usize, ashift: u8) -> VdevConfig {
        let children = (0..children as u64).map(|id| leaf(id, id + 1)).collect();
        let (ashift, asize) = (Some(ashift), None);
        VdevConfig { kind, children, ashift, asize, ..leaf(0, 100) }
    }

    fn raidz(children: usize, parity: usize, ashift: u8) -> VdevType {
        VdevType::Raidz(Geometry { children, parity, ashift, expansion: Expansion::default() })
    }

    fn tree(config: &VdevConfig, devices: &[Arc<MemoryDevice>], without: &[usize]) -> VdevTree {
        let leaves: Vec<Guid> =
            config.walk().filter(|vdev| vdev.kind.is_leaf()).map(|vdev| vdev.guid).collect();
        let members: HashMap<Guid, Member> = leaves
            .into_iter()
            .zip(devices)
            .enumerate()
            .filter(|(n, _)| !without.contains(n))
            .map(|(n, (guid, device))| {
                (guid, Member { name: n.to_string(), device: Arc::clone(device) as _ })
            })
            .collect();
        VdevTree::build(Guid(1), std::slice::from_ref(config), &members, 0).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn what_is_written_is_read_without_any_members_that_parity_allows(
            parity in 1_usize..4, more in 1_usize..4, ashift in 9_u8..13, size in 1_usize..40_000, sector in 0_u64..4000, seed: u8,
        ) {
            let children = parity + more;
            let config = config(raidz(children, parity, ashift), children, ashift);
            let devices: Vec<_> = (0..children).map(|_| Arc::new(MemoryDevice::new(DEVICE_BYTES))).collect();
            let bytes: Vec<u8> = (0..size).map(|n| (n as u8).wrapping_mul(31) ^ seed).collect();
            let whole = tree(&config, &devices, &[]);
            let dva = Dva::new(0, sector << ashift, whole.tops()[0].asize(size as u64, Txg(1)), false);
            whole.write(dva, Txg(1), &bytes).unwrap();
            whole.flush().unwrap();
            for first in 0..children {
                let without: Vec<usize> = (0..parity).map(|n| (first + n) % children).collect();
                let degraded = tree(&config, &devices, &without);
                prop_assert_eq!(degraded.state(), VdevState::Degraded);
                let mut out = vec![0; size];
                let verify = |found: &[u8]| if found == bytes { Ok(()) } else { Err(Error::internal("differs")) };
                degraded.read(dva, Txg(1), &mut out, &mut Reading::new(&verify, Effort::AnyCopy)).unwrap();
                prop_assert_eq!(&out, &bytes);
            }
        }
    }

    #[test]
    fn a_mirror_is_written_on_all_sides_that_are_there_in_whole_sectors() {
        let config = config(VdevType::Mirror, 2, 12);
        let devices = [0, 1].map(|_| Arc::new(MemoryDevice::from(vec![0xff; DEVICE_BYTES])));
        let whole = tree(&config, &devices, &[]);
        let dva = Dva::new(0, 8192, whole.tops()[0].asize(512, Txg(1)), false);
        assert_eq!(dva.asize(), 4096);
        whole.write(dva, Txg(1), &[7; 512]).unwrap();
        for device in &devices {
            let bytes = device.to_vec();
            let at = LEAF_DATA_START as usize + 8192;
            assert_eq!((bytes[at - 1], bytes[at], bytes[at + 511]), (0xff, 7, 7));
            assert_eq!((bytes[at + 512], bytes[at + 4095], bytes[at + 4096]), (0, 0, 0xff));
        }
        tree(&config, &devices, &[1]).write(dva, Txg(1), &[9; 512]).unwrap();
        assert_eq!(devices.each_ref().map(|device| device.to_vec()[LEAF_DATA_START as usize + 8192]), [9, 7]);
        let error = tree(&config, &devices, &[0, 1]).write(dva, Txg(1), &[7; 512]).unwrap_err();
        assert_eq!(
            error.to_string().split(" (").next(),
            Some("mirror-0 is missing 2 of 2 members, at most 1 may be missing")
        );
        assert!(whole.write(Dva::new(1, 0, 4096, false), Txg(1), &[7; 512]).is_err());
    }

    #[test]
    fn places_side_by_side_are_written_as_each_by_itself() {
        let raidz = raidz(3, 1, 12);
        for (kind, children) in [(VdevType::Mirror, 2), (raidz, 3)] {
            let config = config(kind, children, 12);
            let [one, other] = [0, 1].map(|_| -> Vec<Arc<MemoryDevice>> {
                (0..children).map(|_| Arc::new(MemoryDevice::new(DEVICE_BYTES))).collect()
            });
            let tree = |devices: &[_]| tree(&config, devices, &[]);
            let (together, each) = (tree(&one), tree(&other));
            // Three are adjacent, and the last of them is not in whole sectors; one is elsewhere; two are in reverse
            // order.
            let sizes = [8192_u64, 4096, 4608, 512, 4096, 4096];
            let content: Vec<Vec<u8>> =
                (1..).zip(sizes).map(|(n, bytes)| (0..bytes).map(|at| at as u8 ^ n).collect()).collect();
            let asize = |bytes| each.tops()[0].asize(bytes, Txg(1));
            let mut at = 0;
            let mut places: Vec<(Dva, &[u8])> = Vec::new();
            for (n, (bytes, content)) in sizes.into_iter().zip(&content).enumerate() {
                places.push((Dva::new(0, at, asize(bytes), false), &content[..]));
                at += asize(bytes) + if n == 2 { 1 << 20 } else { 0 };
            }
            places.swap(4, 5);
            together.write_places(&places, Txg(1)).unwrap();
            for (dva, bytes) in &places {
                each.write(*dva, Txg(1), bytes).unwrap();
            }
            for (a, b) in one.iter().zip(&other) {
                assert!(a.to_vec() == b.to_vec());
            }
            // Together they end far after the end of the vdev.
            let end = 1 << 40;
            let beyond =
                [end, end + asize(4096)].map(|at| (Dva::new(0, at, asize(4096), false), &content[1][..]));
            assert!(together.write_places(&beyond, Txg(1)).is_err());
        }
    }

    #[test]
    fn no_failure_of_a_device_is_swallowed() {
        let raidz = raidz(4, 2, 9);
        for (kind, children) in [(VdevType::Mirror, 3), (raidz, 4)] {
            let config = config(kind, children, 9);
            for failing in 0..2 {
                let members = (0..children as u64).map(|n| {
                    let memory: Arc<dyn Device> = Arc::new(MemoryDevice::new(DEVICE_BYTES));
                    let plan = FailingCalls::Once(if n == 1 { failing } else { u64::MAX });
                    let device: Arc<dyn Device> = Arc::new(FaultyDevice::new(memory, plan));
                    (Guid(n + 1), Member { name: format!("disk{n}"), device })
                });
                let tree =
                    VdevTree::build(Guid(1), std::slice::from_ref(&config), &members.collect(), 0).unwrap();
                // Eight sectors are four rows of raidz: every member has a part.
                let write = tree.write(Dva::new(0, 0, 64 << 10, false), Txg(1), &[1; 8 * 512]);
                let results = [write, tree.flush()];
                for (call, result) in results.into_iter().enumerate() {
                    let error = result.err().map(|error| error.to_string());
                    assert_eq!(error.is_some(), call as u64 == failing, "{} {call}", tree.tops()[0].name());
                    assert!(error.is_none_or(|error| error.contains("disk1")));
                }
            }
        }
    }
}
