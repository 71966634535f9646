//! Golden pools open for writing, from the parts that write: a MOS open for change, the allocator, the rings of uberblocks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::block::ReadBlock;
use zstream_dmu::device::{Device, FileDevice};
use zstream_dmu::dnode::NewObject;
use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::{Bookmark, ObjectId, Txg};
use zstream_dmu::intent_log;
use zstream_dmu::mos::DIRECTORY_OBJECT;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::object_store::ObjectStore;
use zstream_dmu::objset::{Objset, ObjsetWriter, SetProperties};
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::space::{Allocator, LogSpaceMaps, VdevSpace};
use zstream_dmu::testing::{self, Commit, OverlayDevice, Uberblocks, WriteBlock, label_write};
use zstream_dmu::vdev::uberblock::Uberblock;
use zstream_dmu::vdev::{Vdev, VdevTree};
use zstream_dmu::zap::{Value, Zap, ZapMut};
use zstream_dmu::zio::{BlockWriter, Space, WriterSettings};
use zstream_dmu::{RangeSet, tx};
use zstream_dsl::Dsl;
use zstream_dsl::scrub::{self, Lines};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use crate::blocks::blocks;
use crate::golden;

/// Devices with names for messages.
pub type Devices = Vec<(String, Arc<dyn Device>)>;

/// The vdev files of a golden pool, one with a history or another. Shared: not to be changed.
pub fn members(pool: &str) -> Vec<PathBuf> {
    if golden::SHAPES_POOLS.contains(&pool) { golden::shape(pool) } else { golden::pool(pool) }
}

/// The members of a golden pool, written to in memory only.
pub fn overlays(pool: &str) -> Devices {
    let open = |path: &PathBuf| {
        let device = Arc::new(OverlayDevice::new(Arc::new(FileDevice::open(path).expect("a golden file"))));
        (path.display().to_string(), device as Arc<dyn Device>)
    };
    members(pool).iter().map(open).collect()
}

/// Copies a golden pool into `dir` and opens its members for writing.
pub fn devices(pool: &str, dir: &Path) -> (Devices, Vec<PathBuf>) {
    let paths: Vec<PathBuf> = members(pool).iter().map(|path| golden::copy(path, dir)).collect();
    let open = |path: &PathBuf| {
        let device = FileDevice::open_writable(path).expect("a copy");
        (path.display().to_string(), Arc::new(device) as Arc<dyn Device>)
    };
    (paths.iter().map(open).collect(), paths)
}

/// The rings of uberblocks on all members.
struct Rings(Arc<VdevTree>);

impl Rings {
    /// Does something to every device, with the logarithm of its sector size.
    fn each(&self, act: &dyn Fn(&dyn Device, u8) -> Result<()>) -> Result<()> {
        fn below(vdev: &Vdev, ashift: u8, act: &dyn Fn(&dyn Device, u8) -> Result<()>) -> Result<()> {
            if let Some(device) = vdev.device() {
                act(&**device, ashift)?;
            }
            vdev.children().iter().try_for_each(|child| below(child, ashift, act))
        }
        self.0.tops().iter().try_for_each(|top| below(top, top.config().ashift.unwrap_or(9), act))
    }

    fn flush(&self) -> Result<()> {
        self.each(&|device, _| device.flush().map_err(Error::from))
    }
}

impl Uberblocks for Rings {
    fn flush_data(&self) -> Result<()> {
        self.flush()
    }

    fn write(&self, uberblock: &Uberblock) -> Result<()> {
        self.each(&|device, ashift| label_write::write_uberblock(device, uberblock, ashift))?;
        self.flush()
    }
}

/// A pool open for writing.
pub struct Written {
    /// As it was opened.
    pub pool: Pool,
    /// Its MOS.
    pub mos: ObjsetWriter,
    /// Its space.
    pub space: Arc<Allocator>,
    /// What is written with.
    pub writer: Arc<dyn WriteBlock>,
    /// The uberblock of the last transaction group.
    pub last: Uberblock,
    /// What the MOS took more than when it was opened, as it was told.
    pub mos_used: i64,
}

