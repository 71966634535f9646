//! A pipe between two threads, in bounded memory.
//!
//! Unlike a pipe of the system it knows whether its writer has finished: if the writer failed, the reader gets an
//! error instead of the end.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use zstream_recv::error::Cancelled;

use crate::control::Cancel;

/// The size of a batch, in bytes.
const BATCH_BYTES: usize = 1 << 20;

/// The maximum number of batches in the queue.
const BATCHES: usize = 8;

/// The time after which a waiting reader looks whether it is cancelled.
const TICK: Duration = Duration::from_millis(100);

/// Makes a pipe.
pub(crate) fn pipe() -> (PipeWriter, PipeReader) {
    let (sender, batches) = sync_channel(BATCHES);
    let reader = PipeReader { batches, batch: Vec::new(), at: 0, is_finished: false, cancel: None };
    (PipeWriter { sender, batch: Vec::with_capacity(BATCH_BYTES) }, reader)
}

/// Some bytes; an empty batch is the end.
type Batch = Vec<u8>;

/// The write end of a pipe.
#[derive(Debug)]
pub(crate) struct PipeWriter {
    sender: SyncSender<Batch>,
    batch: Batch,
}

/// The read end of a pipe.
pub(crate) struct PipeReader {
    batches: Receiver<Batch>,
    batch: Batch,
    at: usize,
    is_finished: bool,
    cancel: Option<Cancel>,
}

impl PipeWriter {
    /// Sends the rest and marks the end. A reader that was dropped needs no more data.
    pub(crate) fn finish(mut self) {
        if self.flush().is_ok() {
            drop(self.sender.send(Vec::new()));
        }
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(BATCH_BYTES - self.batch.len());
        self.batch.extend_from_slice(&bytes[..length]);
        if self.batch.len() == BATCH_BYTES {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_BYTES));
        self.sender.send(batch).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl PipeReader {
    /// The same; a read that waits for the writer ends with an error when `cancel` is cancelled.
    pub(crate) fn cancelled_by(self, cancel: &Cancel) -> Self {
        Self { cancel: Some(cancel.clone()), ..self }
    }

    fn next(&self) -> io::Result<Batch> {
        loop {
            if self.cancel.as_ref().is_some_and(Cancel::is_cancelled) {
                return Err(io::Error::other(Cancelled("its caller")));
            }
            match self.batches.recv_timeout(TICK) {
                Ok(batch) => return Ok(batch),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("the sender failed")),
            }
        }
    }
}

impl Read for PipeReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.batch.len() && !self.is_finished {
            self.at = 0;
            self.batch = self.next()?;
            self.is_finished = self.batch.is_empty();
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
    use std::thread;

    use super::*;

    #[test]
    fn all_bytes_come_through() {
        let content: Vec<u8> = (0..20 * BATCH_BYTES + 17).map(|n| (n * 31 / 8) as u8).collect();
        let (mut writer, mut reader) = pipe();
        let mut found = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                content.chunks(70_001).for_each(|part| writer.write_all(part).unwrap());
                writer.finish();
            });
            reader.read_to_end(&mut found).unwrap();
        });
        assert!(found == content);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_writer_that_gives_up_is_not_the_end() {
        let (mut writer, mut reader) = pipe();
        writer.write_all(b"half of it").unwrap();
        writer.flush().unwrap();
        drop(writer);
        let mut found = Vec::new();
        let error = reader.read_to_end(&mut found).unwrap_err();
        assert_eq!((&found[..], error.to_string().as_str()), (&b"half of it"[..], "the sender failed"));
    }

    #[test]
    fn a_reader_that_went_away_ends_the_writer() {
        let (mut writer, reader) = pipe();
        drop(reader);
        let error = writer.write_all(&vec![0; 2 * BATCH_BYTES]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
