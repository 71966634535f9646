//! A store that fails according to a plan.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// The ways in which a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error, as of an overloaded server; nothing was done.
    Refused,
    /// An error, although the request was done.
    LostAnswer,
    /// No answer; nothing was done.
    Hangs,
    /// The answer of a read ends in the middle. Other requests are refused.
    Cut,
    /// A listing shows the objects as they were before the last one was created. Other requests succeed.
    Stale,
    /// This request and all later ones are refused.
    DeadFrom,
    /// This request is done without an answer, and all later ones are refused.
    DeadAfter,
}

impl Fault {
    /// All ways.
    pub(crate) const ALL: [Self; 7] = [
        Self::Refused,
        Self::LostAnswer,
        Self::Hangs,
        Self::Cut,
        Self::Stale,
        Self::DeadFrom,
        Self::DeadAfter,
    ];

    /// Returns `true` if a repeated request succeeds.
    pub(crate) fn is_overcome(self) -> bool {
        !matches!(self, Self::DeadFrom | Self::DeadAfter)
    }
}

/// A store that passes requests on to another one, except for the one with the planned number.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    plan: Option<(u64, Fault)>,
    calls: AtomicU64,
    /// The object that was created last.
    last: Mutex<Option<Path>>,
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

fn refused() -> Error {
    Error::Generic { store: "faulty", source: "503 SlowDown".into() }
}

impl FaultyStore {
    /// Creates a store over `inner` in which request number `plan.0`, from 0, fails.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, plan: Option<(u64, Fault)>) -> Arc<Self> {
        Arc::new(Self { inner, plan, calls: AtomicU64::new(0), last: Mutex::default() })
    }

    /// Returns the number of requests so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Returns the fault of the next request.
    fn fault(&self) -> Option<Fault> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.plan? {
            (number, fault) if call == number => Some(fault),
            (number, Fault::DeadFrom | Fault::DeadAfter) if call > number => Some(Fault::DeadFrom),
            _ => None,
        }
    }
}

/// Waits for longer than anybody.
async fn hang() -> Error {
    tokio::time::sleep(Duration::from_secs(3600)).await;
    refused()
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        match self.fault() {
            Some(Fault::Refused | Fault::DeadFrom | Fault::Cut) => return Err(refused()),
            Some(Fault::Hangs) => return Err(hang().await),
            Some(Fault::LostAnswer | Fault::DeadAfter) => {
                self.inner.put_opts(location, payload, opts).await?;
                return Err(refused());
            }
            Some(Fault::Stale) | None => {}
        }
        let result = self.inner.put_opts(location, payload, opts).await?;
        *self.last.lock().unwrap() = Some(location.clone());
        Ok(result)
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("objects are small")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.fault();
        match fault {
            Some(Fault::Refused | Fault::DeadFrom | Fault::DeadAfter | Fault::LostAnswer) => {
                return Err(refused());
            }
            Some(Fault::Hangs) => return Err(hang().await),
            Some(Fault::Cut | Fault::Stale) | None => {}
        }
        let mut result = self.inner.get_opts(location, options).await?;
        if fault == Some(Fault::Cut) {
            let range = result.range.clone();
            let (meta, attributes, extensions) =
                (result.meta.clone(), result.attributes.clone(), result.extensions.clone());
            let bytes = result.bytes().await?;
            let half = bytes.slice(..bytes.len() / 2);
            let payload = GetResultPayload::Stream(stream::iter([Ok(half)]).boxed());
            result = GetResult { payload, meta, range, attributes, extensions };
        }
        Ok(result)
    }

    async fn get_ranges(&self, _: &Path, _: &[Range<u64>]) -> Result<Vec<Bytes>> {
        unreachable!("ranges are read one by one")
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.fault() {
            None | Some(Fault::Stale) => self.inner.delete_stream(locations),
            Some(Fault::Hangs) => stream::once(async { Err(hang().await) }).boxed(),
            Some(Fault::LostAnswer | Fault::DeadAfter) => {
                let done = self.inner.delete_stream(locations);
                done.map(|_| Err(refused())).boxed()
            }
            Some(_) => stream::once(async { Err(refused()) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fault() {
            None => self.inner.list(prefix),
            Some(Fault::Stale) => {
                let last = self.last.lock().unwrap().clone();
                let known = self.inner.list(prefix).filter(move |meta| {
                    let is_last = meta.as_ref().is_ok_and(|meta| Some(&meta.location) == last.as_ref());
                    async move { !is_last }
                });
                known.boxed()
            }
            Some(Fault::Hangs) => stream::once(async { Err(hang().await) }).boxed(),
            Some(_) => stream::once(async { Err(refused()) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unreachable!("folders are listed one by one")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("objects are never copied")
    }
}
