//! The table of a vdev as it is in the MOS.

use zstream_format::order::ByteOrder;

use super::counts::Counts;
use super::{REGION_BYTES, TablePhys, directory_name};
use crate::error::{Error, Result};
use crate::ids::{BlockId, Bookmark, ObjectId};
use crate::mos::DIRECTORY_OBJECT;
use crate::object_set::ObjectSet;
use crate::zap::{Entry, Key, Value, Zap};

/// The sums of tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The number of entries: blocks with several references.
    pub entries: u64,
    /// The allocated bytes of these blocks (`bcloneused`).
    pub used_bytes: u64,
    /// The bytes that their additional references would occupy (`bclonesaved`).
    pub saved_bytes: u64,
}

impl Totals {
    /// Returns the ratio of referenced to used bytes in percent (`bcloneratio`).
    #[must_use]
    pub fn ratio_percent(&self) -> u64 {
        if self.used_bytes == 0 {
            return 100;
        }
        let all = u128::from(self.used_bytes) + u128::from(self.saved_bytes);
        u64::try_from(all * 100 / u128::from(self.used_bytes)).unwrap_or(u64::MAX)
    }

    /// Adds up the tables of the first `vdevs` top-level vdevs.
    ///
    /// # Errors
    /// Fails if a table cannot be read.
    pub fn of(mos: &dyn ObjectSet, vdevs: u32) -> Result<Self> {
        let mut sum = Self::default();
        for vdev in 0..vdevs {
            if let Some(table) = Table::open(mos, vdev)? {
                let totals = table.totals();
                sum.entries = sum.entries.saturating_add(totals.entries);
                sum.used_bytes = sum.used_bytes.saturating_add(totals.used_bytes);
                sum.saved_bytes = sum.saved_bytes.saturating_add(totals.saved_bytes);
            }
        }
        Ok(sum)
    }
}

/// The table of a top-level vdev.
#[derive(Clone, Debug)]
pub struct Table {
    vdev: u32,
    pub(super) object: ObjectId,
    pub(super) phys: TablePhys,
}

impl Table {
    /// Opens the table of a top-level vdev. `None` if it has no entries.
    ///
    /// # Errors
    /// Fails if the directory of the MOS or the table cannot be read, and if the table is corrupt.
    pub fn open(mos: &dyn ObjectSet, vdev: u32) -> Result<Option<Self>> {
        let Some(object) = Zap::open(mos, DIRECTORY_OBJECT)?.lookup_u64(directory_name(vdev))? else {
            return Ok(None);
        };
        let object = ObjectId(object);
        let info = mos.info(object)?;
        let bonus = info.bonus()?;
        let bad = |detail: String| {
            let at = Bookmark { objset: mos.objset_id(), object, level: 0, block: BlockId(0) };
            Error::corrupt("block reference table", format!("vdev {vdev}: {detail}")).at_bookmark(at)
        };
        if bonus.len() < TablePhys::LEN {
            return Err(bad(format!("bonus is {} bytes, expected {}", bonus.len(), TablePhys::LEN)));
        }
        let phys = TablePhys::read_short(bonus, ByteOrder::Little);
        if phys.entries == 0 || phys.region_bytes == 0 || phys.byte_order > 1 {
            return Err(bad(format!(
                "entries are in object {}, regions are {} bytes, byte order is {}",
                phys.entries, phys.region_bytes, phys.byte_order
            )));
        }
        if phys.region_bytes > REGION_BYTES {
            return Err(bad(format!(
                "regions are {} bytes, expected at most {REGION_BYTES}",
                phys.region_bytes
            )));
        }
        Ok(Some(Self { vdev, object, phys }))
    }

    /// Returns a new table.
    pub(super) fn new(vdev: u32, object: ObjectId, phys: TablePhys) -> Self {
        Self { vdev, object, phys }
    }

    /// The number of the vdev.
    #[must_use]
    pub fn vdev(&self) -> u32 {
        self.vdev
    }

