//! Known faults of OpenZFS's sender, of which `make-faults.sh` recorded streams that lose data: ours of the same snapshots
//! do not, and else are the same.

use std::fs;

use zstream_format::record::{Body, Header};
use zstream_format::stream::StreamReader;
use zstream_tests::golden;
use zstream_tests::sending::{Sending, stream};

type Record = (Header, Vec<u8>);

/// Records but for their checksums and END's, which depend on the others.
fn records(stream: &[u8]) -> Vec<Record> {
    let mut reader = StreamReader::new(stream);
    let mut records = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        if !matches!(record.header.body(), Some(Body::End(_))) {
            records.push((record.header.clone(), record.payload.to_vec()));
        }
    }
    records
}

/// The body of a record and its payload, to be compared.
fn shown(record: &Record) -> (String, &[u8]) {
    (format!("{:?}", record.0.body()), &record.1)
}

fn recorded(name: &str) -> Vec<Record> {
    records(&fs::read(golden::fault_file(&format!("{name}.zfs"))).unwrap())
}

/// What we send for a recorded command.
fn ours(name: &str) -> Vec<u8> {
    let commands = fs::read_to_string(golden::fault_file("COMMANDS")).unwrap();
    let line = commands.lines().find_map(|line| line.strip_prefix(&format!("{name}: zfs send "))).unwrap();
    stream(&Sending::open(&[golden::fault_file("faulty.img")]).plan(line)).0
}

/// What a receiver made of a recorded stream: hash of the file, its size, the size of its attribute.
fn received(name: &str) -> String {
    let text = fs::read_to_string(golden::fault_file("received.txt")).unwrap();
    text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap().to_owned()
}

/// Without the forms that are at fault there is no difference.
#[test]
fn good_streams_are_the_same() {
    for name in ["spill", "spill-incr", "large", "large-e", "large-Lec"] {
        assert!(ours(name) == fs::read(golden::fault_file(&format!("{name}.zfs"))).unwrap(), "{name}");
    }
}

/// OpenZFS issue 18239: a spill block that lies in its pointer is sent as if it were data of the file, at the number that
/// stands for spill blocks. We send it as the spill block that it is.
#[test]
fn embedded_spill_blocks() {
    assert!(
        received("spill").ends_with(" 900") && received("spill-e").ends_with(" 0"),
        "the attribute is lost"
    );
    for (name, good) in [("spill-e", "spill"), ("spill-ec-incr", "spill-incr")] {
        let (ours, theirs, good) = (records(&ours(name)), recorded(name), recorded(good));
        let spill = good.iter().find(|record| matches!(record.0.body(), Some(Body::Spill(_)))).unwrap();
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let mut differences = 0;
        for (ours, theirs) in ours.iter().zip(&theirs) {
            match theirs.0.body() {
                Some(Body::WriteEmbedded(write)) if write.offset > u64::MAX / 2 => {
                    assert_eq!(shown(ours), shown(spill), "{name}");
                    differences += 1;
                }
                _ => assert_eq!(shown(ours), shown(theirs), "{name}"),
            }
        }
        assert_eq!(differences, 1, "{name}");
    }
}

/// `-e -c` without `-L`: a block of 1 MiB that lies in its pointer is sent as one record, for an object whose blocks have
/// 128 KiB at the receiver. We send it in pieces, as without `-e`.
#[test]
fn large_embedded_blocks() {
    let hash = |name| received(name).split(' ').next().unwrap().to_owned();
    assert!(hash("large") == hash("large-Lec") && hash("large") != hash("large-ec"), "the file is damaged");
    let is_too_large = |record: &&Record| match record.0.body() {
        Some(Body::WriteEmbedded(write)) => write.length > 128 << 10,
        _ => false,
    };
    let (ours, theirs, good) = (records(&ours("large-ec")), recorded("large-ec"), recorded("large"));
    let large: Vec<&Record> = theirs.iter().filter(is_too_large).collect();
    let mut objects: Vec<u64> = large
        .iter()
        .filter_map(|record| match record.0.body() {
            Some(Body::WriteEmbedded(write)) => Some(write.object.0),
            _ => None,
        })
        .collect();
    objects.dedup();
    assert_eq!((large.len(), objects.len()), (4, 2));
    assert_eq!(ours.iter().filter(is_too_large).count(), 0);

    let is_of_large = |record: &&Record| match record.0.body() {
        Some(Body::Write(write)) => objects.contains(&write.object.0),
        Some(Body::WriteEmbedded(write)) => objects.contains(&write.object.0),
        _ => false,
    };
    let data = |records: &[Record]| {
        let found = records
            .iter()
            .filter(is_of_large)
            .map(|(header, payload)| (format!("{:?}", header.body()), payload.clone()));
        found.collect::<Vec<_>>()
    };
    let rest = |records: &[Record]| {
        let found = records.iter().filter(|record| !is_of_large(record)).skip(1);
        found.map(|(header, payload)| (format!("{:?}", header.body()), payload.clone())).collect::<Vec<_>>()
    };
    assert!(data(&ours) == data(&good), "all of their data is as in a stream without -e");
    assert!(rest(&ours) == rest(&theirs), "and all else as with it");
    assert_eq!(format!("{:?}", ours[0].0.body()), format!("{:?}", theirs[0].0.body()));
}
