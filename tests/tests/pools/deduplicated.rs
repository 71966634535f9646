//! Pools with deduplicated blocks: those of OpenZFS, changed until no table is left, and our own.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use zstream_dmu::ddt::Table;
use zstream_dmu::pool::{OpenOptions, Pool, PoolWriter, WriteOptions};
use zstream_dmu::space::{dedup_totals, wrong_dedup_histograms};
use zstream_dmu::zap::{Value, Zap, ZapMut};
use zstream_tests::golden::{self, Outcome};
use zstream_tests::openzfs;
use zstream_tests::pools::PASSPHRASE;
use zstream_tests::program::zstream;
use zstream_tests::writing::unreached;

const POOLS: [&str; 2] = ["legacy", "fast"];

/// A pool in a directory of its own.
struct Copy {
    dir: tempfile::TempDir,
    pool: &'static str,
}

impl Copy {
    fn of(pool: &'static str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        golden::copy(&golden::dedup_file(&format!("{pool}.img")), dir.path());
        fs::write(dir.path().join("key"), PASSPHRASE).expect("a file");
        Self { dir, pool }
    }

    /// A new pool, whose root has the property `dedup`.
    fn new(pool: &'static str, dedup: &str, is_fast: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("key"), PASSPHRASE).expect("a file");
        let copy = Self { dir, pool };
        let image = copy.image();
        fs::File::create(&image).and_then(|file| file.set_len(96 << 20)).expect("an image");
        let feature = format!("feature@fast_dedup={}", if is_fast { "enabled" } else { "disabled" });
        let image = image.to_str().expect("UTF-8");
        let words = ["pool", "create", "-o", "ashift=9", "-o", &feature, pool, image];
        let outcome = zstream(&words, &[]);
        assert_eq!(outcome.code, 0, "{}", String::from_utf8_lossy(&outcome.stderr));
        copy.does(&format!("set dedup={dedup} P"));
        copy
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join(format!("{}.img", self.pool))
    }

    /// Writes a file of these bytes, and returns its path.
    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// Runs words; `P` stands for the name of the pool.
    fn run(&self, line: &str) -> Outcome {
        self.given(line, &[])
    }

    /// Runs words with these bytes as standard input.
    fn given(&self, line: &str, stdin: &[u8]) -> Outcome {
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let mut words = vec!["-d".to_owned(), text(&self.image())];
        words.extend(["--key-file".to_owned(), text(&self.dir.path().join("key"))]);
        words.extend(line.split_whitespace().map(|word| match word.strip_prefix('P') {
            Some(rest) => format!("{}{rest}", self.pool),
            None => word.to_owned(),
        }));
        zstream(&words.iter().map(String::as_str).collect::<Vec<_>>(), stdin)
    }

    fn does(&self, line: &str) -> Vec<u8> {
        let outcome = self.run(line);
        assert_eq!(outcome.code, 0, "{line}: {}", String::from_utf8_lossy(&outcome.stderr));
        outcome.stdout
    }

    /// Receives a stream.
    fn receives(&self, target: &str, stream: &[u8]) {
        let outcome = self.given(&format!("recv {target}"), stream);
        assert_eq!(outcome.code, 0, "{target}: {}", String::from_utf8_lossy(&outcome.stderr));
    }

    fn pool(&self) -> Pool {
        Pool::open(&[self.image()], &OpenOptions::default()).expect("a pool")
    }

