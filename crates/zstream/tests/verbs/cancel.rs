//! Verbs that are cancelled: the error, and a target as before.

use std::fs;
use std::io::Cursor;

use zstream::check::check_pool;
use zstream::create::NewDataset;
use zstream::{
    Cancel, Control, Error, Event, Input, NoKeys, Put, PutFault, PutOptions, ReceiveRequest, Receiver,
    Request, SendRequest, Sender, Source, extract, verify,
};
use zstream_format::errno::Errno;

use crate::bench::{Bench, LARGE_BYTES, cancelled, names};

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
