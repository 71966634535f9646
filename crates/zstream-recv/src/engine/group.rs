//! The size of the transaction groups of a receive, and so its memory.

use std::time::{Duration, Instant};

/// The number of stream bytes that one transaction group receives at most.
const GROUP_BYTES: u64 = 512 << 20;
/// The fixed part of the limit on changes that wait in memory, in bytes: dirty data, addresses of blocks that are
/// already written, and dnodes. Above the limit the transaction group is completed.
const GROUP_DIRTY_BYTES_BASE: u64 = 24 << 20;
/// The part of the limit that grows with each byte of the stream in the group. Files need less than this.
const GROUP_DIRTY_PER_STREAM_BYTE: u64 = 2;
/// The upper bound of the limit.
const GROUP_DIRTY_BYTES_MAX: u64 = 160 << 20;
/// The time that a transaction group stays open (`zfs_txg_timeout`), and so the most that an interrupted receive loses.
const GROUP_TIME: Duration = Duration::from_secs(5);

/// The transaction group that is open.
pub(super) struct Group {
    begun: Instant,
    from: u64,
}

impl Group {
    /// Returns a group that begins now, at this offset of the input.
    pub(super) fn new(from: u64) -> Self {
        Self { begun: Instant::now(), from }
    }

    /// Returns `true` if the group has to be completed: the input is at `offset`, and so many bytes of changes wait in
    /// memory.
    pub(super) fn is_full(&self, offset: u64, dirty_bytes: u64) -> bool {
        let stream_bytes = offset - self.from;
        dirty_bytes > group_dirty_bytes(stream_bytes)
            || stream_bytes > GROUP_BYTES
            || self.begun.elapsed() > GROUP_TIME
    }
}

/// Returns how many bytes of changes may wait in memory after so many bytes of the stream in the group. A stream whose
/// records cost far more than they carry does not fill the memory: its groups are small.
fn group_dirty_bytes(stream_bytes: u64) -> u64 {
    let more = stream_bytes.saturating_mul(GROUP_DIRTY_PER_STREAM_BYTE);
    GROUP_DIRTY_BYTES_BASE.saturating_add(more).min(GROUP_DIRTY_BYTES_MAX)
}
