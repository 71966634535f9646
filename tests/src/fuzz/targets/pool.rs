//! A whole pool with damaged members. An input is a list of damages, 16 bytes each:
//!
//! ```text
//! member u8   log2 of the length u8   what is XORed u8   0 u8[5]   byte offset u64 (little-endian)
//! ```

use super::super::Rng;
use crate::devices::{Patch, Patched};
use crate::golden;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use zstream_dmu::blkptr::{BlockKind, BlockPointer};
use zstream_dmu::block::{Block, ReadBlock};
use zstream_dmu::device::{Device, FileDevice};
use zstream_dmu::ids::Bookmark;
use zstream_dmu::pool::scan::examine;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::traverse::{Options, Traverse};
use zstream_dmu::vdev::Member;
use zstream_dsl::Dsl;
use zstream_zpl::node::{FileType, Node};
use zstream_zpl::{Filesystem, Visit};

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
#[derive(Debug, Clone)]
struct Damage {
    member: usize,
    patch: Patch,
}

fn open(kind: &Kind, damages: &[Damage]) -> zstream_dmu::error::Result<Pool> {
    let candidate = |(n, path): (usize, std::path::PathBuf)| {
        let inner = Arc::new(FileDevice::open(&path).expect("an image"));
        let patches = damages.iter().filter(|damage| damage.member == n).map(|damage| damage.patch.clone());
        let device: Arc<dyn Device> = Arc::new(Patched::over(inner, patches.collect()));
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
        .map(|visit| (visit.pointer, pool.reader().read_stored(&visit.pointer, Bookmark::root(0))))
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

fn damages(kind: &Kind, input: &[u8]) -> Vec<Damage> {
    let members = golden::pool(kind.name).len();
    let may_damage = if kind.redundancy == 0 { members } else { kind.redundancy };
    let damage = |bytes: &[u8]| {
        let start = u64::from_le_bytes(bytes[8..16].try_into().expect("8 bytes"));
        let length = 1u64 << u32::from(bytes[1]).min(MAX_LENGTH_SHIFT);
        // the first one that is named and, where more may be hit, those behind it
        let member = (input[0] as usize + bytes[0].wrapping_sub(input[0]) as usize % may_damage) % members;
        Damage { member, patch: Patch::Xor(start..start.saturating_add(length), bytes[2]) }
    };
    input.chunks_exact(DAMAGE_BYTES).take(MAX_DAMAGES).map(damage).collect()
}

/// No block is ever wrong, and with damage to no more members than the pool can lose every block is right.
pub(super) fn run(kind: &Kind, input: &[u8]) {
    let damages = damages(kind, input);
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

/// The snapshots whose files are looked at, one for an input.
const SNAPSHOTS: [&str; 6] =
    ["tank/fs@b", "tank/clone@x", "tank/dn@s", "tank/tree/child@2", "tank/c-zle@s", "tank/rs4k@s"];

/// What is to be had of a node: attributes, content, extended attributes.
type Seen = (Node, Option<Vec<u8>>, Vec<(Vec<u8>, Vec<u8>)>);

fn seen(fs: &Filesystem<'_>, node: Node) -> crate::errors::Result<Seen> {
    let content = match node.file_type() {
        Some(FileType::File) => {
            let content = fs.content(&node)?;
            let mut bytes = vec![0; usize::try_from(content.size()).unwrap_or(0)];
            let read = content.read(0, &mut bytes)?;
            assert_eq!(read, bytes.len());
            Some(Sha256::digest(&bytes).to_vec())
        }
        Some(FileType::Symlink) => Some(fs.target(&node)?),
        _ => None,
    };
    let xattrs = fs.xattrs(&node)?;
    let value = |xattr: &zstream_zpl::Xattr| fs.xattr_value(xattr).map(|value| (xattr.name.clone(), value));
    let xattrs = xattrs.iter().map(value).collect::<Result<_, _>>()?;
    Ok((node, content, xattrs))
}

/// The files of a snapshot by path; those that cannot be read are left out.
fn files(pool: &Pool, snapshot: &str) -> crate::errors::Result<HashMap<Vec<u8>, Seen>> {
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::default())?;
    let set = dsl.dataset(snapshot)?.objset()?;
    let fs = Filesystem::open(&*set)?;
    let root = fs.node(fs.root())?;
    let visits = fs.walk(root).filter_map(|visit| match visit {
        Visit::Node { path, node } => Some((path, seen(&fs, node).ok()?)),
        _ => None,
    });
    Ok(visits.collect())
}

/// Damages to blocks of files and of what leads to them.
pub(super) fn image_corpus() -> Vec<Vec<u8>> {
    let pool = open(&SINGLE, &[]).expect("the golden pool");
    let blocks = crate::blocks::blocks(&pool);
    let input = |pointer: &BlockPointer, shift: u8| {
        let damage = |dva: zstream_dmu::blkptr::Dva| {
            [&[0, shift, 0xff, 0, 0, 0, 0, 0][..], &(DATA_START + dva.offset()).to_le_bytes()].concat()
        };
        pointer.dvas().flat_map(damage).collect::<Vec<u8>>()
    };
    let every = blocks.iter().step_by(7).map(|(pointer, at)| input(pointer, at.block.0 as u8 % 13));
    corpus(&SINGLE).into_iter().step_by(9).chain(every).collect()
}

/// A file that can be read is the one that was written.
pub(super) fn run_image(input: &[u8]) {
    static WHOLE: OnceLock<HashMap<&'static str, HashMap<Vec<u8>, Seen>>> = OnceLock::new();
    let whole = WHOLE.get_or_init(|| {
        let pool = open(&SINGLE, &[]).expect("the golden pool");
        SNAPSHOTS.iter().map(|name| (*name, files(&pool, name).expect("a snapshot"))).collect()
    });
    let sum: usize = input.iter().map(|byte| usize::from(*byte)).sum();
    let snapshot = SNAPSHOTS[sum % SNAPSHOTS.len()];
    // A snapshot is the same in every transaction group that has it.
    let Ok(pool) = open(&SINGLE, &damages(&SINGLE, input)) else { return };
    let Ok(found) = files(&pool, snapshot) else { return };
    for (path, seen) in &found {
        let name = || String::from_utf8_lossy(path);
        let expected = whole[snapshot].get(path).unwrap_or_else(|| panic!("{snapshot} has no {}", name()));
        assert!(seen == expected, "{snapshot}: {} is another file", name());
    }
}
