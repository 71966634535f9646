//! Sending from a pool whose metadata somebody forged, checksums and all. An input is a list of forgeries, 40 bytes each;
//! the first byte of the first says what is sent.
//!
//! ```text
//! plan u8   level i8   log2 of the width u8   0 u8[5]   object u64   block u64   offset u64   what is XORed u64
//! ```
//!
//! A block that cannot be read, because its pointer was forged, is made up: so what lies behind the checksums is reached.

use super::super::Rng;
use crate::golden;
use crate::sending::Sending;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use zstream_dmu::blkptr::{BLOCK_BYTES_MAX, BlockPointer};
use zstream_dmu::block::{Block, ReadBlock, Want};
use zstream_dmu::error::Result;
use zstream_dmu::ids::Bookmark;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::objset::Objset;
use zstream_dmu::traverse::{Options, Traverse};
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::record::{Body, TO_OBJECT_END};
use zstream_format::stream::StreamReader;
use zstream_send::plan::StreamPlan;
use zstream_send::{Progress, Sent, measure, send};

/// Bytes of one forgery in an input.
const FORGERY_BYTES: usize = 40;
/// Forgeries at once.
const MAX_FORGERIES: usize = 32;
/// What is sent.
const PLANS: [&str; 8] = [
    "tank/fs@a",
    "-L -e -c tank/rs512@s",
    "tank/rs1m@s",
    "-i @a tank/fs@b",
    "-i #redtwo tank/fs@b",
    "--redact redtwo tank/fs@a",
    "-w tank/e-aes-256-gcm@s",
    "-L -e -c tank/dn@s",
];
/// The largest stream that is looked at: a forged size can make a large one.
const STREAM_BYTES_MAX: usize = 16 << 20;

fn tank() -> &'static Sending {
    static TANK: OnceLock<Sending> = OnceLock::new();
    TANK.get_or_init(|| Sending::open(&golden::pool("tank")))
}

/// Bytes that are not what the checksum said.
#[derive(Debug, Clone, Copy)]
struct Forgery {
    at: (u64, i8, u64),
    offset: usize,
    width: usize,
    xor: u64,
}

/// Reads blocks and forges them.
struct Forger {
    inner: Arc<dyn ReadBlock>,
    forgeries: Vec<Forgery>,
}

impl Forger {
    fn forge(&self, read: Result<Block>, bp: &BlockPointer, at: Bookmark, want: Want) -> Result<Block> {
        // The sum that a pointer holds goes into the stream: where that is of the payload, it must be right.
        let is_summed = at.level == 0
            && at.object.0 != 0
            && bp.checksum_type() == ChecksumType::FLETCHER_4
            && (want != Want::Logical || bp.compression() == CompressionType::OFF);
        let made_up = || {
            let bytes = want.bytes_of(bp);
            let is_possible = bp.validate().is_ok() && !bp.is_hole() && bytes <= BLOCK_BYTES_MAX;
            (is_possible && !is_summed).then(|| vec![0; bytes as usize])
        };
        let mut bytes = match read {
            Ok(block) => block.to_vec(),
            Err(error) => made_up().ok_or(error)?,
        };
        let at = (at.object.0, at.level, at.block.0);
        for forgery in self.forgeries.iter().filter(|forgery| forgery.at == at) {
            let xor = forgery.xor.to_le_bytes();
            for (byte, xor) in bytes.iter_mut().skip(forgery.offset).zip(&xor[..forgery.width]) {
                *byte ^= xor;
            }
        }
        Ok(bytes.into())
    }
}

impl ReadBlock for Forger {
    fn read_block(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        self.forge(self.inner.read_block(bp, at), bp, at, Want::Logical)
    }

    fn read_stored(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        self.forge(self.inner.read_stored(bp, at), bp, at, Want::Stored)
    }

    fn read_compressed(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        self.forge(self.inner.read_compressed(bp, at), bp, at, Want::Compressed)
    }
}

/// Each block of metadata that a plan reads.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    let metadata = |(number, words): (usize, &&str)| {
        let objset = tank().plan(words).source.objset;
        let options = Options { locked: objset.is_locked(), ..Options::default() };
        let visits = Traverse::new(objset.reader().clone(), objset.objset_id(), *objset.root(), options);
        let mut inputs = Vec::new();
        for visit in visits.filter_map(Result::ok) {
            let at = visit.at;
            let is_metadata = at.level != 0 || at.object.0 == 0;
            if !visit.pointer.is_hole() && is_metadata && at.level != Bookmark::LEVEL_DNODE {
                let mut input = vec![number as u8, at.level.cast_unsigned(), 3, 0, 0, 0, 0, 0];
                for field in [at.object.0, at.block.0, 0, 0] {
                    input.extend_from_slice(&field.to_le_bytes());
                }
                inputs.push(input);
            }
        }
        inputs
    };
    PLANS.iter().enumerate().flat_map(metadata).collect()
}

