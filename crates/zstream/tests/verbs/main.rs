//! The promises of the verbs to a program: errors that can be matched on, and, after a cancel, a target as before.

use std::fs::{self, File};
use std::io::{Cursor, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use zstream::check::check_pool;
use zstream::create::{MemberFault, NewDataset, NewPool};
use zstream::list::{Selection, select};
use zstream::{
    Cancel, Cause, Control, EncryptionFault, Error, Event, Input, Key, Keys, NoKeys, PoolPlace, Put,
    PutFault, PutOptions, ReceiveRequest, Receiver, Replication, Request, SendRequest, Sender, Source,
    VerifyingWriter, extract, snapshot, verify,
};
use zstream_dmu::device::{Memory, OpenDevice as _};
use zstream_dmu::error::Fault as PoolFault;
use zstream_dmu::pool::WriteOptions;
use zstream_dsl::error::{Fault, Kind};
use zstream_dsl::prop::{Types, parse_assignment};
use zstream_format::errno::Errno;
use zstream_recv::error::Fault as ReceiveFault;
use zstream_recv::{Naming, Refusal as ReceiveRefusal};

/// Bytes of the large file: several pieces of all verbs.
const LARGE_BYTES: usize = 20 << 20;

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(bench.path("src")).unwrap();
        fs::write(bench.path("src/large"), noise(LARGE_BYTES)).unwrap();
        fs::write(bench.path("src/small"), b"small\n").unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A new pool in a file of the same name.
    fn pool(&self, name: &str, settings: &[&str], keys: &dyn Keys) -> PoolPlace {
        let mut new = NewPool::new(name, &[self.text(name)]).unwrap().with_file_size(128 << 20).unwrap();
        for setting in settings {
            new = new.set_on_root(setting).unwrap();
        }
        new.create("test", keys).unwrap()
    }

    /// A pool with the files of `src` and a snapshot of its root filesystem.
    fn filled(&self, name: &str) -> PoolPlace {
        let place = self.pool(name, &[], &NoKeys);
        let mut put = Put::open(&place, name, &PutOptions::default(), &NoKeys).unwrap();
        put.paths(b"/", &[self.path("src")], &mut Control::new()).unwrap();
        put.finish("test").unwrap();
        place.change(name, "test", |pool| snapshot(pool, &[format!("{name}@now")])).unwrap();
        place
    }

    /// The stream of `snapshot`.
    fn stream(&self, place: &PoolPlace, snapshot: &str) -> Vec<u8> {
        let open = place.open(None, &mut Control::new()).unwrap();
        let mut stream = Vec::new();
        let sender = Sender::new(&open, &SendRequest::new(snapshot), &mut Control::new()).unwrap();
        sender.send(&mut stream, &mut Control::new()).unwrap();
        stream
    }
}

