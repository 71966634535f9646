//! How far a send has come, for those who watch it from another thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counters of a send under way, to be read from any thread. One may serve several sends in a row: it counts on.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    blocks: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// Bytes of the stream written so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Blocks and holes looked at so far (`dss_blocks`).
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// Makes the send end soon, with [`Fault::Cancelled`](crate::error::Fault::Cancelled).
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn visited(&self) {
        self.blocks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn wrote(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A block that could not be read and was sent as a pattern instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The object.
    pub object: u64,
    /// Where in the object, in bytes.
    pub offset: u64,
    /// Bytes of the pattern.
    pub length: u64,
}

/// What a send came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// Bytes of the stream.
    pub bytes: u64,
    /// Records, BEGIN and END among them.
    pub records: u64,
    /// What [`corrupt_data`](crate::plan::Options::corrupt_data) replaced, in the order of the stream.
    pub replaced: Vec<Replaced>,
}
