//! A whole pool with damaged members. An input is a list of damages, 16 bytes each:
//!
//! ```text
//! member u8   log2 of the length u8   what is XORed u8   0 u8[5]   byte offset u64 (little-endian)
//! ```

use super::super::Rng;
use crate::golden;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, OnceLock};
use zstream_dmu::blkptr::{BlockKind, BlockPointer};
use zstream_dmu::device::{Device, FileDevice};
use zstream_dmu::ids::Bookmark;
use zstream_dmu::pool::scan::examine;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::traverse::{Options, Traverse};
use zstream_dmu::vdev::Member;
use zstream_dmu::zio::{Block, ReadBlock};

/// Bytes of one damage in an input.
const DAMAGE_BYTES: usize = 16;
/// Damages at once.
const MAX_DAMAGES: usize = 64;
/// The longest damage.
const MAX_LENGTH_SHIFT: u32 = 20;
/// Where a vdev's data begins on its members.
const DATA_START: u64 = 4 << 20;
/// Cache of an opened pool.
const CACHE_BYTES: usize = 2 << 20;

/// A golden pool and how many of its members may be damaged without loss.
pub(super) struct Kind {
    name: &'static str,
    redundancy: usize,
    whole: OnceLock<HashMap<BlockPointer, Block>>,
}

/// One file: what is damaged is lost, unless there is another copy.
pub(super) static SINGLE: Kind = Kind { name: "tank", redundancy: 0, whole: OnceLock::new() };
/// Damage to two members loses nothing.
pub(super) static RAIDZ2: Kind = Kind { name: "praidz2", redundancy: 2, whole: OnceLock::new() };

/// A range of bytes that are not what they were.
#[derive(Debug, Clone, Copy)]
struct Damage {
    member: usize,
    start: u64,
    end: u64,
    xor: u8,
}

/// A member with its damages.
#[derive(Debug)]
struct Damaged {
    inner: FileDevice,
    damages: Vec<Damage>,
}

impl Device for Damaged {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, out)?;
        for damage in &self.damages {
            let end = offset + out.len() as u64;
            let (from, to) = (damage.start.max(offset), damage.end.min(end));
            if from < to {
                out[(from - offset) as usize..(to - offset) as usize]
                    .iter_mut()
                    .for_each(|b| *b ^= damage.xor);
            }
        }
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }
}

fn open(kind: &Kind, damages: &[Damage]) -> zstream_dmu::error::Result<Pool> {
    let candidate = |(n, path): (usize, std::path::PathBuf)| {
        let inner = FileDevice::open(&path).expect("an image");
        let damages = damages.iter().copied().filter(|damage| damage.member == n).collect();
        let device: Arc<dyn Device> = Arc::new(Damaged { inner, damages });
        // without any label it is a missing member, as in a directory that is searched
        examine(Member { name: path.display().to_string(), device }).ok()
    };
    let candidates = golden::pool(kind.name).into_iter().enumerate().filter_map(candidate).collect();
    Pool::open_candidates(candidates, &OpenOptions { cache_bytes: CACHE_BYTES, ..OpenOptions::default() })
}

/// The blocks of the MOS with their stored content, or the errors in their place.
fn blocks(pool: &Pool) -> Vec<(BlockPointer, zstream_dmu::error::Result<Block>)> {
    let reader: Arc<dyn ReadBlock> = pool.reader().clone();
    Traverse::new(reader, 0, pool.uberblock().root, Options::default())
        .filter_map(Result::ok)
        .filter(|visit| visit.pointer.kind() == BlockKind::Normal)
        .map(|visit| (visit.pointer, pool.read_stored(&visit.pointer, Bookmark::root(0))))
        .collect()
}

/// The blocks of the MOS when nothing is damaged.
fn whole(kind: &Kind) -> &HashMap<BlockPointer, Block> {
    kind.whole.get_or_init(|| {
        let pool = open(kind, &[]).expect("the golden pool");
        blocks(&pool).into_iter().map(|(pointer, block)| (pointer, block.expect("a whole block"))).collect()
    })
}

