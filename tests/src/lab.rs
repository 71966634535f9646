//! Pools in files of one directory, changed as a user does it: with the program.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use zstream_format::ids::Guid;

use crate::golden::Outcome;
use crate::pools::PASSPHRASE;
use crate::program::zstream;
use crate::sending::Sending;
use crate::state::{self, State};

/// Pools, each in a file of its name.
pub struct Lab {
    dir: TempDir,
}

impl Lab {
    /// New pools of these names, of 256 MiB.
    #[must_use]
    pub fn new(pools: &[&str]) -> Self {
        let lab = Self { dir: tempfile::tempdir().expect("a directory") };
        for pool in pools {
            let path = lab.path(pool);
            let outcome = zstream(&["pool", "create", "--size", "256M", pool, &path], b"");
            assert_eq!(outcome.code, 0, "{}", String::from_utf8_lossy(&outcome.stderr));
        }
        lab
    }

    /// A copy of one of the pools, in another directory.
    ///
    /// # Panics
    /// It cannot be copied.
    #[must_use]
    pub fn copy(&self, pool: &str) -> Self {
        let copy = Self { dir: tempfile::tempdir().expect("a directory") };
        fs::copy(self.image(pool), copy.image(pool)).expect("a copy");
        copy
    }

    fn path(&self, pool: &str) -> String {
        self.image(pool).to_str().expect("UTF-8").to_owned()
    }

    /// The file of a pool.
    #[must_use]
    pub fn image(&self, pool: &str) -> PathBuf {
        self.dir.path().join(format!("{pool}.img"))
    }

    /// Runs the program on a pool with words that have no spaces. A first word `KEY` gives the passphrase of all golden data.
    pub fn run(&self, pool: &str, line: &str, input: &[u8]) -> Outcome {
        let (path, key) = (self.path(pool), self.path("key"));
        let mut words: Vec<&str> = vec!["-d", &path];
        let mut rest = line.split_whitespace().peekable();
        if rest.next_if_eq(&"KEY").is_some() {
            fs::write(&key, PASSPHRASE).expect("a file");
            words.extend(["--key-file", &key]);
        }
        zstream(&words.into_iter().chain(rest).collect::<Vec<_>>(), input)
    }

    /// Runs lines that succeed.
    ///
    /// # Panics
    /// A line fails.
    pub fn does(&self, pool: &str, lines: &[&str]) {
        for line in lines {
            let outcome = self.run(pool, line, b"");
            assert_eq!(outcome.code, 0, "{line}: {}", String::from_utf8_lossy(&outcome.stderr));
        }
    }

    /// Puts a file with this text into a dataset.
    ///
    /// # Panics
    /// It cannot be put.
    pub fn put(&self, pool: &str, dataset: &str, name: &str, text: &[u8]) {
        let file = self.dir.path().join(name);
        fs::write(&file, text).expect("a file");
        self.does(pool, &[&format!("put {} {dataset}:/", file.display())]);
        fs::remove_file(file).expect("the file");
    }

    /// The stream of `send WORDS`.
    ///
    /// # Panics
    /// Nothing is sent.
    #[must_use]
    pub fn send(&self, pool: &str, line: &str) -> Vec<u8> {
        let outcome = self.run(pool, &format!("send {line}"), b"");
        assert_eq!(outcome.code, 0, "send {line}: {}", String::from_utf8_lossy(&outcome.stderr));
        outcome.stdout
    }

    /// Receives, and gives what was printed.
    ///
    /// # Panics
    /// It is refused.
    pub fn recv(&self, pool: &str, line: &str, stream: &[u8]) -> String {
        let outcome = self.run(pool, &format!("recv {line}"), stream);
        assert_eq!(outcome.code, 0, "recv {line}: {}", String::from_utf8_lossy(&outcome.stderr));
        String::from_utf8(outcome.stdout).expect("text")
    }

    /// Receives, which is refused; gives the message.
    ///
    /// # Panics
    /// It is not refused.
    pub fn recv_fails(&self, pool: &str, line: &str, stream: &[u8]) -> String {
        let outcome = self.run(pool, &format!("recv {line}"), stream);
        assert_eq!(outcome.code, 1, "recv {line}");
        String::from_utf8(outcome.stderr).expect("text")
    }

    /// `get -Hp -o value,source`
    #[must_use]
    pub fn get(&self, pool: &str, property: &str, name: &str) -> String {
        let outcome = self.run(pool, &format!("get -Hp -o value,source {property} {name}"), b"");
        String::from_utf8(outcome.stdout).expect("text").trim_end().replace('\t', " ")
    }

    /// Names of all datasets and snapshots.
    #[must_use]
    pub fn names(&self, pool: &str) -> Vec<String> {
        let outcome = self.run(pool, "list -H -t filesystem,volume,snapshot -o name", b"");
        String::from_utf8(outcome.stdout).expect("text").lines().map(str::to_owned).collect()
    }

    /// The pool, to be read.
    #[must_use]
    pub fn reading(&self, pool: &str) -> Sending {
        Sending::open(&[self.image(pool)])
    }

    /// What is at and below a dataset; see [`state::tree`].
    #[must_use]
    pub fn tree(&self, top: &str) -> State {
        let pool = top.split('/').next().unwrap_or_default();
        state::tree(&self.reading(pool), top)
    }

    /// Every block of the pool is good, and what is allocated is what blocks take.
    ///
    /// # Panics
    /// It is not.
    pub fn check(&self, pool: &str) {
        let outcome = self.run(pool, "pool check", b"");
        let text = String::from_utf8_lossy(&[outcome.stdout, outcome.stderr].concat()).into_owned();
        assert_eq!(outcome.code, 0, "{text}");
    }
}

/// The contents of all snapshots of a pool by guid.
#[must_use]
pub fn contents(sending: &Sending) -> BTreeMap<Guid, (String, String)> {
    let mut found = BTreeMap::new();
    sending
        .dsl
        .walk(&mut |dir| {
            if dir.phys().head.is_none() {
                return Ok(());
            }
            for snapshot in dir.head()?.snapshots()? {
                let content = state::dataset_content(&snapshot);
                found.insert(snapshot.phys().guid, (snapshot.name().to_owned(), content));
            }
            Ok(())
        })
        .expect("a tree of datasets");
    found
}
