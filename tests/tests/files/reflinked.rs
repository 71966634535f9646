//! `put --reflink`: files that share extents on the host are clones in the pool.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use zstream::{Control, Event, Extent, NoKeys, PoolPlace, Put, PutOptions, SharedExtents};
use zstream_tests::openzfs;
use zstream_tests::rng::Rng;

use crate::cp::Pool;

/// The size of the blocks of [`Pool`].
const BLOCK: usize = 16 << 10;
/// The size of its sectors.
const SECTOR: usize = 4096;

/// The extents of files as the test says, by device and number.
#[derive(Debug, Default)]
struct Told(Mutex<HashMap<(u64, u64), Vec<Extent>>>);

impl Told {
    /// Writes a file of these pieces, each with the address of its storage, if it is shared.
    fn write(&self, path: &Path, pieces: &[(Option<u64>, Vec<u8>)]) {
        let bytes: Vec<u8> = pieces.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        // A file of another number.
        fs::write(path.with_extension("new"), bytes).expect("a file");
        fs::rename(path.with_extension("new"), path).expect("a file");
        let (mut extents, mut at) = (Vec::new(), 0);
        for (address, bytes) in pieces {
            extents.extend(address.map(|address| Extent::new(at, bytes.len() as u64, address)));
            at += bytes.len() as u64;
        }
        let data = fs::metadata(path).expect("a file");
        self.0.lock().expect("a map").insert((data.dev(), data.ino()), extents);
    }
}

impl SharedExtents for Told {
    fn of(&self, file: &File) -> io::Result<Vec<Extent>> {
        let data = file.metadata()?;
        let told = self.0.lock().expect("a map");
        Ok(told.get(&(data.dev(), data.ino())).cloned().unwrap_or_default())
    }
}

/// Puts files into `p/a`, and returns the warnings.
fn put(pool: &Pool, told: &Arc<Told>, steps: &[(&str, Vec<PathBuf>)]) -> Vec<String> {
    let place = PoolPlace::new([pool.path("p.img")]);
    let mut options = PutOptions::default();
    options.reflink = Some(Arc::clone(told) as _);
    // The lock of the last put is held until a program that another test is starting has closed its files.
    let open = || Put::open(&place, "p/a", &options, &NoKeys);
    let mut put = (0..100)
        .find_map(|_| open().inspect_err(|_| thread::sleep(Duration::from_millis(20))).ok())
        .unwrap_or_else(|| open().expect("the filesystem"));
    let mut warnings = Vec::new();
    let mut watch = |event: Event<'_>| {
        if let Event::Warning(warning) = event {
            warnings.push(warning.to_string());
        }
    };
    for (into, sources) in steps {
        let mut control = Control::new().watched_by(&mut watch);
        put.paths(into.as_bytes(), sources, &mut control).expect("files");
    }
    put.finish("test").expect("a pool");
    warnings
}

/// Bytes that no compression makes smaller.
fn noise(rng: &mut Rng, length: usize) -> Vec<u8> {
    (0..length).map(|_| rng.below(256) as u8).collect()
}

/// Three files that share their first blocks, one of which ends within a block, one inside another place of the file.
#[test]
fn shared_blocks_become_clones() {
    let (pool, told, mut rng) = (Pool::new(true), Arc::new(Told::default()), Rng(7));
    let shared = noise(&mut rng, 5 * BLOCK + 100);
    let own = noise(&mut rng, 2 * BLOCK);
    let files = [
        ("one", vec![(Some(1 << 30), shared.clone())]),
        ("two", vec![(Some(1 << 30), shared.clone())]),
        // The last block is a whole one here.
        ("three", vec![(Some(1 << 30), shared.clone()), (None, own.clone())]),
        // The same extent after others, at a multiple of the block.
        ("four", vec![(None, own.clone()), (Some(1 << 30), shared.clone())]),
        // Not at a multiple.
        ("five", vec![(None, own[..4096].to_vec()), (Some(1 << 30), shared.clone())]),
        // The same address, but another content.
        ("six", vec![(Some(1 << 30), noise(&mut rng, 5 * BLOCK))]),
    ];
    let paths: Vec<PathBuf> = files.iter().map(|(name, _)| pool.path(name)).collect();
    for ((_, pieces), path) in files.iter().zip(&paths) {
        told.write(path, pieces);
    }
    assert_eq!(put(&pool, &told, &[("", paths)]), [""; 0]);
    for (name, pieces) in &files {
        let content: Vec<u8> = pieces.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        assert!(pool.cat("p/a", name) == content, "{name}");
    }
    // Five whole blocks of each of three files, and two last ones, which are compressed to a sector.
    assert_eq!(pool.saved(), (15 * BLOCK + 2 * SECTOR) as u64);
}

/// A pool without the feature gets copies, and a note.
#[test]
fn without_the_feature_files_are_copied() {
    let (pool, told, mut rng) = (Pool::new(false), Arc::new(Told::default()), Rng(7));
    let pieces = vec![(Some(0), noise(&mut rng, 5 * BLOCK))];
    let paths = ["one", "two"].map(|name| pool.path(name));
    paths.iter().for_each(|path| told.write(path, &pieces));
    let warnings = put(&pool, &told, &[("", paths.to_vec())]);
    let expected = "p/a: copied instead of cloned: the pool does not have the feature block_cloning";
    assert_eq!((warnings, pool.saved()), (vec![expected.to_owned()], 0));
    assert!(pool.cat("p/a", "two") == pieces[0].1);
}