    /// Checks the pool, which finds nothing, and no wrong histogram.
    fn check(&self) {
        let report: Json = serde_json::from_slice(&self.does("pool check --json")).expect("JSON");
        assert_eq!(report["references"]["wrong"].as_array().map_or(0, Vec::len), 0, "{report}");
        let pool = self.pool();
        let wrong = wrong_dedup_histograms(&**pool.mos(), pool.vdevs().tops()).expect("histograms");
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    /// Checks the pool, in which there is no intent log, and finds no lost place.
    fn check_all(&self) {
        self.check();
        for (vdev, leaked) in unreached(&self.pool()) {
            assert!(leaked.is_empty(), "vdev {vdev}: {leaked:?}");
        }
    }

    fn ratio(&self) -> u64 {
        let pool = self.pool();
        dedup_totals(&**pool.mos(), pool.vdevs().tops()).expect("tables").ratio_percent()
    }
}

/// Bytes that do not repeat.
fn noise(seed: u8, len: usize) -> Vec<u8> {
    let blocks = (0_u32..).flat_map(|n| Sha256::digest([&[seed], &n.to_le_bytes()[..]].concat()));
    blocks.take(len).collect()
}

#[test]
fn pools_of_openzfs_are_as_it_shows_them() {
    for pool in POOLS {
        let copy = Copy::of(pool);
        let text = |suffix: &str| {
            fs::read_to_string(golden::dedup_file(&format!("{pool}.{suffix}"))).expect("a golden file")
        };
        for line in text("sums").lines() {
            let [sum, fs, file] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
            let content = copy.does(&format!("cat P/{fs} {file}"));
            let found: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, sum, "{line}");
        }
        for (words, name) in [
            ("-Lec P/fs@a", "fs-a"),
            ("-Lec P/fs@b", "fs-b"),
            ("-Lec -i @a P/fs@b", "fs-a-b"),
            ("-Lecw P/enc@a", "enc-a"),
        ] {
            let expected = fs::read(golden::dedup_file(&format!("{pool}-{name}.zfs"))).expect("a stream");
            assert!(copy.does(&format!("send {words}")) == expected, "{pool}: {words}");
        }
        // Both depend on what was written between the list and the export.
        let room = |list: &str| -> u64 {
            let first = list.lines().next().expect("the pool");
            first.split('\t').skip(1).take(2).map(|word| word.parse::<u64>().expect("bytes")).sum()
        };
        let found = copy.does("list -Hp -o name,used,available P");
        assert_eq!(room(&String::from_utf8(found).expect("text")), room(&text("list")), "{pool}");
        let ratio = text("get");
        let ratio = ratio.lines().find_map(|line| line.strip_prefix("dedupratio\t")).expect("a ratio");
        let found = copy.does("pool get -Hp -o value dedupratio P");
        assert_eq!(String::from_utf8_lossy(&found).trim_end(), ratio, "{pool}");
        copy.check();
    }
}

const CHANGES: [&str; 12] = [
    "rollback -r P/fs@a",
    "destroy P/two",
    "destroy P/vol",
    "promote P/clone",
    "destroy P/fs",
    "destroy -r P/enc",
    "destroy P/three",
    "destroy P/skein",
    "destroy P/sha512",
    "destroy P/edonr",
    "destroy -r P/clone",
    "destroy P/blake3",
];

