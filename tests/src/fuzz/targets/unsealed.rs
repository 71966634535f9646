//! A whole pool in which any block of metadata can be changed: its pointers hold no checksums, and none of its blocks is
//! compressed, so that a change in one place is all that it takes. What an attacker would do with a pool of its own.
//!
//! An input is a byte that chooses what is done, one that chooses with which dataset, and a list of changes, 12 bytes each:
//!
//! ```text
//! verb u8   dataset u8   { block u16   place u32   what u8   with u8   other u16   0 u8[2] }...
//! ```
//!
//! Blocks are counted in the order of [`Base::blocks`]; the label and the uberblock are the last two.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

use zstream::check::check_pool;
use zstream::{Cancel, Control, NoKeys, PoolPlace};
use zstream_dmu::blkptr::{BlockKind, BlockPointer};
use zstream_dmu::device::{Device, DeviceHints, MemoryDevice};
use zstream_dmu::dnode::NewObject;
use zstream_dmu::error::{Error as PoolError, Result as PoolResult};
use zstream_dmu::ids::{BlockId, ObjectId, Txg};
use zstream_dmu::object_store::ObjectStore as _;
use zstream_dmu::objset::CloneRange;
use zstream_dmu::pool::{Pool, PoolChange, WriteOptions};
use zstream_dmu::space::LogSpaceMaps;
use zstream_dmu::testing::OverlayDevice;
use zstream_dmu::vdev::label;
use zstream_dmu::vdev::uberblock::{RING_BYTES, Uberblock};
use zstream_dmu::zio::crypt::Keyring;
use zstream_dmu::{Random, RangeSet};
use zstream_dsl::prop::parse;
use zstream_dsl::scrub::Lines;
use zstream_dsl::write::{Reach, WritablePool};
use zstream_dsl::{Dsl, scrub, testing};
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::checksum::seal_embedded;
use zstream_format::object_type::{ObjectType, ObjsetType};
use zstream_format::order::ByteOrder;
use zstream_send::plan::{Base as From, Source, StreamPlan};
use zstream_send::{Progress, send};
use zstream_zpl::node::Time;
use zstream_zpl::writer::{NewNode, NodeKind, Settings, Writer};

use super::super::Rng;
use super::recv;
use crate::created::{self, new_pool, open, open_writable};
use crate::errors::Result;
use crate::forged;
use crate::golden;
use crate::livelists::Livelists;
use crate::sending::source_pool;
use crate::writing::spaces;

/// Bytes before the changes.
const HEAD_BYTES: usize = 2;
/// Bytes of one change.
const CHANGE_BYTES: usize = 12;
/// Changes at once.
const CHANGES_MAX: usize = 24;
/// Words that fields are set to.
const WORDS: [u64; 16] = [
    0,
    1,
    2,
    7,
    0xff,
    512,
    4096,
    1 << 16,
    1 << 20,
    u32::MAX as u64,
    1 << 40,
    1 << 48,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 7,
    u64::MAX,
];
/// Where data begins on a member.
const DATA_START: u64 = 4 << 20;
/// The size of the member.
const MEMBER_BYTES: u64 = 96 << 20;
const POINTER_BYTES: usize = 128;
const SLOT_BYTES: usize = 512;
const UBERBLOCK_BYTES: u64 = 4096;
/// Where an uberblock has its pointer, and how much of it is its own.
const UBERBLOCK_ROOT: usize = 40;
/// The part of a label's list that is changed.
const LIST_BYTES: usize = 4096;
const LE: ByteOrder = ByteOrder::Little;
/// The largest stream that is made.
const STREAM_BYTES_MAX: usize = 4 << 20;
/// Blocks that a check looks at.
const CHECKED_MAX: u64 = 20_000;
/// Datasets that are looked at.
const DATASETS_MAX: usize = 24;

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Block { object_type: ObjectType, level: u8 },
    Label,
    Uberblock,
}

/// A part of the device that can be changed.
#[derive(Clone, Debug)]
struct Place {
    what: What,
    /// Where its copies are.
    at: Vec<u64>,
    len: usize,
}

/// The pool as it is without changes.
struct Base {
    bytes: Vec<u8>,
    device: Arc<dyn Device>,
    blocks: Vec<Place>,
    /// Names of filesystems, volumes and snapshots.
    names: Vec<String>,
}

/// What the pool holds before: streams, received one after the other.
const STREAMS: [&str; 3] = ["tree-R", "vol", "k-sha256"];

