//! Commits: everything that was written becomes a generation.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::{ObjectDevice, Shared};
use crate::collect::{self, GRACE_DEFAULT};
use crate::format::{Generation, Kind, ObjectId, Table};
use crate::history;
use crate::map::{Layer, Rooted, fold};

/// What a commit consists of, as of its begin.
struct Begun {
    number: u64,
    parent_writer: u64,
    labels: std::collections::BTreeMap<u32, Box<[u8; crate::format::LABEL_BLOCK]>>,
    base: Arc<Layer>,
    rooted: Arc<Rooted>,
    objects: Vec<ObjectId>,
    confirmed: Instant,
}

impl ObjectDevice {
    /// Commits a generation, even if nothing was written. Later commits of writers that were open before it fail.
    pub(crate) fn commit_always(&self) -> io::Result<u64> {
        let writer = self.check_write(0, 0)?;
        self.shared.state().is_changed = true;
        self.commit(writer)?;
        Ok(self.shared.state().generation)
    }

    /// Commits everything that was written or discarded, if there is anything.
    pub(super) fn commit(&self, writer: u64) -> io::Result<()> {
        let _one = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &self.shared;
        let result = shared.begin(writer).and_then(|begun| match begun {
            None => Ok(()),
            Some(begun) => shared.finish(writer, begun),
        });
        if let Err(error) = &result {
            shared.state().fail(error);
        }
        result
    }
}

impl Shared {
    /// Seals the rest of the overlay, and starts its upload. Returns `None` if nothing was changed.
    fn begin(self: &Arc<Self>, writer: u64) -> io::Result<Option<Begun>> {
        let mut state = self.state();
        state.check()?;
        if !state.is_changed {
            return Ok(None);
        }
        state.is_changed = false;
        if std::mem::take(&mut state.has_labels) {
            for discarded in std::mem::take(&mut state.discards).iter() {
                state.map.discard(discarded.address, discarded.end());
            }
        }
        let pieces = state.overlay.take_all();
        let payloads = self.seal(&mut state, writer, pieces);
        let (base, rooted) = state.map.freeze();
        let begun = Begun {
            number: state.generation + 1,
            parent_writer: state.generation_writer,
            labels: state.labels.blocks().clone(),
            base,
            rooted,
            objects: state.pending.keys().copied().collect(),
            confirmed: state.confirmed,
        };
        drop(state);
        payloads.into_iter().try_for_each(|payload| Self::start(self, payload))?;
        Ok(Some(begun))
    }

    fn finish(&self, writer: u64, begun: Begun) -> io::Result<()> {
        let Begun { number, parent_writer, labels, base, rooted, objects, confirmed } = begun;
        let (table, root, folded, dead) =
            if base.extents.len() + base.objects.len() > self.limits.fold_entries {
                let (rooted, dead) = self.fold(writer, number, &base, &rooted)?;
                (Table::default(), rooted.at, Some(rooted), dead)
            } else {
                (base.table(), rooted.at, None, Vec::new())
            };
        drop(base);
        self.wait_for(&objects)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let generation = Generation {
            number,
            writer,
            parent_writer,
            time: now,
            identity: self.identity,
            geometry: self.geometry,
            root,
            labels,
            changes: table,
            dead,
        };
        let is_stalled = confirmed.elapsed() > self.limits.stall;
        history::commit(&self.store, &generation)?;
        if is_stalled {
            history::confirm_newest(&self.store, number)?;
        }
        let mut state = self.state();
        if let Some(rooted) = folded {
            state.map.folded(rooted);
        }
        (state.generation, state.generation_writer) = (number, writer);
        state.confirmed = Instant::now();
        let is_first = !std::mem::replace(&mut state.has_collected, true);
        drop(state);
        if is_first {
            // The commit has succeeded, and the next writer tries again.
            let _ = collect::little(&self.store, GRACE_DEFAULT, SystemTime::now());
        }
        Ok(())
    }

    /// Waits until these objects are stored.
    fn wait_for(&self, objects: &[ObjectId]) -> io::Result<()> {
        let mut state = self.state();
        while state.failed.is_none() && objects.iter().any(|id| state.pending.contains_key(id)) {
            state = self.uploaded.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check()
    }

    /// Writes the changed pages and the root. Returns the new root and the dead objects.
    fn fold(
        &self,
        writer: u64,
        number: u64,
        base: &Layer,
        rooted: &Rooted,
    ) -> io::Result<(Rooted, Vec<ObjectId>)> {
        let new_id = &mut || self.state().new_id(Kind::Map, writer);
        let page_bytes = self.geometry.page_bytes;
        let folded = fold((&self.store, &self.pages), page_bytes, (base, rooted), number, new_id)?;
        for (id, bytes) in folded.objects {
            self.store.put(&id.name(), Bytes::from(bytes))?;
        }
        Ok((folded.rooted, folded.dead))
    }
}
