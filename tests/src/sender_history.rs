//! Random histories: a tree of datasets that is changed at random, in ways that depend on a seed only.

use zstream_dmu::Random;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::object_store::ObjectStore as _;
use zstream_dmu::pool::WriteOptions;
use zstream_dmu::zap::Value;
use zstream_dsl::write::WritablePool;
use zstream_zpl::node::{FileType, Time};
use zstream_zpl::writer::{NewNode, NodeKind, Settings, Writer};
use zstream_zpl::{Filesystem, Visit};

use crate::fuzz::Rng;
use crate::lab::Lab;
use crate::pools::PASSPHRASE;

/// A tree of datasets in the pool `a`, and what changes it.
pub struct History {
    /// The pools `a` and `b`.
    pub lab: Lab,
    /// The top of the tree.
    pub top: &'static str,
    is_encrypted: bool,
    rng: Rng,
    named: u64,
    round: u64,
    /// What was done, for messages.
    pub log: Vec<String>,
}

impl History {
    /// A tree with one dataset, the top.
    #[must_use]
    pub fn new(seed: u64, is_encrypted: bool) -> Self {
        let lab = Lab::new(&["a", "b"]);
        let top = "a/top";
        let encryption = "-o encryption=aes-256-gcm -o keyformat=passphrase";
        let options = if is_encrypted { encryption } else { "-o xattr=sa" };
        lab.does("a", &[&format!("KEY create {options} {top}")]);
        Self {
            lab,
            top,
            is_encrypted,
            rng: Rng::new(seed, "history", 0),
            named: 0,
            round: 0,
            log: Vec::new(),
        }
    }