fn options() -> WriteOptions {
    WriteOptions { is_uncompressed: true, ..created::write_options() }
}

/// A pool with snapshots, clones, bookmarks, holds, and a clone of its own.
fn made() -> Result<Arc<MemoryDevice>> {
    let memory = Arc::new(MemoryDevice::new(MEMBER_BYTES as usize));
    let device: Arc<dyn Device> = Arc::clone(&memory) as _;
    let given = Arc::clone(&device);
    let mut new = new_pool("demo", "a", 12, &mut |_| ("/a".to_owned(), Arc::clone(&given)));
    new.features.enable("livelist")?;
    created::create(new)?;
    for name in STREAMS {
        recv::receive_with(&device, &golden::stream(name), 0, &options()).1.expect(name);
    }
    let mut pool = open_writable(&[device], &options())?;
    let dsl = pool.dsl();
    let mut snapshots = Vec::new();
    let mut filled = None;
    for dataset in Lines::new(&dsl)?.datasets() {
        if dataset.is_snapshot() {
            filled = filled.or_else(|| (!dataset.phys().root.is_hole()).then(|| dataset.name().to_owned()));
            snapshots.push(dataset.name().to_owned());
        }
    }
    drop(dsl);
    let first = snapshots.first().expect("a snapshot").clone();
    // Livelists that stay however little is shared, in parts of few blocks: one of a clone, one of a destroyed clone.
    pool.limit_livelists(3, 0);
    pool.clone_snapshot(&first, "demo/clone")?;
    let filled = filled.expect("a snapshot with content");
    pool.clone_snapshot(&filled, "demo/listed")?;
    pool.clone_snapshot(&filled, "demo/gone")?;
    pool.commit()?;
    for (n, name) in
        ["demo/listed", "demo/gone", "demo/listed", "demo/listed", "demo/gone"].iter().enumerate()
    {
        let head = pool.dsl().head(name)?.object();
        let mut set = pool.open_head(head)?;
        let object = set.allocate(&NewObject::new(ObjectType::PLAIN_FILE_CONTENTS, 4096))?;
        set.write(object, 0, &[n as u8 + 1; 20_000])?;
        pool.sync(head, &mut set)?;
        pool.commit()?;
    }
    testing::leave_deleted_clone(&mut pool.tx(), "demo/gone")?;
    pool.tx().snapshot(&["demo/clone@x".to_owned()])?;
    pool.tx().hold("tag", std::slice::from_ref(&first))?;
    for (n, snapshot) in snapshots.iter().enumerate() {
        let (of, _) = snapshot.split_once('@').expect("a snapshot");
        pool.tx().bookmark(snapshot, &format!("{of}#b{n}"))?;
    }
    share(&mut pool)?;
    pool.commit()?;
    // Everything once more, so that nothing is left from before compression was off.
    pool.tx().snapshot(&["demo@now".to_owned()])?;
    pool.export()?;
    Ok(memory)
}

/// Adds a filesystem with deduplicated blocks and one with cloned blocks, so that there are tables of references.
fn share(pool: &mut WritablePool) -> Result<()> {
    const BLOCK_BYTES: u32 = 4096;
    for feature in ["block_cloning", "fast_dedup"] {
        pool.change_pool(&PoolChange::parse(&format!("feature@{feature}=enabled"))?)?;
    }
    pool.commit()?;
    let now = Time { seconds: created::NOW as i64, nanoseconds: 0 };
    let settings = || Settings { record_bytes: BLOCK_BYTES, dn_slots: 1, xattrs_inline: true, now };
    let kind = NodeKind::File(BLOCK_BYTES.into());
    let file =
        NewNode { kind, permissions: 0o644, uid: 0, gid: 0, atime: now, mtime: now, xattrs: Vec::new() };
    let content: Vec<u8> = (0..5 * BLOCK_BYTES).map(|n| (n / 7 % 251) as u8).collect();
    let (len, count) = (content.len() as u64, 5);
    for (name, dedup) in [("demo/alike", "sha256"), ("demo/cloned", "off")] {
        let head = pool.tx().create(name, false)?;
        pool.tx().assign(head, &parse("dedup", dedup)?)?;
        let mut set = created::new_files(pool, head)?;
        pool.sync(head, &mut set)?;
        pool.commit()?;
        let mut set = pool.open_head(head)?;
        let mut writer = Writer::open(&set, settings(), Random::from_seed(1))?;
        let mut from = ObjectId(0);
        for name in ["one", "two"] {
            from = writer.create(&mut set, writer.root(), name.as_bytes(), &file)?;
            writer.write(&mut set, from, 0, &content)?;
            writer.finish(&mut set, from, len)?;
        }
        writer.flush(&mut set)?;
        pool.sync(head, &mut set)?;
        pool.commit()?;
        if dedup != "off" {
            continue;
        }
        let source = pool.dsl().dataset_by_object(head)?.objset()?;
        let mut set = pool.open_head(head)?;
        let mut writer = Writer::open(&set, settings(), Random::from_seed(2))?;
        let to = writer.create(&mut set, writer.root(), b"clone", &file)?;
        set.set_block_size(to, BLOCK_BYTES, 0)?;
        let range = CloneRange { from, from_block: BlockId(0), to, to_block: BlockId(0), count };
        let (done, refusal) = set.clone_range(&source, range)?;
        assert_eq!((done, refusal), (count, None), "cloned blocks");
        writer.finish(&mut set, to, len)?;
        writer.flush(&mut set)?;
        pool.sync(head, &mut set)?;
    }
    Ok(())
}

