//! Pools with deduplicated blocks: those of OpenZFS, changed until no table is left, and our own.

use std::fs;

use sha2::{Digest as _, Sha256};
use zstream_dmu::ddt::Table;
use zstream_dmu::space::{dedup_totals, wrong_dedup_histograms};
use zstream_dmu::zap::{Value, Zap, ZapMut};
use zstream_tests::golden;
use zstream_tests::openzfs;
use zstream_tests::program::zstream;

use crate::copies::Copy;

const POOLS: [&str; 2] = ["legacy", "fast"];

fn copy_of(pool: &'static str) -> Copy {
    Copy::of(pool, &[golden::dedup_file(&format!("{pool}.img"))])
}

/// A new pool, whose root has the property `dedup`.
fn new(pool: &'static str, dedup: &str, is_fast: bool) -> Copy {
    let mut copy = Copy::without_members(pool);
    let image = copy.dir.path().join(format!("{pool}.img"));
    fs::File::create(&image).and_then(|file| file.set_len(96 << 20)).expect("an image");
    let feature = format!("feature@fast_dedup={}", if is_fast { "enabled" } else { "disabled" });
    let path = image.to_str().expect("UTF-8");
    let words = ["pool", "create", "-o", "ashift=9", "-o", &feature, pool, path];
    let outcome = zstream(&words, &[]);
    assert_eq!(outcome.code, 0, "{}", String::from_utf8_lossy(&outcome.stderr));
    copy.members.push(image);
    copy.does(&format!("set dedup={dedup} P"));
    copy
}

/// Checks the pool, which finds nothing, and no wrong histogram.
fn check(copy: &Copy) {
    let report = copy.report();
    assert_eq!(report["references"]["wrong"].as_array().map_or(0, Vec::len), 0, "{report}");
    let pool = copy.pool();
    let wrong = wrong_dedup_histograms(&**pool.mos(), pool.vdevs().tops()).expect("histograms");
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Checks the pool, in which there is no intent log, and finds no lost place.
fn check_all(copy: &Copy) {
    check(copy);
    copy.has_no_leaks();
}

fn ratio_of(copy: &Copy) -> u64 {
    let pool = copy.pool();
    dedup_totals(&**pool.mos(), pool.vdevs().tops()).expect("tables").ratio_percent()
}

/// Bytes that do not repeat.
fn noise(seed: u8, len: usize) -> Vec<u8> {
    let blocks = (0_u32..).flat_map(|n| Sha256::digest([&[seed], &n.to_le_bytes()[..]].concat()));
    blocks.take(len).collect()
}

#[test]
fn pools_of_openzfs_are_as_it_shows_them() {
    for pool in POOLS {
        let copy = copy_of(pool);
        let text = |suffix: &str| {
            fs::read_to_string(golden::dedup_file(&format!("{pool}.{suffix}"))).expect("a golden file")
        };
        copy.has_sums(&text("sums"));
        for (words, name) in [
            ("-Lec P/fs@a", "fs-a"),
            ("-Lec P/fs@b", "fs-b"),
            ("-Lec -i @a P/fs@b", "fs-a-b"),
            ("-Lecw P/enc@a", "enc-a"),
        ] {
            copy.sends(words, &golden::dedup_file(&format!("{pool}-{name}.zfs")));
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
        check(&copy);
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
        let copy = copy_of(pool);
        for line in CHANGES.iter().chain(&["destroy -r P/last"]) {
            copy.run(line);
            check(&copy);
        }
        check_all(&copy);
        let image = copy.pool();
        assert!(Table::open_all(&**image.mos()).expect("tables").is_empty(), "{pool}");
        assert!(!image.features().is_active("fast_dedup"), "{pool}");
        assert_eq!(ratio_of(&copy), 100, "{pool}");
    }
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_changed_tables_are_clean_to_zdb() {
    for pool in POOLS {
        let copy = copy_of(pool);
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
        let copy = new("own", dedup, is_fast);
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
        check_all(&copy);
        assert!(ratio_of(&copy).abs_diff(ratio) < 10, "{}", ratio_of(&copy));
        assert_eq!(copy.does("cat P b"), noise(1, 400_000));
        copy.does("snapshot P@s");
        let stream = copy.does("send -c P@s");
        let other = new("other", "on", true);
        other.receives("P/received", &stream);
        check_all(&other);
        assert!(ratio_of(&other).abs_diff(ratio) < 10, "{}", ratio_of(&other));
        assert_eq!(other.does("cat P/received b"), noise(1, 400_000));
        other.does("destroy -r P/received");
        check_all(&other);
        assert!(Table::open_all(&**other.pool().mos()).expect("tables").is_empty());
    }
}

/// Blocks of an encrypted dataset are shared within the dataset, and those received raw stay as they are.
#[test]
fn encrypted_blocks_are_shared_within_their_dataset() {
    let copy = new("own", "on", true);
    copy.does("create -o encryption=on -o keyformat=passphrase P/secret");
    let a = copy.file("a", &noise(1, 300_000));
    copy.does(&format!("put {a} P/secret:/a"));
    copy.does(&format!("put {a} P/secret:/b"));
    check(&copy);
    assert_eq!(ratio_of(&copy), 200);
    assert_eq!(copy.does("cat P/secret b"), noise(1, 300_000));
    copy.does(&format!("put {a} P:/plain"));
    assert!(ratio_of(&copy) < 180, "{}", ratio_of(&copy));
    copy.does("snapshot P/secret@s");
    copy.receives("P/again", &copy.does("send -w P/secret@s"));
    check_all(&copy);
    assert_eq!(copy.does("cat P/again b"), noise(1, 300_000));
    copy.does("destroy -r P/secret");
    check_all(&copy);
    assert_eq!(copy.does("cat P/again a"), noise(1, 300_000));
}

/// Counts that are too low, too high, or missing, are found.
#[test]
fn wrong_counts_are_found() {
    for (what, change, expected) in
        [("low", 1_u64.wrapping_neg(), "would lose the data"), ("high", 1, "never be freed")]
    {
        let copy = new("own", "sha256", false);
        let a = copy.file("a", &noise(1, 300_000));
        copy.does(&format!("put {a} P:/a"));
        copy.does(&format!("put {a} P:/b"));
        copy.edit(|writer| {
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
        });
        let outcome = copy.run("pool check");
        let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
        assert_eq!(outcome.code, 1, "{what}: {text}");
        assert!(text.contains(expected) && text.contains("own:/a"), "{what}: {text}");
        assert!(text.contains("DDT-sha256-zap-duplicate: the histogram is wrong"), "{what}: {text}");
    }
}
