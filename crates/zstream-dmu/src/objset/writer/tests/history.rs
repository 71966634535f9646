//! Random histories, which are compared with a model in memory.

use proptest::prelude::*;
use zstream_format::algorithm::{CompressionType, CryptSuite};

use super::*;
use crate::block::StoredBlock;
use crate::dnode::NewObject;
use crate::ids::Guid;
use crate::object_store::{Kept, ObjectStore};
use crate::zio::write::Protection;

#[derive(Clone, Debug)]
enum Step {
    Allocate { kind: u8 },
    Claim { object: u64, kind: u8 },
    Free { pick: usize },
    Reclaim { pick: usize, kind: u8, kept: Kept },
    Write { pick: usize, offset: u64, length: usize, byte: u8 },
    Noise { pick: usize, block: u64, count: u64, seed: u8 },
    FreeRange { pick: usize, offset: u64, length: u64 },
    Truncate { pick: usize, offset: u64 },
    BlockSize { pick: usize, sectors: u32 },
    Bonus { pick: usize, length: usize, byte: u8 },
    Spill { pick: usize, sectors: usize, byte: u8 },
    Algorithms { pick: usize, compression: usize },
    Sync,
    NextTxg,
}

fn step() -> impl Strategy<Value = Step> {
    let pick = || 0_usize..64;
    // The offsets require several levels of indirect blocks of 4 KiB.
    let offset =
        || prop_oneof![0_u64..20_000, 0_u64..400_000, Just(3 << 20), (1_u64 << 30)..(1 << 30) + 9000];
    prop_oneof![
        2 => (0_u8..8).prop_map(|kind| Step::Allocate { kind }),
        2 => (1_u64..200, 0_u8..8).prop_map(|(object, kind)| Step::Claim { object, kind }),
        2 => pick().prop_map(|pick| Step::Free { pick }),
        2 => (pick(), 0_u8..8, any::<bool>(), any::<bool>())
            .prop_map(|(pick, kind, content, spill)| Step::Reclaim { pick, kind, kept: Kept { content, spill } }),
        8 => (pick(), offset(), 1_usize..9000, 0_u8..4)
            .prop_map(|(pick, offset, length, byte)| Step::Write { pick, offset, length, byte }),
        4 => (pick(), 0_u64..300, 1_u64..40, any::<u8>())
            .prop_map(|(pick, block, count, seed)| Step::Noise { pick, block, count, seed }),
        5 => (pick(), offset(), prop_oneof![1_u64..9000, 1_u64..900_000, Just(1 << 30)])
            .prop_map(|(pick, offset, length)| Step::FreeRange { pick, offset, length }),
        3 => (pick(), offset()).prop_map(|(pick, offset)| Step::Truncate { pick, offset }),
        2 => (pick(), 1_u32..10).prop_map(|(pick, sectors)| Step::BlockSize { pick, sectors }),
        2 => (pick(), 0_usize..330, any::<u8>())
            .prop_map(|(pick, length, byte)| Step::Bonus { pick, length, byte }),
        2 => (pick(), 0_usize..4, any::<u8>()).prop_map(|(pick, sectors, byte)| Step::Spill { pick, sectors, byte }),
        1 => (pick(), 0_usize..4).prop_map(|(pick, compression)| Step::Algorithms { pick, compression }),
        2 => Just(Step::Sync),
        4 => Just(Step::NextTxg),
    ]
}

fn new_object(kind: u8) -> NewObject {
    let new = NewObject {
        indirect_shift: 12,
        ..NewObject::new(
            ObjectType::PLAIN_FILE_CONTENTS,
            [512, 4096, 1024, 1536, 512, 2048, 512, 512][usize::from(kind)],
        )
    };
    match kind {
        0 => new.with_bonus(ObjectType::SA, 100),
        1 => NewObject { dn_slots: 2, ..new }.with_bonus(ObjectType::SA, 300),
        2 => new,
        3 => new.with_bonus(ObjectType::ZNODE, 192),
        4 => NewObject { dn_slots: 16, ..new }.with_bonus(ObjectType::SA, 0),
        5 => NewObject { object_type: ObjectType::DIRECTORY_CONTENTS, ..new }.with_bonus(ObjectType::SA, 16),
        // Objects that differ only in their number of block pointers.
        6 => new.with_bonus(ObjectType::ZNODE, 192),
        _ => NewObject { dn_slots: 2, ..new },
    }
}

