//! The MOS as directories and datasets are read from it, by object. It is the MOS that was committed last, or the one of an
//! open transaction group: nothing here knows which.
//!
//! ```text
//! MosReader   objects: what directories and datasets keep, and their tables      here, and where each table has its meaning
//! Dsl         names: directories and datasets with the way to them               pool, dataset, find, over a MosReader
//! ```

use std::sync::Arc;

use zstream_dmu::block::ReadBlock;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::mos::features::FEATURES;
use zstream_dmu::mos::{DIRECTORY_OBJECT, Feature};
use zstream_dmu::object_set::{ObjectInfo, ObjectSet};
use zstream_dmu::objset::Objset;
use zstream_dmu::zap::{Match, Value, Zap};
use zstream_format::object_type::{ObjectType, ObjsetType};

use crate::error::{Error, Result};
use crate::phys::{DatasetFlags, DatasetPhys, DirPhys};
use zstream_format::errno::Errno;

/// How deep directories may be nested: a name of 255 bytes has no more parts.
pub(crate) const DEPTH_MAX: usize = 130;

/// Snapshots of one line, as far as they are followed: more than any pool has.
pub(crate) const SNAPSHOTS_MAX: usize = 1 << 24;

/// Name of the directory whose snapshot of the same name is the origin of every filesystem.
pub(crate) const ORIGIN: &str = "$ORIGIN";

/// The clone that a receive fills when the target is there already (`recv_clone_name`).
pub const RECEIVE_CHILD: &str = "%recv";

/// The type of a directory or dataset that keeps entries in its own object.
pub(crate) const ZAPIFIED: ObjectType = ObjectType(ObjectType::NEW_TYPE | ObjectType::METADATA | 4);

/// A MOS that datasets are read from.
pub trait Mos {
    /// Its objects.
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

/// A directory on the way from the pool's root.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) object: ObjectId,
    /// The full name.
    pub(crate) name: String,
    pub(crate) phys: DirPhys,
}

/// Reads directories and datasets by object.
#[derive(Clone, Copy)]
pub(crate) struct MosReader<'m> {
    pub(crate) mos: &'m dyn ObjectSet,
    /// The pool's name.
    pub(crate) pool: &'m str,
    pub(crate) blocks: &'m Arc<dyn ReadBlock>,
}

impl MosReader<'_> {
    /// A MOS object, checked to have a bonus buffer of this type.
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

    /// A directory.
    pub(crate) fn dir(self, object: ObjectId) -> Result<DirPhys> {
        DirPhys::of_bonus(self.bonus(object, ObjectType::DSL_DIR)?.bonus()?)
    }

    /// A dataset.
    pub(crate) fn dataset(self, object: ObjectId) -> Result<DatasetPhys> {
        DatasetPhys::of_bonus(self.bonus(object, ObjectType::DSL_DATASET)?.bonus()?)
    }

    /// An entry of a ZAP; none where there is no ZAP.
    pub(crate) fn lookup(self, zap: Option<ObjectId>, name: &str) -> Result<Option<Value>> {
        match zap {
            Some(object) => Ok(Zap::open(self.mos, object)?.lookup(name)?),
            None => Ok(None),
        }
    }

    /// An entry of a ZAP that is the number of an object.
    pub(crate) fn lookup_object(self, zap: Option<ObjectId>, name: &str) -> Result<Option<ObjectId>> {
        Ok(self.lookup(zap, name)?.map(|value| value.u64().map(ObjectId)).transpose()?)
    }

    /// The entries of a ZAP, by name; none where there is no ZAP.
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

    /// The values of a ZAP, in the ZAP's own order; none where there is no ZAP.
    pub(crate) fn values(self, zap: Option<ObjectId>) -> Result<Vec<Value>> {
        let Some(object) = zap else { return Ok(Vec::new()) };
        Zap::open(self.mos, object)?.entries().map(|entry| Ok(entry?.value)).collect()
    }

    /// The numbers that a set of numbers holds, ascending (`zap_add_int`).
    pub(crate) fn numbers(self, zap: Option<ObjectId>) -> Result<Vec<ObjectId>> {
        let values = self.values(zap)?;
        let mut numbers =
            values.iter().map(|value| value.u64().map(ObjectId)).collect::<Result<Vec<_>, _>>()?;
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The name of the entry of a ZAP that is the number of this object; none where there is none.
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

    /// An entry of the MOS's directory.
    pub(crate) fn directory(self, name: &str) -> Result<Option<ObjectId>> {
        self.lookup_object(Some(DIRECTORY_OBJECT), name)
    }

    /// The entries that a directory or dataset keeps in its own object; none where it keeps none.
    pub(crate) fn own_zap(self, object: ObjectId) -> Result<Option<ObjectId>> {
        Ok((self.mos.info(object)?.object_type == ZAPIFIED).then_some(object))
    }

    /// An entry that a directory or dataset keeps in its own object.
    pub(crate) fn entry(self, object: ObjectId, name: &str) -> Result<Option<Value>> {
        self.lookup(self.own_zap(object)?, name)
    }

    /// An entry that a directory or dataset keeps in its own object, which is the number of another object.
    pub(crate) fn entry_object(self, object: ObjectId, name: &str) -> Result<Option<ObjectId>> {
        self.lookup_object(self.own_zap(object)?, name)
    }
}

