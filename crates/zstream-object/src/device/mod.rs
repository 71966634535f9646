//! A pool's device whose bytes lie in objects.
//!
//! ```text
//! write -> overlay -- full chunk, or too much --> object --> upload in the background --.
//!    |                                                                                  v
//!    '--> labels ------------------------ flush: rest of the overlay -> uploads done -> record of the generation
//!
//! read  <- labels, overlay, objects that are being uploaded, cache, store
//! ```
//!
//! These invariants hold: the record of a generation is stored after all objects that it refers to; an object has the
//! bytes of one page of the map only; after an error of an upload or a commit every later write and flush fails.
//!
//! A pool discards what a transaction group frees before it writes the uberblock of that group, and the uberblock before
//! it refers to what is discarded. Therefore discards belong to the first generation with changed labels after them.

mod cache;
mod commit;
mod compact;
mod labels;
mod overlay;
mod write;

use std::collections::HashMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use zstream_dmu::device::{Device, DeviceHints};

use self::cache::Cache;
use self::labels::Labels;
use self::overlay::Overlay;
use crate::format::{Extent, Generation, Geometry, Kind, ObjectId};
use crate::map::{Extents, Map, Pages, Part, Rooted};
use crate::store::Store;

/// The sizes of buffers and other limits of an open device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The number of written bytes in memory above which incomplete chunks are uploaded before the flush.
    pub(crate) overlay_bytes: u64,
    /// The number of bytes that are being uploaded above which writers wait.
    pub(crate) pending_bytes: u64,
    /// The size of the cache for reading.
    pub(crate) cache_bytes: u64,
    /// The number of changed extents and objects in the record of a generation above which pages are written.
    pub(crate) fold_entries: usize,
    /// The time since the last commit after which a commit makes sure that it is the newest.
    pub(crate) stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            overlay_bytes: 32 << 20,
            pending_bytes: 48 << 20,
            cache_bytes: 48 << 20,
            fold_entries: 2048,
            stall: Duration::from_secs(60),
        }
    }
}

/// An open device.
pub(crate) struct ObjectDevice {
    shared: Arc<Shared>,
    /// Held during a commit.
    commit: Mutex<()>,
}

struct Shared {
    store: Store,
    geometry: Geometry,
    identity: [u8; 16],
    limits: Limits,
    pages: Pages,
    cache: Cache,
    /// The random number of this writer; none if the device is open for reading.
    writer: Option<u64>,
    state: Mutex<State>,
    /// Notified when an upload ends.
    uploaded: Condvar,
}

struct State {
    overlay: Overlay,
    labels: Labels,
    map: Map,
    /// The objects that are being uploaded.
    pending: HashMap<ObjectId, Bytes>,
    pending_bytes: u64,
    /// The ranges to discard in the next commit with changed labels.
    discards: Extents,
    /// Something was written since the last commit began.
    is_changed: bool,
    /// Labels were written since then.
    has_labels: bool,
    failed: Option<(ErrorKind, String)>,
    /// The newest generation, and its writer.
    generation: u64,
    generation_writer: u64,
    /// When the generation was known to be the newest.
    confirmed: Instant,
    /// The number of the next object.
    next: u32,
    /// Expired generations were collected since the device was opened.
    has_collected: bool,
}

impl State {
    fn check(&self) -> io::Result<()> {
        match &self.failed {
            None => Ok(()),
            Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.failed.get_or_insert_with(|| (error.kind(), error.to_string()));
    }

    fn new_id(&mut self, kind: Kind, writer: u64) -> ObjectId {
        let number = self.next;
        self.next += 1;
        ObjectId { generation: self.generation + 1, writer, number, kind }
    }
}

impl fmt::Debug for ObjectDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectDevice({:?}, {} bytes)", self.shared.store, self.shared.geometry.device_bytes)
    }
}

impl ObjectDevice {
    /// Opens a generation: for writing, if `writer` is a random number.
    ///
    /// # Errors
    /// Fails if the root of its map cannot be read.
    pub(crate) fn open(
        store: Store,
        generation: Generation,
        writer: Option<u64>,
        limits: Limits,
    ) -> io::Result<Self> {
        let Generation { number, geometry, identity, root, labels, changes, .. } = generation;
        let rooted = Pages::root(&store, geometry.page_bytes, root)?;
        let state = State {
            overlay: Overlay::new(geometry.chunk_bytes),
            labels: Labels::new(labels),
            map: Map::new(changes, rooted),
            pending: HashMap::new(),
            pending_bytes: 0,
            discards: Extents::default(),
            is_changed: false,
            has_labels: false,
            failed: None,
            generation: number,
            generation_writer: generation.writer,
            confirmed: Instant::now(),
            next: 0,
            has_collected: false,
        };
        let shared = Shared {
            store,
            geometry,
            identity,
            limits,
            pages: Pages::default(),
            cache: Cache::new(limits.cache_bytes),
            writer,
            state: Mutex::new(state),
            uploaded: Condvar::new(),
        };
        Ok(Self { shared: Arc::new(shared), commit: Mutex::new(()) })
    }

