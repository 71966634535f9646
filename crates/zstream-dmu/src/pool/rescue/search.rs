//! The search for labels at other offsets than those where OpenZFS looks for them.
//!
//! A partition tool or a copy with an offset moves the content of a member against the start of its device: labels are
//! then intact, but not found. The config of a label is recognized by the header of its nvlist. Its embedded checksum
//! includes its offset on the member, in multiples of the size of a label, so it shows where the member begins:
//!
//! ```text
//! device   0 ......... start of the member ............ label n ........
//!                      |<--- offset in the checksum --->|                 the start may be before the device
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use zstream_format::checksum::find_location;

use crate::device::{Device, Shifted};
use crate::pool::scan::Candidate;
use crate::vdev::Member;
use crate::vdev::label::{self, CONFIG_BYTES, CONFIG_OFFSET, LABEL_BYTES, Labels};

/// The alignment of members on devices: the smallest sector size.
const STEP: usize = 512;

/// The size of the parts that are read.
const CHUNK_BYTES: u64 = 1 << 20;

/// The size of the parts that are read if a larger one is not readable.
const SMALL_BYTES: u64 = 4 << 10;

/// The size of the areas at both ends of a device that are searched first.
const NEAR_BYTES: u64 = 64 << 20;

/// The maximum distance of the start of a member before its device.
const BEFORE_MAX: u64 = 64 << 20;

/// The maximum number of possible configs of which the offset is computed, for each device. That takes about a second for
/// each on a device of 1 TiB.
const CONFIGS_MAX: usize = 256;

/// The part of a device that is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// The areas at both ends.
    Ends,
    /// If there are no labels at the ends, everything.
    All,
}

/// Returns the members on a device whose labels are at other offsets, one for each pool and start.
pub(super) fn search(member: &Member, extent: Extent) -> Vec<Candidate> {
    let len = member.device.len();
    let near = len.min(NEAR_BYTES);
    let mut found = Locations { device: &*member.device, left: CONFIGS_MAX, starts: BTreeMap::new() };
    found.search(0..near);
    found.search(near.max(len - near)..len);
    if found.starts.is_empty() && extent == Extent::All {
        found.search(near..len - near);
    }
    found.starts.into_iter().flat_map(|(start, ends)| at(member, start, &ends)).collect()
}

/// Returns the members that start at byte `start` of a device. `ends` are the possible sizes.
fn at(member: &Member, start: i64, ends: &BTreeSet<u64>) -> Vec<Candidate> {
    let to_end = member.device.len().checked_add_signed(start.saturating_neg());
    let lens = ends.iter().copied().chain(to_end);
    let read = |len| {
        let device = Shifted::new(Arc::clone(&member.device), start, len);
        let labels = Labels::read(&device);
        (labels, device)
    };
    let best = lens.map(read).max_by_key(|(labels, _)| labels.good().count());
    let Some((labels, device)) = best.filter(|(labels, _)| labels.good().count() > 0) else {
        return Vec::new();
    };
    let device: Arc<dyn Device> = Arc::new(device);
    let name = match start {
        0 => member.name.clone(),
        _ => format!("{} (shifted by {start} bytes)", member.name),
    };
    super::separate(Candidate { member: Member { name, device }, path: None, labels })
}

/// The members that were found: their starts, each with their possible sizes.
struct Locations<'a> {
    device: &'a dyn Device,
    left: usize,
    starts: BTreeMap<i64, BTreeSet<u64>>,
}

impl Locations<'_> {
    fn search(&mut self, range: Range<u64>) {
        let mut at = range.start - range.start % STEP as u64;
        let mut chunk = Vec::new();
        while at < range.end {
            chunk.resize(CHUNK_BYTES.min(self.device.len() - at) as usize, 0);
            self.read(at, &mut chunk);
            for (n, sector) in chunk.chunks_exact(STEP).enumerate() {
                if is_config(sector) {
                    self.add(at + (n * STEP) as u64);
                }
            }
            at += CHUNK_BYTES;
        }
    }

    /// Reads what is readable; the rest is zeros.
    fn read(&self, at: u64, chunk: &mut [u8]) {
        if self.device.read_at(at, chunk).is_ok() {
            return;
        }
        for (n, part) in chunk.chunks_mut(SMALL_BYTES as usize).enumerate() {
            if self.device.read_at(at + n as u64 * SMALL_BYTES, part).is_err() {
                part.fill(0);
            }
        }
    }

    /// Adds the start of the member whose config is at byte `at` of the device.
    fn add(&mut self, at: u64) {
        let mut config = vec![0; CONFIG_BYTES];
        if self.left == 0 || self.device.read_at(at, &mut config).is_err() {
            return;
        }
        let labels = 0..=(at + BEFORE_MAX) / LABEL_BYTES;
        let offsets = labels.map(|label| label * LABEL_BYTES + CONFIG_OFFSET);
        // Without the magic number of a checksum, it costs nothing.
        let Ok(found) = find_location(&config, offsets) else { return };
        self.left -= 1;
        let Some((offset, start)) = found.and_then(|offset| Some((offset, at.checked_signed_diff(offset)?)))
        else {
            return;
        };
        let ends = self.starts.entry(start).or_default();
        let label = offset - CONFIG_OFFSET;
        if label >= 2 * LABEL_BYTES {
            let lens = [label + LABEL_BYTES, label + 2 * LABEL_BYTES];
            ends.extend(lens.into_iter().filter(|len| *len >= label::DEVICE_BYTES_MIN));
        }
    }
}

