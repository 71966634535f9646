//! The files of damaged blocks, in every dataset that references them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::dnode::DNODE_SLOT_BYTES;
use zstream_dmu::ids::{Bookmark, ObjectId};
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::objset::Objset;
use zstream_dmu::zio::BlockCheck;
use zstream_dsl::dataset::Dataset;
use zstream_dsl::scrub::{Lines, Part, readable_objset};
use zstream_format::object_type::ObjsetType;
use zstream_zpl::{Filesystem, PathQuery, Paths};

use crate::place::keys::unlock;
use crate::place::{Keys, OpenPool};
use crate::text::{Count, file_name};

/// The maximum number of byte ranges in a line of text.
const RANGES_SHOWN: usize = 4;

/// A block with damaged copies.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DamagedBlock {
    /// Its position in its object set.
    pub at: Bookmark,
    /// Its pointer.
    pub pointer: BlockPointer,
    /// The copies that are damaged.
    pub check: Arc<BlockCheck>,
}

impl DamagedBlock {
    /// True if no copy of it can be read.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.check.readable == 0
    }
}

impl fmt::Display for DamagedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_lost() { "lost" } else { "damaged" };
        write!(f, "object {} level {} block {} {state}", self.at.object, self.at.level, self.at.block)?;
        self.check.bad.iter().try_for_each(|copy| write!(f, "; {copy}"))?;
        self.check.fault.iter().try_for_each(|fault| write!(f, "; {fault}"))
    }
}

/// A file or other object with damaged blocks.
#[derive(Debug)]
#[non_exhaustive]
pub struct Damaged {
    /// The dataset or other part of the pool that contains it.
    pub within: String,
    /// Absolute paths in the filesystem; none if it is not a file or has no name.
    pub paths: Vec<String>,
    /// Its description if it has no path; with a path, the part of the file.
    pub what: String,
    /// Its object.
    pub object: ObjectId,
    /// Bytes that are lost.
    pub lost: Vec<Range<u64>>,
    /// All of it is lost.
    pub is_lost: bool,
    /// Its damaged blocks.
    pub blocks: Vec<DamagedBlock>,
}

impl Damaged {
    /// The paths of the file, each after the name of the dataset.
    #[must_use]
    pub fn places(&self) -> Vec<String> {
        let what = if self.what.is_empty() { String::new() } else { format!(" ({})", self.what) };
        match &self.paths[..] {
            [] => vec![format!("{}: {}", self.within, self.what)],
            paths => paths.iter().map(|path| format!("{}:{path}{what}", self.within)).collect(),
        }
    }

