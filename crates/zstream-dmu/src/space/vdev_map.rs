//! The space maps of a top-level vdev besides those of its metaslabs: lists of ranges to which entries are only added.
//!
//! | entry of the vdev's ZAP | content | module |
//! | --- | --- | --- |
//! | `com.delphix:pool_checkpoint_sm` | ranges that only the checkpoint uses, freed | `kept` |
//! | `com.delphix:indirect_obsolete_sm` | ranges of a removed vdev that nothing refers to, allocated | `obsolete` |

use zstream_format::object_type::ObjectType;

use super::MapForm;
use super::space_map::{SpaceChange, SpaceMap};
use super::space_map_write::{self, Form};
use crate::error::Result;
use crate::ids::{ObjectId, Txg};
use crate::object_store::ObjectStore;
use crate::range_set::RangeSet;
use crate::zap::{Value, ZapMut};

/// The block size of these maps (`zfs_vdev_standard_sm_blksz`).
const BLOCK_BYTES: u32 = 128 << 10;

/// New ranges of a vdev, for its map.
#[derive(Debug)]
pub(super) struct Addition {
    /// The index of the vdev.
    pub(super) vdev: u32,
    /// Its ZAP.
    pub(super) zap: ObjectId,
    /// The entry of the ZAP with the map.
    pub(super) name: &'static str,
    /// The map, or `None` if it does not exist yet.
    pub(super) map: Option<ObjectId>,
    /// The logarithm of the unit of the map in bytes.
    pub(super) shift: u8,
    /// The change of the entries.
    pub(super) change: SpaceChange,
    /// The ranges, in sets whose ranges are not joined with each other.
    pub(super) parts: Vec<RangeSet>,
}

impl Addition {
    /// Appends the ranges to the map, which is created first if there is none. Returns the map.
    ///
    /// # Errors
    /// Fails if the store cannot be changed.
    pub(super) fn write(
        &self,
        mos: &mut dyn ObjectStore,
        form: MapForm,
        txg: Txg,
        pass: u16,
    ) -> Result<ObjectId> {
        let object = match self.map {
            Some(object) => object,
            None => {
                let object = space_map_write::create_with_blocks(mos, form.histogram, BLOCK_BYTES)?;
                ZapMut::open(mos, self.zap)?.add(self.name, &Value::word(object.0))?;
                object
            }
        };
        let map = SpaceMap::open(&*mos, object)?;
        let block_bytes = mos.info(object)?.block_bytes;
        let entries = Form { start: 0, shift: self.shift, two_words: form.two_words, block_bytes };
        let mut bytes = Vec::new();
        for part in &self.parts {
            let at = map.length + bytes.len() as u64;
            bytes.extend(entries.entries(at, part, self.change, txg, pass));
        }
        mos.write(object, map.length, &bytes)?;
        let added = self.parts.iter().map(RangeSet::bytes).sum::<u64>().cast_signed();
        let alloc = match self.change {
            SpaceChange::Alloc => map.alloc + added,
            SpaceChange::Free => map.alloc - added,
        };
        let length = map.length + bytes.len() as u64;
        let empty = [0; 64];
        let histogram = map.histogram.is_some().then_some((&empty, self.shift));
        let header = space_map_write::header(object, length, alloc.cast_unsigned(), histogram);
        mos.set_bonus(object, ObjectType::SPACE_MAP_HEADER, &header)?;
        Ok(object)
    }
}
