//! The tree of datasets of a pool: ways from the pool to its directories and datasets.

use std::sync::Arc;

use zstream_dmu::ids::{Guid, ObjectId};

use super::{Dataset, Dir};
use crate::error::{Error, Kind, Result};
use crate::pool::Dsl;
use crate::reader::Mos;

impl<M: Mos> Dsl<M> {
    /// The pool's root directory.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn root(self: &Arc<Self>) -> Result<Arc<Dir<M>>> {
        Dir::at(self, self.read().path_to(self.read().root_dir()?)?)
    }

    /// The directory of this name: a filesystem or volume without its snapshots.
    ///
    /// # Errors
    /// When the pool is another one, there is none of this name, or it cannot be read.
    pub fn dir(self: &Arc<Self>, name: &str) -> Result<Arc<Dir<M>>> {
        let pool = name.split('/').next().unwrap_or_default();
        if pool != self.name() {
            return Err(Error::not_found(Kind::Pool, pool));
        }
        self.find_dir(name)?.ok_or_else(|| Error::not_found(Kind::Dataset, name))
    }

    /// The directory of this name; none where there is none.
    ///
    /// # Errors
    /// When the way there cannot be read.
    pub fn find_dir(self: &Arc<Self>, name: &str) -> Result<Option<Arc<Dir<M>>>> {
        self.read().path_named(name)?.map(|path| Dir::at(self, path)).transpose()
    }

    /// The dataset that is object `object` of the MOS, with its name, found by going up from it.
    ///
    /// # Errors
    /// When there is none, or the way up cannot be read.
    pub fn dataset_by_object(self: &Arc<Self>, object: ObjectId) -> Result<Dataset<M>> {
        let dir = self.dir_by_object(self.read().dataset(object)?.dir)?;
        if dir.phys().head == Some(object) {
            return dir.head();
        }
        let short = self.read().short_name(object)?;
        Dataset::open(&dir, object, format!("{}@{short}", dir.name()))
    }

    /// The directory that is object `object` of the MOS.
    ///
    /// # Errors
    /// When there is none, or the way up cannot be read.
    pub fn dir_by_object(self: &Arc<Self>, object: ObjectId) -> Result<Arc<Dir<M>>> {
        Dir::at(self, self.read().path_to(object)?)
    }

    /// The snapshot with this guid, anywhere in the pool, as `zfs receive` looks for one.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn snapshot_by_guid(self: &Arc<Self>, guid: Guid) -> Result<Option<Dataset<M>>> {
        self.root()?.snapshot_by_guid(guid)
    }

    /// Visits every directory that has a head dataset, parents first, children by name. Those that ZFS
    /// hides (`$ORIGIN`, `%recv`) are left out.
    ///
    /// # Errors
    /// When the tree cannot be read, or what `visit` returns.
    pub fn walk(self: &Arc<Self>, visit: &mut dyn FnMut(&Arc<Dir<M>>) -> Result<()>) -> Result<()> {
        self.root()?.walk(visit)
    }
}

impl<M: Mos> Dir<M> {
    /// The snapshot with this guid of the head or of what is below; the first in the order of [`walk`](Self::walk).
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn snapshot_by_guid(self: &Arc<Self>, guid: Guid) -> Result<Option<Dataset<M>>> {
        let mut found = None;
        self.walk(&mut |dir| {
            if found.is_none() {
                found = dir.head()?.snapshot_by_guid(guid)?;
            }
            Ok(())
        })?;
        Ok(found)
    }
}

impl<M: Mos> Dataset<M> {
    /// The snapshot of a head with this guid.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn snapshot_by_guid(&self, guid: Guid) -> Result<Option<Self>> {
        Ok(self.snapshots()?.into_iter().find(|snapshot| snapshot.phys().guid == guid))
    }
}
