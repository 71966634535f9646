//! Devices for tests: read-only, with some ranges not as they were.

use std::io;
use std::sync::Arc;

use zstream_dmu::device::{Device, DeviceHints};

/// What is different in a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patch {
    /// Other bytes, from an offset on.
    Replace(u64, Vec<u8>),
    /// All bytes of a range XORed with the same.
    Xor(std::ops::Range<u64>, u8),
}

impl Patch {
    fn apply(&self, offset: u64, out: &mut [u8]) {
        let (start, end) = match self {
            Self::Replace(start, bytes) => (*start, start.saturating_add(bytes.len() as u64)),
            Self::Xor(range, _) => (range.start, range.end),
        };
        let (from, to) = (start.max(offset), end.min(offset + out.len() as u64));
        if from >= to {
            return;
        }
        let part = &mut out[(from - offset) as usize..(to - offset) as usize];
        match self {
            Self::Replace(_, bytes) => {
                part.copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize])
            }
            Self::Xor(_, with) => part.iter_mut().for_each(|byte| *byte ^= with),
        }
    }
}

/// A device, or zeros, with patches, the later ones on top.
#[derive(Debug, Clone)]
pub struct Patched {
    inner: Option<Arc<dyn Device>>,
    len: u64,
    /// What is different.
    pub patches: Vec<Patch>,
}

impl Patched {
    /// A device with patches.
    pub fn over(inner: Arc<dyn Device>, patches: Vec<Patch>) -> Self {
        Self { len: inner.len(), inner: Some(inner), patches }
    }

    /// `len` zeros with patches.
    pub fn zeros(len: u64, patches: Vec<Patch>) -> Self {
        Self { len, inner: None, patches }
    }
}

impl Device for Patched {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &self.inner {
            Some(inner) => inner.read_at(offset, out)?,
            None if offset.checked_add(out.len() as u64).is_some_and(|end| end <= self.len) => out.fill(0),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        self.patches.iter().for_each(|patch| patch.apply(offset, out));
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        self.len
    }
}

/// A device whose discarded ranges have other content.
#[derive(Debug)]
pub struct Discarding {
    /// The device below.
    pub inner: Arc<dyn Device>,
    /// Whether flushes are atomic, as in the generations of a bucket. A pool does not discard otherwise.
    pub is_flush_atomic: bool,
}

impl Discarding {
    /// What is read where nothing was written after a discard.
    const STALE: u8 = 0xdb;
}

impl Device for Discarding {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, bytes)
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn hints(&self) -> DeviceHints {
        let mut hints = self.inner.hints();
        (hints.can_discard, hints.is_flush_atomic) = (true, self.is_flush_atomic);
        hints
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        if !self.is_flush_atomic {
            return Err(io::Error::other("an older transaction group may need what is discarded"));
        }
        self.inner.write_at(offset, &vec![Self::STALE; usize::try_from(len).unwrap_or(usize::MAX)])
    }
}
