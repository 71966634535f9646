//! Slices: the parts of a disk, or of a partition, in a label of BSD (disklabel) or Solaris (VTOC).
//!
//! ```text
//! BSD, in sector 1       0 magic 0x82564557    40 bytes of a sector    132 magic    136 sum u16    138 slices u16
//!                        148 slices of 16 bytes: sectors u32, first sector u32, ..., type u8 at 12
//! Solaris, in sector 1   12 0x600ddeee    30 slices u16    72 slices of 12 bytes: tag u16, flag u16, first sector u32, sectors u32
//!                        508 magic 0xdabe    510 sum u16
//! ```
//!
//! Both checksums make the exclusive or of all 16-bit words zero: in a BSD label up to the last slice, in a Solaris
//! label of the whole sector. With Solaris, the first sector is relative to the start of the partition. With BSD, it
//! is relative to that or to the start of the disk, and slice c is the whole.

use zstream_format::order::ByteOrder;

use crate::device::Device;
use crate::error::Result;
use crate::gpt::SECTOR_SIZES;

const LE: ByteOrder = ByteOrder::Little;
const LABEL_BYTES: usize = 512;

const BSD_MAGIC: u32 = 0x8256_4557;
const BSD_SLICES_AT: usize = 148;
/// The type of slices for ZFS.
const BSD_ZFS: u8 = 27;
/// The slice that covers the whole disk or partition: c.
const BSD_WHOLE: usize = 2;

const SOLARIS_SANITY: u32 = 0x600d_deee;
const SOLARIS_MAGIC: u16 = 0xdabe;
const SOLARIS_SLICES_AT: usize = 72;
const SOLARIS_SLICES: usize = 16;

/// A slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slice {
    /// The name: a letter, or with Solaris a number.
    pub name: String,
    /// `true` if the type is that of ZFS.
    pub is_zfs_type: bool,
    /// The byte offset on the disk.
    pub start: u64,
    /// The size in bytes, limited by the end of the disk.
    pub len: u64,
}