impl Written {
    /// Opens the pool on these devices.
    ///
    /// # Errors
    ///
    /// As for the parts.
    pub fn open(devices: Devices) -> Result<Self> {
        let pool = Pool::open_devices(devices, &OpenOptions::default())?;
        let mos: Arc<dyn ObjectSet> = Arc::clone(pool.mos()) as _;
        let next = Txg(pool.txg().0 + 1);
        let space = Arc::new(Allocator::open(
            Arc::clone(pool.reader()),
            mos,
            &spaces(&pool)?,
            pool.features().into(),
            next,
        )?);
        let settings = WriterSettings {
            salt: None,
            hole_birth: pool.features().is_active("hole_birth"),
            embedded_data: pool.features().is_active("embedded_data"),
            large_headers: Arc::default(),
            whole_max: None,
            is_uncompressed: false,
        };
        let writer: Arc<dyn WriteBlock> = Arc::new(BlockWriter::new(Arc::clone(&space) as _, settings));
        let reader = Arc::clone(pool.reader()) as Arc<dyn ReadBlock>;
        let last = *pool.uberblock();
        let set = Objset::open(reader, 0, last.root)?;
        let mos = ObjsetWriter::open(set, Arc::clone(&writer), SetProperties::mos())?;
        Ok(Self { pool, mos, space, writer, last, mos_used: 0 })
    }

    /// Completes the transaction group.
    ///
    /// # Errors
    ///
    /// As for [`testing::commit`].
    pub fn commit(&mut self) -> Result<()> {
        let rings = Rings(Arc::clone(self.pool.vdevs()));
        let Self { mos, space, last, mos_used, .. } = self;
        let mut parts = Commit { mos, space, uberblocks: &rings, last: &*last, now: last.timestamp + 5 };
        let account = &mut |_: &mut dyn ObjectStore, delta: &tx::SpaceDelta| {
            *mos_used += delta.used;
            Ok(())
        };
        self.last = testing::commit(&mut parts, account)?;
        Ok(())
    }

    /// The transaction group that is open.
    pub fn txg(&self) -> Txg {
        self.space.txg()
    }

    /// The ZAP of the root directory's properties.
    ///
    /// # Errors
    ///
    /// The MOS cannot be read.
    pub fn root_properties(&self) -> Result<ObjectId> {
        const PROPS: usize = 80;
        let root = Zap::open(&self.mos, DIRECTORY_OBJECT)?.lookup_u64("root_dataset")?.expect("a root");
        let info = self.mos.info(ObjectId(root))?;
        Ok(ObjectId(ByteOrder::Little.u64(&info.bonus()?[PROPS..])))
    }

    /// Sets a user property of the root dataset.
    ///
    /// # Errors
    ///
    /// The MOS cannot be read or changed.
    pub fn set_property(&mut self, name: &str, value: &str) -> Result<()> {
        let zap = self.root_properties()?;
        ZapMut::open(&mut self.mos, zap)?.update(name, &Value::string(value))
    }

    /// Makes an object in the MOS with `blocks` blocks of 16 KiB that do not compress.
    ///
    /// # Errors
    ///
    /// The MOS cannot be changed.
    pub fn add_object(&mut self, blocks: u64, seed: u64) -> Result<ObjectId> {
        const BLOCK_BYTES: u64 = 16 << 10;
        let object = self.mos.allocate(&NewObject::new(ObjectType::OBJECT_ARRAY, BLOCK_BYTES as u32))?;
        let mut state = seed | 1;
        for block in 0..blocks {
            let bytes: Vec<u8> = (0..BLOCK_BYTES / 8)
                .flat_map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state ^ state >> 29).to_le_bytes()
                })
                .collect();
            self.mos.write(object, block * BLOCK_BYTES, &bytes)?;
        }
        Ok(object)
    }
}

/// Where the space maps of a pool are.
///
/// # Errors
///
/// The MOS cannot be read.
pub fn spaces(pool: &Pool) -> Result<Vec<VdevSpace>> {
    let tops = pool.vdevs().tops().iter();
    let found: Result<Vec<Option<VdevSpace>>> =
        tops.map(|top| VdevSpace::find(&**pool.mos(), top.config())).collect();
    Ok(found?.into_iter().flatten().collect())
}

