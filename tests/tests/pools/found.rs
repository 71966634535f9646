//! Which pool is found: in directories with files of others, with hot spares and cache devices, with several pools of one name, and
//! with pools that were destroyed.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use zstream_dmu::device::FileDevice;
use zstream_dmu::vdev::label::{self, CONFIG_BYTES, CONFIG_OFFSET, LABELS, Labels};
use zstream_format::checksum::seal_embedded;
use zstream_format::nvlist::{NvList, NvValue, Packed};
use zstream_format::order::ByteOrder;
use zstream_tests::program::zstream;

fn run(words: &[&str]) -> (i32, String, String) {
    let outcome = zstream(words, b"");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (outcome.code, text(&outcome.stdout), text(&outcome.stderr))
}

fn done(words: &[&str]) -> String {
    let (code, out, error) = run(words);
    assert_eq!((code, error.as_str()), (0, ""), "{words:?}");
    out
}

fn create(pool: &str, path: &Path) {
    done(&["pool", "create", "--size", "64M", pool, path.to_str().unwrap()]);
}

/// Writes this list as all labels of a device.
fn write_labels(path: &Path, list: &NvList) {
    let packed = list.encode(Packed::xdr(ByteOrder::Little)).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    let len = file.metadata().unwrap().len();
    for number in 0..LABELS {
        let at = label::offset(len, number).unwrap() + CONFIG_OFFSET;
        let mut bytes = vec![0; CONFIG_BYTES];
        bytes[..packed.len()].copy_from_slice(&packed);
        seal_embedded(&mut bytes, label::verifier(at), ByteOrder::Little).unwrap();
        file.write_all_at(&bytes, at).unwrap();
    }
}

/// A device as OpenZFS labels a hot spare (3) or a cache device (4).
fn auxiliary(path: &Path, state: u64) {
    File::create(path).unwrap().set_len(64 << 20).unwrap();
    let mut list = NvList::new();
    list.add_u64("version", 5000).add_u64("state", state).add_u64("guid", 77 + state);
    list.add_u64("ashift", 12).add_string("path", path.to_str().unwrap());
    write_labels(path, &list);
}

/// A member that is given twice, or under several names, is one: the pool is read and changed.
#[test]
fn a_member_may_be_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (image, link) = (at("tank.img"), at("link"));
    create("tank", Path::new(&image));
    std::os::unix::fs::symlink(&image, &link).unwrap();
    let place = dir.path().to_str().unwrap();
    for (n, devices) in
        [[&*image, &image], [&image, &link], [place, place], [&link, place]].iter().enumerate()
    {
        let name = format!("tank/{n}");
        done(&["-d", devices[0], "-d", devices[1], "create", &name]);
        let names = done(&["-d", devices[0], devices[1], "list", "-H", "-o", "name", &name]);
        assert_eq!(names, format!("{name}\n"));
    }
}

#[test]
fn directories_may_have_files_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    create("tank", &at("tank.img"));
    auxiliary(&at("spare.img"), 3);
    auxiliary(&at("cache.img"), 4);
    fs::write(at("notes.txt"), "text").unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("noise"), vec![0x5a; 9 << 20]).unwrap();
    fs::create_dir(at("below")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
    let name = dir.path().to_str().unwrap();
    assert_eq!(done(&["-d", name, "list", "-H", "-o", "name"]), "tank\n");
    done(&["-d", name, "create", "tank/fs"]);
    done(&["-d", name, "snapshot", "tank/fs@s"]);
    assert!(done(&["-d", name, "pool", "show"]).contains("tank.img  ONLINE"));
    done(&["-d", name, "pool", "check"]);
    // Another pool is in nobody's way where the name says which one is meant.
    create("other", &at("other.img"));
    assert_eq!(done(&["-d", name, "list", "-H", "-o", "name", "tank"]), "tank\n");
    done(&["-d", name, "create", "other/fs"]);

    // Without a pool, what is there is named.
    for pool in ["tank.img", "other.img"] {
        fs::remove_file(at(pool)).unwrap();
    }
    let (code, _, error) = run(&["-d", name, "list"]);
    assert_eq!(code, 1);
    assert!(error.starts_with("zstream: no pool found: "), "{error}");
    for what in [("spare.img", "a hot spare"), ("cache.img", "a cache device")] {
        assert!(error.contains(&format!("{} is {}", at(what.0).display(), what.1)), "{error}");
    }
    let (code, _, error) = run(&["-d", at("cache.img").to_str().unwrap(), "create", "tank/fs"]);
    assert!(
        code == 1 && error.contains("no pool tank found: ") && error.contains("is a cache device"),
        "{error}"
    );
}

