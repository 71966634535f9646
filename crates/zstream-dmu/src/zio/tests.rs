//! Reading of blocks from a device in memory: every form of pointer, gang blocks, and input that must be rejected.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::checksum::{checksum, seal_embedded};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::header::{HEADER_BYTES_MIN, PIECES_MIN};
use super::*;
use crate::blkptr::{BlockPointer, Dva, NormalBlock};
use crate::block::ReadBlock;
use crate::cache;
use crate::device::{Device, MemoryDevice};
use crate::error::Fault;
use crate::ids::{BlockId, Bookmark, Guid, ObjectId, Txg};
use crate::vdev::{LEAF_DATA_START, Member, VdevTree};

const AT: Bookmark = Bookmark { objset: 5, object: ObjectId(7), level: 0, block: BlockId(9) };

/// A pool with one device, on which blocks are placed one after the other.
struct Bench {
    device: Arc<MemoryDevice>,
    next: Mutex<u64>,
    bad: Arc<Bad>,
    reader: BlockReader,
}

#[derive(Default)]
struct Bad(Mutex<Vec<String>>);

impl Observer for Bad {
    fn bad_copy(&self, _: &BlockPointer, at: Bookmark, copy: &BadCopy) {
        assert_eq!(at, AT);
        self.0.lock().unwrap().push(copy.to_string());
    }
}

impl Bench {
    fn new() -> Self {
        let device = Arc::new(MemoryDevice::new(LEAF_DATA_START as usize + (1 << 20)));
        let member = Member { name: "disk".to_owned(), device: Arc::clone(&device) as Arc<dyn Device> };
        let tops = [crate::vdev::tests::leaf(0, 1)];
        let tree = VdevTree::build(Guid(9), &tops, &HashMap::from([(Guid(1), member)]), 0).unwrap();
        let bad = Arc::new(Bad::default());
        let observer: Arc<dyn Observer> = Arc::clone(&bad) as _;
        let reader = BlockReader::new(Arc::new(tree), cache::DEFAULT_BYTES, Some(observer));
        Self { device, next: Mutex::new(0), bad, reader }
    }

    fn put(&self, bytes: &[u8]) -> Dva {
        let mut next = self.next.lock().unwrap();
        let asize = (bytes.len() as u64).next_multiple_of(512);
        let dva = Dva::new(0, *next, asize, false);
        self.device.write_at(LEAF_DATA_START + *next, bytes).unwrap();
        *next += asize;
        dva
    }

    fn damage(&self, dva: Dva) {
        let at = LEAF_DATA_START + dva.offset();
        let mut byte = [0];
        self.device.read_at(at, &mut byte).unwrap();
        self.device.write_at(at, &[!byte[0]]).unwrap();
    }

    fn pointer(&self, stored: &[u8], dvas: &[Dva]) -> NormalBlock {
        let mut places = [Dva::default(); 3];
        places[..dvas.len()].copy_from_slice(dvas);
        NormalBlock {
            dvas: places,
            lsize: stored.len() as u64,
            psize: stored.len() as u64,
            compression: CompressionType::OFF,
            checksum_type: ChecksumType::FLETCHER_4,
            object_type: ObjectType::PLAIN_FILE_CONTENTS,
            level: 0,
            dedup: false,
            uses_crypt: false,
            byte_order: ByteOrder::Little,
            logical_birth: Txg(20),
            physical_birth: Txg(0),
            fill: 1,
            checksum: sum(ChecksumType::FLETCHER_4, stored, ByteOrder::Little),
        }
    }

    /// Adds a gang block with these pieces, with `copies` copies of its header.
    fn gang(&self, whole: &[u8], pieces: &[BlockPointer], copies: usize) -> BlockPointer {
        let mut header = [0; HEADER_BYTES_MIN];
        for (bytes, piece) in header.chunks_exact_mut(128).zip(pieces) {
            bytes.copy_from_slice(&piece.encode(ByteOrder::Little));
        }
        let places: Vec<Dva> = (0..copies).map(|_| self.put(&header)).collect();
        let place = [0, places[0].offset(), 20, 0];
        seal_embedded(&mut header, place, ByteOrder::Little).unwrap();
        for dva in &places {
            self.device.write_at(LEAF_DATA_START + dva.offset(), &header).unwrap();
        }
        let gangs: Vec<Dva> = places.iter().map(|dva| Dva::new(0, dva.offset(), dva.asize(), true)).collect();
        BlockPointer::normal(&self.pointer(whole, &gangs))
    }

