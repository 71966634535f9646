//! The store of a pool: the objects below one prefix of a bucket, with blocking calls, repeated requests and counts.
//!
//! Objects are only ever created, never replaced. The answer of a request that creates an object may be lost although
//! the object was created; the repeated request then finds that it exists. Callers resolve this with the content:
//! names of data contain a random number of their writer, and records of generations are compared.

mod fault;
mod location;
mod profile;
mod runtime;

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    Error as StoreError, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
    PutPayload,
};

use self::fault::{io_error, is_transient};
pub(crate) use self::location::{Location, is_url};
use self::runtime::wait;

/// The number of deletions under way at once.
const DELETIONS: usize = 16;

/// How often and how long requests are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// The number of attempts.
    pub(crate) attempts: u32,
    /// The pause after the first attempt; each further one is four times as long.
    pub(crate) pause: Duration,
    /// The time after which an attempt failed. Large requests have more time in proportion.
    pub(crate) timeout: Duration,
}

impl Patience {
    /// For stores in the network, whose client itself repeats requests.
    pub(crate) const NETWORK: Self =
        Self { attempts: 4, pause: Duration::from_millis(500), timeout: Duration::from_secs(180) };
    /// For local directories.
    pub(crate) const LOCAL: Self =
        Self { attempts: 1, pause: Duration::ZERO, timeout: Duration::from_secs(3600) };
}

/// The size in bytes of a request that has twice the time of a small one.
const LARGE_BYTES: u64 = 4 << 20;

/// The counts of requests to a store, and of bytes that were transferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Reads of objects or parts of them.
    pub gets: u64,
    /// Created objects.
    pub puts: u64,
    /// Listings.
    pub lists: u64,
    /// Deleted objects.
    pub deletes: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
}

#[derive(Debug, Default)]
struct Counters {
    gets: AtomicU64,
    puts: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

fn count(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name in its folder.
    pub(crate) name: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// When it was created, by the clock of the store.
    pub(crate) modified: SystemTime,
}

/// The outcome of a request that creates an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It was created.
    Created,
    /// An object with this name exists: another one, or this one if an answer was lost.
    Exists,
}

/// The objects below one prefix.
#[derive(Clone)]
pub(crate) struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The URL for messages.
    url: String,
    patience: Patience,
    /// Listings are in the order of names.
    is_ordered: bool,
    /// Reads take as long as for a store in the network.
    is_remote: bool,
    counters: Counters,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.shared.url)
    }
}

impl Store {
    /// Creates the store below `prefix` of `inner`. `url` names it in messages.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, prefix: Path, url: String, patience: Patience) -> Self {
        let is_remote = patience != Patience::LOCAL;
        let counters = Counters::default();
        let shared = Shared { inner, prefix, url, patience, is_ordered: is_remote, is_remote, counters };
        Self { shared: Arc::new(shared) }
    }

    /// Returns the URL.
    pub(crate) fn url(&self) -> &str {
        &self.shared.url
    }

    /// Returns `true` if every request takes a while.
    pub(crate) fn is_remote(&self) -> bool {
        self.shared.is_remote
    }

    /// Returns the counts of requests so far.
    pub(crate) fn requests(&self) -> Requests {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { gets, puts, lists, deletes, bytes_read, bytes_written } = &self.shared.counters;
        Requests {
            gets: load(gets),
            puts: load(puts),
            lists: load(lists),
            deletes: load(deletes),
            bytes_read: load(bytes_read),
            bytes_written: load(bytes_written),
        }
    }

    /// Adds the name of an object to an error.
    pub(crate) fn name_error(&self, name: &str, error: io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.shared.place(name)))
    }

    /// Reads an object of at most `limit` bytes.
    ///
    /// # Errors
    /// Fails with `NotFound` if it does not exist, and if it is larger or cannot be read.
    pub(crate) fn get(&self, name: &str, limit: u64) -> io::Result<Bytes> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        wait(async move { shared.get(&name, None, limit).await })?
    }

    /// Reads parts of objects, all at once.
    ///
    /// # Errors
    /// Fails if one of them does not exist, is shorter, or cannot be read.
    pub(crate) fn get_ranges(&self, ranges: Vec<(String, Range<u64>)>) -> io::Result<Vec<Bytes>> {
        let shared = Arc::clone(&self.shared);
        wait(async move {
            let parts = ranges.into_iter().map(|(name, range)| {
                let shared = Arc::clone(&shared);
                async move { shared.get(&name, Some(range), u64::MAX).await }
            });
            futures_util::future::try_join_all(parts).await
        })?
    }

    /// Creates an object, unless one with this name exists.
    ///
    /// # Errors
    /// Fails if the object cannot be created. It may have been created nevertheless, or may be later.
    pub(crate) fn put(&self, name: &str, bytes: Bytes) -> io::Result<Put> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        wait(async move { shared.put(&name, bytes).await })?
    }

    /// Starts to create an object whose name nobody else uses. `done` is called with the result.
    ///
    /// # Errors
    /// Fails if no thread can be started.
    pub(crate) fn upload(
        &self,
        name: String,
        bytes: Bytes,
        done: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        runtime::runtime()?.spawn(async move { done(shared.put(&name, bytes).await.map(drop)) });
        Ok(())
    }

    /// Lists the objects in a folder: the first `most` at least, or fewer if there are no more. The order is that of
    /// the names for most stores.
    ///
    /// # Errors
    /// Fails if the folder cannot be listed.
    pub(crate) fn list(&self, folder: &str, most: usize) -> io::Result<Vec<Listed>> {
        let (shared, folder) = (Arc::clone(&self.shared), folder.to_owned());
        let most = if self.shared.is_ordered { most } else { usize::MAX };
        wait(async move { shared.list(&folder, most).await })?
    }

    /// Deletes objects. Those that do not exist are no error.
    ///
    /// # Errors
    /// Fails if an object cannot be deleted.
    pub(crate) fn delete(&self, names: Vec<String>) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        wait(async move {
            let deletions = names.into_iter().map(|name| {
                let shared = Arc::clone(&shared);
                async move { shared.delete(&name).await }
            });
            stream::iter(deletions).buffer_unordered(DELETIONS).try_collect::<()>().await
        })?
    }
}