/// Takes the checksums out of the pointers of a pool.
struct Unsealing {
    bytes: Vec<u8>,
    blocks: Vec<Place>,
    /// Blocks that were seen, by the first address of their pointers.
    seen: BTreeMap<u64, ()>,
}

impl Unsealing {
    /// The pointer at an offset in the block at `places`.
    fn pointer(&mut self, places: &[u64], offset: usize) {
        let at = places[0] as usize + offset;
        let Some(pointer) = BlockPointer::parse_at(&self.bytes[at..at + POINTER_BYTES], 0, LE) else {
            return;
        };
        // The entry of a deduplicated block is found by its checksum.
        if pointer.kind() != BlockKind::Normal || pointer.is_gang() || pointer.is_dedup() {
            return;
        }
        let mut words = *pointer.words();
        words[6] = words[6] & !(0xff << 40) | u64::from(ChecksumType::OFF.0) << 40;
        let unsealed = BlockPointer::from_words(words).encode(LE);
        for place in places {
            self.bytes[*place as usize + offset..][..POINTER_BYTES].copy_from_slice(&unsealed);
        }
        self.block(&pointer);
    }

    /// The slots of dnodes from an offset on.
    fn dnodes(&mut self, places: &[u64], range: std::ops::Range<usize>) {
        const BONUS_POINTER: usize = 128;
        let mut slot = range.start;
        while slot + SLOT_BYTES <= range.end {
            let dnode = &self.bytes[places[0] as usize + slot..][..SLOT_BYTES];
            let (object_type, pointers, bonus_type, flags) =
                (dnode[0], usize::from(dnode[3]), dnode[4], dnode[7]);
            let slots = 1 + usize::from(dnode[12]);
            if object_type == 0 {
                slot += SLOT_BYTES;
                continue;
            }
            for n in 0..pointers {
                self.pointer(places, slot + 64 + POINTER_BYTES * n);
            }
            if flags & 4 != 0 {
                self.pointer(places, slot + SLOT_BYTES * slots - POINTER_BYTES);
            }
            if ObjectType(u32::from(bonus_type)) == ObjectType::DSL_DATASET {
                self.pointer(places, slot + 64 + POINTER_BYTES * pointers + BONUS_POINTER);
            }
            slot += SLOT_BYTES * slots;
        }
    }

