//! GUID partition tables, to find the ZFS partition of a whole-disk image.
//!
//! ```text
//! sector 0         protective MBR, which marks the disk as full for old programs; not used here
//! sector 1         primary header: "EFI PART", its CRC-32, location and CRC-32 of the entries
//! from sector 2    entries, mostly 128 of 128 bytes: type GUID, own GUID, first and last sector, flags, name (UTF-16)
//!   ...            partitions
//! last sector      backup header, preceded by its entries
//! ```
//!
//! A header or an array of entries with a wrong CRC is not used, nor are entries that overlap a header. If the
//! primary copy is damaged, the backup is used. The format is documented in chapter 5 of the UEFI specification.

use crc::{CRC_32_ISO_HDLC, Crc};
use zstream_format::order::ByteOrder;

use crate::device::Device;
use crate::error::{Error, Fault, Result};

/// The maximum size of an array of partition entries that is read.
pub(crate) const MAX_ENTRIES_BYTES: u64 = 1 << 20;

/// The sector sizes of disks, in bytes.
pub(crate) const SECTOR_SIZES: [u64; 2] = [512, 4096];

const SIGNATURE: &[u8; 8] = b"EFI PART";
const HEADER_BYTES: usize = 92;
const MIN_ENTRY_BYTES: usize = 128;
const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
const LE: ByteOrder = ByteOrder::Little;

/// The partition types of ZFS: illumos and OpenZFS (also Apple), FreeBSD, and root and home of illumos.
const ZFS_TYPES: [&str; 4] = [
    "6a898cc3-1dd2-11b2-99a6-080020736631",
    "516e7cba-6ecf-11d6-8ff8-00022d09712b",
    "6a85cf4d-1dd2-11b2-99a6-080020736631",
    "6a90ba39-1dd2-11b2-99a6-080020736631",
];

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// The number, as in `sda1`, starting from 1.
    pub number: u32,
    /// The type GUID in its usual notation, in lower case.
    pub type_guid: String,
    /// The name, with replacement characters for invalid UTF-16.
    pub name: String,
    /// The byte offset on the disk.
    pub start: u64,
    /// The size in bytes, limited by the end of the disk.
    pub len: u64,
}

impl Partition {
    /// Returns `true` if the type is one that ZFS uses. Labels are authoritative.
    #[must_use]
    pub(crate) fn is_zfs_type(&self) -> bool {
        ZFS_TYPES.contains(&self.type_guid.as_str())
    }
}

/// Returns the partitions of a disk, those with a ZFS type first. Returns `None` if there is no table.
///
/// # Errors
/// Fails if there is a table, but neither copy is intact.
pub fn partitions(disk: &dyn Device) -> Result<Option<Vec<Partition>>> {
    let mut damage: Option<(&str, u64, Error)> = None;
    for sector in SECTOR_SIZES {
        let sectors = disk.len() / sector;
        if sectors < 3 {
            continue;
        }
        for (copy, lba) in [("primary", 1), ("backup", sectors - 1)] {
            match read_copy(disk, sector, lba) {
                Ok(Some(mut list)) => {
                    list.sort_by_key(|partition| (!partition.is_zfs_type(), partition.number));
                    return Ok(Some(list));
                }
                Ok(None) => {}
                Err(error) => {
                    // The first error counts, but a copy that cannot be read may be intact.
                    let is_first = damage.as_ref().is_none_or(|(.., first)| is_io(&error) && !is_io(first));
                    if is_first {
                        damage = Some((copy, lba * sector, error));
                    }
                }
            }
        }
    }
    match damage {
        None => Ok(None),
        Some((_, offset, error)) if is_io(&error) => Err(error.at_offset(offset)),
        Some((copy, offset, error)) => {
            Err(Error::corrupt("partition table", format!("no copy is intact; {copy}: {error}"))
                .at_offset(offset))
        }
    }
}

fn is_io(error: &Error) -> bool {
    matches!(error.fault(), Fault::Io(_))
}