/// Returns `true` if a sector may be the start of a config: an XDR nvlist of version 0 with unique names.
fn is_config(sector: &[u8]) -> bool {
    sector[0] == 1 && sector[1] <= 1 && sector[2..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
}

#[cfg(test)]
mod tests {
    use zstream_format::checksum::seal_embedded;
    use zstream_format::nvlist::{NvList, Packed};
    use zstream_format::order::ByteOrder;

    use super::*;
    use crate::device::MemoryDevice;
    use crate::vdev::label::{LABELS, offset, verifier};

    const MEMBER_BYTES: u64 = 20 << 20;

    /// A device with the labels `numbers` of a member of 20 MiB that starts at `start`.
    fn device(len: usize, start: i64, numbers: &[usize]) -> Member {
        let device = MemoryDevice::new(len);
        let mut tree = NvList::new();
        tree.add_string("type", "disk").add_u64("id", 0).add_u64("guid", 2).add_u64("ashift", 12);
        let mut list = NvList::new();
        list.add_u64("version", 5000).add_string("name", "tank").add_u64("state", 0).add_u64("txg", 4);
        list.add_u64("pool_guid", 1).add_u64("guid", 2).add_list("vdev_tree", tree);
        let packed = list.encode(Packed::xdr(ByteOrder::Little)).unwrap();
        for &number in numbers {
            let at = offset(MEMBER_BYTES, number).unwrap() + CONFIG_OFFSET;
            let mut bytes = vec![0; CONFIG_BYTES];
            bytes[..packed.len()].copy_from_slice(&packed);
            seal_embedded(&mut bytes, verifier(at), ByteOrder::Little).unwrap();
            device.write_at(at.checked_add_signed(start).unwrap(), &bytes).unwrap();
        }
        Member { name: "disk".to_owned(), device: Arc::new(device) }
    }

    #[test]
    fn a_member_is_found_wherever_it_starts() {
        for (len, start, numbers) in [
            (40 << 20, 512, &[0, 1, 2, 3][..]),
            (40 << 20, 31 << 10, &[1]),
            (21 << 20, 1 << 20, &[2, 3]),
            (40 << 20, 3 << 20, &[3]),
            // The start of the member is cut off.
            (40 << 20, -(1 << 20), &[2, 3]),
            (40 << 20, -512, &[1, 3]),
            // Far from both ends.
            (180 << 20, 77 << 20, &[0]),
        ] {
            let found = search(&device(len, start, numbers), Extent::All);
            assert_eq!(found.len(), 1, "{start} {numbers:?}");
            let good: Vec<_> = found[0].labels.good().map(|label| label.number).collect();
            assert_eq!(good.len(), numbers.len(), "{start} {numbers:?} {good:?}");
            assert_eq!(found[0].member.name, format!("disk (shifted by {start} bytes)"));
        }
        assert!(search(&device(180 << 20, 77 << 20, &[0]), Extent::Ends).is_empty());
        assert!(search(&device(9 << 20, 0, &[]), Extent::All).is_empty());
    }

    #[test]
    fn what_only_looks_like_labels_costs_little() {
        let device = MemoryDevice::new(80 << 20);
        let mut config = vec![0; STEP];
        config[..12].copy_from_slice(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        config[STEP - 40..STEP - 32].copy_from_slice(&0x0210_da7a_b10c_7a11_u64.to_le_bytes());
        for at in (0..70 << 20).step_by(STEP) {
            device.write_at(at, &config).unwrap();
        }
        let member = Member { name: "disk".to_owned(), device: Arc::new(device) };
        assert_eq!(LABELS, 4);
        assert!(search(&member, Extent::All).is_empty());
    }
}
