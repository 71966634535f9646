//! Reader of directories and datasets in the MOS, by object. It is the MOS that was last committed, or that of an open
//! transaction group: the reader does not depend on which.
//!
//! ```text
//! MosReader   objects: the fields of directories and datasets, and their tables   here, and in the module of each table
//! Dsl         names: directories and datasets with the path to them               pool, dataset, find, over a MosReader
//! ```

use std::sync::Arc;

use zstream_dmu::block::ReadBlock;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::mos::{DIRECTORY_OBJECT, FEATURES, Feature};
use zstream_dmu::object_set::{ObjectInfo, ObjectSet};
use zstream_dmu::objset::Objset;
use zstream_dmu::zap::{Match, Value, Zap};
use zstream_format::object_type::{ObjectType, ObjsetType};

use crate::error::{Error, Result};
use crate::phys::{DatasetFlags, DatasetPhys, DirPhys};
use zstream_format::errno::Errno;

/// The maximum depth of nested directories: a name of 255 bytes does not have more parts.
pub(crate) const DEPTH_MAX: usize = 130;

/// The maximum number of snapshots in one line, which is more than any pool has.
pub(crate) const SNAPSHOTS_MAX: usize = 1 << 24;

/// The name of the directory whose snapshot of the same name is the origin of every filesystem.
pub(crate) const ORIGIN: &str = "$ORIGIN";

/// The clone that a receive fills if the target exists (`recv_clone_name`).
pub const RECEIVE_CHILD: &str = "%recv";

/// The type of the object of a directory or dataset with entries.
pub(crate) const ZAPIFIED: ObjectType = ObjectType(ObjectType::NEW_TYPE | ObjectType::METADATA | 4);

/// A MOS from which datasets are read.
pub trait Mos {
    /// Returns its objects.
    fn objects(&self) -> &dyn ObjectSet;
}

impl Mos for Arc<Objset> {
    fn objects(&self) -> &dyn ObjectSet {
        &**self
    }
}

/// The MOS of an open transaction group, which cannot change while its datasets are read.
pub type OpenMos<'t> = &'t dyn ObjectSet;

impl Mos for OpenMos<'_> {
    fn objects(&self) -> &dyn ObjectSet {
        *self
    }
}

/// A directory on the path from the root of the pool.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) object: ObjectId,
    /// The full name.
    pub(crate) name: String,
    pub(crate) phys: DirPhys,
}

/// A reader of directories and datasets by object.
#[derive(Clone, Copy)]
pub(crate) struct MosReader<'m> {
    pub(crate) mos: &'m dyn ObjectSet,
    /// The pool's name.
    pub(crate) pool: &'m str,
    pub(crate) blocks: &'m Arc<dyn ReadBlock>,
}