    fn block(&mut self, pointer: &BlockPointer) {
        let (object_type, level) = (pointer.object_type(), pointer.level());
        let is_content =
            level == 0 && [ObjectType::PLAIN_FILE_CONTENTS, ObjectType::ZVOL].contains(&object_type);
        if self.seen.insert(pointer.dva(0).offset(), ()).is_some() {
            return;
        }
        if pointer.compression() != CompressionType::OFF || is_content {
            return;
        }
        let len = pointer.psize() as usize;
        let at: Vec<u64> = pointer.dvas().map(|dva| DATA_START + dva.offset()).collect();
        self.blocks.push(Place { what: What::Block { object_type, level }, at: at.clone(), len });
        if level > 0 {
            (0..len).step_by(POINTER_BYTES).for_each(|offset| self.pointer(&at, offset));
        } else if object_type == ObjectType::DNODE {
            self.dnodes(&at, 0..len);
        } else if object_type == ObjectType::OBJSET {
            self.dnodes(&at, 0..SLOT_BYTES);
            self.dnodes(&at, 1024.min(len)..len);
        }
    }
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let bytes = made().expect("the pool").to_vec();
        let len = bytes.len() as u64;
        let labels: Vec<u64> = (0..label::LABELS).filter_map(|n| label::offset(len, n)).collect();
        let mut this = Unsealing { bytes, blocks: Vec::new(), seen: BTreeMap::new() };
        // Of the ring of each label only the newest uberblock is left.
        let slots = RING_BYTES / UBERBLOCK_BYTES;
        let slot_at = |label: u64, slot: u64| label + label::RING_OFFSET + slot * UBERBLOCK_BYTES;
        let txg = |slot: &u64| {
            let bytes = &this.bytes[slot_at(labels[0], *slot) as usize..][..UBERBLOCK_BYTES as usize];
            Uberblock::parse(bytes).map_or(0, |uberblock| uberblock.txg.0)
        };
        let newest = (0..slots).max_by_key(txg).expect("a slot");
        for label in &labels {
            for slot in (0..slots).filter(|slot| *slot != newest) {
                this.bytes[slot_at(*label, slot) as usize..][..UBERBLOCK_BYTES as usize].fill(0);
            }
        }
        let uberblocks: Vec<u64> = labels.iter().map(|label| slot_at(*label, newest)).collect();
        this.pointer(&uberblocks, UBERBLOCK_ROOT);
        for at in &uberblocks {
            seal(&mut this.bytes[*at as usize..][..UBERBLOCK_BYTES as usize], *at);
        }
        this.blocks.push(Place {
            what: What::Uberblock,
            at: uberblocks,
            len: UBERBLOCK_BYTES as usize - UBERBLOCK_ROOT,
        });
        let lists = labels.iter().map(|label| label + label::CONFIG_OFFSET).collect();
        this.blocks.push(Place { what: What::Label, at: lists, len: LIST_BYTES });
        let device: Arc<dyn Device> = Arc::new(MemoryDevice::from(this.bytes.clone()));
        let names = names(&device).expect("the datasets");
        let state = State::of(&device).expect("the pool opens");
        assert!(state.is_clean, "the pool without changes is not clean");
        Base { bytes: this.bytes, device, blocks: this.blocks, names }
    })
}

/// The member of a pool with filesystems, a volume, snapshots and clones, whose metadata has no checksums and is not compressed: a
/// change in one place is all that a forgery takes.
#[must_use]
pub fn image() -> &'static [u8] {
    &base().bytes
}

fn seal(bytes: &mut [u8], at: u64) {
    seal_embedded(bytes, label::verifier(at), LE).expect("room for a checksum");
}

fn names(device: &Arc<dyn Device>) -> Result<Vec<String>> {
    let pool = open(&[Arc::clone(device)])?;
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::new(Keyring::default()))?;
    Ok(Lines::new(&dsl)?.datasets().iter().map(|dataset| dataset.name().to_owned()).collect())
}

/// Each verb with each dataset, and a change to each block.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    let base = base();
    let change = |block: usize, place: u32, what: u8, with: u8| {
        [&(block as u16).to_le_bytes()[..], &place.to_le_bytes(), &[what, with, 0, 0, 0, 0]].concat()
    };
    let verbs = (0..VERBS).flat_map(|verb| (0..base.names.len() as u8).map(move |name| vec![verb, name]));
    let changes = (0..base.blocks.len()).flat_map(|block| {
        [(0, 0, 0x80), (24, 1, 9), (64, 4, 1)].map(|(place, what, with)| {
            let head = [(block % usize::from(VERBS)) as u8, (block / 5) as u8];
            [&head[..], &change(block, place, what, with)].concat()
        })
    });
    verbs.chain(changes.step_by(3)).collect()
}

