//! Filesystems that current OpenZFS does not create: old ones and damaged ones.

use zstream_dmu::ids::ObjectId;
use zstream_format::object_type::ObjectType;

use crate::directory::CaseSensitivity;
use crate::fs::Filesystem;
use crate::made::{Memory, znode};
use crate::node::{AclEntries, FileType, Time};
use crate::walk::Visit;

const DIRECTORY: u64 = 4 << 60;
const FILE: u64 = 8 << 60;
const PLAIN: ObjectType = ObjectType::PLAIN_FILE_CONTENTS;

/// Returns the paths that a walk from the root finds, with errors after an exclamation mark.
fn walked(set: &Memory) -> Vec<String> {
    let fs = Filesystem::open(set).expect("a file system");
    let root = fs.node(fs.root()).expect("its root");
    let text = |path: Vec<u8>| String::from_utf8_lossy(&path).into_owned();
    let show = |visit| match visit {
        Visit::Node { path, .. } => Some(text(path)),
        Visit::Leave { .. } => None,
        Visit::Failed { path, error } => Some(format!("{}! {error}", text(path))),
    };
    fs.walk(root).filter_map(show).collect()
}

/// Znodes of versions below 5 have attributes at fixed offsets, and targets of links after them or in data blocks.
#[test]
fn old_znodes_are_read() {
    let mut set = Memory::new(&[], 0);
    set.directory(2, &[("device", 3), ("short", 4), ("long", 5), ("file", FILE | 6)], 0);
    set.node(3, PLAIN, 0o020_600, Vec::new());
    set.node(4, PLAIN, 0o120_777, Vec::new());
    set.node(5, PLAIN, 0o120_777, b"/far/away".to_vec());
    set.node(6, PLAIN, 0o100_644, b"content".to_vec());
    let short = set.0.get_mut(&4).expect("the link");
    short.bonus = [znode(0o120_777, 4), b"near...".to_vec()].concat();
    let fs = Filesystem::open(&set).unwrap();
    let device = fs.resolve(b"device").unwrap();
    assert_eq!((device.file_type(), device.device()), (Some(FileType::CharDevice), Some((1, 3))));
    assert_eq!(
        (device.mtime, device.uid.domain(), device.uid.rid()),
        (Time { seconds: 5, nanoseconds: 7 }, 1, 9)
    );
    assert_eq!((device.uid.posix(), device.gid.posix()), (None, Some(0)));
    assert_eq!(device.acl.unwrap().entries, AclEntries::Inline(Vec::new()));
    assert_eq!(fs.target(&fs.resolve(b"short").unwrap()).unwrap(), b"near");
    assert_eq!(fs.target(&fs.resolve(b"long").unwrap()).unwrap(), b"/far/away");
    let content = fs.content(&fs.resolve(b"file").unwrap()).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(content.read(3, &mut buffer).unwrap(), 4);
    assert_eq!(&buffer[..4], b"tent");
    let ranges: Vec<_> =
        content.ranges().map(|range| range.map(|range| (range.start, range.end)).unwrap()).collect();
    assert_eq!(ranges, [(0, 7)]);
}

#[test]
fn names_are_found_as_the_file_system_compares_them() {
    const UPPER: u64 = 2;
    for (case, number, found) in [
        (CaseSensitivity::Sensitive, 0, false),
        (CaseSensitivity::Insensitive, 1, true),
        (CaseSensitivity::Mixed, 2, false),
    ] {
        let flags = if number == 0 { 0 } else { UPPER };
        let mut set = Memory::new(&[("casesensitivity", number)], flags);
        set.directory(2, &[("Read.Me", FILE | 3)], flags);
        set.node(3, PLAIN, 0o100_644, Vec::new());
        let fs = Filesystem::open(&set).unwrap();
        assert_eq!(fs.case_sensitivity(), case);
        assert!(fs.resolve(b"Read.Me").is_ok());
        assert!(fs.resolve(b"README").is_err(), "{case:?}");
        assert_eq!(fs.resolve(b"READ.ME").is_ok(), found, "{case:?}");
    }
}