    fn piece(&self, bytes: &[u8]) -> BlockPointer {
        let dvas = [self.put(bytes), self.put(bytes)];
        BlockPointer::normal(&NormalBlock { object_type: ObjectType::NONE, ..self.pointer(bytes, &dvas) })
    }

    fn error(&self, bp: &BlockPointer) -> String {
        self.reader.read_block(bp, AT).expect_err("a refusal").to_string()
    }
}

fn sum(kind: ChecksumType, bytes: &[u8], order: ByteOrder) -> [u64; 4] {
    checksum(kind, bytes, order, None).unwrap().0
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 11 + i / 512) as u8).collect()
}

#[test]
fn a_bad_copy_is_reported_and_the_next_one_read() {
    let bench = Bench::new();
    let data = content(4096);
    let dvas = [bench.put(&data), bench.put(&data), bench.put(&data)];
    let bp = BlockPointer::normal(&bench.pointer(&data, &dvas));
    bench.damage(dvas[0]);
    assert_eq!(bench.reader.read_block(&bp, AT).unwrap()[..], data);
    assert!(
        bench.bad.0.lock().unwrap().concat().contains("copy 0:0:1000: 4096 bytes at offset 0x400000 of disk")
    );
    bench.damage(dvas[1]);
    bench.damage(dvas[2]);
    // The block is cached, but not its copies.
    assert_eq!(bench.reader.read_block(&bp, AT).unwrap()[..], data);
    let check = bench.reader.check_block(&bp, AT).unwrap();
    assert_eq!((check.copies, check.readable, check.bad.len()), (3, 0, 3));
    let error = bench.reader.read_stored(&bp, AT).unwrap_err();
    assert!(matches!(error.fault(), Fault::NoGoodCopy(copies) if copies.len() == 3));
    assert_eq!(error.place().bookmark, Some(AT));
}

#[test]
fn the_cache_never_answers_for_a_pointer_with_another_checksum() {
    let bench = Bench::new();
    let data = content(512);
    let block = bench.pointer(&data, &[bench.put(&data)]);
    bench.reader.read_block(&BlockPointer::normal(&block), AT).unwrap();
    let forged = NormalBlock { checksum: [1, 2, 3, 4], ..block };
    assert!(bench.error(&BlockPointer::normal(&forged)).contains("checksum fletcher4 is"));
}

#[test]
fn blocks_of_the_other_byte_order_come_swapped() {
    let bench = Bench::new();
    let data = content(1024);
    let dva = bench.put(&data);
    let big = NormalBlock {
        byte_order: ByteOrder::Big,
        object_type: ObjectType::BPOBJ,
        checksum: sum(ChecksumType::FLETCHER_4, &data, ByteOrder::Big),
        ..bench.pointer(&data, &[dva])
    };
    let swapped: Vec<u8> = data.chunks(8).flat_map(|word| word.iter().rev().copied()).collect();
    assert_eq!(bench.reader.read_block(&BlockPointer::normal(&big), AT).unwrap()[..], swapped);
    assert_eq!(bench.reader.read_stored(&BlockPointer::normal(&big), AT).unwrap()[..], data);
    // A file has data at level 0, and pointers above.
    let file = NormalBlock { object_type: ObjectType::PLAIN_FILE_CONTENTS, ..big };
    assert_eq!(bench.reader.read_block(&BlockPointer::normal(&file), AT).unwrap()[..], data);
    let indirect = NormalBlock { level: 1, ..file };
    assert_eq!(bench.reader.read_block(&BlockPointer::normal(&indirect), AT).unwrap()[..], swapped);
}

