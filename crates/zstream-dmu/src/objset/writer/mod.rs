//! Writable object sets.
//!
//! Changes are kept in memory, on top of the set as of the last sync:
//!
//! ```text
//! objects       changed objects: dnode, dirty blocks, freed ranges         (`overlay`)
//! meta-dnode    dirty blocks of dnodes; allocating or freeing an object changes its slots at once
//! set on disk   everything else
//! ```
//!
//! [`ObjsetWriter::sync`] writes them from the leaves to the objset block: data, indirect blocks, dnodes into their
//! blocks, the tree of the meta-dnode, the objset block. Afterwards the set can be changed again, in the same
//! transaction group or a later one.
//!
//! Memory use is limited: if dirty data exceeds a limit, data blocks are written early, in the background (`flight`).
//! There are no references to them before the sync, and if they are overwritten or freed before it, their space is
//! freed. So all changes of a transaction group must be synced in it.

mod accounting;
mod ahead;
mod clone;
mod flight;
mod overlay;
mod policy;
mod receive;
mod slots;
mod store;
mod sync;
mod tree_sync;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use zstream_format::object_type::{ObjectType, ObjsetType};

pub use self::accounting::OwnersOf;
use self::ahead::Ahead;
pub use self::clone::{CloneRange, CloneRefusal};
use self::flight::Flight;
use self::overlay::{Overlay, Source};
pub use self::policy::{RedundantMetadata, SetProperties};
use super::{OBJECTS_MAX, OBJSET_BYTES_NEW, Objset, ObjsetFlags, ObjsetPhys};
use crate::blkptr::BlockPointer;
use crate::block::ReadBlock;
use crate::block::StoredCrypt;
use crate::dnode::NewObject;
use crate::dnode::{DNODE_SLOT_BYTES, Dnode};
use crate::error::{Error, Fault, Result};
use crate::ids::{BlockId, ObjectId};
use crate::intent_log::ZilHeader;
use crate::object_set::ObjectSet;
use crate::zio::write::{Protection, WriteBlock};

/// The size of a block of dnodes (`DNODE_BLOCK_SIZE`).
const DNODE_BLOCK_BYTES: u32 = 16 << 10;

/// The limit for dirty data in bytes. Beyond it, blocks are written before the sync.
const DIRTY_BYTES_MAX: usize = 64 << 20;

/// The first object that [`allocate`](crate::object_store::ObjectStore::allocate) can return. The objects before it,
/// in the first block of dnodes, are claimed by number.
const FIRST_OBJECT: u64 = 32;

/// A writable object set.
pub struct ObjsetWriter {
    source: Source,
    /// The set as of the last sync; `None` before the first one.
    base: Option<Objset>,
    root: BlockPointer,
    phys: ObjsetPhys,
    properties: SetProperties,
    /// The function that parses the owners of objects.
    owners_of: Option<OwnersOf>,
    meta: Overlay,
    objects: BTreeMap<u64, Overlay>,
    /// The encryption parameters of blocks of dnodes that are received raw, by block number.
    dnodes_crypt: BTreeMap<u64, StoredCrypt>,
    /// The size of the dirty blocks of objects in bytes.
    dirty_bytes: usize,
    dirty_limit: usize,
    /// The dirty blocks that are being written.
    flight: Option<Flight>,
    ahead: Ahead,
    /// The object at which the search for free slots starts.
    cursor: u64,
    /// Whether objects were freed, so that the search starts from the first object in the next transaction group.
    has_freed: bool,
    /// Whether the objset block itself must be written.
    is_head_dirty: bool,
    /// Whether a sync failed, so that disk and memory are no longer consistent.
    is_broken: bool,
}

impl fmt::Debug for ObjsetWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjsetWriter")
            .field("id", &self.source.id)
            .field("root", &self.root)
            .field("objects", &self.objects.len())
            .field("dirty_bytes", &self.dirty_bytes)
            .finish_non_exhaustive()
    }
}

impl ObjsetWriter {
    /// Opens a set for writing.
    ///
    /// # Errors
    ///
    /// Returns [`Fault::Unsupported`] if the size of its blocks of dnodes is not the one that OpenZFS uses.
    pub fn open(set: Objset, writer: Arc<dyn WriteBlock>, properties: SetProperties) -> Result<Self> {
        let phys = set.phys().clone();
        if phys.meta_dnode.block_bytes() != u64::from(DNODE_BLOCK_BYTES) {
            return Err(Error::unsupported(format!(
                "writing to a set whose blocks of dnodes are {} bytes",
                phys.meta_dnode.block_bytes()
            )));
        }
        let source =
            Source { reader: Arc::clone(set.reader()), writer, id: set.objset_id(), locked: set.is_locked() };
        let (root, meta) = (*set.root(), Overlay::over(Arc::clone(&phys.meta_dnode)));
        let unchanged = Self::unchanged(source, phys, properties, meta);
        Ok(Self { base: Some(set), root, ..unchanged })
    }

