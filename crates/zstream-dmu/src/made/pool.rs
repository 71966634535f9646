//! A pool of one device in memory, without labels and metaslabs, to write object sets to.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::blkptr::{BlockKind, BlockPointer, Dva};
use crate::cache;
use crate::device::{Device, MemoryDevice};
use crate::error::{Error, Fault, Result};
use crate::ids::{Guid, Txg};
use crate::objset::Objset;
use crate::traverse::{Options, Traverse};
use crate::vdev::{LEAF_DATA_START, Member, VdevTree};
use crate::zio::write::Ledger;
use crate::zio::{AllocationClass, Space};
use crate::zio::{BlockReader, BlockWriter, WriterSettings};

/// Allocates from the lowest free place on.
pub(crate) struct TestSpace {
    pub(crate) device: Arc<MemoryDevice>,
    bytes: u64,
    unit_shift: u8,
    txg: AtomicU64,
    /// The longest run that is given out.
    run_max: AtomicU64,
    /// How many writes there are until one fails.
    writes_left: AtomicU64,
    state: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    /// Size of what is allocated, by offset.
    taken: BTreeMap<u64, u64>,
    /// What was freed in this transaction group.
    freed: Vec<(u64, u64)>,
    /// Additional references, by the offset of the first copy.
    shared: BTreeMap<u64, u64>,
    allocations: u64,
}

impl TestSpace {
    pub(crate) fn next_txg(&self) {
        self.txg.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap();
        for (offset, size) in std::mem::take(&mut state.freed) {
            assert_eq!(state.taken.remove(&offset), Some(size));
        }
    }

    pub(crate) fn set_run_max(&self, bytes: u64) {
        self.run_max.store(bytes, Ordering::Relaxed);
    }

    /// Lets the write after `count` others fail.
    pub(crate) fn fail_write(&self, count: u64) {
        self.writes_left.store(count, Ordering::Relaxed);
    }

    /// Offset and size of everything that is allocated and not freed.
    pub(crate) fn in_use(&self) -> BTreeMap<u64, u64> {
        let state = self.state.lock().unwrap();
        let mut in_use = state.taken.clone();
        for (offset, _) in &state.freed {
            in_use.remove(offset);
        }
        in_use
    }

    /// How often something was allocated.
    pub(crate) fn allocations(&self) -> u64 {
        self.state.lock().unwrap().allocations
    }

    fn free_place(&self, dva: Dva, size: u64) {
        let mut state = self.state.lock().unwrap();
        assert_eq!(state.taken.get(&dva.offset()), Some(&size), "{dva} is not allocated");
        let place = (dva.offset(), size);
        assert!(!state.freed.contains(&place), "{dva} is freed twice");
        state.freed.push(place);
    }
}

impl Space for TestSpace {
    fn txg(&self) -> Txg {
        Txg(self.txg.load(Ordering::Relaxed))
    }

    fn unit_shift(&self) -> u8 {
        self.unit_shift
    }

    fn dsize(&self, block: &BlockPointer) -> u64 {
        block.asize()
    }

    fn gang_header_bytes(&self, _: Dva) -> usize {
        1 << self.unit_shift
    }

    fn allocate(&self, psize: u64, copies: u8, _: AllocationClass) -> Result<Vec<Dva>> {
        let mut state = self.state.lock().unwrap();
        let size = psize.next_multiple_of(1 << self.unit_shift);
        let no_space = || Error::from(Fault::NoSpace { bytes: psize });
        if size > self.run_max.load(Ordering::Relaxed) {
            return Err(no_space());
        }
        let mut places = Vec::new();
        let mut at = 0;
        let mut taken = state.taken.iter();
        while places.len() < usize::from(copies) {
            let next = taken.next();
            let end = next.map_or(self.bytes, |(offset, _)| *offset);
            while places.len() < usize::from(copies) && at + size <= end {
                places.push(Dva::new(0, at, size, false));
                at += size;
            }
            match next {
                Some((offset, size)) => at = offset + size,
                None if places.len() < usize::from(copies) => return Err(no_space()),
                None => break,
            }
        }
        for place in &places {
            state.taken.insert(place.offset(), size);
        }
        state.allocations += 1;
        Ok(places)
    }

    fn unallocate(&self, places: &[Dva]) {
        let mut state = self.state.lock().unwrap();
        for place in places {
            assert_eq!(state.taken.remove(&place.offset()), Some(place.asize()), "{place} is not allocated");
        }
    }

    fn write(&self, place: Dva, bytes: &[u8]) -> Result<()> {
        assert!(bytes.len() as u64 <= place.asize());
        if self.writes_left.fetch_sub(1, Ordering::Relaxed) == 0 {
            return Err(std::io::Error::other("a write that was made to fail").into());
        }
        self.device.write_at(LEAF_DATA_START + place.offset(), bytes)?;
        Ok(())
    }

