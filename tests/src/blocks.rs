//! Every block of a pool, for tests of what lies below datasets.

use std::collections::HashSet;
use std::sync::Arc;

use zstream_dmu::blkptr::{BlockKind, BlockPointer};
use zstream_dmu::block::ReadBlock;
use zstream_dmu::ids::{Bookmark, ObjectId};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::pool::Pool;
use zstream_dmu::traverse::{Options, Traverse};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

/// The roots of the MOS and of all datasets, with the numbers of their objects. Knows only as much of datasets as it takes to find them.
pub fn roots(pool: &Pool) -> Vec<(u64, BlockPointer)> {
    const DATASET_POINTER: usize = 128;
    let mut roots = vec![(0, pool.uberblock().root)];
    let mut next = ObjectId(1);
    while let Some(object) = pool.mos().next_object(next).expect("the MOS") {
        let info = pool.mos().info(object).expect("an object of the MOS");
        if info.bonus_type == ObjectType::DSL_DATASET {
            let bonus = info.bonus().expect("a bonus");
            roots.push((
                object.0,
                BlockPointer::parse_at(bonus, DATASET_POINTER, ByteOrder::Little).expect("a pointer"),
            ));
        }
        next = ObjectId(object.0 + 1);
    }
    roots
}

/// All blocks of the pool that are on vdevs, each once. Panics when some cannot be reached.
pub fn blocks(pool: &Pool) -> Vec<(BlockPointer, Bookmark)> {
    let reader: Arc<dyn ReadBlock> = pool.reader().clone();
    let mut seen = HashSet::new();
    let mut blocks = Vec::new();
    for (id, root) in roots(pool).into_iter().filter(|(_, root)| !root.is_hole()) {
        let options = Options { locked: root.uses_crypt(), ..Options::default() };
        for visit in Traverse::new(Arc::clone(&reader), id, root, options) {
            let visit = visit.expect("a visit");
            if visit.pointer.kind() == BlockKind::Normal && seen.insert(visit.pointer.dva(0)) {
                blocks.push((visit.pointer, visit.at));
            }
        }
    }
    blocks
}
