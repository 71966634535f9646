//! Images of pools whose structures lead back to themselves: directories, ZAPs, lists of blocks, snapshots, clones, directories of
//! datasets, and indirect blocks. Their checksums are right, so that nothing but a rule or a limit ends a walk.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use zstream_dmu::blkptr::{BLOCK_POINTER_BYTES, BlockPointer};
use zstream_dmu::device::{Device, MemoryDevice};
use zstream_dmu::ids::{BlockId, Bookmark, ObjectId};
use zstream_dmu::pool::Pool;
use zstream_dmu::vdev::LEAF_DATA_START;
use zstream_dmu::zap::Zap;
use zstream_dsl::Dsl;
use zstream_dsl::scrub::Lines;
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use crate::blocks::blocks;
use crate::created::open;
use crate::fuzz::targets::unsealed_image;

const LE: ByteOrder = ByteOrder::Little;
const SLOT_BYTES: u64 = 512;
const SLOTS: u64 = 32;
/// Where the bonus of a dnode with one pointer begins, and where its pointers do.
const POINTERS: u64 = 64;
/// Where fields are in a dataset (`dsl_dataset_phys_t`) and a directory (`dsl_dir_phys_t`).
const DATASET_PREVIOUS: u64 = 8;
const DATASET_NEXT: u64 = 24;
const DIR_PARENT: u64 = 16;
const DIR_ORIGIN: u64 = 24;
/// Where a list of blocks has the object with the lists below it, and their number (`bpobj_phys_t`).
const LIST_BELOW: u64 = 32;
/// A micro ZAP: its type, where its entries begin, and how long each is.
const MICRO: u64 = 1 << 63 | 3;
const MICRO_ENTRY_BYTES: usize = 64;
/// The types of the blocks of a fat ZAP.
const FAT_HEADER: u64 = 1 << 63 | 1;
const FAT_LEAF: u64 = 1 << 63;
/// A leaf of a fat ZAP: its header and the bytes of a chunk.
const LEAF_HEADER_BYTES: usize = 48;
const LEAF_CHUNK_BYTES: usize = 24;
const LEAF_ENTRY: u8 = 252;
const LEAF_ARRAY: u8 = 251;

/// A pool that can be changed.
#[derive(Clone)]
pub struct Image {
    /// What leads to itself.
    pub name: String,
    /// The member.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({})", self.name)
    }
}

/// The intact pool, and where its blocks are.
struct Origin {
    pool: Pool,
    blocks: Vec<(BlockPointer, Bookmark)>,
    by_place: HashMap<(u64, u64, i8, u64), usize>,
    dsl: Arc<Dsl>,
    names: BTreeMap<String, ObjectId>,
}

/// Changes to the image.
struct Change<'a> {
    origin: &'a Origin,
    bytes: Vec<u8>,
    count: usize,
}

