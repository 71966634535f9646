//! Generated logs, in both formats and byte orders.

use std::collections::HashMap;
use std::sync::Arc;

use zstream_format::algorithm::CompressionType;
use zstream_format::checksum::EMBEDDED_MAGIC;
use zstream_format::object_type::ObjectType;

use super::*;
use crate::blkptr::{Dva, NormalBlock};
use crate::device::{Device, MemoryDevice};
use crate::ids::{Guid, ObjectId};
use crate::vdev::{LEAF_DATA_START, Member, VdevTree};
use crate::zio::BlockReader;

const BLOCK_BYTES: usize = 8192;

struct Disk {
    device: Arc<MemoryDevice>,
    reader: BlockReader,
}

impl Disk {
    fn new() -> Self {
        let device = Arc::new(MemoryDevice::new(LEAF_DATA_START as usize + (1 << 20)));
        let member = Member { name: "disk".to_owned(), device: Arc::clone(&device) as Arc<dyn Device> };
        let tops = [crate::vdev::tests::leaf(0, 1)];
        let tree = VdevTree::build(Guid(9), &tops, &HashMap::from([(Guid(1), member)]), 0).unwrap();
        Self { device, reader: BlockReader::new(Arc::new(tree), 1 << 20, None) }
    }

    fn write(&self, pointer: &BlockPointer, bytes: &[u8]) {
        self.device.write_at(LEAF_DATA_START + pointer.dva(0).offset(), bytes).unwrap();
    }

    /// The numbers of the blocks in the log; for data blocks, the object to which they belong.
    fn log(&self, header: &ZilHeader) -> Vec<(u64, u64, bool)> {
        blocks(&self.reader, 5, header)
            .map(|block| (block.at.object.0, block.at.block.0, block.is_claimed))
            .collect()
    }
}

fn pointer(kind: ChecksumType, order: ByteOrder, sequence: u64) -> BlockPointer {
    let dvas = [Dva::new(0, sequence << 14, BLOCK_BYTES as u64, false), Dva::default(), Dva::default()];
    BlockPointer::normal(&NormalBlock {
        dvas,
        lsize: BLOCK_BYTES as u64,
        psize: BLOCK_BYTES as u64,
        compression: CompressionType::OFF,
        checksum_type: kind,
        object_type: ObjectType::INTENT_LOG,
        level: 0,
        dedup: false,
        uses_crypt: false,
        byte_order: order,
        logical_birth: Txg(7),
        physical_birth: Txg(0),
        fill: 0,
        checksum: [0xa, 0xb, 5, sequence],
    })
}

/// A write record of `object` at 64 KiB, with the pointer of the data block.
fn record(order: ByteOrder, object: u64, data: &BlockPointer, number: u64) -> Vec<u8> {
    let record = LogRecord { kind: TX_WRITE | 1 << 63, len: LogWrite::LEN as u64, txg: Txg(7), number };
    let write =
        LogWrite { record, object: ObjectId(object), offset: 65536, pointer: *data, ..LogWrite::default() };
    write.to_bytes(order).to_vec()
}

/// A block with these records and the next pointer `next`.
fn block(
    kind: ChecksumType,
    order: ByteOrder,
    this: &BlockPointer,
    next: &BlockPointer,
    records: &[u8],
) -> Vec<u8> {
    let mut block = vec![0; BLOCK_BYTES];
    let at_end = kind == ChecksumType::ZILOG;
    let (at, start) = if at_end { (BLOCK_BYTES - ChainHeader::LEN, 0) } else { (0, ChainHeader::LEN) };
    block[start..start + records.len()].copy_from_slice(records);
    let embedded = EmbeddedChecksum { magic: EMBEDDED_MAGIC, checksum: Checksum::ZERO };
    let mut header = ChainHeader { pad: 0, next: *next, used: (start + records.len()) as u64, embedded };
    header.encode(&mut block[at..], order);
    let (sum, _) = Chain::sums(kind, &block, this.checksum()).unwrap();
    header.embedded.checksum = sum;
    header.encode(&mut block[at..], order);
    block
}

