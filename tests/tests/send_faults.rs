//! Sending when something goes wrong: the reader of the stream goes away, the device fails, the pool changes meanwhile,
//! somebody cancels. Each ends in an error that says so; what was written is the beginning of the stream, and no thread
//! is left.

use std::fmt;
use std::io::{self, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use zstream_dmu::blkptr::{BlockKind, BlockPointer, Dva};
use zstream_dmu::device::{Device, FileDevice};
use zstream_dmu::error::Fault as PoolFault;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::testing::{FailingCalls as Calls, FaultyDevice};
use zstream_dmu::traverse::{Options, Traverse};
use zstream_format::algorithm::CompressionType;
use zstream_format::record::Body;
use zstream_format::stream::StreamReader;
use zstream_send::error::Fault;
use zstream_send::plan::StreamPlan;
use zstream_send::{Progress, send};
use zstream_tests::golden;
use zstream_tests::sending::{Sending, stream};

/// Where a vdev's data begins on its members.
const DATA_START: u64 = 4 << 20;
/// What is sent unless a test says otherwise.
const SNAPSHOT: &str = "tank/fs@a";

/// Threads are counted, so that one test sends at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fails if a thread of the sender is left.
fn assert_no_threads() {
    let left = || -> Vec<String> {
        let tasks = std::fs::read_dir("/proc/self/task").expect("the threads of this process");
        tasks
            // One that ends meanwhile has no name any more.
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .filter(|name| name.starts_with("send-"))
            .collect()
    };
    // The system needs a moment to bury those that have ended.
    let limit = Instant::now() + Duration::from_secs(10);
    while !left().is_empty() {
        assert!(Instant::now() < limit, "still there: {:?}", left());
        thread::sleep(Duration::from_millis(1));
    }
}

fn device() -> FileDevice {
    FileDevice::open(&golden::image("tank.img")).expect("the golden image")
}

fn sending(device: Arc<dyn Device>) -> Sending {
    // Hardly any cache, so that blocks are read when they are wanted.
    let options = OpenOptions { cache_bytes: 1 << 20, ..OpenOptions::default() };
    Sending::of(Pool::open_devices(vec![("tank.img".to_owned(), device)], &options).expect("the pool"))
}

/// A plan with small queues, so that threads wait for each other.
fn plan(sending: &Sending, words: &str, threads: usize) -> StreamPlan {
    let mut plan = sending.plan(words);
    plan.options.threads = threads;
    plan.options.queue_bytes = 256 << 10;
    plan
}

/// Takes `left` bytes and does then what it was told.
struct Limited<F> {
    taken: Vec<u8>,
    left: usize,
    then: F,
}

impl<F: FnMut() -> io::Result<()>> Write for Limited<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            (self.then)()?;
            self.left = usize::MAX;
        }
        let count = bytes.len().min(self.left);
        self.left -= count;
        self.taken.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lengths at which streams are cut: all over a stream of `length` bytes, and at its edges.
fn lengths(length: usize) -> impl Iterator<Item = usize> {
    [0, 1, 311, 312, 313, length - 313, length - 312, length - 1]
        .into_iter()
        .chain((0..length).step_by(length / 23))
}

#[test]
fn a_reader_that_goes_away_ends_the_send() {
    let _alone = alone();
    let sending = sending(Arc::new(device()));
    for threads in [1, 2, 5] {
        let plan = plan(&sending, SNAPSHOT, threads);
        let (whole, _) = stream(&plan);
        for left in lengths(whole.len()) {
            let then = || Err(io::ErrorKind::BrokenPipe.into());
            let mut out = Limited { taken: Vec::new(), left, then };
            let error = send(&plan, &mut out, &Progress::default()).expect_err("nobody reads");
            assert!(error.is_broken_pipe(), "cut at {left}: {error}");
            assert!(out.taken == whole[..left], "cut at {left}");
            assert_no_threads();
        }
    }
}

/// A destination that is interrupted or takes little at a time is no error.
#[test]
fn a_slow_reader_gets_the_same_stream() {
    struct Slow(Vec<u8>, usize);
    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            if self.1.is_multiple_of(3) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = bytes.len().min(self.1 % 701 + 1);
            self.0.extend_from_slice(&bytes[..count]);
            Ok(count)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let _alone = alone();
    let sending = sending(Arc::new(device()));
    let plan = plan(&sending, SNAPSHOT, 2);
    let mut out = Slow(Vec::new(), 0);
    let sent = send(&plan, &mut out, &Progress::default()).expect("a stream");
    assert_eq!(sent.bytes, out.0.len() as u64);
    assert!(out.0 == stream(&plan).0);
}

