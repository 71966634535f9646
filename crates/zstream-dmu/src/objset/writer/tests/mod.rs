//! Tests that write sets to a pool in memory, read them back, and account for every block.

mod history;
mod raw;
mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;

use zstream_format::file_info::owners;
use zstream_format::object_type::{ObjectType, ObjsetType};

use super::accounting::Deltas;
use super::{ObjsetWriter, SetProperties};
use crate::blkptr::BlockPointer;
use crate::dnode::{Dnode, DnodeFlags};
use crate::ids::{BlockId, ObjectId};
use crate::made::pool::{TestLedger, TestPool};
use crate::object_set::ObjectSet;
use crate::objset::{GROUP_USED_OBJECT, Objset, ObjsetFlags, PROJECT_USED_OBJECT, USER_USED_OBJECT};
use crate::zap::Zap;
use crate::zio::crypt::{DatasetKey, Keyring};
use crate::zio::write::WriteBlock;

/// A set, its pool, and the ledger of its blocks.
struct Bench {
    pool: TestPool,
    ledger: TestLedger,
    set: ObjsetWriter,
}

impl Bench {
    fn new(unit_shift: u8, properties: SetProperties) -> Self {
        let pool = TestPool::new(64 << 20, unit_shift);
        let ledger = TestLedger::new(&pool);
        let (reader, writer) = (Arc::clone(&pool.reader) as _, Arc::clone(&pool.writer) as _);
        let set =
            ObjsetWriter::create(reader, writer, 1, ObjsetType::ZFS, properties).unwrap().with_owners(owners);
        Self { pool, ledger, set }
    }

    /// Enables encryption and decryption of the set's blocks.
    fn load_key(&mut self, key: &Arc<DatasetKey>) {
        self.pool.writer.add_key(1, Arc::clone(key));
        let ring = Keyring::default();
        ring.insert(1, Arc::clone(key));
        self.pool.reader.set_keys(Some(Arc::new(ring)));
    }

    /// Syncs, and checks that the blocks on disk were born and not killed, and that nothing else is allocated.
    fn sync(&mut self) -> Objset {
        let root = self.set.sync(&mut self.ledger).unwrap();
        let (places, embedded) = self.pool.blocks_of(root, false);
        assert_eq!(places, self.ledger.places(), "blocks of the tree, and of the ledger");
        assert_eq!(embedded, self.ledger.embedded);
        assert_eq!(places, self.pool.space.in_use(), "blocks of the tree, and of the space");
        let set = self.pool.open(root);
        check_set(&set);
        set
    }

    fn next_txg(&mut self) {
        self.pool.space.next_txg();
    }
}

/// Checks the metadata of the tree: fill counts, births, space used.
fn check_set(set: &Objset) {
    let meta = set.phys().meta_dnode.clone();
    let birth = set.root().logical_birth();
    let mut objects = 0;
    let mut from = ObjectId(1);
    while let Some(object) = set.next_object(from).unwrap() {
        let dnode = set.dnode(object).unwrap();
        let used = check_tree(set, object, &dnode, birth.0);
        let spill = dnode.spill().map_or(0, BlockPointer::asize);
        assert_eq!(dnode.used_bytes(), used + spill, "used space of object {object}");
        objects += 1;
        from = ObjectId(object.0 + 1);
    }
    check_tree(set, ObjectId(0), &meta, birth.0);
    assert_eq!(meta.pointers().iter().map(BlockPointer::fill).sum::<u64>(), objects);
    assert_eq!(set.object_count(), objects);
    check_accounts(set);
}

/// Checks the accounting of users, groups and projects.
fn check_accounts(set: &Objset) {
    let flags = set.phys().flags;
    let mut expected = Deltas::default();
    let mut from = ObjectId(1);
    while let Some(object) = set.next_object(from).unwrap() {
        let dnode = set.dnode(object).unwrap();
        let is_counted = dnode.flags.contains(DnodeFlags::USER_USED_ACCOUNTED);
        assert_eq!(is_counted, flags.contains(ObjsetFlags::USER_ACCOUNTING_COMPLETE));
        expected.add(owners, &dnode, flags, 1);
        from = ObjectId(object.0 + 1);
    }
    for (account, expected) in
        [USER_USED_OBJECT, GROUP_USED_OBJECT, PROJECT_USED_OBJECT].into_iter().zip(expected.0)
    {
        let found: BTreeMap<String, i64> = match set.dnode(account) {
            Err(_) => BTreeMap::new(),
            Ok(_) => Zap::open(set, account)
                .unwrap()
                .entries()
                .map(|entry| entry.unwrap())
                .map(|entry| (entry.key.text().unwrap().to_owned(), entry.value.u64().unwrap() as i64))
                .collect(),
        };
        assert_eq!(found, expected, "account {account}");
    }
}

