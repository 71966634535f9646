//! The space maps of a top-level vdev: one for each metaslab, and the log space maps, which contain the changes of all
//! metaslabs that are not in their own maps yet.

use zstream_format::order::ByteOrder;

use super::space_map::{SpaceChange, SpaceMap, SpaceMapEntry, bookmark, scaled};
use crate::error::{Error, Result};
use crate::ids::{ObjectId, Txg};
use crate::object_set::ObjectSet;
use crate::range_set::RangeSet;
use crate::vdev::config::VdevConfig;
use crate::zap::Zap;
use crate::zio::AllocationClass;

/// The logarithm of the unit of log space maps in bytes.
const LOG_SHIFT: u8 = 9;

/// The entry of a vdev's ZAP with the transaction groups since which the changes of metaslabs are only in the logs.
pub(crate) const UNFLUSHED_TXGS: &str = "com.delphix:ms_unflushed_phys_txgs";

/// The entry of a vdev's ZAP with the space map of the frees since the checkpoint.
const CHECKPOINT_MAP: &str = "com.delphix:pool_checkpoint_sm";

/// The entry of the MOS's directory with the ZAP of log space maps.
pub(crate) const LOG_SPACE_MAPS: &str = "com.delphix:log_spacemap_zap";

/// The log space maps of a pool: the changes since metaslabs last wrote their own maps.
#[derive(Clone, Debug, Default)]
pub struct LogSpaceMaps {
    maps: Vec<(Txg, SpaceMap)>,
}

impl LogSpaceMaps {
    /// Finds the logs in the `mos` of a pool. There are none if the feature is not active.
    ///
    /// # Errors
    ///
    /// Fails if the MOS's directory, the ZAP of the logs or the header of a log cannot be read.
    pub fn open(mos: &dyn ObjectSet) -> Result<Self> {
        let directory = Zap::open(mos, ObjectId(1))?;
        let Some(logs) = directory.lookup_u64(LOG_SPACE_MAPS)? else {
            return Ok(Self::default());
        };
        let mut maps = Vec::new();
        for entry in Zap::open(mos, ObjectId(logs))?.entries() {
            let entry = entry?;
            maps.push((Txg(entry.key.number()?), SpaceMap::open(mos, ObjectId(entry.value.u64()?))?));
        }
        maps.sort_by_key(|(txg, _)| *txg);
        Ok(Self { maps })
    }

    /// Returns the logs, oldest first.
    #[must_use]
    pub fn maps(&self) -> &[(Txg, SpaceMap)] {
        &self.maps
    }
}

/// The space maps of a top-level vdev.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VdevSpace {
    /// The index of the vdev.
    pub vdev: u32,
    /// The logarithm of the sector size.
    pub ashift: u8,
    /// The allocatable size of the vdev in bytes.
    pub asize: u64,
    /// The object with the array of its metaslabs' maps (`metaslab_array`).
    pub metaslab_array: ObjectId,
    /// The logarithm of the metaslab size.
    pub metaslab_shift: u8,
    /// The number of bytes of which the allocations on the vdev are multiples, besides sectors.
    pub alignment: u64,
    /// The object with the transaction groups since which the changes of each metaslab are only in the logs
    /// (`com.delphix:ms_unflushed_phys_txgs` of the vdev's ZAP), if there is one.
    pub unflushed_txgs: Option<ObjectId>,
    /// The space map of ranges that were freed since the checkpoint of the pool and stay allocated for it, if there is
    /// one.
    pub checkpoint_map: Option<ObjectId>,
    /// The class for allocations; `None` for log devices and for vdevs that must not be allocated from.
    pub class: Option<AllocationClass>,
    /// The class of the vdev, even if it must not be allocated from; `None` for log devices.
    pub belongs_to: Option<AllocationClass>,
}

/// Returns whether allocations from the vdev with this ZAP are allowed (property `allocating`).
fn is_allocating(zap: Option<&Zap<'_>>) -> Result<bool> {
    let Some(zap) = zap else { return Ok(true) };
    Ok(zap.lookup_u64("allocating")? != Some(0))
}

/// Returns the class of the vdev with this ZAP.
fn class(zap: Option<&Zap<'_>>) -> Result<Option<AllocationClass>> {
    let Some(zap) = zap else { return Ok(Some(AllocationClass::Normal)) };
    let Some(bias) = zap.lookup("org.zfsonlinux:allocation_bias")? else {
        return Ok(Some(AllocationClass::Normal));
    };
    match bias.text()? {
        "special" => Ok(Some(AllocationClass::Special)),
        "dedup" => Ok(Some(AllocationClass::Dedup)),
        "log" => Ok(None),
        other => Err(Error::unsupported(format!("allocation class {other:?} of a vdev"))),
    }
}

/// The limit for the number of metaslabs of a vdev (`zfs_vdev_ms_count_limit`).
const METASLABS_MAX: u64 = 1 << 17;