/// Damages to labels, to uberblocks, and to each block of the MOS.
pub(super) fn corpus(kind: &'static Kind) -> Vec<Vec<u8>> {
    let size = golden::pool(kind.name)[0].metadata().expect("an image").len();
    let input = |member: u64, shift: u8, at: u64| {
        [&[member as u8, shift, 0xff, 0, 0, 0, 0, 0][..], &at.to_le_bytes()].concat()
    };
    let labels = [16 << 10, 128 << 10, 272 << 10, 384 << 10, size - (496 << 10), size - (128 << 10)];
    let mut inputs: Vec<Vec<u8>> = labels.iter().map(|at| input(0, 10, *at)).collect();
    inputs.push(labels.iter().flat_map(|at| input(1, 14, *at)).collect());
    let members = golden::pool(kind.name).len() as u64;
    for pointer in whole(kind).keys() {
        let at = pointer.dva(0).offset();
        // in a raidz the sectors of 4 KiB go round the members
        let (member, at) =
            if members == 1 { (0, at) } else { (at / 4096 % members, at / 4096 / members * 4096) };
        inputs.push(input(member, 9, DATA_START + at));
    }
    inputs.sort();
    inputs
}

/// Takes a few damages of others, moves and stretches them.
pub(super) fn mutate(input: &mut Vec<u8>, rng: &mut Rng, corpus: &[Vec<u8>]) {
    for _ in 0..rng.below(12) {
        input.extend_from_slice(rng.pick::<Vec<u8>>(corpus));
    }
    for damage in input.chunks_exact_mut(DAMAGE_BYTES) {
        match rng.below(6) {
            0 => damage[0] = rng.below(8) as u8,
            1 => damage[1] = rng.below(MAX_LENGTH_SHIFT as usize + 1) as u8,
            2 => damage[2] = 1 << rng.below(8),
            3 => damage[8..10].copy_from_slice(&(rng.u64() as u16).to_le_bytes()),
            4 => damage[8..].copy_from_slice(&(rng.u64() % (160 << 20)).to_le_bytes()),
            _ => {}
        }
    }
}

/// No block is ever wrong, and with damage to no more members than the pool can lose every block is right.
pub(super) fn run(kind: &Kind, input: &[u8]) {
    let members = golden::pool(kind.name).len();
    let may_damage = if kind.redundancy == 0 { members } else { kind.redundancy };
    let damage = |bytes: &[u8]| {
        let start = u64::from_le_bytes(bytes[8..16].try_into().expect("8 bytes"));
        let length = 1u64 << u32::from(bytes[1]).min(MAX_LENGTH_SHIFT);
        // the first one that is named and, where more may be hit, those behind it
        let member = (input[0] as usize + bytes[0].wrapping_sub(input[0]) as usize % may_damage) % members;
        Damage { member, start, end: start.saturating_add(length), xor: bytes[2] }
    };
    let damages: Vec<Damage> = input.chunks_exact(DAMAGE_BYTES).take(MAX_DAMAGES).map(damage).collect();
    let whole = whole(kind);
    let pool = match open(kind, &damages) {
        Ok(pool) => pool,
        Err(error) => {
            assert_eq!(kind.redundancy, 0, "not opened: {error}");
            return;
        }
    };
    let found = blocks(&pool);
    for (pointer, block) in &found {
        match (block, whole.get(pointer)) {
            (Ok(block), Some(expected)) => assert!(block == expected, "another block at {pointer:?}"),
            (Ok(_), None) => assert_eq!(kind.redundancy, 0, "an older pool"),
            (Err(error), _) => assert_eq!(kind.redundancy, 0, "{error}"),
        }
    }
    assert!(kind.redundancy == 0 || found.len() >= whole.len(), "{} of {} blocks", found.len(), whole.len());
}