/// Makes a change to the image.
type Make<'m> = &'m dyn Fn(&mut Change<'_>);

/// The images, the intact one first.
///
/// # Panics
/// The pool has nothing that could be made a loop of.
#[must_use]
pub fn images() -> Vec<Image> {
    let origin = Origin::new();
    let mut images = vec![Image { name: "intact".to_owned(), bytes: unsealed_image().to_vec() }];
    let changes: [(&str, Make<'_>); 19] = [
        ("directories: children are the directory", &|change| directories(change, true)),
        ("directories: files are directories", &|change| directories(change, false)),
        ("micro ZAPs of the MOS: all values are the first", &micro_values),
        ("fat ZAPs: entries chained to themselves", &|change| leaves(change, LEAF_ENTRY, 2)),
        ("fat ZAPs: names chained to themselves", &|change| leaves(change, LEAF_ARRAY, 22)),
        ("fat ZAPs: the pointer table leads to the header", &|change| tables(change, 0, false)),
        ("fat ZAPs: the pointer table is a leaf", &|change| tables(change, 1, true)),
        ("fat ZAPs: the pointer table is the header", &|change| tables(change, 0, true)),
        ("lists of blocks: below themselves", &lists_below),
        ("deadlists: of lists that are the deadlist", &deadlists),
        ("snapshots: the previous one is itself", &|change| snapshots(change, DATASET_PREVIOUS, false)),
        ("snapshots: the previous one is the head", &|change| snapshots(change, DATASET_PREVIOUS, true)),
        ("snapshots: the next one is itself", &|change| snapshots(change, DATASET_NEXT, false)),
        ("clone: its origin is its own snapshot", &clone_of_itself),
        ("directories of datasets: the parent is itself", &|change| parents(change, false)),
        ("directories of datasets: the parent is the child", &|change| parents(change, true)),
        ("directories of datasets: the child is the parent", &children),
        ("indirect blocks: all pointers lead to themselves", &|change| indirect(change, false)),
        ("indirect blocks: more levels of themselves", &|change| indirect(change, true)),
    ];
    for (name, make) in changes {
        let mut change = Change { origin: &origin, bytes: unsealed_image().to_vec(), count: 0 };
        make(&mut change);
        assert!(change.count > 0, "{name}: nothing was changed");
        images.push(Image { name: name.to_owned(), bytes: change.bytes });
    }
    images
}

impl Origin {
    fn new() -> Self {
        let device: Arc<dyn Device> = Arc::new(MemoryDevice::from(unsealed_image().to_vec()));
        let pool = open(&[device]).expect("the pool");
        let blocks = blocks(&pool);
        let by_place = blocks.iter().enumerate();
        let by_place =
            by_place.map(|(n, (_, at))| ((at.objset, at.object.0, at.level, at.block.0), n)).collect();
        let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::default()).expect("datasets");
        let lines = Lines::new(&dsl).expect("datasets");
        let names = lines.datasets().iter();
        let names = names.map(|dataset| (dataset.name().to_owned(), dataset.object())).collect();
        Self { pool, blocks, by_place, dsl, names }
    }

    /// Where the copies of a block are.
    fn places(&self, objset: u64, object: ObjectId, level: i8, block: u64) -> Option<Vec<u64>> {
        let (pointer, _) = self.blocks[*self.by_place.get(&(objset, object.0, level, block))?];
        Some(places(&pointer))
    }

    /// Where the copies of a dnode are.
    fn dnode(&self, objset: u64, object: ObjectId) -> Vec<u64> {
        let block = self.places(objset, ObjectId(0), 0, object.0 / SLOTS).expect("a block of dnodes");
        block.into_iter().map(|at| at + object.0 % SLOTS * SLOT_BYTES).collect()
    }

    /// Where the copies of a bonus of the MOS are.
    fn bonus(&self, object: ObjectId) -> Vec<u64> {
        let dnode = self.dnode(0, object);
        let pointers = u64::from(unsealed_image()[dnode[0] as usize + 3]);
        let start = POINTERS + pointers * BLOCK_POINTER_BYTES as u64;
        dnode.into_iter().map(|at| at + start).collect()
    }
}

fn places(pointer: &BlockPointer) -> Vec<u64> {
    pointer.dvas().map(|dva| LEAF_DATA_START + dva.offset()).collect()
}

impl Change<'_> {
    fn put(&mut self, places: &[u64], offset: u64, bytes: &[u8]) {
        for at in places {
            self.bytes[(at + offset) as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        self.count += 1;
    }

    fn word(&mut self, places: &[u64], offset: u64, word: u64) {
        self.put(places, offset, &word.to_le_bytes());
    }

    /// The blocks of metadata that begin with this word, with their bytes.
    fn blocks_of(&self, kind: u64) -> Vec<(Bookmark, Vec<u64>, Vec<u8>)> {
        let found = self.origin.blocks.iter().filter(|(pointer, at)| {
            let is_content =
                [ObjectType::PLAIN_FILE_CONTENTS, ObjectType::ZVOL].contains(&pointer.object_type());
            at.level == 0 && at.object.0 != 0 && !is_content
        });
        let found = found.map(|(pointer, at)| {
            let places = places(pointer);
            let bytes = unsealed_image()[places[0] as usize..][..pointer.psize() as usize].to_vec();
            (*at, places, bytes)
        });
        found.filter(|(.., bytes)| LE.u64(&bytes[..8]) == kind).collect()
    }
}

/// Makes directories the children of themselves, or files directories.
fn directories(change: &mut Change<'_>, to_itself: bool) {
    const OBJECT: u64 = (1 << 48) - 1;
    const DIRECTORY: u64 = 4 << 60;
    for (at, places, bytes) in change.blocks_of(MICRO).into_iter().filter(|(at, ..)| at.objset != 0) {
        for (n, entry) in bytes.chunks_exact(MICRO_ENTRY_BYTES).enumerate().skip(1) {
            let value = LE.u64(&entry[..8]);
            // Entries of directories have the type of the file above its object.
            if entry[14] != 0 && value & !OBJECT != 0 {
                let child = if to_itself { at.object.0 } else { value & OBJECT };
                change.word(&places, (n * MICRO_ENTRY_BYTES) as u64, DIRECTORY | child);
            }
        }
    }
}

/// Gives all entries of a micro ZAP of the MOS the value of the first.
fn micro_values(change: &mut Change<'_>) {
    for (_, places, bytes) in
        change.blocks_of(MICRO).into_iter().filter(|(at, ..)| at.objset != 0 || at.object.0 > 1)
    {
        let used: Vec<_> = bytes.chunks_exact(MICRO_ENTRY_BYTES).enumerate().skip(1).collect();
        let used: Vec<_> = used.into_iter().filter(|(_, entry)| entry[14] != 0).collect();
        for (n, _) in used.iter().skip(1) {
            change.word(&places, (n * MICRO_ENTRY_BYTES) as u64, LE.u64(&used[0].1[..8]));
        }
    }
}

/// Chains the chunks of a kind to themselves.
fn leaves(change: &mut Change<'_>, kind: u8, next: usize) {
    for (_, places, bytes) in change.blocks_of(FAT_LEAF) {
        let start = LEAF_HEADER_BYTES + bytes.len() / 32 * 2;
        for (n, chunk) in bytes[start..].chunks_exact(LEAF_CHUNK_BYTES).enumerate() {
            if chunk[0] == kind {
                let at = start + n * LEAF_CHUNK_BYTES + next;
                change.put(&places, at as u64, &(n as u16).to_le_bytes());
            }
        }
    }
}

/// Lets the entries of pointer tables lead to a block, or makes this block the table.
fn tables(change: &mut Change<'_>, block: u64, is_table: bool) {
    for (_, places, bytes) in change.blocks_of(FAT_HEADER) {
        if is_table {
            change.word(&places, 16, block);
            change.word(&places, 24, 1);
        } else {
            let half = bytes.len() / 2;
            (half..bytes.len()).step_by(8).for_each(|at| change.word(&places, at as u64, block));
        }
    }
}

/// The lists of blocks of all deadlists.
fn lists(change: &Change<'_>) -> Vec<(ObjectId, ObjectId)> {
    let mos = change.origin.pool.mos();
    let mut found = Vec::new();
    for object in change.origin.names.values() {
        let dataset = change.origin.dsl.dataset_by_object(*object).expect("a dataset");
        let Some(deadlist) = dataset.phys().deadlist else { continue };
        let Ok(zap) = Zap::open(&**mos, deadlist) else { continue };
        for entry in zap.entries() {
            let list = entry.expect("an entry").value.u64().expect("a number");
            found.push((deadlist, ObjectId(list)));
        }
    }
    found
}

/// Puts each list below itself: the block of numbers is one of the history of the pool.
fn lists_below(change: &mut Change<'_>) {
    let mos = change.origin.pool.mos().clone();
    let history = Zap::open(&*mos, ObjectId(1)).expect("the directory").lookup("history").expect("an entry");
    let history = ObjectId(history.expect("a history").u64().expect("a number"));
    let block = change.origin.places(0, history, 0, 0).expect("a block");
    for (_, list) in lists(change) {
        let bonus = change.origin.bonus(list);
        change.word(&bonus, LIST_BELOW, history.0);
        change.word(&bonus, LIST_BELOW + 8, 2);
        change.word(&block, 0, list.0);
        change.word(&block, 8, list.0);
    }
}

/// Lets the entries of deadlists lead to the deadlists.
fn deadlists(change: &mut Change<'_>) {
    for (deadlist, _) in lists(change) {
        let Some(places) = change.origin.places(0, deadlist, 0, 0) else { continue };
        let bytes = &unsealed_image()[places[0] as usize..];
        let used = (1..8).filter(|n| bytes[n * MICRO_ENTRY_BYTES + 14] != 0).collect::<Vec<_>>();
        for n in used {
            change.word(&places, (n * MICRO_ENTRY_BYTES) as u64, deadlist.0);
        }
    }
}

/// Lets snapshots lead to themselves, or to the head that they belong to.
fn snapshots(change: &mut Change<'_>, field: u64, to_head: bool) {
    let names: Vec<_> = change.origin.names.clone().into_iter().collect();
    for (name, object) in names {
        let Some((head, _)) = name.split_once('@') else { continue };
        let to = if to_head { change.origin.names[head] } else { object };
        change.word(&change.origin.bonus(object), field, to.0);
    }
}

fn dir(change: &Change<'_>, name: &str) -> (ObjectId, Option<ObjectId>, Option<ObjectId>) {
    let dir = change.origin.dsl.dir(name).expect("a directory");
    (dir.object(), dir.phys().parent, dir.phys().children)
}

/// Makes a clone the clone of its own snapshot.
fn clone_of_itself(change: &mut Change<'_>) {
    let (clone, ..) = dir(change, "demo/clone");
    let own = change.origin.names["demo/clone@x"];
    change.word(&change.origin.bonus(clone), DIR_ORIGIN, own.0);
    change.word(&change.origin.bonus(own), DATASET_PREVIOUS, own.0);
}

/// Heads by their names.
fn heads(change: &Change<'_>) -> Vec<String> {
    change.origin.names.keys().filter(|name| !name.contains('@')).cloned().collect()
}

/// Makes each directory its own parent, or that of its parent.
fn parents(change: &mut Change<'_>, of_parent: bool) {
    for name in heads(change) {
        let (own, parent, _) = dir(change, &name);
        let Some(parent) = parent else { continue };
        let child = if of_parent { parent } else { own };
        change.word(&change.origin.bonus(child), DIR_PARENT, own.0);
    }
}

/// Makes each directory the child of its children.
fn children(change: &mut Change<'_>) {
    for name in heads(change) {
        let (_, Some(parent), Some(children)) = dir(change, &name) else { continue };
        let Some(places) = change.origin.places(0, children, 0, 0) else { continue };
        change.word(&places, 0, MICRO);
        change.word(&places, MICRO_ENTRY_BYTES as u64, parent.0);
        change.put(&places, MICRO_ENTRY_BYTES as u64 + 14, b"loop\0");
    }
}

/// Lets all pointers of indirect blocks lead to the block itself; with `is_taller`, the trees have more levels.
fn indirect(change: &mut Change<'_>, is_taller: bool) {
    const LEVELS: u64 = 2;
    const MAX_BLOCK: u64 = 16;
    let found = change
        .origin
        .blocks
        .clone()
        .into_iter()
        .filter(|(_, at)| at.level > 0 && at.objset != 0 && at.object.0 != 0);
    for (pointer, at) in found {
        let mut words = *pointer.words();
        // The pointer of a block in a block of the lowest level is to one of level 0.
        words[6] &= !(0x1f << 56);
        let lowest = BlockPointer::from_words(words);
        let own = places(&pointer);
        let bytes = if is_taller { pointer } else { lowest }.encode(LE);
        for offset in (0..pointer.psize()).step_by(BLOCK_POINTER_BYTES) {
            change.put(&own, offset, &bytes);
        }
        if is_taller && at.block == BlockId(0) {
            let dnode = change.origin.dnode(at.objset, at.object);
            change.put(&dnode, LEVELS, &[6]);
            change.word(&dnode, MAX_BLOCK, 1 << 40);
        }
    }
}