/// Datasets rolled back and destroyed, until the last reference is gone, and with it the tables.
#[test]
fn blocks_of_openzfs_are_freed_to_the_last() {
    for pool in POOLS {
        let copy = Copy::of(pool);
        for line in CHANGES.iter().chain(&["destroy -r P/last"]) {
            copy.run(line);
            copy.check();
        }
        copy.check_all();
        let image = copy.pool();
        assert!(Table::open_all(&**image.mos()).expect("tables").is_empty(), "{pool}");
        assert!(!image.features().is_active("fast_dedup"), "{pool}");
        assert_eq!(copy.ratio(), 100, "{pool}");
    }
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_changed_tables_are_clean_to_zdb() {
    for pool in POOLS {
        let copy = Copy::of(pool);
        for lines in CHANGES.chunks(3) {
            lines.iter().for_each(|line| drop(copy.run(line)));
            openzfs::assert_no_leaks(copy.dir.path(), pool);
        }
    }
    for (copy, _) in written() {
        openzfs::assert_no_leaks(copy.dir.path(), copy.pool);
    }
}

/// New pools with files that have blocks in common, each with the ratio that the tables must have.
fn written() -> Vec<(Copy, u64)> {
    let kinds =
        [("on", false), ("sha256,verify", true), ("blake3", true), ("edonr,verify", false), ("skein", true)];
    let fill = |(dedup, is_fast): (&str, bool)| {
        let copy = Copy::new("own", dedup, is_fast);
        let a = copy.file("a", &noise(1, 400_000));
        let twice = copy.file("twice", &[noise(2, 131_072), noise(2, 131_072), noise(1, 131_072)].concat());
        copy.does(&format!("put {a} P:/a"));
        copy.does(&format!("put {a} P:/b"));
        copy.does(&format!("put {twice} P:/twice"));
        // 4 blocks with 2 references, of which the first has a third one, and one with 2.
        (copy, 220)
    };
    kinds.into_iter().map(fill).collect()
}

/// Files with the same content share blocks, within a file and among files, until the last one is gone.
#[test]
fn blocks_that_are_alike_are_written_once() {
    for (copy, ratio) in written() {
        copy.check_all();
        assert!(copy.ratio().abs_diff(ratio) < 10, "{}", copy.ratio());
        assert_eq!(copy.does("cat P b"), noise(1, 400_000));
        copy.does("snapshot P@s");
        let stream = copy.does("send -c P@s");
        let other = Copy::new("other", "on", true);
        other.receives("P/received", &stream);
        other.check_all();
        assert!(other.ratio().abs_diff(ratio) < 10, "{}", other.ratio());
        assert_eq!(other.does("cat P/received b"), noise(1, 400_000));
        other.does("destroy -r P/received");
        other.check_all();
        assert!(Table::open_all(&**other.pool().mos()).expect("tables").is_empty());
    }
}

/// Blocks of an encrypted dataset are shared within the dataset, and those received raw stay as they are.
#[test]
fn encrypted_blocks_are_shared_within_their_dataset() {
    let copy = Copy::new("own", "on", true);
    copy.does("create -o encryption=on -o keyformat=passphrase P/secret");
    let a = copy.file("a", &noise(1, 300_000));
    copy.does(&format!("put {a} P/secret:/a"));
    copy.does(&format!("put {a} P/secret:/b"));
    copy.check();
    assert_eq!(copy.ratio(), 200);
    assert_eq!(copy.does("cat P/secret b"), noise(1, 300_000));
    copy.does(&format!("put {a} P:/plain"));
    assert!(copy.ratio() < 180, "{}", copy.ratio());
    copy.does("snapshot P/secret@s");
    copy.receives("P/again", &copy.does("send -w P/secret@s"));
    copy.check_all();
    assert_eq!(copy.does("cat P/again b"), noise(1, 300_000));
    copy.does("destroy -r P/secret");
    copy.check_all();
    assert_eq!(copy.does("cat P/again a"), noise(1, 300_000));
}

/// Counts that are too low, too high, or missing, are found.
#[test]
fn wrong_counts_are_found() {
    for (what, change, expected) in
        [("low", 1_u64.wrapping_neg(), "would lose the data"), ("high", 1, "never be freed")]
    {
        let copy = Copy::new("own", "sha256", false);
        let a = copy.file("a", &noise(1, 300_000));
        copy.does(&format!("put {a} P:/a"));
        copy.does(&format!("put {a} P:/b"));
        let mut writer = PoolWriter::open(&[copy.image()], &WriteOptions::default()).expect("a pool");
        let mos = writer.parts().mos;
        let object = Zap::open(&*mos, zstream_dmu::mos::DIRECTORY_OBJECT).expect("the directory");
        let object = object.lookup_u64("DDT-sha256-zap-duplicate").expect("a table").expect("an object");
        let object = zstream_dmu::ids::ObjectId(object);
        let entry =
            Zap::open(&*mos, object).expect("entries").entries().next().expect("one").expect("an entry");
        // A legacy entry without compression: 4 variants of 64 bytes, the references at 48.
        let stored = entry.value.bytes().expect("bytes").to_vec();
        let mut bytes = vec![0; 256];
        let zle = zstream_format::algorithm::CompressionType::ZLE;
        if stored[0] & 0x7f == zle.0 {
            zstream_format::compress::decompress(zle, &stored[1..], &mut bytes).expect("an entry");
        } else {
            bytes.copy_from_slice(&stored[1..]);
        }
        let count = u64::from_le_bytes(*bytes[64 + 48..].first_chunk().expect("a count"));
        bytes[64 + 48..64 + 56].copy_from_slice(&count.wrapping_add(change).to_le_bytes());
        let value = Value::from_bytes(&[&[0x82], &bytes[..]].concat());
        ZapMut::open(mos, object).expect("entries").update(entry.key, &value).expect("an update");
        writer.export(&mut |_, _| Ok(())).expect("an export");
        let outcome = copy.run("pool check");
        let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
        assert_eq!(outcome.code, 1, "{what}: {text}");
        assert!(text.contains(expected) && text.contains("own:/a"), "{what}: {text}");
        assert!(text.contains("DDT-sha256-zap-duplicate: the histogram is wrong"), "{what}: {text}");
    }
}
