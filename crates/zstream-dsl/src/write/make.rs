//! Creation of directories and datasets (`dsl_dir_create_sync`, `dsl_dataset_create_sync`, `dsl_pool_create`).
//!
//! A new filesystem is a clone of `$ORIGIN@$ORIGIN`, an empty snapshot in every pool, so that the rules for clones
//! apply to it, too.

use zstream_dmu::bpobj as lists;
use zstream_dmu::bpobj::LIST_BLOCK_BYTES;
use zstream_dmu::dnode::NewObject;
use zstream_dmu::ids::{Guid, ObjectId, Txg};
use zstream_dmu::mos::DIRECTORY_OBJECT;
use zstream_dmu::zap::{NormFlags, Value};
use zstream_format::object_type::ObjectType;

use super::Tx;
use crate::error::{Error, Result};
use crate::phys::{DatasetFlags, DatasetPhys, DirFlags, DirPhys};
use crate::reader::{DEPTH_MAX, MosReader, ORIGIN};

/// The entry of a directory that counts the filesystems below it.
pub(super) const FILESYSTEM_COUNT: &str = "com.joyent:filesystem_count";
/// The entry of a directory that counts its snapshots and those below it.
pub(super) const SNAPSHOT_COUNT: &str = "com.joyent:snapshot_count";

/// The first datasets of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FirstDatasets {
    /// The pool's root directory.
    pub root_dir: ObjectId,
    /// Its head dataset, which has no object set yet.
    pub root: ObjectId,
}

