//! A cache of blocks, bounded in bytes.
//!
//! The cache is divided into shards by key, so that threads rarely wait for each other. Each shard evicts blocks with
//! the clock algorithm: a block that was used since the hand last passed remains for another round. Blocks of one
//! class never evict blocks of the other, so reading a large file leaves indirect blocks and ZAPs in the cache.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Mutex;

use crate::block::Block;
use crate::lock::lock;

/// The default size of a cache in bytes.
pub(crate) const DEFAULT_BYTES: usize = 128 << 20;

/// The number of shards of each class.
const SHARDS: usize = 16;

/// The class of a block in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Content of files and volumes, most of which is used once.
    Data,
    /// Everything else, which is used repeatedly.
    Metadata,
}

/// A cache of blocks by key.
#[derive(Debug)]
pub(crate) struct Cache<K> {
    hasher: RandomState,
    data: Vec<Mutex<Shard<K>>>,
    metadata: Vec<Mutex<Shard<K>>>,
}

#[derive(Debug)]
struct Shard<K> {
    limit: usize,
    bytes: usize,
    blocks: HashMap<K, Entry>,
    /// The clock: every key once, with the hand at the front.
    clock: VecDeque<K>,
}

#[derive(Debug)]
struct Entry {
    block: Block,
    used: bool,
}

impl<K: Hash + Eq + Clone> Cache<K> {
    /// Creates a cache for at most `bytes` bytes of blocks, half of them for metadata.
    #[must_use]
    pub(crate) fn new(bytes: usize) -> Self {
        let shards = || {
            let limit = bytes / 2 / SHARDS;
            (0..SHARDS)
                .map(|_| {
                    Mutex::new(Shard { limit, bytes: 0, blocks: HashMap::new(), clock: VecDeque::new() })
                })
                .collect()
        };
        Self { hasher: RandomState::new(), data: shards(), metadata: shards() }
    }

    fn shard(&self, class: Class, key: &K) -> &Mutex<Shard<K>> {
        let shards = match class {
            Class::Data => &self.data,
            Class::Metadata => &self.metadata,
        };
        &shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    /// Returns the block with this key, if it is in the cache.
    #[must_use]
    pub(crate) fn get(&self, class: Class, key: &K) -> Option<Block> {
        let mut shard = lock(self.shard(class, key));
        let entry = shard.blocks.get_mut(key)?;
        entry.used = true;
        Some(Block::clone(&entry.block))
    }

    /// Inserts a block, unless it exceeds the size of a shard.
    pub(crate) fn insert(&self, class: Class, key: K, block: &Block) {
        let mut shard = lock(self.shard(class, &key));
        if block.len() > shard.limit || shard.blocks.contains_key(&key) {
            return;
        }
        shard.make_room(block.len());
        shard.bytes += block.len();
        shard.clock.push_back(key.clone());
        shard.blocks.insert(key, Entry { block: Block::clone(block), used: false });
    }

    /// Removes all blocks. This is required after keys are loaded or unloaded, which changes the content of blocks.
    pub(crate) fn clear(&self) {
        for shard in self.data.iter().chain(&self.metadata) {
            let mut shard = lock(shard);
            shard.blocks.clear();
            shard.clock.clear();
            shard.bytes = 0;
        }
    }

    /// Returns the size of all blocks in the cache in bytes.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let shards = self.data.iter().chain(&self.metadata);
        shards.map(|shard| lock(shard).bytes).sum()
    }
}

impl<K: Hash + Eq> Shard<K> {
    fn make_room(&mut self, wanted: usize) {
        while self.bytes + wanted > self.limit {
            let Some(key) = self.clock.pop_front() else { return };
            let Some(entry) = self.blocks.get_mut(&key) else { continue };
            if entry.used {
                entry.used = false;
                self.clock.push_back(key);
            } else {
                self.bytes -= entry.block.len();
                self.blocks.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_used_blocks_stay() {
        let cache = Cache::new(2 * SHARDS * 1000);
        let block = Block::from(vec![7; 100]);
        cache.insert(Class::Metadata, 0, &block);
        for key in 1..5000 {
            assert!(cache.get(Class::Metadata, &0).is_some(), "pushed out by {key} though in use");
            cache.insert(Class::Metadata, key, &block);
        }
        assert!(cache.bytes() <= SHARDS * 1000);
        assert!(cache.bytes() > SHARDS * 800);
    }

    #[test]
    fn data_does_not_push_out_metadata_nor_answer_for_it() {
        let cache = Cache::new(2 * SHARDS * 1000);
        cache.insert(Class::Metadata, 1, &Block::from(vec![1; 10]));
        for key in 0..5000 {
            cache.insert(Class::Data, key, &Block::from(vec![2; 500]));
        }
        assert_eq!(cache.get(Class::Metadata, &1).as_deref(), Some(&[1; 10][..]));
        assert!(cache.get(Class::Metadata, &2).is_none());
        cache.clear();
        assert_eq!(cache.bytes(), 0);
        assert!(cache.get(Class::Metadata, &1).is_none());
    }

    #[test]
    fn a_block_larger_than_a_shard_is_not_kept() {
        let cache = Cache::new(2 * SHARDS * 1000);
        cache.insert(Class::Data, 1, &Block::from(vec![0; 1001]));
        assert!(cache.get(Class::Data, &1).is_none());
    }
}