    /// A random number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.rng.below(end)
    }

    fn pick<'a>(&mut self, names: &'a [String]) -> Option<&'a String> {
        names.get(self.below(names.len()))
    }

    /// Names of all datasets of the tree, or of all their snapshots.
    #[must_use]
    pub fn names(&self, snapshots: bool) -> Vec<String> {
        let mut names = self.lab.names("a");
        names.retain(|name| name.starts_with(self.top) && name.contains('@') == snapshots);
        names
    }

    fn fresh(&mut self, what: &str) -> String {
        self.named += 1;
        format!("{what}{}", self.named)
    }

    /// Tries a command, which may be refused.
    fn attempt(&mut self, line: &str) {
        let outcome = self.lab.run("a", &format!("KEY {line}"), b"");
        let said = String::from_utf8_lossy(&outcome.stderr).trim().to_owned();
        assert!(outcome.code <= 1, "{line}: {said}");
        self.log.push(if outcome.code == 0 { line.to_owned() } else { format!("{line}: refused: {said}") });
    }

    /// One round: content of some datasets, and some of the datasets themselves. Snapshots named `keep` stay.
    pub fn change(&mut self, keep: &str) {
        self.round += 1;
        let heads = self.names(false);
        for _ in 0..1 + self.below(3) {
            let name = self.pick(&heads).expect("the top").clone();
            self.write(&name);
        }
        for _ in 0..self.below(4) {
            let heads = self.names(false);
            let snapshots = self.names(true);
            let kept = format!("@{keep}");
            let head = self.pick(&heads).expect("the top").clone();
            let other = self.pick(&heads).expect("the top").clone();
            let snapshot = self.pick(&snapshots).cloned();
            let is_movable = head != self.top;
            match (self.below(9), snapshot) {
                (0 | 1, _) => {
                    let size = ["4K", "16K", "128K", "1M"][self.below(4)];
                    let name = self.fresh("fs");
                    self.attempt(&format!("create -o recordsize={size} {head}/{name}"));
                }
                // The top must not become the clone of what is below it.
                (2, Some(snapshot)) if !snapshot.starts_with(&format!("{}@", self.top)) => {
                    let (name, top) = (self.fresh("clone"), self.top);
                    self.attempt(&format!("clone {snapshot} {top}/{name}"));
                }
                (3, Some(snapshot)) if !snapshot.ends_with(&kept) => {
                    self.attempt(&format!("destroy {snapshot}"))
                }
                (4, Some(snapshot)) if !snapshot.ends_with(&kept) => {
                    let name = self.fresh("r");
                    self.attempt(&format!("rename {snapshot} @{name}"));
                }
                (5, _) if is_movable => {
                    let name = self.fresh("moved");
                    self.attempt(&format!("rename {head} {other}/{name}"));
                }
                (6, _) if is_movable => self.attempt(&format!("promote {head}")),
                (7, _) if is_movable && self.below(2) == 0 => self.attempt(&format!("destroy -r {head}")),
                (8, _) => {
                    let name = self.fresh("x");
                    self.attempt(&format!("snapshot {head}@{name}"));
                    self.write(&head);
                }
                _ => {
                    let value = self.fresh("v");
                    self.attempt(&format!("set org.example:p={value} {head}"));
                }
            }
        }
    }

    /// Changes files of a dataset.
    #[expect(clippy::too_many_lines, reason = "a table: one arm for each kind of change")]
    fn write(&mut self, name: &str) {
        self.log.push(format!("write {name}"));
        let now = Time { seconds: 1_800_000_000 + self.round.cast_signed(), nanoseconds: 5 };
        let options = WriteOptions { now: Some(1_800_000_000 + self.round), ..WriteOptions::default() };
        let mut pool = WritablePool::open(&[self.lab.image("a")], &options).expect("the pool");
        let head = pool.dsl().head(name).expect("a dataset").object();
        if self.is_encrypted {
            let keys = pool.dsl().head(name).and_then(|head| head.crypto_key());
            let root = keys.expect("keys").expect("an encrypted dataset").root;
            pool.load_key(root, PASSPHRASE).expect("the key");
        }
        let record_bytes = [512, 4 << 10, 128 << 10, 1 << 20][self.below(4)];
        let dn_slots = if self.below(3) == 0 { 2 } else { 1 };
        if dn_slots > 1 {
            pool.tx().activate_feature(head, "large_dnode", &Value::word(0)).expect("the feature");
        }
        let mut set = pool.open_head(head).expect("an object set");
        let settings = Settings { record_bytes, dn_slots, xattrs_inline: self.below(2) == 0, now };
        let mut writer = Writer::open(&set, settings, Random::from_seed(self.rng.u64())).expect("a writer");
        let root = writer.root();
        let (mut files, mut directories) = (Vec::new(), vec![root]);
        {
            let fs = Filesystem::open(&set).expect("a file system");
            for visit in fs.walk(fs.node(fs.root()).expect("the root")) {
                let Visit::Node { path, node } = visit else { continue };
                match node.file_type() {
                    Some(FileType::File) => files.push((path, node.object, node.size)),
                    Some(FileType::Directory) if node.object != root => directories.push(node.object),
                    _ => {}
                }
            }
        }
        for _ in 0..1 + self.below(5) {
            let at = self.below(files.len());
            match (self.below(7), files.get(at).cloned()) {
                (0 | 1, Some((_, object, size))) => {
                    let offset = self.below(size as usize + 1) as u64;
                    let mut bytes = self.bytes();
                    let block = set.info(object).expect("a file").block_bytes;
                    if !block.is_power_of_two() || block < 4096 {
                        // A file of one small block does not grow.
                        bytes.truncate((size - offset) as usize);
                    }
                    set.write(object, offset, &bytes).expect("content");
                    let end = size.max(offset + bytes.len() as u64);
                    writer.finish(&mut set, object, end).expect("a size");
                    files[at].2 = end;
                }
                (2, Some((_, object, size))) => {
                    let offset = self.below(size as usize + 1) as u64;
                    let length = 1 + self.below(300_000) as u64;
                    set.free_range(object, offset, length.min(size - offset)).expect("a hole");
                }
                (3, Some((path, _, _))) if !path.contains(&b'/') => {
                    writer.remove(&mut set, root, &path).expect("a file");
                    files.remove(at);
                }
                (4, _) => {
                    let parent = directories[self.below(directories.len())];
                    let (name, kind) = if self.below(2) == 0 {
                        (self.fresh("dir"), NodeKind::Directory)
                    } else {
                        (self.fresh("link"), NodeKind::Symlink(vec![b'x'; 1 + self.rng.u64() as usize % 300]))
                    };
                    let is_directory = kind == NodeKind::Directory;
                    let made = self.make(&mut set, &mut writer, parent, &name, kind);
                    if is_directory {
                        directories.push(made);
                    }
                }
                _ => {
                    let (name, bytes) = (self.fresh("file"), self.bytes());
                    let parent =
                        if self.below(2) == 0 { root } else { directories[self.below(directories.len())] };
                    let size = bytes.len() as u64 + self.below(3) as u64 * 200_000;
                    let object = self.make(&mut set, &mut writer, parent, &name, NodeKind::File(size));
                    writer.write(&mut set, object, size - bytes.len() as u64, &bytes).expect("content");
                    writer.finish(&mut set, object, size).expect("a size");
                    if parent == root {
                        files.push((name.into_bytes(), object, size));
                    }
                }
            }
        }
        writer.flush(&mut set).expect("names");
        pool.sync(head, &mut set).expect("a synced set");
        pool.export().expect("an export");
    }

    fn make(
        &mut self,
        set: &mut zstream_dmu::objset::ObjsetWriter,
        writer: &mut Writer,
        parent: ObjectId,
        name: &str,
        kind: NodeKind,
    ) -> ObjectId {
        let time = Time { seconds: 1_700_000_000, nanoseconds: self.named };
        let count = self.below(3);
        let xattrs = (0..count).map(|n| (format!("user.x{n}").into_bytes(), self.bytes())).collect();
        let xattrs: Vec<(Vec<u8>, Vec<u8>)> = xattrs;
        let xattrs =
            xattrs.into_iter().map(|(name, value)| (name, value[..value.len().min(900)].to_vec())).collect();
        let new = NewNode { kind, permissions: 0o644, uid: 1000, gid: 100, atime: time, mtime: time, xattrs };
        writer.create(set, parent, name.as_bytes(), &new).expect("a node")
    }

    /// Bytes that compress, or do not, or nothing but zeros.
    fn bytes(&mut self) -> Vec<u8> {
        let length = match self.below(4) {
            0 => self.below(100),
            1 => self.below(5000),
            2 => self.below(140_000),
            _ => self.below(20_000),
        };
        let (kind, start) = (self.below(4), self.rng.u64());
        let byte = |n: u64| match kind {
            0 => 0,
            1 => (n / 50 + start) as u8,
            _ => ((n + start).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8,
        };
        (0..length as u64).map(byte).collect()
    }
}
