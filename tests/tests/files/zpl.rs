//! Files read from the golden pools, against what Linux showed of the same snapshots.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zstream_dmu::error::Fault;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dsl::Dsl;
use zstream_tests::{golden, manifest, pools};
use zstream_zpl::node::FileType;
use zstream_zpl::{Filesystem, volume};

const POOLS: [&str; 5] = ["tank", "pmirror", "praidz1", "praidz2", "praidz3"];

fn open(paths: &[PathBuf]) -> Arc<Dsl> {
    pools::unlocked(paths).expect("a golden pool")
}

/// The snapshots that have a manifest, by the name of that.
fn recorded(dsl: &Arc<Dsl>) -> BTreeMap<String, String> {
    let manifests = golden::manifests();
    let mut found = BTreeMap::new();
    dsl.walk(&mut |dir| {
        for snapshot in dir.head()?.snapshots()? {
            let name = snapshot.name().replace(['/', '@'], "_");
            if manifests.contains(&name) {
                found.insert(name, snapshot.name().to_owned());
            }
        }
        Ok(())
    })
    .expect("the tree of datasets");
    found
}

fn compare(dsl: &Arc<Dsl>) -> usize {
    let recorded = recorded(dsl);
    for (name, snapshot) in &recorded {
        let set = dsl.dataset(snapshot).expect("a snapshot").objset().expect("its objects");
        golden::manifest(name).assert_same(&manifest::of(&*set), snapshot);
    }
    recorded.len()
}

/// Tree, types, modes, owners, sizes, times, links, targets, content and extended attributes.
#[test]
fn every_snapshot_is_as_its_manifest_says() {
    let count: usize = POOLS.iter().map(|name| compare(&open(&golden::pool(name)))).sum();
    assert_eq!(count, golden::manifests().len(), "snapshots with a manifest");
}

/// As many members as the redundancy allows are missing: files are put together from what is left.
#[test]
fn files_are_the_same_without_the_members_that_may_be_missing() {
    for (name, missing) in [("pmirror", 4), ("praidz1", 1), ("praidz2", 2), ("praidz3", 3)] {
        assert_eq!(compare(&open(&golden::pool(name)[missing..])), 1, "{name}");
    }
}

/// Device numbers, holes, and a path with the forms that are allowed.
#[test]
fn nodes_are_found_by_path() {
    let dsl = open(&golden::pool("tank"));
    let set = dsl.dataset("tank/fs@a").unwrap().objset().unwrap();
    let fs = Filesystem::open(&*set).unwrap();
    assert_eq!(fs.version(), 5);
    let null = fs.resolve(b"null").unwrap();
    assert_eq!((null.file_type(), null.device()), (Some(FileType::CharDevice), Some((1, 3))));
    let deep = fs.resolve(b"/dir/./deep//../deep/er/b").unwrap();
    assert_eq!(deep, fs.resolve(b"../dir/deep/er/b").unwrap());
    let error = |path: &[u8]| fs.resolve(path).unwrap_err().to_string();
    assert_eq!(error(b"dir/nothing"), "file dir/nothing not found");
    assert_eq!(error(b"dir/link/x"), "dir/link/x: the part before x is not a directory");
    let sparse = fs.content(&fs.resolve(b"sparse").unwrap()).unwrap();
    let ranges: Vec<_> = sparse.ranges().map(Result::unwrap).collect();
    let held: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    assert!(held < sparse.size() / 8 && ranges.len() == 2, "{ranges:?}");
}

/// A volume is its object's bytes up to its size.
#[test]
fn a_volume_is_one_object() {
    let dsl = open(&golden::pool("tank"));
    let set = dsl.dataset("tank/vol@s").unwrap().objset().unwrap();
    let content = volume::content(&*set).unwrap();
    assert_eq!(content.size(), 8 << 20);
    let mut start = vec![0; 10];
    assert_eq!(content.read(0, &mut start).unwrap(), 10);
    assert_eq!(start, b"1\n2\n3\n4\n5\n");
    assert!(Filesystem::open(&*set).unwrap_err().to_string().contains("expected a filesystem"));
    let fs = dsl.dataset("tank/fs@a").unwrap().objset().unwrap();
    assert!(volume::content(&*fs).unwrap_err().to_string().contains("expected a volume"));
}

/// Without its key nothing of an encrypted file system is shown, and the reason is said.
#[test]
fn an_encrypted_file_system_needs_its_key() {
    let image: &Path = &golden::image("tank.img");
    let pool = Pool::open(&[image.to_owned()], &OpenOptions::default()).unwrap();
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::default()).unwrap();
    let dataset = dsl.dataset("tank/e-aes-256-gcm@s").unwrap();
    match dataset.objset() {
        Err(error) => assert!(matches!(error.pool_fault(), Some(Fault::Encrypted { .. })), "{error}"),
        Ok(_) => {
            let set = dataset.objset_locked().unwrap();
            let error = Filesystem::open(&*set).expect_err("no access");
            assert!(matches!(error.pool_fault(), Some(Fault::Encrypted { .. })), "{error}");
        }
    }
}
