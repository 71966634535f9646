//! Livelists of clones beside the blocks that the clones have.

use std::collections::BTreeMap;
use std::sync::Arc;

use zstream_dmu::blkptr::{BlockKind, BlockPointer};
use zstream_dmu::bpobj::BpObj;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::mos::Feature;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::pool::Pool;
use zstream_dmu::traverse::{Options, Traverse, VisitKind};
use zstream_dmu::zap::Zap;
use zstream_dmu::zio::crypt::Keyring;
use zstream_dsl::{Deadlist, Dsl};

/// How often a block is in a list or a clone, by its first address and its birth.
type Times = BTreeMap<(u32, u64, Txg), i64>;

fn key(block: &BlockPointer) -> (u32, u64, Txg) {
    (block.dva(0).vdev(), block.dva(0).offset(), block.birth())
}

/// Asserts that the livelists of a pool have the blocks of their clones that are younger than the origin, that every freed
/// block was allocated before it, in the same part, and that the feature counts them. Returns their number.
///
/// # Panics
/// They do not.
pub(super) fn compare(pool: &Pool, at: &str) -> usize {
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::<Keyring>::default()).expect("datasets");
    let (mos, mut count) = (&**pool.mos(), 0);
    dsl.walk(&mut |dir| {
        let Ok(entries) = Zap::open(mos, dir.object()) else { return Ok(()) };
        let Some(list) = entries.lookup_u64("com.delphix:livelist").expect("an entry") else { return Ok(()) };
        count += 1;
        let origin = dsl.dataset_by_object(dir.phys().origin.expect("a clone"))?.phys().creation_txg;
        let head = dir.head()?;
        let name = format!("{at}: {}", head.name());
        let list = Deadlist::open(mos, ObjectId(list))?;
        assert_eq!(
            listed(mos, &list, &name),
            blocks(pool, head.object(), &head.phys().root, origin),
            "{name}"
        );
        Ok(())
    })
    .expect("livelists");
    let feature = Feature::by_name("livelist").expect("a feature");
    assert_eq!(pool.features().count(feature.name), count as u64, "{at}");
    count
}

fn listed(mos: &dyn ObjectSet, list: &Deadlist, name: &str) -> Times {
    let mut all = Times::new();
    for (n, part) in list.entries.iter().enumerate() {
        let end = list.entries.get(n + 1).map_or(Txg(u64::MAX), |next| next.min_txg);
        let mut here = Times::new();
        for entry in BpObj::open(mos, part.blocks).expect("a part").entries(mos) {
            let entry = entry.expect("an entry");
            let key = key(&entry.pointer);
            assert!(key.2 > part.min_txg && key.2 <= end, "{name}: {key:?} is in part {part:?}");
            let times = here.entry(key).or_default();
            *times += if entry.is_free { -1 } else { 1 };
            assert!(*times >= 0, "{name}: {key:?} is freed before it is allocated");
        }
        all.extend(here.into_iter().filter(|(_, times)| *times > 0));
    }
    all
}

fn blocks(pool: &Pool, head: ObjectId, root: &BlockPointer, origin: Txg) -> Times {
    let mut found = Times::new();
    let options = Options { locked: root.uses_crypt(), ..Options::default() };
    for visit in Traverse::new(Arc::clone(pool.reader()) as _, head.0, *root, options) {
        let visit = visit.expect("a block");
        let is_stored = visit.kind != VisitKind::Dnode && visit.pointer.kind() == BlockKind::Normal;
        if is_stored && visit.pointer.birth() > origin {
            *found.entry(key(&visit.pointer)).or_default() += 1;
        }
    }
    found
}
