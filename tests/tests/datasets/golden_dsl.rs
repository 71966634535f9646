//! The datasets of the golden pool, held against what `zfs` said of them and sent from them.

use std::sync::Arc;

use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dsl::error::Fault;
use zstream_dsl::{Dsl, Named};
use zstream_format::record::Body;
use zstream_format::stream::StreamReader;
use zstream_tests::{golden, pools};

fn tank() -> Arc<Dsl> {
    pools::open(&golden::pool("tank")).unwrap()
}

/// The columns name, guid, createtxg, creation and refer of `zfs list`.
type Row = (String, u64, u64, u64, u64);

fn listed() -> Vec<Row> {
    let text = golden::text("list.txt");
    let number = |field: &str| field.parse().unwrap();
    text.lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            (fields[0].to_owned(), number(fields[1]), number(fields[2]), number(fields[3]), number(fields[5]))
        })
        .collect()
}

#[test]
fn every_dataset_is_found_with_its_facts() {
    let dsl = tank();
    let mut found = Vec::new();
    dsl.walk(&mut |dir| {
        let head = dir.head()?;
        for dataset in std::iter::once(dir.head()?).chain(head.snapshots()?) {
            let phys = dataset.phys();
            let (guid, txg) = (phys.guid.0, phys.creation_txg.0);
            found.push((dataset.name().to_owned(), guid, txg, phys.creation_time, phys.referenced_bytes));
        }
        for mark in head.bookmarks()? {
            let (guid, txg) = (mark.guid.0, mark.creation_txg.0);
            found.push((mark.name.clone(), guid, txg, mark.creation_time, mark.referenced.used_bytes));
        }
        Ok(())
    })
    .unwrap();
    let (mut found, mut expected) = (found, listed());
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn names_lead_there_and_back() {
    let dsl = tank();
    for (name, guid, ..) in listed() {
        match dsl.find(&name).unwrap() {
            Named::Bookmark(bookmark) => {
                assert_eq!((bookmark.name.as_str(), bookmark.guid.0), (&*name, guid))
            }
            Named::Dataset(dataset) => {
                assert_eq!(dataset.phys().guid.0, guid);
                assert_eq!(dsl.dataset_by_object(dataset.object()).unwrap().name(), name);
                if dataset.is_snapshot() {
                    assert_eq!(dsl.snapshot_by_guid(dataset.phys().guid).unwrap().unwrap().name(), name);
                }
            }
        }
    }
    for name in ["tank/none", "tank/fs@none", "tank/fs#none", "other/fs"] {
        let error = dsl.find(name).unwrap_err();
        assert!(matches!(error.fault(), Fault::NotFound { .. }), "{name}: {error}");
    }
}

#[test]
fn clones_and_lines_of_snapshots() {
    let dsl = tank();
    let dataset = |name| dsl.dataset(name).unwrap();
    let clone = dataset("tank/clone@x");
    assert_eq!(clone.dir().origin().unwrap().unwrap().name(), "tank/fs@a");
    assert_eq!(clone.previous().unwrap().unwrap().name(), "tank/fs@a");
    assert!(dataset("tank/fs").dir().origin().unwrap().is_none(), "an ordinary filesystem is no clone");
    assert!(dataset("tank/fs@a").previous().unwrap().is_none());
    for (later, earlier, is_after) in [
        ("tank/fs@c", "tank/fs@a", true),
        ("tank/fs", "tank/fs@c", true),
        ("tank/clone@x", "tank/fs@a", true),
        ("tank/clone@x", "tank/fs@b", false),
        ("tank/fs@a", "tank/fs@c", false),
        ("tank/fs@a", "tank/fs@a", false),
        ("tank/fs@a", "tank/fs", false),
    ] {
        let found = dataset(later).is_after(&dataset(earlier)).unwrap();
        assert_eq!(found, is_after, "{later} after {earlier}");
    }
}

#[test]
fn holds_are_read() {
    let dsl = tank();
    let holds = dsl.dataset("tank/tree@1").unwrap().holds().unwrap();
    assert_eq!(holds.iter().map(|hold| hold.tag.as_str()).collect::<Vec<_>>(), ["keep"]);
    assert!(dsl.dataset("tank/tree@2").unwrap().holds().unwrap().is_empty());
}

/// What a redacted send leaves out is what the bookmark's list says.
#[test]
fn redaction_lists_are_those_that_were_sent_by() {
    let dsl = tank();
    let head = dsl.dataset("tank/fs").unwrap();
    for (bookmark, stream, snapshots) in [
        ("red", "fs-redacted", vec!["tank/clone@x"]),
        ("redtwo", "fs-redacted-two", vec!["tank/clone@x", "tank/clone2@y"]),
    ] {
        let list = head.bookmark(bookmark).unwrap().unwrap().redaction_list(&head).unwrap().unwrap();
        assert!(list.is_complete());
        let guids: Vec<u64> = snapshots.iter().map(|name| dsl.dataset(name).unwrap().phys().guid.0).collect();
        assert_eq!(list.snapshots(), guids);

        let mut listed = Vec::new();
        for run in list.blocks() {
            let run = run.unwrap();
            listed.push((run.object, run.block.0 * run.block_bytes, run.count * run.block_bytes));
        }
        let bytes = golden::stream(stream);
        let mut reader = StreamReader::new(&bytes[..]);
        let mut sent = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            if let Some(Body::Redact(redact)) = record.header.body() {
                sent.push((redact.object, redact.offset, redact.length));
            }
        }
        assert!(!sent.is_empty());
        assert_eq!(listed, sent, "{bookmark}");

        // Looked up from its middle, the list goes on from there.
        let middle = list.blocks().nth(list.len() as usize / 2).unwrap().unwrap();
        assert_eq!(list.blocks_from(middle.object, middle.block).next().unwrap().unwrap(), middle);
        assert!(list.blocks_from(ObjectId(u64::MAX), middle.block).next().is_none());
    }
}

