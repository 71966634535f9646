//! A metaslab: a part of a top-level vdev with a space map of its own.
//!
//! Every byte of a loaded metaslab is in one of four states:
//!
//! ```text
//!            take                    free, written in this txg
//!  free ----------------> allocated ---------------------------> free
//!    ^                        |
//!    |                        | free, written before
//!    |                        v
//!    +-- deferred[1] <-- deferred[0] <-- freed        one step with each txg that is committed
//! ```
//!
//! The map says "free" of all but what is allocated; that freed space waits is known in memory only. It waits because the
//! uberblocks of the last transaction groups still lead to it: should the newest turn out unreadable, an older one is
//! opened and must find its blocks. OpenZFS waits as long (`TXG_DEFER_SIZE`).
//!
//! `allocs` and `frees` are what the map does not have yet. They never overlap: a range that is freed before its allocation
//! was written is as if it had never been allocated.

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

/// Transaction groups for which freed space waits before it is used again (`TXG_DEFER_SIZE`).
pub(super) const DEFER_TXGS: usize = 2;

/// A map is written anew when it is this many times as long as it would then be (`zfs_condense_pct`).
const CONDENSE_FACTOR: u64 = 2;

/// A map of fewer blocks than this is never written anew (`zfs_metaslab_condense_block_threshold`).
const CONDENSE_BLOCKS: u64 = 4;

/// Ranges of this size and more are searched from a cursor of their own, so that small blocks do not break up long runs of
/// large ones.
const LARGE_BYTES: u64 = 16 << 10;

/// What a metaslab's map needs to know of its surroundings to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writing {
    /// The transaction group.
    pub(super) txg: Txg,
    /// Its sync pass, from 1 on.
    pub(super) pass: u16,
    /// Logarithm of the map's unit.
    pub(super) shift: u8,
    /// Whether entries of two words may be used.
    pub(super) two_words: bool,
    /// Whether new maps have a histogram.
    pub(super) histogram: bool,
}

/// What is to be written to a metaslab's map.
#[derive(Clone, Debug)]
pub(super) struct MapChange {
    /// The map; it is to be made where there is none.
    pub(super) map: Option<ObjectId>,
    /// Whether everything that it has goes.
    is_anew: bool,
    /// Byte offset in the map, and what is to stand there.
    at: u64,
    entries: Vec<u8>,
    /// What its header is to say.
    allocated: u64,
    histogram: Option<Histogram>,
    shift: u8,
}

impl MapChange {
    /// Writes to the map in `object`.
    ///
    /// # Errors
    ///
    /// The store fails.
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
    /// Allocated bytes: the map's, with the changes that it does not have yet.
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
    /// Where the next search starts, for small and for large ranges.
    cursors: [u64; 2],
    map_length: u64,
    map_block_bytes: u64,
    has_histogram: bool,
}

impl Metaslab {
    /// A metaslab that was never allocated from.
    pub(super) fn new(start: u64, size: u64) -> Self {
        Self { start, size, map: None, allocated: 0, loaded: None }
    }

    /// A metaslab whose map is in `object`; only the map's header is read.
    ///
    /// # Errors
    ///
    /// The header cannot be read, or it counts more than the metaslab has.
    pub(super) fn open(mos: &dyn ObjectSet, object: ObjectId, start: u64, size: u64) -> Result<Self> {
        let map = SpaceMap::open(mos, object)?;
        let allocated = u64::try_from(map.alloc).ok().filter(|allocated| *allocated <= size);
        let allocated = allocated.ok_or_else(|| {
            let detail = format!("object {object} counts {} allocated bytes of {size}", map.alloc);
            Error::corrupt("space map", detail)
        })?;
        Ok(Self { start, size, map: Some(object), allocated, loaded: None })
    }

    pub(super) fn allocated(&self) -> u64 {
        self.allocated
    }

    /// The most that a range taken from it can have, as far as is known.
    pub(super) fn room(&self) -> u64 {
        match &self.loaded {
            Some(loaded) => loaded.free.largest(),
            None => self.size - self.allocated,
        }
    }

    /// Bytes that can be taken.
    pub(super) fn free_bytes(&self) -> u64 {
        self.loaded.as_ref().map_or(self.size - self.allocated, |loaded| loaded.free.bytes())
    }

    /// Reads the map, unless that was done. `shift` is the logarithm of its unit.
    fn load(&mut self, mos: Option<&dyn ObjectSet>, shift: u8) -> Result<&mut Loaded> {
        if self.loaded.is_none() {
            let loaded = self.read(mos, shift)?;
            let free = loaded.free.bytes();
            if self.size - free != self.allocated {
                let (object, found) = (self.map.unwrap_or_default(), self.size - free);
                let detail =
                    format!("object {object} allocates {found} bytes, its header says {}", self.allocated);
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

    /// Takes `size` bytes; `None` when no free range is as long.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
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

    /// Frees a range. It can be taken again at once if `at_once`, and else when enough transaction groups were committed.
    ///
    /// # Errors
    ///
    /// Part of it is not allocated, or the map cannot be read.
    pub(super) fn free(
        &mut self,
        mos: Option<&dyn ObjectSet>,
        shift: u8,
        (start, end): (u64, u64),
        at_once: bool,
    ) -> Result<()> {
        let loaded = self.load(mos, shift)?;
        let waiting = || std::iter::once(&loaded.freed).chain(&loaded.deferred);
        if loaded.free.overlaps(start, end) || waiting().any(|set| set.overlaps(start, end)) {
            return Err(Error::corrupt("space", format!("{start:#x}..{end:#x} is freed, but not allocated")));
        }
        loaded.note_free(start, end)?;
        if at_once {
            loaded.free.release(start, end)?;
        } else {
            loaded.freed.add(start, end)?;
        }
        self.allocated -= end - start;
        Ok(())
    }

    /// Applies a change out of a log space map, which the metaslab's own map does not have.
    ///
    /// # Errors
    ///
    /// It allocates what is allocated or frees what is free, or the map cannot be read.
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

    /// Takes what the map does not have yet, to be written to it. From then on it counts as written.
    ///
    /// # Errors
    ///
    /// Never, unless ranges overlap that must not.
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
        // Later passes write what the first one caused; writing the map anew would cause as much again.
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

    /// Says which object the map is in that was made for it.
    pub(super) fn set_map(&mut self, object: ObjectId) {
        self.map = Some(object);
    }

    /// Says that the transaction group is on stable storage.
    ///
    /// # Errors
    ///
    /// Never, unless freed space was taken while it waited.
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

    /// What the map must say is allocated.
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

    /// Whether the map, written anew, would be much shorter. Between two free ranges lies at most one that is allocated.
    fn condense_pays(&self) -> bool {
        let ranges = self.free.ranges() + self.waiting().count() + 1;
        let best = 8 * (ranges as u64 + 1);
        self.map_length >= CONDENSE_FACTOR * best && self.map_length > CONDENSE_BLOCKS * self.map_block_bytes
    }
}

/// The maps of a vdev's metaslabs, as its array of them says: an object each, 0 where there is none yet.
///
/// # Errors
///
/// The array cannot be read.
pub(super) fn read_array(mos: &dyn ObjectSet, array: ObjectId, count: u64) -> Result<Vec<u64>> {
    let mut bytes = vec![0; count as usize * 8];
    mos.read(array, 0, &mut bytes)?;
    Ok(bytes.chunks_exact(8).map(|word| ByteOrder::Little.u64(word)).collect())
}