impl Tx<'_> {
    /// Creates the datasets of a new pool, in a MOS that has an empty directory of objects and the ZAPs of features,
    /// with the pool's features (`dsl_pool_create`).
    ///
    /// The root dataset has no object set yet. Its creator has the blocks of the object set counted by the ledger.
    ///
    /// # Errors
    /// Fails if the MOS cannot be changed.
    pub(crate) fn create_pool(&mut self) -> Result<FirstDatasets> {
        let root_dir = self.create_dir(None, "")?;
        self.create_dir(Some(root_dir), "$MOS")?;
        self.create_dir(Some(root_dir), "$FREE")?;
        let list = lists::create(self.mos_mut(), LIST_BLOCK_BYTES, false)?;
        self.zap(DIRECTORY_OBJECT)?.add("free_bpobj", &Value::word(list.0))?;
        let dir = self.create_dir(Some(root_dir), ORIGIN)?;
        let origin = self.create_head(dir, None, DatasetFlags::empty())?;
        self.snapshot_at(origin, ORIGIN, Txg(1))?;
        let root = self.create_head(root_dir, None, DatasetFlags::empty())?;
        Ok(FirstDatasets { root_dir, root })
    }

    /// Creates a directory without a dataset; without a parent, it is the root of the pool (`dsl_dir_create_sync`).
    pub(super) fn create_dir(&mut self, parent: Option<ObjectId>, name: &str) -> Result<ObjectId> {
        let new = NewObject::new(ObjectType::DSL_DIR, 0).with_bonus(ObjectType::DSL_DIR, DirPhys::LEN as u16);
        let object = self.allocate(&new)?;
        let (names, name) = match parent {
            Some(parent) => (self.read().children_zap(parent)?, name),
            None => (DIRECTORY_OBJECT, "root_dataset"),
        };
        self.zap(names)?.add(name, &Value::word(object.0))?;
        if let Some(parent) = parent
            && !name.starts_with('$')
        {
            self.adjust_counts(parent, FILESYSTEM_COUNT, 1)?;
        }
        let props = self.create_zap(ObjectType::DSL_PROPS, NormFlags::empty())?;
        let children = self.create_zap(ObjectType::DSL_DIR_CHILD_MAP, NormFlags::empty())?;
        let now = self.clock.seconds;
        self.change_dir(object, |dir| {
            dir.creation_time = now;
            dir.parent = parent;
            dir.props = Some(props);
            dir.children = Some(children);
            dir.flags.insert(DirFlags::USED_BREAKDOWN);
        })?;
        Ok(object)
    }

    /// Creates the head dataset of a directory: a clone of `origin`, or an empty dataset
    /// (`dsl_dataset_create_sync_dd`).
    pub(super) fn create_head(
        &mut self,
        dir: ObjectId,
        origin: Option<ObjectId>,
        flags: DatasetFlags,
    ) -> Result<ObjectId> {
        let origin = match origin {
            Some(origin) => Some(origin),
            None => self.read().origin_snapshot()?,
        };
        let object = self.create_dataset_object()?;
        let names = self.create_zap(ObjectType::DSL_DS_SNAP_MAP, NormFlags::UPPER)?;
        let (guid, fsid_guid) = (Guid(self.random()?), self.random56()?);
        let (now, txg) = (self.clock.seconds, self.creation_txg());
        self.change_dataset(object, |dataset| {
            dataset.dir = dir;
            dataset.flags = flags | DatasetFlags::UNIQUE_ACCURATE;
            (dataset.guid, dataset.fsid_guid) = (guid, fsid_guid);
            dataset.snapshot_names = Some(names);
            (dataset.creation_time, dataset.creation_txg) = (now, txg);
        })?;
        let deadlist = match origin {
            None => self.create_deadlist()?,
            Some(origin) => self.join_origin(dir, object, origin)?,
        };
        self.change_dataset(object, |dataset| dataset.deadlist = Some(deadlist))?;
        self.change_dir(dir, |dir| dir.head = Some(object))?;
        Ok(object)
    }

    pub(super) fn create_dataset_object(&mut self) -> Result<ObjectId> {
        self.allocate(
            &NewObject::new(ObjectType::DSL_DATASET, 0)
                .with_bonus(ObjectType::DSL_DATASET, DatasetPhys::LEN as u16),
        )
    }

    /// Makes a new head a clone of a snapshot, and returns its deadlist.
    fn join_origin(&mut self, dir: ObjectId, head: ObjectId, origin: ObjectId) -> Result<ObjectId> {
        let from = self.read().dataset(origin)?;
        self.change_dataset(head, |dataset| {
            dataset.prev_snapshot = Some(origin);
            dataset.prev_snapshot_txg = from.creation_txg;
            take_content(dataset, &from);
            dataset.flags |= from.flags & (DatasetFlags::INCONSISTENT | DatasetFlags::CASE_INSENSITIVE);
        })?;
        self.copy_features(origin, head)?;
        let origin_head = self.read().head_of(from.dir)?;
        let origin_list = self.read().deadlist_of(origin_head)?;
        let deadlist = self.clone_deadlist(origin_list, from.creation_txg)?;
        let clones = match from.next_clones {
            Some(clones) => clones,
            None => self.create_zap(ObjectType::NEXT_CLONES, NormFlags::empty())?,
        };
        self.add_number(clones, head)?;
        self.change_dataset(origin, |origin| {
            origin.children += 1;
            origin.next_clones = Some(clones);
        })?;
        self.change_dir(dir, |dir| dir.origin = Some(origin))?;
        self.add_dir_clone(from.dir, head)?;
        self.share_crypto_key(from.dir, dir)?;
        Ok(deadlist)
    }

    /// Adds a head to the clones of a directory.
    pub(super) fn add_dir_clone(&mut self, dir: ObjectId, head: ObjectId) -> Result<()> {
        let clones = match self.read().dir(dir)?.clones {
            Some(clones) => clones,
            None => {
                let clones = self.create_zap(ObjectType::DSL_CLONES, NormFlags::empty())?;
                self.change_dir(dir, |dir| dir.clones = Some(clones))?;
                clones
            }
        };
        self.add_number(clones, head)
    }

    /// Creates a directory with its head dataset: an empty filesystem or volume without an object set, or a clone of
    /// `origin` (`dsl_dataset_create_sync`).
    ///
    /// # Errors
    /// Fails if the MOS cannot be changed.
    pub(super) fn create_dataset(
        &mut self,
        parent: ObjectId,
        name: &str,
        origin: Option<ObjectId>,
        flags: DatasetFlags,
    ) -> Result<ObjectId> {
        let dir = self.create_dir(Some(parent), name)?;
        let head = self.create_head(dir, origin, flags)?;
        if self.read().feature_active("filesystem_limits")? {
            self.set_entry(dir, FILESYSTEM_COUNT, &Value::word(0))?;
            self.set_entry(dir, SNAPSHOT_COUNT, &Value::word(0))?;
        }
        Ok(head)
    }

    /// Creates a clone that stays, with the list of its own blocks.
    pub(super) fn create_clone(
        &mut self,
        parent: ObjectId,
        name: &str,
        origin: ObjectId,
    ) -> Result<ObjectId> {
        let head = self.create_dataset(parent, name, Some(origin), DatasetFlags::empty())?;
        self.create_livelist(self.read().dataset(head)?.dir)?;
        Ok(head)
    }

    /// Changes a count of a directory and of those above it that have the count (`dsl_fs_ss_count_adjust`).
    pub(super) fn adjust_counts(&mut self, dir: ObjectId, name: &'static str, change: i64) -> Result<()> {
        let mut at = Some(dir);
        for _ in 0..DEPTH_MAX {
            let Some(dir) = at.filter(|_| change != 0) else { return Ok(()) };
            let Some(count) = self.read().entry(dir, name)? else { return Ok(()) };
            let count = count.u64()?.checked_add_signed(change).ok_or_else(|| {
                Error::corrupt("DSL directory", format!("{name} of {dir} would be negative"))
            })?;
            self.set_entry(dir, name, &Value::word(count))?;
            at = self.read().dir(dir)?.parent;
        }
        Err(Error::corrupt("DSL directory", format!("{dir} is in a loop of directories")))
    }
}

impl MosReader<'_> {
    /// Returns the deadlist of a dataset.
    pub(super) fn deadlist_of(self, dataset: ObjectId) -> Result<ObjectId> {
        self.dataset(dataset)?
            .deadlist
            .ok_or_else(|| Error::corrupt("DSL dataset", format!("{dataset} has no deadlist")))
    }
}

/// Gives a dataset the content of another one.
pub(super) fn take_content(dataset: &mut DatasetPhys, from: &DatasetPhys) {
    dataset.referenced_bytes = from.referenced_bytes;
    dataset.compressed_bytes = from.compressed_bytes;
    dataset.uncompressed_bytes = from.uncompressed_bytes;
    dataset.root = from.root;
}