impl VdevSpace {
    /// Finds the space maps of a top-level vdev. `config` is its part of the config in the MOS. A vdev that cannot
    /// store blocks has none.
    ///
    /// # Errors
    ///
    /// Fails if the vdev's ZAP cannot be read, and if a number of the config is out of range.
    pub fn find(mos: &dyn ObjectSet, config: &VdevConfig) -> Result<Option<Self>> {
        let (Some(ashift), Some(asize), Some(array), Some(shift)) =
            (config.ashift, config.asize, config.metaslab_array, config.metaslab_shift)
        else {
            return Ok(None);
        };
        if array == 0 {
            return Ok(None);
        }
        let (Ok(vdev), Ok(metaslab_shift)) = (u32::try_from(config.id), u8::try_from(shift)) else {
            return Err(Error::corrupt(
                "vdev",
                format!("vdev {} with metaslabs of 2^{shift} bytes is out of range", config.id),
            ));
        };
        let zap = config.zap.filter(|zap| *zap != 0).map(|zap| Zap::open(mos, ObjectId(zap))).transpose()?;
        let object = |name| match &zap {
            Some(zap) => Ok::<_, Error>(zap.lookup_u64(name)?.map(ObjectId)),
            None => Ok(None),
        };
        let belongs_to = if config.is_log { None } else { class(zap.as_ref())? };
        Ok(Some(Self {
            vdev,
            ashift,
            asize,
            metaslab_array: ObjectId(array),
            metaslab_shift,
            alignment: config.kind.block_alignment(),
            unflushed_txgs: object(UNFLUSHED_TXGS)?,
            checkpoint_map: object(CHECKPOINT_MAP)?,
            class: if is_allocating(zap.as_ref())? { belongs_to } else { None },
            belongs_to,
        }))
    }

    /// Returns the number of metaslabs.
    #[must_use]
    pub fn metaslabs(&self) -> u64 {
        self.asize.checked_shr(u32::from(self.metaslab_shift)).unwrap_or(0)
    }

    /// Returns start and size of a metaslab. It has whole units of allocation; what is left over between metaslabs is
    /// not used (`vdev_draid_metaslab_init`).
    #[must_use]
    pub fn metaslab(&self, index: u64) -> (u64, u64) {
        let (start, size) = (index << self.metaslab_shift, 1_u64 << self.metaslab_shift);
        let aligned = start.next_multiple_of(self.alignment);
        let left = size.saturating_sub(aligned - start);
        (aligned, left - left % self.alignment)
    }

    /// Returns the size of all metaslabs in bytes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        (0..self.metaslabs()).map(|index| self.metaslab(index).1).fold(0, u64::saturating_add)
    }

    /// Returns the allocated ranges of the vdev as of the last transaction group.
    ///
    /// # Errors
    ///
    /// Fails if a map cannot be read or is inconsistent.
    pub fn allocated(&self, mos: &dyn ObjectSet, logs: &LogSpaceMaps) -> Result<RangeSet> {
        self.validate()?;
        let maps = self.words(mos, Some(self.metaslab_array))?;
        let mut allocated = RangeSet::default();
        for (index, &map) in (0..).zip(&maps) {
            if map != 0 {
                let (start, size) = self.metaslab(index);
                let map = SpaceMap::open(mos, ObjectId(map))?;
                map.replay(mos, start, size, self.ashift, &mut allocated)?;
            }
        }
        self.replay_logs(mos, logs, &mut |change, start, end| change.apply(&mut allocated, start, end))?;
        Ok(allocated)
    }

    /// Passes each change in `logs` that is not in the maps of this vdev's metaslabs to `apply`, in chronological
    /// order: the change, and start and end in bytes.
    ///
    /// # Errors
    ///
    /// Fails if a log cannot be read, if a range is not in one metaslab, and if `apply` fails.
    pub(crate) fn replay_logs(
        &self,
        mos: &dyn ObjectSet,
        logs: &LogSpaceMaps,
        apply: &mut dyn FnMut(SpaceChange, u64, u64) -> Result<()>,
    ) -> Result<()> {
        let unflushed = self.words(mos, self.unflushed_txgs)?;
        for (txg, log) in logs.maps() {
            let place = |error: Error| error.at_bookmark(bookmark(mos, log.object, 0));
            for entry in log.entries(mos) {
                let SpaceMapEntry::Range { change, vdev: Some(vdev), offset, run } = entry? else { continue };
                if vdev != self.vdev {
                    continue;
                }
                let (start, end) = scaled(offset, run, LOG_SHIFT)
                    .filter(|(start, end)| {
                        // A range must be in one metaslab.
                        start >> self.metaslab_shift == (end - 1) >> self.metaslab_shift && *end <= self.asize
                    })
                    .ok_or_else(|| {
                        let detail =
                            format!("{run} sectors at {offset} of vdev {vdev} are not in one metaslab");
                        place(Error::corrupt("log space map", detail))
                    })?;
                let since = unflushed.get((start >> self.metaslab_shift) as usize).copied().unwrap_or(0);
                if since != 0 && txg.0 >= since {
                    apply(change, start, end).map_err(place)?;
                }
            }
        }
        Ok(())
    }

    /// Returns the ranges of the vdev that were freed since the checkpoint of the pool.
    ///
    /// # Errors
    ///
    /// Fails if the map cannot be read, if it has an allocation, and if a range is outside the vdev.
    pub fn checkpointed(&self, mos: &dyn ObjectSet) -> Result<RangeSet> {
        let mut freed = RangeSet::default();
        let Some(object) = self.checkpoint_map else { return Ok(freed) };
        for entry in SpaceMap::open(mos, object)?.entries(mos) {
            let SpaceMapEntry::Range { change, offset, run, .. } = entry? else { continue };
            match scaled(offset, run, self.ashift) {
                Some((start, end)) if change == SpaceChange::Free && end <= self.asize => {
                    freed.cover(start, end);
                }
                _ => {
                    let detail = format!(
                        "{change:?} of {run} units at {offset} is invalid, expected a free within {} bytes",
                        self.asize
                    );
                    return Err(Error::corrupt("space map of the checkpoint", detail)
                        .at_bookmark(bookmark(mos, object, 0)));
                }
            }
        }
        Ok(freed)
    }

    /// Validates number and size of the metaslabs.
    ///
    /// # Errors
    ///
    /// Returns [`Fault::Corrupt`](crate::error::Fault::Corrupt) if they are impossible.
    pub(crate) fn validate(&self) -> Result<()> {
        let (shift, count) = (self.metaslab_shift, self.metaslabs());
        if shift >= 63 || count > METASLABS_MAX || shift < self.ashift {
            let detail =
                format!("vdev has {count} metaslabs of 2^{shift} bytes, at most {METASLABS_MAX} are allowed");
            return Err(Error::corrupt("vdev", detail));
        }
        if 1 << shift < self.alignment {
            let unit = self.alignment;
            let detail = format!("vdev has metaslabs of 2^{shift} bytes, but allocates {unit} bytes at once");
            return Err(Error::corrupt("vdev", detail));
        }
        Ok(())
    }

    /// Reads an array object with a word for each metaslab.
    fn words(&self, mos: &dyn ObjectSet, object: Option<ObjectId>) -> Result<Vec<u64>> {
        let mut bytes = vec![0; self.metaslabs() as usize * 8];
        if let Some(object) = object {
            mos.read(object, 0, &mut bytes)?;
        }
        Ok(bytes.chunks_exact(8).map(|word| ByteOrder::Little.u64(word)).collect())
    }
}

