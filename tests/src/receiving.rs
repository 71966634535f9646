//! Receiving into small pools that are made here, in files of a directory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use zstream_dmu::device::FileDevice;
use zstream_dmu::pool::check::{self, Finding, NotShared, Totals};
use zstream_dmu::pool::{FeatureSet, OpenOptions, Pool, WriteOptions};
use zstream_dsl::scrub;
use zstream_dsl::scrub::Lines;
use zstream_dsl::write::WritablePool;
use zstream_format::errno::Errno;
use zstream_format::object_type::ObjsetType;
use zstream_recv::error::Result;
use zstream_recv::{Assignment, Input, Received, Receiving, Target};

use crate::created::{files, host, new_pool, write_options};
use crate::openzfs;
use crate::program::zstream;
use crate::sending::Sending;
use crate::writing::unreached;

/// What is said of a pool that somebody else is writing.
const LOCKED: &str = "another program has it open";
const PAUSE: Duration = Duration::from_millis(20);

/// A pool called `demo` that streams are received into.
pub struct Demo {
    dir: TempDir,
    /// What is longer becomes a gang block.
    whole_max: Option<u64>,
}

impl Default for Demo {
    fn default() -> Self {
        Self::new("a", 12, 512 << 20)
    }
}

impl Demo {
    /// A new pool with these vdevs.
    pub fn new(words: &str, ashift: u8, member_bytes: u64) -> Self {
        Self::made(words, ashift, member_bytes, FeatureSet::default())
    }

    /// A new pool in one file, with these features.
    pub fn with_features(features: FeatureSet, member_bytes: u64) -> Self {
        Self::made("a", 12, member_bytes, features)
    }

    fn made(words: &str, ashift: u8, member_bytes: u64, features: FeatureSet) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut new = new_pool("demo", words, ashift, &mut |word| {
            let path = dir.path().join(word);
            let device = FileDevice::create(&path, member_bytes, true).unwrap();
            (path.display().to_string(), Arc::new(device))
        });
        new.features = features;
        let (mut pool, first) = WritablePool::create(new, Some(7)).unwrap();
        let mut set = pool.create_set(first.root, ObjsetType::ZFS).unwrap();
        pool.sync(first.root, &mut set).unwrap();
        pool.export().unwrap();
        assert_eq!(host().id, 0);
        Self { dir, whole_max: None }
    }

    /// With ganging forced: what takes more than so many bytes is written in pieces.
    #[must_use]
    pub fn ganging(self, whole_max: u64) -> Self {
        Self { whole_max: Some(whole_max), ..self }
    }

    /// The members.
    pub fn members(&self) -> Vec<PathBuf> {
        files(self.dir.path())
    }

    /// Opens the pool for writing. A program that another test has just begun to start holds what this process had open for a
    /// moment longer.
    pub fn writable(&self) -> WritablePool {
        let options = WriteOptions { whole_max: self.whole_max, ..write_options() };
        for _ in 0..100 {
            match WritablePool::open(&self.members(), &options) {
                Err(error) if error.errno() == Errno::EBUSY => std::thread::sleep(PAUSE),
                opened => return opened.unwrap(),
            }
        }
        panic!("the pool stays open elsewhere");
    }

    /// Opens the pool for writing, does something, and leaves it.
    pub fn change<T>(&self, act: impl FnOnce(&mut WritablePool) -> T) -> T {
        let mut pool = self.writable();
        let result = act(&mut pool);
        pool.export().unwrap();
        result
    }

    /// Receives one stream of one snapshot.
    pub fn receive(&self, stream: &[u8], target: &Target, settings: &[Assignment]) -> Result<Received> {
        receive(self.writable(), stream, target, settings)
    }

    /// Runs the program over the pool's members, with a command line without quotes: exit code, output, messages. `before`
    /// stands before the verb.
    pub fn run(&self, before: &[&str], line: &str, input: &[u8]) -> (i32, String, String) {
        let members: Vec<String> = self.members().iter().map(|path| path.display().to_string()).collect();
        let members = members.iter().flat_map(|path| ["-d", path]);
        let words: Vec<&str> = members.chain(before.iter().copied()).chain(line.split_whitespace()).collect();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for _ in 0..100 {
            let outcome = zstream(&words, input);
            let message = text(&outcome.stderr);
            if !message.contains(LOCKED) {
                return (outcome.code, text(&outcome.stdout), message);
            }
            std::thread::sleep(PAUSE);
        }
        panic!("the pool stays open elsewhere");
    }

    /// All datasets and snapshots, with their guids and what they hold: the pointers of their roots.
    pub fn datasets(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let reading = self.reading();
        let walked = reading.dsl.walk(&mut |dir| {
            if dir.phys().head.is_some() {
                let head = dir.head()?;
                for dataset in head.snapshots()?.iter().chain([&head]) {
                    let phys = dataset.phys();
                    found.insert(dataset.name().to_owned(), format!("{} {:?}", phys.guid, phys.root));
                }
            }
            Ok(())
        });
        walked.unwrap();
        found
    }

    /// The pool, to be read.
    pub fn reading(&self) -> Sending {
        Sending::open(&self.members())
    }

    /// Every block is good, and what is allocated is what blocks take.
    pub fn check(&self, what: &str) {
        check(&self.reading(), what);
    }

    /// OpenZFS's zdb finds the pool clean.
    pub fn zdb(&self, what: &str) {
        let path = self.dir.path().to_str().unwrap();
        for options in [&["-bcc"][..], &["-d"]] {
            let args: Vec<&str> =
                ["-e", "-p", path].into_iter().chain(options.iter().copied()).chain(["demo"]).collect();
            let outcome = openzfs::run("zdb", &args, None);
            let text = String::from_utf8_lossy(&[outcome.stdout, outcome.stderr].concat()).into_owned();
            assert!(
                outcome.code == 0 && (options == ["-d"] || text.contains("No leaks")),
                "{what}: zdb {options:?}: {text}"
            );
        }
    }

    /// Whether a pool can still be opened as a whole.
    pub fn open(&self) -> Pool {
        Pool::open(&self.members(), &OpenOptions::default()).unwrap()
    }
}