impl MosReader<'_> {
    /// Returns a MOS object, and checks the type of its bonus buffer.
    pub(crate) fn bonus(self, object: ObjectId, bonus_type: ObjectType) -> Result<ObjectInfo> {
        let info = self.mos.info(object)?;
        if info.bonus_type != bonus_type {
            return Err(Error::corrupt(
                "MOS object",
                format!("object {object} has a bonus of type {}, expected {bonus_type}", info.bonus_type),
            ));
        }
        Ok(info)
    }

    /// Returns a directory.
    pub(crate) fn dir(self, object: ObjectId) -> Result<DirPhys> {
        DirPhys::of_bonus(self.bonus(object, ObjectType::DSL_DIR)?.bonus()?)
    }

    /// Returns a dataset.
    pub(crate) fn dataset(self, object: ObjectId) -> Result<DatasetPhys> {
        DatasetPhys::of_bonus(self.bonus(object, ObjectType::DSL_DATASET)?.bonus()?)
    }

    /// Returns an entry of a ZAP; `None` if there is no ZAP.
    pub(crate) fn lookup(self, zap: Option<ObjectId>, name: &str) -> Result<Option<Value>> {
        match zap {
            Some(object) => Ok(Zap::open(self.mos, object)?.lookup(name)?),
            None => Ok(None),
        }
    }

    /// Returns an entry of a ZAP that is an object number.
    pub(crate) fn lookup_object(self, zap: Option<ObjectId>, name: &str) -> Result<Option<ObjectId>> {
        Ok(self.lookup(zap, name)?.map(|value| value.u64().map(ObjectId)).transpose()?)
    }

    /// Returns the entries of a ZAP, by name; `None` if there is no ZAP.
    pub(crate) fn entries(self, zap: Option<ObjectId>) -> Result<Vec<(String, Value)>> {
        let Some(object) = zap else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        for entry in Zap::open(self.mos, object)?.entries() {
            let entry = entry?;
            entries.push((entry.key.text()?.to_owned(), entry.value));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    /// Returns the values of a ZAP, in the ZAP's own order; `None` if there is no ZAP.
    pub(crate) fn values(self, zap: Option<ObjectId>) -> Result<Vec<Value>> {
        let Some(object) = zap else { return Ok(Vec::new()) };
        Zap::open(self.mos, object)?.entries().map(|entry| Ok(entry?.value)).collect()
    }

    /// Returns the numbers in a set of numbers, ascending (`zap_add_int`).
    pub(crate) fn numbers(self, zap: Option<ObjectId>) -> Result<Vec<ObjectId>> {
        let values = self.values(zap)?;
        let mut numbers =
            values.iter().map(|value| value.u64().map(ObjectId)).collect::<Result<Vec<_>, _>>()?;
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Returns the name of the entry of a ZAP with this object number, if there is one.
    fn name_in(self, zap: Option<ObjectId>, object: ObjectId) -> Result<Option<String>> {
        let (Some(zap), own) = (zap, Value::word(object.0)) else { return Ok(None) };
        for entry in Zap::open(self.mos, zap)?.entries() {
            let entry = entry?;
            if entry.value == own {
                return Ok(Some(entry.key.text()?.to_owned()));
            }
        }
        Ok(None)
    }

    /// Returns an entry of the MOS's directory.
    pub(crate) fn directory(self, name: &str) -> Result<Option<ObjectId>> {
        self.lookup_object(Some(DIRECTORY_OBJECT), name)
    }

    /// Returns the ZAP in the own object of a directory or dataset, if it has one.
    pub(crate) fn own_zap(self, object: ObjectId) -> Result<Option<ObjectId>> {
        Ok((self.mos.info(object)?.object_type == ZAPIFIED).then_some(object))
    }

    /// Returns an entry in the own object of a directory or dataset.
    pub(crate) fn entry(self, object: ObjectId, name: &str) -> Result<Option<Value>> {
        self.lookup(self.own_zap(object)?, name)
    }

    /// Returns an entry in the own object of a directory or dataset that is an object number.
    pub(crate) fn entry_object(self, object: ObjectId, name: &str) -> Result<Option<ObjectId>> {
        self.lookup_object(self.own_zap(object)?, name)
    }
}

/// The tree of directories and datasets.
impl MosReader<'_> {
    /// Returns the root directory of the pool.
    pub(crate) fn root_dir(self) -> Result<ObjectId> {
        self.directory("root_dataset")?
            .ok_or_else(|| Error::corrupt("MOS directory", "root_dataset is missing"))
    }

    /// Returns a child of a directory.
    pub(crate) fn child(self, dir: ObjectId, name: &str) -> Result<Option<ObjectId>> {
        self.lookup_object(self.dir(dir)?.children, name)
    }

    /// Returns the table of the children of a directory.
    pub(crate) fn children_zap(self, dir: ObjectId) -> Result<ObjectId> {
        let missing = || Error::corrupt("DSL directory", format!("{dir} has no list of children"));
        self.dir(dir)?.children.ok_or_else(missing)
    }

    /// Returns the head dataset of a directory.
    pub(crate) fn head_of(self, dir: ObjectId) -> Result<ObjectId> {
        self.dir(dir)?.head.ok_or_else(|| Error::corrupt("DSL directory", format!("{dir} has no dataset")))
    }

    /// Returns a directory and those above it, up to the root.
    pub(crate) fn line_up(self, dir: ObjectId) -> Result<Vec<(ObjectId, DirPhys)>> {
        let mut line = Vec::new();
        let mut at = Some(dir);
        while let Some(next) = at {
            if line.len() >= DEPTH_MAX {
                return Err(Error::corrupt("DSL directory", format!("{dir} is in a loop of directories")));
            }
            let phys = self.dir(next)?;
            at = phys.parent;
            line.push((next, phys));
        }
        Ok(line)
    }

    /// Returns the path from the root of the pool to a directory, both included.
    pub(crate) fn path_to(self, dir: ObjectId) -> Result<Vec<Step>> {
        let mut path: Vec<Step> = Vec::new();
        for (object, phys) in self.line_up(dir)?.into_iter().rev() {
            let name = match path.last() {
                Some(parent) => {
                    let own = self.name_in(parent.phys.children, object)?.ok_or_else(|| {
                        Error::corrupt("DSL directory", format!("{object} is not in {}", parent.name))
                    })?;
                    format!("{}/{own}", parent.name)
                }
                None if object == self.root_dir()? => self.pool.to_owned(),
                None => return Err(Error::corrupt("DSL directory", format!("{object} has no parent"))),
            };
            path.push(Step { object, name, phys });
        }
        Ok(path)
    }

    /// Returns the path from the root of the pool to the directory with this name, if it exists.
    pub(crate) fn path_named(self, name: &str) -> Result<Option<Vec<Step>>> {
        let mut parts = name.split('/');
        if parts.next() != Some(self.pool) {
            return Ok(None);
        }
        let object = self.root_dir()?;
        let mut path = vec![Step { object, name: self.pool.to_owned(), phys: self.dir(object)? }];
        for part in parts {
            let Some(above) = path.last().filter(|_| path.len() <= DEPTH_MAX) else { return Ok(None) };
            let Some(object) = self.lookup_object(above.phys.children, part)? else { return Ok(None) };
            path.push(Step { object, name: format!("{}/{part}", above.name), phys: self.dir(object)? });
        }
        Ok(Some(path))
    }

    /// Returns the directory with this name, if it exists.
    pub(crate) fn dir_named(self, name: &str) -> Result<Option<ObjectId>> {
        Ok(self.path_named(name)?.and_then(|mut path| path.pop()).map(|step| step.object))
    }

    /// Returns the full name of a directory.
    pub(crate) fn dir_name(self, dir: ObjectId) -> Result<String> {
        let missing = || Error::corrupt("DSL directory", format!("{dir} has no name"));
        self.path_to(dir)?.pop().map(|step| step.name).ok_or_else(missing)
    }

    /// Returns the short name of a snapshot, as stored.
    pub(crate) fn short_name(self, snapshot: ObjectId) -> Result<String> {
        let head = self.head_of(self.dataset(snapshot)?.dir)?;
        self.name_in(self.dataset(head)?.snapshot_names, snapshot)?
            .ok_or_else(|| Error::corrupt("DSL dataset", format!("snapshot {snapshot} has no name")))
    }

    /// Returns the full name of a dataset or snapshot.
    pub(crate) fn full_name(self, dataset: ObjectId) -> Result<String> {
        let phys = self.dataset(dataset)?;
        let dir = self.dir_name(phys.dir)?;
        if phys.is_snapshot() { Ok(format!("{dir}@{}", self.short_name(dataset)?)) } else { Ok(dir) }
    }

    /// Returns the snapshot of a head with this short name, together with its name as stored, if it exists.
    pub(crate) fn snapshot(self, head: &DatasetPhys, name: &str) -> Result<Option<(String, ObjectId)>> {
        let Some(names) = head.snapshot_names else { return Ok(None) };
        let insensitive = head.flags.contains(DatasetFlags::CASE_INSENSITIVE);
        let how = if insensitive { Match::Normalized } else { Match::Exact };
        match Zap::open(self.mos, names)?.find(name, how)? {
            Some(entry) => Ok(Some((entry.key.text()?.to_owned(), ObjectId(entry.value.u64()?)))),
            None => Ok(None),
        }
    }

    /// Returns the snapshot `$ORIGIN@$ORIGIN`, of which every filesystem is a clone.
    pub(crate) fn origin_snapshot(self) -> Result<Option<ObjectId>> {
        let Some(dir) = self.child(self.root_dir()?, ORIGIN)? else { return Ok(None) };
        match self.dir(dir)?.head {
            Some(head) => Ok(self.dataset(head)?.prev_snapshot),
            None => Ok(None),
        }
    }

    /// Returns `true` if a directory is a clone of another snapshot than the pool's empty origin.
    pub(crate) fn is_clone(self, dir: ObjectId) -> Result<bool> {
        let origin = self.dir(dir)?.origin;
        Ok(origin.is_some() && origin != self.origin_snapshot()?)
    }

    /// Returns the birth of the origin of a directory, 0 if it has none.
    pub(crate) fn origin_txg(self, dir: ObjectId) -> Result<Txg> {
        match self.dir(dir)?.origin {
            Some(origin) => Ok(self.dataset(origin)?.creation_txg),
            None => Ok(Txg(0)),
        }
    }

    /// Returns `true` if a snapshot is in the line of snapshots that leads to a dataset, without the dataset itself
    /// (`dsl_dataset_is_before`).
    pub(crate) fn is_before(self, dataset: ObjectId, snapshot: ObjectId) -> Result<bool> {
        let txg = self.dataset(snapshot)?.creation_txg;
        let mut at = self.dataset(dataset)?;
        for _ in 0..SNAPSHOTS_MAX {
            let Some(previous) = at.prev_snapshot else { return Ok(false) };
            if previous == snapshot {
                return Ok(true);
            }
            if at.prev_snapshot_txg < txg {
                return Ok(false);
            }
            let earlier = self.dataset(previous)?;
            // A head is created before its snapshots, so that its own creation cannot be compared.
            if earlier.prev_snapshot_txg >= at.prev_snapshot_txg {
                let name = self.full_name(dataset)?;
                return Err(Error::corrupt(
                    "DSL dataset",
                    format!("the snapshots before {name} are not in order"),
                ));
            }
            at = earlier;
        }
        Err(Error::corrupt(
            "DSL dataset",
            format!("the snapshots before {} form a loop", self.full_name(dataset)?),
        ))
    }

    /// Returns the objects of a dataset as they were last synced.
    pub(crate) fn objset(self, dataset: ObjectId) -> Result<Objset> {
        Ok(Objset::open(self.blocks.clone(), dataset.0, self.dataset(dataset)?.root)?)
    }

    /// Returns the objects of a dataset as they are visible without a key.
    pub(crate) fn objset_locked(self, dataset: ObjectId) -> Result<Objset> {
        Ok(Objset::open_locked(self.blocks.clone(), dataset.0, self.dataset(dataset)?.root)?)
    }

    /// Returns `true` if a head is a filesystem, and so can have datasets below it.
    pub(crate) fn is_filesystem(self, head: ObjectId) -> Result<bool> {
        Ok(self.dataset(head)?.root.is_hole() || self.objset_locked(head)?.objset_type() == ObjsetType::ZFS)
    }
}

/// Returns the feature with this name.
pub(crate) fn known_feature(name: &str) -> Result<&'static Feature> {
    Feature::by_name(name)
        .ok_or_else(|| Error::refused(Errno::EINVAL, format!("feature {name} does not exist")))
}