    /// Returns a set without changes that is not on disk.
    fn unchanged(source: Source, phys: ObjsetPhys, properties: SetProperties, meta: Overlay) -> Self {
        Self {
            source,
            base: None,
            root: BlockPointer::EMPTY,
            phys,
            properties,
            owners_of: None,
            meta,
            objects: BTreeMap::new(),
            dnodes_crypt: BTreeMap::new(),
            dirty_bytes: 0,
            dirty_limit: DIRTY_BYTES_MAX,
            flight: None,
            ahead: Ahead::default(),
            cursor: FIRST_OBJECT,
            has_freed: false,
            is_head_dirty: false,
            is_broken: false,
        }
    }

    /// Creates an empty set (`dmu_objset_create_impl`). `id` is the object of the dataset in the MOS, 0 for the MOS
    /// itself. The meta-dnode of the MOS starts with one level; that of other sets has the levels for all objects from
    /// the start.
    ///
    /// # Errors
    ///
    /// Fails only because of a bug.
    pub fn create(
        reader: Arc<dyn ReadBlock>,
        writer: Arc<dyn WriteBlock>,
        id: u64,
        objset_type: ObjsetType,
        properties: SetProperties,
    ) -> Result<Self> {
        let mut meta = Dnode::new(&NewObject::new(ObjectType::DNODE, DNODE_BLOCK_BYTES))?;
        if objset_type != ObjsetType::META {
            meta.levels = meta.levels_for(BlockId(
                (OBJECTS_MAX - 1) / (u64::from(DNODE_BLOCK_BYTES) / DNODE_SLOT_BYTES as u64),
            ))?;
        }
        let source = Source { reader, writer, id, locked: properties.protection == Protection::Kept };
        let phys = ObjsetPhys {
            meta_dnode: Arc::new(meta.clone()),
            zil: ZilHeader::default(),
            objset_type,
            flags: ObjsetFlags::empty(),
            portable_mac: [0; 32],
            local_mac: [0; 32],
            user_used: None,
            group_used: None,
            project_used: None,
            phys_bytes: OBJSET_BYTES_NEW,
        };
        let meta = Overlay { dnode: Some(meta), ..Overlay::default() };
        Ok(Self { is_head_dirty: true, ..Self::unchanged(source, phys, properties, meta) })
    }

    /// The pointer to the objset block of the last sync; a hole before the first one.
    #[must_use]
    pub fn root(&self) -> &BlockPointer {
        &self.root
    }

    /// The properties that determine how blocks are written.
    #[must_use]
    pub fn properties(&self) -> &SetProperties {
        &self.properties
    }

    /// Sets the properties for subsequent writes.
    pub fn set_properties(&mut self, properties: SetProperties) {
        self.properties = properties;
    }

    /// Removes the intent log. In a set that was reset to a snapshot, its records belong to the previous content.
    pub fn forget_intent_log(&mut self) {
        if self.phys.zil != ZilHeader::default() {
            self.phys.zil = ZilHeader::default();
            self.is_head_dirty = true;
        }
    }

    /// The read-only set as of the last sync; `None` before the first one.
    #[must_use]
    pub(crate) fn synced(&self) -> Option<&Objset> {
        self.base.as_ref()
    }

    /// Returns whether there are changes to sync.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.is_head_dirty || !self.objects.is_empty() || !self.meta.dirty.is_empty()
    }

    /// Returns the size of changes in memory in bytes: dirty data and dnodes.
    #[must_use]
    pub fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
            + self.meta.dirty_bytes
            + self.objects.len() * (DNODE_SLOT_BYTES + size_of::<Overlay>())
    }

    /// Sets the limit for dirty data in memory in bytes. One half is written in the background while the other half
    /// accumulates.
    #[cfg(any(test, feature = "testing"))]
    pub fn set_dirty_limit(&mut self, bytes: usize) {
        self.dirty_limit = bytes;
    }

    /// Returns the changes of an object that exists or existed on disk.
    fn touch(&mut self, object: ObjectId) -> Result<&mut Overlay> {
        self.check()?;
        if object.0 == 0 {
            return Err(Fault::NoObject(object).into());
        }
        if !self.objects.contains_key(&object.0) {
            let base = self.base.as_ref().ok_or(Fault::NoObject(object))?;
            self.objects.insert(object.0, Overlay::over(base.dnode(object)?));
        }
        let overlay = self.objects.get_mut(&object.0).ok_or(Fault::NoObject(object))?;
        overlay.dnode(object)?;
        Ok(overlay)
    }

    /// Changes an object and updates the size of dirty data.
    fn change<T>(
        &mut self,
        object: ObjectId,
        change: impl FnOnce(&mut Overlay, &Source) -> Result<T>,
    ) -> Result<T> {
        let source = self.source.clone();
        let overlay = self.touch(object)?;
        let before = overlay.dirty_bytes;
        let result = change(overlay, &source);
        let after = overlay.dirty_bytes;
        self.dirty_bytes = self.dirty_bytes + after - before;
        result
    }

    /// Starts a change, which is not possible after a sync that failed.
    fn start_change(&self) -> Result<()> {
        #[cfg(feature = "testing")]
        crate::failpoint::step()?;
        self.check()
    }

    fn check(&self) -> Result<()> {
        if self.is_broken {
            return Err(Fault::Unusable.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