    /// The ZAP of the entries.
    #[must_use]
    pub fn entries_object(&self) -> ObjectId {
        ObjectId(self.phys.entries)
    }

    /// The sums as they are recorded.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let TablePhys { total, used_bytes, saved_bytes, .. } = self.phys;
        Totals { entries: total, used_bytes, saved_bytes }
    }

    /// Returns whether a host with big-endian integers created the table. The order of its counts of regions then
    /// depends on the hosts that wrote them, and they are not used.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.order() == ByteOrder::Big
    }

    /// The byte order of the host that created the table.
    pub(super) fn order(&self) -> ByteOrder {
        if self.phys.byte_order == 0 { ByteOrder::Little } else { ByteOrder::Big }
    }

    /// Returns the number of the region of an offset.
    pub(super) fn region(&self, offset: u64) -> u64 {
        offset / self.phys.region_bytes
    }

    /// Reads the counts of regions.
    pub(super) fn counts(&self, mos: &dyn ObjectSet) -> Result<Counts> {
        Counts::read(mos, self.object, self.phys.regions, self.order())
    }

    /// Returns the additional references to the block at this offset; 0 if it has no entry.
    ///
    /// # Errors
    /// Fails if the entries cannot be read.
    pub(super) fn lookup(&self, mos: &dyn ObjectSet, offset: u64) -> Result<u64> {
        let zap = Zap::open(mos, ObjectId(self.phys.entries))?;
        zap.lookup_words(&[offset])?.map_or(Ok(0), |value| self.count(offset, &value))
    }

    /// Calls `visit` with each entry: the offset and the number of additional references.
    ///
    /// # Errors
    /// Fails if the entries cannot be read.
    pub fn entries(&self, mos: &dyn ObjectSet, visit: &mut dyn FnMut(u64, u64)) -> Result<()> {
        for entry in Zap::open(mos, ObjectId(self.phys.entries))?.entries() {
            let Entry { key, value, .. } = entry?;
            let Key::Words(words) = &key else { return Err(self.bad(format!("key {key} is not an offset"))) };
            let [offset] = words[..] else { return Err(self.bad(format!("key {key} is not an offset"))) };
            visit(offset, self.count(offset, &value)?);
        }
        Ok(())
    }

    /// Returns the regions whose recorded count differs from that of the entries, each with both.
    ///
    /// # Errors
    /// Fails if the counts cannot be read.
    pub fn wrong_regions(
        &self,
        mos: &dyn ObjectSet,
        offsets: impl IntoIterator<Item = u64>,
    ) -> Result<Vec<(u64, u16, u16)>> {
        let recorded = self.counts(mos)?;
        let mut real = Counts::default();
        for offset in offsets {
            real.add(self.region(offset), 1)?;
        }
        let both = recorded.iter().chain(real.iter()).map(|(region, _)| region);
        let both: std::collections::BTreeSet<u64> = both.collect();
        let differing = both.into_iter().map(|region| (region, recorded.get(region), real.get(region)));
        Ok(differing.filter(|(_, recorded, real)| recorded != real).collect())
    }

    fn bad(&self, detail: String) -> Error {
        Error::corrupt("block reference table", format!("vdev {}: {detail}", self.vdev))
    }

    /// Decodes the value of an entry. If a host of another byte order created the table, entries of both orders can be
    /// in it: a count is always the smaller interpretation.
    fn count(&self, offset: u64, value: &Value) -> Result<u64> {
        let count = if value.integer_bytes() == 8 {
            value.u64()?
        } else {
            let bytes = value.bytes()?;
            let bytes: [u8; 8] = bytes.try_into().map_err(|_| {
                self.bad(format!("entry of offset {offset:#x} is {} bytes, expected 8", value.len()))
            })?;
            match self.order() {
                ByteOrder::Little => u64::from_le_bytes(bytes),
                ByteOrder::Big => u64::from_be_bytes(bytes).min(u64::from_le_bytes(bytes)),
            }
        };
        if count == 0 {
            return Err(self.bad(format!("entry of offset {offset:#x} has no references")));
        }
        Ok(count)
    }
}
