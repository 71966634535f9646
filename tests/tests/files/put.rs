//! Files that are written are found again: here, and by OpenZFS.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use zstream_dmu::Random;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dsl::Dsl;
use zstream_dsl::write::WritablePool;
use zstream_format::object_type::ObjsetType;
use zstream_tests::created::{files, new_pool_in};
use zstream_zpl::create::{NewFilesystem, create_filesystem};
use zstream_zpl::node::{FileType, Time};
use zstream_zpl::writer::{NewNode, NodeKind, Settings, Writer};
use zstream_zpl::{Filesystem, Visit};

const NOW: Time = Time { seconds: 1_800_000_000, nanoseconds: 7 };

fn settings() -> Settings {
    Settings { record_bytes: 128 << 10, dn_slots: 1, xattrs_inline: true, now: NOW }
}

fn node(kind: NodeKind, permissions: u32) -> NewNode {
    let mtime = Time { seconds: -5, nanoseconds: 999_999_999 };
    NewNode { kind, permissions, uid: 1000, gid: 100, atime: NOW, mtime, xattrs: Vec::new() }
}

fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8 & 0x3f
        })
        .collect()
}

/// What a path has: letter, permissions, owner, links, size, content or target.
type Listing = BTreeMap<String, (char, u32, u64, u64, u64, Vec<u8>)>;

fn listing(set: &dyn ObjectSet) -> Listing {
    let fs = Filesystem::open(set).expect("a filesystem");
    let mut found = Listing::new();
    for visit in fs.walk(fs.node(fs.root()).expect("the root")) {
        let (path, node) = match visit {
            Visit::Node { path, node } => (path, node),
            Visit::Leave { .. } => continue,
            Visit::Failed { path, error } => panic!("{}: {error}", String::from_utf8_lossy(&path)),
        };
        let content = match node.file_type().expect("a type") {
            FileType::File => {
                let content = fs.content(&node).expect("content");
                let mut bytes = vec![0xff; content.size() as usize];
                assert_eq!(content.read(0, &mut bytes).expect("bytes"), bytes.len());
                bytes
            }
            FileType::Symlink => fs.target(&node).expect("a target"),
            _ => Vec::new(),
        };
        let letter = node.file_type().expect("a type").letter();
        found.insert(
            String::from_utf8(path).expect("text"),
            (letter, node.permissions(), node.uid.0, node.links, node.size, content),
        );
    }
    found
}

fn zdb(dir: &Path, options: &[&str], name: &str) -> String {
    let run = Command::new("zdb").arg("-e").arg("-p").arg(dir).args(options).arg(name).output().expect("zdb");
    let text = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{text}");
    text
}

/// Everything that a filesystem can hold, over two transaction groups; some of it is taken away again.
#[expect(clippy::too_many_lines, reason = "a table: one file of each kind")]
fn fill(dir: &Path) -> Vec<(ObjectId, Vec<u8>)> {
    let (mut pool, first) = WritablePool::create(new_pool_in(dir, "demo", "a", 12), Some(7)).expect("a pool");
    let mut set = pool.create_set(first.root, ObjsetType::ZFS).expect("an object set");
    let random = Random::from_seed(1);
    create_filesystem(&mut set, &NewFilesystem::default(), &mut || Ok(random.u64()?)).expect("a filesystem");
    let mut writer = Writer::open(&set, settings(), Random::from_seed(2)).expect("a writer");
    let root = writer.root();
    let mut contents = Vec::new();
    for (name, bytes) in [("empty", 0), ("small", 5), ("odd", 70_001), ("large", 1_500_000)] {
        let content = noise(bytes, bytes as u64);
        let file = node(NodeKind::File(bytes as u64), 0o640);
        let object = writer.create(&mut set, root, name.as_bytes(), &file).expect("a file");
        for (n, part) in content.chunks(100_000).enumerate() {
            writer.write(&mut set, object, n as u64 * 100_000, part).expect("content");
        }
        writer.finish(&mut set, object, bytes as u64).expect("a size");
        contents.push((object, content));
    }
    let sparse =
        writer.create(&mut set, root, b"sparse", &node(NodeKind::File(3 << 20), 0o600)).expect("a file");
    writer.write(&mut set, sparse, 1 << 20, &[0; 1 << 20]).expect("zeros");
    writer.write(&mut set, sparse, 2 << 20, b"in the middle").expect("content");
    writer.finish(&mut set, sparse, 3 << 20).expect("a size");

    writer.flush(&mut set).expect("names");
    pool.sync(first.root, &mut set).expect("a synced set");
    pool.commit().expect("a commit");

    let sub = writer.create(&mut set, root, b"sub", &node(NodeKind::Directory, 0o700)).expect("a directory");
    let deep = writer
        .create(&mut set, sub, "tief \u{e4}".as_bytes(), &node(NodeKind::Directory, 0o755))
        .expect("one");
    writer.link(&mut set, deep, b"again", contents[1].0).expect("a link");
    let long = vec![b'l'; 1000];
    for (name, kind) in [
        (&b"link"[..], NodeKind::Symlink(b"../small".to_vec())),
        (b"long", NodeKind::Symlink(long)),
        (b"pipe", NodeKind::Fifo),
        (b"socket", NodeKind::Socket),
        (b"disk", NodeKind::BlockDevice(8, 17)),
        (b"null", NodeKind::CharDevice(1, 3)),
    ] {
        writer.create(&mut set, deep, name, &node(kind, 0o606)).expect("a node");
    }
    let xattrs = [("user.short", 10), ("user.middle", 20_000), ("user.long", 50_000)];
    let xattrs = xattrs.map(|(name, bytes)| (name.as_bytes().to_vec(), noise(bytes, 3))).to_vec();
    let decorated = NewNode { xattrs: xattrs.clone(), ..node(NodeKind::File(0), 0o444) };
    let decorated = writer.create(&mut set, sub, b"decorated", &decorated).expect("a file");
    let many =
        writer.create(&mut set, root, b"many", &node(NodeKind::Directory, 0o755)).expect("a directory");
    for n in 0..3000 {
        writer
            .create(&mut set, many, format!("file number {n}").as_bytes(), &node(NodeKind::File(0), 0o644))
            .expect("a file");
    }
    let gone = NewNode { xattrs, ..node(NodeKind::File(0), 0o444) };
    writer.create(&mut set, root, b"gone", &gone).expect("a file");
    for name in [&b"gone"[..], b"empty"] {
        writer.remove(&mut set, root, name).expect("a removal");
    }
    assert!(
        writer
            .remove(&mut set, root, b"sub")
            .expect_err("a full directory")
            .to_string()
            .contains("not empty")
    );
    assert!(writer.create(&mut set, root, b"small", &node(NodeKind::Fifo, 0)).is_err());
    assert!(writer.create(&mut set, root, b"a/b", &node(NodeKind::Fifo, 0)).is_err());
    let attributes = NewNode {
        xattrs: vec![(b"user.root".to_vec(), b"yes".to_vec())],
        ..node(NodeKind::Directory, 0o711)
    };
    writer.set_attributes(&mut set, root, &attributes).expect("attributes");
    writer.flush(&mut set).expect("names");
    pool.sync(first.root, &mut set).expect("a synced set");
    pool.export().expect("an export");
    contents.push((decorated, Vec::new()));
    contents
}

