//! A reader that reads ahead on a thread.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// The size of a batch, in bytes.
pub(super) const BATCH_BYTES: usize = 1 << 20;

/// The maximum number of batches in the queue.
pub(super) const BATCHES: usize = 8;

/// A stream that a thread reads while the caller processes the previous batch.
pub(super) struct ReadAhead {
    batches: Receiver<io::Result<Vec<u8>>>,
    batch: Vec<u8>,
    at: usize,
}

impl ReadAhead {
    /// Starts to read a file.
    ///
    /// # Errors
    /// The file cannot be opened; the thread cannot be started.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::start(File::open(path)?)
    }

    /// Starts to read. The thread ends with the stream or when this reader is dropped; a thread that is blocked in a
    /// read is then detached.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(mut source: impl Read + Send + 'static) -> io::Result<Self> {
        let (sender, batches) = sync_channel(BATCHES);
        let read = move || {
            loop {
                let mut batch = Vec::with_capacity(BATCH_BYTES);
                let result = (&mut source).take(BATCH_BYTES as u64).read_to_end(&mut batch);
                let is_last = result.is_err() || batch.len() < BATCH_BYTES;
                // Data before an error counts; an empty batch would mean the end.
                if !batch.is_empty() && sender.send(Ok(batch)).is_err() {
                    return;
                }
                if let Err(error) = result {
                    // The receiver may be gone.
                    drop(sender.send(Err(error)));
                }
                if is_last {
                    return;
                }
            }
        };
        thread::Builder::new().name("read ahead".to_owned()).spawn(read)?;
        Ok(Self { batches, batch: Vec::new(), at: 0 })
    }
}

impl Read for ReadAhead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.batch.len() {
            self.at = 0;
            self.batch = self.batches.recv().unwrap_or_else(|_| Ok(Vec::new()))?;
        }
        let bytes = &self.batch[self.at..];
        let length = bytes.len().min(out.len());
        out[..length].copy_from_slice(&bytes[..length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many bytes, then an error.
    struct Failing(u64);

    impl Read for Failing {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("the tape is torn"));
            }
            let length = out.len().min(usize::try_from(self.0).unwrap_or(usize::MAX)).min(1000);
            out[..length].fill(7);
            self.0 -= length as u64;
            Ok(length)
        }
    }

    #[test]
    fn all_bytes_come_and_then_the_end_or_the_error() {
        let content: Vec<u8> = (0..3 * BATCH_BYTES + 17).map(|n| (n * 31 / 8) as u8).collect();
        for length in [0, 1, BATCH_BYTES, content.len()] {
            let mut found = Vec::new();
            let mut reader = ReadAhead::start(io::Cursor::new(content[..length].to_vec())).unwrap();
            reader.read_to_end(&mut found).unwrap();
            assert!(found == content[..length], "{length} bytes");
            assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        }
        for length in [0, 1000, BATCH_BYTES as u64, 20 * BATCH_BYTES as u64 + 1] {
            let mut found = Vec::new();
            let mut reader = ReadAhead::start(Failing(length)).unwrap();
            let error = reader.read_to_end(&mut found).unwrap_err();
            assert_eq!((found.len() as u64, error.to_string()), (length, "the tape is torn".to_owned()));
        }
    }
}
