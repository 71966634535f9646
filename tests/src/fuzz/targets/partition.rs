//! Partition tables without checksums: MBR, and the labels of slices. An input is pieces of a disk: a sector's number (u16), and 512
//! bytes of it. The sums of labels are made right.

use std::sync::Arc;

use zstream_dmu::device::Device;
use zstream_dmu::pool::scan::examine;
use zstream_dmu::testing::container::recognize;
use zstream_dmu::testing::partition::parts;
use zstream_dmu::vdev::Member;
use zstream_format::order::ByteOrder;

use crate::devices::{Patch, Patched};

const SECTOR: usize = 512;
const DISK_BYTES: u64 = 1 << 20;
const PIECE_BYTES: usize = 2 + SECTOR;
const LE: ByteOrder = ByteOrder::Little;
/// More than any table can name: partitions of an MBR, counted in two sizes of sectors, each with the slices of a label, counted
/// from two places.
const PARTS_MAX: usize = (4 + 256) * 2 * (1 + 2 * 22);

fn piece(sector: u16) -> Vec<u8> {
    let mut piece = vec![0; PIECE_BYTES];
    LE.put_u16(&mut piece, sector);
    piece
}

/// A sector with a table of these entries: type, first sector, number of sectors.
fn table(sector: u16, entries: &[(u8, u32, u32)]) -> Vec<u8> {
    let mut piece = piece(sector);
    for ((kind, first, count), at) in entries.iter().zip((2 + 446..).step_by(16)) {
        piece[at + 4] = *kind;
        LE.put_u32(&mut piece[at + 8..], *first);
        LE.put_u32(&mut piece[at + 12..], *count);
    }
    piece[PIECE_BYTES - 2..].copy_from_slice(&[0x55, 0xaa]);
    piece
}

fn bsd(sector: u16, slices: &[(u32, u32, u8)]) -> Vec<u8> {
    let mut piece = piece(sector);
    for at in [2, 2 + 132] {
        LE.put_u32(&mut piece[at..], 0x8256_4557);
    }
    LE.put_u32(&mut piece[2 + 40..], 512);
    LE.put_u16(&mut piece[2 + 138..], slices.len() as u16);
    for ((first, count, kind), at) in slices.iter().zip((2 + 148..).step_by(16)) {
        LE.put_u32(&mut piece[at..], *count);
        LE.put_u32(&mut piece[at + 4..], *first);
        piece[at + 12] = *kind;
    }
    piece
}

fn solaris(sector: u16, slices: &[(u32, u32)]) -> Vec<u8> {
    let mut piece = piece(sector);
    LE.put_u32(&mut piece[2 + 12..], 0x600d_deee);
    LE.put_u16(&mut piece[2 + 30..], 16);
    for ((first, count), at) in slices.iter().zip((2 + 72..).step_by(12)) {
        LE.put_u32(&mut piece[at + 4..], *first);
        LE.put_u32(&mut piece[at + 8..], *count);
    }
    LE.put_u16(&mut piece[2 + 508..], 0xdabe);
    piece
}

/// Primary and logical partitions, a chain that leads back, slices in partitions and on the disk itself.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    let primary = table(0, &[(0xbf, 8, 100), (0xa5, 200, 300), (0x0f, 600, 900), (0x83, 1600, 9000)]);
    let logical =
        [table(600, &[(0xa5, 8, 90), (0x05, 100, 100)]), table(700, &[(0xbf, 8, 90), (0x05, 0, 100)])];
    vec![
        [primary.clone(), logical.concat()].concat(),
        [primary, solaris(9, &[(8, 50), (58, 40)]), bsd(201, &[(16, 90, 27), (0, 0, 0), (0, 300, 0)])]
            .concat(),
        bsd(1, &[(0, 1000, 27), (1000, 1000, 7), (0, 2048, 0), (1500, 9000, 27)]),
        [table(0, &[(0xa5, 8, 2000)]), bsd(9, &[(24, 900, 27), (0, 0, 0), (8, 2000, 0)])].concat(),
    ]
}

/// Makes the sum of a label right, if the sector is one.
fn seal(sector: &mut [u8]) {
    let sum = |bytes: &[u8]| bytes.chunks_exact(2).fold(0, |sum, word| sum ^ LE.u16(word));
    if LE.u32(sector) == 0x8256_4557 {
        let end = 148 + usize::from(LE.u16(&sector[138..])) * 16;
        if let Some(label) = sector.get_mut(..end) {
            LE.put_u16(&mut label[136..], 0);
            let sum = sum(label);
            LE.put_u16(&mut label[136..], sum);
        }
    } else if LE.u32(&sector[12..]) == 0x600d_deee {
        LE.put_u16(&mut sector[510..], 0);
        let sum = sum(sector);
        LE.put_u16(&mut sector[510..], sum);
    }
}

/// Parts lie on the disk, each once, and there are not more of them than a table has room for.
pub(super) fn run(input: &[u8]) {
    let patches = input.chunks_exact(PIECE_BYTES).map(|piece| {
        let mut sector = piece[2..].to_vec();
        seal(&mut sector);
        Patch::Replace(u64::from(LE.u16(piece)) % (DISK_BYTES / SECTOR as u64) * SECTOR as u64, sector)
    });
    let disk = Patched::zeros(DISK_BYTES, patches.collect());
    let found = parts(&disk).expect("the disk can be read");
    for (n, part) in found.list.iter().enumerate() {
        let end = part.start.checked_add(part.len);
        assert!(part.len > 0 && end.is_some_and(|end| end <= disk.len()), "{part:?}");
        assert!(n >= 64 || !found.list[..n].contains(part), "{part:?} twice");
    }
    assert!(found.list.len() <= PARTS_MAX, "{} parts", found.list.len());
    let again = parts(&disk).expect("the disk can be read");
    assert_eq!((again.list, again.count), (found.list, found.count));
    // The disk is too small for labels, so that it is no member whatever it says.
    let container = recognize(&disk);
    let refused = examine(Member { name: "disk".to_owned(), device: Arc::new(disk) }).expect_err("no labels");
    let refused = refused.to_string();
    assert!(container.is_none_or(|container| refused.contains(container.what)), "{refused}");
}