/// The tree.
impl MosReader<'_> {
    /// The pool's root directory.
    pub(crate) fn root_dir(self) -> Result<ObjectId> {
        self.directory("root_dataset")?.ok_or_else(|| Error::corrupt("MOS directory", "no root_dataset"))
    }

    /// A child of a directory.
    pub(crate) fn child(self, dir: ObjectId, name: &str) -> Result<Option<ObjectId>> {
        self.lookup_object(self.dir(dir)?.children, name)
    }

    /// The table of the children of a directory.
    pub(crate) fn children_zap(self, dir: ObjectId) -> Result<ObjectId> {
        let missing = || Error::corrupt("DSL directory", format!("{dir} has no list of children"));
        self.dir(dir)?.children.ok_or_else(missing)
    }

    /// The head dataset of a directory.
    pub(crate) fn head_of(self, dir: ObjectId) -> Result<ObjectId> {
        self.dir(dir)?.head.ok_or_else(|| Error::corrupt("DSL directory", format!("{dir} has no dataset")))
    }

    /// A directory and those above it, up to the root.
    pub(crate) fn line_up(self, dir: ObjectId) -> Result<Vec<(ObjectId, DirPhys)>> {
        let mut line = Vec::new();
        let mut at = Some(dir);
        while let Some(next) = at {
            if line.len() >= DEPTH_MAX {
                return Err(Error::corrupt("DSL directory", format!("{dir} is nested without an end")));
            }
            let phys = self.dir(next)?;
            at = phys.parent;
            line.push((next, phys));
        }
        Ok(line)
    }

    /// The way from the pool's root to a directory, both included.
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

    /// The way from the pool's root to the directory of this name; none where there is none.
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

    /// The directory of this name; none where there is none.
    pub(crate) fn dir_named(self, name: &str) -> Result<Option<ObjectId>> {
        Ok(self.path_named(name)?.and_then(|mut path| path.pop()).map(|step| step.object))
    }

    /// The full name of a directory.
    pub(crate) fn dir_name(self, dir: ObjectId) -> Result<String> {
        let missing = || Error::corrupt("DSL directory", format!("{dir} has no name"));
        self.path_to(dir)?.pop().map(|step| step.name).ok_or_else(missing)
    }

    /// The short name of a snapshot, as it is stored.
    pub(crate) fn short_name(self, snapshot: ObjectId) -> Result<String> {
        let head = self.head_of(self.dataset(snapshot)?.dir)?;
        self.name_in(self.dataset(head)?.snapshot_names, snapshot)?
            .ok_or_else(|| Error::corrupt("DSL dataset", format!("snapshot {snapshot} has no name")))
    }

    /// The full name of a dataset or snapshot.
    pub(crate) fn full_name(self, dataset: ObjectId) -> Result<String> {
        let phys = self.dataset(dataset)?;
        let dir = self.dir_name(phys.dir)?;
        if phys.is_snapshot() { Ok(format!("{dir}@{}", self.short_name(dataset)?)) } else { Ok(dir) }
    }

    /// The snapshot of this short name of a head, with its name as it is stored; none where there is none.
    pub(crate) fn snapshot(self, head: &DatasetPhys, name: &str) -> Result<Option<(String, ObjectId)>> {
        let Some(names) = head.snapshot_names else { return Ok(None) };
        let insensitive = head.flags.contains(DatasetFlags::CASE_INSENSITIVE);
        let how = if insensitive { Match::Normalized } else { Match::Exact };
        match Zap::open(self.mos, names)?.find(name, how)? {
            Some(entry) => Ok(Some((entry.key.text()?.to_owned(), ObjectId(entry.value.u64()?)))),
            None => Ok(None),
        }
    }

    /// The snapshot `$ORIGIN@$ORIGIN`, of which every filesystem is a clone.
    pub(crate) fn origin_snapshot(self) -> Result<Option<ObjectId>> {
        let Some(dir) = self.child(self.root_dir()?, ORIGIN)? else { return Ok(None) };
        match self.dir(dir)?.head {
            Some(head) => Ok(self.dataset(head)?.prev_snapshot),
            None => Ok(None),
        }
    }

    /// Whether a directory is a clone of anything but the pool's empty origin.
    pub(crate) fn is_clone(self, dir: ObjectId) -> Result<bool> {
        let origin = self.dir(dir)?.origin;
        Ok(origin.is_some() && origin != self.origin_snapshot()?)
    }

    /// The birth of the origin of a directory, 0 where it has none.
    pub(crate) fn origin_txg(self, dir: ObjectId) -> Result<Txg> {
        match self.dir(dir)?.origin {
            Some(origin) => Ok(self.dataset(origin)?.creation_txg),
            None => Ok(Txg(0)),
        }
    }

    /// Whether a snapshot lies in the line of snapshots that led to a dataset, which does not count itself
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
            // A head was created before its snapshots were, so that creation says nothing here.
            if earlier.prev_snapshot_txg >= at.prev_snapshot_txg {
                let name = self.full_name(dataset)?;
                return Err(Error::corrupt("DSL dataset", format!("the line of {name} does not go back")));
            }
            at = earlier;
        }
        Err(Error::corrupt("DSL dataset", format!("the line of {} has no end", self.full_name(dataset)?)))
    }

    /// The objects of a dataset as they were last synced.
    pub(crate) fn objset(self, dataset: ObjectId) -> Result<Objset> {
        Ok(Objset::open(self.blocks.clone(), dataset.0, self.dataset(dataset)?.root)?)
    }

    /// The same, as far as they can be seen without a key.
    pub(crate) fn objset_locked(self, dataset: ObjectId) -> Result<Objset> {
        Ok(Objset::open_locked(self.blocks.clone(), dataset.0, self.dataset(dataset)?.root)?)
    }

    /// Whether datasets can be made under this head: it is a filesystem.
    pub(crate) fn is_filesystem(self, head: ObjectId) -> Result<bool> {
        Ok(self.dataset(head)?.root.is_hole() || self.objset_locked(head)?.objset_type() == ObjsetType::ZFS)
    }
}

