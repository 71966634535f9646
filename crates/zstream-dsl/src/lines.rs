//! Lines of datasets that share blocks.
//!
//! A block is born in a dataset. It remains in later snapshots, in the head and in clones until it is overwritten:
//!
//! ```text
//! fs@a ──> fs@b ──> fs@c ──> fs          a block of fs@a that fs@c does not have is in neither fs nor any clone of fs@c
//!   └──> clone@x ──> clone
//! ```

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::ids::{Bookmark, ObjectId};
use zstream_dmu::objset::Objset;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::pool::Dsl;
use crate::reader::Mos;

/// All datasets of a pool, and their order.
pub struct Lines<M = Arc<Objset>> {
    datasets: Vec<Dataset<M>>,
    /// The datasets that follow a snapshot, by the object of the snapshot.
    after: HashMap<ObjectId, Vec<usize>>,
    failures: Vec<Error>,
}

impl<M> fmt::Debug for Lines<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("datasets", &self.datasets).finish_non_exhaustive()
    }
}

/// A block and its place.
pub(crate) type Held = (Bookmark, BlockPointer);

impl<M: Mos> Lines<M> {
    /// Finds the datasets of a pool, hidden ones included: parents first, snapshots before their head. Parts of the
    /// tree that cannot be read are skipped.
    ///
    /// # Errors
    /// Fails if its root cannot be read.
    pub fn new(dsl: &Arc<Dsl<M>>) -> Result<Self> {
        let mut lines = Self { datasets: Vec::new(), after: HashMap::new(), failures: Vec::new() };
        let (mut left, mut seen) = (vec![dsl.root()?], HashSet::new());
        while let Some(dir) = left.pop() {
            if !seen.insert(dir.object()) {
                lines.failures.push(dir.is_another());
                continue;
            }
            let (mut children, failures) = dir.readable_children();
            lines.failures.extend(failures);
            children.reverse();
            left.extend(children);
            if dir.phys().head.is_none() {
                continue;
            }
            match dir.head() {
                Ok(head) => {
                    let (snapshots, failures) = head.readable_snapshots();
                    lines.failures.extend(failures);
                    lines.datasets.extend(snapshots);
                    lines.datasets.push(head);
                }
                Err(error) => lines.failures.push(error),
            }
        }
        for (n, dataset) in lines.datasets.iter().enumerate() {
            if let Some(before) = dataset.phys().prev_snapshot {
                lines.after.entry(before).or_default().push(n);
            }
        }
        Ok(lines)
    }

    /// Returns the errors of datasets that were skipped.
    #[must_use]
    pub fn failures(&self) -> &[Error] {
        &self.failures
    }

    /// Returns the datasets.
    #[must_use]
    pub fn datasets(&self) -> &[Dataset<M>] {
        &self.datasets
    }

    /// Calls `visit` for every later dataset that has some of the blocks of `dataset`, with these blocks. A dataset
    /// that cannot be read, and the datasets after it, count as not having them.
    pub fn sharing(
        &self,
        dataset: &Dataset<M>,
        blocks: &[Held],
        visit: &mut dyn FnMut(&Dataset<M>, &[Held]),
    ) {
        // Each dataset has one before it, so that each is visited once. A loop in a damaged pool is not followed twice.
        let mut left: Vec<_> = self.datasets.iter().map(|_| true).collect();
        let mut ways = vec![(dataset.object(), blocks.to_vec())];
        while let Some((object, blocks)) = ways.pop() {
            for &n in self.after.get(&object).into_iter().flatten() {
                if !std::mem::take(&mut left[n]) {
                    continue;
                }
                let later = &self.datasets[n];
                let held: Vec<Held> = held(later, &blocks);
                if !held.is_empty() {
                    visit(later, &held);
                    ways.push((later.object(), held));
                }
            }
        }
    }
}

/// Returns the blocks that the dataset has, too.
fn held<M: Mos>(dataset: &Dataset<M>, blocks: &[Held]) -> Vec<Held> {
    let open = if dataset.phys().root.uses_crypt() { dataset.objset_locked() } else { dataset.objset() };
    let Ok(set) = open else { return Vec::new() };
    let here = |at: Bookmark| Bookmark { objset: dataset.object().0, ..at };
    let same = |(at, pointer): &&Held| {
        set.pointer(*at).is_ok_and(|found| {
            found.dva(0) == pointer.dva(0) && found.physical_birth() == pointer.physical_birth()
        })
    };
    blocks.iter().filter(same).map(|(at, pointer)| (here(*at), *pointer)).collect()
}
