//! A pool in memory, without labels and space maps, whose datasets can be changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use zstream_dmu::blkptr::{BlockPointer, Dva};
use zstream_dmu::block::ReadBlock;
use zstream_dmu::device::{Device, MemoryDevice};
use zstream_dmu::dnode::NewObject;
use zstream_dmu::error::{Error, Fault, Result};
use zstream_dmu::ids::{Guid, ObjectId, Txg};
use zstream_dmu::mos::{DIRECTORY_OBJECT, FEATURES};
use zstream_dmu::object_store::ObjectStore;
use zstream_dmu::objset::{Objset, ObjsetWriter, SetProperties};
use zstream_dmu::vdev::{LEAF_DATA_START, Member, VdevConfig, VdevTree, VdevType};
use zstream_dmu::zap::{self, NewZap, Value, ZapMut};
use zstream_dmu::zio::{AllocationClass, BlockReader, BlockWriter, Ledger, Space, WriterSettings};
use zstream_format::object_type::{ObjectType, ObjsetType};

use crate::reader::ZAPIFIED;
use crate::write::livelist::Limits;
use crate::write::{Clock, Entropy, Tx};

/// An allocator that returns the lowest free offset.
pub(super) struct TestSpace {
    device: Arc<MemoryDevice>,
    bytes: u64,
    txg: AtomicU64,
    taken: Mutex<BTreeMap<u64, u64>>,
    freed: Mutex<Vec<u64>>,
}

impl TestSpace {
    /// Returns the allocated ranges.
    pub(super) fn in_use(&self) -> BTreeMap<u64, u64> {
        let mut taken = self.taken.lock().unwrap().clone();
        for offset in &*self.freed.lock().unwrap() {
            taken.remove(offset);
        }
        taken
    }

    fn next_txg(&self) {
        let mut taken = self.taken.lock().unwrap();
        for offset in self.freed.lock().unwrap().drain(..) {
            taken.remove(&offset).expect("freed ranges are allocated");
        }
        self.txg.fetch_add(1, Ordering::Relaxed);
    }
}

impl Space for TestSpace {
    fn txg(&self) -> Txg {
        Txg(self.txg.load(Ordering::Relaxed))
    }

    fn unit_shift(&self) -> u8 {
        9
    }

    fn dsize(&self, block: &BlockPointer) -> u64 {
        block.asize()
    }

    fn gang_header_bytes(&self, _: Dva) -> usize {
        512
    }

    fn allocate(&self, psize: u64, copies: u8, _: AllocationClass) -> Result<Vec<Dva>> {
        let mut taken = self.taken.lock().unwrap();
        let size = psize.next_multiple_of(512);
        let mut places = Vec::new();
        let mut at = 0;
        while places.len() < usize::from(copies) {
            if let Some((offset, length)) = taken.range(..at + size).next_back()
                && offset + length > at
            {
                at = offset + length;
                continue;
            }
            if at + size > self.bytes {
                return Err(Fault::NoSpace { bytes: psize }.into());
            }
            taken.insert(at, size);
            places.push(Dva::new(0, at, size, false));
            at += size;
        }
        Ok(places)
    }

    fn unallocate(&self, places: &[Dva]) {
        let mut taken = self.taken.lock().unwrap();
        for place in places {
            taken.remove(&place.offset()).expect("unused ranges were allocated");
        }
    }

    fn write(&self, place: Dva, bytes: &[u8]) -> Result<()> {
        Ok(self.device.write_at(LEAF_DATA_START + place.offset(), bytes)?)
    }

    fn share(&self, block: &BlockPointer) -> Result<()> {
        Err(Error::unsupported(format!("a test that clones block {block}")))
    }

    fn free(&self, block: &BlockPointer) -> Result<()> {
        let taken = self.taken.lock().unwrap();
        let mut freed = self.freed.lock().unwrap();
        for dva in block.dvas() {
            assert_eq!(taken.get(&dva.offset()), Some(&dva.asize()), "{dva} is freed, but not allocated");
            assert!(!freed.contains(&dva.offset()), "{dva} is freed twice");
            freed.push(dva.offset());
        }
        Ok(())
    }
}

struct MosLedger<'a>(&'a TestSpace);

impl Ledger for MosLedger<'_> {
    fn born(&mut self, _: &BlockPointer) -> Result<()> {
        Ok(())
    }

    fn killed(&mut self, block: &BlockPointer) -> Result<()> {
        if block.is_embedded() { Ok(()) } else { self.0.free(block) }
    }
}

/// A pool with its MOS and the datasets that are open for change.
pub(super) struct TestPool {
    pub(super) space: Arc<TestSpace>,
    pub(super) reader: Arc<dyn ReadBlock>,
    writer: Arc<BlockWriter>,
    pub(super) mos: ObjsetWriter,
    sets: HashMap<ObjectId, ObjsetWriter>,
    entropy: Entropy,
    seconds: u64,
    pub(super) livelists: Limits,
}

