//! A metaslab: a part of a top-level vdev with its own space map.
//!
//! Every byte of a loaded metaslab is in one of four states:
//!
//! ```text
//!          allocate                  free, written in this txg
//!  free ----------------> allocated ---------------------------> free
//!    ^                        |
//!    |                        | free, written before
//!    |                        v
//!    +-- deferred[1] <-- deferred[0] <-- freed        one step with each txg that is committed
//! ```
//!
//! The map lists everything as free that is not allocated; deferred frees are known only in memory. They are deferred
//! because the uberblocks of the last transaction groups still refer to these blocks: if the newest is unreadable, an
//! older one is opened and needs its blocks intact. OpenZFS defers frees for the same time (`TXG_DEFER_SIZE`).
//!
//! `allocs` and `frees` are the changes that are not in the map yet. They never overlap: a range that is freed before
//! its allocation was written is in neither.

use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::free_space::{FreeSpace, Histogram, bucket};
use super::space_map::{SpaceChange, SpaceMap};
use super::space_map_write::{self, Form};
use crate::error::{Error, Fault, Result};
use crate::ids::{ObjectId, Txg};
use crate::object_set::ObjectSet;
use crate::object_store::ObjectStore;
use crate::range_set::RangeSet;

/// The number of transaction groups for which freed space is deferred before it is reused (`TXG_DEFER_SIZE`).
pub(super) const DEFER_TXGS: usize = 2;

/// The ratio between the length of a map and its condensed length at which it is condensed (`zfs_condense_pct`).
const CONDENSE_FACTOR: u64 = 2;

/// The number of blocks up to which a map is never condensed (`zfs_metaslab_condense_block_threshold`).
const CONDENSE_BLOCKS: u64 = 4;

/// The size from which ranges have their own cursor, so that small blocks do not fragment long runs of large ones.
const LARGE_BYTES: u64 = 16 << 10;

/// The parameters for writing the map of a metaslab.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writing {
    /// The transaction group.
    pub(super) txg: Txg,
    /// Its sync pass, from 1.
    pub(super) pass: u16,
    /// The logarithm of the map's unit.
    pub(super) shift: u8,
    /// Whether entries of two words may be used.
    pub(super) two_words: bool,
    /// Whether new maps have a histogram.
    pub(super) histogram: bool,
}

/// A change to write to the map of a metaslab.
#[derive(Clone, Debug)]
pub(super) struct MapChange {
    /// The map, or `None` if it does not exist yet.
    pub(super) map: Option<ObjectId>,
    /// Whether the old content is discarded.
    is_anew: bool,
    /// The byte offset of the new entries in the map.
    at: u64,
    entries: Vec<u8>,
    /// The fields of the new header.
    allocated: u64,
    histogram: Option<Histogram>,
    shift: u8,
}

impl MapChange {
    /// Writes the change to the map in `object`.
    ///
    /// # Errors
    /// Fails if the store cannot be changed.
    pub(super) fn write(&self, mos: &mut dyn ObjectStore, object: ObjectId) -> Result<()> {
        if self.is_anew {
            mos.free_range(object, 0, u64::MAX)?;
        }
        mos.write(object, self.at, &self.entries)?;
        let histogram = self.histogram.as_ref().map(|histogram| (histogram, self.shift));
        let length = self.at + self.entries.len() as u64;
        let header = space_map_write::header(object, length, self.allocated, histogram);
        mos.set_bonus(object, ObjectType::SPACE_MAP_HEADER, &header)
    }
}

/// A metaslab.
#[derive(Clone, Debug)]
pub(super) struct Metaslab {
    start: u64,
    size: u64,
    map: Option<ObjectId>,
    /// The allocated bytes in the map, including the changes that are not in it yet.
    allocated: u64,
    loaded: Option<Loaded>,
}

