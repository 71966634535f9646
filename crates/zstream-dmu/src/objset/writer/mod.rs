//! Object sets open for change.
//!
//! Changes gather in memory, over the set as it was last synced:
//!
//! ```text
//! objects       changed objects: dnode, dirty blocks, freed ranges         (`overlay`)
//! meta-dnode    dirty blocks of dnodes; an object that is made or freed changes its slots at once
//! set on disk   everything else
//! ```
//!
//! [`ObjsetWriter::sync`] writes them from the leaves to the objset block: data, indirect blocks, dnodes into their
//! blocks, the meta-dnode's tree, the objset block. After it the set goes on from there, in the same transaction group
//! or a later one.
//!
//! Memory: when dirty data passes a limit, data blocks are written at once, in the background (`flight`). Nothing points at
//! them before the sync; written over or freed before it, they give their places back. So everything that was written in a
//! transaction group has to be synced in it.

mod accounting;
mod ahead;
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

/// Size of a block of dnodes (`DNODE_BLOCK_SIZE`).
const DNODE_BLOCK_BYTES: u32 = 16 << 10;

/// The most dirty data that waits for its sync, in bytes; more is written before.
const DIRTY_BYTES_MAX: usize = 64 << 20;

/// The first object that [`allocate`](crate::object_store::ObjectStore::allocate) gives: those in front of it, in the
/// first block of dnodes, are claimed by number.
const FIRST_OBJECT: u64 = 32;

/// An object set open for change.
pub struct ObjsetWriter {
    source: Source,
    /// The set as it was last synced; none before the first time.
    base: Option<Objset>,
    root: BlockPointer,
    phys: ObjsetPhys,
    properties: SetProperties,
    /// Tells whom objects belong to.
    owners_of: Option<OwnersOf>,
    meta: Overlay,
    objects: BTreeMap<u64, Overlay>,
    /// How blocks of dnodes that are received raw are encrypted, by number.
    dnodes_crypt: BTreeMap<u64, StoredCrypt>,
    /// Bytes of dirty blocks of objects.
    dirty_bytes: usize,
    dirty_limit: usize,
    /// Dirty blocks that are being written.
    flight: Option<Flight>,
    ahead: Ahead,
    /// Where the next object is looked for.
    cursor: u64,
    /// Whether objects were freed, so that the next transaction group looks for room from the start.
    has_freed: bool,
    /// Whether the objset block itself is to be written.
    is_head_dirty: bool,
    /// A sync failed half way: what is on disk and what is in memory do not go together any more.
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
    /// Opens a set for change.
    ///
    /// # Errors
    ///
    /// [`Fault::Unsupported`] when its blocks of dnodes have another size than OpenZFS
    /// gives them.
    pub fn open(set: Objset, writer: Arc<dyn WriteBlock>, properties: SetProperties) -> Result<Self> {
        let phys = set.phys().clone();
        if phys.meta_dnode.block_bytes() != u64::from(DNODE_BLOCK_BYTES) {
            return Err(Error::unsupported(format!(
                "writing a set whose blocks of dnodes have {} bytes",
                phys.meta_dnode.block_bytes()
            )));
        }
        let source =
            Source { reader: Arc::clone(set.reader()), writer, id: set.objset_id(), locked: set.is_locked() };
        let (root, meta) = (*set.root(), Overlay::over(Arc::clone(&phys.meta_dnode)));
        let unchanged = Self::unchanged(source, phys, properties, meta);
        Ok(Self { base: Some(set), root, ..unchanged })
    }

    /// A set without changes, and without anything on disk.
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

    /// Makes an empty set (`dmu_objset_create_impl`). `id` is the dataset's object number in the MOS, 0 for the MOS itself,
    /// whose meta-dnode starts with one level; that of others can take every object from the start.
    ///
    /// # Errors
    ///
    /// None that a caller can cause.
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

    /// The pointer of the objset block that was written last; a hole when none was.
    #[must_use]
    pub fn root(&self) -> &BlockPointer {
        &self.root
    }

    /// What the set says about how its blocks are written.
    #[must_use]
    pub fn properties(&self) -> &SetProperties {
        &self.properties
    }

    /// Sets how blocks are written from now on.
    pub fn set_properties(&mut self, properties: SetProperties) {
        self.properties = properties;
    }

    /// Forgets the intent log: in a set that is as a snapshot was, its records are those of another set.
    pub fn forget_intent_log(&mut self) {
        if self.phys.zil != ZilHeader::default() {
            self.phys.zil = ZilHeader::default();
            self.is_head_dirty = true;
        }
    }

    /// The set as it was last synced, to be read only; none before the first sync.
    #[must_use]
    pub fn synced(&self) -> Option<&Objset> {
        self.base.as_ref()
    }

    /// Whether there is anything to sync.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.is_head_dirty || !self.objects.is_empty() || !self.meta.dirty.is_empty()
    }

    /// Bytes of changes in memory: dirty data, and what dnodes take.
    #[must_use]
    pub fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
            + self.meta.dirty_bytes
            + self.objects.len() * (DNODE_SLOT_BYTES + size_of::<Overlay>())
    }

    /// Sets how many bytes of dirty data are kept in memory until the sync. With half of it in the hands of a writer in the
    /// background, the other half gathers.
    pub fn set_dirty_limit(&mut self, bytes: usize) {
        self.dirty_limit = bytes;
    }

    /// The changes of an object that exists or did exist on disk.
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

    /// Changes an object, and counts what became dirty.
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

    fn check(&self) -> Result<()> {
        if self.is_broken {
            return Err(Fault::Unusable.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
