//! Flushing behind the writers.
//!
//! The kernel keeps what is written in memory until it is asked to flush, or has a lot of it; the disk would do nothing while
//! gigabytes are compressed, and everything would wait for it at the end. So each time that much was written, a thread
//! flushes while writing goes on. Order does not suffer: a flush promises that what came before it is there, never that
//! what came after it is not.
//!
//! An error of a flush in the background is told by the next flush, and by every later one: the kernel tells it once, and
//! forgets then which pages were lost.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};

use crate::lock::lock;

/// After so many bytes a flush begins.
const BYTES: u64 = 64 << 20;

/// What flushes a file behind its writers.
pub(super) struct Behind {
    file: Arc<File>,
    /// Bytes written since the last flush began.
    bytes: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    thread: Option<JoinHandle<io::Result<()>>>,
    failed: Option<(io::ErrorKind, String)>,
}

impl State {
    /// Waits for the thread.
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

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Notes that so much was written.
    pub(super) fn wrote(&self, bytes: u64) {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) < BYTES {
            return;
        }
        let mut state = self.state();
        // One that is still busy takes what came in the meantime with its successor.
        if state.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        state.join();
        self.bytes.store(0, Ordering::Relaxed);
        let file = Arc::clone(&self.file);
        // Without a thread it is left to the next flush.
        state.thread = Builder::new().name("flush".to_owned()).spawn(move || file.sync_data()).ok();
    }

    /// Returns once everything that was written is on stable storage.
    ///
    /// # Errors
    /// The file's, now or in any flush before.
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
    /// The file has to be closed, and with that unlocked, when its device is gone.
    fn drop(&mut self) {
        if let Some(thread) = self.state().thread.take() {
            // Nobody asked for a flush: nothing was promised.
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