#[derive(Clone, Debug)]
struct Loaded {
    free: FreeSpace,
    freed: RangeSet,
    deferred: [RangeSet; DEFER_TXGS],
    allocs: RangeSet,
    frees: RangeSet,
    /// The positions at which the next search starts, for small and for large ranges.
    cursors: [u64; 2],
    map_length: u64,
    map_block_bytes: u64,
    has_histogram: bool,
}

impl Metaslab {
    /// Returns a metaslab without allocations.
    pub(super) fn new(start: u64, size: u64) -> Self {
        Self { start, size, map: None, allocated: 0, loaded: None }
    }

    /// Opens a metaslab whose map is in `object`. Reads only the header of the map.
    ///
    /// # Errors
    ///
    /// Fails if the header cannot be read, and if it counts more than the size of the metaslab.
    pub(super) fn open(mos: &dyn ObjectSet, object: ObjectId, start: u64, size: u64) -> Result<Self> {
        let map = SpaceMap::open(mos, object)?;
        let allocated = u64::try_from(map.alloc).ok().filter(|allocated| *allocated <= size);
        let allocated = allocated.ok_or_else(|| {
            let detail =
                format!("object {object} has {} allocated bytes, at most {size} are possible", map.alloc);
            Error::corrupt("space map", detail)
        })?;
        Ok(Self { start, size, map: Some(object), allocated, loaded: None })
    }

    /// Returns start and size.
    pub(super) fn range(&self) -> (u64, u64) {
        (self.start, self.size)
    }

    pub(super) fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Returns an upper bound for the size of the largest free range.
    pub(super) fn room(&self) -> u64 {
        match &self.loaded {
            Some(loaded) => loaded.free.largest(),
            None => self.size - self.allocated,
        }
    }

    /// Returns the number of bytes that can be allocated.
    pub(super) fn free_bytes(&self) -> u64 {
        self.loaded.as_ref().map_or(self.size - self.allocated, |loaded| loaded.free.bytes())
    }

    /// Loads the map if it is not loaded yet. `shift` is the logarithm of its unit.
    fn load(&mut self, mos: Option<&dyn ObjectSet>, shift: u8) -> Result<&mut Loaded> {
        if self.loaded.is_none() {
            let loaded = self.read(mos, shift)?;
            let free = loaded.free.bytes();
            if self.size - free != self.allocated {
                let (object, found) = (self.map.unwrap_or_default(), self.size - free);
                let detail =
                    format!("object {object} allocates {found} bytes, its header has {}", self.allocated);
                return Err(Error::corrupt("space map", detail));
            }
            self.loaded = Some(loaded);
        }
        Ok(self.loaded.as_mut().expect("was just read"))
    }

    fn read(&self, mos: Option<&dyn ObjectSet>, shift: u8) -> Result<Loaded> {
        let (mut allocated, mut has_histogram) = (RangeSet::default(), false);
        let (mut map_length, mut map_block_bytes) = (0, u64::from(space_map_write::BLOCK_BYTES));
        if let Some(object) = self.map {
            let mos = mos.ok_or_else(|| Error::from(Fault::NoObject(object)))?;
            let map = SpaceMap::open(mos, object)?;
            map.replay(mos, self.start, self.size, shift, &mut allocated)?;
            (map_length, map_block_bytes) = (map.length, mos.info(object)?.block_bytes);
            has_histogram = map.histogram.is_some();
        }
        let mut free = FreeSpace::new();
        let mut at = self.start;
        for (start, end) in allocated.iter() {
            free.release(at, start)?;
            at = end;
        }
        free.release(at, self.start + self.size)?;
        Ok(Loaded {
            free,
            freed: RangeSet::default(),
            deferred: Default::default(),
            allocs: RangeSet::default(),
            frees: RangeSet::default(),
            cursors: [self.start; 2],
            map_length,
            map_block_bytes,
            has_histogram,
        })
    }