#[test]
fn a_key_opens_its_tree_and_a_wrong_one_says_so() {
    let dsl = tank();
    for name in ["tank/e-aes-256-gcm", "tank/e-aes-128-ccm"] {
        let snapshot = dsl.dataset(&format!("{name}@t")).unwrap();
        assert_eq!(snapshot.encryption_root().unwrap().unwrap().name(), name);
        assert!(!snapshot.is_unlocked().unwrap());
        // Without the key: what objects there are, but not what is in them.
        let locked = snapshot.objset_locked().unwrap();
        assert!(locked.object_count() > 10);

        let root = dsl.dir(name).unwrap();
        let error = dsl.load_key(&root, b"incorrect horse").unwrap_err();
        assert!(error.is_wrong_key(), "{error}");
        assert_eq!(dsl.load_key(&root, b"correct horse\n").unwrap(), 3, "two snapshots and the head");
        assert!(snapshot.is_unlocked().unwrap());

        let objset = snapshot.objset().unwrap();
        let (mut next, mut read) = (ObjectId(1), 0);
        while let Some(object) = objset.next_object(next).unwrap() {
            let info = objset.info(object).unwrap();
            info.bonus().unwrap();
            let mut content = vec![0; info.end().min(1 << 20) as usize];
            objset.read(object, 0, &mut content).unwrap();
            read += 1;
            next = ObjectId(object.0 + 1);
        }
        assert!(read > 10);
    }
    let error = dsl.load_key(&dsl.dir("tank/fs").unwrap(), b"correct horse").unwrap_err();
    assert_eq!(error.to_string(), "tank/fs is not encrypted");
}

#[test]
fn written_is_what_changed_since_the_snapshot_before() {
    let dsl = tank();
    // A clone that changed little; the first snapshot of a filesystem, where everything is new.
    let first = dsl.dataset("tank/fs@a").unwrap();
    assert_eq!(first.written_bytes().unwrap(), first.phys().referenced_bytes);
    let later = dsl.dataset("tank/fs@b").unwrap().written_bytes().unwrap();
    assert!(later > 0 && later <= dsl.dataset("tank/fs@b").unwrap().phys().referenced_bytes, "{later}");
}

/// The line of a head leads to every snapshot of it, not only to the last one; and space written since one is counted.
#[test]
fn heads_come_after_all_their_snapshots() {
    let dsl = tank();
    let fs = dsl.dataset("tank/fs").expect("a head");
    for name in ["tank/fs@a", "tank/fs@b", "tank/fs@c"] {
        let snapshot = dsl.dataset(name).expect("a snapshot");
        assert!(fs.is_after(&snapshot).expect("a line"), "{name}");
        assert!(!snapshot.is_after(&dsl.dataset("tank/clone@x").expect("a snapshot")).expect("a line"));
    }
    assert!(
        dsl.dataset("tank/clone")
            .expect("a head")
            .is_after(&dsl.dataset("tank/fs@a").expect("it"))
            .expect("a line")
    );
}
