//! Pools that are created here: OpenZFS finds nothing wrong with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use zstream_dmu::device::FileDevice;
use zstream_dmu::host::Host;
use zstream_dmu::objset::writer::SetProperties;
use zstream_dmu::pool::create::{NewMember, NewPool};
use zstream_dmu::pool::history::Event;
use zstream_dmu::pool::maintained::FeatureSet;
use zstream_dmu::pool::spec::parse_vdevs;
use zstream_dmu::pool::writer::WriteOptions;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::random::Random;
use zstream_dmu::vdev::config::PoolState;
use zstream_dsl::write::WritablePool;
use zstream_format::object_type::ObjsetType;

const MEMBER_BYTES: u64 = 64 << 20;

fn new_pool(dir: &Path, name: &str, words: &str, ashift: u8) -> NewPool {
    let words: Vec<&str> = words.split_whitespace().collect();
    let open = |path: String| {
        let path = dir.join(path);
        let device = FileDevice::create(&path, MEMBER_BYTES, true).expect("room");
        Ok(NewMember { path: path.display().to_string(), is_disk: false, device: Arc::new(device) })
    };
    let tops = parse_vdevs(&words).expect("vdevs").into_iter();
    NewPool {
        name: name.to_owned(),
        tops: tops.map(|top| top.try_map(open)).collect::<Result<_, _>>().expect("members"),
        ashift,
        features: FeatureSet::default(),
        properties: Vec::new(),
        comment: None,
        compatibility: None,
        host: Host { id: 0, name: "test".to_owned() },
        now: Some(1_800_000_000),
        random: Random::from_seed(7),
    }
}

/// Creates a pool whose root dataset is an empty filesystem.
fn create(new: NewPool) {
    let command = format!("zstream pool create {}", new.name);
    let (mut pool, first) = WritablePool::create(new, Some(7)).expect("a pool");
    let mut set =
        pool.create_set(first.root, ObjsetType::ZFS, SetProperties::default()).expect("an object set");
    pool.sync(first.root, &mut set).expect("a synced set");
    pool.log(Event::Command(&command)).expect("a history");
    pool.export().expect("a commit");
}

/// What OpenZFS says of the pool in `dir`.
fn zdb(dir: &Path, options: &[&str], name: &str) -> (bool, String) {
    let run = Command::new("zdb").arg("-e").arg("-p").arg(dir).args(options).arg(name).output().expect("zdb");
    let text = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    (run.status.success(), text)
}

fn members(dir: &Path) -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> =
        fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    list.sort();
    list
}

#[test]
fn interop_a_new_pool_is_clean_to_zdb() {
    for (words, ashift) in [
        ("a", 12),
        ("a", 9),
        ("mirror a b", 12),
        ("raidz a b c", 9),
        ("raidz3 a b c d e", 12),
        ("a mirror b c raidz2 d e f special g", 12),
        ("a log b", 13),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        create(new_pool(dir.path(), "demo", words, ashift));
        let (ok, text) = zdb(dir.path(), &["-bcc"], "demo");
        assert!(ok && text.contains("No leaks"), "{words}: {text}");
        let (ok, text) = zdb(dir.path(), &["-d"], "demo");
        assert!(ok, "{words}: {text}");
        let pool = Pool::open(&members(dir.path()), &OpenOptions::default()).expect("our own pool");
        assert_eq!((pool.name(), pool.state(), pool.txg().0), ("demo", PoolState::Exported, 4));
    }
}
