//! `select` over the golden packages.

use zstream_format::edit::{SelectedForm, Selection, Selector, select};
use zstream_format::stream::StreamReader;
use zstream_format::summary::{Summary, summarize};
use zstream_format::verify::{Options, verify_one_core};
use zstream_tests::golden;

const PACKAGES: [&str; 5] = ["tree-R", "tree-R-incr", "tree-R-h", "fs-package-I", "fs-full-p"];

fn taken(stream: &[u8], names: &[&str], form: &SelectedForm) -> (Vec<u8>, Selection) {
    let wanted: Vec<_> = names.iter().map(|name| Selector::new(name.as_bytes())).collect();
    let mut out = Vec::new();
    let selection = select(stream, &wanted, form, &mut out).expect("a golden stream");
    (out, selection)
}

fn summary(stream: &[u8]) -> Summary {
    summarize(StreamReader::new(stream))
}

/// Where each snapshot lies in a package, as (name, bytes).
fn parts(stream: &[u8]) -> Vec<(String, &[u8])> {
    let summary = summary(stream);
    assert!(summary.error.is_none());
    let part = |s: &zstream_format::summary::Snapshot| {
        (s.name.to_string(), &stream[s.offset as usize..(s.offset + s.bytes) as usize])
    };
    summary.snapshots.iter().map(part).collect()
}

/// One snapshot is the bytes it has in the package, and a whole stream.
#[test]
fn single_snapshots_are_plain_streams() {
    for package in PACKAGES {
        let stream = golden::stream(package);
        for (name, bytes) in parts(&stream) {
            let (out, selection) = taken(&stream, &[&name], &SelectedForm::Plain);
            assert!(out == bytes, "{package}: {name}");
            assert_eq!(selection.written.len(), 1);
            assert!(selection.missing.is_empty());
            let verdict = verify_one_core(&out[..], Options::default());
            assert!(verdict.is_good() && verdict.snapshots == 1, "{package}: {name}: {:?}", verdict.error);
        }
    }
}

/// The snapshot that a package holds is the stream that a plain send gives.
#[test]
fn what_comes_out_of_a_package_is_a_plain_send() {
    let (out, _) = taken(&golden::stream("fs-full-p"), &["tank/fs@a"], &SelectedForm::Plain);
    assert!(out == golden::stream("fs-full"));
    let (out, _) = taken(&golden::stream("fs-package-I"), &["tank/fs@b"], &SelectedForm::Plain);
    assert!(out == golden::stream("fs-incr"));
}

/// A dataset is all of its snapshots in order, and nothing of the datasets below it.
#[test]
fn datasets_are_their_snapshots() {
    let stream = golden::stream("tree-R");
    for dataset in ["tank/tree", "tank/tree/child"] {
        let expected: Vec<u8> = parts(&stream)
            .into_iter()
            .filter(|(name, _)| name.split('@').next() == Some(dataset))
            .flat_map(|(_, bytes)| bytes.to_vec())
            .collect();
        let (out, selection) = taken(&stream, &[dataset], &SelectedForm::Plain);
        assert!(out == expected, "{dataset}");
        assert_eq!(selection.written.len(), 2);
        assert_eq!(selection.written[0].from_guid.0, 0);
        assert_eq!(selection.written[1].from_guid, selection.written[0].to_guid);
        assert_eq!(verify_one_core(&out[..], Options::default()).streams, 2);
    }
}

/// As a package it is one stream, with the same snapshots and the header of `zfs send -I`.
#[test]
fn packages_of_one_dataset() {
    let stream = golden::stream("fs-package-I");
    let (out, _) = taken(&stream, &["tank/fs"], &SelectedForm::Package(b"tank/fs@c".to_vec()));
    assert!(out == stream, "the package of `send -I`, taken whole");

    let stream = golden::stream("tree-R");
    let (out, _) =
        taken(&stream, &["tank/tree/child"], &SelectedForm::Package(b"tank/tree/child@2".to_vec()));
    let verdict = verify_one_core(&out[..], Options::default());
    assert!(verdict.is_good(), "{:?}", verdict.error);
    assert_eq!((verdict.streams, verdict.snapshots), (1, 2));
}

/// Names are matched exactly; those that match nothing are told.
#[test]
fn names_that_are_not_there() {
    let stream = golden::stream("tree-R");
    for name in ["tank", "tank/tre", "tank/tree@", "tank/tree@3", "tank/tree@1@1", "tree", ""] {
        let (out, selection) = taken(&stream, &["tank/tree@1", name], &SelectedForm::Plain);
        assert_eq!(selection.missing, [1], "{name:?}");
        assert_eq!(out.len() as u64, summary(&stream).snapshots[0].bytes, "{name:?}");
    }
}

/// Damage behind what was asked for is found too.
#[test]
fn the_whole_input_is_checked() {
    let mut stream = golden::stream("tree-R");
    let at = stream.len() - 1000;
    stream[at] ^= 1;
    let mut out = Vec::new();
    let wanted = [Selector::new(b"tank/tree@1")];
    let error = select(&stream[..], &wanted, &SelectedForm::Plain, &mut out).expect_err("it is damaged");
    assert!(error.to_string().contains("checksum"), "{error}");
}
