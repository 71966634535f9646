//! Writes, and uploads in the background.

use std::io::{self, ErrorKind};
use std::sync::{Arc, PoisonError};

use super::{ObjectDevice, Shared, State};
use crate::format::{Kind, Payload};

impl ObjectDevice {
    /// Returns the number of the writer, if a range can be written.
    pub(super) fn check_write(&self, offset: u64, bytes: u64) -> io::Result<u64> {
        self.shared.check_range(offset, bytes)?;
        let read_only = || io::Error::new(ErrorKind::ReadOnlyFilesystem, "opened read-only");
        self.shared.writer.ok_or_else(read_only)
    }

    /// Writes bytes outside of the label regions.
    pub(super) fn write(&self, writer: u64, address: u64, bytes: &[u8]) -> io::Result<()> {
        let shared = &self.shared;
        let mut state = shared.state();
        while state.failed.is_none() && state.pending_bytes > shared.limits.pending_bytes {
            state = shared.uploaded.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check()?;
        state.is_changed = true;
        state.discards.remove(address, address + bytes.len() as u64);
        let mut payloads = Vec::new();
        for chunk in state.overlay.write(address, bytes) {
            let pieces = state.overlay.take_chunk(chunk);
            payloads.extend(shared.seal(&mut state, writer, pieces));
        }
        while state.overlay.bytes() > shared.limits.overlay_bytes {
            let pieces = state.overlay.take_first(shared.geometry.chunk_bytes);
            payloads.extend(shared.seal(&mut state, writer, pieces));
        }
        drop(state);
        payloads.into_iter().try_for_each(|payload| Shared::start(shared, payload))
    }
}

impl Shared {
    /// Packs pieces of the device, in order, into objects, which are mapped at once.
    pub(super) fn seal(&self, state: &mut State, writer: u64, pieces: Vec<(u64, Vec<u8>)>) -> Vec<Payload> {
        let mut payloads = Vec::new();
        let mut group: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut bytes = 0;
        let page = |address: u64| address / self.geometry.page_bytes;
        let mut close = |group: &mut Vec<(u64, Vec<u8>)>| {
            if !group.is_empty() {
                let payload = Payload::pack(state.new_id(Kind::Data, writer), group);
                group.clear();
                state.map.insert(&payload);
                state.pending.insert(payload.id, payload.object.clone());
                state.pending_bytes += payload.object.len() as u64;
                payloads.push(payload);
            }
        };
        for (address, piece) in pieces {
            let is_full = bytes + piece.len() as u64 > self.geometry.chunk_bytes
                || group.len() == Payload::PIECES_MAX
                || group.first().is_some_and(|(first, _)| page(*first) != page(address));
            if is_full {
                close(&mut group);
                bytes = 0;
            }
            bytes += piece.len() as u64;
            group.push((address, piece));
        }
        close(&mut group);
        payloads
    }

    /// Starts the upload of an object.
    pub(super) fn start(shared: &Arc<Self>, payload: Payload) -> io::Result<()> {
        let Payload { id, object, .. } = payload;
        let at_end = Arc::clone(shared);
        let size = object.len() as u64;
        let started = shared.store.upload(id.name(), object, move |result| {
            let mut state = at_end.state();
            state.pending.remove(&id);
            state.pending_bytes -= size;
            if let Err(error) = result {
                state.fail(&error);
            }
            at_end.uploaded.notify_all();
        });
        if let Err(error) = &started {
            shared.state().fail(error);
        }
        started
    }
}
