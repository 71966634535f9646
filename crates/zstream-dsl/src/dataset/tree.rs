//! The tree of datasets in a pool: paths from the pool to its directories and datasets.

use std::sync::Arc;

use zstream_dmu::ids::{Guid, ObjectId};

use super::{Dataset, Dir};
use crate::error::{Error, Kind, Result};
use crate::pool::Dsl;
use crate::reader::Mos;

impl<M: Mos> Dsl<M> {
    /// Returns the root directory of the pool.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub fn root(self: &Arc<Self>) -> Result<Arc<Dir<M>>> {
        Dir::at(self, self.read().path_to(self.read().root_dir()?)?)
    }

    /// Returns the directory with this name: a filesystem or volume without its snapshots.
    ///
    /// # Errors
    /// Fails if the name is of another pool or does not exist, and if the directory cannot be read.
    pub fn dir(self: &Arc<Self>, name: &str) -> Result<Arc<Dir<M>>> {
        let pool = name.split('/').next().unwrap_or_default();
        if pool != self.name() {
            return Err(Error::not_found(Kind::Pool, pool));
        }
        self.find_dir(name)?.ok_or_else(|| Error::not_found(Kind::Dataset, name))
    }

    /// Returns the directory with this name, if it exists.
    ///
    /// # Errors
    /// Fails if the path to it cannot be read.
    pub fn find_dir(self: &Arc<Self>, name: &str) -> Result<Option<Arc<Dir<M>>>> {
        self.read().path_named(name)?.map(|path| Dir::at(self, path)).transpose()
    }

    /// Returns the dataset in object `object` of the MOS, with its name, which is found on the way up.
    ///
    /// # Errors
    /// Fails if the object is not a dataset, and if the way up cannot be read.
    pub fn dataset_by_object(self: &Arc<Self>, object: ObjectId) -> Result<Dataset<M>> {
        let dir = self.dir_by_object(self.read().dataset(object)?.dir)?;
        if dir.phys().head == Some(object) {
            return dir.head();
        }
        let short = self.read().short_name(object)?;
        Dataset::open(&dir, object, format!("{}@{short}", dir.name()))
    }

    /// Returns the directory in object `object` of the MOS.
    ///
    /// # Errors
    /// Fails if the object is not a directory, and if the way up cannot be read.
    pub fn dir_by_object(self: &Arc<Self>, object: ObjectId) -> Result<Arc<Dir<M>>> {
        Dir::at(self, self.read().path_to(object)?)
    }

    /// Returns the snapshot with this guid, anywhere in the pool, as `zfs receive` does.
    ///
    /// # Errors
    /// Fails if the tree cannot be read.
    pub fn snapshot_by_guid(self: &Arc<Self>, guid: Guid) -> Result<Option<Dataset<M>>> {
        self.root()?.snapshot_by_guid(guid)
    }

    /// Visits every directory with a head dataset, parents first, children by name. Hidden directories (`$ORIGIN`,
    /// `%recv`) are excluded.
    ///
    /// # Errors
    /// Fails if the tree cannot be read, or if `visit` fails.
    pub fn walk(self: &Arc<Self>, visit: &mut dyn FnMut(&Arc<Dir<M>>) -> Result<()>) -> Result<()> {
        self.root()?.walk(visit)
    }
}

impl<M: Mos> Dir<M> {
    /// Returns the snapshot with this guid of the head or of datasets below; the first in the order of
    /// [`walk`](Self::walk).
    ///
    /// # Errors
    /// Fails if the tree cannot be read.
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
    /// Returns the snapshot of a head with this guid.
    ///
    /// # Errors
    /// Fails if a snapshot cannot be read.
    pub fn snapshot_by_guid(&self, guid: Guid) -> Result<Option<Self>> {
        Ok(self.snapshots()?.into_iter().find(|snapshot| snapshot.phys().guid == guid))
    }
}