impl Shared {
    fn path(&self, name: &str) -> Path {
        let parts = self.prefix.parts().chain(name.split('/').map(Into::into));
        Path::from_iter(parts)
    }

    fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    /// Tries a request until it succeeds, fails for good, or failed too often. `bytes` is its size.
    async fn attempt<T, F>(&self, name: &str, bytes: u64, request: impl Fn() -> F) -> io::Result<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let Patience { attempts, pause, timeout } = self.patience;
        let limit = timeout.mul_f64(1.0 + bytes as f64 / LARGE_BYTES as f64);
        let mut pause = pause;
        for left in (0..attempts).rev() {
            let error = match tokio::time::timeout(limit, request()).await {
                Ok(Ok(result)) => return Ok(result),
                Ok(Err(error)) if left > 0 && is_transient(&error) => None,
                Ok(Err(error)) => Some(io_error(&self.place(name), &error)),
                Err(_) if left > 0 => None,
                Err(_) => {
                    let text = format!("{}: no answer after {} s", self.place(name), limit.as_secs());
                    Some(io::Error::new(io::ErrorKind::TimedOut, text))
                }
            };
            if let Some(error) = error {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(4);
        }
        Err(io::Error::other(format!("{}: no attempt was made", self.place(name))))
    }

    async fn get(&self, name: &str, range: Option<Range<u64>>, limit: u64) -> io::Result<Bytes> {
        let path = self.path(name);
        let size = range.as_ref().map_or(0, |range| range.end - range.start);
        let request = || async {
            count(&self.counters.gets, 1);
            let range = range.clone().map(GetRange::Bounded);
            let result = self.inner.get_opts(&path, GetOptions { range, ..GetOptions::default() }).await?;
            let expected = result.range.end - result.range.start;
            if expected > limit {
                return Ok(Err(expected));
            }
            let bytes = result.bytes().await?;
            count(&self.counters.bytes_read, bytes.len() as u64);
            if bytes.len() as u64 != expected {
                let text = format!("{} of {expected} bytes were received", bytes.len());
                return Err(StoreError::Generic { store: "object", source: text.into() });
            }
            Ok(Ok(bytes))
        };
        match self.attempt(name, size, request).await? {
            Ok(bytes) => Ok(bytes),
            Err(bytes) => {
                let text = format!(
                    "{}: the object has {bytes} bytes, at most {limit} are possible",
                    self.place(name)
                );
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        }
    }

    async fn put(&self, name: &str, bytes: Bytes) -> io::Result<Put> {
        let path = self.path(name);
        let size = bytes.len() as u64;
        let request = || async {
            count(&self.counters.puts, 1);
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.inner.put_opts(&path, PutPayload::from(bytes.clone()), options).await {
                Ok(_) => {
                    count(&self.counters.bytes_written, size);
                    Ok(Put::Created)
                }
                Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Ok(Put::Exists),
                Err(error) => Err(error),
            }
        };
        self.attempt(name, size, request).await
    }

    async fn list(&self, folder: &str, most: usize) -> io::Result<Vec<Listed>> {
        let path = self.path(folder);
        let request = || async {
            count(&self.counters.lists, 1);
            let found = self.inner.list(Some(&path)).take(most).map_ok(|meta| Listed {
                name: meta.location.filename().unwrap_or_default().to_owned(),
                bytes: meta.size,
                modified: meta.last_modified.into(),
            });
            found.try_collect::<Vec<_>>().await
        };
        match self.attempt(folder, 0, request).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    async fn delete(&self, name: &str) -> io::Result<()> {
        let path = self.path(name);
        let request = || async {
            count(&self.counters.deletes, 1);
            self.inner.delete(&path).await
        };
        match self.attempt(name, 0, request).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}