fn read_copy(disk: &dyn Device, sector: u64, lba: u64) -> Result<Option<Vec<Partition>>> {
    let mut header = vec![0; sector as usize];
    disk.read_at(lba * sector, &mut header)?;
    if &header[..8] != SIGNATURE {
        return Ok(None);
    }
    let corrupt = |detail: String| Error::corrupt("partition table header", detail);
    let header_len = LE.u32(&header[12..]) as usize;
    if !(HEADER_BYTES..=header.len()).contains(&header_len) {
        return Err(corrupt(format!("header is {header_len} bytes, expected {HEADER_BYTES} to {sector}")));
    }
    let expected = LE.u32(&header[16..]);
    header[16..20].fill(0);
    let found = CRC32.checksum(&header[..header_len]);
    if found != expected {
        return Err(corrupt(format!("crc is {found:08x}, expected {expected:08x}")));
    }
    let own_lba = LE.u64(&header[24..]);
    if own_lba != lba {
        return Err(corrupt(format!("header is for sector {own_lba}, found in sector {lba}")));
    }
    let entries_lba = LE.u64(&header[72..]);
    let count = u64::from(LE.u32(&header[80..]));
    let entry_len = LE.u32(&header[84..]) as usize;
    let entries_bytes = count * entry_len as u64;
    if entry_len < MIN_ENTRY_BYTES || entries_bytes > MAX_ENTRIES_BYTES {
        return Err(corrupt(format!(
            "table has {count} entries of {entry_len} bytes, limit {MAX_ENTRIES_BYTES} bytes"
        )));
    }
    let entries_offset = entries_lba
        .checked_mul(sector)
        .ok_or_else(|| corrupt(format!("entries are at sector {entries_lba}, which is too large")))?;
    // Otherwise the entries would be a part of a header, whose CRC depends on them.
    let headers = disk.len() / sector - 1;
    let end = entries_offset.checked_add(entries_bytes);
    if entries_lba < 2 || end.is_none_or(|end| end > headers * sector) {
        return Err(corrupt(format!(
            "{entries_bytes} bytes of entries at sector {entries_lba} overlap a header, expected sectors 2 to {}",
            headers - 1
        )));
    }
    let mut entries = vec![0; entries_bytes as usize];
    disk.read_at(entries_offset, &mut entries)?;
    let (found, expected) = (CRC32.checksum(&entries), LE.u32(&header[88..]));
    if found != expected {
        return Err(corrupt(format!("crc of the entries is {found:08x}, expected {expected:08x}")));
    }
    let found = entries.chunks_exact(entry_len).zip(1..);
    Ok(Some(found.filter_map(|(entry, number)| parse_entry(entry, number, sector, disk.len())).collect()))
}

/// Parses an entry. Returns `None` if it is unused or does not start on the disk. If the end of the disk is missing,
/// as in an image that was copied in part, the partition ends there.
fn parse_entry(entry: &[u8], number: u32, sector: u64, disk_len: u64) -> Option<Partition> {
    if entry[..16] == [0; 16] {
        return None;
    }
    let start = LE.u64(&entry[32..]).checked_mul(sector)?;
    let end = LE.u64(&entry[40..]).checked_add(1)?.checked_mul(sector)?;
    let end = end.min(disk_len);
    if start >= end {
        return None;
    }
    let name: Vec<u16> =
        entry[56..128].chunks_exact(2).map(|unit| LE.u16(unit)).take_while(|&unit| unit != 0).collect();
    Some(Partition {
        number,
        type_guid: guid_text(&entry[..16]),
        name: String::from_utf16_lossy(&name),
        start,
        len: end - start,
    })
}

