//! Images of whole disks: the pool lies in a partition of a GPT, as `zpool create` makes one of a disk.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crc::{CRC_32_ISO_HDLC, Crc};
use zstream_format::order::ByteOrder;
use zstream_tests::golden;
use zstream_tests::program::zstream;

const LE: ByteOrder = ByteOrder::Little;
const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// Types of partitions, as they lie on the disk: ZFS, and what Solaris reserves behind it.
const ZFS: [u8; 16] =
    [0xc3, 0x8c, 0x89, 0x6a, 0xd2, 0x1d, 0xb2, 0x11, 0x99, 0xa6, 0x08, 0x00, 0x20, 0x73, 0x66, 0x31];
const RESERVED: [u8; 16] =
    [0x3b, 0x5a, 0x94, 0x6a, 0xd2, 0x1d, 0xb2, 0x11, 0x99, 0xa6, 0x08, 0x00, 0x20, 0x73, 0x66, 0x31];
/// The first byte of the pool.
const START: u64 = 1 << 20;
/// Bytes of the partition that is reserved, and of the entries of the table.
const RESERVED_BYTES: u64 = 8 << 20;
const ENTRIES_BYTES: u64 = 128 * 128;

/// Writes a disk with sectors of this size that has the golden pool in partition 1; gives its length.
fn write_disk(path: &Path, sector: u64) -> u64 {
    let pool = fs::read(golden::image("tank.img")).expect("a golden image");
    let end = START + pool.len() as u64;
    let entries_sectors = ENTRIES_BYTES.div_ceil(sector);
    let sectors = (end + RESERVED_BYTES) / sector + entries_sectors + 1;
    let mut entries = vec![0; ENTRIES_BYTES as usize];
    for (number, kind, from, to) in [(1, ZFS, START, end), (9, RESERVED, end, end + RESERVED_BYTES)] {
        let entry = &mut entries[(number - 1) * 128..];
        entry[..16].copy_from_slice(&kind);
        entry[16] = number as u8;
        LE.put_u64(&mut entry[32..], from / sector);
        LE.put_u64(&mut entry[40..], to / sector - 1);
    }
    let file = File::create(path).expect("a file");
    file.set_len(sectors * sector).expect("its length");
    file.write_all_at(&pool, START).expect("the pool");
    let copies = [(1, sectors - 1, 2), (sectors - 1, 1, sectors - 1 - entries_sectors)];
    for (place, other, entries_at) in copies {
        let mut header = vec![0; 92];
        header[..8].copy_from_slice(b"EFI PART");
        for (at, value) in [(8, 0x1_0000), (12, 92), (80, 128), (84, 128), (88, CRC32.checksum(&entries))] {
            LE.put_u32(&mut header[at..], value);
        }
        for (at, value) in [(24, place), (32, other), (40, 34), (48, sectors - 34), (72, entries_at)] {
            LE.put_u64(&mut header[at..], value);
        }
        let sum = CRC32.checksum(&header);
        LE.put_u32(&mut header[16..], sum);
        file.write_all_at(&header, place * sector).expect("a header");
        file.write_all_at(&entries, entries_at * sector).expect("entries");
    }
    sectors * sector
}

#[test]
fn the_pool_in_a_partition_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("disk.img");
    for sector in [512, 4096] {
        let len = write_disk(&path, sector);
        let name = path.to_str().expect("UTF-8");
        let damage = |offset| {
            let file = File::options().write(true).open(&path).expect("the disk");
            file.write_all_at(&[0xff], offset).expect("a byte");
        };
        let run = |words: &[&str]| zstream(&[&["-d", name], words].concat(), b"");
        // With both copies of the table, and with the one at the end alone.
        for _ in 0..2 {
            let shown = run(&["pool", "show"]);
            let text = String::from_utf8_lossy(&shown.stdout);
            assert!(text.contains("disk.img (partition 1)  ONLINE\n"), "{text}");
            assert_eq!(
                (run(&["pool", "check"]).code, run(&["ls", "tank/fs@a", "text"]).stdout),
                (0, b"text\n".to_vec())
            );
            damage(sector + 24);
        }
        damage(len - sector + 24);
        let refused = run(&["pool", "show"]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.code, 1);
        assert!(said.contains("bad partition table: no copy is whole"), "{said}");
    }
}

/// The end of the disk is missing: the table at its beginning says so of the partition.
#[test]
fn the_pool_of_a_cut_disk_is_read_with_a_warning() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("disk.img");
    for sector in [512, 4096] {
        let len = write_disk(&path, sector);
        let name = path.to_str().expect("UTF-8");
        let run = |words: &[&str]| zstream(&[&["-d", name], words].concat(), b"");
        File::options().write(true).open(&path).expect("the disk").set_len(len - (24 << 20)).expect("a size");
        let before = fs::read(&path).expect("the disk");
        let shown = run(&["pool", "show"]);
        let said = String::from_utf8_lossy(&shown.stderr);
        assert!(said.contains("disk.img (partition 1) is cut short: "), "{said}");
        let refused = run(&["snapshot", "tank/fs@new"]);
        assert!((refused.code, shown.code) == (1, 0));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("is cut short"));
        assert_eq!(run(&["pool", "check"]).code, 1);
        assert!(fs::read(&path).expect("the disk") == before, "nothing is written");
    }
}
