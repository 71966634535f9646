//! Pools in object storage: the whole way from a new pool to its restored files, by the library in memory and by the
//! program in a local directory.

use std::path::Path;
use std::sync::Arc;

use zstream::check::check_pool;
use zstream::create::NewPool;
use zstream::{Control, NoKeys, PoolPlace, ReceiveRequest, Receiver, destroy};
use zstream_dmu::device::{Mode, OpenDevice as _};
use zstream_dmu::pool::WriteOptions;
use zstream_dsl::write::{Reach, WritablePool};
use zstream_object::Places;
use zstream_object::object_store::memory::InMemory;
use zstream_tests::program::zstream;
use zstream_tests::{golden, manifest, openzfs};

const URL: &str = "memory://bucket/backup";

fn receive(place: &PoolPlace, name: &str, stream: &str) {
    let receiver = Receiver::open(place, ReceiveRequest::new(name), &NoKeys).unwrap();
    receiver.receive(&golden::stream(stream)[..], "test", &mut Control::new()).unwrap();
}

/// Golden streams are received into a bucket, and everything that a file-backed pool can do is done with it.
#[test]
fn a_pool_lives_in_a_bucket() {
    let opener = Arc::new(Places::new());
    let store = Arc::new(InMemory::new());
    opener.insert(URL, Arc::clone(&store) as _).unwrap();
    let new = NewPool::new("tank", &[URL]).unwrap().with_file_size(1 << 40).unwrap();
    new.through(Arc::clone(&opener) as _).create("test", &NoKeys).unwrap();
    let at = |opener: &Arc<Places>| PoolPlace::new([URL]).through(Arc::clone(opener) as _);
    let place = at(&opener);
    receive(&place, "tank/fs", "fs-full");
    receive(&place, "tank/fs", "fs-incr");
    let assert_same = |place: &PoolPlace, snapshot: &str| {
        let open = place.open(None, &mut Control::new()).unwrap();
        let set = open.dsl.dataset(&format!("tank/fs@{snapshot}")).unwrap().objset().unwrap();
        golden::manifest(&format!("tank_fs_{snapshot}")).assert_same(&manifest::of(&*set), snapshot);
        let check = check_pool(&open, &NoKeys, &mut Control::new()).unwrap();
        assert!(check.is_clean(), "{check:?}");
    };
    ["a", "b"].into_iter().for_each(|snapshot| assert_same(&place, snapshot));
    // Another process, without anything in memory.
    let fresh = Arc::new(Places::new());
    fresh.insert(URL, store).unwrap();
    ["a", "b"].into_iter().for_each(|snapshot| assert_same(&at(&fresh), snapshot));
    let options = WriteOptions::default;
    let mut pool = at(&fresh).open_writable(Some("tank"), options(), None).unwrap();
    destroy(&mut pool, "tank/fs@a", Reach::default(), false).unwrap();
    pool.export().unwrap();
    assert_same(&place, "b");
    let open = place.open(None, &mut Control::new()).unwrap();
    assert!(open.dsl.dataset("tank/fs@a").is_err());
    // Of two programs that change the pool at once, the second one fails, and changes nothing.
    let mut first = place.open_writable(Some("tank"), options(), None).unwrap();
    let mut second = at(&fresh).open_writable(Some("tank"), options(), None).unwrap();
    destroy(&mut second, "tank/fs", Reach { recursive: true, ..Reach::default() }, false).unwrap();
    receive_into(&mut first);
    first.export().unwrap();
    let error = second.export().unwrap_err().to_string();
    assert!(error.contains("another writer has committed generation"), "{error}");
    assert_same(&place, "b");
    opener.remove(Path::new(URL)).unwrap();
    assert!(opener.open(Path::new(URL), Mode::Read).is_err());
}

fn receive_into(pool: &mut WritablePool) {
    destroy(pool, "tank/fs@a", Reach::default(), false).unwrap_err();
    zstream::create::NewDataset::filesystem("tank/new").create(pool, &NoKeys).unwrap();
}

/// What the program does, and that it leaves a pool that OpenZFS reads once it is an image.
fn with_the_program(image: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}/a/pool", directory.path().display());
    let run = |words: &[&str], input: &[u8]| {
        let outcome = zstream(words, input);
        assert_eq!(outcome.code, 0, "{words:?}: {}", String::from_utf8_lossy(&outcome.stderr));
        String::from_utf8(outcome.stdout).unwrap()
    };
    let on = |words: &[&str]| run(&[&["-d", &url], words].concat(), b"");
    run(&["pool", "create", "--size", "1G", "--chunk", "1M", "tank", &url], b"");
    run(&["-d", &url, "recv", "tank/fs"], &golden::stream("fs-full"));
    run(&["-d", &url, "recv", "tank/fs"], &golden::stream("fs-incr"));
    assert!(on(&["list", "-t", "all"]).contains("tank/fs@b"));
    assert!(on(&["pool", "check"]).starts_with("tank: checked"));
    assert!(on(&["ls", "tank/fs@b"]).lines().count() > 3);
    let sent = zstream(&["-d", &url, "send", "-i", "@a", "tank/fs@b"], b"").stdout;
    assert!(sent.len() > 10_000);
    run(&["verify", "-"], &sent);
    let generations = on(&["pool", "generations"]);
    let before = generations.lines().nth(1).unwrap().split_whitespace().next().unwrap();
    on(&["destroy", "tank/fs@a"]);
    assert!(!on(&["list", "-t", "all"]).contains("tank/fs@a"));
    assert!(on(&["--generation", before, "list", "-t", "all"]).contains("tank/fs@a"));
    let refused = zstream(&["-d", &url, "--generation", before, "snapshot", "tank@x"], b"");
    assert_eq!(refused.code, 2);
    assert!(on(&["pool", "gc", "--dry-run", "--grace", "0"]).contains("would delete 0 of"));
    assert!(on(&["pool", "gc"]).contains("deleted 0 of"));
    let outcome = zstream(&["pool", "create", "tank", &url], b"");
    assert_eq!(outcome.code, 1);
    // The image is what the device reads, whole.
    let device = Places::new().open(Path::new(&url), Mode::Read).unwrap();
    let file = std::fs::File::create(image).unwrap();
    file.set_len(device.len()).unwrap();
    let mut bytes = vec![0; 1 << 20];
    for at in (0..device.len()).step_by(1 << 20) {
        device.read_at(at, &mut bytes).unwrap();
        if bytes.iter().any(|byte| *byte != 0) {
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes, at).unwrap();
        }
    }
    let path = image.to_str().unwrap();
    assert!(run(&["-d", path, "pool", "check"], b"").starts_with("tank: checked"));
}

#[test]
fn a_directory_is_a_pool_for_the_program() {
    let directory = tempfile::tempdir().unwrap();
    with_the_program(&directory.path().join("image"));
}

#[test]
#[ignore = "needs OpenZFS"]
fn interop_zdb_accepts_the_image_of_a_bucket() {
    let directory = tempfile::tempdir().unwrap();
    with_the_program(&directory.path().join("image"));
    openzfs::assert_no_leaks(directory.path(), "tank");
}
