//! The tree of datasets of a pool: ways from the pool to its directories and datasets.

use std::sync::Arc;

use zstream_dmu::ids::{Guid, ObjectId};
use zstream_format::object_type::ObjectType;

use super::{Dataset, Dir};
use crate::error::{Error, Kind, Result};
use crate::phys::{DatasetPhys, DirPhys};
use crate::pool::Dsl;

/// How deep datasets may be nested: a name of 255 bytes has no more parts.
const DEPTH_MAX: usize = 128;

impl Dsl {
    /// The pool's root directory.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn root(self: &Arc<Self>) -> Result<Arc<Dir>> {
        Dir::open(self, self.root_object(), self.name().to_owned(), None)
    }

    /// The directory of this name: a filesystem or volume without its snapshots.
    ///
    /// # Errors
    /// When the pool is another one, there is none of this name, or it cannot be read.
    pub fn dir(self: &Arc<Self>, name: &str) -> Result<Arc<Dir>> {
        let mut parts = name.split('/');
        if parts.next() != Some(self.name()) {
            return Err(Error::not_found(Kind::Pool, name.split('/').next().unwrap_or_default()));
        }
        let mut dir = self.root()?;
        for part in parts.take(DEPTH_MAX) {
            dir = dir.child(part)?.ok_or_else(|| Error::not_found(Kind::Dataset, name))?;
        }
        Ok(dir)
    }

    /// The dataset that is object `object` of the MOS, with its name, found by going up from it.
    ///
    /// # Errors
    /// When there is none, or the way up cannot be read.
    pub fn dataset_by_object(self: &Arc<Self>, object: ObjectId) -> Result<Dataset> {
        let phys = DatasetPhys::of_bonus(self.bonus(object, ObjectType::DSL_DATASET)?.bonus()?)?;
        let dir = self.dir_by_object(phys.dir)?;
        let head = dir.head()?;
        if head.object() == object {
            return Ok(head);
        }
        head.snapshots()?
            .into_iter()
            .find(|snapshot| snapshot.object() == object)
            .ok_or_else(|| Error::corrupt("DSL dataset", format!("{object} is not in {}", dir.name())))
    }

    /// The directory that is object `object` of the MOS.
    ///
    /// # Errors
    /// When there is none, or the way up cannot be read.
    pub fn dir_by_object(self: &Arc<Self>, object: ObjectId) -> Result<Arc<Dir>> {
        self.dir_above(object, 0)
    }

    fn dir_above(self: &Arc<Self>, object: ObjectId, depth: usize) -> Result<Arc<Dir>> {
        if object == self.root_object() {
            return self.root();
        }
        if depth > DEPTH_MAX {
            return Err(Error::corrupt(
                "DSL directory",
                format!("{object} is nested more than {DEPTH_MAX} deep"),
            ));
        }
        let phys = DirPhys::of_bonus(self.bonus(object, ObjectType::DSL_DIR)?.bonus()?)?;
        let parent =
            phys.parent.ok_or_else(|| Error::corrupt("DSL directory", format!("{object} has no parent")))?;
        let parent = self.dir_above(parent, depth + 1)?;
        parent
            .children()?
            .into_iter()
            .find(|child| child.object() == object)
            .ok_or_else(|| Error::corrupt("DSL directory", format!("{object} is not in {}", parent.name())))
    }

    /// The snapshot with this guid, anywhere in the pool, as `zfs receive` looks for one.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn snapshot_by_guid(self: &Arc<Self>, guid: Guid) -> Result<Option<Dataset>> {
        let mut found = None;
        self.walk(&mut |dir| {
            if found.is_none() {
                found = dir.head()?.snapshots()?.into_iter().find(|snapshot| snapshot.phys().guid == guid);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Visits every directory that has a head dataset, parents first, children by name. Those that ZFS
    /// hides (`$ORIGIN`, `%recv`) are left out.
    ///
    /// # Errors
    /// When the tree cannot be read, or what `visit` returns.
    pub fn walk(self: &Arc<Self>, visit: &mut dyn FnMut(&Arc<Dir>) -> Result<()>) -> Result<()> {
        self.root()?.walk(visit)
    }
}
