//! Records of intent logs. An input is the records one after the other, as in the blocks of a log; the headers of the blocks
//! are made right.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use zstream_dmu::Random;
use zstream_dmu::blkptr::{BlockPointer, Dva, NormalBlock};
use zstream_dmu::block::{Block, ReadBlock};
use zstream_dmu::device::{Device, FileDevice};
use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::{Bookmark, Txg};
use zstream_dmu::intent_log::{self, Record, ZilHeader};
use zstream_dmu::pool::{OpenOptions, Pool, WriteOptions};
use zstream_dmu::testing::OverlayDevice;
use zstream_dsl::Dsl;
use zstream_dsl::write::WritablePool;
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::checksum::EMBEDDED_MAGIC;
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_zpl::node::Time;
use zstream_zpl::writer::{Settings, Writer};
use zstream_zpl::{Filesystem, Visit};

use super::super::{Rng, mutate as ways};
use crate::created::open_writable;
use crate::golden;

const LE: ByteOrder = ByteOrder::Little;
/// The header of a block: where the next pointer, the number of bytes used and the magic number are.
const HEADER_BYTES: usize = 184;
const NEXT: usize = 8;
const USED: usize = 136;
const MAGIC: usize = 144;
/// The header of a record, with its length.
const RECORD_BYTES: usize = 32;
const LENGTH: usize = 8;
/// The longest log.
const LOG_BYTES_MAX: usize = 128 << 10;
/// The number of the dataset in pointers.
const DATASET: u64 = 54;
/// Nodes that are looked at.
const NODES_MAX: usize = 300;

fn members() -> [PathBuf; 1] {
    [golden::replayed_file("rgolden-1.img")]
}

/// The records of the log of the golden pool: each kind alone, and several in a row.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    let pool = Pool::open(&members(), &OpenOptions::default()).expect("the golden pool");
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::default()).expect("datasets");
    let head = dsl.head("rgolden").expect("the filesystem");
    let set = head.objset().expect("its objects");
    let log = intent_log::blocks(&**pool.reader(), head.object().0, &set.phys().zil);
    let blocks = log.filter(|block| block.at.level == Bookmark::LEVEL_ZIL);
    let blocks = blocks.filter(|block| block.pointer.checksum_type() == ChecksumType::ZILOG2);
    let mut kinds: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    let mut rows = Vec::new();
    for block in blocks {
        let Ok(bytes) = pool.reader().read_stored(&block.pointer, block.at) else { continue };
        let used = LE.u64(&bytes[USED..]) as usize;
        let records = split(&bytes[HEADER_BYTES.min(used)..used]);
        for record in &records {
            kinds.entry(LE.u64(record) & 0xff).or_default().push(record.to_vec());
        }
        rows.extend(records.chunks(5).take(2).map(<[&[u8]]>::concat));
    }
    assert!(kinds.len() > 12, "{} kinds of records", kinds.len());
    let few = kinds.into_values().flat_map(|all| all.into_iter().step_by(7).take(4));
    few.chain(rows).filter(|input| input.len() < LOG_BYTES_MAX / 4).collect()
}

/// The records, as far as their lengths are right.
fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while bytes.len() >= RECORD_BYTES {
        let length = usize::try_from(LE.u64(&bytes[LENGTH..])).unwrap_or(usize::MAX);
        if length < RECORD_BYTES || length > bytes.len() {
            break;
        }
        let (record, rest) = bytes.split_at(length);
        records.push(record);
        bytes = rest;
    }
    records
}

/// Damages bytes, and makes the length of most records right again.
pub(super) fn mutate(input: &mut Vec<u8>, rng: &mut Rng, corpus: &[Vec<u8>]) {
    if rng.one_in(3) {
        input.extend_from_slice(rng.pick::<Vec<u8>>(corpus));
    }
    let lengths: Vec<usize> = split(input).iter().map(|record| record.len()).collect();
    // A field of a record, most of the time.
    for _ in 0..rng.below(4) {
        if input.len() < RECORD_BYTES {
            break;
        }
        let at = rng.below(input.len() / 8) * 8;
        let word = [0, 1, 7, 4096, 1 << 20, 1 << 40, i64::MAX as u64, u64::MAX][rng.below(8)];
        LE.put_u64(&mut input[at..], if rng.one_in(2) { word } else { rng.u64() });
    }
    if rng.one_in(4) {
        ways::bytes(input, rng, corpus);
    }
    let mut at = 0;
    for length in lengths {
        if at + RECORD_BYTES <= input.len() && !rng.one_in(20) {
            LE.put_u64(&mut input[at + LENGTH..], length as u64);
        }
        at += length;
    }
    input.truncate(LOG_BYTES_MAX);
}

