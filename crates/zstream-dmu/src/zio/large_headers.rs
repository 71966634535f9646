//! The use of gang headers larger than 512 bytes in a pool.

use std::sync::atomic::{AtomicU8, Ordering};

/// The name of the feature.
pub(crate) const FEATURE: &str = "dynamic_gang_header";

/// The state of the feature `dynamic_gang_header` in a pool that is written. It becomes active with the transaction
/// group in which a piece of a gang block had to become a gang block because three pieces were not enough.
#[derive(Debug)]
pub struct LargeHeaders(AtomicU8);

const DISABLED: u8 = 0;
const ENABLED: u8 = 1;
const WANTED: u8 = 2;
const ACTIVE: u8 = 3;

impl Default for LargeHeaders {
    /// Returns the state of a pool without the feature.
    fn default() -> Self {
        Self(AtomicU8::new(DISABLED))
    }
}

impl LargeHeaders {
    /// Returns the state of a pool in which the feature is enabled, and possibly active.
    pub(crate) fn of(is_enabled: bool, is_active: bool) -> Self {
        Self(AtomicU8::new(match (is_enabled, is_active) {
            (_, true) => ACTIVE,
            (true, false) => ENABLED,
            (false, false) => DISABLED,
        }))
    }

    /// Returns `true` if gang headers are written in the large size.
    pub(super) fn are_used(&self) -> bool {
        self.0.load(Ordering::Relaxed) == ACTIVE
    }

    /// Records that large headers would have been of use.
    pub(super) fn want(&self) {
        let _ = self.0.compare_exchange(ENABLED, WANTED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Begins to use large headers if they would have been of use. Returns `true` if the feature must become active
    /// in this transaction group.
    pub(crate) fn begin_if_wanted(&self) -> bool {
        self.0.compare_exchange(WANTED, ACTIVE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Records that the feature was enabled.
    pub(crate) fn enable(&self) {
        let _ = self.0.compare_exchange(DISABLED, ENABLED, Ordering::Relaxed, Ordering::Relaxed);
    }
}