fn header(log: BlockPointer, claimed_to: Option<(u64, u64)>) -> ZilHeader {
    let (block, record) = claimed_to.unwrap_or_default();
    ZilHeader {
        claim_txg: Txg(if claimed_to.is_some() { 6 } else { 0 }),
        replay_seq: 0,
        log,
        claim_block_seq: block,
        flags: if claimed_to.is_some() { 2 } else { 0 },
        claim_record_seq: record,
        pad: [0; 3],
    }
}

#[test]
fn a_chain_is_followed_to_its_end_in_all_forms() {
    for kind in [ChecksumType::ZILOG, ChecksumType::ZILOG2] {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let disk = Disk::new();
            let chain: Vec<_> = (1..=4).map(|n| pointer(kind, order, n)).collect();
            for (n, pair) in chain.windows(2).enumerate() {
                let data = NormalBlock {
                    object_type: ObjectType::PLAIN_FILE_CONTENTS,
                    ..template(&pointer(ChecksumType::FLETCHER_4, order, 9 + n as u64))
                };
                let data = BlockPointer::normal(&data);
                let records = record(order, 70 + n as u64, &data, 1 + n as u64);
                disk.write(&pair[0], &block(kind, order, &pair[0], &pair[1], &records));
            }
            let unclaimed = header(chain[0], None);
            // The fourth block was only allocated.
            let all = [(0, 1), (70, 8), (0, 2), (71, 8), (0, 3), (72, 8), (0, 4)];
            assert_eq!(disk.log(&unclaimed), all.map(|(object, n)| (object, n, false)), "{kind} {order:?}");
            // The log was claimed up to the second block, before whose records it ends: the block may be unwritten.
            let claimed = header(chain[0], Some((2, 1)));
            assert_eq!(disk.log(&claimed), [(0, 1, true), (70, 8, true), (0, 2, false)]);
            // The record of the second block is the last one.
            let claimed = header(chain[0], Some((2, 2)));
            assert_eq!(disk.log(&claimed), [(0, 1, true), (70, 8, true), (0, 2, true), (71, 8, true)]);
            // A byte of the second block is corrupt: its records are ignored.
            disk.write(&chain[1], &[0xff]);
            assert_eq!(disk.log(&unclaimed), [(0, 1, false), (70, 8, false), (0, 2, false)]);
            let check = disk.reader.check_block(&chain[1], Bookmark::default()).unwrap();
            assert_eq!((check.copies, check.readable), (1, 0));
            assert_eq!(disk.reader.check_block(&chain[0], Bookmark::default()).unwrap().readable, 1);
        }
    }
}

/// A claim includes the block that was allocated for further records. It may be unwritten if all claimed records precede it.
#[test]
fn the_last_claimed_block_is_damaged_only_if_it_had_records() {
    let (kind, order) = (ChecksumType::ZILOG2, ByteOrder::Little);
    let disk = Disk::new();
    let chain: Vec<_> = (1..=3).map(|n| pointer(kind, order, n)).collect();
    let mut reserved = header(chain[0], Some((1, 0)));
    assert_eq!(disk.log(&reserved), [(0, 1, false)]);
    assert!(!has_records(&disk.reader, 5, &reserved));
    reserved.claim_record_seq = 1;
    assert_eq!(disk.log(&reserved), [(0, 1, true)]);
    assert!(has_records(&disk.reader, 5, &reserved));
    let data = pointer(ChecksumType::FLETCHER_4, order, 9);
    for (n, pair) in chain.windows(2).enumerate() {
        let records = record(order, 70, &data, 1 + n as u64);
        disk.write(&pair[0], &block(kind, order, &pair[0], &pair[1], &records));
    }
    let of_log = |claimed| {
        let log = disk.log(&header(chain[0], Some(claimed)));
        log.into_iter()
            .filter(|(object, ..)| *object == 0)
            .map(|(_, n, is_claimed)| (n, is_claimed))
            .collect()
    };
    let found: [Vec<_>; 2] = [of_log((3, 2)), of_log((3, 3))];
    assert_eq!(found, [[(1, true), (2, true), (3, false)], [(1, true), (2, true), (3, true)]]);
}

