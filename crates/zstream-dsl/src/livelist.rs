//! Livelists: the blocks that a clone wrote itself, so that it can be destroyed without a traversal.
//!
//! ```text
//! MOS directory  com.delphix:deleted_clones  ->  ZAP of the livelists of destroyed clones
//! livelist: a deadlist  ->  parts, each a bpobj: + written   - freed again     in the order in which it happened
//! ```
//!
//! A block that was written and not freed again is still allocated, and only the livelist refers to it.

use std::collections::HashMap;

use zstream_dmu::bpobj::BpObj;
use zstream_dmu::error::Fault as PoolFault;
use zstream_dmu::ids::{BlockId, Bookmark, ObjectId};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::pool::Pool;
use zstream_dmu::pool::check::Item;
use zstream_dmu::zap::Zap;

use crate::deadlist::Deadlist;
use crate::error::Result;

/// The entry in the MOS's directory.
pub(crate) const DELETED_CLONES: &str = "com.delphix:deleted_clones";
/// The limit on entries of a part: OpenZFS starts another one after 500,000.
const ENTRIES_MAX: u64 = 4 << 20;

/// Returns the parts of the livelists of clones that were destroyed.
///
/// # Errors
/// Fails if their list or one of them cannot be read.
pub(crate) fn deleted(pool: &Pool) -> Result<Vec<BpObj>> {
    let mos = &**pool.mos();
    let Some(clones) = pool.directory_object(DELETED_CLONES)? else { return Ok(Vec::new()) };
    let mut parts = Vec::new();
    for entry in Zap::open(mos, clones)?.entries() {
        let list = Deadlist::open(mos, ObjectId(entry?.value.u64()?))?;
        for part in list.entries {
            parts.push(BpObj::open(mos, part.blocks)?);
        }
    }
    Ok(parts)
}

/// Returns the blocks of a part that are allocated.
///
/// # Errors
/// Fails if it cannot be read, or has more entries than a part can have.
pub(crate) fn allocated(mos: &dyn ObjectSet, part: &BpObj) -> Result<Vec<Item>> {
    if part.count > ENTRIES_MAX {
        return Err(
            PoolFault::TooLarge { what: "part of a livelist", size: part.count, limit: ENTRIES_MAX }.into()
        );
    }
    let entries = part.entries(mos).collect::<Result<Vec<_>, _>>()?;
    let mut freed: HashMap<_, u64> = HashMap::new();
    let mut left = Vec::new();
    // From the newest entry, since a block is written before it is freed.
    for (n, entry) in (0..).zip(&entries).collect::<Vec<(u64, _)>>().into_iter().rev() {
        let block = (entry.pointer.dva(0), entry.pointer.physical_birth());
        let times = freed.entry(block).or_default();
        match (entry.is_free, *times) {
            (true, _) => *times += 1,
            (false, 0) => {
                let at =
                    Bookmark { objset: mos.objset_id(), object: part.object, level: 0, block: BlockId(n) };
                left.push(Item::new(entry.pointer, at, true));
            }
            (false, _) => *times -= 1,
        }
    }
    Ok(left)
}
