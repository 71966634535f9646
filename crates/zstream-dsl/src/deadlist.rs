//! Deadlists: the blocks of the previous snapshot that a dataset no longer has.
//!
//! The header in the bonus has the sum of the space. The entries sort the blocks by age, each under the txg of a
//! snapshot that is older than the blocks.

use zstream_dmu::bpobj::BpObjPhys;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::zap::Zap;
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::structure;

use crate::bookmark::Space;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::reader::Mos;

structure! {
    /// The header of a deadlist (`dsl_deadlist_phys_t`).
    pub(crate) DeadlistPhys[320] {
        /// The space of all blocks in it.
        space: Space,
        pad: [u64; 37],
    }
}

/// The blocks of a deadlist that are younger than one snapshot and not younger than the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Entry {
    /// The txg after which the blocks were born.
    pub min_txg: Txg,
    /// The bpobj that lists them.
    pub blocks: ObjectId,
}

/// A dataset's deadlist.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlist {
    /// The object.
    pub object: ObjectId,
    /// The space of all blocks in it.
    pub space: Space,
    /// Its parts, oldest first; `None` in the format before pool version 26, in which the object is one bpobj.
    pub entries: Vec<Entry>,
}

impl Deadlist {
    /// Opens the deadlist of a dataset.
    ///
    /// # Errors
    /// Fails if there is none or it cannot be read.
    pub fn of<M: Mos>(dataset: &Dataset<M>) -> Result<Self> {
        let name = dataset.name();
        let object = dataset
            .phys()
            .deadlist
            .ok_or_else(|| Error::corrupt("deadlist", format!("{name} has no deadlist")))?;
        Self::open(dataset.dsl().mos().objects(), object)
    }

    /// Opens the deadlist in `object` of the MOS.
    ///
    /// # Errors
    /// Fails if there is none or it cannot be read.
    pub fn open(mos: &dyn ObjectSet, object: ObjectId) -> Result<Self> {
        let info = mos.info(object)?;
        let bonus = info.bonus()?;
        // The two kinds of header: that of a deadlist starts with the sums, that of a bpobj with the number of blocks.
        let at = match info.bonus_type {
            ObjectType::DEADLIST_HDR => DeadlistPhys::offset_of("space"),
            ObjectType::BPOBJ_HDR => BpObjPhys::offset_of("bytes"),
            other => return Err(Error::corrupt("deadlist", format!("{object} has a bonus of type {other}"))),
        };
        let space = Space::read_short(bonus.get(at..).unwrap_or_default(), ByteOrder::Little);
        let mut entries = Vec::new();
        if info.bonus_type == ObjectType::DEADLIST_HDR {
            for entry in Zap::open(mos, object)?.entries() {
                let entry = entry?;
                entries
                    .push(Entry { min_txg: Txg(entry.key.number()?), blocks: ObjectId(entry.value.u64()?) });
            }
            entries.sort();
        }
        Ok(Self { object, space, entries })
    }
}

impl<M: Mos> Dataset<M> {
    /// Returns the bytes written since the previous snapshot (`written`): the space that is referenced now but was not
    /// then.
    ///
    /// # Errors
    /// Fails if that snapshot or the deadlist cannot be read.
    pub fn written_bytes(&self) -> Result<u64> {
        let Some(previous) = self.previous()? else { return Ok(self.phys().referenced_bytes) };
        let dead = Deadlist::of(self)?.space.used_bytes;
        let before = previous.phys().referenced_bytes.wrapping_sub(dead);
        Ok(self.phys().referenced_bytes.wrapping_sub(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    zstream_format::round_trips! { DeadlistPhys }
}