#[test]
fn cancelling_ends_the_send() {
    let _alone = alone();
    let sending = sending(Arc::new(device()));
    for threads in [1, 3] {
        let plan = plan(&sending, SNAPSHOT, threads);
        let (whole, _) = stream(&plan);
        for left in (0..whole.len() - (1 << 20)).step_by(whole.len() / 9) {
            let progress = Progress::default();
            let then = || {
                progress.cancel();
                Ok(())
            };
            let mut out = Limited { taken: Vec::new(), left, then };
            let error = send(&plan, &mut out, &progress).expect_err("it was cancelled");
            assert!(matches!(error.fault(), Fault::Cancelled), "cancelled at {left}: {error}");
            assert!(
                out.taken.len() < whole.len() && out.taken == whole[..out.taken.len()],
                "cancelled at {left}"
            );
            assert_no_threads();
        }
    }
}

/// A destination that panics is the caller's fault, but it must not hang.
#[test]
fn a_panic_leaves_no_thread() {
    let _alone = alone();
    let sending = sending(Arc::new(device()));
    let plan = plan(&sending, SNAPSHOT, 3);
    for left in [0, 400_000] {
        let mut out = Limited { taken: Vec::new(), left, then: || panic!("on purpose") };
        let outcome = catch_unwind(AssertUnwindSafe(|| send(&plan, &mut out, &Progress::default())));
        assert!(outcome.is_err(), "at {left}");
        assert_no_threads();
    }
}

/// Metadata has copies, data has not: when one read fails, the stream is right or ends with an error; when the disk dies,
/// it ends with an error.
#[test]
fn a_device_that_fails_gives_an_error_or_the_right_bytes() {
    let _alone = alone();
    let attempt = |calls: Calls, threads: usize| {
        let faulty = Arc::new(FaultyDevice::new(Arc::new(device()), Calls::Once(u64::MAX)));
        let sending = sending(faulty.clone());
        // From here on: opening is another matter.
        let plan = plan(&sending, SNAPSHOT, threads);
        let first = faulty.calls();
        drop((plan, sending));
        let calls = match calls {
            Calls::Once(call) => Calls::Once(first + call),
            Calls::From(call) => Calls::From(first + call),
        };
        let faulty = Arc::new(FaultyDevice::new(Arc::new(device()), calls));
        let sending = self::sending(faulty.clone());
        let plan = self::plan(&sending, SNAPSHOT, threads);
        let mut out = Vec::new();
        let outcome = send(&plan, &mut out, &Progress::default());
        assert_no_threads();
        (outcome, out, faulty.calls() - first)
    };
    let (outcome, whole, calls) = attempt(Calls::Once(u64::MAX >> 1), 1);
    outcome.expect("a stream");
    assert!(calls > 30, "{calls} calls");
    let (mut failed, mut survived) = (0, 0);
    for threads in [1, 3] {
        for call in 0..calls {
            let (outcome, out, _) = attempt(Calls::Once(call), threads);
            match outcome {
                Ok(_) => {
                    assert!(out == whole, "call {call}");
                    survived += 1;
                }
                Err(error) => {
                    assert!(matches!(error.fault(), Fault::Read(_)), "call {call}: {error}");
                    assert!(error.to_string().contains("injected failure"), "call {call}: {error}");
                    assert!(out == whole[..out.len()], "call {call}");
                    failed += 1;
                }
            }
            let (outcome, out, _) = attempt(Calls::From(call), threads);
            let error = outcome.expect_err("a dead disk");
            assert!(matches!(error.fault(), Fault::Read(_)), "from call {call}: {error}");
            assert!(out == whole[..out.len()], "from call {call}");
        }
    }
    assert!(failed > 10 && survived > 0, "{failed} failed, {survived} survived");
}

/// A device on which bytes change after some reads.
struct Changing {
    inner: FileDevice,
    /// Every copy of a block.
    ranges: Vec<Range<u64>>,
    reads_before: u64,
    reads: AtomicU64,
}

impl Changing {
    fn new(pointer: &BlockPointer, reads_before: u64) -> Self {
        let copy = |dva: Dva| DATA_START + dva.offset()..DATA_START + dva.offset() + pointer.psize();
        Self {
            inner: device(),
            ranges: pointer.dvas().map(copy).collect(),
            reads_before,
            reads: AtomicU64::new(0),
        }
    }
}

impl fmt::Debug for Changing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Changing({:?})", self.ranges)
    }
}

impl Device for Changing {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, out)?;
        if self.reads.fetch_add(1, Ordering::Relaxed) >= self.reads_before {
            for (byte, at) in out.iter_mut().zip(offset..) {
                *byte ^= u8::from(self.ranges.iter().any(|range| range.contains(&at)));
            }
        }
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }
}

/// A data block of the dataset: object, byte offset, pointer.
type Found = (u64, u64, BlockPointer);