/// Receives one stream of one snapshot, and leaves the pool unless that failed.
pub fn receive(
    mut pool: WritablePool,
    stream: &[u8],
    target: &Target,
    settings: &[Assignment],
) -> Result<Received> {
    pool.destroy_unresumable()?;
    let mut receiving = Receiving::new(&mut pool);
    let mut input = Input::new(stream);
    let result = input.open().and_then(|opening| {
        let opening = opening.expect("a stream");
        receiving.receive(&mut input, opening, target, settings, &mut |_| ())
    });
    let is_broken = receiving.is_broken();
    if !is_broken {
        pool.export().unwrap();
    }
    result
}

/// Every block is good, and what is allocated is what blocks take.
pub fn check(reading: &Sending, what: &str) {
    let pool: &Pool = &reading.pool;
    let leaked: u64 = unreached(pool).values().map(zstream_dmu::RangeSet::bytes).sum();
    assert_eq!(leaked, 0, "{what}: leaked");
    let lines = Lines::new(&reading.dsl).unwrap();
    let mut totals = Totals::default();
    scrub::parts(pool, &lines, &mut |part, blocks| {
        let mut found = |finding: Finding| panic!("{what}: {part:?}: {finding:?}");
        check::check(pool.reader(), blocks, &mut NotShared, &mut totals, &mut found, &mut |_| true);
    })
    .unwrap();
    assert!(totals.blocks > 0, "{what}: nothing was checked");
}

/// A target by the name of its snapshot.
pub fn target(name: &str) -> Target {
    let (dataset, snapshot) = name.split_once('@').unwrap();
    Target { dataset: dataset.to_owned(), snapshot: snapshot.to_owned(), ..Target::default() }
}
