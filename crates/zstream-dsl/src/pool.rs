//! The tree of datasets of a pool, from the MOS.

use std::fmt;
use std::sync::Arc;

use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::{Guid, ObjectId};
use zstream_dmu::object_set::{ObjectInfo, ObjectSet};
use zstream_dmu::objset::Objset;
use zstream_dmu::zap::{Value, Zap};
use zstream_dmu::zio::crypt::Keyring;
use zstream_format::object_type::ObjectType;

use crate::bookmark::Bookmark;
use crate::dataset::{Dataset, Dir};
use crate::name::{Name, Suffix};

/// The MOS's directory of objects.
const OBJECT_DIRECTORY: ObjectId = ObjectId(1);
/// How deep datasets may be nested: a name of 255 bytes has no more parts.
const DEPTH_MAX: usize = 128;

/// A dataset, snapshot or bookmark that a name led to.
#[derive(Debug)]
pub enum Found {
    /// A filesystem, volume or snapshot.
    Dataset(Dataset),
    /// A bookmark.
    Bookmark(Bookmark),
}

/// The datasets of a pool.
pub struct Dsl {
    name: String,
    mos: Arc<Objset>,
    root: ObjectId,
    keyring: Arc<Keyring>,
}

impl fmt::Debug for Dsl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsl({})", self.name)
    }
}

impl Dsl {
    /// The datasets of the pool `name` with this MOS. `keyring` is what its reader of blocks decrypts with.
    ///
    /// # Errors
    /// When the MOS has no root dataset or cannot be read.
    pub fn open(name: impl Into<String>, mos: Arc<Objset>, keyring: Arc<Keyring>) -> Result<Arc<Self>> {
        let root = Zap::open(&*mos, OBJECT_DIRECTORY)?
            .lookup_u64("root_dataset")?
            .ok_or_else(|| Error::corrupt("MOS directory", "no root_dataset"))?;
        Ok(Arc::new(Self { name: name.into(), mos, root: ObjectId(root), keyring }))
    }

    /// The pool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pool's own object set.
    #[must_use]
    pub fn mos(&self) -> &Arc<Objset> {
        &self.mos
    }