/// A directory inside itself, or with two names, is entered once.
#[test]
fn loops_end() {
    let mut set = Memory::new(&[], 0);
    set.directory(2, &[("a", DIRECTORY | 3), ("b", DIRECTORY | 3)], 0);
    set.directory(3, &[("up", DIRECTORY | 2), ("self", DIRECTORY | 3)], 0);
    assert_eq!(
        walked(&set),
        [
            "",
            "a",
            "a/self! corrupt directory: object 3 has more than one name",
            "a/up! corrupt directory: object 2 has more than one name",
            "b! corrupt directory: object 3 has more than one name",
        ]
    );
}

/// Names that lead elsewhere are errors; other entries are still found.
#[test]
fn names_that_lead_elsewhere_are_refused() {
    let mut set = Memory::new(&[], 0);
    set.directory(2, &[("..", 3), (".", 3), ("../../etc/passwd", 3), ("good", FILE | 3)], 0);
    set.node(3, PLAIN, 0o100_644, Vec::new());
    let mut found = walked(&set);
    found.sort();
    assert_eq!(
        found,
        [
            "",
            "! corrupt directory entry: name \".\" is reserved",
            "! corrupt directory entry: name \"..\" is reserved",
            "! corrupt directory entry: name \"../../etc/passwd\" has a slash",
            "good",
        ]
    );
}

/// A duplicate name is an error and leads to only one of the two nodes.
#[test]
fn names_that_are_there_twice_are_said() {
    let mut set = Memory::new(&[], 0);
    set.directory(2, &[("twin", FILE | 3), ("twin", FILE | 4), ("one", FILE | 3)], 0);
    set.node(3, PLAIN, 0o100_644, Vec::new());
    set.node(4, PLAIN, 0o120_777, Vec::new());
    assert_eq!(walked(&set), ["", "! corrupt directory: name \"twin\" exists twice", "one", "twin"]);
}

/// Entries may refer to missing objects, to objects that are not nodes, and to nodes with invalid sizes.
#[test]
fn nodes_that_are_none_are_errors() {
    let mut set = Memory::new(&[], 0);
    set.directory(2, &[("gone", 9), ("master", 1), ("huge", 3), ("link", 4), ("fake", 5)], 0);
    set.node(3, PLAIN, 0o100_644, Vec::new());
    set.0.get_mut(&3).unwrap().bonus = znode(0o100_644, u64::MAX);
    set.node(4, PLAIN, 0o120_777, Vec::new());
    set.0.get_mut(&4).unwrap().bonus = znode(0o120_777, 1 << 40);
    set.node(5, PLAIN, 0o040_755, Vec::new());
    let fs = Filesystem::open(&set).unwrap();
    let node = |name: &str| fs.resolve(name.as_bytes());
    assert_eq!(node("gone").unwrap_err().to_string(), "object 9 not found");
    assert_eq!(
        node("master").unwrap_err().to_string(),
        "corrupt file: object 1 has a bonus of type 0 (unallocated)"
    );
    let error = fs.content(&node("huge").unwrap()).unwrap_err().to_string();
    assert!(error.contains("object 3 is 0xffffffffffffffff bytes"), "{error}");
    let error = fs.target(&node("link").unwrap()).unwrap_err().to_string();
    assert_eq!(error, "symbolic link is too large: 1099511627776, limit 4096");
    assert!(fs.directory(node("fake").unwrap().object).is_err());
    assert!(fs.content(&fs.node(ObjectId(2)).unwrap()).is_err());
    assert!(node("huge/x").is_err());
}

#[test]
fn versions_that_do_not_exist_are_refused() {
    let mut set = Memory::new(&[], 0);
    let master = set.0.get_mut(&1).unwrap();
    assert_eq!(master.data[64], 4);
    master.data[64] = 6;
    assert_eq!(Filesystem::open(&set).unwrap_err().to_string(), "ZPL version 6 is not supported");
}
