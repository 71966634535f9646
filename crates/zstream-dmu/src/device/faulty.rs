//! A device that fails according to a plan, for tests.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Device, DeviceHints};

/// The calls of a [`FaultyDevice`] that fail. Reads, writes, flushes and discards are counted together, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailingCalls {
    /// Only the call with this number.
    Once(u64),
    /// The call with this number and all later ones, like a disk that dies.
    From(u64),
}

/// A device that passes calls on to another device, except for those that fail according to its plan.
#[derive(Debug)]
pub struct FaultyDevice {
    inner: Arc<dyn Device>,
    plan: FailingCalls,
    calls: AtomicU64,
}

impl FaultyDevice {
    /// Creates a device that passes calls on to `inner` and fails according to `plan`.
    #[must_use]
    pub fn new(inner: Arc<dyn Device>, plan: FailingCalls) -> Self {
        Self { inner, plan, calls: AtomicU64::new(0) }
    }

    /// Returns the number of calls, failed ones included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn step(&self, what: &str) -> io::Result<()> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let fails = match self.plan {
            FailingCalls::Once(nth) => call == nth,
            FailingCalls::From(nth) => call >= nth,
        };
        if fails {
            Err(io::Error::other(format!("injected failure of call {call} ({what})")))
        } else {
            Ok(())
        }
    }
}

impl Device for FaultyDevice {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.step("read")?;
        self.inner.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.step("write")?;
        self.inner.write_at(offset, bytes)
    }

    fn flush(&self) -> io::Result<()> {
        self.step("flush")?;
        self.inner.flush()
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn hints(&self) -> DeviceHints {
        self.inner.hints()
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.step("discard")?;
        self.inner.discard(offset, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MemoryDevice;

    #[test]
    fn fails_on_the_call_it_was_told_to() {
        let memory: Arc<dyn Device> = Arc::new(MemoryDevice::new(8));
        let once = FaultyDevice::new(memory.clone(), FailingCalls::Once(1));
        assert!(once.write_at(0, b"a").is_ok());
        assert!(once.flush().is_err());
        assert!(once.read_at(0, &mut [0]).is_ok());
        assert_eq!(once.calls(), 3);
        let dead = FaultyDevice::new(memory, FailingCalls::From(1));
        assert!(dead.write_at(0, b"a").is_ok());
        assert!(dead.read_at(0, &mut [0]).is_err());
        assert!(dead.read_at(0, &mut [0]).is_err());
    }
}
