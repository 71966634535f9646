//! Livelists that OpenZFS made, of clones that are there and of clones that it destroyed.

use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_tests::golden;
use zstream_tests::livelists::Livelists;
use zstream_tests::openzfs;
use zstream_tests::program::zstream;
use zstream_tests::writing::unreached;

/// The next change frees the blocks of clones that are gone; the list of the one that stays is kept, and goes with it.
fn change_clones(destroyed_by_list: bool, clean: impl Fn(&std::path::Path)) {
    let dir = tempfile::tempdir().expect("a directory");
    let image = golden::copy(&golden::kept_file("livelists.img"), dir.path());
    let run = |args: &[&str]| {
        let outcome = zstream(&[&["-d", image.to_str().expect("UTF-8")], args].concat(), &[]);
        let text = String::from_utf8_lossy(&[outcome.stdout, outcome.stderr].concat()).into_owned();
        assert_eq!(outcome.code, 0, "{args:?}: {text}");
        text
    };
    let open = || Pool::open(std::slice::from_ref(&image), &OpenOptions::default()).expect("the pool");
    let lists = || {
        let pool = open();
        (pool.features().count("livelist"), Livelists::of(&pool).expect("livelists"))
    };
    let one = || Livelists { count: 1, wrong: Vec::new() };
    let (before, found) = lists();
    assert!(before > 1 && found == one(), "{before} {found:?}");
    run(&["create", "livelists/other"]);
    assert_eq!(lists(), (1, one()));
    assert_eq!(run(&["pool", "get", "-Hpo", "value", "freeing", "livelists"]), "0\n");
    let report = run(&["pool", "check"]);
    assert!(!report.contains("waiting"), "{report}");
    for (vdev, leaked) in unreached(&open()) {
        assert!(leaked.bytes() <= 512 << 10, "vdev {vdev}: {leaked:?}, more than intent logs");
    }
    clean(dir.path());
    run(&["clone", "livelists/fs@s", "livelists/new"]);
    assert_eq!(lists().0, 2);
    match destroyed_by_list {
        true => drop(run(&["destroy", "livelists/stays"])),
        false => {
            // It shares less than three quarters with its origin.
            let file = dir.path().join("file");
            std::fs::write(&file, vec![7; 60_000]).expect("a file");
            run(&["put", file.to_str().expect("UTF-8"), "livelists/stays:/"]);
            assert_eq!(lists(), (1, one()));
            run(&["destroy", "livelists/stays"]);
        }
    }
    assert_eq!(lists(), (1, one()));
    run(&["destroy", "livelists/new"]);
    assert_eq!(lists(), (0, Livelists::default()));
    run(&["pool", "check"]);
    clean(dir.path());
}

#[test]
fn what_openzfs_left_of_destroyed_clones_is_freed() {
    change_clones(true, |_| ());
    change_clones(false, |_| ());
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_livelists_are_clean_to_zdb() {
    for destroyed_by_list in [true, false] {
        change_clones(destroyed_by_list, |dir| {
            openzfs::assert_no_leaks(dir, "livelists");
            openzfs::assert_no_lost_objects("zdb", dir, "livelists");
        });
    }
}