    fn share(&self, block: &BlockPointer) -> Result<()> {
        assert!(block.physical_birth() < self.txg());
        *self.state.lock().unwrap().shared.entry(block.dva(0).offset()).or_default() += 1;
        Ok(())
    }

    fn free(&self, block: &BlockPointer) -> Result<()> {
        if let Some(count) = self.state.lock().unwrap().shared.get_mut(&block.dva(0).offset())
            && let Some(left) = count.checked_sub(1)
        {
            *count = left;
            return Ok(());
        }
        for dva in block.dvas() {
            self.free_place(dva, dva.asize());
        }
        Ok(())
    }
}

/// A pool to write to and to read from.
pub(crate) struct TestPool {
    pub(crate) space: Arc<TestSpace>,
    pub(crate) reader: Arc<BlockReader>,
    pub(crate) writer: Arc<BlockWriter>,
}

impl TestPool {
    /// A pool in transaction group 10 with hole births and embedded data.
    pub(crate) fn new(bytes: u64, unit_shift: u8) -> Self {
        let settings = WriterSettings { hole_birth: true, embedded_data: true, ..WriterSettings::default() };
        Self::with_settings(bytes, unit_shift, settings)
    }

    pub(crate) fn with_settings(bytes: u64, unit_shift: u8, settings: WriterSettings) -> Self {
        let device = Arc::new(MemoryDevice::new((LEAF_DATA_START + bytes) as usize));
        let member = Member { name: "disk".to_owned(), device: Arc::clone(&device) as Arc<dyn Device> };
        let mut leaf = crate::vdev::tests::leaf(0, 1);
        (leaf.ashift, leaf.asize) = (Some(unit_shift), Some(bytes));
        let tree = VdevTree::build(Guid(9), &[leaf], &HashMap::from([(Guid(1), member)]), 0).unwrap();
        let space = Arc::new(TestSpace {
            device,
            bytes,
            unit_shift,
            txg: AtomicU64::new(10),
            run_max: AtomicU64::new(u64::MAX),
            writes_left: AtomicU64::new(u64::MAX),
            state: Mutex::default(),
        });
        let writer = Arc::new(BlockWriter::new(Arc::clone(&space) as _, settings));
        Self { space, reader: Arc::new(BlockReader::new(Arc::new(tree), cache::DEFAULT_BYTES, None)), writer }
    }

    /// The addresses of all blocks of a set, and how many embedded ones there are.
    pub(crate) fn blocks_of(&self, root: BlockPointer, locked: bool) -> (BTreeMap<u64, u64>, usize) {
        let (mut places, mut embedded) = (BTreeMap::new(), 0);
        let options = Options { locked, ..Options::default() };
        let reader = Arc::clone(&self.reader) as _;
        for visit in Traverse::new(reader, 1, root, options) {
            let visit = visit.expect("every block can be read");
            if visit.kind == crate::traverse::VisitKind::Dnode {
                continue;
            }
            match visit.pointer.kind() {
                BlockKind::Normal => {
                    for dva in visit.pointer.dvas() {
                        assert_eq!(places.insert(dva.offset(), dva.asize()), None, "{dva} is used twice");
                    }
                }
                BlockKind::Embedded => embedded += 1,
                _ => {}
            }
        }
        (places, embedded)
    }

    /// Opens a set that was written.
    pub(crate) fn open(&self, root: BlockPointer) -> Objset {
        Objset::open(Arc::clone(&self.reader) as _, 1, root).unwrap()
    }
}

/// Keeps account of every block, and frees at once.
pub(crate) struct TestLedger {
    space: Arc<TestSpace>,
    pub(crate) live: BTreeMap<u64, BlockPointer>,
    pub(crate) embedded: usize,
    pub(crate) dsize: u64,
}

impl TestLedger {
    pub(crate) fn new(pool: &TestPool) -> Self {
        Self { space: Arc::clone(&pool.space), live: BTreeMap::new(), embedded: 0, dsize: 0 }
    }

    /// The addresses of all blocks that were born and not killed.
    pub(crate) fn places(&self) -> BTreeMap<u64, u64> {
        self.live.values().flat_map(|block| block.dvas()).map(|dva| (dva.offset(), dva.asize())).collect()
    }
}

impl Ledger for TestLedger {
    fn born(&mut self, block: &BlockPointer) -> Result<()> {
        assert_eq!(block.logical_birth(), self.space.txg(), "{block} is born now");
        if block.is_embedded() {
            self.embedded += 1;
            return Ok(());
        }
        self.dsize += block.asize();
        assert_eq!(self.live.insert(block.dva(0).offset(), *block), None, "{block} is born twice");
        Ok(())
    }

    fn killed(&mut self, block: &BlockPointer) -> Result<()> {
        if block.is_embedded() {
            self.embedded -= 1;
            return Ok(());
        }
        self.dsize -= block.asize();
        let known = self.live.remove(&block.dva(0).offset()).expect("a block that was born");
        assert_eq!((known.dva(0), known.logical_birth()), (block.dva(0), block.logical_birth()));
        self.space.free(block)
    }
}
