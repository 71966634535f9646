//! Background flushes of written files.
//!
//! The kernel keeps written data in memory until it is asked to flush, or has a lot of it. The disk would be idle
//! while gigabytes are compressed, and everything would wait for it at the end. Therefore a thread flushes each time
//! a certain amount was written, while writing continues. The order of writes does not suffer: a flush guarantees
//! that earlier writes are on stable storage, never that later ones are not.
//!
//! The error of a background flush is reported by the next flush and by every later one, because the kernel reports
//! it only once and then forgets the lost pages.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};

use crate::lock::lock;

/// The number of written bytes after which a flush starts.
const BYTES: u64 = 64 << 20;

/// The background flushes of a file.
pub(super) struct Behind {
    file: Arc<File>,
    /// The number of bytes written since the start of the last flush.
    bytes: AtomicU64,
    state: Mutex<Flushing>,
}

#[derive(Default)]
struct Flushing {
    thread: Option<JoinHandle<io::Result<()>>>,
    failed: Option<(io::ErrorKind, String)>,
}

impl Flushing {
    /// Waits for the thread to finish.
    fn join(&mut self) {
        let result = self.thread.take().map(JoinHandle::join);
        match result {
            None | Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => self.fail(&error),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.failed.get_or_insert_with(|| (error.kind(), error.to_string()));
    }

    fn result(&self) -> io::Result<()> {
        match &self.failed {
            None => Ok(()),
            Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
        }
    }
}

impl Behind {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self { file, bytes: AtomicU64::new(0), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, Flushing> {
        lock(&self.state)
    }

    /// Records a write of `bytes` bytes.
    pub(super) fn wrote(&self, bytes: u64) {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) < BYTES {
            return;
        }
        let mut state = self.state();
        // If a flush is still running, the next one includes these bytes.
        if state.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        state.join();
        self.bytes.store(0, Ordering::Relaxed);
        let file = Arc::clone(&self.file);
        // If no thread can be started, the next flush does the work.
        state.thread = Builder::new().name("flush".to_owned()).spawn(move || file.sync_data()).ok();
    }

    /// Flushes the file. Returns after everything that was written is on stable storage.
    ///
    /// # Errors
    /// Fails if this or any earlier flush of the file failed.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut state = self.state();
        state.join();
        self.bytes.store(0, Ordering::Relaxed);
        if let Err(error) = self.file.sync_data() {
            state.fail(&error);
        }
        state.result()
    }
}

impl Drop for Behind {
    /// Waits for the thread, so that the file is closed, and therefore unlocked, when its device is dropped.
    fn drop(&mut self) {
        if let Some(thread) = self.state().thread.take() {
            // An error can be ignored, because no flush was requested.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_by_every_later_flush() {
        let behind = Behind::new(Arc::new(tempfile::tempfile().unwrap()));
        behind.wrote(BYTES - 1);
        assert!(behind.state().thread.is_none());
        behind.wrote(1);
        assert!(behind.state().thread.is_some(), "a flush began");
        behind.flush().unwrap();
        assert!(behind.state().thread.is_none(), "a flush waits for the one in the background");
        let failing = || Err(io::Error::other("the disk is gone"));
        behind.state().thread = Some(std::thread::spawn(failing));
        for _ in 0..2 {
            assert_eq!(behind.flush().unwrap_err().to_string(), "the disk is gone");
        }
    }
}