    /// Returns the number of the generation that is open, or was committed last.
    pub(crate) fn generation(&self) -> u64 {
        self.shared.state().generation
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_range(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let len = self.geometry.device_bytes;
        if offset.checked_add(bytes).is_some_and(|end| end <= len) {
            return Ok(());
        }
        let text = format!("{bytes} bytes at {offset:#x} are beyond the end of the device, {len:#x}");
        Err(io::Error::new(ErrorKind::UnexpectedEof, text))
    }

    /// Calls `act` with the parts of a range: the offset in the label regions, if the part is in them, its offset on
    /// the device, and the range of its bytes.
    fn each_region(
        &self,
        offset: u64,
        bytes: usize,
        act: &mut dyn FnMut(Option<u64>, u64, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < bytes {
            let at = offset + done as u64;
            let (label, run) = self.geometry.label(at);
            let count = run.min((bytes - done) as u64) as usize;
            act(label, at, done..done + count)?;
            done += count;
        }
        Ok(())
    }

    /// Reads bytes outside of the label regions.
    fn read(&self, start: u64, out: &mut [u8]) -> io::Result<()> {
        let mut wanted = Vec::new();
        let unknown = self.read_known(start, out, &mut wanted);
        for (from, to, rooted) in unknown {
            let page_bytes = self.geometry.page_bytes;
            for extent in self.pages.lookup(&self.store, page_bytes, &rooted, (from, to))? {
                match extent.at {
                    None => out[(extent.address - start) as usize..][..extent.bytes as usize].fill(0),
                    Some(_) => wanted.push(extent),
                }
            }
        }
        match wanted.is_empty() {
            true => Ok(()),
            false => self.cache.read(&self.store, &wanted, start, out),
        }
    }

    /// Reads the bytes that are in memory. The places of others are added to `wanted`, or, if they are on a page of
    /// the map, returned.
    fn read_known(
        &self,
        start: u64,
        out: &mut [u8],
        wanted: &mut Vec<Extent>,
    ) -> Vec<(u64, u64, Arc<Rooted>)> {
        let mut unknown = Vec::new();
        let mut gaps = Vec::new();
        let state = self.state();
        state.overlay.read(start, out, &mut |from, to| gaps.push((from, to)));
        for (from, to) in gaps {
            let (parts, rooted) = state.map.lookup(from, to);
            for part in parts {
                let extent = match part {
                    Part::Known(extent) => extent,
                    Part::OnPage { from, to } => {
                        unknown.push((from, to, Arc::clone(&rooted)));
                        continue;
                    }
                };
                let out = &mut out[(extent.address - start) as usize..][..extent.bytes as usize];
                match extent.at {
                    None => out.fill(0),
                    Some(at) => match state.pending.get(&at.object) {
                        Some(object) => out.copy_from_slice(&object[at.offset as usize..][..out.len()]),
                        None => wanted.push(extent),
                    },
                }
            }
        }
        unknown
    }
}

impl Device for ObjectDevice {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let shared = &self.shared;
        shared.check_range(offset, out.len() as u64)?;
        shared.each_region(offset, out.len(), &mut |label, at, range| match label {
            Some(label) => {
                shared.state().labels.read(label, &mut out[range]);
                Ok(())
            }
            None => shared.read(at, &mut out[range]),
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let writer = self.check_write(offset, bytes.len() as u64)?;
        self.shared.each_region(offset, bytes.len(), &mut |label, at, range| match label {
            Some(label) => {
                let mut state = self.shared.state();
                state.labels.write(label, &bytes[range]);
                (state.is_changed, state.has_labels) = (true, true);
                Ok(())
            }
            None => self.write(writer, at, &bytes[range]),
        })
    }

    fn flush(&self) -> io::Result<()> {
        match self.shared.writer {
            Some(writer) => self.commit(writer),
            None => Ok(()),
        }
    }

    fn len(&self) -> u64 {
        self.shared.geometry.device_bytes
    }

    fn hints(&self) -> DeviceHints {
        let mut hints = DeviceHints::default();
        hints.preferred_bytes = 1 << 20;
        hints.latency =
            if self.shared.store.is_remote() { Duration::from_millis(30) } else { Duration::ZERO };
        hints.can_discard = self.shared.writer.is_some();
        hints.is_flush_atomic = true;
        hints
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_write(offset, len)?;
        let end = offset + len;
        let mut state = self.shared.state();
        state.check()?;
        let mut at = offset;
        while at < end {
            let (label, run) = self.shared.geometry.label(at);
            let to = at.saturating_add(run).min(end);
            // Labels are never worth a discard.
            if label.is_none() {
                state.overlay.remove(at, to);
                state.discards.insert(Extent { address: at, bytes: to - at, at: None });
            }
            at = to;
        }
        Ok(())
    }
}