/// Data blocks that are stored on the device, spill blocks left out.
fn data_blocks(snapshot: &str) -> Vec<Found> {
    let sending = sending(Arc::new(device()));
    let plan = sending.plan(snapshot);
    let objset = &plan.source.objset;
    let visits =
        Traverse::new(objset.reader().clone(), objset.objset_id(), *objset.root(), Options::default());
    visits
        .map(|visit| visit.expect("a golden dataset"))
        .filter(|visit| visit.is_data() && !visit.is_spill() && visit.at.object.0.cast_signed() > 0)
        .filter(|visit| visit.pointer.kind() == BlockKind::Normal && visit.pointer.dvas().count() == 1)
        .map(|visit| {
            let dnode = visit.dnode.expect("the dnode of a block");
            (visit.at.object.0, visit.at.block.0 * dnode.block_bytes(), visit.pointer)
        })
        .collect()
}

/// One block of each kind: plain, compressed, and one that is sent in pieces where there is any.
fn samples(snapshot: &str) -> Vec<Found> {
    let blocks = data_blocks(snapshot);
    let plain = blocks.iter().rfind(|(.., pointer)| pointer.compression() == CompressionType::OFF);
    let packed = blocks.iter().find(|(.., pointer)| pointer.compression() == CompressionType::LZ4);
    let large = blocks.iter().find(|(.., pointer)| pointer.lsize() > 128 << 10);
    let both = [plain, packed].into_iter().map(|found| found.expect("a block of each kind"));
    both.chain(large).copied().collect()
}

/// A block that is overwritten while it is sent: never are its new bytes sent for the old ones.
#[test]
fn a_pool_that_changes_meanwhile_is_noticed() {
    let _alone = alone();
    for (object, offset, pointer) in samples(SNAPSHOT) {
        for (threads, words) in [(1, "tank/fs@a"), (3, "tank/fs@a"), (3, "-c tank/fs@a")] {
            let device = Arc::new(Changing::new(&pointer, u64::MAX));
            let sending = sending(device.clone());
            let plan = plan(&sending, words, threads);
            let (whole, _) = stream(&plan);
            // Everything but the data is cached by now, at the latest with the reads before the change.
            let changing = Arc::new(Changing::new(&pointer, device.reads.load(Ordering::Relaxed) / 4));
            let sending = self::sending(changing);
            let plan = self::plan(&sending, words, threads);
            let mut out = Vec::new();
            match send(&plan, &mut out, &Progress::default()) {
                // It was read before.
                Ok(_) => assert!(out == whole),
                Err(error) => {
                    let Fault::Read(read) = error.fault() else { panic!("{error}") };
                    let read = read.pool().expect("an error of the pool");
                    assert!(matches!(read.fault(), PoolFault::Checksum { .. }), "{error}");
                    let at = read.place().bookmark.expect("the place");
                    assert_eq!((at.object.0, at.level), (object, 0), "block at {offset}: {error}");
                    assert!(out == whole[..out.len()]);
                }
            }
            assert_no_threads();
        }
    }
}

/// A record: where a WRITE goes, and everything there is to compare.
type Compared = (Option<(u64, u64)>, Option<Body>, Vec<u8>);

/// A stream as its records.
fn records(stream: &[u8]) -> Vec<Compared> {
    let (mut reader, mut records) = (StreamReader::new(stream), Vec::new());
    while let Some(record) = reader.next().expect("a whole stream") {
        let body = record.header.body();
        let place = match &body {
            Some(Body::Write(write)) => Some((write.object.0, write.offset)),
            _ => None,
        };
        // What END says differs when anything does.
        let body = body.filter(|body| !matches!(body, Body::End(_)));
        records.push((place, body, record.payload.to_vec()));
    }
    records
}

#[test]
fn a_damaged_block_is_an_error_or_replaced_if_asked() {
    let _alone = alone();
    for words in ["tank/fs@a", "-c tank/fs@a", "tank/rs1m@s"] {
        let snapshot = words.rsplit(' ').next().expect("a name");
        assert_eq!(samples(snapshot).len(), if words == "tank/rs1m@s" { 3 } else { 2 }, "{words}");
        for (object, offset, pointer) in samples(snapshot) {
            let (whole, _) = stream(&plan(&sending(Arc::new(device())), words, 2));
            let sending = sending(Arc::new(Changing::new(&pointer, 0)));
            let mut plan = plan(&sending, words, 3);
            let mut out = Vec::new();
            let error = send(&plan, &mut out, &Progress::default()).expect_err("a damaged block");
            let Fault::Read(read) = error.fault() else { panic!("{error}") };
            let read = read.pool().expect("an error of the pool");
            assert!(matches!(read.fault(), PoolFault::Checksum { .. }), "{error}");
            assert!(out == whole[..out.len()], "{words}");
            let written = records_so_far(&out);
            assert!(written > 10, "{words}: {written} records before the error");

            plan.options.corrupt_data = true;
            let (replaced, sent) = stream(&plan);
            let length = pointer.lsize();
            let [block] = sent.replaced[..] else { panic!("{words}: {:?}", sent.replaced) };
            assert_eq!((block.object, block.offset, block.length), (object, offset, length), "{words}");
            let (ours, theirs) = (records(&replaced), records(&whole));
            assert_eq!(ours.len(), theirs.len());
            let mut pattern = 0;
            for (ours, theirs) in ours.iter().zip(&theirs) {
                match ours.0 {
                    Some((at, from)) if at == object && (offset..offset + length).contains(&from) => {
                        assert_eq!(ours.0, theirs.0);
                        assert!(ours.2.chunks(8).all(|word| word == 0x2f5_badd_b10c_u64.to_le_bytes()));
                        pattern += ours.2.len() as u64;
                    }
                    _ => assert!(ours == theirs, "{words}: {:?}", ours.0),
                }
            }
            // A large block too, though it is sent in pieces.
            assert_eq!(pattern, length, "{words}");
        }
    }
}

