//! The summaries of the golden streams against what OpenZFS listed of its pool.

use std::collections::HashMap;
use std::io::Cursor;

use zstream_format::ids::Guid;
use zstream_format::nvlist::NvValue;
use zstream_format::record::RecordType;
use zstream_format::stream::StreamReader;
use zstream_format::summary::{Summary, summarize};
use zstream_tests::golden;
use zstream_tests::samples::samples;

fn summary(name: &str) -> Summary {
    summarize(StreamReader::seekable(Cursor::new(golden::stream(name))).expect("memory seeks"))
}

/// Snapshots by name, as `zfs list -o name,guid,createtxg,creation` printed them: (guid, creation).
fn listed() -> HashMap<String, (u64, u64)> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        Some((fields[0].to_owned(), (fields[1].parse().ok()?, fields[3].parse().ok()?)))
    };
    golden::text("list.txt").lines().filter_map(line).collect()
}

/// Names, guids and creation times are those of the pool.
#[test]
fn snapshots_are_those_of_the_pool() {
    let listed = listed();
    let mut checked = 0;
    for name in golden::streams() {
        let summary = summary(&name);
        assert_eq!(summary.error.is_some(), name.ends_with("-saved"), "{name}");
        for snapshot in &summary.snapshots {
            // The other pools are not in the list; the head of a dataset is listed under its own name.
            let key = snapshot.name.to_string();
            let Some((guid, created)) = listed.get(key.trim_end_matches("@--head--")) else { continue };
            // A partial receive that was saved has the time at which it was saved.
            if !key.ends_with("@--head--") && !name.ends_with("-saved") {
                assert_eq!(snapshot.to_guid, Guid(*guid), "{name}: {key}");
                assert_eq!(snapshot.creation_time, *created, "{name}: {key}");
            }
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
}

/// The parts add up to the file.
#[test]
fn bytes_add_up() {
    for name in golden::streams() {
        let (summary, stream) = (summary(&name), golden::stream(&name));
        assert_eq!(summary.bytes, stream.len() as u64, "{name}");
        assert_eq!(summary.streams.len(), 1, "{name}");
        let parts: u64 = summary.snapshots.iter().map(|snapshot| snapshot.bytes).sum();
        let framed = summary.streams[0].package.is_some();
        let first = summary.snapshots[0].offset;
        assert_eq!(parts + first + if framed { 312 } else { 0 }, stream.len() as u64, "{name}");
        for snapshot in &summary.snapshots {
            let headers: u64 = snapshot.records.iter().sum::<u64>() * 312;
            assert_eq!(snapshot.bytes, headers + snapshot.payload_bytes, "{name}");
        }
    }
}

/// A source that cannot seek gives the same summary.
#[test]
fn seeking_makes_no_difference() {
    for sample in samples() {
        for cut in [sample.bytes.len(), sample.bytes.len() / 2, 700] {
            let bytes = &sample.bytes[..cut];
            let seeking = summarize(StreamReader::seekable(Cursor::new(bytes)).expect("memory seeks"));
            let reading = summarize(StreamReader::new(bytes));
            assert_eq!(format!("{seeking:?}"), format!("{reading:?}"), "{}", sample.name);
        }
    }
}

/// Which snapshot is an increment of which, in the file and out of it.
#[test]
fn sources_are_found_in_the_file() {
    let tree = summary("tree-R");
    let from: Vec<_> = tree.snapshots.iter().map(|snapshot| snapshot.from).collect();
    assert_eq!(from, [None, Some(0), None, Some(2)]);
    let incr = summary("fs-package-I");
    assert_eq!(incr.snapshots[0].from, None, "tank/fs@a is not in it");
    assert_ne!(incr.snapshots[0].from_guid, Guid(0));
    assert_eq!(incr.snapshots[1].from, Some(0));
}

/// Properties and holds of packages; the points and keys of single streams.
#[test]
fn lists_are_read() {
    let tree = summary("tree-R");
    let package = tree.streams[0].package.as_ref().expect("a package");
    assert_eq!(package.name.to_string(), "tank/tree@2");
    let list = package.list.as_ref().expect("a list");
    assert!(list.recursive && !list.raw);
    assert_eq!(list.to_snap.as_ref().map(ToString::to_string).as_deref(), Some("2"));
    let dataset = &list.datasets[0];
    assert_eq!(dataset.name.to_string(), "tank/tree");
    let note = dataset.properties.iter().find(|(name, _)| *name == "org.example:note").expect("the property");
    assert_eq!(note.1, NvValue::String("hi".into()));
    assert_eq!(dataset.snapshots.len(), 2);
    assert_eq!(dataset.snapshots[0].guid, tree.snapshots[0].to_guid);

    let held = summary("tree-R-h");
    let list = held.streams[0].package.as_ref().and_then(|package| package.list.as_ref()).expect("a list");
    let holds: Vec<_> = list.datasets[0].snapshots.iter().flat_map(|snapshot| &snapshot.holds).collect();
    assert_eq!(holds.len(), 1);
    assert_eq!(holds[0].0.to_string(), "keep");
    assert!(list.datasets[1].snapshots.iter().all(|snapshot| snapshot.holds.is_empty()));

    assert!(summary("fs-package-I").streams[0].package.as_ref().expect("a package").list.is_none());
    assert_eq!(summary("fs-full-resumed").snapshots[0].resume_point(), Some((8, 0x2a_0000)));
    assert_eq!(summary("fs-redacted").snapshots[0].redact_snaps().map(<[u64]>::len), Some(1));
    assert_eq!(summary("fs-redacted-two").snapshots[0].redact_snaps().map(<[u64]>::len), Some(2));
}

/// What is whole in a file that is cut short is told.
#[test]
fn cut_short_files_are_summed_up_as_far_as_they_go() {
    let stream = golden::stream("tree-R");
    let whole = summary("tree-R");
    for length in (0..stream.len()).step_by(501) {
        let cut = summarize(StreamReader::seekable(Cursor::new(&stream[..length])).expect("memory seeks"));
        assert!(cut.error.is_some(), "{length}");
        let complete = cut.snapshots.iter().filter(|snapshot| snapshot.complete).count();
        let expected = whole.snapshots.iter().filter(|s| s.offset + s.bytes <= length as u64).count();
        assert_eq!(complete, expected, "{length}");
        assert!(cut.streams.iter().all(|stream| !stream.complete), "{length}");
    }
}

/// A list that cannot be read is told, and the rest is summed up all the same.
#[test]
fn a_damaged_list_does_not_hide_the_rest() {
    let mut stream = golden::stream("tree-R");
    stream[312 + 40] ^= 0x20;
    let damaged = summarize(StreamReader::new(&stream[..]));
    assert!(damaged.error.expect("the list is damaged").to_string().contains("list after BEGIN"));
    assert_eq!((damaged.snapshots.len(), damaged.bytes), (4, stream.len() as u64));
}

/// Blocks of the pool are compressed with lz4, and the ratio of a compressed stream says by how much.
#[test]
fn compression_ratios() {
    let plain = summary("fs-full").snapshots[0].compression_ratio().expect("blocks");
    assert!((plain - 1.0).abs() < 1e-9, "{plain}");
    let compressed = summary("fs-full-Lec").snapshots[0].compression_ratio().expect("blocks");
    assert!(compressed > 1.3, "{compressed}");
    assert_eq!(summary("tree-R").snapshots[1].compression_ratio(), None, "an empty increment has no blocks");
    let records = summary("tree-R").snapshots[1].records;
    assert_eq!((records[RecordType::Begin as usize], records.iter().sum::<u64>()), (1, 2));
}