#[cfg(test)]
mod tests {
    use zstream_format::object_type::ObjectType;

    use super::*;
    use crate::space::space_map::tests::map;

    #[test]
    fn metaslabs_have_whole_units_of_allocation() {
        let mut vdev = VdevSpace {
            vdev: 0,
            ashift: 9,
            asize: 201_326_592,
            metaslab_array: ObjectId(8),
            metaslab_shift: 24,
            alignment: 1,
            unflushed_txgs: None,
            checkpoint_map: None,
            class: None,
            belongs_to: None,
        };
        assert_eq!((vdev.metaslab(1), vdev.capacity()), ((1 << 24, 1 << 24), 201_326_592));
        // Stripes of dRAID of 1536 bytes.
        vdev.alignment = 1536;
        assert_eq!([0, 1].map(|n| vdev.metaslab(n)), [(0, 16_776_192), (16_777_728, 16_776_192)]);
        assert_eq!(vdev.metaslab(3), (3 << 24, 16_776_192));
        assert_eq!(vdev.capacity(), (0..12).map(|n| vdev.metaslab(n).1).sum::<u64>());
        assert!(vdev.validate().is_ok());
        vdev.alignment = (1 << 24) + 1536;
        assert!(vdev.validate().is_err());
    }

    #[test]
    fn logs_count_from_when_a_metaslab_was_last_flushed() {
        let two_words = |change: u64, vdev: u64, offset: u64, run: u64| {
            [0b11 << 62 | (run - 1) << 24 | vdev, change << 63 | offset]
        };
        let log = [two_words(0, 0, 0, 8), two_words(0, 0, 2048, 8), two_words(0, 1, 2048, 8)].concat();
        let objects = {
            let mut objects = map(&log);
            let words =
                |words: &[u64]| vec![words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>()];
            objects.add(8, ObjectType::OBJECT_ARRAY, ObjectType::NONE, &[], words(&[0, 0]));
            // The first metaslab was flushed in 60, and the second last in 50.
            objects.add(9, ObjectType(0xc3), ObjectType::NONE, &[], words(&[60, 50]));
            objects
        };
        let map = SpaceMap::open(&objects, ObjectId(7)).unwrap();
        let logs = LogSpaceMaps { maps: vec![(Txg(55), map)] };
        let vdev = VdevSpace {
            vdev: 0,
            ashift: 12,
            asize: 2 << 20,
            metaslab_array: ObjectId(8),
            metaslab_shift: 20,
            alignment: 1,
            unflushed_txgs: Some(ObjectId(9)),
            checkpoint_map: None,
            class: Some(AllocationClass::Normal),
            belongs_to: Some(AllocationClass::Normal),
        };
        let allocated = vdev.allocated(&objects, &logs).unwrap();
        assert_eq!(allocated.iter().collect::<Vec<_>>(), [(1 << 20, (1 << 20) + 4096)]);
    }
}