/// A log in memory: its blocks by their numbers, which pointers have as offsets. Other pointers lead into the pool.
struct Log<'a> {
    blocks: Vec<Block>,
    below: &'a dyn ReadBlock,
}

/// The pointer to the block of this number.
fn pointer(number: u64, bytes: usize) -> BlockPointer {
    BlockPointer::normal(&NormalBlock {
        dvas: [Dva::new(0, 512 * number, bytes as u64, false), Dva::default(), Dva::default()],
        lsize: bytes as u64,
        psize: bytes as u64,
        compression: CompressionType::OFF,
        checksum_type: ChecksumType::ZILOG2,
        object_type: ObjectType::INTENT_LOG,
        level: 0,
        dedup: false,
        uses_crypt: false,
        byte_order: LE,
        logical_birth: Txg(1),
        physical_birth: Txg(0),
        fill: 0,
        checksum: [1, 2, DATASET, number],
    })
}

impl<'a> Log<'a> {
    /// A block for each of these parts.
    fn of(parts: &[&[u8]], below: &'a dyn ReadBlock) -> (Self, ZilHeader) {
        let len = |part: &&[u8]| (HEADER_BYTES + part.len()).next_multiple_of(4096);
        let block = |(n, part): (usize, &&[u8])| {
            let mut bytes = vec![0; len(part)];
            let next = parts.get(n + 1).map_or(4096, len);
            bytes[NEXT..NEXT + 128].copy_from_slice(&pointer(n as u64 + 2, next).encode(LE));
            LE.put_u64(&mut bytes[USED..], (HEADER_BYTES + part.len()) as u64);
            LE.put_u64(&mut bytes[MAGIC..], EMBEDDED_MAGIC);
            bytes[HEADER_BYTES..HEADER_BYTES + part.len()].copy_from_slice(part);
            Block::from(bytes)
        };
        let blocks = parts.iter().enumerate().map(block).collect();
        let log = pointer(1, parts.first().map_or(4096, len));
        (Self { blocks, below }, ZilHeader { log, ..ZilHeader::default() })
    }

    fn records(&self, header: &ZilHeader) -> Vec<Result<Record, String>> {
        let records = intent_log::records(self, DATASET, header);
        records.map(|record| record.map_err(|error| error.fault().to_string())).collect()
    }
}

impl ReadBlock for Log<'_> {
    fn read_block(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        if bp.checksum_type() != ChecksumType::ZILOG2 {
            return self.below.read_block(bp, at);
        }
        let block = usize::try_from(at.block.0).ok().and_then(|n| self.blocks.get(n.checked_sub(1)?));
        block.cloned().ok_or_else(|| Error::internal("no log block"))
    }

    fn read_stored(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        self.read_block(bp, at)
    }
}

/// The pool that replays in memory only.
fn opened() -> WritablePool {
    let device = |path: &PathBuf| {
        let file = Arc::new(FileDevice::open(path).expect("a golden file"));
        Arc::new(OverlayDevice::new(file)) as Arc<dyn Device>
    };
    let writing = WriteOptions { force: true, rehearsal: true, ..WriteOptions::default() };
    open_writable(&members().each_ref().map(device), &writing).expect("the golden pool")
}

/// Records in one block are those in a block each. Replayed, they leave a filesystem, or give an error.
pub(super) fn run(input: &[u8]) {
    let input = &input[..input.len().min(LOG_BYTES_MAX)];
    let mut pool = opened();
    let head = pool.dsl().head("rgolden").expect("the filesystem").object();
    let reader = Arc::clone(pool.pool().reader());
    let parts = split(input);
    let whole = &input[..parts.iter().map(|part| part.len()).sum()];
    let (one, header) = Log::of(&[whole], &*reader);
    let records = one.records(&header);
    let (many, header) = Log::of(&parts, &*reader);
    assert_eq!(many.records(&header), records, "in a block each");

    let mut set = pool.open_to_replay(head).expect("its objects");
    let settings = Settings {
        record_bytes: 128 << 10,
        dn_slots: 1,
        xattrs_inline: true,
        now: Time { seconds: 1, nanoseconds: 0 },
    };
    let mut writer = Writer::open(&set, settings, Random::from_seed(1)).expect("a writer");
    let replayed = records.iter().flatten().try_for_each(|record| writer.replay(&mut set, &many, record));
    if replayed.is_ok() && writer.flush(&mut set).is_ok() {
        let fs = Filesystem::open(&set).expect("a filesystem");
        let root = fs.node(fs.root());
        for visit in root.into_iter().flat_map(|root| fs.walk(root)).take(NODES_MAX) {
            if let Visit::Node { node, .. } = visit {
                let _ = fs.xattrs(&node);
            }
        }
    }
}
