//! The progress of a send, which other threads can read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The counters of a running send, which any thread can read. One `Progress` can be used for several sends in sequence and
/// continues to count.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    blocks: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// The number of bytes written so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The number of blocks and holes visited so far (`dss_blocks`).
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// Cancels the send, which then fails with [`Fault::Cancelled`](crate::error::Fault::Cancelled).
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
#[non_exhaustive]
pub struct Replaced {
    /// The object.
    pub object: u64,
    /// The offset in the object, in bytes.
    pub offset: u64,
    /// The size of the pattern in bytes.
    pub length: u64,
}

/// The result of a send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// The size of the stream in bytes.
    pub bytes: u64,
    /// The number of records, including BEGIN and END.
    pub records: u64,
    /// The blocks that [`corrupt_data`](crate::plan::Options::corrupt_data) replaced, in the order of the stream.
    pub replaced: Vec<Replaced>,
}
