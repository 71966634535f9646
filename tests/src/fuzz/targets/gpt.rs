//! Partition tables. An input is a header (92 bytes) and the entries from sector 2 on; their CRCs are made right.

use crate::devices::{Patch, Patched};
use crc::{CRC_32_ISO_HDLC, Crc};
use zstream_dmu::device::Device;
use zstream_dmu::testing::gpt::{Partition, partitions};
use zstream_format::order::ByteOrder;

const SECTOR: u64 = 512;
const DISK_BYTES: u64 = 1 << 20;
const HEADER_BYTES: usize = 92;
const ENTRIES_AT: u64 = 2 * SECTOR;
const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
const LE: ByteOrder = ByteOrder::Little;
/// The type of OpenZFS's partitions.
const ZFS: [u8; 16] =
    [0xc3, 0x8c, 0x89, 0x6a, 0xd2, 0x1d, 0xb2, 0x11, 0x99, 0xa6, 0x08, 0x00, 0x20, 0x73, 0x66, 0x31];

/// A table with three partitions, and one for which the disk is too short.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    let table = |entry_bytes: usize| {
        let mut input = vec![0; HEADER_BYTES + 4 * entry_bytes];
        input[..8].copy_from_slice(b"EFI PART");
        let fields = [(8, 0x10000), (12, HEADER_BYTES as u32), (80, 4), (84, entry_bytes as u32)];
        fields.into_iter().for_each(|(at, value)| LE.put_u32(&mut input[at..], value));
        [(24, 1), (72, ENTRIES_AT / SECTOR)]
            .into_iter()
            .for_each(|(at, value)| LE.put_u64(&mut input[at..], value));
        for (n, (first, last)) in [(40, 99), (100, 1000), (1001, 2000), (2001, 4000)].into_iter().enumerate()
        {
            let entry = &mut input[HEADER_BYTES + n * entry_bytes..];
            entry[..16].copy_from_slice(&if n % 2 == 1 { ZFS } else { [n as u8 + 1; 16] });
            LE.put_u64(&mut entry[32..], first);
            LE.put_u64(&mut entry[40..], last);
            entry[56..64].copy_from_slice(b"z\0f\0s\0\0\0");
        }
        input
    };
    vec![table(128), table(256)]
}

/// The table on a disk, its header in sector `lba`.
fn read(input: &[u8], lba: u64) -> Option<Vec<Partition>> {
    let mut header = input.get(..HEADER_BYTES)?.to_vec();
    // No further than to the last sector, which holds a header.
    let room = (DISK_BYTES - SECTOR - ENTRIES_AT) as usize;
    let entries = input[HEADER_BYTES..].iter().copied().take(room).collect();
    let mut disk = Patched::zeros(DISK_BYTES, vec![Patch::Replace(ENTRIES_AT, entries)]);
    let count = u64::from(LE.u32(&header[80..])) * u64::from(LE.u32(&header[84..]));
    let mut covered = vec![0; usize::try_from(count.min(DISK_BYTES)).ok()?];
    if let Some(at) = LE.u64(&header[72..]).checked_mul(SECTOR)
        && disk.read_at(at, &mut covered).is_ok()
    {
        LE.put_u32(&mut header[88..], CRC32.checksum(&covered));
    }
    if LE.u64(&header[24..]) == 1 {
        LE.put_u64(&mut header[24..], lba);
    }
    let len = (LE.u32(&header[12..]) as usize).clamp(HEADER_BYTES, SECTOR as usize);
    header[16..20].fill(0);
    let mut sector = header.clone();
    sector.resize(len, 0);
    LE.put_u32(&mut header[16..], CRC32.checksum(&sector));
    disk.patches.push(Patch::Replace(lba * SECTOR, header));
    partitions(&disk).ok().flatten()
}

/// Partitions lie on the disk, and the backup says what the primary table says.
pub(super) fn run(input: &[u8]) {
    let primary = read(input, 1);
    for partition in primary.iter().flatten() {
        let end = partition.start.checked_add(partition.len);
        assert!(partition.len > 0 && end.is_some_and(|end| end <= DISK_BYTES), "{partition:?}");
    }
    assert_eq!(read(input, DISK_BYTES / SECTOR - 1), primary, "the backup, and the primary table");
}