    /// The extent of the damage, such as `bytes 0-131071 lost; 2 blocks damaged but readable`.
    #[must_use]
    pub fn extent(&self) -> String {
        let mut parts = Vec::new();
        if self.is_lost {
            parts.push("lost".to_owned());
        } else if !self.lost.is_empty() {
            let shown = self.lost.iter().take(RANGES_SHOWN);
            let shown: Vec<_> = shown.map(|range| format!("{}-{}", range.start, range.end - 1)).collect();
            let more = match self.lost.len().saturating_sub(RANGES_SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            parts.push(format!("bytes {}{more} lost", shown.join(", ")));
        }
        let repairable = self.blocks.iter().filter(|block| !block.is_lost()).count();
        if repairable > 0 {
            parts.push(format!("{} damaged but readable", Count(repairable as u64, "block")));
        }
        parts.join("; ")
    }

    /// The same as a part of something larger.
    pub(super) fn inside(self, what: &str) -> Self {
        Self { within: format!("{what}: {}", self.within), ..self }
    }
}

/// The damaged blocks of one part of the pool, by object.
type Objects = BTreeMap<ObjectId, Vec<DamagedBlock>>;

/// Names the owners of the blocks, in the order of the datasets.
pub(super) fn assign(
    open: &OpenPool,
    keys: &dyn Keys,
    lines: &Lines,
    found: &[(Part, DamagedBlock)],
) -> Vec<Damaged> {
    let mut parts: BTreeMap<Part, Objects> = BTreeMap::new();
    for (part, block) in found {
        parts.entry(*part).or_default().entry(block.at.object).or_default().push(block.clone());
    }
    share(lines, &mut parts);
    let mut damaged = Vec::new();
    for (part, objects) in parts {
        match part {
            Part::Mos => mos(open, objects, &mut damaged),
            Part::Dataset(n) => dataset(&lines.datasets()[n], keys, objects, &mut damaged),
            Part::Log(n) => {
                let within = lines.datasets()[n].name().to_owned();
                damaged.extend(objects.into_values().map(|blocks| whole(&within, "intent log", blocks)));
            }
            Part::Freeing(list) => {
                let what = format!("waiting to be freed ({list})");
                damaged.extend(objects.into_values().map(|blocks| whole("pool", &what, blocks)));
            }
        }
    }
    damaged
}

/// Adds the blocks of each dataset to those that share them.
fn share(lines: &Lines, parts: &mut BTreeMap<Part, Objects>) {
    let own: Vec<(usize, Vec<DamagedBlock>)> = parts
        .iter()
        .filter_map(|(part, objects)| match part {
            Part::Dataset(n) => Some((*n, objects.values().flatten().cloned().collect())),
            _ => None,
        })
        .collect();
    let index: BTreeMap<_, _> =
        lines.datasets().iter().enumerate().map(|(n, dataset)| (dataset.object(), n)).collect();
    for (n, blocks) in own {
        let held: Vec<_> = blocks.iter().map(|block| (block.at, block.pointer)).collect();
        let checks: BTreeMap<_, _> = blocks
            .iter()
            .map(|block| ((block.at.object, block.at.level, block.at.block), Arc::clone(&block.check)))
            .collect();
        lines.sharing(&lines.datasets()[n], &held, &mut |later, held| {
            let objects = parts.entry(Part::Dataset(index[&later.object()])).or_default();
            for (at, pointer) in held {
                let check = Arc::clone(&checks[&(at.object, at.level, at.block)]);
                objects.entry(at.object).or_default().push(DamagedBlock {
                    at: *at,
                    pointer: *pointer,
                    check,
                });
            }
        });
    }
}

fn whole(within: &str, what: &str, blocks: Vec<DamagedBlock>) -> Damaged {
    let object = blocks.first().map_or(ObjectId(0), |block| block.at.object);
    Damaged {
        within: within.to_owned(),
        paths: Vec::new(),
        what: what.to_owned(),
        object,
        lost: Vec::new(),
        is_lost: blocks.iter().any(DamagedBlock::is_lost),
        blocks,
    }
}

fn mos(open: &OpenPool, objects: Objects, damaged: &mut Vec<Damaged>) {
    for (object, blocks) in objects {
        let what = describe(open.pool.mos(), object);
        damaged.push(with_bytes("pool metadata", what, object, Vec::new(), blocks, Some(open.pool.mos())));
    }
}

fn dataset(dataset: &Dataset, keys: &dyn Keys, mut objects: Objects, damaged: &mut Vec<Damaged>) {
    let name = dataset.name();
    // Without the key, or with a wrong one, the files stay without names.
    let unlocked = !keys.is_at_hand() || unlock(dataset, keys).is_ok();
    let set = if unlocked { readable_objset(dataset) } else { dataset.objset_locked() };
    let Ok(set) = set else {
        let blocks = objects.into_values().flatten().collect();
        damaged.push(whole(name, "all of it", blocks));
        return;
    };
    let dnodes = objects.remove(&ObjectId(0)).unwrap_or_default();
    let lost: Vec<Range<u64>> =
        dnodes.iter().filter(|block| block.is_lost()).map(|block| dnode_range(&set, block.at)).collect();
    let wanted = PathQuery { objects: objects.keys().copied().collect(), ranges: lost.clone() };
    let paths = match set.objset_type() {
        ObjsetType::ZFS => Filesystem::open(&*set).map(|fs| fs.paths(&wanted)).unwrap_or_default(),
        _ => Paths::default(),
    };
    let shown = |object: &ObjectId| -> Vec<String> {
        let paths = paths.of.get(object).into_iter().flatten();
        paths.map(|path| format!("/{}", file_name(path))).collect()
    };
    if !dnodes.is_empty() {
        let ranges = merged(dnodes.iter().map(|block| dnode_range(&set, block.at)).collect());
        let ranges: Vec<_> =
            ranges.iter().map(|range| format!("{}-{}", range.start, range.end - 1)).collect();
        damaged.push(whole(name, &format!("dnodes of objects {}", ranges.join(", ")), dnodes));
    }
    for object in paths.of.keys().filter(|object| lost.iter().any(|range| range.contains(&object.0))) {
        if !objects.contains_key(object) {
            let mut file = whole(name, "", Vec::new());
            (file.paths, file.object, file.is_lost) = (shown(object), *object, true);
            damaged.push(file);
        }
    }
    for (object, blocks) in objects {
        let (what, places) = match paths.owners.get(&object) {
            Some(owner) => ("an extended attribute".to_owned(), shown(owner)),
            None => (String::new(), shown(&object)),
        };
        let what = if places.is_empty() { describe(&set, object) } else { what };
        damaged.push(with_bytes(name, what, object, places, blocks, Some(&set)));
    }
}

/// The description of an object that has no path.
fn describe(set: &Objset, object: ObjectId) -> String {
    match set.info(object) {
        _ if object == ObjectId(0) => "dnodes".to_owned(),
        Ok(info) if set.objset_type() == ObjsetType::ZVOL && object == ObjectId(1) => {
            format!("object {object} ({}), the volume's data", info.object_type.name())
        }
        Ok(info) => format!("object {object} ({})", info.object_type.name()),
        Err(_) => format!("object {object}"),
    }
}

fn with_bytes(
    within: &str,
    what: String,
    object: ObjectId,
    paths: Vec<String>,
    blocks: Vec<DamagedBlock>,
    set: Option<&Arc<Objset>>,
) -> Damaged {
    let mut damaged = Damaged { paths, object, is_lost: false, ..whole(within, &what, blocks) };
    let dnode = set.and_then(|set| set.dnode(object).ok());
    for block in damaged.blocks.iter().filter(|block| block.is_lost()) {
        let range = dnode.as_ref().and_then(|dnode| {
            let level = u32::try_from(block.at.level).ok()?;
            let span = 1_u64.checked_shl(level.checked_mul(dnode.pointers_per_block_shift())?)?;
            let start = block.at.block.0.checked_mul(span)?.checked_mul(dnode.block_bytes())?;
            let end = start.saturating_add(span.saturating_mul(dnode.block_bytes()));
            let last = dnode.max_block.0.saturating_add(1).saturating_mul(dnode.block_bytes());
            (block.at.block != Bookmark::SPILL).then_some(start..end.min(last.max(start + 1)))
        });
        match range {
            Some(range) => damaged.lost.push(range),
            // The spill block, or a shape that is not known.
            None => damaged.is_lost = true,
        }
    }
    damaged.lost = merged(std::mem::take(&mut damaged.lost));
    damaged
}

/// The objects whose dnodes are below a block of the meta-dnode.
fn dnode_range(set: &Objset, at: Bookmark) -> Range<u64> {
    let meta = &set.phys().meta_dnode;
    let slots = meta.block_bytes() / DNODE_SLOT_BYTES as u64;
    let shift = u32::try_from(at.level).unwrap_or(0) * meta.pointers_per_block_shift();
    let span = slots.saturating_mul(1_u64.checked_shl(shift).unwrap_or(u64::MAX));
    let start = at.block.0.saturating_mul(span);
    // The tree may have room for more objects than there are.
    let end = meta.max_block.0.saturating_add(1).saturating_mul(slots);
    start..start.saturating_add(span).min(end).max(start.saturating_add(1))
}

fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}
