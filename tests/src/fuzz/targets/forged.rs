//! What lies above blocks, fed with blocks of wrong content. An input is a list of changes, 12 bytes each:
//!
//! ```text
//! block u16   place u32   what u8   with u8   0 u8[4]
//! ```

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::forged::{self, Original};
use crate::golden;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dsl::Dsl;

/// Bytes of one change.
const CHANGE_BYTES: usize = 12;
/// Changes at once.
const CHANGES_MAX: usize = 32;
/// Words that fields are set to.
const WORDS: [u64; 10] =
    [0, 1, 2, 0xff, 1 << 16, u32::MAX as u64, 1 << 48, i64::MAX as u64, 1 << 63, u64::MAX];

fn pool() -> Pool {
    Pool::open(&golden::pool("tank"), &OpenOptions::default()).expect("the golden pool")
}

fn mos() -> &'static Original {
    static MOS: OnceLock<Original> = OnceLock::new();
    MOS.get_or_init(|| {
        let pool = pool();
        Original::read(&pool, 0, pool.uberblock().root)
    })
}

fn files() -> &'static Original {
    static FILES: OnceLock<Original> = OnceLock::new();
    FILES.get_or_init(|| {
        let pool = pool();
        let dsl = Dsl::open(pool.name(), pool.mos().clone(), Default::default()).expect("datasets");
        let dataset = dsl.dataset("tank/fs@b").expect("a snapshot");
        Original::read(&pool, dataset.object().0, dataset.phys().root)
    })
}

/// A change to each block of each set, at several places.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    let blocks = mos().blocks.len().max(files().blocks.len()) as u16;
    let change = |(block, place, what, with): (u16, u32, u8, u8)| {
        [&block.to_le_bytes()[..], &place.to_le_bytes(), &[what, with, 0, 0, 0, 0]].concat()
    };
    let each = |block| [(block, 0, 0, 0x80), (block, 24, 1, 9), (block, 130, 0, 1), (block, 64, 2, 0xff)];
    (0..blocks).step_by(3).flat_map(each).map(change).collect()
}

fn changed(original: &Original, input: &[u8]) -> BTreeMap<usize, Vec<u8>> {
    let mut forged: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    for change in input.chunks_exact(CHANGE_BYTES).take(CHANGES_MAX) {
        let number = |at: usize| u32::from_le_bytes(change[at..at + 4].try_into().expect("4 bytes")) as usize;
        let n = (number(0) & 0xffff) % original.blocks.len();
        let block = forged.entry(n).or_insert_with(|| original.blocks[n].1.to_vec());
        let (what, with) = (change[6], change[7]);
        let at = number(2) % block.len();
        match what % 4 {
            0 => block[at] ^= with,
            1 => {
                let at = at / 8 * 8;
                if let Some(word) = block.get_mut(at..at + 8) {
                    word.copy_from_slice(&WORDS[usize::from(with) % WORDS.len()].to_le_bytes());
                }
            }
            2 => {
                let end = (at + 16).min(block.len());
                block[at..end].fill(with);
            }
            _ => {
                // A part of the block once more.
                let from = usize::from(with) * 8 % block.len();
                let len = 64.min(block.len() - at).min(block.len() - from);
                block.copy_within(from..from + len, at);
            }
        }
    }
    forged
}

/// Names lead to the datasets that have them, or to an error.
pub(super) fn datasets(input: &[u8]) {
    if let Ok(mos) = mos().forge(changed(mos(), input)) {
        let _ = forged::look_at_datasets("tank", mos);
    }
}

/// Paths lead to the nodes that have them, or to an error.
pub(super) fn directories(input: &[u8]) {
    if let Ok(set) = files().forge(changed(files(), input)) {
        let _ = forged::look_at_files(&*set);
    }
}