    /// Allocates `size` bytes. Returns `None` if no free range is large enough.
    ///
    /// # Errors
    ///
    /// Fails if the map cannot be read.
    pub(super) fn take(&mut self, mos: Option<&dyn ObjectSet>, shift: u8, size: u64) -> Result<Option<u64>> {
        if self.room() < size {
            return Ok(None);
        }
        let loaded = self.load(mos, shift)?;
        let cursor = &mut loaded.cursors[usize::from(size >= LARGE_BYTES)];
        let Some(start) = loaded.free.take(size, *cursor) else { return Ok(None) };
        *cursor = start + size;
        loaded.note_alloc(start, start + size)?;
        self.allocated += size;
        Ok(Some(start))
    }

    /// Checks that the whole range is allocated.
    ///
    /// # Errors
    ///
    /// Fails if part of the range is not allocated, and if the map cannot be read.
    pub(super) fn check_allocated(
        &mut self,
        mos: Option<&dyn ObjectSet>,
        shift: u8,
        start: u64,
        end: u64,
    ) -> Result<()> {
        let loaded = self.load(mos, shift)?;
        let mut waiting = std::iter::once(&loaded.freed).chain(&loaded.deferred);
        if loaded.free.overlaps(start, end) || waiting.any(|set| set.overlaps(start, end)) {
            return Err(Error::corrupt("space", format!("{start:#x}..{end:#x} is freed, but not allocated")));
        }
        Ok(())
    }

    /// Returns whether the whole range is free.
    ///
    /// # Errors
    ///
    /// Fails if the map cannot be read.
    pub(super) fn is_free(
        &mut self,
        mos: Option<&dyn ObjectSet>,
        shift: u8,
        start: u64,
        end: u64,
    ) -> Result<bool> {
        Ok(self.load(mos, shift)?.free.has(start, end))
    }

    /// Frees a range. It can be reused immediately if `at_once`, and otherwise after enough transaction groups.
    ///
    /// # Errors
    ///
    /// Fails if part of the range is not allocated, and if the map cannot be read.
    pub(super) fn free(
        &mut self,
        mos: Option<&dyn ObjectSet>,
        shift: u8,
        (start, end): (u64, u64),
        at_once: bool,
    ) -> Result<()> {
        self.check_allocated(mos, shift, start, end)?;
        let loaded = self.load(mos, shift)?;
        loaded.note_free(start, end)?;
        if at_once {
            loaded.free.release(start, end)?;
        } else {
            loaded.freed.add(start, end)?;
        }
        self.allocated -= end - start;
        Ok(())
    }

    /// Applies a change from a log space map that is not in the map of the metaslab yet.
    ///
    /// # Errors
    ///
    /// Fails if the change allocates an allocated range or frees a free one, and if the map cannot be read.
    pub(super) fn replay(
        &mut self,
        mos: Option<&dyn ObjectSet>,
        shift: u8,
        change: SpaceChange,
        (start, end): (u64, u64),
    ) -> Result<()> {
        match change {
            SpaceChange::Alloc => {
                let loaded = self.load(mos, shift)?;
                loaded.free.claim(start, end)?;
                loaded.note_alloc(start, end)?;
                self.allocated += end - start;
                Ok(())
            }
            // It was freed in a transaction group that is on stable storage.
            SpaceChange::Free => self.free(mos, shift, (start, end), true),
        }
    }