/// Checks the tree of an object and returns its allocated space.
fn check_tree(set: &Objset, object: ObjectId, dnode: &Dnode, birth: u64) -> u64 {
    let tree = set.tree(object, dnode);
    let mut used = 0;
    let mut open: Vec<(BlockPointer, u8, u64, u64)> =
        (0..).zip(dnode.pointers()).map(|(id, pointer)| (*pointer, dnode.levels - 1, id, birth)).collect();
    while let Some((pointer, level, id, birth)) = open.pop() {
        assert!(pointer.logical_birth().0 <= birth, "a child is older than its parent");
        if pointer.is_hole() {
            continue;
        }
        used += pointer.asize();
        if level == 0 {
            tree.check_data(&pointer, BlockId(id)).unwrap();
            assert!(id <= dnode.max_block.0, "block {id} of object {object} is beyond the last");
            continue;
        }
        let block = tree.indirect(&pointer, level, BlockId(id)).unwrap();
        let mut fill = 0;
        for n in 0..block.len() / 128 {
            let below = crate::tree::child(&block, n);
            fill += below.fill();
            open.push((
                below,
                level - 1,
                (id << dnode.pointers_per_block_shift()) + n as u64,
                pointer.logical_birth().0,
            ));
        }
        assert_eq!(fill, pointer.fill());
        assert_ne!(fill, 0, "an indirect block without blocks");
    }
    used
}

/// An object as plain arrays, for comparison.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    object_type: ObjectType,
    block_bytes: u64,
    max_block: u64,
    /// The content without blocks of zeros.
    blocks: BTreeMap<u64, Vec<u8>>,
    bonus_type: ObjectType,
    bonus: Vec<u8>,
    spill: Option<Vec<u8>>,
    slots: u8,
}

/// Returns the content of a set in the same form.
fn model_of(set: &dyn ObjectSet) -> BTreeMap<u64, Model> {
    let mut models = BTreeMap::new();
    let mut from = ObjectId(1);
    while let Some(object) = set.next_object(from).unwrap() {
        let info = set.info(object).unwrap();
        let mut blocks = BTreeMap::new();
        let mut at = 0;
        // Runs of data, which are found by seeking. The holes between them must be read as zeros, which `hole_is_zero`
        // checks.
        while let Some(data) = set.next_data(object, at).unwrap() {
            assert!(data >= at);
            let hole = set.next_hole(object, data).unwrap();
            assert!(hole > data, "object {object}: data and hole at {data}");
            for block in data / info.block_bytes..hole.div_ceil(info.block_bytes) {
                let content = set.block(object, BlockId(block)).unwrap().expect("data where data is found");
                if content.iter().any(|byte| *byte != 0) {
                    blocks.insert(block, content.to_vec());
                }
            }
            at = hole;
        }
        let mut all = vec![0xff; ((info.max_block.0 + 1) * info.block_bytes).min(1 << 20) as usize];
        set.read(object, 0, &mut all).unwrap();
        for (block, content) in (0..).zip(all.chunks(info.block_bytes as usize)) {
            let expected = blocks.get(&block);
            assert!(expected.map_or_else(
                || content.iter().all(|byte| *byte == 0),
                |expected| &expected[..content.len()] == content
            ));
        }
        models.insert(
            object.0,
            Model {
                object_type: info.object_type,
                block_bytes: info.block_bytes,
                max_block: info.max_block.0,
                blocks,
                bonus_type: info.bonus_type,
                bonus: info.bonus().unwrap().to_vec(),
                spill: set.spill(object).unwrap().map(|block| block.to_vec()),
                slots: info.dn_slots,
            },
        );
        from = ObjectId(object.0 + 1);
    }
    models
}