/// Features that the pool does not have.
const WITHOUT: [&str; 3] = ["log_spacemap", "head_errlog", "vdev_zaps_v2"];

impl TestPool {
    /// Creates a pool with the root dataset `pool`, in its second transaction group.
    pub(super) fn new(bytes: u64, seed: u64) -> Self {
        let device = Arc::new(MemoryDevice::new((LEAF_DATA_START + bytes) as usize));
        let mut leaf = VdevConfig::bare(VdevType::File, 0, Guid(1));
        (leaf.path, leaf.ashift, leaf.asize) = (Some("/disk".into()), Some(9), Some(bytes));
        let member = Member { name: "disk".into(), device: device.clone() as Arc<dyn Device> };
        let tree = VdevTree::build(Guid(9), &[leaf], &HashMap::from([(Guid(1), member)]), 0).unwrap();
        let (taken, freed) = (Mutex::default(), Mutex::default());
        let space = Arc::new(TestSpace { device, bytes, txg: AtomicU64::new(4), taken, freed });
        // Embedded blocks have no address by which they could be distinguished.
        let settings = WriterSettings { hole_birth: true, embedded_data: false, ..WriterSettings::default() };
        let writer = Arc::new(BlockWriter::new(space.clone(), settings));
        let reader: Arc<dyn ReadBlock> = Arc::new(BlockReader::new(Arc::new(tree), 16 << 20, None));
        let mos = ObjsetWriter::create(
            reader.clone(),
            writer.clone(),
            0,
            ObjsetType::META,
            SetProperties { copies: 1, ..SetProperties::default() },
        );
        let mut pool = Self {
            space,
            reader,
            writer,
            mos: mos.unwrap(),
            sets: HashMap::new(),
            entropy: Entropy::seeded(seed),
            seconds: 1_700_000_000,
            livelists: Limits::default(),
        };
        pool.make_features();
        let first = pool.tx(|tx| tx.create_pool()).unwrap();
        pool.make_set(first.root);
        pool.commit();
        pool
    }

    fn make_features(&mut self) {
        let mos = &mut self.mos;
        mos.claim(DIRECTORY_OBJECT, &NewObject::new(ObjectType::OBJECT_DIRECTORY, 0)).unwrap();
        zap::create_in(mos, DIRECTORY_OBJECT, &NewZap::new(1)).unwrap();
        for (name, read_only_compatible) in [("features_for_read", false), ("features_for_write", true)] {
            let object = zap::create(mos, ZAPIFIED, &NewZap::new(3)).unwrap();
            ZapMut::open(mos, DIRECTORY_OBJECT).unwrap().add(name, &Value::word(object.0)).unwrap();
            for feature in FEATURES {
                if feature.read_only_compatible == read_only_compatible && !WITHOUT.contains(&feature.name) {
                    ZapMut::open(mos, object).unwrap().add(feature.guid, &Value::word(0)).unwrap();
                }
            }
        }
    }

    /// Changes the datasets.
    pub(super) fn tx<T>(
        &mut self,
        change: impl FnOnce(&mut Tx<'_>) -> crate::error::Result<T>,
    ) -> crate::error::Result<T> {
        let clock = Clock { seconds: self.seconds, nanoseconds: 5 };
        let mut tx =
            Tx::new("pool", &mut self.mos, &*self.space, self.reader.clone(), clock, &mut self.entropy);
        tx.livelists = self.livelists;
        let result = change(&mut tx);
        assert!(result.is_ok() || !tx.has_changed(), "a verb was refused after it had changed something");
        result
    }

    /// Creates the object set of a new head.
    pub(super) fn make_set(&mut self, head: ObjectId) {
        let (reader, writer) = (self.reader.clone(), self.writer.clone());
        let set = ObjsetWriter::create(reader, writer, head.0, ObjsetType::ZFS, SetProperties::default());
        self.sets.insert(head, set.unwrap());
        self.sync_sets();
    }

    /// Returns the content of a head, open for changes.
    pub(super) fn set(&mut self, head: ObjectId) -> &mut ObjsetWriter {
        let root = self.tx(|tx| tx.read().dataset(head)).unwrap().root;
        let (reader, writer) = (self.reader.clone(), self.writer.clone());
        self.sets.entry(head).or_insert_with(|| {
            let set = Objset::open(reader, head.0, root).unwrap();
            ObjsetWriter::open(set, writer, SetProperties::default()).unwrap()
        })
    }

    /// Writes the changes of datasets, and closes them.
    pub(super) fn sync_sets(&mut self) {
        for (head, mut set) in std::mem::take(&mut self.sets) {
            self.tx(|tx| {
                let mut ledger = tx.ledger(head)?;
                let root = set.sync(&mut ledger)?;
                ledger.finish(root)
            })
            .unwrap();
        }
    }

    /// Completes the transaction group.
    pub(super) fn commit(&mut self) {
        self.sync_sets();
        let space = self.space.clone();
        self.mos.sync(&mut MosLedger(&space)).unwrap();
        space.next_txg();
        self.seconds += 1;
    }
}