    /// The keys that were loaded.
    #[must_use]
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// The pool's root directory.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn root(self: &Arc<Self>) -> Result<Arc<Dir>> {
        Dir::open(self, self.root, self.name.clone(), None)
    }

    /// The directory of this name: a filesystem or volume without its snapshots.
    ///
    /// # Errors
    /// When the pool is another one, there is none of this name, or it cannot be read.
    pub fn dir(self: &Arc<Self>, name: &str) -> Result<Arc<Dir>> {
        let mut parts = name.split('/');
        if parts.next() != Some(&self.name) {
            return Err(Error::not_found("pool", name.split('/').next().unwrap_or_default()));
        }
        let mut dir = self.root()?;
        for part in parts.take(DEPTH_MAX) {
            dir = dir.child(part)?.ok_or_else(|| Error::not_found("dataset", name))?;
        }
        Ok(dir)
    }

    /// What a name leads to.
    ///
    /// # Errors
    /// When the name is not one, nothing has it, or the way there cannot be read.
    pub fn find(self: &Arc<Self>, name: &str) -> Result<Found> {
        let parsed = Name::parse(name)?;
        let head = self.dir(&parsed.filesystem)?.head()?;
        match &parsed.suffix {
            Suffix::None => Ok(Found::Dataset(head)),
            Suffix::Snapshot(snapshot) => Ok(Found::Dataset(
                head.snapshot(snapshot)?.ok_or_else(|| Error::not_found("snapshot", name))?,
            )),
            Suffix::Bookmark(bookmark) => Ok(Found::Bookmark(
                head.bookmark(bookmark)?.ok_or_else(|| Error::not_found("bookmark", name))?,
            )),
        }
    }

    /// The filesystem, volume or snapshot of this name.
    ///
    /// # Errors
    /// As [`find`](Self::find); also when it is the name of a bookmark.
    pub fn dataset(self: &Arc<Self>, name: &str) -> Result<Dataset> {
        match self.find(name)? {
            Found::Dataset(dataset) => Ok(dataset),
            Found::Bookmark(_) => Err(Error::invalid(format!("{name} is a bookmark"))),
        }
    }

    /// The dataset that is object `object` of the MOS, with its name, found by going up from it.
    ///
    /// # Errors
    /// When there is none, or the way up cannot be read.
    pub fn dataset_by_object(self: &Arc<Self>, object: ObjectId) -> Result<Dataset> {
        let phys = crate::phys::DatasetPhys::parse(self.bonus(object, ObjectType::DSL_DATASET)?.bonus()?)?;
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
        if object == self.root {
            return self.root();
        }
        if depth > DEPTH_MAX {
            return Err(Error::corrupt(
                "DSL directory",
                format!("{object} is nested more than {DEPTH_MAX} deep"),
            ));
        }
        let phys = crate::phys::DirPhys::parse(self.bonus(object, ObjectType::DSL_DIR)?.bonus()?)?;
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

    /// A MOS object, checked to have a bonus buffer of this type.
    pub(crate) fn bonus(&self, object: ObjectId, bonus_type: ObjectType) -> Result<ObjectInfo> {
        bonus(&*self.mos, object, bonus_type)
    }

    /// An entry of a ZAP of the MOS; none where there is no ZAP.
    pub(crate) fn lookup(&self, zap: Option<ObjectId>, name: &str) -> Result<Option<Value>> {
        lookup(&*self.mos, zap, name)
    }

    /// The entries of a ZAP of the MOS, by name; none where there is no ZAP.
    pub(crate) fn entries(&self, zap: Option<ObjectId>) -> Result<Vec<(String, Value)>> {
        entries(&*self.mos, zap)
    }

    /// The values of a ZAP of the MOS, in the ZAP's own order; none where there is no ZAP.
    pub(crate) fn values(&self, zap: Option<ObjectId>) -> Result<Vec<Value>> {
        let Some(object) = zap else { return Ok(Vec::new()) };
        Zap::open(&*self.mos, object)?.entries().map(|entry| entry.map(|entry| entry.value)).collect()
    }

    /// The entries that a directory or dataset keeps in its own object (`zapified`).
    pub(crate) fn own_zap(&self, object: ObjectId) -> Result<Option<ObjectId>> {
        own_zap(&*self.mos, object)
    }
}

/// The type of a directory or dataset that keeps entries in its own object.
pub(crate) const ZAPIFIED: ObjectType = ObjectType(ObjectType::NEW_TYPE | ObjectType::METADATA | 4);

/// A MOS object, checked to have a bonus buffer of this type.
pub(crate) fn bonus(mos: &dyn ObjectSet, object: ObjectId, bonus_type: ObjectType) -> Result<ObjectInfo> {
    let info = mos.info(object)?;
    if info.bonus_type != bonus_type {
        return Err(Error::corrupt(
            "MOS object",
            format!("object {object} has a bonus of type {}, expected {bonus_type}", info.bonus_type),
        ));
    }
    Ok(info)
}

/// An entry of a ZAP; none where there is no ZAP.
pub(crate) fn lookup(mos: &dyn ObjectSet, zap: Option<ObjectId>, name: &str) -> Result<Option<Value>> {
    match zap {
        Some(object) => Zap::open(mos, object)?.lookup(name),
        None => Ok(None),
    }
}

/// The entries of a ZAP, by name; none where there is no ZAP.
pub(crate) fn entries(mos: &dyn ObjectSet, zap: Option<ObjectId>) -> Result<Vec<(String, Value)>> {
    let Some(object) = zap else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    for entry in Zap::open(mos, object)?.entries() {
        let entry = entry?;
        entries.push((entry.key.text()?.to_owned(), entry.value));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

/// The entries that a directory or dataset keeps in its own object; none where it keeps none.
pub(crate) fn own_zap(mos: &dyn ObjectSet, object: ObjectId) -> Result<Option<ObjectId>> {
    Ok((mos.info(object)?.object_type == ZAPIFIED).then_some(object))
}
