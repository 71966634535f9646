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
        assert!(said.contains("corrupt partition table: no copy is intact"), "{said}");
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

/// Where partitions begin and end: sectors of 512 bytes.
const SECTOR: u64 = 512;

/// A sector with a table of DOS: type, first sector, number of sectors of each partition.
fn dos_table(entries: &[(u8, u64, u64)]) -> Vec<u8> {
    let mut sector = vec![0; SECTOR as usize];
    for ((kind, first, count), at) in entries.iter().zip((446..).step_by(16)) {
        sector[at + 4] = *kind;
        LE.put_u32(&mut sector[at + 8..], *first as u32);
        LE.put_u32(&mut sector[at + 12..], *count as u32);
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn sum(label: &[u8]) -> u16 {
    label.chunks_exact(2).fold(0, |sum, word| sum ^ LE.u16(word))
}

/// A label of BSD: first sector, number of sectors, type of each slice.
fn bsd_label(slices: &[(u64, u64, u8)]) -> Vec<u8> {
    let mut label = vec![0; SECTOR as usize];
    for at in [0, 132] {
        LE.put_u32(&mut label[at..], 0x8256_4557);
    }
    LE.put_u32(&mut label[40..], SECTOR as u32);
    LE.put_u16(&mut label[138..], slices.len() as u16);
    for ((first, count, kind), at) in slices.iter().zip((148..).step_by(16)) {
        LE.put_u32(&mut label[at..], *count as u32);
        LE.put_u32(&mut label[at + 4..], *first as u32);
        label[at + 12] = *kind;
    }
    let sum = sum(&label);
    LE.put_u16(&mut label[136..], sum);
    label
}

/// A label of Solaris: first sector and number of sectors of each slice.
fn solaris_label(slices: &[(u64, u64)]) -> Vec<u8> {
    let mut label = vec![0; SECTOR as usize];
    LE.put_u32(&mut label[12..], 0x600d_deee);
    LE.put_u16(&mut label[30..], 16);
    for ((first, count), at) in slices.iter().zip((72..).step_by(12)) {
        LE.put_u32(&mut label[at + 4..], *first as u32);
        LE.put_u32(&mut label[at + 8..], *count as u32);
    }
    LE.put_u16(&mut label[508..], 0xdabe);
    let sum = sum(&label);
    LE.put_u16(&mut label[510..], sum);
    label
}

/// Tables without checksums, as old installations and virtual machines have them. The pool is read and written in its place, and
/// nothing around it changes.
#[test]
fn the_pool_in_partitions_of_dos_and_slices_is_read_and_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let small = dir.path().join("pool.img");
    let outcome = zstream(&["pool", "create", "--size", "64M", "tank", small.to_str().expect("UTF-8")], b"");
    assert_eq!(outcome.code, 0, "{}", String::from_utf8_lossy(&outcome.stderr));
    let pool = fs::read(&small).expect("the pool");
    let count = pool.len() as u64 / SECTOR;
    let path = dir.path().join("disk.img");
    let name = path.to_str().expect("UTF-8");
    let run = |words: &[&str]| zstream(&[&["-d", name], words].concat(), b"");
    let whole = 6000 + count + 8192;
    /// A name, where the pool begins, and what is written to which sectors.
    type Case = (&'static str, u64, Vec<(u64, Vec<u8>)>);
    let cases: Vec<Case> = vec![
        ("partition 1", 2048, vec![(0, dos_table(&[(0xbf, 2048, count)]))]),
        ("partition 2", 4096, vec![(0, dos_table(&[(0x83, 1, 100), (0xa5, 4096, count)]))]),
        (
            "partition 6",
            4096,
            vec![
                (0, dos_table(&[(0x83, 1, 100), (0x0f, 2000, whole - 2000)])),
                (2000, dos_table(&[(0x83, 8, 100), (0x05, 1000, count)])),
                (3000, dos_table(&[(0xbf, 1096, count)])),
            ],
        ),
        (
            "partition 1, slice d",
            4096,
            vec![
                (0, dos_table(&[(0xa5, 2048, whole - 2048)])),
                (2049, bsd_label(&[(0, 9, 7), (0, 0, 0), (0, whole - 2048, 0), (2048, count, 27)])),
            ],
        ),
        // Counted from the beginning of the disk.
        (
            "partition 1, slice a",
            4096,
            vec![
                (0, dos_table(&[(0xa9, 2048, whole - 2048)])),
                (2049, bsd_label(&[(4096, count, 27), (0, 0, 0), (2048, whole - 2048, 0)])),
            ],
        ),
        // The slice begins with the disk, in the part of the label of a pool that is left free for that.
        ("slice a", 0, vec![(1, bsd_label(&[(0, count, 27), (0, 0, 0), (0, whole, 0)]))]),
        (
            "partition 1, slice 0",
            2048 + 16,
            vec![(0, dos_table(&[(0xbf, 2048, whole - 2048)])), (2049, solaris_label(&[(16, count)]))],
        ),
    ];
    for (found, first, tables) in cases {
        let mut disk = vec![0x77; (whole * SECTOR) as usize];
        let (start, end) = ((first * SECTOR) as usize, ((first + count) * SECTOR) as usize);
        disk[start..end].copy_from_slice(&pool);
        // Neither a table nor a label of a slice lies where there was noise.
        if start > 0 {
            disk[..1024].fill(0);
        }
        for (sector, bytes) in &tables {
            disk[(sector * SECTOR) as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        fs::write(&path, &disk).expect("room");
        let shown = run(&["pool", "show"]);
        let text = String::from_utf8_lossy(&shown.stdout);
        let errors = String::from_utf8_lossy(&shown.stderr);
        assert!(text.contains(&format!("disk.img ({found})  ONLINE\n")), "{found}: {text}{errors}");
        assert_eq!(run(&["create", "tank/new"]).code, 0, "{found}");
        assert_eq!(run(&["pool", "check"]).code, 0, "{found}");
        let after = fs::read(&path).expect("the disk");
        assert!(after[..start] == disk[..start] && after[end..] == disk[end..], "{found}: written elsewhere");
        assert!(after[start..end] != disk[start..end], "{found}: not written");
        // All four labels are where the pool expects them.
        fs::write(&small, &after[start..end]).expect("room");
        let listed = zstream(&["-d", small.to_str().expect("UTF-8"), "list", "-H", "-o", "name"], b"");
        assert_eq!(listed.stdout, b"tank\ntank/new\n", "{found}");
    }
}

/// Tables that lead in a circle or off the disk are an error that says so.
#[test]
fn hostile_tables_of_dos_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("disk.img");
    let refused = |tables: &[(u64, Vec<u8>)]| {
        let mut disk = vec![0; 9 << 20];
        for (sector, bytes) in tables {
            disk[(sector * SECTOR) as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        fs::write(&path, &disk).expect("room");
        let outcome = zstream(&["-d", path.to_str().expect("UTF-8"), "list"], b"");
        assert_eq!(outcome.code, 1);
        String::from_utf8_lossy(&outcome.stderr).into_owned()
    };
    let circle = refused(&[
        (0, dos_table(&[(0x05, 100, 900)])),
        (100, dos_table(&[(0xbf, 1, 9), (0x05, 50, 9)])),
        (150, dos_table(&[(0xbf, 1, 9), (0x05, 0, 9)])),
    ]);
    assert!(circle.contains("none of its 2 partitions either; corrupt extended partition"), "{circle}");
    assert!(circle.contains("chain of logical partitions is circular"), "{circle}");
    let off = refused(&[(0, dos_table(&[(0xbf, 1, 9), (0x83, 0xffff_fff0, 0xffff_fff0)]))]);
    assert!(off.contains("partition 2 starts at"), "{off}");
    let chain = refused(&[
        (0, dos_table(&[(0x0f, 100, 900)])),
        (100, dos_table(&[(0xbf, 1, 9), (0x05, 0xffff_ffff, 9)])),
    ]);
    assert!(chain.contains("after the end of the disk"), "{chain}");
}

/// Images in other formats, volumes of other kinds, and streams are named, with what makes a member of them; also in a partition, and
/// in a directory that is searched.
#[test]
fn what_may_hold_a_pool_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let list = |path: &Path| {
        let outcome = zstream(&["-d", path.to_str().expect("UTF-8"), "list"], b"");
        assert_eq!(outcome.code, 1);
        String::from_utf8_lossy(&outcome.stderr).into_owned()
    };
    for (at, bytes, what, advice) in [
        (0, &b"QFI\xfb\0\0\0\x03"[..], "a qcow2 image", "qemu-img convert -O raw"),
        (0, b"KDMV", "a VMDK image", "qemu-nbd"),
        (64, b"\x7f\x10\xda\xbe", "a VDI image", "qemu-img"),
        (0, b"vhdxfile", "a VHDX image", "qemu-img"),
        (0, b"LUKS\xba\xbe\0\x02", "a LUKS container", "cryptsetup open"),
        (0x218, b"LVM2 001", "a physical volume of LVM", "vgchange"),
        (0, b"\xfd7zXZ\0", "a file compressed by xz", "decompress"),
    ] {
        let path = dir.path().join("file");
        let mut file = vec![0; 9 << 20];
        file[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(&path, &file).expect("room");
        let said = list(&path);
        assert!(said.contains(&format!("not a member of a pool: it is {what}")), "{said}");
        assert!(said.contains(advice), "{said}");
        let said = list(dir.path());
        assert!(said.contains(&format!("no pool found: {} is {what}", path.display())), "{said}");
        let mut disk = dos_table(&[(0x83, 8, 10_000)]);
        disk.resize(8 * SECTOR as usize, 0);
        disk.extend(&file);
        fs::write(&path, &disk).expect("room");
        let said = list(&path);
        assert!(said.contains(&format!("partition 1 is {what}")), "{said}");
    }
    fs::write(dir.path().join("file"), golden::stream("fs-full")).expect("room");
    assert!(list(dir.path()).contains("is a stream: read it with -f"));
}