/// Formats a GUID. Its first three fields are stored in little-endian order, the rest in the order of the text.
fn guid_text(raw: &[u8]) -> String {
    let tail: String = raw[10..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{:08x}-{:04x}-{:04x}-{:02x}{:02x}-{tail}",
        LE.u32(raw),
        LE.u16(&raw[4..]),
        LE.u16(&raw[6..]),
        raw[8],
        raw[9]
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::device::{FailingCalls, FaultyDevice, MemoryDevice};

    const ZFS: [u8; 16] =
        [0xc3, 0x8c, 0x89, 0x6a, 0xd2, 0x1d, 0xb2, 0x11, 0x99, 0xa6, 0x08, 0x00, 0x20, 0x73, 0x66, 0x31];
    const EFI: [u8; 16] =
        [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];

    fn entry(type_guid: [u8; 16], first: u64, last: u64, name: &str) -> Vec<u8> {
        let mut entry = vec![0; 128];
        entry[..16].copy_from_slice(&type_guid);
        LE.put_u64(&mut entry[32..], first);
        LE.put_u64(&mut entry[40..], last);
        for (unit, at) in name.encode_utf16().zip((56..).step_by(2)) {
            LE.put_u16(&mut entry[at..], unit);
        }
        entry
    }

    fn header(lba: u64, entries_lba: u64, entries: &[u8]) -> Vec<u8> {
        let mut header = vec![0; 92];
        header[..8].copy_from_slice(SIGNATURE);
        LE.put_u32(&mut header[8..], 0x10000);
        LE.put_u32(&mut header[12..], 92);
        LE.put_u64(&mut header[24..], lba);
        LE.put_u64(&mut header[72..], entries_lba);
        LE.put_u32(&mut header[80..], (entries.len() / 128) as u32);
        LE.put_u32(&mut header[84..], 128);
        LE.put_u32(&mut header[88..], CRC32.checksum(entries));
        let crc = CRC32.checksum(&header);
        LE.put_u32(&mut header[16..], crc);
        header
    }

    /// A disk with a boot partition, and a partition of type ZFS from sector 50 to `last`.
    pub(crate) fn disk(sector: u64, last: u64) -> MemoryDevice {
        let sectors = last + 51;
        let disk = MemoryDevice::new((sectors * sector) as usize);
        let mut entries = vec![0; 128 * 8];
        entries[..128].copy_from_slice(&entry(EFI, 40, 49, "boot"));
        entries[256..384].copy_from_slice(&entry(ZFS, 50, last, "zfs-1234"));
        entries[384..512].copy_from_slice(&entry(ZFS, last + 1, last + 900, "too long"));
        for (lba, entries_lba) in [(1, 2), (sectors - 1, sectors - 9)] {
            disk.write_at(lba * sector, &header(lba, entries_lba, &entries)).unwrap();
            disk.write_at(entries_lba * sector, &entries).unwrap();
        }
        disk
    }

    fn expected(sector: u64) -> Vec<Partition> {
        vec![
            Partition {
                number: 3,
                type_guid: "6a898cc3-1dd2-11b2-99a6-080020736631".to_owned(),
                name: "zfs-1234".to_owned(),
                start: 50 * sector,
                len: 100 * sector,
            },
            Partition {
                number: 4,
                type_guid: "6a898cc3-1dd2-11b2-99a6-080020736631".to_owned(),
                name: "too long".to_owned(),
                start: 150 * sector,
                // It ends at the end of the disk.
                len: 50 * sector,
            },
            Partition {
                number: 1,
                type_guid: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b".to_owned(),
                name: "boot".to_owned(),
                start: 40 * sector,
                len: 10 * sector,
            },
        ]
    }

    #[test]
    fn the_zfs_partition_comes_first() {
        for sector in SECTOR_SIZES {
            assert_eq!(partitions(&disk(sector, 149)).unwrap().unwrap(), expected(sector));
        }
    }

    #[test]
    fn any_damage_of_the_primary_table_is_answered_by_the_backup() {
        for offset in (512..512 + 92).chain(1024..1024 + 512) {
            let disk = disk(512, 149);
            let mut byte = [0];
            disk.read_at(offset, &mut byte).unwrap();
            disk.write_at(offset, &[byte[0] ^ 0x40]).unwrap();
            assert_eq!(partitions(&disk).unwrap().unwrap(), expected(512), "byte {offset}");
        }
    }

    #[test]
    fn entries_that_reach_into_a_header_are_refused() {
        for (lba, entries_lba, count) in
            [(1, 0, 4), (1, 1, 4), (1, 2, 198 * 4), (199, 190, 10 * 4), (199, 199, 4)]
        {
            let disk = MemoryDevice::new(200 * 512);
            disk.write_at(entries_lba * 512, &entry(ZFS, 50, 60, "zfs")).unwrap();
            disk.write_at(lba * 512, &[0; 512]).unwrap();
            // The CRC is correct for the entries next to the header.
            let mut entries = vec![0; count * 128];
            disk.read_at(entries_lba * 512, &mut entries).unwrap();
            disk.write_at(lba * 512, &header(lba, entries_lba, &entries)).unwrap();
            let error = partitions(&disk).unwrap_err().to_string();
            assert!(error.contains("overlap a header"), "{lba} {entries_lba}: {error}");
        }
    }

    #[test]
    fn two_damaged_copies_are_an_error_and_no_table_is_none() {
        let disk = disk(512, 149);
        disk.write_at(512 + 40, b"x").unwrap();
        disk.write_at(199 * 512 + 40, b"x").unwrap();
        let error = partitions(&disk).unwrap_err().to_string();
        assert!(error.contains("no copy is intact") && error.contains("crc"), "{error}");
        assert!(partitions(&MemoryDevice::new(1 << 20)).unwrap().is_none());
        assert!(partitions(&MemoryDevice::new(100)).unwrap().is_none());
    }

    #[test]
    fn a_copy_that_cannot_be_read_is_an_io_error() {
        for plan in [FailingCalls::Once(0), FailingCalls::From(0), FailingCalls::Once(1)] {
            let damaged = disk(512, 149);
            damaged.write_at(199 * 512 + 40, b"x").unwrap();
            let disk = FaultyDevice::new(Arc::new(damaged), plan);
            let error = partitions(&disk).unwrap_err();
            assert!(matches!(error.fault(), Fault::Io(_)), "{plan:?}: {error}");
            assert_eq!(error.place().offset, Some(512), "{plan:?}");
        }
    }
}