/// Adds changes of others and moves them to where fields are.
pub(super) fn mutate(input: &mut Vec<u8>, rng: &mut Rng, corpus: &[Vec<u8>]) {
    let blocks = &base().blocks;
    if input.len() < HEAD_BYTES {
        input.resize(HEAD_BYTES, 0);
    }
    if rng.one_in(3) {
        input[0] = rng.below(usize::from(VERBS)) as u8;
    }
    if rng.one_in(3) {
        input[1] = rng.below(base().names.len()) as u8;
    }
    for _ in 0..rng.below(3) {
        let other = rng.pick::<Vec<u8>>(corpus);
        if input.len() < HEAD_BYTES + CHANGES_MAX * CHANGE_BYTES && other.len() > HEAD_BYTES {
            input.extend_from_slice(&other[HEAD_BYTES..]);
        }
    }
    if rng.one_in(4) && input.len() >= HEAD_BYTES + CHANGE_BYTES {
        input.drain(HEAD_BYTES..HEAD_BYTES + CHANGE_BYTES);
    }
    for change in input[HEAD_BYTES..].chunks_exact_mut(CHANGE_BYTES) {
        if rng.one_in(2) {
            continue;
        }
        if rng.one_in(4) {
            change[0..2].copy_from_slice(&(rng.below(blocks.len()) as u16).to_le_bytes());
        }
        let place = &blocks[usize::from(u16::from_le_bytes([change[0], change[1]])) % blocks.len()];
        let words = place.len / 8;
        let at = match (place.what, rng.below(3)) {
            (What::Block { level, .. }, 0) if level > 0 => {
                rng.below(place.len / POINTER_BYTES) * POINTER_BYTES + 8 * rng.below(16)
            }
            // Fields of a dnode, its pointers, its bonus.
            (What::Block { object_type: ObjectType::DNODE, .. }, 0) => {
                rng.below(32) * SLOT_BYTES + rng.below(64)
            }
            (What::Block { object_type: ObjectType::DNODE, .. }, 1) => {
                rng.below(32) * SLOT_BYTES + 64 + 8 * rng.below(16)
            }
            (What::Block { object_type: ObjectType::DNODE, .. }, _) => {
                rng.below(32) * SLOT_BYTES + 192 + 8 * rng.below(40)
            }
            (_, 0) => 8 * rng.below(words.min(32)),
            (_, 1) => 8 * rng.below(words),
            _ => rng.below(place.len),
        };
        change[2..6].copy_from_slice(&(at as u32).to_le_bytes());
        change[6] = rng.below(8) as u8;
        change[7] = rng.u64() as u8;
        change[8] = rng.u64() as u8;
        if rng.one_in(2) {
            change[9] = rng.u64() as u8;
        }
    }
}

/// The changed parts of the device, by block.
fn changed(input: &[u8]) -> BTreeMap<usize, Vec<u8>> {
    let base = base();
    let mut forged: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    let changes = input.get(HEAD_BYTES..).unwrap_or_default();
    for change in changes.chunks_exact(CHANGE_BYTES).take(CHANGES_MAX) {
        let n = usize::from(u16::from_le_bytes([change[0], change[1]])) % base.blocks.len();
        let Place { at, len, .. } = &base.blocks[n];
        let start = at[0] as usize;
        let block = forged.entry(n).or_insert_with(|| base.bytes[start..start + len].to_vec());
        one_change(block, change, &base.blocks);
    }
    forged
}

fn one_change(block: &mut [u8], change: &[u8], blocks: &[Place]) {
    let at = u32::from_le_bytes(change[2..6].try_into().expect("4 bytes")) as usize % block.len();
    let (what, with) = (change[6], change[7]);
    let word = at / 8 * 8;
    match what % 8 {
        0 => block[at] ^= with,
        1 => {
            if let Some(word) = block.get_mut(word..word + 8) {
                word.copy_from_slice(&WORDS[usize::from(with) % WORDS.len()].to_le_bytes());
            }
        }
        2 => {
            let end = (at + 16).min(block.len());
            block[at..end].fill(with);
        }
        3 => {
            // A part of the block once more.
            let from = usize::from(with) * 8 % block.len();
            let len = 64.min(block.len() - at).min(block.len() - from);
            block.copy_within(from..from + len, at);
        }
        4 | 5 => {
            // A pointer leads to another block: into a loop, perhaps.
            let other = usize::from(u16::from_le_bytes([change[8], change[9]])) % blocks.len();
            let at = at / 64 * 64;
            if let (Place { what: What::Block { object_type, level }, at: to, len }, Some(pointer)) =
                (&blocks[other], block.get_mut(at..at + POINTER_BYTES))
            {
                LE.put_u64(&mut pointer[0..], (*len as u64).next_multiple_of(4096) / 512);
                LE.put_u64(&mut pointer[8..], (to[0] - DATA_START) / 512);
                if what % 8 == 5 {
                    // What it says of the block is right, too.
                    let sectors = *len as u64 / 512 - 1;
                    let sizes = sectors | sectors << 16;
                    let algorithms =
                        u64::from(CompressionType::OFF.0) << 32 | u64::from(ChecksumType::OFF.0) << 40;
                    let kind = u64::from(object_type.0) << 48 | u64::from(*level) << 56 | 1 << 63;
                    LE.put_u64(&mut pointer[48..], sizes | algorithms | kind);
                }
            }
        }
        6 => block[at] = with,
        _ => {
            if let Some(word) = block.get_mut(word..word + 8) {
                let value = LE.u64(word).wrapping_add_signed(i64::from(with.cast_signed()));
                LE.put_u64(word, value);
            }
        }
    }
}

