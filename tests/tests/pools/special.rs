//! Special vdevs: metadata, and the blocks of files and volumes up to `special_small_blocks`.

use std::fs;
use std::path::PathBuf;

use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_format::object_type::ObjectType;
use zstream_tests::blocks::blocks;
use zstream_tests::openzfs;
use zstream_tests::program::zstream;
use zstream_tests::rng::Rng;

/// Vdevs of the pool.
const NORMAL: u32 = 0;
const SPECIAL: u32 = 1;
/// The size of each.
const VDEV_BYTES: u64 = 64 << 20;

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let this = Self(tempfile::tempdir().expect("a directory"));
        let [normal, special] = this.paths().map(|path| path.to_str().expect("UTF-8").to_owned());
        let words = ["pool", "create", "-f", "--size", "64M", "p", &normal, "special", &special];
        let outcome = zstream(&words, b"");
        assert_eq!(outcome.code, 0, "{}", String::from_utf8_lossy(&outcome.stderr));
        this
    }

    fn paths(&self) -> [PathBuf; 2] {
        ["normal.img", "special.img"].map(|name| self.0.path().join(name))
    }

    fn run(&self, line: &str, input: &[u8]) -> Vec<u8> {
        let place = self.0.path().to_str().expect("UTF-8");
        let words: Vec<&str> = ["-d", place].into_iter().chain(line.split(' ')).collect();
        let outcome = zstream(&words, input);
        assert_eq!(outcome.code, 0, "{line}: {}", String::from_utf8_lossy(&outcome.stderr));
        outcome.stdout
    }

    /// Puts a file that does not compress.
    fn put(&self, name: &str, bytes: usize, to: &str) {
        let mut rng = Rng(bytes as u64 | 1);
        let content: Vec<u8> = (0..bytes).map(|_| rng.below(256) as u8).collect();
        let path = self.0.path().join(name);
        fs::write(&path, content).expect("a file");
        self.run(&format!("put {} {to}", path.display()), b"");
        fs::remove_file(path).expect("the file");
    }

    /// Vdev and stored size of every block of data, after every other block was seen on the special vdev.
    fn data(&self) -> Vec<(u32, u64)> {
        let pool = Pool::open(&self.paths(), &OpenOptions::default()).expect("a pool");
        let mut data = Vec::new();
        for (block, at) in blocks(&pool) {
            let vdevs: Vec<u32> = block.dvas().map(|dva| dva.vdev()).collect();
            let is_data = [ObjectType::PLAIN_FILE_CONTENTS, ObjectType::ZVOL].contains(&block.object_type());
            if is_data && block.level() == 0 {
                data.push((vdevs[0], block.psize()));
            } else {
                assert!(vdevs.contains(&SPECIAL), "{at:?} is on {vdevs:?}");
            }
        }
        data
    }
}

#[test]
fn small_blocks_are_on_special_vdevs() {
    let bench = Bench::new();
    for line in [
        "create -o special_small_blocks=32K p/fs",
        "create p/none",
        "create -b 16K -V 4M -o special_small_blocks=16K p/vol",
    ] {
        bench.run(line, b"");
    }
    for (name, bytes, to) in [
        ("small", 20_000, "p/fs:/"),
        ("large", 3 << 17, "p/fs:/"),
        ("other", 20_000, "p/none:/"),
        ("image", 1 << 20, "p/vol"),
    ] {
        bench.put(name, bytes, to);
    }
    // A received filesystem has its own property, or inherits it.
    bench.run("snapshot p/fs@1", b"");
    let stream = bench.run("send -p p/fs@1", b"");
    bench.run("recv p/copy", &stream);
    let mut data = bench.data();
    data.sort_unstable();
    let (large, small) = (128 << 10, 20 << 10);
    let mut expected = vec![(NORMAL, small)];
    expected.extend([(NORMAL, large); 6]);
    expected.extend([(SPECIAL, 16 << 10); 64]);
    expected.extend([(SPECIAL, small); 2]);
    assert_eq!(
        data.iter().map(|(vdev, psize)| (*vdev, psize.next_multiple_of(4096))).collect::<Vec<_>>(),
        expected
    );
    bench.run("pool check", b"");
}

/// Data leaves a quarter of the special vdevs to metadata. The rest is written to normal ones.
#[test]
fn data_leaves_a_reserve_for_metadata() {
    let bench = Bench::new();
    bench.run("create -o recordsize=32K -o special_small_blocks=32K p/fs", b"");
    bench.put("file", 50 << 20, "p/fs:/");
    let data = bench.data();
    let of =
        |wanted| -> u64 { data.iter().filter(|(vdev, _)| *vdev == wanted).map(|(_, psize)| psize).sum() };
    let (special, normal) = (of(SPECIAL), of(NORMAL));
    assert!(special > VDEV_BYTES / 2 && special < VDEV_BYTES * 3 / 4, "{special} bytes");
    assert_eq!(special + normal, 50 << 20);
    bench.run("pool check", b"");
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_special_vdevs() {
    let bench = Bench::new();
    bench.run("create -o special_small_blocks=32K p/fs", b"");
    bench.put("small", 20_000, "p/fs:/");
    bench.put("large", 300_000, "p/fs:/");
    openzfs::assert_no_leaks(bench.0.path(), "p");
}
