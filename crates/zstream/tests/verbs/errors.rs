//! Errors of the verbs that a program matches on.

use std::fs::{self, File};

use zstream::create::{MemberFault, NewDataset, NewPool};
use zstream::list::{Selection, select};
use zstream::{
    Cancel, Cause, Control, EncryptionFault, Error, Key, Keys, NoKeys, PoolPlace, Put, PutFault, PutOptions,
    ReceiveRequest, Receiver, Request, Source, snapshot,
};
use zstream_dmu::error::Fault as PoolFault;
use zstream_dmu::pool::WriteOptions;
use zstream_dsl::error::{Fault, Kind};
use zstream_dsl::prop::{Types, parse_assignment};
use zstream_format::errno::Errno;
use zstream_recv::error::Fault as ReceiveFault;
use zstream_recv::{Naming, Refusal as ReceiveRefusal};

use crate::bench::{Bench, names};

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

    let names = ["tank".to_owned()];
    let selection = Selection::of_list(&names, Some(Types::VOLUME), Some(0));
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
