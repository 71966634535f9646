//! A whole receive, into a small pool in memory. An input is a stream; its length says with which options it is received.

use std::sync::{Arc, OnceLock};

use zstream_dmu::device::{Device, MemoryDevice};
use zstream_dmu::pool::WriteOptions;
use zstream_dmu::testing::OverlayDevice;
use zstream_dsl::RECEIVE_CHILD;
use zstream_dsl::write::WritablePool;
use zstream_recv::error::Result;
use zstream_recv::{Host, Input, Naming, Note, Receiving, Request};

use crate::created::{self, new_pool, open, open_writable, write_options};
use crate::golden;
use crate::receiving::check;
use crate::sending::Sending;

/// What the pool holds before: streams to which others are increments.
const BEFORE: [&str; 4] = ["tree-R", "vol", "e-aes-256-gcm-raw", "k-sha256"];

/// Makes filesystems without content where `-d` needs them.
struct Quiet;

impl Host for Quiet {
    fn create_filesystem(&mut self, pool: &mut WritablePool, name: &str) -> Result<()> {
        let head = pool.tx().create(name, false)?;
        let mut set = pool.create_set(head, zstream_format::object_type::ObjsetType::ZFS)?;
        pool.sync(head, &mut set)?;
        pool.commit()?;
        Ok(())
    }

    fn note(&mut self, _: Note) {}

    fn progress(&mut self, _: u64) {}
}

/// Receives below `demo`. Whether the pool failed, and what came of the stream.
fn receive(device: &Arc<dyn Device>, stream: &[u8], options: usize) -> (bool, Result<u64>) {
    receive_with(device, stream, options, &write_options())
}

/// The same with a pool that is opened in another way.
pub(super) fn receive_with(
    device: &Arc<dyn Device>,
    stream: &[u8],
    options: usize,
    write: &WriteOptions,
) -> (bool, Result<u64>) {
    let mut pool = open_writable(&[Arc::clone(device)], write).expect("the pool opens");
    let request = Request {
        to: "demo".to_owned(),
        naming: if options.is_multiple_of(2) { Naming::WithoutPool } else { Naming::Tail },
        force: (options / 2).is_multiple_of(2),
        resumable: is_resumable(options),
        ..Request::default()
    };
    pool.destroy_unresumable().expect("datasets");
    let mut receiving = Receiving::new(&mut pool);
    let result = receiving.receive_all(&mut Input::new(stream), &request, &mut Quiet);
    let is_broken = receiving.is_broken();
    if !is_broken {
        pool.export().expect("the pool is left");
    }
    (is_broken, result)
}

fn is_resumable(options: usize) -> bool {
    (options / 4).is_multiple_of(4)
}

/// The pool before, which stays as it is.
fn base() -> Arc<dyn Device> {
    static BASE: OnceLock<Arc<dyn Device>> = OnceLock::new();
    let base = BASE.get_or_init(|| {
        let device: Arc<dyn Device> = Arc::new(MemoryDevice::from(vec![0; created::MEMBER_BYTES as usize]));
        let given = Arc::clone(&device);
        created::create(new_pool("demo", "a", 12, &mut |_| ("/a".to_owned(), Arc::clone(&given))))
            .expect("a pool");
        for name in BEFORE {
            receive(&device, &golden::stream(name), 0).1.expect(name);
        }
        device
    });
    Arc::clone(base)
}

/// Small streams, whole ones and shortened ones, and increments of what the pool holds.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    // The pool is no part of what a run takes.
    base();
    super::super::corpus::streams()
}

/// Whether it arrives or is refused, the pool is clean, and of a stream that was refused nothing is left unfinished but what
/// can be resumed.
pub(super) fn run(input: &[u8]) {
    let device: Arc<dyn Device> = Arc::new(OverlayDevice::new(base()));
    let (is_broken, result) = receive(&device, input, input.len());
    let found = Sending::of(open(&[Arc::clone(&device)]).expect("the pool opens again"));
    check(&found, "after the stream");
    let is_left = is_broken || (result.is_err() && is_resumable(input.len()));
    found
        .dsl
        .walk(&mut |dir| {
            let hidden = dir.child(RECEIVE_CHILD)?.is_some();
            assert!(is_left || !(hidden || dir.head()?.is_inconsistent()), "{} is unfinished", dir.name());
            Ok(())
        })
        .expect("the datasets can be read");
    drop(found);
    if is_broken {
        // The next receive clears away what was left, or nothing was.
        let (is_broken, _) = receive(&device, b"no stream", 1);
        assert!(!is_broken, "the pool fails again");
    }
}
