//! Names of files, for every way in which a filesystem can compare them: what is put is found by every spelling of its name, and
//! by no other name; two spellings at once are an error.

use std::collections::BTreeMap;

use zstream_dmu::Random;
use zstream_dmu::zap::{Match, NormFlags};
use zstream_dsl::write::WritablePool;
use zstream_format::object_type::ObjsetType;
use zstream_tests::created::new_pool_in;
use zstream_tests::fuzz::Rng;
use zstream_zpl::Filesystem;
use zstream_zpl::create::{NewFilesystem, create_filesystem};
use zstream_zpl::node::Time;
use zstream_zpl::writer::{NewNode, NodeKind, Settings, Writer};

const NOW: Time = Time { seconds: 1_800_000_000, nanoseconds: 0 };

/// Parts of names: case pairs, Turkish i, sharp s, ligatures, marks, Hangul, what is not UTF-8, a long one.
const PARTS: [&[u8]; 34] = [
    b"a",
    b"A",
    b"i",
    b"I",
    b"ss",
    b"s",
    b"k",
    b"fi",
    "\u{131}".as_bytes(),
    "\u{130}".as_bytes(),
    "\u{df}".as_bytes(),
    "\u{17f}".as_bytes(),
    "\u{212a}".as_bytes(),
    "\u{fb01}".as_bytes(),
    "\u{1c6}".as_bytes(),
    "\u{1c5}".as_bytes(),
    "\u{e9}".as_bytes(),
    "\u{c9}".as_bytes(),
    "e".as_bytes(),
    "E".as_bytes(),
    "\u{301}".as_bytes(),
    "\u{323}".as_bytes(),
    "\u{345}".as_bytes(),
    "\u{3b1}".as_bytes(),
    "\u{1fb3}".as_bytes(),
    "\u{ac01}".as_bytes(),
    "\u{ac00}".as_bytes(),
    "\u{1100}\u{1161}".as_bytes(),
    "\u{11a8}".as_bytes(),
    "\u{330e}".as_bytes(),
    "\u{bd}".as_bytes(),
    b"\xff",
    b"\xe3ab",
    b"a name that is longer than a small table can hold, so it grows",
];

fn new_file() -> NewNode {
    NewNode {
        kind: NodeKind::File(0),
        permissions: 0o644,
        uid: 0,
        gid: 0,
        atime: NOW,
        mtime: NOW,
        xattrs: Vec::new(),
    }
}

/// How a filesystem compares names: property `normalization`, `casesensitivity`, `utf8only`.
fn check(names: &[Vec<u8>], normalization: NormFlags, case: u64, utf8_only: bool) {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut pool, first) =
        WritablePool::create(new_pool_in(dir.path(), "demo", "a", 12), Some(7)).expect("a pool");
    let mut set = pool.create_set(first.root, ObjsetType::ZFS).expect("an object set");
    let random = Random::from_seed(1);
    let new = NewFilesystem { normalization, case, utf8_only, ..NewFilesystem::default() };
    create_filesystem(&mut set, &new, &mut || Ok(random.u64()?)).expect("a filesystem");
    let settings = Settings { record_bytes: 128 << 10, dn_slots: 1, xattrs_inline: true, now: NOW };
    let mut writer = Writer::open(&set, settings, Random::from_seed(2)).expect("a writer");
    let root = writer.root();

    let flags = if case == 0 { normalization } else { normalization | NormFlags::UPPER };
    let how = if case == 1 { Match::Normalized } else { Match::NormalizedWithCase };
    let mut files = BTreeMap::new();
    for (n, name) in names.iter().enumerate() {
        let is_text = std::str::from_utf8(name).is_ok();
        let key = how.key(flags, name).filter(|_| is_text || !utf8_only);
        // Names that wait for their directory, and names that are in it, are told apart alike.
        if n % 5 == 4 {
            writer.flush(&mut set).expect("names");
        }
        let made = writer.create(&mut set, root, name, &new_file());
        match (key, made) {
            (None, Err(error)) => {
                let text = error.to_string();
                assert!(text.contains("UTF-8") || text.contains("too long"), "{text}");
            }
            (Some(key), Ok(object)) => {
                assert!(files.insert(key, (name, object)).is_none(), "{name:?} is there already");
            }
            (Some(key), Err(error)) => {
                let (first, _) = files.get(&key).unwrap_or_else(|| panic!("{name:?}: {error}"));
                let text = error.to_string();
                let shown = |name: &[u8]| format!("{:?}", String::from_utf8_lossy(name));
                let has_both = text.contains(&shown(name)) && text.contains(&shown(first));
                assert!(*first == name || has_both, "{text}");
            }
            (None, Ok(_)) => panic!("{name:?} was taken"),
        }
    }
    writer.flush(&mut set).expect("names");
    let fs = Filesystem::open(&set).expect("a filesystem");
    for name in names {
        let found = fs.resolve(name).ok().map(|node| node.object);
        let wanted = how.key(flags, name).and_then(|key| files.get(&key)).map(|(_, object)| *object);
        assert_eq!(found, wanted, "{name:?}");
    }
    let entries: Vec<_> =
        fs.directory(root).expect("the root").entries().map(|entry| entry.expect("an entry")).collect();
    assert_eq!(entries.len(), files.len());
    assert_eq!(fs.node(root).map_or(0, |node| node.size), 2 + files.len() as u64);
}

#[test]
fn names_are_found_by_every_spelling_and_given_once() {
    for n in 0..8 {
        let mut rng = Rng::new(11, "names", n);
        let name = |rng: &mut Rng| (0..1 + rng.below(3)).flat_map(|_| rng.pick(&PARTS).to_vec()).collect();
        let names: Vec<Vec<u8>> = (0..4 + rng.below(36)).map(|_| name(&mut rng)).collect();
        for normalization in [0, 0x50, 0x10, 0x60, 0x20] {
            for case in 0..3 {
                for utf8_only in [false, true] {
                    check(&names, NormFlags::from_bits_retain(normalization), case, utf8_only);
                }
            }
        }
    }
}

/// A file that is overwritten by another spelling of its name keeps its name, as with any other program.
#[test]
fn what_is_put_over_a_file_leaves_its_name() {
    let lab = zstream_tests::lab::Lab::new(&["a"]);
    lab.does("a", &["create -o casesensitivity=insensitive a/i", "create a/s"]);
    for dataset in ["a/i", "a/s"] {
        lab.put("a", dataset, "File", b"first");
        lab.put("a", dataset, "FILE", b"second");
        lab.put("a", dataset, "FILE", b"third");
    }
    let out = |line: &str| String::from_utf8(lab.run("a", line, b"").stdout).unwrap();
    assert_eq!((out("ls a/i"), out("cat a/i /file")), ("File\n".to_owned(), "third".to_owned()));
    assert_eq!((out("ls a/s"), out("cat a/s /File")), ("FILE\nFile\n".to_owned(), "first".to_owned()));
    lab.check("a");
}
