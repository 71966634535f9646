//! Pools of OpenZFS in directories of their own, where the program changes them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use zstream_dmu::pool::{OpenOptions, Pool, PoolWriter, WriteOptions};
use zstream_tests::golden::{self, Outcome};
use zstream_tests::pools::PASSPHRASE;
use zstream_tests::program::zstream;
use zstream_tests::writing::unreached;

/// A pool in a directory of its own, with the file of its key.
pub(crate) struct Copy {
    pub(crate) dir: TempDir,
    pub(crate) pool: &'static str,
    pub(crate) members: Vec<PathBuf>,
}

impl Copy {
    /// A copy of the pool in these images.
    pub(crate) fn of(pool: &'static str, images: &[PathBuf]) -> Self {
        let mut copy = Self::without_members(pool);
        copy.members = images.iter().map(|image| golden::copy(image, copy.dir.path())).collect();
        copy
    }

    /// A pool that is still to be made.
    pub(crate) fn without_members(pool: &'static str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("key"), PASSPHRASE).expect("a file");
        Self { dir, pool, members: Vec::new() }
    }

    /// Writes a file of these bytes, and returns its path.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// Runs words; `P` stands for the name of the pool.
    pub(crate) fn run(&self, line: &str) -> Outcome {
        self.given(line, &[])
    }

    /// Runs words with these bytes as standard input.
    pub(crate) fn given(&self, line: &str, stdin: &[u8]) -> Outcome {
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let mut words: Vec<String> =
            self.members.iter().flat_map(|path| ["-d".to_owned(), text(path)]).collect();
        words.extend(["--key-file".to_owned(), text(&self.dir.path().join("key"))]);
        words.extend(line.split_whitespace().map(|word| match word.strip_prefix('P') {
            Some(rest) => format!("{}{rest}", self.pool),
            None => word.to_owned(),
        }));
        zstream(&words.iter().map(String::as_str).collect::<Vec<_>>(), stdin)
    }

    pub(crate) fn does(&self, line: &str) -> Vec<u8> {
        let outcome = self.run(line);
        assert_eq!(outcome.code, 0, "{line}: {}", String::from_utf8_lossy(&outcome.stderr));
        outcome.stdout
    }

    /// Receives a stream; the words are those of `recv`.
    pub(crate) fn receives(&self, words: &str, stream: &[u8]) {
        let outcome = self.given(&format!("recv {words}"), stream);
        assert_eq!(outcome.code, 0, "{words}: {}", String::from_utf8_lossy(&outcome.stderr));
    }

    pub(crate) fn pool(&self) -> Pool {
        Pool::open(&self.members, &OpenOptions::default()).expect("a pool")
    }

    /// The report of a check, which finds nothing.
    pub(crate) fn report(&self) -> Json {
        serde_json::from_slice(&self.does("pool check --json")).expect("JSON")
    }

    /// Fails if a place is allocated that no block refers to.
    pub(crate) fn has_no_leaks(&self) {
        for (vdev, leaked) in unreached(&self.pool()) {
            assert!(leaked.is_empty(), "vdev {vdev}: {leaked:?}");
        }
    }

    /// Changes the pool below its datasets.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut PoolWriter)) {
        let mut pool = PoolWriter::open(&self.members, &WriteOptions::default()).expect("a pool");
        change(&mut pool);
        pool.export(&mut |_, _| Ok(())).expect("an export");
    }

    /// Compares files with a list of lines `SUM DATASET FILE`.
    pub(crate) fn has_sums(&self, list: &str) {
        for line in list.lines() {
            let [sum, dataset, file] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let content = self.does(&format!("cat P/{dataset} {file}"));
            let found: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, sum, "{line}");
        }
    }

    /// Compares the output of a send with a golden stream.
    pub(crate) fn sends(&self, words: &str, stream: &Path) {
        let expected = fs::read(stream).expect("a stream");
        assert!(self.does(&format!("send {words}")) == expected, "{}: {words}", self.pool);
    }
}
