//! Which datasets share a block.
//!
//! A block is born in a dataset and stays in the snapshots after it, in the head and in clones, for as long as nobody
//! writes over it:
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

/// All datasets of a pool, and which comes after which.
pub struct Lines<M = Arc<Objset>> {
    datasets: Vec<Dataset<M>>,
    /// By the object of a snapshot: what was made on top of it.
    after: HashMap<ObjectId, Vec<usize>>,
    failures: Vec<Error>,
}

impl<M> fmt::Debug for Lines<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("datasets", &self.datasets).finish_non_exhaustive()
    }
}

/// A block and where it lies.
pub type Held = (Bookmark, BlockPointer);

impl<M: Mos> Lines<M> {
    /// Finds the datasets of a pool, those that ZFS hides too: parents first, snapshots before their head. What cannot be
    /// read of the tree of datasets is left out.
    ///
    /// # Errors
    /// When its root cannot be read.
    pub fn new(dsl: &Arc<Dsl<M>>) -> Result<Self> {
        let mut lines = Self { datasets: Vec::new(), after: HashMap::new(), failures: Vec::new() };
        let (mut left, mut seen) = (vec![dsl.root()?], HashSet::new());
        while let Some(dir) = left.pop() {
            if !seen.insert(dir.object()) {
                let detail = format!("{} is another directory too", dir.name());
                lines.failures.push(Error::corrupt("DSL directory", detail));
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

    /// Why datasets were left out.
    #[must_use]
    pub fn failures(&self) -> &[Error] {
        &self.failures
    }

    /// The datasets.
    #[must_use]
    pub fn datasets(&self) -> &[Dataset<M>] {
        &self.datasets
    }

    /// Tells `visit` of every later dataset that holds some of the blocks that `dataset` holds, with these blocks. Where a
    /// dataset cannot be read, it and what comes after it count as not holding them.
    pub fn sharing(
        &self,
        dataset: &Dataset<M>,
        blocks: &[Held],
        visit: &mut dyn FnMut(&Dataset<M>, &[Held]),
    ) {
        // Each dataset has one before it, so each is come to once; a loop in a damaged pool is not followed twice.
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

/// Those of the blocks that are in the dataset too.
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