/// Bytes that no compression makes shorter.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Runs a verb that is cancelled after its first bytes; gives what it ended with, and how many bytes it did.
fn cancelled<T>(verb: impl FnOnce(&mut Control<'_>) -> zstream::Result<T>) -> (Error, u64) {
    let cancel = Cancel::new();
    let mut done = 0;
    let mut control = Control::new().cancelled_by(&cancel).watched_by(|event| {
        if let Event::Bytes(bytes) = event
            && bytes > 0
        {
            done += bytes;
            cancel.cancel();
        }
    });
    let error = verb(&mut control).err().expect("it was cancelled");
    drop(control);
    assert!(done > 0, "it was cancelled before it began");
    (error, done)
}

fn names(place: &PoolPlace) -> Vec<String> {
    let open = place.open(None, &mut Control::new()).unwrap();
    let selection = Selection { names: &[], types: Types::all(), strict: false, depth: usize::MAX };
    let found = select(&open, &selection, &NoKeys, &mut Control::new()).unwrap();
    found.iter().map(|props| props.name().to_owned()).collect()
}

#[test]
fn a_put_that_is_cancelled_changes_nothing() {
    let bench = Bench::new();
    let place = bench.pool("tank", &[], &NoKeys);
    let before = fs::read(bench.path("tank")).unwrap();
    let mut put = Put::open(&place, "tank", &PutOptions::default(), &NoKeys).unwrap();
    let (error, done) = cancelled(|control| put.paths(b"/", &[bench.path("src")], control));
    assert!(matches!(error, Error::Put { fault: PutFault::Cancelled, committed: None }), "{error:?}");
    assert!(error.is_cancelled() && done < LARGE_BYTES as u64);
    let more = put.paths(b"/", &[bench.path("src")], &mut Control::new()).unwrap_err();
    assert!(matches!(more, Error::Request(Request::Failed)), "{more:?}");
    assert!(matches!(put.finish("test").unwrap_err(), Error::Request(Request::Failed)));
    // Blocks may have been written where nothing was, but no label and no uberblock.
    let label = 256 << 10;
    let after = fs::read(bench.path("tank")).unwrap();
    assert!(after[..2 * label] == before[..2 * label] && after.len() == before.len());
    assert!(after[after.len() - 2 * label..] == before[before.len() - 2 * label..]);
    let source = Source::in_pool(&place, "tank", &NoKeys, &mut Control::new()).unwrap();
    assert!(source.filesystem().unwrap().resolve(b"src").is_err());
    assert!(
        check_pool(&place.open(None, &mut Control::new()).unwrap(), &NoKeys, &mut Control::new())
            .unwrap()
            .is_clean()
    );
}

#[test]
fn an_archive_and_an_image_can_be_cancelled() {
    let bench = Bench::new();
    let place = bench.filled("tank");
    let source = Source::in_pool(&place, "tank@now", &NoKeys, &mut Control::new()).unwrap();
    let mut archive = Vec::new();
    extract::to_archive(&source.filesystem().unwrap(), &["src"], &mut archive, &mut Control::new()).unwrap();
    drop(source);
    let input = |bytes: &[u8]| Input::Reader {
        name: b"bytes".to_vec(),
        reader: Box::new(Cursor::new(bytes.to_vec())),
    };
    let mut put = Put::open(&place, "tank", &PutOptions::default(), &NoKeys).unwrap();
    let (error, _) = cancelled(|control| put.archive(b"/", input(&archive), control));
    assert!(error.is_cancelled(), "{error:?}");
    drop(put);
    // An image is looked at after every 64 MiB.
    place
        .change("tank", "test", |pool| {
            NewDataset::volume("tank/vm", 80 << 20)?.sparse().create(pool, &NoKeys)
        })
        .unwrap();
    let mut put = Put::open(&place, "tank/vm", &PutOptions::default(), &NoKeys).unwrap();
    let error = put.paths(b"/", &[bench.path("src")], &mut Control::new()).unwrap_err();
    assert!(matches!(error, Error::Request(Request::Volume(_))), "{error:?}");
    let (error, done) = cancelled(|control| put.image(input(&vec![0; 80 << 20]), control));
    assert!(error.is_cancelled() && done < 80 << 20, "{error:?}");
}

#[test]
fn an_extract_that_is_cancelled_leaves_no_part_of_a_file() {
    let bench = Bench::new();
    let place = bench.filled("tank");
    fs::create_dir(bench.path("out")).unwrap();
    let source = Source::in_pool(&place, "tank@now", &NoKeys, &mut Control::new()).unwrap();
    let files = source.filesystem().unwrap();
    let (error, done) =
        cancelled(|control| extract::to_directory(&files, &["src/large"], &bench.path("out"), control));
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    assert!(done < LARGE_BYTES as u64);
    assert!(!bench.path("out/src/large").exists());
    let mut archive = Vec::new();
    let (error, _) = cancelled(|control| extract::to_archive(&files, &["src"], &mut archive, control));
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    let error = extract::to_directory(&files, &["../etc"], &bench.path("out"), &mut Control::new());
    assert!(matches!(error, Err(Error::Request(Request::PathLeadsUp(_)))));
}

#[test]
fn an_image_that_is_cancelled_is_removed() {
    let bench = Bench::new();
    let place = bench.pool("tank", &[], &NoKeys);
    place
        .change("tank", "test", |pool| {
            NewDataset::volume("tank/vm", LARGE_BYTES as u64)?.sparse().create(pool, &NoKeys)
        })
        .unwrap();
    let mut put = Put::open(&place, "tank/vm", &PutOptions::default(), &NoKeys).unwrap();
    put.image(Input::Path(bench.path("src/large")), &mut Control::new()).unwrap();
    put.finish("test").unwrap();
    let source = Source::in_pool(&place, "tank/vm", &NoKeys, &mut Control::new()).unwrap();
    let image = bench.path("vm.img");
    let (error, _) = cancelled(|control| extract::to_image(source.set(), &image, control));
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    assert!(!image.exists());
    extract::to_image(source.set(), &image, &mut Control::new()).unwrap();
    assert!(fs::read(&image).unwrap() == fs::read(bench.path("src/large")).unwrap());
    let error = extract::to_image(source.set(), &image, &mut Control::new()).unwrap_err();
    assert!(matches!(&error, Error::Target { path, .. } if *path == image), "{error:?}");
}

#[test]
fn a_check_can_be_cancelled() {
    let bench = Bench::new();
    let place = bench.filled("tank");
    let open = place.open(None, &mut Control::new()).unwrap();
    let (error, _) = cancelled(|control| check_pool(&open, &NoKeys, control));
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    let mut total = 0;
    let mut control = Control::new().watched_by(|event| {
        if let Event::Total(bytes) = event {
            total = bytes;
        }
    });
    let check = check_pool(&open, &NoKeys, &mut control).unwrap();
    drop(control);
    assert!(check.is_clean() && total > LARGE_BYTES as u64);
}

#[test]
fn a_check_names_the_file_that_a_damaged_block_is_of() {
    let bench = Bench::new();
    let place = bench.filled("tank");
    let image = bench.path("tank");
    let mut bytes = fs::read(&image).unwrap();
    // A part of the large file, wherever it lies.
    let content = noise(LARGE_BYTES);
    let piece = &content[4 << 20..(4 << 20) + 64];
    let at = bytes.windows(64).position(|window| window == piece).expect("it is stored as it is");
    bytes[at] ^= 1;
    fs::write(&image, &bytes).unwrap();
    let open = place.open(None, &mut Control::new()).unwrap();
    let check = check_pool(&open, &NoKeys, &mut Control::new()).unwrap();
    assert!(!check.is_clean());
    // The head has the block too.
    let damaged: Vec<_> = check.damaged.iter().map(|it| (it.within.as_str(), it.paths.clone())).collect();
    let paths = vec!["/src/large".to_owned()];
    assert_eq!(damaged, [("tank@now", paths.clone()), ("tank", paths)]);
    let place = 4 << 20;
    assert!(check.damaged.iter().all(|it| it.lost.iter().any(|range| range.contains(&place))));
    assert_eq!((check.totals.lost_blocks, check.members.len()), (1, 1));
}

#[test]
fn a_receive_that_is_cancelled_leaves_the_target_as_before() {
    let bench = Bench::new();
    let stream = bench.stream(&bench.filled("tank"), "tank@now");
    let copy = bench.pool("copy", &[], &NoKeys);
    let receiver = Receiver::open(&copy, ReceiveRequest::new("copy/fs"), &NoKeys).unwrap();
    let (error, done) = cancelled(|control| receiver.receive(&stream[..], "test", control));
    assert!(error.is_cancelled() && done < stream.len() as u64);
    let Error::Receive(error) = error else { panic!("{error:?}") };
    assert_eq!((error.errno(), error.is_kept, error.unclean.is_none()), (Errno::EINTR, false, true));
    assert_eq!(names(&copy), ["copy"]);

    let mut request = ReceiveRequest::new("copy/fs");
    request.resumable = true;
    let receiver = Receiver::open(&copy, request, &NoKeys).unwrap();
    let (error, _) = cancelled(|control| receiver.receive(&stream[..], "test", control));
    assert!(matches!(&error, Error::Receive(error) if error.is_kept), "{error:?}");
    assert_eq!(names(&copy), ["copy", "copy/fs"]);
    copy.change("copy", "test", |pool| zstream::abort_receive(pool, "copy/fs")).unwrap();
    assert_eq!(names(&copy), ["copy"]);
    let error = copy.change("copy", "test", |pool| zstream::abort_receive(pool, "copy/fs"));
    assert!(matches!(error, Err(Error::Discard(_))));

    let receiver = Receiver::open(&copy, ReceiveRequest::new("copy/fs"), &NoKeys).unwrap();
    assert_eq!(receiver.receive(&stream[..], "test", &mut Control::new()).unwrap().snapshots, 1);
    assert_eq!(names(&copy), ["copy", "copy/fs", "copy/fs@now"]);
}

/// The filesystems that `-d` needs above are made by the library, whose error comes back as it is.
#[test]
fn a_receive_keeps_the_error_of_a_filesystem_that_could_not_be_made() {
    let bench = Bench::new();
    let place = bench.pool("tank", &[], &NoKeys);
    place
        .change("tank", "test", |pool| {
            NewDataset::filesystem("tank/a/b").with_parents().create(pool, &NoKeys)?;
            snapshot(pool, &["tank/a/b@now"])
        })
        .unwrap();
    let stream = bench.stream(&place, "tank/a/b@now");
    let key = Key::new(vec![7; 32]);
    let copy = bench.pool("copy", &["encryption=on", "keyformat=raw"], &key);
    let receive = |keys: &dyn Keys| {
        let mut request = ReceiveRequest::new("copy");
        request.naming = Naming::WithoutPool;
        Receiver::open(&copy, request, keys)?.receive(&stream[..], "test", &mut Control::new())
    };
    let error = receive(&NoKeys).unwrap_err();
    let Error::Receive(error) = error else { panic!("{error:?}") };
    let ReceiveFault::Host { source, .. } = error.error.fault() else { panic!("{error:?}") };
    assert!(matches!(source.downcast_ref(), Some(Error::NoKey { root, .. }) if root == "copy"), "{source:?}");
    assert_eq!(error.errno(), Errno::EACCES);
    assert_eq!(names(&copy), ["copy"]);
    assert_eq!(receive(&key).unwrap().snapshots, 1);
    assert_eq!(names(&copy), ["copy", "copy/a", "copy/a/b", "copy/a/b@now"]);
}

#[test]
fn a_dataset_goes_from_pool_to_pool_or_not_at_all() {
    let bench = Bench::new();
    let tank = bench.filled("tank");
    let copy = bench.pool("copy", &[], &NoKeys);
    let replication = Replication::new("tank@now", "copy/fs");
    let (error, _) = cancelled(|control| replication.run(&tank, &copy, &NoKeys, control));
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    assert_eq!(names(&copy), ["copy"]);
    let (mut total, mut done) = (0, 0);
    let mut control = Control::new().watched_by(|event| match event {
        Event::Total(bytes) => total = bytes,
        Event::Bytes(bytes) => done += bytes,
        _ => {}
    });
    let replicated = replication.run(&tank, &copy, &NoKeys, &mut control).unwrap();
    drop(control);
    assert_eq!((replicated.snapshots, replicated.sent.bytes, replicated.is_complete), (1, done, true));
    assert!(total > LARGE_BYTES as u64);
    let source = Source::in_pool(&copy, "copy/fs@now", &NoKeys, &mut Control::new()).unwrap();
    let files = source.filesystem().unwrap();
    let content = files.content(&files.resolve(b"src/large").unwrap()).unwrap();
    let mut bytes = vec![0; LARGE_BYTES];
    content.read(0, &mut bytes).unwrap();
    assert!(bytes == noise(LARGE_BYTES));

    tank.change("tank", "test", |pool| snapshot(pool, &["tank@later"])).unwrap();
    let increment = Replication::new("tank@later", "copy/fs").since("@now").raw();
    assert_eq!(increment.run(&tank, &copy, &NoKeys, &mut Control::new()).unwrap().snapshots, 1);
    // What the receiver refuses is the receiver's error, what the sender refuses the sender's.
    let error = replication.run(&tank, &copy, &NoKeys, &mut Control::new()).unwrap_err();
    assert!(matches!(&error, Error::Receive(error) if error.errno() == Errno::EEXIST), "{error:?}");
    let error = Replication::new("tank@never", "copy/x").run(&tank, &copy, &NoKeys, &mut Control::new());
    assert!(matches!(error, Err(Error::Send(_))));
    let error = Replication::new("tank@now", "tank/x").run(&tank, &tank, &NoKeys, &mut Control::new());
    assert!(matches!(error, Err(Error::Request(Request::SamePool))), "{error:?}");
}

/// The sender fails in the middle: the receiver does not take that for the end.
#[test]
fn a_source_that_is_damaged_leaves_no_dataset() {
    let bench = Bench::new();
    let tank = bench.filled("tank");
    let mut bytes = fs::read(bench.path("tank")).unwrap();
    let content = noise(LARGE_BYTES);
    let piece = &content[LARGE_BYTES - 64..];
    let at = bytes.windows(64).position(|window| window == piece).expect("it is stored as it is");
    bytes[at] ^= 1;
    fs::write(bench.path("tank"), &bytes).unwrap();
    let copy = bench.pool("copy", &[], &NoKeys);
    let error = Replication::new("tank@now", "copy/fs").run(&tank, &copy, &NoKeys, &mut Control::new());
    assert!(matches!(error, Err(Error::Send(_))), "{error:?}");
    assert_eq!(names(&copy), ["copy"]);
}

#[test]
fn a_send_and_a_verify_can_be_cancelled() {
    let bench = Bench::new();
    let tank = bench.filled("tank");
    let stream = bench.stream(&tank, "tank@now");
    let open = tank.open(None, &mut Control::new()).unwrap();
    let sender = Sender::new(&open, &SendRequest::new("tank@now"), &mut Control::new()).unwrap();
    let mut part = Vec::new();
    let (error, done) = cancelled(|control| sender.send(&mut part, control));
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    assert_eq!(part.len() as u64, done);
    assert!(part.len() < stream.len() && stream.starts_with(&part));
    assert_eq!(sender.measure().unwrap(), [stream.len() as u64]);

    let path = bench.path("stream");
    fs::write(&path, &stream).unwrap();
    let cancel = Cancel::new();
    cancel.cancel();
    let error = verify(&path, Default::default(), &mut Control::new().cancelled_by(&cancel)).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    let mut done = 0;
    let mut control = Control::new().watched_by(|event| {
        if let Event::Bytes(bytes) = event {
            done += bytes;
        }
    });
    let verdict = verify(&path, Default::default(), &mut control).unwrap();
    drop(control);
    assert!(verdict.is_good() && done == stream.len() as u64);
    let error = verify(&bench.path("none"), Default::default(), &mut Control::new()).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error:?}");
}