#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let contents = fill(dir.path());
    let pool = Pool::open(&files(dir.path()), &OpenOptions::default()).expect("the pool");
    let dsl = Dsl::open("demo", std::sync::Arc::clone(pool.mos()), Default::default()).expect("datasets");
    let set = dsl.dataset("demo").expect("the dataset").objset().expect("its set");
    let found = listing(&*set);
    let of =
        |path: &str| found.get(path).unwrap_or_else(|| panic!("{path} among {:?}", found.keys().take(20)));
    assert_eq!(found.len(), 1 + 4 + 1 + 1 + 7 + 1 + 1 + 3000);
    assert_eq!(of("small"), &('-', 0o640, 1000, 2, 5, contents[1].1.clone()));
    assert_eq!(of("sub/tief \u{e4}/again"), of("small"));
    assert_eq!(of("odd").5, contents[2].1);
    assert_eq!(of("large").5, contents[3].1);
    assert_eq!((of("sub").0, of("sub").1, of("sub").3, of("sub").4), ('d', 0o700, 3, 4));
    assert_eq!((of("many").3, of("many").4), (2, 3002));
    assert_eq!((of("").1, of("").3, of("").4), (0o711, 4, 8));
    assert_eq!(of("sub/tief \u{e4}/long").5, vec![b'l'; 1000]);
    let fs = Filesystem::open(&*set).expect("a filesystem");
    let disk = fs.resolve("/sub/tief \u{e4}/disk".as_bytes()).expect("a device");
    assert_eq!((disk.device(), disk.mtime.nanoseconds), (Some((8, 17)), 999_999_999));
    let decorated = fs.resolve(b"/sub/decorated").expect("a file");
    let xattrs = fs.xattrs(&decorated).expect("extended attributes");
    let values: Vec<_> = xattrs
        .iter()
        .map(|xattr| {
            (String::from_utf8_lossy(&xattr.name).into_owned(), fs.xattr_value(xattr).expect("a value"))
        })
        .collect();
    assert_eq!(
        values,
        [("user.long", 50_000), ("user.middle", 20_000), ("user.short", 10)]
            .map(|(name, bytes)| (name.to_owned(), noise(bytes, 3)))
    );
    let sparse = fs.resolve(b"/sparse").expect("a file");
    let ranges: Vec<_> =
        fs.content(&sparse).expect("content").ranges().collect::<Result<_, _>>().expect("ranges");
    assert_eq!(ranges, vec![std::ops::Range { start: 2 << 20, end: (2 << 20) + (128 << 10) }]);
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_what_is_written_is_clean_to_zdb() {
    let dir = tempfile::tempdir().expect("a directory");
    fill(dir.path());
    let text = zdb(dir.path(), &["-bcc"], "demo");
    assert!(text.contains("No leaks (block sum matches space maps exactly)"), "{text}");
    let text = zdb(dir.path(), &["-ddddd"], "demo/");
    // A file is found by the last directory that it was put into.
    for expected in ["path\t/odd", "path\t/sub/tief \u{e4}/again", "user.short", "mode\t40711"] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
}
