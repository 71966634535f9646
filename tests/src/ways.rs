//! Twelve ways in which pools are damaged, each made on a pool of its own, for tests and for a comparison with OpenZFS.
//!
//! Every pool is `tank`, with the files of [`content`] in `tank/home` and in its snapshot `tank/home@mon`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use zstream_dmu::blkptr::{BlockKind, BlockPointer};
use zstream_dmu::block::ReadBlock;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::pool::{OpenOptions as PoolOptions, Pool};
use zstream_dmu::traverse::{Options, Traverse, VisitKind};
use zstream_dmu::vdev::LEAF_DATA_START;
use zstream_format::object_type::ObjectType;

use crate::created::files;
use crate::program::zstream;
use crate::rng::Rng;

const LABEL_BYTES: u64 = 256 << 10;
const MEMBER_BYTES: u64 = 64 << 20;
const CONFIG: std::ops::Range<u64> = 16 << 10..128 << 10;

/// A way to damage a pool.
pub struct Way {
    /// Its name.
    pub name: &'static str,
    /// The vdevs of the pool: members have names of one letter.
    pub vdevs: &'static str,
    /// What happened.
    pub what: &'static str,
    /// The options before the verb with which `zstream` reads the pool.
    pub options: &'static [&'static str],
    damage: fn(&Damaged),
}

/// The ways.
pub const WAYS: [Way; 12] = [
    Way {
        name: "configs",
        vdevs: "a",
        what: "the configs in all labels of a disk are overwritten, not the uberblocks",
        options: &["--rescue"],
        damage: |pool| pool.without_configs("a"),
    },
    Way {
        name: "later",
        vdevs: "a",
        what: "a partition begins 1 MiB too early",
        options: &["--rescue"],
        damage: |pool| pool.with("a", |bytes| drop(bytes.splice(0..0, vec![0; 1 << 20]))),
    },
    Way {
        name: "earlier",
        vdevs: "a",
        what: "a partition begins 1 MiB too late",
        options: &["--rescue"],
        damage: |pool| pool.with("a", |bytes| drop(bytes.drain(..1 << 20))),
    },
    Way {
        name: "foreign-start",
        vdevs: "a",
        what: "the first 512 KiB of another pool's disk are copied over a disk",
        options: &["--rescue", "--pool", "tank"],
        damage: |pool| pool.with_labels_of(&pool.other(), "a", &[0, 1]),
    },
    Way {
        name: "foreign",
        vdevs: "raidz a b c",
        what: "one member of raidz1 is lost, another one has all labels of another pool's disk",
        options: &["--rescue", "--pool", "tank"],
        damage: |pool| {
            pool.with_labels_of(&pool.other(), "b", &[0, 1, 2, 3]);
            pool.lose("c");
        },
    },
    Way {
        name: "two-labels",
        vdevs: "raidz a b c",
        what: "all labels of two members of raidz1 are overwritten, uberblocks too",
        options: &["--rescue"],
        damage: |pool| ["b", "c"].into_iter().for_each(|name| pool.without_labels(name)),
    },
    Way {
        name: "all-configs",
        vdevs: "raidz a b c",
        what: "the configs in all labels of all members of raidz1 are overwritten, not the uberblocks",
        options: &["--rescue"],
        damage: |pool| ["a", "b", "c"].into_iter().for_each(|name| pool.without_configs(name)),
    },
    Way {
        name: "copied-label",
        vdevs: "raidz a b c",
        what: "one member of raidz1 is lost, another one has the labels of the third",
        options: &["--rescue"],
        damage: |pool| {
            pool.with_labels_of(&pool.member("a"), "b", &[0, 1, 2, 3]);
            pool.lose("c");
        },
    },
    Way {
        name: "striped-configs",
        vdevs: "mirror a b mirror c d",
        what: "the configs in all labels of two mirrors are overwritten, not the uberblocks",
        options: &["--rescue"],
        damage: |pool| ["a", "b", "c", "d"].into_iter().for_each(|name| pool.without_configs(name)),
    },
    Way {
        name: "root",
        vdevs: "mirror a b",
        what: "all copies of the root of the newest transaction group are overwritten",
        options: &["--txg", "best"],
        damage: |pool| {
            pool.run(&["create", "tank/later"]);
            pool.destroy(&[pool.open().uberblock().root]);
        },
    },
    Way {
        name: "metadata",
        vdevs: "a",
        what: "all copies of the pool's config, features, history and space maps are overwritten",
        options: &["--rescue"],
        damage: |pool| pool.destroy(&metadata(&pool.open())),
    },
    Way {
        name: "destroyed",
        vdevs: "mirror a b",
        what: "the datasets were destroyed by mistake",
        options: &["--txg", "BEFORE"],
        damage: |pool| pool.run(&["destroy", "-r", "tank/home"]),
    },
];

/// A pool in a directory: its members are in `members`.
pub struct Damaged {
    dir: PathBuf,
    /// The last transaction group before the damage.
    pub txg: u64,
}

/// The files in the pools.
#[must_use]
pub fn content() -> BTreeMap<String, Vec<u8>> {
    let noise = |seed: u64, len: usize| {
        let mut rng = Rng(seed | 1);
        (0..len).map(|_| rng.below(256) as u8).collect()
    };
    let mut files: BTreeMap<String, Vec<u8>> =
        (0..12).map(|n| (format!("file{n}"), noise(n * 2 + 1, 30_000 * (n as usize + 1)))).collect();
    files.insert("deep/er/note".to_owned(), b"hello\n".to_vec());
    files
}