/// Takes a few forgeries of others that belong to the same plan, and changes what they forge.
pub(super) fn mutate(input: &mut Vec<u8>, rng: &mut Rng, corpus: &[Vec<u8>]) {
    let plan = input.first().copied().unwrap_or(0);
    let same: Vec<&Vec<u8>> = corpus.iter().filter(|other| other.first() == Some(&plan)).collect();
    for _ in 0..rng.below(4) {
        if !same.is_empty() {
            input.extend_from_slice(rng.pick::<&Vec<u8>>(&same));
        }
    }
    for forgery in input.chunks_exact_mut(FORGERY_BYTES) {
        forgery[2] = rng.below(4) as u8;
        let (align, limit) = if rng.one_in(3) { (1, 512) } else { (8, 16 << 10) };
        // The first bytes of dnodes and the property words of pointers are what most depends on.
        let offset = match rng.below(3) {
            0 => rng.below(limit / align) * align,
            1 => rng.below(32) * 512 + rng.below(32),
            _ => rng.below(128) * 128 + 48 + rng.below(8),
        };
        forgery[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
        let xor = match rng.below(3) {
            0 => rng.u64(),
            1 => 1 << rng.below(64),
            _ => rng.u64() & 0xff,
        };
        forgery[32..40].copy_from_slice(&xor.to_le_bytes());
    }
}

/// A destination that takes so much and no more.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > STREAM_BYTES_MAX {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The plan over forged blocks; none where the objset cannot be opened any more.
fn plan(words: &str, forgeries: &[Forgery], threads: usize) -> Option<StreamPlan> {
    let mut plan = tank().plan(words);
    let objset = &plan.source.objset;
    let forger = Arc::new(Forger { inner: objset.reader().clone(), forgeries: forgeries.to_vec() });
    let (id, root) = (objset.objset_id(), *objset.root());
    let forged = if objset.is_locked() {
        Objset::open_locked(forger, id, root)
    } else {
        Objset::open(forger, id, root)
    };
    plan.source.objset = Arc::new(forged.ok()?);
    plan.options.threads = threads;
    // So that there is more than one batch.
    plan.options.queue_bytes = 1 << 20;
    Some(plan)
}

/// A send ends in an error or in a whole stream, and whether threads help does not count.
pub(super) fn run(input: &[u8]) {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
    let forgery = |bytes: &[u8]| Forgery {
        at: (number(&bytes[8..16]), bytes[1].cast_signed(), number(&bytes[16..24])),
        offset: number(&bytes[24..32]) as usize,
        width: 1 << (bytes[2] & 3),
        xor: number(&bytes[32..40]),
    };
    let forgeries: Vec<Forgery> =
        input.chunks_exact(FORGERY_BYTES).take(MAX_FORGERIES).map(forgery).collect();
    let words = PLANS[usize::from(input.first().copied().unwrap_or(0)) % PLANS.len()];
    let attempt = |threads: usize| {
        let mut out = Bounded(Vec::new());
        let sent = send(&plan(words, &forgeries, threads)?, &mut out, &Progress::default());
        Some((sent.map_err(|error| error.to_string()), out.0))
    };
    let alone = attempt(1);
    assert!(alone == attempt(3), "{words}: with threads it is another stream");
    let Some((Ok(sent), stream)) = alone else { return };
    let Some(plan) = plan(words, &forgeries, 1) else { return };
    let measured = measure(&plan, &Progress::default()).expect("what can be sent can be measured");
    assert_eq!(measured, sent, "{words}: measured, sent");
    assert_eq!(sent.bytes, stream.len() as u64);
    check(&stream, &sent);
}

/// A whole stream, in which no byte of an object has two records.
fn check(stream: &[u8], sent: &Sent) {
    let (mut reader, mut records) = (StreamReader::new(stream), 0);
    let mut ends = HashMap::new();
    while let Some(record) = reader.next().expect("a stream that can be read") {
        records += 1;
        let (object, offset, length) = match record.header.body() {
            Some(Body::Write(write)) => (write.object, write.offset, write.logical_size),
            Some(Body::WriteEmbedded(write)) => (write.object, write.offset, write.length),
            Some(Body::Free(free)) if free.length != TO_OBJECT_END => (free.object, free.offset, free.length),
            Some(Body::Redact(redact)) => (redact.object, redact.offset, redact.length),
            _ => continue,
        };
        let end = ends.entry(object).or_insert(0);
        assert!(offset >= *end, "object {object}: {offset} comes behind {end}");
        *end = offset.saturating_add(length);
    }
    assert_eq!(records, sent.records);
}
