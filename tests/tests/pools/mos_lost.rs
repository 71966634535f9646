//! A pool of which all copies of one object of the MOS are lost, each in turn: what does not need it is read.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zstream_dmu::blkptr::{BlockKind, BlockPointer};
use zstream_dmu::block::ReadBlock;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::pool::{OpenOptions as PoolOptions, Pool};
use zstream_dmu::traverse::{Options, Traverse, VisitKind};
use zstream_dmu::vdev::LEAF_DATA_START;
use zstream_tests::golden::Outcome;
use zstream_tests::program::zstream;

fn run(image: &Path, options: &[&str], line: &str) -> Outcome {
    let out = tempfile::tempdir().expect("a directory");
    let out = out.path().to_str().expect("UTF-8").to_owned();
    let words = line.split(' ').map(|word| if word == "OUT" { out.as_str() } else { word });
    let place = ["-d", image.to_str().expect("UTF-8")];
    zstream(&place.into_iter().chain(options.iter().copied()).chain(words).collect::<Vec<_>>(), b"")
}

fn pool(dir: &Path) -> PathBuf {
    let image = dir.join("a.img");
    let path = image.to_str().expect("UTF-8");
    let created = zstream(&["pool", "create", "--size", "64M", "tank", path], b"");
    assert_eq!(created.code, 0);
    std::fs::create_dir(dir.join("source")).expect("a directory");
    for n in 0..5 {
        std::fs::write(dir.join(format!("source/f{n}")), vec![n; 50_000]).expect("room");
    }
    let source = format!("{}/", dir.join("source").display());
    for line in [
        "create tank/home",
        &format!("put {source} tank/home:/"),
        "snapshot tank/home@mon",
        "create -o compression=off tank/home/below",
        "create tank/other",
        "snapshot tank/other@x",
        "clone tank/other@x tank/clone",
        "bookmark tank/home@mon tank/home#mark",
        "hold keep tank/home@mon",
        "set org:note=hello tank/home",
    ] {
        let outcome = run(&image, &[], line);
        assert_eq!(outcome.code, 0, "{line}: {}", String::from_utf8_lossy(&outcome.stderr));
    }
    image
}

/// The blocks of each object of the MOS.
fn objects(pool: &Pool) -> BTreeMap<ObjectId, Vec<BlockPointer>> {
    let mut objects: BTreeMap<ObjectId, Vec<BlockPointer>> = BTreeMap::new();
    let blocks = Arc::clone(pool.reader()) as Arc<dyn ReadBlock>;
    for visit in Traverse::new(blocks, 0, pool.uberblock().root, Options::default()) {
        let visit = visit.expect("an intact pool");
        if visit.kind == VisitKind::Block
            && visit.pointer.kind() == BlockKind::Normal
            && visit.at.object.0 != 0
        {
            objects.entry(visit.at.object).or_default().push(visit.pointer);
        }
    }
    objects
}

/// The name that a snapshot has, by its guid, in the list of all datasets.
fn name_of(image: &Path, options: &[&str], guid: &str) -> Option<String> {
    let outcome = run(image, options, "list -H -o guid,name -t all");
    let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
    let mut lines = text.lines().filter_map(|line| line.split_once('\t'));
    lines.find(|(found, _)| *found == guid).map(|(_, name)| name.to_owned())
}

/// Overwrites the starts of blocks. Returns what was there.
fn overwrite(file: &File, places: &[u64]) -> Vec<[u8; 512]> {
    let one = |at: &u64| {
        let mut bytes = [0; 512];
        file.read_exact_at(&mut bytes, *at).expect("a block");
        file.write_all_at(&[0x5a; 512], *at).expect("room");
        bytes
    };
    places.iter().map(one).collect()
}

#[test]
fn what_does_not_need_an_object_is_read_without_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = pool(dir.path());
    let pool = Pool::open(std::slice::from_ref(&image), &PoolOptions::default()).expect("the pool");
    let guid = run(&image, &[], "list -H -o guid -t snapshot tank/home@mon").stdout;
    let guid = String::from_utf8(guid).expect("a number").trim().to_owned();
    assert_eq!(name_of(&image, &[], &guid).as_deref(), Some("tank/home@mon"));
    let sent = run(&image, &[], "send tank/home@mon").stdout;
    let file = OpenOptions::new().read(true).write(true).open(&image).expect("the pool");
    let (mut lost_names, mut needed) = (Vec::new(), 0);
    for (object, pointers) in objects(&pool) {
        let dvas = pointers.iter().flat_map(BlockPointer::dvas);
        let places: Vec<u64> = dvas.map(|dva| LEAF_DATA_START + dva.offset()).collect();
        let kept = overwrite(&file, &places);
        needed += usize::from(run(&image, &[], "send tank/home@mon").code != 0);
        let name =
            name_of(&image, &["--rescue"], &guid).unwrap_or_else(|| panic!("object {object}: no snapshot"));
        let extracted = run(&image, &["--rescue"], &format!("extract {name} -C OUT"));
        assert_eq!(extracted.code, 0, "object {object}: {}", String::from_utf8_lossy(&extracted.stderr));
        let again = run(&image, &["--rescue"], &format!("send {name}"));
        assert_eq!(again.code, 0, "object {object}: {}", String::from_utf8_lossy(&again.stderr));
        if name == "tank/home@mon" {
            // Without the features of the pool, the flags of a stream are unknown.
            assert_eq!(again.stdout.len(), sent.len(), "object {object}");
        } else {
            lost_names.push(name);
        }
        for options in [&[][..], &["--rescue"]] {
            let check = run(&image, options, "pool check");
            assert_eq!(check.code, 1, "object {object}: nothing was found");
        }
        places.iter().zip(&kept).for_each(|(at, bytes)| file.write_all_at(bytes, *at).expect("room"));
    }
    assert!(needed >= 6, "{needed} objects are needed without --rescue");
    lost_names.sort();
    let of_number = |name: &&String| {
        let number = name.split("object-").nth(1).unwrap_or_default();
        number.split('@').next().is_some_and(|number| number.parse::<u64>().is_ok())
    };
    assert!(
        !lost_names.is_empty() && lost_names.iter().filter(of_number).count() == lost_names.len(),
        "{lost_names:?}"
    );
    assert_eq!(run(&image, &[], "pool check").code, 0, "everything was put back");
}