fn noise(block_bytes: u64, seed: u8, block: u64) -> Vec<u8> {
    let mut state = u64::from(seed) << 32 | block | 1;
    (0..block_bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

impl Model {
    fn of(new: &NewObject) -> Self {
        Self {
            object_type: new.object_type,
            block_bytes: u64::from(new.block_bytes),
            bonus_type: new.bonus_type,
            bonus: vec![0; usize::from(new.bonus_len)],
            slots: new.dn_slots.max(1),
            ..Self::default()
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (n, byte) in bytes.iter().enumerate() {
            let at = offset + n as u64;
            let size = self.block_bytes;
            let block = self.blocks.entry(at / size).or_insert_with(|| vec![0; size as usize]);
            block[(at % size) as usize] = *byte;
        }
        self.max_block = self.max_block.max((offset + bytes.len() as u64 - 1) / self.block_bytes);
        self.tidy();
    }

    fn tidy(&mut self) {
        self.blocks.retain(|_, block| block.iter().any(|byte| *byte != 0));
    }

    fn free(&mut self, offset: u64, end: Option<u64>) {
        let size = self.block_bytes;
        let limit = (self.max_block + 1) * size;
        let reaches_end = end.is_none_or(|end| end >= limit);
        let end = end.unwrap_or(limit).min(limit);
        if offset >= limit {
            return;
        }
        for (block, content) in &mut self.blocks {
            for (n, byte) in (block * size..).zip(content) {
                if n >= offset && n < end {
                    *byte = 0;
                }
            }
        }
        let first = offset.div_ceil(size);
        if reaches_end && first <= self.max_block {
            self.max_block = first.saturating_sub(1);
        }
        self.tidy();
    }
}

struct History {
    bench: Bench,
    model: BTreeMap<u64, Model>,
}

impl History {
    fn pick(&self, pick: usize) -> Option<ObjectId> {
        let count = self.model.len();
        (count > 0).then(|| ObjectId(*self.model.keys().nth(pick % count).unwrap()))
    }

    fn is_free(&self, object: u64, slots: u64) -> bool {
        object % 32 + slots <= 32
            && self
                .model
                .iter()
                .all(|(other, model)| object + slots <= *other || other + u64::from(model.slots) <= object)
    }

    #[expect(clippy::too_many_lines, reason = "a table: one arm for each kind of step")]
    fn run(&mut self, step: &Step) {
        let set = &mut self.bench.set;
        match *step {
            Step::Allocate { kind } => {
                let new = new_object(kind);
                let object = set.allocate(&new).unwrap();
                assert!(object.0 >= 32 && self.is_free(object.0, u64::from(new.dn_slots.max(1))));
                self.model.insert(object.0, Model::of(&new));
            }
            Step::Claim { object, kind } => {
                let new = new_object(kind);
                let result = set.claim(ObjectId(object), &new);
                assert_eq!(
                    result.is_ok(),
                    self.is_free(object, u64::from(new.dn_slots.max(1))),
                    "{result:?}"
                );
                if result.is_ok() {
                    self.model.insert(object, Model::of(&new));
                }
            }
            Step::Sync | Step::NextTxg => {
                assert_eq!(model_of(set), self.model, "before the sync");
                let synced = self.bench.sync();
                assert_eq!(model_of(&synced), self.model, "on disk");
                assert_eq!(model_of(&self.bench.set), self.model, "after the sync");
                if matches!(step, Step::NextTxg) {
                    self.bench.next_txg();
                }
            }
            _ => {}
        }
        let (Step::Free { pick }
        | Step::Reclaim { pick, .. }
        | Step::Write { pick, .. }
        | Step::Noise { pick, .. }
        | Step::FreeRange { pick, .. }
        | Step::Truncate { pick, .. }
        | Step::BlockSize { pick, .. }
        | Step::Bonus { pick, .. }
        | Step::Spill { pick, .. }
        | Step::Algorithms { pick, .. }) = *step
        else {
            return;
        };
        let Some(object) = self.pick(pick) else { return };
        let mut others = self.model.clone();
        let mut model = others.remove(&object.0).unwrap();
        let set = &mut self.bench.set;
        match *step {
            Step::Free { .. } => {
                set.free(object).unwrap();
                self.model = others;
                return;
            }
            Step::Reclaim { kind, kept, .. } => {
                let new = new_object(kind);
                let slots = u64::from(new.dn_slots.max(1));
                let fits = object.0 % 32 + slots <= 32
                    && others.iter().all(|(other, model)| {
                        object.0 + slots <= *other || other + u64::from(model.slots) <= object.0
                    });
                let room = 512 * slots as usize - 64 - 128 - usize::from(new.bonus_len);
                let fits = fits && !(kept.spill && model.spill.is_some() && room < 128);
                let result = set.reclaim(object, &new, kept);
                if !fits {
                    // With three pointers and no bonus, there is no space for a spill pointer either.
                    assert!(result.is_err());
                    return;
                }
                if result.is_err() {
                    assert!(kept.spill && model.spill.is_some(), "{result:?}");
                    return;
                }
                let mut fresh = Model::of(&new);
                if kept.content
                    && fresh.object_type == model.object_type
                    && fresh.block_bytes == model.block_bytes
                {
                    fresh.max_block = model.max_block;
                    fresh.blocks = model.blocks;
                }
                fresh.spill = if kept.spill { model.spill } else { None };
                model = fresh;
            }
            Step::Write { offset, length, byte, .. } => {
                let bytes = vec![byte; length];
                let result = set.write(object, offset, &bytes);
                let fits = model.block_bytes.is_power_of_two() || offset + length as u64 <= model.block_bytes;
                assert_eq!(result.is_ok(), fits, "{result:?}");
                if fits {
                    model.write(offset, &bytes);
                }
            }
            Step::Noise { block, count, seed, .. } => {
                if !model.block_bytes.is_power_of_two() {
                    return;
                }
                for block in block..block + count {
                    let bytes = noise(model.block_bytes, seed, block);
                    set.write(object, block * model.block_bytes, &bytes).unwrap();
                    model.write(block * model.block_bytes, &bytes);
                }
            }
            Step::FreeRange { offset, length, .. } => {
                set.free_range(object, offset, length).unwrap();
                model.free(offset, Some(offset + length));
            }
            Step::Truncate { offset, .. } => {
                set.free_range(object, offset, u64::MAX).unwrap();
                model.free(offset, None);
            }
            Step::BlockSize { sectors, .. } => {
                let result = set.set_block_size(object, sectors * 512, 0);
                assert_eq!(result.is_ok(), model.max_block == 0);
                if result.is_ok() {
                    model.block_bytes = u64::from(sectors) * 512;
                    for block in model.blocks.values_mut() {
                        block.resize(model.block_bytes as usize, 0);
                    }
                    model.tidy();
                }
            }
            Step::Bonus { length, byte, .. } => {
                let mut bonus = vec![byte; length];
                if let Some(head) = bonus.first_chunk_mut::<8>().filter(|_| byte % 2 == 0) {
                    // The magic number and an empty header, so that owners are found, and projects in every other
                    // byte.
                    *head = [0x5a, 0x50, 0x2f, 0, 2, 8 >> 1, 0, 0];
                }
                let result = set.set_bonus(object, ObjectType::SA, &bonus);
                if result.is_ok() {
                    model.bonus_type = ObjectType::SA;
                    model.bonus = bonus;
                }
            }
            Step::Spill { sectors, byte, .. } => {
                let content = (sectors > 0).then(|| StoredBlock {
                    bytes: vec![byte | 1; sectors * 512],
                    logical_bytes: sectors as u32 * 512,
                    compression: CompressionType::OFF,
                    crypt: None,
                    embedded: false,
                });
                let spill = content.as_ref().map(|content| content.bytes.clone());
                if set.set_spill(object, content).is_ok() {
                    model.spill = spill;
                }
            }
            Step::Algorithms { compression, .. } => {
                let compression = [
                    CompressionType::INHERIT,
                    CompressionType::OFF,
                    CompressionType::ZLE,
                    CompressionType::LZJB,
                ][compression];
                set.set_algorithms(object, Default::default(), compression).unwrap();
            }
            _ => {}
        }
        others.insert(object.0, model);
        self.model = others;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Every block that the set refers to was born and not killed, and nothing else is allocated. Reads return the
    /// written data before the sync, after it, and from disk.
    #[test]
    fn a_history_leaves_what_the_model_holds(
        steps in proptest::collection::vec(step(), 1..80),
        unit_shift in prop_oneof![Just(9_u8), Just(12)],
        copies in 1_u8..3,
        suite in prop_oneof![Just(None), Just(Some(CryptSuite::AES_256_GCM)), Just(Some(CryptSuite::AES_128_CCM))],
        accounting in any::<Option<(bool, bool)>>(),
        dirty_limit in prop_oneof![Just(0_usize), Just(20_000), Just(usize::MAX)],
    ) {
        let protection = if suite.is_some() { Protection::Keyed } else { Protection::Plain };
        let mut bench = Bench::new(unit_shift, SetProperties { copies, protection, ..SetProperties::default() });
        if let Some(suite) = suite {
            bench.load_key(&Arc::new(DatasetKey::generate(suite, Guid(3)).unwrap()));
        }
        bench.set.set_dirty_limit(dirty_limit);
        if let Some((objects, projects)) = accounting {
            bench.set.begin_accounting(objects, projects).unwrap();
        }
        let mut history = History { bench, model: BTreeMap::new() };
        for step in steps.iter().chain([&Step::Sync]) {
            history.run(step);
        }
    }
}
