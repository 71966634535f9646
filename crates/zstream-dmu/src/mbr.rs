//! DOS partition tables (MBR): primary partitions, and the chain of logical partitions in an extended partition.
//!
//! ```text
//! sector 0    446  four entries of 16 bytes: status u8, CHS, type u8, CHS, first sector u32, sectors u32     510  55 aa
//! extended    such a sector precedes each logical partition: entry 0 is the partition, relative to this sector;
//!             entry 1 is the next such sector, relative to the start of the extended partition
//! ```
//!
//! The table does not have a checksum. A sector whose entries have another status than 0 and 0x80 is the boot sector
//! of a file system. The table is only a hint; labels are authoritative.

use std::collections::HashSet;

use zstream_format::order::ByteOrder;

use crate::device::Device;
use crate::error::{Error, Result};

/// The maximum number of logical partitions that are examined.
pub(crate) const LOGICAL_MAX: u32 = 256;

const ENTRIES_AT: usize = 446;
const ENTRY_BYTES: usize = 16;
const SIGNATURE: [u8; 2] = [0x55, 0xaa];
/// The size of a table in bytes, regardless of the sector size.
const TABLE_BYTES: usize = 512;
/// The types of extended partitions.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// The type that indicates that the disk has a GPT.
const PROTECTIVE: u8 = 0xee;
const LE: ByteOrder = ByteOrder::Little;

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partition {
    /// The number, as in `sda1`: 1 to 4, and from 5 for logical partitions.
    pub number: u32,
    /// The type.
    pub kind: u8,
    /// The byte offset on the disk.
    pub start: u64,
    /// The size in bytes, limited by the end of the disk.
    pub len: u64,
}

/// The content of a table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// The partitions, without extended ones.
    pub partitions: Vec<Partition>,
    /// The first error in the rest of the table.
    pub damage: Option<Error>,
}

#[derive(Clone, Copy)]
struct Entry {
    kind: u8,
    first: u64,
    count: u64,
}

/// Returns the entries of the table in a sector, or `None` if there is no table.
fn entries(disk: &dyn Device, at: u64) -> Result<Option<[Entry; 4]>> {
    let mut sector = [0; TABLE_BYTES];
    disk.read_at(at, &mut sector)?;
    if sector[510..] != SIGNATURE {
        return Ok(None);
    }
    let raw = |number: usize| &sector[ENTRIES_AT + number * ENTRY_BYTES..][..ENTRY_BYTES];
    if (0..4).any(|number| ![0, 0x80].contains(&raw(number)[0])) {
        return Ok(None);
    }
    Ok(Some(std::array::from_fn(|number| {
        let raw = raw(number);
        Entry { kind: raw[4], first: LE.u32(&raw[8..]).into(), count: LE.u32(&raw[12..]).into() }
    })))
}

/// Returns the table of a disk with sectors of `sector` bytes, or `None` if there is none.
///
/// # Errors
/// Fails if the disk cannot be read.
pub(crate) fn table(disk: &dyn Device, sector: u64) -> Result<Option<Table>> {
    if disk.len() < TABLE_BYTES as u64 {
        return Ok(None);
    }
    let Some(primary) = entries(disk, 0)? else { return Ok(None) };
    let mut table = Table::default();
    for (number, entry) in (1..).zip(&primary) {
        if entry.kind != PROTECTIVE && !EXTENDED.contains(&entry.kind) {
            table.add(disk, sector, number, 0, *entry);
        }
    }
    let mut next = 5;
    for extended in primary.iter().filter(|entry| EXTENDED.contains(&entry.kind) && entry.count > 0) {
        if let Err(error) = table.logical(disk, sector, extended.first, &mut next) {
            table.damage.get_or_insert(error);
        }
    }
    let is_there = !table.partitions.is_empty() || table.damage.is_some();
    Ok(is_there.then_some(table))
}

impl Table {
    /// Adds the partition of an entry, whose first sector is relative to `from`. If the end of the disk is missing,
    /// as in an image that was copied in part, the partition ends there.
    fn add(&mut self, disk: &dyn Device, sector: u64, number: u32, from: u64, entry: Entry) {
        if entry.kind == 0 || entry.count == 0 {
            return;
        }
        let start = (from + entry.first) * sector;
        let end = (start + entry.count * sector).min(disk.len());
        if start >= end {
            let detail =
                format!("partition {number} starts at {start:#x}, but the disk ends at {:#x}", disk.len());
            self.damage.get_or_insert(Error::corrupt("partition table", detail));
            return;
        }
        self.partitions.push(Partition { number, kind: entry.kind, start, len: end - start });
    }