#[test]
fn of_pools_with_one_name_the_guid_selects_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut guids = Vec::new();
    for file in ["1.img", "2.img"] {
        let path = dir.path().join(file);
        create("tank", &path);
        let name = path.to_str().unwrap();
        done(&["-d", name, "create", &format!("tank/in-{}", &file[..1])]);
        guids.push(done(&["-d", name, "list", "-Hp", "-o", "guid", "tank"]));
        let shown = done(&["-d", name, "pool", "show"]);
        let guid = shown.lines().find_map(|line| line.strip_prefix("guid:")).unwrap().trim().to_owned();
        *guids.last_mut().unwrap() = guid;
    }
    let name = dir.path().to_str().unwrap();
    for words in [&["list"][..], &["list", "tank"], &["create", "tank/new"]] {
        let (code, _, error) = run(&[&["-d", name], words].concat());
        assert!(code == 1 && error.contains("contain several pools") && error.contains("--pool"), "{error}");
        assert!(guids.iter().all(|guid| error.contains(guid.as_str())), "{error}");
    }
    for (guid, n) in guids.iter().zip(["1", "2"]) {
        let before = ["-d", name, "--pool", guid];
        let with = |words: &[&str]| done(&[&before, words].concat());
        let dataset = format!("tank/in-{n}");
        assert_eq!(with(&["list", "-H", "-o", "name"]), format!("tank\n{dataset}\n"));
        with(&["snapshot", &format!("{dataset}@s")]);
        assert_eq!(with(&["list", "-H", "-o", "name", "-t", "snapshot"]), format!("{dataset}@s\n"));
        with(&["get", "guid", &dataset]);
        with(&["pool", "check"]);
        with(&["ls", &dataset]);
    }
    let (code, _, error) = run(&["-d", name, "--pool", "other", "list"]);
    assert!(code == 1 && error.contains("no pool other found, available: tank, tank"), "{error}");
    let (code, _, error) = run(&["-d", name, "--pool", &guids[0], "list", "other/fs"]);
    assert!(code == 1 && error.contains("other"), "{error}");
}

#[test]
fn a_destroyed_pool_is_read_and_comes_back_by_force() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tank.img");
    create("tank", &path);
    let name = path.to_str().unwrap();
    done(&["-d", name, "create", "tank/fs"]);
    // As `zpool destroy` of another host leaves it.
    let mut list = Labels::read(&FileDevice::open(&path).unwrap()).best(None).unwrap().list.clone();
    for pair in list.iter_mut() {
        match &*pair.name.to_string() {
            "state" => pair.value = NvValue::Uint64(2),
            "hostname" => pair.value = NvValue::String("(none)".into()),
            _ => {}
        }
    }
    list.set("hostid", NvValue::Uint64(0x1234));
    write_labels(&path, &list);
    assert_eq!(done(&["-d", name, "list", "-H", "-o", "name"]), "tank\ntank/fs\n");
    assert!(done(&["-d", name, "pool", "show"]).contains("state:    destroyed"));
    done(&["-d", name, "pool", "check"]);
    for words in [&["create", "tank/new"][..], &["pool", "export"]] {
        let (code, _, error) = run(&[&["-d", name], words].concat());
        assert!(
            code == 1 && error.contains("pool tank was destroyed") && error.contains("export -f tank"),
            "{error}"
        );
    }
    done(&["-d", name, "pool", "export", "-f", "tank"]);
    assert!(done(&["-d", name, "pool", "show"]).contains("state:    exported"));
    done(&["-d", name, "create", "tank/new"]);
    done(&["-d", name, "pool", "check"]);
}
