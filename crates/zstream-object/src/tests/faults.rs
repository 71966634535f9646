//! Every request of a history fails in every way.

use super::*;
use crate::testing::{Fault, FaultyStore};

/// The states after each flush of a history. It has complete chunks, remains, discards, and several folds.
struct Run {
    /// The state after the last flush that succeeded; none if the pool was not created.
    safe: Option<Vec<u8>>,
    /// The state of the flush that failed.
    tried: Option<Vec<u8>>,
}

fn history(store: Arc<dyn ObjectStore>) -> Run {
    let mut plain = vec![0; DEVICE_BYTES as usize];
    let mut safe = None;
    let is_done = steps(store, &mut plain, &mut safe).is_some();
    Run { safe, tried: (!is_done).then_some(plain) }
}

/// Writes to `plain` and to the device. Returns `None` after an error of the device.
fn steps(store: Arc<dyn ObjectStore>, plain: &mut [u8], safe: &mut Option<Vec<u8>>) -> Option<()> {
    let opener = places(store);
    let mut device = open(&opener, CREATE).ok()?;
    *safe = Some(plain.to_vec());
    let mut numbers = Numbers::new(5);
    for step in 0..4_u8 {
        let mut writes: Vec<_> = (0..8).map(|_| range(&mut numbers, 6000)).collect();
        writes.push((START + u64::from(step) * (130 << 10), 130 << 10));
        for (from, bytes) in writes {
            let new = vec![step * 16 + numbers.below(16) as u8; bytes as usize];
            plain[from as usize..][..bytes as usize].copy_from_slice(&new);
            if device.write_at(from, &new).is_err() {
                assert!(device.write_at(from, &new).is_err() && device.flush().is_err(), "it stays dead");
                return None;
            }
        }
        if device.flush().is_err() {
            assert!(device.write_at(START, &[1]).is_err() && device.flush().is_err(), "it stays dead");
            return None;
        }
        *safe = Some(plain.to_vec());
        if step == 2 {
            drop(device);
            device = open(&opener, Mode::Write).ok()?;
            let mut out = vec![0; 4 << 20];
            device.read_at(START, &mut out).ok()?;
            assert!(out == plain[START as usize..][..4 << 20]);
        }
    }
    Some(())
}

#[test]
fn a_fault_leaves_the_old_or_the_new_generation() {
    let healthy = FaultyStore::new(memory(), None);
    let whole = history(Arc::clone(&healthy) as _);
    assert!(whole.tried.is_none());
    let calls = healthy.calls();
    assert!(calls > 40, "{calls}");
    std::thread::scope(|scope| {
        for fault in Fault::ALL {
            scope.spawn(move || (0..calls).for_each(|number| check(fault, number)));
        }
    });
}

fn check(fault: Fault, number: u64) {
    let store = memory();
    let run = history(FaultyStore::new(Arc::clone(&store), Some((number, fault))));
    if fault.is_overcome() {
        assert!(run.tried.is_none(), "{fault:?} of request {number} was not overcome");
    }
    let found = match open(&places(store), Mode::Read) {
        Ok(device) => Some(contents(&*device)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{fault:?} of request {number}: {error}"),
    };
    let is_old = found == run.safe;
    let is_new = found.is_some() && found == run.tried;
    assert!(is_old || is_new, "{fault:?} of request {number}: a mixture");
}

/// Stores that replace objects are refused, and nothing remains in them.
#[test]
fn a_store_without_conditions_is_refused() {
    let store = memory();
    let error = open(&places(Arc::new(Replacing(Arc::clone(&store)))), CREATE).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("If-None-Match"), "{error}");
    let left = futures_util::TryStreamExt::try_collect::<Vec<_>>(store.list(None));
    assert_eq!(futures_util::FutureExt::now_or_never(left).unwrap().unwrap(), []);
}

/// A store that ignores the condition of a request.
#[derive(Debug)]
struct Replacing(Arc<dyn ObjectStore>);

impl std::fmt::Display for Replacing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Replacing")
    }
}

mod replacing {
    use async_trait::async_trait;
    use futures_util::stream::BoxStream;
    use object_store::path::Path;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
        PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    };

    #[async_trait]
    impl ObjectStore for super::Replacing {
        async fn put_opts(&self, location: &Path, payload: PutPayload, _: PutOptions) -> Result<PutResult> {
            self.0.put_opts(location, payload, PutOptions::default()).await
        }

        async fn put_multipart_opts(
            &self,
            _: &Path,
            _: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            unreachable!()
        }

        async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
            self.0.get_opts(location, options).await
        }

        fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            self.0.delete_stream(paths)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.0.list(prefix)
        }

        async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
            unreachable!()
        }

        async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
            unreachable!()
        }
    }
}