/// The blocks of the intent logs of a pool.
fn logs(pool: &Pool) -> Vec<BlockPointer> {
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::default()).expect("datasets");
    let mut found = Vec::new();
    for dataset in Lines::new(&dsl).expect("datasets").datasets().iter().filter(|one| !one.is_snapshot()) {
        let Ok(set) = scrub::readable_objset(dataset) else { continue };
        let log = intent_log::blocks(&**pool.reader(), dataset.object().0, &set.phys().zil);
        found.extend(log.map(|block| block.pointer));
    }
    found
}

/// Removes what only the checkpoint of a pool has from what is allocated. Panics when that is not exactly what the maps of the
/// checkpoint list.
fn keep_checkpoint(pool: &Pool, now: &[(BlockPointer, Bookmark)], allocated: &mut BTreeMap<u32, RangeSet>) {
    let Some(then) = pool.checkpoint().expect("the entry of the checkpoint") else { return };
    // A block that was remapped since has another address, but the same place.
    let place = |block: &BlockPointer| {
        let ranges = pool.reader().ranges(block).expect("a block");
        ranges.first().map(|dva| (dva.vdev(), dva.offset()))
    };
    let shared: HashSet<_> = now.iter().map(|(block, _)| place(block)).collect();
    let mut alone: BTreeMap<u32, RangeSet> = BTreeMap::new();
    let kept = pool.checkpointed().expect("maps of the checkpoint");
    for (block, at) in blocks(&then) {
        assert_eq!(kept.has(&block), !shared.contains(&place(&block)), "{block} at {at}");
    }
    let only =
        blocks(&then).into_iter().map(|(block, _)| block).filter(|block| !shared.contains(&place(block)));
    for block in only.chain(logs(&then).into_iter().filter(|block| kept.has(block))) {
        for dva in pool.reader().ranges(&block).expect("a block of the checkpoint") {
            let ranges = alone.entry(dva.vdev()).or_default();
            ranges.add(dva.offset(), dva.offset() + dva.asize()).expect("a range of one block");
        }
    }
    for space in spaces(pool).expect("space maps") {
        let kept = space.checkpointed(&**pool.mos()).expect("a map of the checkpoint");
        assert_eq!(kept, alone.remove(&space.vdev).unwrap_or_default(), "vdev {}", space.vdev);
        assert_eq!(kept.bytes(), space.checkpoint_bytes(&**pool.mos()).expect("its header"));
        let allocated = allocated.get_mut(&space.vdev).expect("a vdev with space maps");
        kept.iter().for_each(|(start, end)| allocated.remove(start, end).expect("what is kept is allocated"));
    }
    assert!(alone.is_empty(), "{alone:?}");
}

/// What is allocated on each vdev but belongs to no block that can be reached: blocks of intent logs, and leaks. Panics when
/// a block can be reached that is not allocated, or that another one overlaps.
pub fn unreached(pool: &Pool) -> BTreeMap<u32, RangeSet> {
    let mos = &**pool.mos();
    let logs = LogSpaceMaps::open(mos).expect("logs");
    let mut allocated: BTreeMap<u32, RangeSet> = BTreeMap::new();
    for space in spaces(pool).expect("space maps") {
        allocated
            .insert(space.vdev, space.allocated(mos, &logs).expect("maps that do not contradict themselves"));
    }
    let now = blocks(pool);
    keep_checkpoint(pool, &now, &mut allocated);
    let mut found = HashMap::new();
    for (block, at) in now {
        let ranges = pool.reader().ranges(&block).unwrap_or_else(|error| panic!("{block} at {at}: {error}"));
        // A block that was remapped after the removal of a vdev has two pointers, one to its old place.
        let content = (block.checksum(), block.logical_birth());
        let first = ranges.first().map(|dva| (dva.vdev(), dva.offset()));
        if found.insert(first, content) == Some(content) {
            continue;
        }
        for dva in ranges {
            let vdev = allocated.get_mut(&dva.vdev()).expect("a vdev with space maps");
            let removed = vdev.remove(dva.offset(), dva.offset() + dva.asize());
            removed.unwrap_or_else(|error| panic!("{block} at {at}: {error}"));
        }
    }
    allocated
}