    /// Returns the changes that are not in the map yet, and marks them as written. The caller must write them.
    ///
    /// # Errors
    ///
    /// Fails only if ranges overlap, which is a bug.
    pub(super) fn take_changes(&mut self, writing: &Writing) -> Result<Option<MapChange>> {
        let Some(loaded) = self.loaded.as_mut() else { return Ok(None) };
        if loaded.allocs.is_empty() && loaded.frees.is_empty() {
            return Ok(None);
        }
        if self.map.is_none() {
            loaded.has_histogram = writing.histogram;
        }
        let form = Form {
            start: self.start,
            shift: writing.shift,
            two_words: writing.two_words,
            block_bytes: loaded.map_block_bytes,
        };
        let mut entries = Vec::new();
        // Later passes write the changes that the first one caused. Condensing would cause as many again.
        let is_anew = writing.pass == 1 && loaded.condense_pays();
        if is_anew {
            let all = loaded.allocated(self.start, self.start + self.size)?;
            loaded.map_length = 0;
            entries = form.entries(0, &all, SpaceChange::Alloc, writing.txg, writing.pass);
        } else {
            for (ranges, change) in [(&loaded.allocs, SpaceChange::Alloc), (&loaded.frees, SpaceChange::Free)]
            {
                let at = loaded.map_length + entries.len() as u64;
                entries.extend(form.entries(at, ranges, change, writing.txg, writing.pass));
            }
        }
        let at = loaded.map_length;
        loaded.map_length += entries.len() as u64;
        (loaded.allocs, loaded.frees) = Default::default();
        Ok(Some(MapChange {
            map: self.map,
            is_anew,
            at,
            entries,
            allocated: self.allocated,
            histogram: loaded.has_histogram.then(|| loaded.histogram()),
            shift: writing.shift,
        }))
    }

    /// Sets the object of a new map.
    pub(super) fn set_map(&mut self, object: ObjectId) {
        self.map = Some(object);
    }

    /// Marks the transaction group as committed, and ages deferred frees.
    ///
    /// # Errors
    ///
    /// Fails only if deferred space was reallocated, which is a bug.
    pub(super) fn committed(&mut self) -> Result<()> {
        let Some(loaded) = self.loaded.as_mut() else { return Ok(()) };
        let freed = std::mem::take(&mut loaded.freed);
        loaded.deferred.rotate_right(1);
        let ripe = std::mem::replace(&mut loaded.deferred[0], freed);
        for (start, end) in ripe.iter() {
            loaded.free.release(start, end)?;
        }
        Ok(())
    }
}

impl Loaded {
    fn note_alloc(&mut self, start: u64, end: u64) -> Result<()> {
        for (start, end) in self.frees.cut(start, end) {
            self.allocs.add(start, end)?;
        }
        Ok(())
    }

    fn note_free(&mut self, start: u64, end: u64) -> Result<()> {
        for (start, end) in self.allocs.cut(start, end) {
            self.frees.add(start, end)?;
        }
        Ok(())
    }

    fn waiting(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        std::iter::once(&self.freed).chain(&self.deferred).flat_map(RangeSet::iter)
    }

    /// Returns the ranges that are allocated in the map.
    fn allocated(&self, start: u64, end: u64) -> Result<RangeSet> {
        let mut allocated = RangeSet::default();
        allocated.add(start, end)?;
        for (start, end) in self.free.iter().chain(self.waiting()) {
            allocated.remove(start, end)?;
        }
        Ok(allocated)
    }

    fn histogram(&self) -> Histogram {
        let mut histogram = *self.free.histogram();
        for (start, end) in self.waiting() {
            histogram[bucket(end - start)] += 1;
        }
        histogram
    }

    /// Returns whether the condensed map would be much shorter. There is at most one allocated range between two free
    /// ones.
    fn condense_pays(&self) -> bool {
        let ranges = self.free.ranges() + self.waiting().count() + 1;
        let best = 8 * (ranges as u64 + 1);
        self.map_length >= CONDENSE_FACTOR * best && self.map_length > CONDENSE_BLOCKS * self.map_block_bytes
    }
}

/// Reads the array of the maps of a vdev's metaslabs: an object each, 0 for none.
///
/// # Errors
///
/// Fails if the array cannot be read.
pub(super) fn read_array(mos: &dyn ObjectSet, array: ObjectId, count: u64) -> Result<Vec<u64>> {
    let mut bytes = vec![0; count as usize * 8];
    mos.read(array, 0, &mut bytes)?;
    Ok(bytes.chunks_exact(8).map(|word| ByteOrder::Little.u64(word)).collect())
}