impl Way {
    /// Makes the pool in a directory, and damages it.
    ///
    /// # Panics
    /// The pool cannot be made.
    #[must_use]
    pub fn make(&self, dir: &Path) -> Damaged {
        let mut pool = Damaged { dir: dir.to_owned(), txg: 0 };
        pool.create("tank", "members", self.vdevs);
        let source = dir.join("source");
        for (name, content) in content() {
            let path = source.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, content).expect("room");
        }
        pool.run(&["create", "tank/home"]);
        pool.run(&["put", &format!("{}/", source.display()), "tank/home:/"]);
        pool.run(&["snapshot", "tank/home@mon"]);
        pool.txg = pool.open().txg().0;
        (self.damage)(&pool);
        pool
    }

    /// The options before the verb with which `zstream` reads the pool.
    #[must_use]
    pub fn options(&self, pool: &Damaged) -> Vec<String> {
        let word = |word: &&str| if *word == "BEFORE" { pool.txg.to_string() } else { (*word).to_owned() };
        self.options.iter().map(word).collect()
    }
}

impl Damaged {
    /// The directory with what is left of the members.
    #[must_use]
    pub fn members(&self) -> PathBuf {
        self.dir.join("members")
    }

    fn member(&self, name: &str) -> PathBuf {
        self.members().join(name)
    }

    fn create(&self, pool: &str, place: &str, vdevs: &str) {
        let dir = self.dir.join(place);
        fs::create_dir_all(&dir).expect("a directory");
        let mut words: Vec<String> = ["pool", "create", "--size", "64M", pool].map(str::to_owned).into();
        words.extend(vdevs.split(' ').map(|word| match word.len() {
            1 => dir.join(word).display().to_string(),
            _ => word.to_owned(),
        }));
        does(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn run(&self, words: &[&str]) {
        does(&[&["-d", self.members().to_str().expect("UTF-8")], words].concat());
    }

    fn open(&self) -> Pool {
        Pool::open(&[self.members()], &PoolOptions::default()).expect("an intact pool")
    }

    /// A disk of another pool, whose labels are newer.
    fn other(&self) -> PathBuf {
        self.create("other", "elsewhere", "x");
        let disk = self.dir.join("elsewhere/x");
        for n in 0..20 {
            does(&["-d", disk.to_str().expect("UTF-8"), "create", &format!("other/{n}")]);
        }
        disk
    }

    fn lose(&self, name: &str) {
        fs::remove_file(self.member(name)).expect("a member");
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.member(name)).expect("a member");
        change(&mut bytes);
        fs::write(self.member(name), bytes).expect("room");
    }

    fn write(&self, name: &str, at: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(self.member(name)).expect("a member");
        file.write_all_at(bytes, at).expect("room");
    }

    fn without_configs(&self, name: &str) {
        for label in labels() {
            self.write(name, label + CONFIG.start, &[0; (CONFIG.end - CONFIG.start) as usize]);
        }
    }

    fn without_labels(&self, name: &str) {
        labels().iter().for_each(|label| self.write(name, *label, &[0; LABEL_BYTES as usize]));
    }

    fn with_labels_of(&self, source: &Path, name: &str, numbers: &[usize]) {
        let source = fs::read(source).expect("a member");
        for at in numbers.iter().map(|number| labels()[*number]) {
            self.write(name, at, &source[at as usize..(at + LABEL_BYTES) as usize]);
        }
    }

    /// Overwrites all copies of blocks, on all members of vdevs without parity.
    fn destroy(&self, blocks: &[BlockPointer]) {
        for block in blocks {
            for dva in block.dvas() {
                for path in files(&self.members()) {
                    let file = OpenOptions::new().write(true).open(path).expect("a member");
                    file.write_all_at(&[0x5a; 512], LEAF_DATA_START + dva.offset()).expect("room");
                }
            }
        }
    }
}

fn labels() -> [u64; 4] {
    [0, LABEL_BYTES, MEMBER_BYTES - 2 * LABEL_BYTES, MEMBER_BYTES - LABEL_BYTES]
}

fn does(words: &[&str]) {
    let outcome = zstream(words, b"");
    assert_eq!((outcome.code, String::from_utf8_lossy(&outcome.stderr).as_ref()), (0, ""), "{words:?}");
}

/// The blocks of the MOS that are not needed to read datasets.
fn metadata(pool: &Pool) -> Vec<BlockPointer> {
    let named = [
        "config",
        "features_for_read",
        "features_for_write",
        "feature_descriptions",
        "history",
        "errlog_last",
    ];
    let named: Vec<ObjectId> =
        named.iter().filter_map(|name| pool.directory_object(name).expect("a directory")).collect();
    let is_needless = |object: ObjectId| {
        let kind = pool.mos().info(object).map(|info| info.object_type);
        named.contains(&object) || matches!(kind, Ok(ObjectType::SPACE_MAP | ObjectType::SPACE_MAP_HEADER))
    };
    let blocks = std::sync::Arc::clone(pool.reader()) as std::sync::Arc<dyn ReadBlock>;
    let visits = Traverse::new(blocks, 0, pool.uberblock().root, Options::default());
    let stored = visits.map(|visit| visit.expect("an intact pool")).filter(|visit| {
        visit.kind == VisitKind::Block && visit.pointer.kind() == BlockKind::Normal && visit.at.object.0 != 0
    });
    stored.filter(|visit| is_needless(visit.at.object)).map(|visit| visit.pointer).collect()
}