/// Returns the slices of the part of a disk that starts at byte `from`, those of type ZFS first. A slice whose start
/// is ambiguous is returned twice.
///
/// # Errors
/// Fails if the disk cannot be read.
pub(crate) fn slices(disk: &dyn Device, from: u64) -> Result<Vec<Slice>> {
    // Sector 1 starts where sector 0 ends.
    for sector in SECTOR_SIZES {
        let Some(at) = from.checked_add(sector) else { continue };
        if at.checked_add(LABEL_BYTES as u64).is_none_or(|end| end > disk.len()) {
            continue;
        }
        let mut label = [0; LABEL_BYTES];
        disk.read_at(at, &mut label)?;
        let found = bsd(&label, disk.len(), from).or_else(|| solaris(&label, disk.len(), from, sector));
        if let Some(mut found) = found {
            found.sort_by_key(|slice| !slice.is_zfs_type);
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

fn sum(bytes: &[u8]) -> u16 {
    bytes.chunks_exact(2).fold(0, |sum, word| sum ^ LE.u16(word))
}

/// Returns the slice of `count` sectors that starts at sector `first`, relative to byte `from`.
fn slice(
    name: String,
    is_zfs_type: bool,
    from: u64,
    (first, count): (u64, u64),
    sector: u64,
    disk_len: u64,
) -> Option<Slice> {
    let start = first.checked_mul(sector)?.checked_add(from)?;
    let end = start.checked_add(count.checked_mul(sector)?)?.min(disk_len);
    (start < end).then(|| Slice { name, is_zfs_type, start, len: end - start })
}

fn bsd(label: &[u8], disk_len: u64, from: u64) -> Option<Vec<Slice>> {
    let count = usize::from(LE.u16(&label[138..]));
    let end = BSD_SLICES_AT + count * 16;
    if LE.u32(label) != BSD_MAGIC || LE.u32(&label[132..]) != BSD_MAGIC || sum(label.get(..end)?) != 0 {
        return None;
    }
    let sector = u64::from(LE.u32(&label[40..]));
    if !SECTOR_SIZES.contains(&sector) {
        return None;
    }
    let raw = |number: usize| &label[BSD_SLICES_AT + number * 16..][..16];
    let first = |number: usize| u64::from(LE.u32(&raw(number)[4..]));
    let whole = if count > BSD_WHOLE { first(BSD_WHOLE) } else { 0 };
    let mut found: Vec<Slice> = Vec::new();
    for number in (0..count).filter(|number| *number != BSD_WHOLE) {
        let sectors = u64::from(LE.u32(raw(number)));
        let within = first(number).checked_sub(whole).map(|first| (from, first));
        for (from, first) in within.into_iter().chain([(0, first(number))]) {
            // There are at most 22 slices.
            let name = char::from(b'a' + number as u8).to_string();
            let is_zfs_type = raw(number)[12] == BSD_ZFS;
            let new = slice(name, is_zfs_type, from, (first, sectors), sector, disk_len);
            found.extend(new.filter(|new| !found.contains(new)));
        }
    }
    Some(found)
}

fn solaris(label: &[u8], disk_len: u64, from: u64, sector: u64) -> Option<Vec<Slice>> {
    let is_label =
        LE.u32(&label[12..]) == SOLARIS_SANITY && LE.u16(&label[508..]) == SOLARIS_MAGIC && sum(label) == 0;
    if !is_label {
        return None;
    }
    let count = usize::from(LE.u16(&label[30..])).min(SOLARIS_SLICES);
    let slices = label[SOLARIS_SLICES_AT..].chunks_exact(12).take(count).enumerate();
    let slices = slices.filter_map(|(number, raw)| {
        let part = (u64::from(LE.u32(&raw[4..])), u64::from(LE.u32(&raw[8..])));
        slice(number.to_string(), false, from, part, sector, disk_len)
    });
    Some(slices.collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::device::MemoryDevice;

    /// Writes a BSD label with these slices: first sector, number of sectors, and type.
    pub(crate) fn write_bsd(disk: &MemoryDevice, at: u64, slices: &[(u32, u32, u8)]) {
        let mut label = [0; LABEL_BYTES];
        for at in [0, 132] {
            LE.put_u32(&mut label[at..], BSD_MAGIC);
        }
        LE.put_u32(&mut label[40..], 512);
        LE.put_u16(&mut label[138..], slices.len() as u16);
        for ((first, count, kind), at) in slices.iter().zip((BSD_SLICES_AT..).step_by(16)) {
            LE.put_u32(&mut label[at..], *count);
            LE.put_u32(&mut label[at + 4..], *first);
            label[at + 12] = *kind;
        }
        let sum = sum(&label);
        LE.put_u16(&mut label[136..], sum);
        disk.write_at(at, &label).unwrap();
    }

    fn found(disk: &dyn Device, from: u64) -> Vec<(String, u64, u64)> {
        let slices = slices(disk, from).unwrap().into_iter();
        slices.map(|slice| (slice.name, slice.start / 512, slice.len / 512)).collect()
    }

    #[test]
    fn slices_of_bsd_count_from_their_partition_or_from_the_disk() {
        let disk = MemoryDevice::new(2000 * 512);
        write_bsd(&disk, 512, &[(16, 100, 7), (0, 0, 0), (0, 2000, 0), (200, 5000, BSD_ZFS)]);
        let expected = [("d".to_owned(), 200, 1800), ("a".to_owned(), 16, 100)];
        assert_eq!(found(&disk, 0), expected);
        // The whole starts at the start of the partition, or at 0.
        write_bsd(&disk, 1001 * 512, &[(1016, 100, BSD_ZFS), (0, 0, 0), (1000, 1000, 0)]);
        assert_eq!(found(&disk, 1000 * 512), [("a".to_owned(), 1016, 100)]);
        write_bsd(&disk, 1001 * 512, &[(16, 100, BSD_ZFS), (0, 0, 0), (0, 1000, 0)]);
        assert_eq!(found(&disk, 1000 * 512), [("a".to_owned(), 1016, 100), ("a".to_owned(), 16, 100)]);
    }

    #[test]
    fn slices_of_solaris_count_from_their_partition() {
        let disk = MemoryDevice::new(2000 * 512);
        let mut label = [0; LABEL_BYTES];
        LE.put_u32(&mut label[12..], SOLARIS_SANITY);
        LE.put_u16(&mut label[30..], 16);
        LE.put_u32(&mut label[SOLARIS_SLICES_AT + 4..], 100);
        LE.put_u32(&mut label[SOLARIS_SLICES_AT + 8..], 300);
        LE.put_u16(&mut label[508..], SOLARIS_MAGIC);
        let sum = sum(&label);
        LE.put_u16(&mut label[510..], sum);
        disk.write_at(1001 * 512, &label).unwrap();
        assert_eq!(found(&disk, 1000 * 512), [("0".to_owned(), 1100, 300)]);
    }

    #[test]
    fn labels_with_a_wrong_sum_or_count_are_none() {
        let disk = MemoryDevice::new(2000 * 512);
        for damage in [512, 512 + 132, 512 + 136, 512 + 150] {
            write_bsd(&disk, 512, &[(16, 100, BSD_ZFS)]);
            disk.write_at(damage, b"x").unwrap();
            assert_eq!(found(&disk, 0), []);
        }
        write_bsd(&disk, 512, &[(16, 100, BSD_ZFS)]);
        assert_eq!(found(&disk, 0).len(), 1);
        disk.write_at(512 + 138, &[0xff, 0xff]).unwrap();
        assert_eq!(found(&disk, 0), []);
        assert_eq!(found(&MemoryDevice::new(600), 0), []);
        assert_eq!(found(&disk, u64::MAX - 10), []);
    }
}
