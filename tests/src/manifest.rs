//! What zstream finds in a file system, in the form in which Linux's view of it was recorded.

use sha2::{Digest, Sha256};
use zstream_dmu::object_set::ObjectSet;
use zstream_zpl::node::{FileType, Node};
use zstream_zpl::{Filesystem, Visit};

use crate::golden::{Entry, Manifest};

fn sha256(fs: &Filesystem<'_>, node: &Node) -> String {
    let content = fs.content(node).expect("a file");
    let mut digest = Sha256::new();
    let (mut at, mut buffer) = (0, vec![0; 300_000]);
    loop {
        let length = content.read(at, &mut buffer).expect("its content");
        if length == 0 {
            assert_eq!(at, node.size);
            break digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        }
        digest.update(&buffer[..length]);
        at += length as u64;
    }
}

fn letter(node: &Node) -> char {
    match node.file_type().expect("a known type") {
        FileType::File => 'f',
        other => other.letter(),
    }
}

/// All that a file system holds, in the form of a manifest. Panics where something cannot be read.
pub fn of(set: &dyn ObjectSet) -> Manifest {
    let fs = Filesystem::open(set).expect("a file system");
    let root = fs.node(fs.root()).expect("its root");
    let mut manifest = Manifest::default();
    for visit in fs.walk(root) {
        let (path, node) = match visit {
            Visit::Node { path, node } => (path, node),
            Visit::Leave { .. } => continue,
            Visit::Failed { path, error } => panic!("{}: {error}", String::from_utf8_lossy(&path)),
        };
        let path = String::from_utf8(path).expect("UTF-8");
        let path = if path.is_empty() { ".".to_owned() } else { format!("./{path}") };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let is = |kind| node.file_type() == Some(kind);
        let xattrs = fs.xattrs(&node).expect("extended attributes");
        let entry = Entry {
            kind: letter(&node),
            mode: node.permissions(),
            uid: node.uid.0,
            gid: node.gid.0,
            size: node.size,
            mtime: (node.mtime.seconds, node.mtime.nanoseconds as u32),
            links: node.links,
            target: if is(FileType::Symlink) {
                text(fs.target(&node).expect("a target"))
            } else {
                String::new()
            },
            sha256: is(FileType::File).then(|| sha256(&fs, &node)),
            xattrs: xattrs
                .iter()
                .map(|xattr| (text(xattr.name.clone()), text(fs.xattr_value(xattr).expect("a value"))))
                .collect(),
        };
        manifest.entries.insert(path, entry);
    }
    manifest
}
