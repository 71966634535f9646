//! The golden pools, opened from their images: whole, with members missing, and with members damaged.

use std::fs::{self, OpenOptions as FileOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::error::Fault;
use zstream_dmu::ids::Bookmark;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::vdev::VdevState;
use zstream_dmu::zio::{BadCopy, Observer, ReadBlock};
use zstream_tests::golden;

const POOLS: [(&str, u64); 5] = [("tank", 0), ("pmirror", 4), ("praidz1", 1), ("praidz2", 2), ("praidz3", 3)];

fn open(paths: &[PathBuf]) -> Pool {
    Pool::open(paths, &OpenOptions::default()).expect("a golden pool")
}

#[test]
fn every_golden_pool_opens() {
    for (name, _) in POOLS {
        let pool = open(&golden::pool(name));
        assert_eq!((pool.name(), pool.version(), pool.health()), (name, 5000, VdevState::Online));
        assert!(pool.directory_object("root_dataset").unwrap().is_some());
    }
}
