//! The cache of parts of objects.
//!
//! Objects are cut into pieces of a fixed size. A piece that is being read is locked, so that several readers of it
//! cause one request. Objects are immutable, so a piece never becomes invalid.
//!
//! A reader that goes through an object gets ever larger parts of it: as many pieces ahead as there are just before.
//!
//! ```text
//! requests: [0] [1 2] [3 4 5 6] [7 ... 14] [15 ... 30]
//! ```

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::format::{Extent, Location, ObjectId, corrupt};
use crate::store::Store;

/// The size of a piece.
const PIECE_BYTES: u64 = 256 << 10;

/// The largest number of pieces that are read with one request.
const PIECES_PER_REQUEST: u32 = 16;

type Key = (ObjectId, u32);
type Cell = Arc<Mutex<Option<Bytes>>>;

/// The pieces that were used last.
#[derive(Debug)]
pub(super) struct Cache {
    pieces: Mutex<Pieces>,
}

#[derive(Debug)]
struct Pieces {
    cells: HashMap<Key, (Cell, u64)>,
    clock: u64,
    most: usize,
}

impl Pieces {
    fn cell(&mut self, key: Key) -> Cell {
        self.clock += 1;
        let clock = self.clock;
        let (cell, used) = self.cells.entry(key).or_default();
        *used = clock;
        let cell = Arc::clone(cell);
        if self.cells.len() > self.most {
            // In one go, so that it is seldom.
            let mut uses: Vec<u64> = self.cells.values().map(|(_, used)| *used).collect();
            uses.sort_unstable();
            let oldest = uses[uses.len() / 4];
            self.cells.retain(|_, (_, used)| *used > oldest);
        }
        cell
    }

    /// Adds the pieces after the last one of each run of `keys` that are worth reading together with it.
    fn add_ahead(&self, keys: &mut Vec<Key>) {
        let mut ahead = Vec::new();
        for (n, (object, piece)) in keys.iter().enumerate() {
            let is_last = keys.get(n + 1) != Some(&(*object, piece + 1));
            if !is_last || self.is_read(*object, *piece) {
                continue;
            }
            let run = (1..PIECES_PER_REQUEST).take_while(|back| {
                piece.checked_sub(*back).is_some_and(|piece| {
                    self.cells.contains_key(&(*object, piece))
                        || keys.binary_search(&(*object, piece)).is_ok()
                })
            });
            let next = (1..=run.count() as u32).map(|step| piece.saturating_add(step));
            // What is there already ends the request.
            ahead.extend(next.take_while(|next| !self.is_read(*object, *next)).map(|next| (*object, next)));
        }
        keys.extend(ahead);
        keys.sort_unstable();
        keys.dedup();
    }

    fn is_read(&self, object: ObjectId, piece: u32) -> bool {
        let cell = self.cells.get(&(object, piece));
        // One that is locked is being read.
        cell.is_some_and(|(cell, _)| cell.try_lock().map_or(true, |cell| cell.is_some()))
    }
}

impl Cache {
    /// Creates a cache of about this many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let most = (bytes / PIECE_BYTES).max(4) as usize;
        Self { pieces: Mutex::new(Pieces { cells: HashMap::new(), clock: 0, most }) }
    }

    /// Reads extents, which lie in objects, into `out`, which starts at address `start`.
    pub(super) fn read(
        &self,
        store: &Store,
        extents: &[Extent],
        start: u64,
        out: &mut [u8],
    ) -> io::Result<()> {
        let mut keys: Vec<Key> = Vec::new();
        for extent in extents {
            if let Some(Location { object, offset }) = extent.at {
                let end = u64::from(offset) + extent.bytes;
                let pieces = u64::from(offset) / PIECE_BYTES..end.div_ceil(PIECE_BYTES);
                keys.extend(pieces.map(|piece| (object, piece as u32)));
            }
        }
        // All readers lock pieces in this order, so they never wait for each other in a circle.
        keys.sort_unstable();
        keys.dedup();
        let mut needed = Vec::new();
        let cells: Vec<Cell> = {
            let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
            needed.clone_from(&keys);
            pieces.add_ahead(&mut keys);
            keys.iter().map(|key| pieces.cell(*key)).collect()
        };
        let mut locked: Vec<MutexGuard<'_, Option<Bytes>>> =
            cells.iter().map(|cell| cell.lock().unwrap_or_else(PoisonError::into_inner)).collect();
        fill(store, (&keys, &needed), &mut locked)?;
        for extent in extents {
            let Some(at) = extent.at else { continue };
            let from = (extent.address - start) as usize;
            let out = &mut out[from..from + extent.bytes as usize];
            copy(&keys, &locked, at, out).map_err(|error| store.name_error(&at.object.name(), error))?;
        }
        Ok(())
    }
}

/// Reads the pieces that are not there, neighbours with one request. Those that are not needed may be beyond the end of
/// their object: no request starts with one.
fn fill(
    store: &Store,
    (keys, needed): (&[Key], &[Key]),
    locked: &mut [MutexGuard<'_, Option<Bytes>>],
) -> io::Result<()> {
    // Runs of missing neighbours: the first one among the keys, and their number.
    let mut runs: Vec<(usize, u32)> = Vec::new();
    for (n, (object, piece)) in keys.iter().enumerate() {
        if locked[n].is_some() {
            continue;
        }
        match runs.last_mut() {
            Some((first, count))
                if *first + *count as usize == n
                    && keys[*first].0 == *object
                    && keys[*first].1 + *count == *piece
                    && *count < PIECES_PER_REQUEST =>
            {
                *count += 1;
            }
            _ if needed.binary_search(&keys[n]).is_ok() => runs.push((n, 1)),
            _ => {}
        }
    }
    let ranges = runs.iter().map(|(first, count)| {
        let (object, piece) = keys[*first];
        let from = u64::from(piece) * PIECE_BYTES;
        (object.name(), from..from + u64::from(*count) * PIECE_BYTES)
    });
    let ranges: Vec<_> = ranges.collect();
    if ranges.is_empty() {
        return Ok(());
    }
    for ((first, count), bytes) in runs.into_iter().zip(store.get_ranges(ranges)?) {
        for n in 0..count as usize {
            let from = (n * PIECE_BYTES as usize).min(bytes.len());
            let to = (from + PIECE_BYTES as usize).min(bytes.len());
            // A part of a larger buffer would keep all of it.
            let piece = if count == 1 { bytes.clone() } else { Bytes::copy_from_slice(&bytes[from..to]) };
            *locked[first + n] = Some(piece);
        }
    }
    Ok(())
}

/// Copies from pieces, all of which are there.
fn copy(
    keys: &[Key],
    locked: &[MutexGuard<'_, Option<Bytes>>],
    at: Location,
    out: &mut [u8],
) -> io::Result<()> {
    let mut done = 0;
    while done < out.len() {
        let offset = u64::from(at.offset) + done as u64;
        let key = (at.object, (offset / PIECE_BYTES) as u32);
        let piece = keys.binary_search(&key).ok().and_then(|n| locked[n].as_ref());
        let within = (offset % PIECE_BYTES) as usize;
        let count = (PIECE_BYTES as usize - within).min(out.len() - done);
        let bytes = piece.and_then(|piece| piece.get(within..within + count));
        let bytes = bytes.ok_or_else(|| corrupt("the object is shorter than the map says"))?;
        out[done..done + count].copy_from_slice(bytes);
        done += count;
    }
    Ok(())
}
