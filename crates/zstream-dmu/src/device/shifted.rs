//! A device that starts before or after the start of another one.

use std::io;
use std::sync::Arc;

use super::{Device, DeviceHints, in_range};

/// The bytes of another device, shifted, for reading. A part that is not on the other device cannot be read.
#[derive(Debug, Clone)]
pub(crate) struct Shifted {
    inner: Arc<dyn Device>,
    start: i64,
    len: u64,
}

impl Shifted {
    /// Creates a device of `len` bytes whose first byte is byte `start` of `inner`.
    pub(crate) fn new(inner: Arc<dyn Device>, start: i64, len: u64) -> Self {
        Self { inner, start, len }
    }
}

impl Device for Shifted {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        in_range(self.len, offset, out.len())?;
        match offset.checked_add_signed(self.start) {
            Some(at) => self.inner.read_at(at, out),
            None => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{offset:#x} is before the start of the device"),
            )),
        }
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn hints(&self) -> DeviceHints {
        DeviceHints { can_discard: false, ..self.inner.hints() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MemoryDevice;

    #[test]
    fn what_is_on_the_other_device_can_be_read() {
        let memory: Arc<dyn Device> = Arc::new(MemoryDevice::from((0..100).collect::<Vec<u8>>()));
        let mut out = [0; 2];
        for (start, offset, expected) in
            [(10, 5, Some(15)), (-10, 15, Some(5)), (-10, 9, None), (90, 9, None)]
        {
            let shifted = Shifted::new(Arc::clone(&memory), start, 50);
            let read = shifted.read_at(offset, &mut out).ok().map(|()| out);
            assert_eq!(read, expected.map(|first| [first, first + 1]), "{start} {offset}");
            assert!(shifted.write_at(offset, &[0]).is_err());
        }
    }
}
