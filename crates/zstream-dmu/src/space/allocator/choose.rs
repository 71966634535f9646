//! The choice of the vdev from which a copy of a block is allocated.

use super::State;
use crate::blkptr::Dva;
use crate::error::{Error, Result};
use crate::ids::Txg;
use crate::space::top::Top;
use crate::vdev::VdevTree;
use crate::zio::AllocationClass;

/// The part of the special vdevs that small blocks leave to metadata, in percent
/// (`zfs_special_class_metadata_reserve_pct`).
const SPECIAL_RESERVE_PERCENT: u128 = 25;

/// The required distance of a copy from the others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Distance {
    OtherVdev,
    OtherMetaslab,
    Anywhere,
}

impl State {
    /// Allocates one copy of a block, as far from the other copies `others` as possible.
    pub(super) fn take_copy(
        &mut self,
        vdevs: &VdevTree,
        psize: u64,
        copy: usize,
        class: AllocationClass,
        limit: u64,
        others: &[Dva],
    ) -> Result<Option<Dva>> {
        let class = match class {
            AllocationClass::Small if self.has_room_for_small() => AllocationClass::Special,
            AllocationClass::Small => AllocationClass::Normal,
            // Deduplication tables are metadata if there are no vdevs for them (`spa_preferred_class`).
            AllocationClass::Dedup if self.of_class(class).next().is_none() => AllocationClass::Special,
            other => other,
        };
        let classes = [class, AllocationClass::Normal];
        for &class in &classes[usize::from(class == AllocationClass::Normal)..] {
            let tops: Vec<usize> = self.of_class(class).collect();
            for distance in [Distance::OtherVdev, Distance::OtherMetaslab, Distance::Anywhere] {
                for n in 0..tops.len() {
                    let chosen = tops[(self.turn[class as usize] + copy + n) % tops.len()];
                    let here: Vec<Dva> =
                        others.iter().filter(|other| other.vdev() as usize == chosen).copied().collect();
                    if !here.is_empty() && distance == Distance::OtherVdev {
                        continue;
                    }
                    let size = vdevs.tops()[chosen].asize(psize, Txg(u64::MAX));
                    let avoid: Vec<u64> = match distance {
                        Distance::Anywhere => Vec::new(),
                        _ => here.iter().map(|other| other.offset()).collect(),
                    };
                    let Some(top) = &mut self.tops[chosen] else { continue };
                    let charge = top.charged(size);
                    if charge > limit.saturating_sub(self.used) && charge > 0 {
                        continue;
                    }
                    let Some(start) = top.take(self.mos.as_deref(), size, copy, &avoid)? else { continue };
                    self.allocated += size;
                    self.used += charge;
                    self.is_changed = true;
                    if copy == 0 {
                        top.taken += size;
                        self.pass_turn(class, &tops, chosen);
                    }
                    return Ok(Some(Dva::new(chosen as u32, start, size, false)));
                }
            }
        }
        Ok(None)
    }

    /// Returns `true` if special vdevs have more free space than the part that is reserved for metadata.
    fn has_room_for_small(&self) -> bool {
        let (capacity, allocated) = self.usage_of(AllocationClass::Special);
        u128::from(allocated) * 100 < u128::from(capacity) * (100 - SPECIAL_RESERVE_PERCENT)
    }

    /// Returns whether dedup vdevs, or the special ones that stand in for them, are nearly full
    /// (`ddt_special_over_quota`).
    pub(in crate::space) fn is_table_class_full(&self) -> bool {
        const SPARE_BYTES: u64 = 8 << 30;
        let has_dedup = self.of_class(AllocationClass::Dedup).next().is_some();
        let class = if has_dedup { AllocationClass::Dedup } else { AllocationClass::Special };
        let (capacity, allocated) = self.usage_of(class);
        let share = (u128::from(capacity) * 85 / 100) as u64;
        self.of_class(class).next().is_some() && allocated >= share.max(capacity.saturating_sub(SPARE_BYTES))
    }

    /// Returns the capacity of the vdevs of a class, and the allocated part of it.
    fn usage_of(&self, class: AllocationClass) -> (u64, u64) {
        let tops = self.of_class(class).filter_map(|n| self.tops[n].as_ref());
        tops.fold((0, 0), |(capacity, allocated), top| {
            (capacity + top.capacity(), allocated + top.allocated())
        })
    }

    fn of_class(&self, class: AllocationClass) -> impl Iterator<Item = usize> + '_ {
        let tops = self.tops.iter().enumerate();
        tops.filter(move |(_, top)| top.as_ref().is_some_and(|top| top.class == Some(class))).map(|(n, _)| n)
    }

    /// Moves to the next vdev after `last` has had its share, which is larger the more free space it has.
    fn pass_turn(&mut self, class: AllocationClass, tops: &[usize], last: usize) {
        let here = tops.iter().position(|n| *n == last).unwrap_or(0);
        let free = |top: &Top| u128::from(top.capacity() - top.allocated().min(top.capacity()));
        let sum = |part: &dyn Fn(&Top) -> u128| -> u128 {
            tops.iter().filter_map(|n| self.tops[*n].as_ref()).map(part).sum()
        };
        let Some(top) = self.tops[last].as_ref() else { return };
        if tops.len() > 1 {
            if top.taken < top.aliquot() / 4 {
                // The free space of all metaslabs is not computed for each small block, which would be slow.
                self.turn[class as usize] = here;
                return;
            }
            let (all_free, all) = (sum(&free), sum(&|top| u128::from(top.capacity())));
            // The share of the free space divided by the share of the capacity, as a factor.
            let part = u128::from(top.aliquot()) * free(top) * all;
            let part = part / (all_free.max(1) * u128::from(top.capacity()).max(1));
            if u128::from(top.taken) < part {
                self.turn[class as usize] = here;
                return;
            }
        }
        if let Some(top) = &mut self.tops[last] {
            top.taken = 0;
        }
        self.turn[class as usize] = (here + 1) % tops.len().max(1);
    }

    /// Returns space that was allocated in this transaction group.
    pub(super) fn put_back(&mut self, place: Dva) -> Result<()> {
        let Some(top) = self.tops.get_mut(place.vdev() as usize).and_then(Option::as_mut) else {
            return Err(Error::no_vdev(place.vdev()));
        };
        top.free(self.mos.as_deref(), place.offset(), place.offset() + place.asize(), true)?;
        self.allocated -= place.asize();
        self.used -= top.charged(place.asize());
        Ok(())
    }
}