    /// Adds the logical partitions of the extended partition that starts in sector `first`.
    fn logical(&mut self, disk: &dyn Device, sector: u64, first: u64, number: &mut u32) -> Result<()> {
        let (mut at, mut seen) = (first, HashSet::new());
        loop {
            let place = |error: Error| error.at_offset(at * sector);
            let bad = |detail: &str| place(Error::corrupt("extended partition", detail));
            if !seen.insert(at) {
                return Err(bad("chain of logical partitions is circular"));
            }
            if *number - 5 >= LOGICAL_MAX {
                return Err(bad(&format!("it has more than {LOGICAL_MAX} logical partitions")));
            }
            if at * sector + TABLE_BYTES as u64 > disk.len() {
                return Err(bad("it starts after the end of the disk"));
            }
            let [own, next, ..] =
                entries(disk, at * sector).map_err(place)?.ok_or_else(|| bad("it has no table"))?;
            if own.kind != 0 && !EXTENDED.contains(&own.kind) {
                self.add(disk, sector, *number, at, own);
                *number += 1;
            }
            if !EXTENDED.contains(&next.kind) || next.count == 0 {
                return Ok(());
            }
            at = first + next.first;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::device::MemoryDevice;

    /// Writes a table with these entries: type, first sector and number of sectors.
    pub(crate) fn write(disk: &MemoryDevice, at: u64, entries: &[(u8, u32, u32)]) {
        let mut sector = [0; TABLE_BYTES];
        for ((kind, first, count), at) in entries.iter().zip((ENTRIES_AT..).step_by(ENTRY_BYTES)) {
            sector[at + 4] = *kind;
            LE.put_u32(&mut sector[at + 8..], *first);
            LE.put_u32(&mut sector[at + 12..], *count);
        }
        sector[510..].copy_from_slice(&SIGNATURE);
        disk.write_at(at, &sector).unwrap();
    }

    fn found(table: &Table) -> Vec<(u32, u64, u64)> {
        table.partitions.iter().map(|found| (found.number, found.start, found.len)).collect()
    }

    #[test]
    fn primary_and_logical_partitions_are_found() {
        for sector in [512, 4096] {
            let disk = MemoryDevice::new(1000 * sector as usize);
            write(&disk, 0, &[(0x83, 1, 9), (0x0f, 100, 500), (0, 5, 5), (0xbf, 700, 900)]);
            write(&disk, 100 * sector, &[(0xa5, 1, 9), (0x05, 50, 100)]);
            write(&disk, 150 * sector, &[(0xbf, 2, 20), (0x05, 10, 100)]);
            write(&disk, 110 * sector, &[(0xbf, 3, 30)]);
            let table = table(&disk, sector).unwrap().unwrap();
            let bytes: Vec<_> = [(1, 1, 9), (4, 700, 300), (5, 101, 9), (6, 152, 20), (7, 113, 30)]
                .into_iter()
                .map(|(number, first, count)| (number, first * sector, count * sector))
                .collect();
            assert_eq!(found(&table), bytes);
            assert!(table.damage.is_none());
        }
    }

    #[test]
    fn bad_chains_end_in_an_error_and_hide_no_other_partition() {
        let disk = MemoryDevice::new(1000 * 512);
        type Table<'a> = (u64, &'a [(u8, u32, u32)]);
        let damage = |chain: &[Table<'_>]| {
            write(&disk, 0, &[(0xbf, 1, 9), (0x05, 100, 500)]);
            chain.iter().for_each(|(at, entries)| write(&disk, at * 512, entries));
            let table = table(&disk, 512).unwrap().unwrap();
            assert_eq!(found(&table)[0], (1, 512, 9 * 512));
            table.damage.unwrap().to_string()
        };
        let back = damage(&[(100, &[(0xbf, 1, 1), (5, 10, 1)]), (110, &[(0xbf, 1, 1), (5, 0, 1)])]);
        assert!(back.contains("circular") && back.contains("offset 0xc800"), "{back}");
        let beyond = damage(&[(100, &[(0xbf, 1, 1), (5, u32::MAX, 1)])]);
        assert!(beyond.contains("after the end"), "{beyond}");
        let none = damage(&[(100, &[(0xbf, 1, 1), (5, 50, 1)])]);
        assert!(none.contains("no table"), "{none}");
        let far = damage(&[(100, &[(0xbf, 5000, 1)])]);
        assert!(far.contains("partition 5 starts at"), "{far}");

        let disk = MemoryDevice::new(2000 * 512);
        write(&disk, 0, &[(0x05, 1, 900)]);
        (1..1000).for_each(|at| write(&disk, at * 512, &[(0xbf, 1, 1), (5, at as u32, 1)]));
        let many = table(&disk, 512).unwrap().unwrap();
        assert_eq!(many.partitions.len(), LOGICAL_MAX as usize);
        assert!(many.damage.unwrap().to_string().contains("more than 256"));
    }

    #[test]
    fn boot_sectors_and_protective_tables_have_no_partitions() {
        let disk = MemoryDevice::new(1 << 20);
        assert!(table(&disk, 512).unwrap().is_none());
        write(&disk, 0, &[(PROTECTIVE, 1, 2000)]);
        assert!(table(&disk, 512).unwrap().is_none());
        write(&disk, 0, &[(0x83, 1, 2000)]);
        disk.write_at(ENTRIES_AT as u64, b"t").unwrap();
        assert!(table(&disk, 512).unwrap().is_none());
        assert!(table(&MemoryDevice::new(100), 512).unwrap().is_none());
    }
}