fn template(pointer: &BlockPointer) -> NormalBlock {
    NormalBlock {
        dvas: [pointer.dva(0), Dva::default(), Dva::default()],
        lsize: pointer.lsize(),
        psize: pointer.psize(),
        compression: pointer.compression(),
        checksum_type: pointer.checksum_type(),
        object_type: pointer.object_type(),
        level: 0,
        dedup: false,
        uses_crypt: false,
        byte_order: pointer.byte_order(),
        logical_birth: pointer.logical_birth(),
        physical_birth: Txg(0),
        fill: 0,
        checksum: pointer.checksum(),
    }
}

#[test]
fn another_log_s_block_is_none_of_this_one() {
    let (kind, order) = (ChecksumType::ZILOG2, ByteOrder::Little);
    let disk = Disk::new();
    let (first, second) = (pointer(kind, order, 1), pointer(kind, order, 2));
    let foreign = NormalBlock { checksum: [0xc, 0xb, 5, 2], ..template(&second) };
    // A link to a block of another log ends the chain.
    disk.write(&first, &block(kind, order, &first, &BlockPointer::normal(&foreign), &[]));
    assert_eq!(disk.log(&header(first, None)), [(0, 1, false)]);
    // A block from before, which is valid by itself, has another number.
    disk.write(&first, &block(kind, order, &first, &second, &[]));
    disk.write(&second, &block(kind, order, &pointer(kind, order, 3), &second, &[]));
    assert_eq!(disk.log(&header(first, None)), [(0, 1, false), (0, 2, false)]);
}

#[test]
fn records_that_make_no_sense_end_a_block() {
    let (kind, order) = (ChecksumType::ZILOG2, ByteOrder::Little);
    let disk = Disk::new();
    let (first, second) = (pointer(kind, order, 1), pointer(kind, order, 2));
    let good = record(order, 9, &second, 1);
    for len in [0, 31, 10_000, u64::MAX] {
        let mut bad = good.clone();
        order.put_u64(&mut bad[8..], len);
        let records = [&bad[..], &good[..]].concat();
        disk.write(&first, &block(kind, order, &first, &second, &records));
        assert_eq!(disk.log(&header(first, None)), [(0, 1, false), (0, 2, false)], "{len}");
    }
    for used in [0, 183, BLOCK_BYTES as u64 + 1, u64::MAX] {
        let mut bytes = block(kind, order, &first, &second, &good);
        order.put_u64(&mut bytes[ChainHeader::offset_of("used")..], used);
        assert!(Chain::sums(kind, &bytes, first.checksum()).is_err(), "{used}");
    }
}

#[test]
fn a_log_that_was_closed_in_order_has_no_records() {
    for kind in [ChecksumType::ZILOG, ChecksumType::ZILOG2] {
        let order = ByteOrder::Little;
        let disk = Disk::new();
        let chain: Vec<_> = (1..=3).map(|n| pointer(kind, order, n)).collect();
        let has = |header: &ZilHeader| has_records(&disk.reader, 5, header);
        assert!(!has(&ZilHeader::default()));
        // One log is reserved and not written, the next has no records.
        assert!(!has(&header(chain[0], None)));
        disk.write(&chain[0], &block(kind, order, &chain[0], &chain[1], &[]));
        assert!(!has(&header(chain[0], None)));
        // In a log that was claimed further, a missing block is damage.
        assert!(has(&header(chain[0], Some((2, 1)))));
        assert!(has(&ZilHeader { flags: 1, ..header(chain[0], None) }));
        let records = record(order, 70, &pointer(ChecksumType::FLETCHER_4, order, 9), 1);
        disk.write(&chain[1], &block(kind, order, &chain[1], &chain[2], &records));
        assert!(has(&header(chain[0], None)));
    }
}

zstream_format::round_trips! { ZilHeader, ChainHeader, LogRecord }
