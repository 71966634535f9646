//! Sets of extents without overlaps.

use std::collections::BTreeMap;

use crate::format::Extent;

/// Extents by their addresses, without overlaps. Extents that continue each other are joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extents {
    by_address: BTreeMap<u64, Extent>,
}

impl Extents {
    /// Creates a set of extents that are in order.
    pub(crate) fn in_order(extents: impl IntoIterator<Item = Extent>) -> Self {
        let mut set = Self::default();
        for extent in extents {
            set.push(extent);
        }
        set
    }

    fn push(&mut self, extent: Extent) {
        if let Some(mut last) = self.by_address.last_entry()
            && last.get().continues(&extent)
        {
            last.get_mut().bytes += extent.bytes;
            return;
        }
        self.by_address.insert(extent.address, extent);
    }

    /// Inserts an extent in place of everything in its range.
    pub(crate) fn insert(&mut self, extent: Extent) {
        self.remove(extent.address, extent.end());
        let mut extent = extent;
        if let Some((_, before)) = self.by_address.range_mut(..extent.address).next_back()
            && before.continues(&extent)
        {
            before.bytes += extent.bytes;
            extent = *before;
        }
        if let Some(next) = self.by_address.get(&extent.end()).copied()
            && extent.continues(&next)
        {
            self.by_address.remove(&next.address);
            extent.bytes += next.bytes;
        }
        self.by_address.insert(extent.address, extent);
    }

    /// Removes everything in `from..to`.
    pub(crate) fn remove(&mut self, from: u64, to: u64) {
        while let Some((_, last)) = self.by_address.range(..to).next_back() {
            let last = *last;
            if last.end() <= from {
                return;
            }
            self.by_address.remove(&last.address);
            if last.end() > to {
                self.by_address.insert(to, last.part(to, last.end()));
            }
            if last.address < from {
                let before = last.part(last.address, from);
                self.by_address.insert(before.address, before);
                return;
            }
        }
    }

    /// Returns the parts in `from..to`, in order.
    pub(crate) fn within(&self, from: u64, to: u64) -> impl Iterator<Item = Extent> {
        let before = self.by_address.range(..from).next_back().map(|(_, extent)| extent);
        let before = before.filter(|extent| extent.end() > from);
        let inside = self.by_address.range(from..to.max(from)).map(|(_, extent)| extent);
        before.into_iter().chain(inside).filter(move |_| from < to).map(move |extent| extent.part(from, to))
    }

    /// Calls `found` with the parts in `from..to`, and `gap` with the ranges between them, in order.
    pub(crate) fn cover(
        &self,
        from: u64,
        to: u64,
        found: &mut dyn FnMut(Extent),
        gap: &mut dyn FnMut(u64, u64),
    ) {
        let mut at = from;
        for part in self.within(from, to) {
            if at < part.address {
                gap(at, part.address);
            }
            at = part.end();
            found(part);
        }
        if at < to {
            gap(at, to);
        }
    }

    /// Returns all extents, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Extent> {
        self.by_address.values()
    }

    /// Returns the number of extents.
    pub(crate) fn len(&self) -> usize {
        self.by_address.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Kind, Location, ObjectId};
    use crate::testing::Numbers;

    fn location(object: u32, offset: u32) -> Location {
        Location { object: ObjectId { generation: 1, writer: 2, number: object, kind: Kind::Data }, offset }
    }

    /// Random inserts and removals against an array with one entry per byte.
    #[test]
    fn every_byte_is_where_a_plain_array_has_it() {
        const SIZE: u64 = 200;
        for seed in 0..40 {
            let mut numbers = Numbers::new(seed);
            let mut set = Extents::default();
            let mut plain: Vec<Option<Option<Location>>> = vec![None; SIZE as usize];
            for step in 0..150_u32 {
                let from = numbers.below(SIZE);
                let to = from + 1 + numbers.below((SIZE - from).min(40));
                let range = from as usize..to as usize;
                match numbers.below(4) {
                    0 => {
                        set.remove(from, to);
                        plain[range].fill(None);
                    }
                    1 => {
                        set.insert(Extent { address: from, bytes: to - from, at: None });
                        plain[range].fill(Some(None));
                    }
                    _ => {
                        // Few objects, so that neighbours continue each other.
                        let base = location(step % 3, from as u32);
                        set.insert(Extent { address: from, bytes: to - from, at: Some(base) });
                        for (place, n) in plain[range].iter_mut().zip(0..) {
                            *place = Some(Some(location(step % 3, from as u32 + n)));
                        }
                    }
                }
                let mut seen = vec![None; SIZE as usize];
                for extent in set.iter() {
                    for n in 0..extent.bytes {
                        let at = extent.at.map(|at| Location { offset: at.offset + n as u32, ..at });
                        assert_eq!(seen[(extent.address + n) as usize].replace(at), None, "an overlap");
                    }
                }
                assert_eq!(seen, plain, "seed {seed}, step {step}");
                let (mut covered, mut holes) = (0, 0);
                set.cover(from, to, &mut |part| covered += part.bytes, &mut |from, to| holes += to - from);
                assert_eq!(covered + holes, to - from);
                let present = plain[from as usize..to as usize].iter().flatten().count() as u64;
                assert_eq!(covered, present);
            }
            let again = Extents::in_order(set.iter().copied());
            assert_eq!(again, set, "neighbours are joined");
        }
    }
}