/// A spill block that cannot be read is replaced, too; all else of its object is sent as it is.
#[test]
fn a_damaged_spill_block_is_an_error_or_replaced_if_asked() {
    let _alone = alone();
    let whole = sending(Arc::new(device()));
    let objset = whole.plan(SNAPSHOT).source.objset;
    let visits =
        Traverse::new(objset.reader().clone(), objset.objset_id(), *objset.root(), Options::default());
    let visit = visits
        .map(|visit| visit.expect("a golden dataset"))
        .find(|visit| visit.is_spill() && visit.pointer.kind() == BlockKind::Normal)
        .expect("a spill block");
    let damaged = sending(Arc::new(Changing::new(&visit.pointer, 0)));
    let mut plan = plan(&damaged, SNAPSHOT, 2);
    let error = send(&plan, &mut Vec::new(), &Progress::default()).expect_err("a damaged block");
    assert!(matches!(error.fault(), Fault::Read(_)), "{error}");

    plan.options.corrupt_data = true;
    let (ours, sent) = stream(&plan);
    assert_eq!(sent.replaced.len(), 1);
    assert_eq!(sent.replaced[0].object, visit.at.object.0);
    let (theirs, _) = stream(&whole.plan(SNAPSHOT));
    let differing: Vec<_> =
        records(&ours).into_iter().zip(records(&theirs)).filter(|(ours, theirs)| ours != theirs).collect();
    let [(replaced, _)] = &differing[..] else { panic!("{} records differ", differing.len()) };
    assert!(
        matches!(&replaced.1, Some(Body::Spill(spill)) if spill.object == visit.at.object),
        "{:?}",
        replaced.1
    );
    assert!(replaced.2.chunks(8).all(|word| word == 0x2f5_badd_b10c_u64.to_le_bytes()));
}

/// Where a dataset says that it is encrypted, a block that is not was put there by somebody else.
#[test]
fn an_unencrypted_block_of_an_encrypted_dataset_is_an_error() {
    let _alone = alone();
    let sending = sending(Arc::new(device()));
    let mut plan = plan(&sending, SNAPSHOT, 2);
    plan.source.key = sending.plan("-w tank/e-aes-256-gcm@s").source.key;
    let error = send(&plan, &mut Vec::new(), &Progress::default()).expect_err("an unencrypted block");
    assert!(matches!(error.fault(), Fault::Unencrypted(_)), "{error}");
}

/// How many records there are in the beginning of a stream.
fn records_so_far(stream: &[u8]) -> usize {
    let (mut reader, mut count) = (StreamReader::new(stream), 0);
    while let Ok(Some(_)) = reader.next() {
        count += 1;
    }
    count
}

/// A raw stream of an encrypted dataset holds what was authenticated: a pattern never is.
#[test]
fn nothing_is_replaced_in_a_raw_stream() {
    let _alone = alone();
    let words = "-w tank/e-aes-256-gcm@s";
    let objset = sending(Arc::new(device())).plan(words).source.objset;
    let options = Options { locked: true, ..Options::default() };
    let visits = Traverse::new(objset.reader().clone(), objset.objset_id(), *objset.root(), options);
    let pointer = visits
        .map(|visit| visit.expect("a golden dataset"))
        .find(|visit| {
            visit.is_data() && visit.pointer.kind() == BlockKind::Normal && visit.pointer.dvas().count() == 1
        })
        .expect("a block of data")
        .pointer;
    let sending = sending(Arc::new(Changing::new(&pointer, 0)));
    let mut plan = plan(&sending, words, 2);
    plan.options.corrupt_data = true;
    let error = send(&plan, &mut Vec::new(), &Progress::default()).expect_err("a damaged block");
    assert!(matches!(error.fault(), Fault::Read(_)), "{error}");
}