/// A device that remembers which bytes were written.
#[derive(Debug)]
struct Noted {
    inner: OverlayDevice,
    written: Mutex<Vec<(u64, u64)>>,
}

impl Device for Noted {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.inner.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.written.lock().expect("no panic").push((offset, offset + bytes.len() as u64));
        self.inner.write_at(offset, bytes)
    }

    fn flush(&self) -> std::io::Result<()> {
        self.inner.flush()
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn hints(&self) -> DeviceHints {
        self.inner.hints()
    }
}

/// The pool with the changes of an input.
fn forged_device(input: &[u8]) -> Arc<Noted> {
    let base = base();
    let inner = OverlayDevice::new(Arc::clone(&base.device));
    for (n, block) in changed(input) {
        let place = &base.blocks[n];
        for at in &place.at {
            let whole = match place.what {
                What::Block { .. } => block.len(),
                What::Label => label::CONFIG_BYTES,
                What::Uberblock => UBERBLOCK_BYTES as usize,
            };
            let mut bytes = base.bytes[*at as usize..][..whole].to_vec();
            bytes[..block.len()].copy_from_slice(&block);
            if !matches!(place.what, What::Block { .. }) {
                seal(&mut bytes, *at);
            }
            inner.write_at(*at, &bytes).expect("it lies on the device");
        }
    }
    Arc::new(Noted { inner, written: Mutex::default() })
}

/// What is to be seen of a pool from outside.
struct State {
    txg: Txg,
    /// What is allocated; `None` if that cannot be read.
    allocated: Option<BTreeMap<u32, RangeSet>>,
    /// Every block can be read, is allocated, and is in one place only, and nothing else is allocated.
    is_clean: bool,
}

impl State {
    fn of(device: &Arc<dyn Device>) -> Result<Self> {
        let pool = open(&[Arc::clone(device)])?;
        let allocated = allocated(&pool).ok();
        let leaked = allocated.clone().and_then(|allocated| unreached(&pool, allocated).ok());
        // A clone is destroyed by its livelist.
        let has_lists = Livelists::of(&pool).is_ok_and(|lists| lists.wrong.is_empty());
        Ok(Self { txg: pool.uberblock().txg, allocated, is_clean: leaked == Some(0) && has_lists })
    }
}

fn allocated(pool: &Pool) -> Result<BTreeMap<u32, RangeSet>> {
    let mos = &**pool.mos();
    let logs = LogSpaceMaps::open(mos)?;
    spaces(pool)?.into_iter().map(|space| Ok((space.vdev, space.allocated(mos, &logs)?))).collect()
}

/// The bytes that no block takes; an error where a block cannot be read, or takes what is not allocated.
fn unreached(pool: &Pool, mut allocated: BTreeMap<u32, RangeSet>) -> Result<u64> {
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::new(Keyring::default()))?;
    let lines = Lines::new(&dsl)?;
    let mut outcome = Ok(());
    let mut left = CHECKED_MAX;
    let mut shared = BTreeSet::new();
    scrub::parts(pool, &lines, &mut |_, mut blocks| {
        while outcome.is_ok()
            && let Some(item) = blocks.next()
        {
            left = left.saturating_sub(1);
            outcome = match left {
                0 => Err(PoolError::internal("more blocks than there are")),
                _ => item.and_then(|item| take(pool, &item.pointer, &mut allocated, &mut shared)),
            };
        }
    })?;
    outcome?;
    Ok(allocated.values().map(RangeSet::bytes).sum())
}

