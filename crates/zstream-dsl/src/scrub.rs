//! All allocated blocks of a pool, each once, by the part of the pool that has them.
//!
//! ```text
//! MOS -> each dataset, without the blocks of the snapshot before it -> intent logs of heads -> lists of blocks to free
//! ```
//!
//! Together they are the blocks that are allocated in the space maps, except for those that only the pool's checkpoint
//! has ([`Checkpointed`](zstream_dmu::pool::Checkpointed)). They are found by the parts of the pool at the
//! checkpoint.

use std::sync::Arc;

use zstream_dmu::error::Result as PoolResult;
use zstream_dmu::objset::Objset;
use zstream_dmu::pool::Pool;
use zstream_dmu::pool::check::{Item, Target, listed_blocks, log_blocks, tree_blocks};
use zstream_dmu::traverse::{Floor, Options};

use crate::dataset::Dataset;
use crate::error::Result;
pub use crate::lines::Lines;
use crate::livelist;

/// A part of the pool that has blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The MOS.
    Mos,
    /// A dataset, by its index in [`Lines::datasets`].
    Dataset(usize),
    /// The intent log of a dataset.
    Log(usize),
    /// A list of blocks that are not freed yet, by name.
    Freeing(&'static str),
}

/// An iterator over the blocks of a part.
pub type Blocks<'a> = Box<dyn Iterator<Item = PoolResult<Item>> + Send + 'a>;

/// Calls `visit` with each part of the pool, whose datasets are those of `lines`.
///
/// # Errors
/// Fails if a list of blocks to be freed cannot be read.
pub fn parts(pool: &Pool, lines: &Lines, visit: &mut dyn FnMut(Part, Blocks<'_>)) -> Result<()> {
    let reader = pool.reader();
    let mos = Target { objset: 0, root: pool.uberblock().root, options: Options::default() };
    visit(Part::Mos, Box::new(tree_blocks(reader, &mos)));
    for (n, dataset) in lines.datasets().iter().enumerate() {
        let Some(target) = target(dataset) else { continue };
        visit(Part::Dataset(n), Box::new(tree_blocks(reader, &target)));
        // Snapshots do not own an intent log. If the set cannot be opened, its objset block is lost, which is reported.
        if !dataset.is_snapshot()
            && let Ok(set) = readable_objset(dataset)
        {
            visit(Part::Log(n), Box::new(log_blocks(reader, dataset.object().0, &set.phys().zil)));
        }
    }
    for (list, blocks) in pool.freeing_lists()? {
        visit(Part::Freeing(list), Box::new(listed_blocks(&**pool.mos(), &blocks)));
    }
    for tree in pool.freeing_trees()? {
        visit(Part::Freeing("destroyed dataset"), Box::new(tree_blocks(reader, &tree)));
    }
    for part in livelist::deleted(pool)? {
        let blocks = livelist::allocated(&**pool.mos(), &part)?;
        visit(Part::Freeing("deleted_clones"), Box::new(blocks.into_iter().map(Ok)));
    }
    Ok(())
}

/// Returns the blocks that a dataset has and the previous snapshot has not; `None` for a dataset that was never filled.
fn target(dataset: &Dataset) -> Option<Target> {
    let phys = dataset.phys();
    let locked = phys.root.uses_crypt();
    let options = Options { floor: Floor::Allocated(phys.prev_snapshot_txg), locked, ..Options::default() };
    let target = Target { objset: dataset.object().0, root: phys.root, options };
    (!phys.root.is_hole()).then_some(target)
}

/// Returns the objects of a dataset as far as they are readable without a key that is not loaded.
///
/// # Errors
/// Fails if they cannot be read.
pub fn readable_objset(dataset: &Dataset) -> Result<Arc<Objset>> {
    if dataset.phys().root.uses_crypt() && !dataset.is_unlocked()? {
        dataset.objset_locked()
    } else {
        dataset.objset()
    }
}
