//! The rules of sending and the error numbers that ZFS has for them, on the pool `pack`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zstream_dmu::device::{Device, FileDevice};
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_format::errno::Errno;
use zstream_format::token::ResumeToken;
use zstream_send::job::From;
use zstream_send::plan::StreamForm;
use zstream_send::request::{Request, resume};
use zstream_send::{Note, Refusal};
use zstream_tests::golden;
use zstream_tests::sending::Sending;

fn pack() -> Sending {
    Sending::open(&[golden::package_file("pack.img").unwrap()])
}

fn resolve(pack: &Sending, request: &Request) -> Result<zstream_send::job::Sending, Refusal> {
    request.resolve(&pack.dsl, &mut |_| {})
}

fn incremental(from: &str, target: &str) -> Request {
    Request { from: Some(from.into()), ..Request::new(target) }
}

fn redacted(bookmark: &str, target: &str) -> Request {
    Request { redact: Some(bookmark.into()), ..Request::new(target) }
}

/// Each rule, with the number that the kernel or libzfs gives.
#[test]
fn broken_rules_have_their_numbers() {
    let pack = pack();
    let many = |from: &str, target: &str| Request { intermediates: true, ..incremental(from, target) };
    let all = |target: &str| Request { replicate: true, ..Request::new(target) };
    let saved = |target: &str| Request { saved: true, ..Request::new(target) };
    for (request, errno) in [
        (Request::new("pack/top@nope"), Errno::ENOENT),
        (Request::new("pack/nope@1"), Errno::ENOENT),
        (Request::new("pack/t!p@1"), Errno::EINVAL),
        (Request::new("pack/top#b1"), Errno::EINVAL),
        // A receive is under way.
        (Request::new("pack/part/full"), Errno::EBUSY),
        // Not a snapshot, and not earlier in the line.
        (incremental("pack/top", "pack/top@2"), Errno::EINVAL),
        (incremental("@2", "pack/top@1"), Errno::EXDEV),
        (incremental("@1", "pack/top@1"), Errno::EXDEV),
        (incremental("pack/top/zeta@1", "pack/top@2"), Errno::EXDEV),
        (incremental("#b3", "pack/top@2"), Errno::EXDEV),
        (incremental("pack/outside#bx", "pack/top@2"), Errno::EXDEV),
        (incremental("@y", "pack/outside@x"), Errno::EXDEV),
        (incremental("@nope", "pack/top@2"), Errno::ENOENT),
        (incremental("#nope", "pack/top@2"), Errno::ENOENT),
        // Redaction: of another dataset, not one at all, of what cannot be redacted.
        (redacted("pack/top#book", "pack/red@s"), Errno::EINVAL),
        (redacted("plain", "pack/red@s"), Errno::EINVAL),
        (redacted("nope", "pack/red@s"), Errno::ENOENT),
        (redacted("book", "pack/red"), Errno::EINVAL),
        (
            Request {
                form: StreamForm { raw: true, ..StreamForm::default() },
                ..redacted("book", "pack/red@s")
            },
            Errno::EINVAL,
        ),
        (Request { replicate: true, ..redacted("book", "pack/red@s") }, Errno::EINVAL),
        // Packages.
        (all("pack/top"), Errno::EINVAL),
        (all("pack/miss@s"), Errno::ENOENT),
        (all("pack/enc@1"), Errno::EACCES),
        (many("#b1", "pack/top@2"), Errno::EINVAL),
        (many("@2", "pack/top@2"), Errno::EXDEV),
        (many("pack/top/zeta@1", "pack/top@2"), Errno::EXDEV),
        (Request { list_bytes_max: 1000, ..all("pack/top@3") }, Errno::ENOSPC),
        (saved("pack/top"), Errno::EINVAL),
        // Its source is another dataset than the one it was received into, as it is for `zfs`.
        (saved("pack/part/redbook"), Errno::EXDEV),
    ] {
        let refusal = resolve(&pack, &request).map(|job| job.steps.len()).unwrap_err();
        assert_eq!(refusal.errno(), errno, "{request:?}: {refusal}");
        assert!(errno.number() > 0 && !refusal.to_string().is_empty());
    }
}

/// A redaction bookmark may be of the very snapshot: what it left out is then sent. Others may not.
#[test]
fn a_snapshot_is_sent_from_its_own_redaction_bookmark() {
    let pack = pack();
    let job = resolve(&pack, &incremental("#book", "pack/red@s")).unwrap();
    assert!(
        matches!(&job.steps[0].from, Some(From::Bookmark(bookmark)) if bookmark.redaction_object.is_some())
    );
    let refusal =
        resolve(&pack, &incremental("#plain", "pack/red@s")).map(|job| job.steps.len()).unwrap_err();
    assert_eq!(refusal.errno(), Errno::EXDEV, "{refusal}");
}

/// A locked dataset is known only when its turn comes: names and lengths need no key.
#[test]
fn locked_datasets_are_refused_by_their_plan() {
    let pack = pack();
    let job = resolve(&pack, &Request::new("pack/enc@1")).unwrap();
    let refusal = job.steps[0].plan(pack.source(), Default::default()).map(|_| ()).unwrap_err();
    assert_eq!(refusal.errno(), Errno::EACCES);
    assert!(job.steps[0].needs_key().unwrap());
    assert!(job.steps[0].estimate(pack.source(), Default::default(), &Default::default()).unwrap() > 0);
}