#[test]
fn the_checksum_of_an_encrypted_block_is_cut_in_half() {
    let bench = Bench::new();
    let data = content(512);
    let dva = bench.put(&data);
    for kind in [ChecksumType::FLETCHER_4, ChecksumType::SHA256] {
        let [a, b, c, d] = sum(kind, &data, ByteOrder::Little);
        let half = if kind == ChecksumType::SHA256 { [a, b] } else { [a ^ c, b ^ d] };
        let block = NormalBlock {
            uses_crypt: true,
            checksum_type: kind,
            checksum: [half[0], half[1], 0x1111, 0x2222],
            ..bench.pointer(&data, &[dva])
        };
        let bp = BlockPointer::normal(&block);
        assert_eq!(bench.reader.read_stored(&bp, AT).unwrap()[..], data);
        assert_eq!(
            bench.error(&bp),
            "ZFS plain file of dataset 5 is encrypted and its key is not loaded (objset 5 object 7 level 0 block 9)"
        );
        let wrong = NormalBlock { checksum: [half[0], half[1] ^ 1, 0x1111, 0x2222], ..block };
        assert!(bench.reader.read_stored(&BlockPointer::normal(&wrong), AT).is_err());
    }
}

#[test]
fn what_has_no_content_is_refused_by_what_it_is() {
    let bench = Bench::new();
    let file = ObjectType::PLAIN_FILE_CONTENTS;
    assert!(bench.error(&BlockPointer::EMPTY).starts_with("block pointer is a hole"));
    assert!(bench.error(&BlockPointer::redacted(file, 4096, Txg(3))).starts_with("block is redacted"));
    let data = content(512);
    let block = bench.pointer(&data, &[bench.put(&data)]);
    let huge = NormalBlock { lsize: 32 << 20, compression: CompressionType::LZ4, ..block };
    assert!(bench.error(&BlockPointer::normal(&huge)).contains("logical size 33554432"));
    let shorter = NormalBlock { lsize: 1024, ..block };
    assert!(bench.error(&BlockPointer::normal(&shorter)).contains("stored size is 512 bytes, expected 1024"));
    let log = NormalBlock { checksum_type: ChecksumType::ZILOG2, ..block };
    assert!(bench.error(&BlockPointer::normal(&log)).contains("no embedded checksum"));
    let label = NormalBlock { checksum_type: ChecksumType::LABEL, ..block };
    assert!(bench.error(&BlockPointer::normal(&label)).contains("checksum label"));
    let salted = NormalBlock { checksum_type: ChecksumType::SKEIN, ..block };
    assert!(bench.error(&BlockPointer::normal(&salted)).contains("salt"));
}

#[test]
fn embedded_content_is_expanded() {
    let bench = Bench::new();
    let file = ObjectType::PLAIN_FILE_CONTENTS;
    let plain = BlockPointer::embedded(b"hello", 5, CompressionType::OFF, file, 0, Txg(3)).unwrap();
    assert_eq!(&bench.reader.read_block(&plain, AT).unwrap()[..], b"hello");
    assert_eq!(bench.reader.check_block(&plain, AT).unwrap().copies, 0);
    // 64 literal bytes would be 0x3f; 0xff is 192 zeros.
    let zeros = BlockPointer::embedded(&[0xff], 192, CompressionType::ZLE, file, 0, Txg(3)).unwrap();
    assert_eq!(bench.reader.read_block(&zeros, AT).unwrap()[..], [0; 192]);
    assert_eq!(bench.reader.read_stored(&zeros, AT).unwrap()[..], [0xff]);
    let torn = BlockPointer::embedded(&[3, 1], 192, CompressionType::ZLE, file, 0, Txg(3)).unwrap();
    assert!(bench.error(&torn).contains("cannot decompress: zle"));
}