#[test]
fn a_stream_is_verified_while_it_passes() {
    let bench = Bench::new();
    let mut stream = bench.stream(&bench.filled("tank"), "tank@now");
    let pass = |stream: &[u8]| {
        let mut writer = VerifyingWriter::new(Vec::new(), Default::default()).unwrap();
        stream.chunks(77_777).for_each(|part| writer.write_all(part).unwrap());
        writer.finish().unwrap()
    };
    let (passed, verdict) = pass(&stream);
    assert!(passed == stream && verdict.is_good() && verdict.snapshots == 1);
    let (_, verdict) = pass(&stream[..stream.len() - 1]);
    assert!(!verdict.is_good());
    let middle = stream.len() / 2;
    stream[middle] ^= 1;
    let (passed, verdict) = pass(&stream);
    assert!(passed == stream, "what comes after a fault is passed on too");
    assert!(!verdict.is_good() && verdict.good_bytes < stream.len() as u64);
}

#[test]
fn errors_say_what_was_wrong_without_their_text() {
    let bench = Bench::new();
    let place = bench.pool("tank", &[], &NoKeys);
    let open = |name: &str| Put::open(&place, name, &PutOptions::default(), &NoKeys);
    assert!(matches!(open("tank@now"), Err(Error::Request(Request::NotWritable(_)))));
    let Err(Error::Pool(Cause::Datasets(error))) = open("tank/none") else { panic!("it is not there") };
    assert!(matches!(error.fault(), Fault::NotFound { .. }), "{error:?}");
    let mut put = open("tank").unwrap();
    let error = put.paths(b"/", &[bench.path("none")], &mut Control::new()).unwrap_err();
    let Error::Put { fault: PutFault::Source { source, .. }, committed: None } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
    drop(put);
    assert!(matches!(
        PoolPlace::new([""; 0]).open(None, &mut Control::new()),
        Err(Error::Request(Request::NoDevice))
    ));

    let selection = Selection { names: &["tank".to_owned()], types: Types::VOLUME, strict: true, depth: 0 };
    let pool = place.open(None, &mut Control::new()).unwrap();
    let error = select(&pool, &selection, &NoKeys, &mut Control::new()).unwrap_err();
    assert!(matches!(&error, Error::OtherKind { name } if name == "tank"), "{error:?}");
    drop(pool);

    let new = |path: &str| NewPool::new("other", &[bench.text(path)]).unwrap();
    let fault = |new: NewPool| match new.create("test", &NoKeys) {
        Err(Error::Member { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(new("none")), MemberFault::Missing);
    assert_eq!(fault(new("tank").with_file_size(128 << 20).unwrap()), MemberFault::Exists);
    assert!(matches!(fault(new("tank")), MemberFault::InUse { pool, .. } if pool == "tank"));

    let create = |settings: &[&str], keys: &dyn Keys| {
        place.change("tank", "test", |pool| {
            let mut new = NewDataset::filesystem("tank/locked");
            for setting in settings {
                new = new.set(setting)?;
            }
            new.create(pool, keys)
        })
    };
    for (settings, wanted) in [
        (&["encryption=on"][..], EncryptionFault::NoFormat),
        (&["encryption=off", "keyformat=raw"], EncryptionFault::KeyWithoutEncryption),
        (&["encryption=on", "keyformat=raw", "pbkdf2iters=100000"], EncryptionFault::RoundsWithoutPassphrase),
    ] {
        let error = create(settings, &NoKeys).unwrap_err();
        assert!(matches!(&error, Error::Encryption { fault, .. } if *fault == wanted), "{error:?}");
    }
    let settings = ["encryption=on", "keyformat=raw"];
    assert!(matches!(create(&settings, &NoKeys), Err(Error::NoKey { .. })));
    create(&settings, &Key::new(vec![7; 32])).unwrap();
    let locked = |keys: &dyn Keys| Source::in_pool(&place, "tank/locked", keys, &mut Control::new());
    assert!(matches!(locked(&NoKeys), Err(Error::NoKey { root, .. }) if root == "tank/locked"));
    assert!(matches!(locked(&Key::new(vec![8; 32])), Err(Error::Key { root, .. }) if root == "tank/locked"));
    locked(&Key::new(vec![7; 32])).unwrap();
    // Files that were made for a pool that could not be are gone.
    let new = NewPool::new("half", &[bench.text("half")]).unwrap().with_file_size(128 << 20).unwrap();
    let new = new.set_on_root("encryption=on").unwrap().set_on_root("keyformat=raw").unwrap();
    assert!(matches!(new.create("test", &NoKeys), Err(Error::NoKey { .. })));
    assert!(!bench.path("half").exists());
    assert!(File::open(bench.path("tank")).is_ok());
}

/// A caller learns which of a dozen things went wrong by matching, and the error number of ZFS for each.
#[test]
#[expect(clippy::too_many_lines, reason = "a dozen cases, one after the other")]
fn a_dozen_failures_are_told_apart_by_matching() {
    let bench = Bench::new();
    let place = bench.filled("tank");
    let set = |place: &PoolPlace, name: &str, assignment: &str| {
        let parsed = parse_assignment(assignment)?;
        place.change(name, "test", |pool| zstream::set(pool, name, &[parsed], &NoKeys))
    };
    let take = |name: &str| place.change("tank", "test", |pool| snapshot(pool, &[name.to_owned()]));

    // No such dataset.
    let error = Put::open(&place, "tank/none", &PutOptions::default(), &NoKeys).err().unwrap();
    let Some(Cause::Datasets(cause)) = error.cause() else { panic!("{error:?}") };
    assert!(matches!(cause.fault(), Fault::NotFound { kind: Kind::Dataset, name } if name == "tank/none"));
    assert_eq!(error.errno(), Errno::ENOENT);

    // A snapshot that exists.
    let error = take("tank@now").unwrap_err();
    let Error::Change { source: Cause::Datasets(cause), .. } = &error else { panic!("{error:?}") };
    assert!(matches!(cause.fault(), Fault::Exists { kind: Kind::Snapshot, name } if name == "tank@now"));
    assert_eq!(error.errno(), Errno::EEXIST);

    // A bad name.
    let error = take("tank@a b#c").unwrap_err();
    let Some(Cause::Datasets(cause)) = error.cause() else { panic!("{error:?}") };
    assert!(matches!(cause.fault(), Fault::BadName(_)), "{error:?}");
    assert_eq!(error.errno(), Errno::EINVAL);

    // A pool that another writer has.
    let held = place.open_writable(Some("tank"), WriteOptions::default(), None).unwrap();
    let error = take("tank@later").unwrap_err();
    let Some(Cause::Pool(cause)) = error.cause() else { panic!("{error:?}") };
    assert!(matches!(cause.fault(), PoolFault::InUse(_)), "{error:?}");
    assert_eq!(error.errno(), Errno::EBUSY);
    drop(held);

    // Something that is not supported.
    let error = set(&place, "tank", "version=4").unwrap_err();
    let Some(Cause::Datasets(cause)) = error.cause() else { panic!("{error:?}") };
    assert!(matches!(cause.fault(), Fault::Unsupported(_)), "{error:?}");
    assert_eq!(error.errno(), Errno::ENOTSUP);

    // A key that is missing, and one that is another one.
    let secret = Key::new(vec![7; 32]);
    let locked = bench.pool("locked", &["encryption=on", "keyformat=raw"], &secret);
    let open = |keys: &dyn Keys| Source::in_pool(&locked, "locked", keys, &mut Control::new()).err().unwrap();
    let error = open(&NoKeys);
    assert!(matches!(&error, Error::NoKey { root, .. } if root == "locked"), "{error:?}");
    assert_eq!(error.errno(), Errno::EACCES);
    let error = open(&Key::new(vec![8; 32]));
    let Error::Key { source: Cause::Pool(cause), .. } = &error else { panic!("{error:?}") };
    assert!(matches!(cause.fault(), PoolFault::WrongKey), "{error:?}");
    assert_eq!(error.errno(), Errno::EACCES);

    // A stream with a wrong checksum, and one that was cut short.
    let mut stream = bench.stream(&place, "tank@now");
    let copy = bench.pool("copy", &[], &NoKeys);
    let receive = |stream: &[u8]| {
        let receiver = Receiver::open(&copy, ReceiveRequest::new("copy/fs"), &NoKeys).unwrap();
        receiver.receive(stream, "test", &mut Control::new()).unwrap_err()
    };
    let fault_of = |error: &Error| match error {
        Error::Receive(error) => match error.error.fault() {
            ReceiveFault::Stream(error) => error.fault().kind(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let error = receive(&stream[..stream.len() / 2]);
    assert_eq!((fault_of(&error), error.errno()), ("truncated", Errno::ZFS_ERR_STREAM_TRUNCATED));
    let middle = stream.len() / 2;
    stream[middle] ^= 1;
    let error = receive(&stream);
    assert_eq!((fault_of(&error), error.errno()), ("checksum", Errno::ECKSUM));
    stream[middle] ^= 1;

    // A limit that is reached.
    set(&copy, "copy", "filesystem_limit=0").unwrap();
    let error = receive(&stream);
    let Error::Receive(inner) = &error else { panic!("{error:?}") };
    let ReceiveFault::Refused(refusal) = inner.error.fault() else { panic!("{error:?}") };
    assert!(matches!(refusal, ReceiveRefusal::Limit { limit: "filesystem_limit", .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::EDQUOT);

    // A pool that is full.
    let small = NewPool::new("small", &[bench.text("small")]).unwrap().with_file_size(64 << 20).unwrap();
    let small = small.create("test", &NoKeys).unwrap();
    for n in 0..3 {
        fs::copy(bench.path("src/large"), bench.path(&format!("src/large{n}"))).unwrap();
    }
    let mut put = Put::open(&small, "small", &PutOptions::default(), &NoKeys).unwrap();
    let error = put.paths(b"/", &[bench.path("src")], &mut Control::new()).unwrap_err();
    let Error::Put { fault: PutFault::Target { source: Cause::Pool(cause), .. }, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(matches!(cause.fault(), PoolFault::NoSpace { .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::ENOSPC);
    drop(put);

    // A verb that was cancelled.
    let cancel = Cancel::new();
    cancel.cancel();
    let mut put = Put::open(&place, "tank", &PutOptions::default(), &NoKeys).unwrap();
    let error = put.paths(b"/", &[bench.path("src")], &mut Control::new().cancelled_by(&cancel)).unwrap_err();
    assert!(matches!(error, Error::Put { fault: PutFault::Cancelled, .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::EINTR);
}

/// A volume reserves as much as it takes to write all of it.
#[test]
fn volumes_reserve_what_they_may_take() {
    let bench = Bench::new();
    let place = bench.pool("tank", &[], &NoKeys);
    let reserved = |name: &str| {
        let open = place.open(None, &mut Control::new()).unwrap();
        let names = [name.to_owned()];
        let selection = Selection { names: &names, types: Types::all(), strict: true, depth: 0 };
        let found = select(&open, &selection, &NoKeys, &mut Control::new()).unwrap();
        let name = zstream::list::PropertyName::parse("refreservation").unwrap();
        name.of(&found[0]).unwrap().map(|found| found.value.literal(None))
    };
    let change = |new: NewDataset| place.change("tank", "test", |pool| new.create(pool, &NoKeys)).unwrap();
    change(NewDataset::volume("tank/a", 1 << 20).unwrap());
    change(NewDataset::volume("tank/b", 1 << 20).unwrap().sparse());
    // 64 blocks of 16 KiB: their data, and 8 indirect blocks in two copies (`zvol_volsize_to_reservation`).
    let bytes = (1 << 20) + 8 * 2 * (128 << 10);
    assert_eq!(reserved("tank/a").as_deref(), Some(bytes.to_string().as_str()));
    assert_eq!(reserved("tank/b").as_deref(), Some("0"));
}

/// A pool that never touches a file: created, written, left, changed again and read by names in memory.
#[test]
fn a_pool_lives_in_memory_alone() {
    let bench = Bench::new();
    let memory = Arc::new(Memory::new());
    let vdevs = ["raidz", "shelf/a", "shelf/b", "shelf/c"];
    let new = || NewPool::new("mem", &vdevs).unwrap().with_file_size(64 << 20).unwrap();
    let create = |new: NewPool| new.through(Arc::clone(&memory) as _).create("test", &NoKeys);
    let place = create(new()).unwrap();
    assert!(!std::path::Path::new("shelf").exists());
    let error = create(new()).unwrap_err();
    assert!(
        matches!(&error, Error::Member { path, fault: MemberFault::Exists } if path == "shelf/a"),
        "{error}"
    );
    let mut forced = NewPool::new("mem", &["shelf/d", "mem"]).unwrap().with_file_size(64 << 20).unwrap();
    forced.force = true;
    create(forced).unwrap();
    assert!(memory.get("shelf/d").is_some() && memory.get("mem").is_some());
    memory.remove("shelf/d".as_ref()).unwrap();
    memory.remove("mem".as_ref()).unwrap();

    let mut put = Put::open(&place, "mem", &PutOptions::default(), &NoKeys).unwrap();
    put.paths(b"/", &[bench.path("src")], &mut Control::new()).unwrap();
    put.finish("test").unwrap();
    // Found by searching what stands for a directory.
    let shelf = PoolPlace::new(["shelf"]).through(Arc::clone(&memory) as _);
    let first = shelf.open_writable(None, WriteOptions::default(), None).unwrap();
    let error = place.open_writable(None, WriteOptions::default(), None).unwrap_err().to_string();
    assert!(error.contains("another program has it open for writing"), "{error}");
    drop(first);
    shelf.change("mem", "test", |pool| snapshot(pool, &["mem@now".to_owned()])).unwrap();

    // Without one member, which raidz can do without.
    memory.remove("shelf/b".as_ref()).unwrap();
    let source = Source::in_pool(&shelf, "mem@now", &NoKeys, &mut Control::new()).unwrap();
    let files = source.filesystem().unwrap();
    let content = files.content(&files.resolve(b"src/large").unwrap()).unwrap();
    let mut bytes = vec![0; usize::try_from(content.size()).unwrap()];
    content.read(0, &mut bytes).unwrap();
    assert!(bytes == noise(LARGE_BYTES));
    shelf.change("mem", "test", |pool| snapshot(pool, &["mem@late".to_owned()])).unwrap();
    memory.remove("shelf/c".as_ref()).unwrap();
    assert!(shelf.change("mem", "test", |pool| snapshot(pool, &["mem@last".to_owned()])).is_err());
}
