//! Searches in memory and in folders, and the choice of a pool.

use std::fs;

use zstream_format::checksum::seal_embedded;
use zstream_format::nvlist::{NvList, Packed};
use zstream_format::order::ByteOrder;

use super::*;
use crate::device::{Files, Memory, MemoryDevice, Window};
use crate::vdev::label::{self, CONFIG_BYTES, CONFIG_OFFSET, LABELS};

/// Writes the labels of a pool with one device.
fn label(device: &dyn Device, pool: &str, guid: u64, state: u64) {
    let mut tree = NvList::new();
    tree.add_string("type", "disk").add_u64("id", 0).add_u64("guid", guid + 1).add_u64("ashift", 12);
    let mut list = NvList::new();
    list.add_u64("version", 5000).add_string("name", pool).add_u64("state", state).add_u64("txg", 4);
    list.add_u64("pool_guid", guid).add_u64("guid", guid + 1).add_list("vdev_tree", tree);
    let packed = list.encode(Packed::xdr(ByteOrder::Little)).unwrap();
    for number in 0..LABELS {
        let at = label::offset(device.len(), number).unwrap() + CONFIG_OFFSET;
        let mut bytes = vec![0; CONFIG_BYTES];
        bytes[..packed.len()].copy_from_slice(&packed);
        seal_embedded(&mut bytes, label::verifier(at), ByteOrder::Little).unwrap();
        device.write_at(at, &bytes).unwrap();
    }
}

fn named(name: &str, device: MemoryDevice) -> Member {
    Member { name: name.to_owned(), device: Arc::new(device) }
}

fn pool(name: &str, guid: u64, state: u64) -> Candidate {
    let device = MemoryDevice::new(9 << 20);
    label(&device, name, guid, state);
    examine(named(name, device)).unwrap()
}

#[test]
fn the_partition_with_labels_is_the_member() {
    for sector in [512, 4096] {
        let disk: Arc<dyn Device> = Arc::new(crate::gpt::tests::disk(sector, 50 + (10 << 20) / sector));
        let window = Window::new(Arc::clone(&disk), 50 * sector, (10 << 20) + sector).unwrap();
        label(&window, "tank", 100, 1);
        let found = examine(Member { name: "sda".to_owned(), device: disk }).unwrap();
        assert_eq!(found.member.name, "sda (partition 3)");
        assert_eq!(found.member.device.len(), (10 << 20) + sector);
        assert_eq!(found.config().unwrap().name, "tank");
    }
}

#[test]
fn what_is_no_member_is_refused_with_the_reason() {
    let message = |device| examine(named("sda", device)).unwrap_err().to_string();
    assert_eq!(
        message(MemoryDevice::new(100)),
        "not a member of a pool: device has 100 bytes, too few for a member of a pool"
    );
    assert!(message(MemoryDevice::new(9 << 20)).contains("embedded checksum is missing"));
    let disk = crate::gpt::tests::disk(512, 20_000);
    assert!(message(disk).contains("none of its 3 partitions either"));
}

#[test]
fn one_pool_is_chosen_by_name_or_guid_and_destroyed_ones_last() {
    let all = || vec![pool("a", 100, 0), pool("b", 200, 1), pool("b", 300, 2)];
    let guid = |chosen: Result<Vec<Candidate>>| chosen.unwrap()[0].config().unwrap().pool_guid.0;
    assert_eq!(
        choose(all(), None).unwrap_err().to_string(),
        "the devices contain several pools: a (100), b (200); select one by its name or guid (--pool)"
    );
    assert_eq!(guid(choose(all(), Some("a"))), 100);
    assert_eq!(guid(choose(all(), Some("b"))), 200);
    assert_eq!(guid(choose(all(), Some("300"))), 300);
    assert_eq!(guid(choose(vec![pool("b", 300, 2)], None)), 300);
    assert_eq!(choose(all(), Some("c")).unwrap_err().to_string(), "no pool c found, available: a, b, b");
    assert_eq!(choose(Vec::new(), None).unwrap_err().to_string(), "no pool found");
}

#[test]
fn a_directory_is_searched_and_a_named_file_must_be_a_member() {
    let directory = tempfile::tempdir().unwrap();
    let device = MemoryDevice::new(9 << 20);
    label(&device, "tank", 100, 1);
    let path = directory.path().join("member");
    fs::write(&path, device.to_vec()).unwrap();
    fs::write(directory.path().join("other"), "text").unwrap();
    fs::create_dir(directory.path().join("below")).unwrap();
    let scan = |paths: &[PathBuf]| scan(&Files, paths);
    let found = scan(&[directory.path().to_owned()]).unwrap();
    assert_eq!((found.candidates.len(), found.skipped.len()), (1, 0));
    assert_eq!(
        scan(std::slice::from_ref(&path)).unwrap().candidates[0].member.name,
        path.display().to_string()
    );
    assert!(scan(&[directory.path().join("other")]).unwrap_err().to_string().contains("too few"));
    assert!(scan(&[directory.path().join("nothing")]).is_err());
}

#[test]
fn a_device_with_several_names_is_one_member() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let device = MemoryDevice::new(9 << 20);
    label(&device, "tank", 100, 1);
    fs::write(at("a"), device.to_vec()).unwrap();
    fs::create_dir(at("below")).unwrap();
    std::os::unix::fs::symlink(at("a"), at("below/link")).unwrap();
    fs::hard_link(at("a"), at("below/other")).unwrap();
    let found = scan(&Files, &[at("a"), at("a"), at("below/link"), at("below")]).unwrap().candidates;
    assert_eq!(found.len(), 1);
    assert!(reopen_writable(&Files, &found).is_ok());
    // A copy is another device.
    fs::copy(at("a"), at("copy")).unwrap();
    assert_eq!(scan(&Files, &[directory.path().to_owned()]).unwrap().candidates.len(), 2);
}

#[test]
fn memory_is_searched_as_a_directory_and_reopened_by_one_writer() {
    let memory = Memory::new();
    for (name, bytes) in [("shelf/a", 9 << 20), ("shelf/b", 100), ("shelf/below/c", 9 << 20)] {
        let device = Arc::new(MemoryDevice::new(bytes));
        if bytes > 100 {
            label(&*device, "tank", 100, 1);
        }
        memory.insert(name, device);
    }
    let found = scan(&memory, &["shelf".into()]).unwrap().candidates;
    assert_eq!(found.iter().map(|found| found.member.name.as_str()).collect::<Vec<_>>(), ["shelf/a"]);
    let first = reopen_writable(&memory, &found).unwrap();
    first[0].member.device.write_at(0, b"x").unwrap();
    assert!(found[0].member.device.write_at(0, b"x").is_err(), "it was opened to be read");
    let refused = reopen_writable(&memory, &found).unwrap_err().to_string();
    assert!(refused.contains("shelf/a") && refused.contains("another program has it open"), "{refused}");
    drop(first);
    assert!(reopen_writable(&memory, &found).is_ok());
    assert!(scan(&memory, &["shelf/b".into()]).unwrap_err().to_string().contains("too few"));
    assert!(scan(&memory, &["elsewhere".into()]).unwrap_err().to_string().contains("in memory"));
    let given = pool("tank", 100, 1);
    let refused = reopen_writable(&memory, &[given]).unwrap_err().to_string();
    assert!(refused.contains("not opened by a path"), "{refused}");
}