/// Takes the ranges of a block from what is allocated, once for all references to a block of content.
fn take(
    pool: &Pool,
    pointer: &BlockPointer,
    allocated: &mut BTreeMap<u32, RangeSet>,
    shared: &mut BTreeSet<(u32, u64)>,
) -> PoolResult<()> {
    let is_content = pointer.level() == 0 && !pointer.object_type().is_metadata();
    if is_content && !shared.insert((pointer.dva(0).vdev(), pointer.dva(0).offset())) {
        return Ok(());
    }
    for dva in pool.reader().ranges(pointer)? {
        let end = dva.offset().checked_add(dva.asize());
        let end = end.ok_or_else(|| PoolError::internal("a block without an end"))?;
        let vdev = allocated.get_mut(&dva.vdev());
        vdev.ok_or_else(|| PoolError::internal("a vdev without space maps"))?.remove(dva.offset(), end)?;
    }
    Ok(())
}

/// Takes a limited number of bytes.
struct Limited(usize);

impl std::io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is there is shown, or an error; nothing panics, and nothing goes on for ever.
pub(super) fn run_read(input: &[u8]) {
    let device: Arc<dyn Device> = forged_device(input);
    let head = [0, 1].map(|n| input.get(n).copied().unwrap_or(0));
    let Ok(pool) = open(&[device]) else { return };
    let keyring = Arc::new(Keyring::default());
    let Ok(dsl) = Dsl::open(pool.name(), pool.mos().clone(), keyring) else { return };
    let Ok(lines) = Lines::new(&dsl) else { return };
    match head[0] % 4 {
        0 => drop(forged::look_at_datasets(pool.name(), pool.mos().clone())),
        1 => {
            for dataset in lines.datasets().iter().skip(usize::from(head[1]) % DATASETS_MAX).take(3) {
                if let Ok(set) = dataset.objset() {
                    let _ = forged::look_at_files(&*set);
                }
            }
        }
        2 => {
            // With the counts of references to cloned and deduplicated blocks.
            let place =
                PoolPlace::on_devices([("image".to_owned(), forged_device(input) as Arc<dyn Device>)]);
            let (cancel, mut left) = (Cancel::new(), CHECKED_MAX);
            let mut control = Control::new().cancelled_by(&cancel).watched_by(|_| {
                left = left.saturating_sub(1);
                if left == 0 {
                    cancel.cancel();
                }
            });
            let Ok(open) = place.open(None, &mut control) else { return };
            let check = check_pool(&open, &NoKeys, &mut control);
            assert!(
                check.is_err() || !input.len().eq(&HEAD_BYTES) || check.is_ok_and(|check| check.is_clean())
            );
        }
        _ => {
            let name = name(head[1], 0);
            let Ok(dataset) = dsl.dataset(name) else { return };
            let Ok(source) = Source::open(&dataset, source_pool(&pool), false) else { return };
            let mut plan = StreamPlan::new(source);
            plan.options.threads = 1;
            plan.form.compressed = input.len().is_multiple_of(2);
            if let Ok(Some(previous)) = dataset.previous()
                && input.len() % 24 > HEAD_BYTES + CHANGE_BYTES
            {
                plan.base = From::snapshot(&previous).ok();
            }
            let _ = send(&plan, &mut Limited(STREAM_BYTES_MAX), &Progress::default());
        }
    }
}

/// One of the names of the pool.
fn name(of: u8, step: usize) -> &'static str {
    let names = &base().names;
    &names[(usize::from(of) + step) % names.len()]
}

/// Verbs that [`verb`] knows.
const VERBS: u8 = 18;

