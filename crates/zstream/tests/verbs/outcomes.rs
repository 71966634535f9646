//! Results of the verbs.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use zstream::check::check_pool;
use zstream::create::{MemberFault, NewDataset, NewPool};
use zstream::list::{Selection, select};
use zstream::{
    Control, Error, Event, NoKeys, PoolPlace, Put, PutOptions, Replication, Request, Source, VerifyingWriter,
    snapshot,
};
use zstream_dmu::device::{Memory, OpenDevice as _};
use zstream_dmu::pool::WriteOptions;
use zstream_dsl::prop::Types;
use zstream_format::errno::Errno;

use crate::bench::{Bench, LARGE_BYTES, cancelled, names, noise};

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

/// A volume reserves as much as it takes to write all of it.
#[test]
fn volumes_reserve_what_they_may_take() {
    let bench = Bench::new();
    let place = bench.pool("tank", &[], &NoKeys);
    let reserved = |name: &str| {
        let open = place.open(None, &mut Control::new()).unwrap();
        let names = [name.to_owned()];
        let selection = Selection::of_list(&names, Some(Types::all()), Some(0));
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
