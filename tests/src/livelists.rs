//! Livelists of clones beside the blocks that the clones have.

use std::collections::BTreeMap;
use std::sync::Arc;

use zstream_dmu::blkptr::{BlockKind, BlockPointer};
use zstream_dmu::bpobj::BpObj;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::pool::Pool;
use zstream_dmu::traverse::{Options, Traverse, VisitKind};
use zstream_dmu::zap::Zap;
use zstream_dmu::zio::crypt::Keyring;
use zstream_dsl::{Deadlist, Dsl};

use crate::errors::Result;

/// How often a block is in a list or a clone, by its first address and its birth.
type Times = BTreeMap<(u32, u64, Txg), i64>;

/// Entries and blocks that are looked at.
const LOOKED_MAX: usize = 1 << 20;

/// The livelists of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Livelists {
    /// Their number.
    pub count: u64,
    /// Clones whose list does not have their blocks that are younger than the origin, and what is wrong with the list: a
    /// block that is freed must be allocated before it, in the same part.
    pub wrong: Vec<String>,
}

impl Livelists {
    /// Compares the livelists of a pool with the clones.
    ///
    /// # Errors
    /// Something cannot be read.
    pub fn of(pool: &Pool) -> Result<Self> {
        let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::<Keyring>::default())?;
        let (mos, mut this) = (&**pool.mos(), Self::default());
        let mut clones = Vec::new();
        dsl.walk(&mut |dir| {
            if let Ok(entries) = Zap::open(mos, dir.object())
                && let Some(list) = entries.lookup_u64("com.delphix:livelist")?
            {
                clones.push((dir.phys().origin, dir.head()?, ObjectId(list)));
            }
            Ok(())
        })?;
        for (origin, head, list) in clones {
            this.count += 1;
            let origin = match origin {
                Some(origin) => dsl.dataset_by_object(origin)?.phys().creation_txg,
                None => Txg(0),
            };
            let listed = listed(mos, &Deadlist::open(mos, list)?)?;
            if listed != Ok(blocks(pool, head.object(), &head.phys().root, origin)?) {
                this.wrong.push(format!("{}: {listed:?}", head.name()));
            }
        }
        Ok(this)
    }
}

fn key(block: &BlockPointer) -> (u32, u64, Txg) {
    (block.dva(0).vdev(), block.dva(0).offset(), block.birth())
}

/// The allocated blocks of a list, or an entry that is wrong.
fn listed(mos: &dyn ObjectSet, list: &Deadlist) -> Result<std::result::Result<Times, String>> {
    let mut all = Times::new();
    for (n, part) in list.entries.iter().enumerate() {
        let end = list.entries.get(n + 1).map_or(Txg(u64::MAX), |next| next.min_txg);
        let mut here = Times::new();
        for entry in BpObj::open(mos, part.blocks)?.entries(mos).take(LOOKED_MAX) {
            let entry = entry?;
            let key = key(&entry.pointer);
            let times = here.entry(key).or_default();
            *times += if entry.is_free { -1 } else { 1 };
            if *times < 0 || key.2 <= part.min_txg || key.2 > end {
                return Ok(Err(format!("{key:?} in part {part:?}")));
            }
        }
        all.extend(here.into_iter().filter(|(_, times)| *times > 0));
    }
    Ok(Ok(all))
}

fn blocks(pool: &Pool, head: ObjectId, root: &BlockPointer, origin: Txg) -> Result<Times> {
    let mut found = Times::new();
    let options = Options { locked: root.uses_crypt(), ..Options::default() };
    for visit in Traverse::new(Arc::clone(pool.reader()) as _, head.0, *root, options).take(LOOKED_MAX) {
        let visit = visit?;
        let is_stored = visit.kind != VisitKind::Dnode && visit.pointer.kind() == BlockKind::Normal;
        if is_stored && visit.pointer.birth() > origin {
            *found.entry(key(&visit.pointer)).or_default() += 1;
        }
    }
    Ok(found)
}