/// Deduplicated blocks are not cloned, but shared anyway.
#[test]
fn deduplicated_blocks_are_written() {
    let (pool, told, mut rng) = (Pool::new(true), Arc::new(Told::default()), Rng(7));
    pool.does("set dedup=on p/a");
    let pieces = vec![(Some(0), noise(&mut rng, 5 * BLOCK))];
    let paths = ["one", "two"].map(|name| pool.path(name));
    paths.iter().for_each(|path| told.write(path, &pieces));
    assert_eq!(put(&pool, &told, &[("", paths.to_vec())]), [""; 0]);
    assert!(pool.cat("p/a", "two") == pieces[0].1);
    let ratio = pool.does("pool get -Hp -o value dedupratio p");
    assert_eq!((String::from_utf8_lossy(&ratio).trim(), pool.saved()), ("2.00", 0));
}

/// Random files of shared, own and zero pieces, some with addresses that lie, put over each other in several steps: each
/// file is what it was on the host, and the pool is clean.
#[test]
fn random_files_are_as_on_the_host() {
    let (mut cloned, mut replaced) = (0, 0);
    for seed in 0..6 {
        let (pool, told, mut rng) = (Pool::new(true), Arc::new(Told::default()), Rng(seed + 1));
        let pieces: Vec<Vec<u8>> =
            (0..6).map(|n| if n == 0 { vec![0; BLOCK] } else { noise(&mut rng, BLOCK) }).collect();
        let mut content: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for _ in 0..3 {
            let mut steps = Vec::new();
            for step in 0..3 {
                let mut sources = Vec::new();
                for _ in 0..rng.below(5) + 1 {
                    // Few names, so that files are replaced.
                    let name = format!("f{}", rng.below(7));
                    let mut parts = Vec::new();
                    for _ in 0..rng.below(7) + 1 {
                        let piece = rng.below(pieces.len());
                        let mut bytes = pieces[piece].clone();
                        let address = (rng.below(4) > 0).then_some((piece * BLOCK) as u64);
                        match rng.below(12) {
                            // The address lies.
                            0 => bytes[rng.below(BLOCK)] ^= 1,
                            // What follows is not at a multiple of a block.
                            1 => bytes.truncate(rng.below(BLOCK) + 1),
                            _ => {}
                        }
                        parts.push((address, bytes));
                    }
                    let dir = pool.path(&format!("step{step}"));
                    fs::create_dir_all(&dir).expect("a directory");
                    let path = dir.join(&name);
                    told.write(&path, &parts);
                    let bytes: Vec<u8> = parts.into_iter().flat_map(|(_, bytes)| bytes).collect();
                    replaced += usize::from(content.insert(name, bytes).is_some());
                    if !sources.contains(&path) {
                        sources.push(path);
                    }
                }
                steps.push(("", sources));
            }
            // A file of an earlier step is overwritten by a later one, as it is on the host by now.
            assert_eq!(put(&pool, &told, &steps), [""; 0]);
            for (name, content) in &content {
                assert!(pool.cat("p/a", name) == *content, "seed {seed}: {name}");
            }
            cloned += usize::from(pool.saved() > 0);
        }
    }
    assert!(cloned > 10 && replaced > 20, "{cloned} {replaced}");
}

/// Runs a command of the host. False if it is not there or fails.
fn host(words: &[&str]) -> bool {
    let outcome = Command::new(words[0]).args(&words[1..]).output();
    outcome.is_ok_and(|outcome| outcome.status.success())
}

/// A filesystem of the host that can share extents, until it is dropped.
struct Mounted {
    dir: tempfile::TempDir,
}

impl Mounted {
    /// None if this needs a program or a right that is missing.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let (image, at) = (dir.path().join("image"), dir.path().join("at"));
        File::create(&image).and_then(|file| file.set_len(256 << 20)).expect("an image");
        fs::create_dir(&at).expect("a directory");
        let [image, at] = [&image, &at].map(|path| path.to_str().expect("UTF-8"));
        let is_made = host(&["mkfs.btrfs", "-q", image]) || host(&["mkfs.xfs", "-q", image]);
        (is_made && host(&["mount", "-o", "loop", image, at])).then_some(Self { dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("at").join(name)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        host(&["umount", self.path("").to_str().expect("UTF-8")]);
    }
}

/// Files copied by `cp --reflink` on a real filesystem. OpenZFS finds the pool clean.
#[test]
#[ignore = "needs a filesystem that shares extents, and OpenZFS's zdb: cargo xtask interop"]
fn interop_reflinks_of_the_host_become_clones() {
    let Some(mounted) = Mounted::new() else {
        println!("SKIPPED: reflinks of the host; this needs root, and mkfs.btrfs or mkfs.xfs");
        return;
    };
    let (pool, mut rng) = (Pool::new(true), Rng(3));
    let content = noise(&mut rng, 40 * BLOCK + 77);
    let [one, two, three] = ["one", "two", "three"].map(|name| mounted.path(name));
    fs::write(&one, &content).expect("a file");
    for copy in [&two, &three] {
        let [one, copy] = [&one, copy].map(|path| path.to_str().expect("UTF-8"));
        assert!(host(&["cp", "--reflink=always", one, copy]));
    }
    // Two blocks of the third are its own.
    let file = File::options().write(true).open(&three).expect("a file");
    std::os::unix::fs::FileExt::write_all_at(&file, &[9; 2 * BLOCK], 4 * BLOCK as u64).expect("a file");
    file.sync_all().expect("a file");
    let list = [&one, &two, &three].map(|path| path.to_str().expect("UTF-8")).join(" ");
    assert_eq!(pool.says(&format!("put --reflink {list} p/a:/")), "");
    for path in [&one, &two, &three] {
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        assert!(pool.cat("p/a", name) == fs::read(path).expect("a file"), "{name}");
    }
    assert_eq!(pool.saved(), ((40 + 38) * BLOCK + 2 * SECTOR) as u64);
    openzfs::assert_no_leaks(pool.dir.path(), "p");
}
