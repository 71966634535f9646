//! The threads on which requests run. They exist once per process, and nothing outside of this crate sees them.

use std::future::Future;
use std::io;
use std::sync::{OnceLock, mpsc};

use tokio::runtime::{Builder, Runtime};

/// The number of threads that handle answers. Requests wait without a thread.
const THREADS: usize = 2;

/// The limit for the number of threads that access local files.
const FILE_THREADS_MAX: usize = 16;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Returns the runtime.
///
/// # Errors
/// Fails if no thread can be started.
pub(super) fn runtime() -> io::Result<&'static Runtime> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(THREADS).max_blocking_threads(FILE_THREADS_MAX).thread_name("object-store");
    let runtime = builder.enable_all().build()?;
    // If another thread was faster, its runtime is used, and this one has no tasks yet.
    if let Err(unused) = RUNTIME.set(runtime) {
        unused.shutdown_background();
    }
    RUNTIME.get().ok_or_else(|| io::Error::other("the threads for requests are gone"))
}

/// Runs a future to its end, and blocks until then. Unlike `block_on`, it also works on a thread of another runtime.
///
/// # Errors
/// Fails if no thread can be started, or if the future panicked.
pub(super) fn wait<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        // Nobody waits only if the waiting thread is gone.
        let _ = sender.send(future.await);
    });
    receiver.recv().map_err(|_| io::Error::other("a request was not completed"))
}
