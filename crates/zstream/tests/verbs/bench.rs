//! A folder with pools and files, and verbs that are cancelled in the middle.

use std::fs;
use std::path::PathBuf;

use zstream::create::NewPool;
use zstream::list::{Selection, select};
use zstream::{
    Cancel, Control, Error, Event, Keys, NoKeys, PoolPlace, Put, PutOptions, SendRequest, Sender, snapshot,
};

/// Bytes of the large file: several pieces of all verbs.
pub(crate) const LARGE_BYTES: usize = 20 << 20;

pub(crate) struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(bench.path("src")).unwrap();
        fs::write(bench.path("src/large"), noise(LARGE_BYTES)).unwrap();
        fs::write(bench.path("src/small"), b"small\n").unwrap();
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A new pool in a file of the same name.
    pub(crate) fn pool(&self, name: &str, settings: &[&str], keys: &dyn Keys) -> PoolPlace {
        let mut new = NewPool::new(name, &[self.text(name)]).unwrap().with_file_size(128 << 20).unwrap();
        for setting in settings {
            new = new.set_on_root(setting).unwrap();
        }
        new.create("test", keys).unwrap()
    }

    /// A pool with the files of `src` and a snapshot of its root filesystem.
    pub(crate) fn filled(&self, name: &str) -> PoolPlace {
        let place = self.pool(name, &[], &NoKeys);
        let mut put = Put::open(&place, name, &PutOptions::default(), &NoKeys).unwrap();
        put.paths(b"/", &[self.path("src")], &mut Control::new()).unwrap();
        put.finish("test").unwrap();
        place.change(name, "test", |pool| snapshot(pool, &[format!("{name}@now")])).unwrap();
        place
    }

    /// The stream of `snapshot`.
    pub(crate) fn stream(&self, place: &PoolPlace, snapshot: &str) -> Vec<u8> {
        let open = place.open(None, &mut Control::new()).unwrap();
        let mut stream = Vec::new();
        let sender = Sender::new(&open, &SendRequest::new(snapshot), &mut Control::new()).unwrap();
        sender.send(&mut stream, &mut Control::new()).unwrap();
        stream
    }
}

/// Bytes that no compression makes shorter.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Runs a verb that is cancelled after its first bytes; gives what it ended with, and how many bytes it did.
pub(crate) fn cancelled<T>(verb: impl FnOnce(&mut Control<'_>) -> zstream::Result<T>) -> (Error, u64) {
    let cancel = Cancel::new();
    let mut done = 0;
    let mut control = Control::new().cancelled_by(&cancel).watched_by(|event| {
        if let Event::Bytes(bytes) = event
            && bytes > 0
        {
            done += bytes;
            cancel.cancel();
        }
    });
    let error = verb(&mut control).err().expect("it was cancelled");
    drop(control);
    assert!(done > 0, "it was cancelled before it began");
    (error, done)
}

pub(crate) fn names(place: &PoolPlace) -> Vec<String> {
    let open = place.open(None, &mut Control::new()).unwrap();
    let selection = Selection::of_get(&[], None, None);
    let found = select(&open, &selection, &NoKeys, &mut Control::new()).unwrap();
    found.iter().map(|props| props.name().to_owned()).collect()
}