#[test]
fn gang_blocks_are_put_together_from_what_is_good() {
    let bench = Bench::new();
    let whole = content(5 * 512);
    // Nested: the second piece is a gang block again, and the third pointer is unused.
    let inner = bench.gang(&whole[512..], &[bench.piece(&whole[512..1536]), bench.piece(&whole[1536..])], 2);
    let inner_words = BlockPointer::normal(&NormalBlock {
        object_type: ObjectType::NONE,
        ..bench.pointer(&whole[512..], &[inner.dva(0), inner.dva(1)])
    });
    let first = bench.piece(&whole[..512]);
    let bp = bench.gang(&whole, &[first, inner_words], 2);
    assert!(bp.is_gang());
    assert_eq!(bench.reader.read_block(&bp, AT).unwrap()[..], whole);
    assert!(bench.reader.check_block(&bp, AT).unwrap().bad.is_empty());
    // A damaged header and a damaged piece each have another copy.
    bench.damage(bp.dva(0));
    bench.damage(first.dva(0));
    bench.damage(inner.dva(1));
    assert_eq!(bench.reader.read_stored(&bp, AT).unwrap()[..], whole);
    let check = bench.reader.check_block(&bp, AT).unwrap();
    assert_eq!((check.copies, check.readable), (2, 1));
    let damaged: Vec<u64> =
        check.bad.iter().flat_map(|copy| &copy.damage).map(|damage| damage.offset).collect();
    for dva in [bp.dva(0), first.dva(0), inner.dva(1)] {
        assert!(damaged.contains(&(LEAF_DATA_START + dva.offset())), "{damaged:x?}");
    }
    bench.damage(first.dva(1));
    assert!(bench.reader.read_stored(&bp, AT).is_err());
}

#[test]
fn a_block_is_written_again_where_it_lies_if_it_proves_to_be_the_same() {
    let bench = Bench::new();
    let data = content(4096);
    let dvas = [bench.put(&data), bench.put(&data)];
    let bp = BlockPointer::normal(&bench.pointer(&data, &dvas));
    let before = bench.device.to_vec();
    bench.damage(dvas[0]);
    bench.damage(dvas[1]);
    let damaged = bench.device.to_vec();
    let mut other = data.clone();
    other[77] ^= 1;
    let error = bench.reader.rewrite(&bp, AT, &other).unwrap_err();
    assert!(matches!(error.fault(), Fault::Checksum { .. }), "{error}");
    assert!(bench.reader.rewrite(&bp, AT, &data[..512]).is_err());
    let unsummed = NormalBlock { checksum_type: ChecksumType::OFF, ..bench.pointer(&data, &dvas) };
    assert!(bench.reader.rewrite(&BlockPointer::normal(&unsummed), AT, &data).is_err());
    assert!(bench.device.to_vec() == damaged, "nothing was written");
    bench.reader.rewrite(&bp, AT, &data).unwrap();
    assert!(bench.device.to_vec() == before);

    let pieces = [bench.piece(&data[..512]), bench.piece(&data[512..])];
    let gang = bench.gang(&data, &pieces, 2);
    let before = bench.device.to_vec();
    pieces.iter().flat_map(BlockPointer::dvas).for_each(|dva| bench.damage(dva));
    assert!(bench.reader.read_stored(&gang, AT).is_err());
    bench.reader.rewrite(&gang, AT, &data).unwrap();
    assert!(bench.device.to_vec() == before);
}

#[test]
fn gang_headers_that_do_not_fit_are_refused() {
    let bench = Bench::new();
    let whole = content(1024);
    let [half, rest] = [bench.piece(&whole[..512]), bench.piece(&whole[512..])];
    assert!(bench.error(&bench.gang(&whole, &[half], 1)).contains("pieces are 512 bytes, expected 1024"));
    assert!(bench.error(&bench.gang(&whole, &[half, rest, half], 1)).contains("expected at most 0"));
    assert!(bench.error(&bench.gang(&whole, &[rest, half], 1)).contains("checksum fletcher4"));
    let embedded =
        BlockPointer::embedded(b"x", 512, CompressionType::OFF, ObjectType::NONE, 0, Txg(3)).unwrap();
    assert!(bench.error(&bench.gang(&whole, &[half, embedded], 1)).contains("EMBEDDED"));
    // A header that contains itself three times ends at the maximum depth, without endless work.
    let offset = *bench.next.lock().unwrap();
    let itself = BlockPointer::normal(&bench.pointer(&whole, &[Dva::new(0, offset, 512, true)]));
    let endless = bench.gang(&whole, &[itself; PIECES_MIN], 1);
    assert_eq!(endless.dva(0), itself.dva(0));
    assert!(bench.error(&endless).contains("a piece is 1024 bytes, expected at most 0"));
    let offset = *bench.next.lock().unwrap();
    let itself = BlockPointer::normal(&bench.pointer(&whole, &[Dva::new(0, offset, 512, true)]));
    assert!(bench.error(&bench.gang(&whole, &[itself], 1)).contains("nested deeper"));
}