fn verb(pool: &mut WritablePool, verb: u8, of: u8) -> zstream_dsl::error::Result<()> {
    let names = &base().names;
    let is_snapshot = |name: &&String| name.contains('@');
    let pick = |wanted: &dyn Fn(&&String) -> bool| {
        let found: Vec<&String> = names.iter().filter(|name| wanted(name)).collect();
        found[usize::from(of) % found.len()].clone()
    };
    let snapshot = pick(&is_snapshot);
    let head = pick(&|name| !is_snapshot(name));
    match verb % VERBS {
        0 => pool.tx().snapshot(&[format!("{head}@new")]).map(drop),
        1 => {
            let mut tx = pool.tx();
            let names = tx.dsl().plan_destroy(&head, Reach { recursive: true, clones: true })?;
            tx.destroy_all(&names, false)
        }
        2 => pool.tx().destroy_snapshots(&[snapshot], false),
        3 => pool.rollback(&head, None),
        4 => pool.clone_snapshot(&snapshot, "demo/new").map(drop),
        5 => pool.tx().promote("demo/clone"),
        6 => {
            let (of, _) = snapshot.split_once('@').expect("a snapshot");
            let bookmark = format!("{of}#new");
            pool.tx().bookmark(&snapshot, &bookmark)
        }
        7 => pool.tx().destroy(&head),
        8 => {
            let mut tx = pool.tx();
            tx.release("tag", std::slice::from_ref(&snapshot))?;
            tx.destroy_snapshots(&[snapshot], true)
        }
        9 => pool.tx().hold("more", &[snapshot]),
        10 => pool.tx().rename(&head, "demo/renamed"),
        11 => {
            let head = pool.tx().create("demo/z", false)?;
            let mut set = pool.create_set(head, ObjsetType::ZFS)?;
            pool.sync(head, &mut set).map(drop)
        }
        12 => {
            let mut tx = pool.tx();
            let names =
                tx.dsl().plan_destroy_snapshots(&snapshot, Reach { recursive: true, clones: true }, false)?;
            tx.destroy_all(&names, false)
        }
        13 => pool.tx().redact(&snapshot, "r", &[], zstream_zpl::settings::unlinked),
        14 => pool.tx().rename_snapshot(
            &snapshot,
            &format!("{}@renamed", snapshot.split('@').next().unwrap_or("")),
            false,
        ),
        15 => pool.free_deleted_clones(),
        16 => pool.tx().destroy("demo/listed"),
        _ => {
            // Every block of dnodes is written anew.
            let head = pool.dsl().head(&head)?.object();
            let mut set = pool.open_head(head)?;
            pool.sync(head, &mut set).map(drop)
        }
    }
}

/// A verb fails and the pool is as it was, or it succeeds and a pool that was clean stays clean.
pub(super) fn run_write(input: &[u8]) {
    let noted = forged_device(input);
    let device: Arc<dyn Device> = Arc::clone(&noted) as _;
    let Ok(before) = State::of(&device) else { return };
    let Ok(mut pool) = open_writable(&[Arc::clone(&device)], &options()) else {
        assert!(noted.written.lock().expect("no panic").is_empty(), "written to a pool that is refused");
        return;
    };
    let head = [0, 1].map(|n| input.get(n).copied().unwrap_or(0));
    let done = verb(&mut pool, head[0], head[1]).and_then(|()| pool.export());
    let after = match State::of(&device) {
        Ok(after) => after,
        Err(error) => panic!("the pool does not open after {:?}: {error}", done.map_err(|e| e.to_string())),
    };
    let written = noted.written.lock().expect("no panic").clone();
    if let Some(allocated) = &before.allocated {
        for (start, end) in written
            .into_iter()
            .filter(|(start, end)| *start >= DATA_START && *end <= MEMBER_BYTES - DATA_START / 8)
        {
            let (start, end) = (start - DATA_START, end - DATA_START);
            let is_there = allocated.get(&0).is_some_and(|ranges| ranges.overlaps(start, end));
            assert!(!is_there, "{start:#x} to {end:#x} was overwritten");
        }
    }
    if done.is_err() {
        assert_eq!(before.txg, after.txg, "the verb failed, and yet there is a new transaction group");
    }
    assert!(after.is_clean || !before.is_clean, "the pool is no longer clean after {done:?}");
}

#[cfg(test)]
mod tests {
    use zstream_dsl::scrub::Part;

    use super::*;

    /// Without changes every block is found, once, and nothing is leaked.
    #[test]
    fn the_pool_without_changes_is_clean() {
        let state = State::of(&base().device).unwrap();
        let pool = open(&[Arc::clone(&base().device)]).unwrap();
        let mut unreached = crate::writing::unreached(&pool);
        // The blocks of a destroyed clone are not freed yet.
        let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::default()).unwrap();
        let mut destroyed = 0;
        scrub::parts(&pool, &Lines::new(&dsl).unwrap(), &mut |part, blocks| {
            if !matches!(part, Part::Freeing("deleted_clones")) {
                return;
            }
            for item in blocks {
                for dva in pool.reader().ranges(&item.unwrap().pointer).unwrap() {
                    let vdev = unreached.get_mut(&dva.vdev()).unwrap();
                    vdev.remove(dva.offset(), dva.offset() + dva.asize()).unwrap();
                    destroyed += dva.asize();
                }
            }
        })
        .unwrap();
        let leaked: u64 = unreached.values().map(RangeSet::bytes).sum();
        assert_eq!((state.is_clean, leaked, destroyed > 0), (true, 0, true));
        assert!(base().blocks.len() > 100, "{} blocks", base().blocks.len());
    }
}