/// The feature of this name.
pub(crate) fn known_feature(name: &str) -> Result<&'static Feature> {
    Feature::by_name(name).ok_or_else(|| Error::refused(Errno::EINVAL, format!("there is no feature {name}")))
}

/// Features: of the pool, and those that datasets activate in themselves.
impl MosReader<'_> {
    /// The ZAP that counts a feature.
    pub(crate) fn feature_zap(self, feature: &Feature) -> Result<Option<ObjectId>> {
        self.directory(if feature.read_only_compatible { "features_for_write" } else { "features_for_read" })
    }

    /// How often a feature is used; none where the pool does not have it.
    pub(crate) fn feature_count(self, name: &str) -> Result<Option<u64>> {
        let feature = known_feature(name)?;
        Ok(self.lookup(self.feature_zap(feature)?, feature.guid)?.map(|count| count.u64()).transpose()?)
    }

    /// Whether a feature may be used.
    pub(crate) fn feature_enabled(self, name: &str) -> Result<bool> {
        Ok(self.feature_count(name)?.is_some())
    }

    /// Whether a feature is used.
    pub(crate) fn feature_active(self, name: &str) -> Result<bool> {
        Ok(self.feature_count(name)?.is_some_and(|count| count > 0))
    }

    /// The features that a dataset has activated in itself, with their values.
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

    /// What a dataset keeps of a feature that it has activated in itself; none where it has not.
    pub(crate) fn dataset_feature(self, dataset: ObjectId, name: &str) -> Result<Option<Value>> {
        self.entry(dataset, known_feature(name)?.guid)
    }

    /// Refuses what needs a feature that the pool does not have.
    pub(crate) fn require_feature(self, name: &str) -> Result<()> {
        if self.feature_enabled(name)? {
            return Ok(());
        }
        Err(Error::refused(Errno::ENOTSUP, format!("the pool does not have the feature {name}")))
    }
}