/// Features of the pool, and those that are active in datasets.
impl MosReader<'_> {
    /// Returns the ZAP that counts a feature.
    pub(crate) fn feature_zap(self, feature: &Feature) -> Result<Option<ObjectId>> {
        self.directory(if feature.read_only_compatible { "features_for_write" } else { "features_for_read" })
    }

    /// Returns the count of a feature; `None` if the pool does not have it.
    pub(crate) fn feature_count(self, name: &str) -> Result<Option<u64>> {
        let feature = known_feature(name)?;
        Ok(self.lookup(self.feature_zap(feature)?, feature.guid)?.map(|count| count.u64()).transpose()?)
    }

    /// Returns `true` if a feature is enabled.
    pub(crate) fn feature_enabled(self, name: &str) -> Result<bool> {
        Ok(self.feature_count(name)?.is_some())
    }

    /// Returns `true` if a feature is active.
    pub(crate) fn feature_active(self, name: &str) -> Result<bool> {
        Ok(self.feature_count(name)?.is_some_and(|count| count > 0))
    }

    /// Returns the features that are active in a dataset, with their values.
    pub(crate) fn dataset_features(self, dataset: ObjectId) -> Result<Vec<(&'static Feature, Value)>> {
        let mut found = Vec::new();
        if let Some(own) = self.own_zap(dataset)? {
            for feature in FEATURES.iter().filter(|feature| feature.per_dataset) {
                if let Some(value) = self.lookup(Some(own), feature.guid)? {
                    found.push((feature, value));
                }
            }
        }
        Ok(found)
    }

    /// Returns the value of a feature that is active in a dataset, if it is.
    pub(crate) fn dataset_feature(self, dataset: ObjectId, name: &str) -> Result<Option<Value>> {
        self.entry(dataset, known_feature(name)?.guid)
    }

    /// Checks that the pool has a feature.
    pub(crate) fn require_feature(self, name: &str) -> Result<()> {
        if self.feature_enabled(name)? {
            return Ok(());
        }
        Err(Error::refused(Errno::ENOTSUP, format!("feature {name} is not enabled in the pool")))
    }
}