/// Directories above 128 KiB travel in streams of large blocks only.
#[test]
fn large_micro_zaps_need_large_blocks() {
    let pack = pack();
    let refused = |form| {
        let job = resolve(&pack, &Request { form, ..Request::new("pack/big@s") }).unwrap();
        let sent = job.send(
            &mut std::io::sink(),
            pack.source(),
            Default::default(),
            &Default::default(),
            &mut |_| {},
        );
        sent.err().map(|refusal| refusal.errno())
    };
    assert_eq!(refused(StreamForm::default()), Some(Errno::ZFS_ERR_STREAM_LARGE_MICROZAP));
    assert_eq!(
        refused(StreamForm { compressed: true, ..StreamForm::default() }),
        Some(Errno::ZFS_ERR_STREAM_LARGE_MICROZAP)
    );
    assert_eq!(refused(StreamForm { large_blocks: true, ..StreamForm::default() }), None);
}

/// Tokens of what is gone, or is something else by now.
#[test]
fn tokens_are_of_what_is_still_there() {
    let pack = pack();
    let tokens = std::fs::read_to_string(golden::package_file("tokens.txt").unwrap()).unwrap();
    let token = |name: &str| {
        let line = tokens.lines().find(|line| line.starts_with(&format!("pack/part/{name} "))).unwrap();
        ResumeToken::parse(line.split_once(' ').unwrap().1).unwrap()
    };
    let refusal =
        |token: &ResumeToken| resume(token, StreamForm::default(), &pack.dsl).map(|_| ()).unwrap_err();
    assert!(matches!(refusal(&token("gone")), Refusal::TokenSnapshotGone { .. }));
    assert!(matches!(refusal(&token("same")), Refusal::TokenSnapshotChanged { .. }));
    let mut other = token("incr");
    other.from_guid = Some(1);
    assert!(matches!(refusal(&other), Refusal::TokenSourceGone { guid: 1 }));
    let mut other = token("full");
    other.redact_snaps = Some(vec![1, 2]);
    assert!(matches!(refusal(&other), Refusal::TokenRedactionGone { .. }));
    for errno in ["gone", "same"].map(|name| refusal(&token(name)).errno()) {
        assert_eq!(errno, Errno::ENOENT);
    }
}

/// A device whose reads fail from some read on.
#[derive(Debug)]
struct Failing {
    inner: FileDevice,
    left: AtomicU64,
}

impl Device for Failing {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_err() {
            return Err(std::io::Error::other("it does not read any more"));
        }
        self.inner.read_at(offset, out)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }
}

/// Whichever read fails while names and tokens are looked up: what cannot be read is never told as something that is not there.
#[test]
fn what_cannot_be_read_is_not_told_as_missing() {
    let tokens = std::fs::read_to_string(golden::package_file("tokens.txt").unwrap()).unwrap();
    let line = tokens.lines().find(|line| line.starts_with("pack/part/incr ")).unwrap();
    let token = ResumeToken::parse(line.split_once(' ').unwrap().1).unwrap();
    let bookmark = incremental("#b1", "pack/top@2");
    let all = Request { replicate: true, ..Request::new("pack/top@3") };
    type Resolve<'a> = &'a dyn Fn(&Sending) -> Result<zstream_send::job::Sending, Refusal>;
    let cases: [(&str, Resolve<'_>); 4] = [
        ("bookmark", &|pack| resolve(pack, &bookmark)),
        ("token", &|pack| resume(&token, StreamForm::default(), &pack.dsl)),
        ("package", &|pack| resolve(pack, &all)),
        ("redacted", &|pack| resolve(pack, &redacted("book", "pack/red@s"))),
    ];
    for (what, resolve) in cases {
        let mut failed = 0;
        for reads in 0.. {
            let inner = FileDevice::open(&golden::package_file("pack.img").unwrap()).unwrap();
            let device = Arc::new(Failing { inner, left: AtomicU64::new(u64::MAX) });
            let options = OpenOptions { cache_bytes: 0, ..OpenOptions::default() };
            let pack = Sending::of(
                Pool::open_devices(vec![("pack".to_owned(), Arc::clone(&device) as _)], &options).unwrap(),
            );
            device.left.store(reads, Ordering::Relaxed);
            let Err(refusal) = resolve(&pack) else { break };
            assert_eq!(refusal.errno(), Errno::EIO, "{what}, {reads} reads: {refusal}");
            failed += 1;
        }
        assert!(failed > 3, "{what}: {failed}");
    }
}

/// What is left out is told, and of what importance that is.
#[test]
fn notes_tell_what_is_left_out() {
    let pack = pack();
    let mut notes = Vec::new();
    let request = Request { replicate: true, skip_missing: true, ..Request::new("pack/miss@s") };
    let job = request.resolve(&pack.dsl, &mut |note: Note| notes.push(note)).unwrap();
    let names: Vec<&str> = job.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["pack/miss@s", "pack/miss/has@s"]);
    assert_eq!(notes.iter().filter(|note| !note.is_detail()).count(), 1, "{notes:?}");
    assert!(notes[0].to_string().contains("pack/miss/lacks") || notes.len() == 2, "{notes:?}");
}
