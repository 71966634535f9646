//! Compaction: objects of which little is alive, and small ones, are written again, together.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::ObjectDevice;
use crate::format::{Extent, ObjectId};
use crate::map::Extents;

/// The number of small objects in one page of the map that is not worth a compaction.
const SMALL_OBJECTS: usize = 8;

/// A function that is called with the extents of a page of the map, and the sizes of the objects in them.
pub(crate) type PageVisitor<'a> = &'a mut dyn FnMut(&Extents, &BTreeMap<ObjectId, u64>) -> io::Result<()>;

/// The part of an object.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    /// The bytes that the map refers to.
    live: u64,
    /// The bytes in it when it was written.
    all: u64,
}

impl ObjectDevice {
    /// Writes the live bytes of objects again that are mostly dead or small. Returns their number. The next commit makes
    /// the old objects dead.
    ///
    /// # Errors
    /// Fails if the map or an object cannot be read, or if an object cannot be written.
    pub(crate) fn compact(&self) -> io::Result<u64> {
        let writer = self.check_write(0, 0)?;
        let mut bytes = 0;
        for extent in self.moving()? {
            // In parts that are not larger than an object.
            let mut at = extent.address;
            while at < extent.end() {
                let count = self.shared.geometry.chunk_bytes.min(extent.end() - at);
                let mut part = vec![0; count as usize];
                self.shared.read(at, &mut part)?;
                self.write(writer, at, &part)?;
                at += count;
                bytes += count;
            }
        }
        Ok(bytes)
    }

    /// Returns the number of bytes that [`compact`](Self::compact) would write.
    ///
    /// # Errors
    /// Fails if the map cannot be read.
    pub(crate) fn bytes_to_compact(&self) -> io::Result<u64> {
        Ok(self.moving()?.iter().map(|extent| extent.bytes).sum())
    }

    fn moving(&self) -> io::Result<Vec<Extent>> {
        let mut moving = Vec::new();
        self.each_page(&mut |extents, sizes| {
            let mut uses: BTreeMap<ObjectId, Use> = BTreeMap::new();
            for extent in extents.iter() {
                if let Some(at) = extent.at {
                    let part = uses.entry(at.object).or_default();
                    part.live += extent.bytes;
                    part.all = sizes.get(&at.object).copied().unwrap_or_default();
                }
            }
            let small = self.shared.geometry.chunk_bytes / 8;
            let are_many = uses.values().filter(|part| part.all < small).count() > SMALL_OBJECTS;
            let is_chosen = |part: &Use| part.live < part.all / 2 || are_many && part.all < small;
            let chosen: BTreeSet<ObjectId> =
                uses.into_iter().filter(|(_, part)| is_chosen(part)).map(|(id, _)| id).collect();
            let of_chosen = |extent: &&Extent| extent.at.is_some_and(|at| chosen.contains(&at.object));
            moving.extend(extents.iter().filter(of_chosen).copied());
            Ok(())
        })?;
        Ok(moving)
    }

    /// Calls `act` with the extents of each page of the map, and the sizes of the objects in them, as of the last commit.
    ///
    /// # Errors
    /// Fails if a page cannot be read, and with the error of `act`.
    pub(crate) fn each_page(&self, act: PageVisitor<'_>) -> io::Result<()> {
        let shared = &self.shared;
        let page_bytes = shared.geometry.page_bytes;
        let (base, rooted) = shared.state().map.committed();
        let changed = base
            .extents
            .iter()
            .flat_map(|extent| extent.address / page_bytes..=(extent.end() - 1) / page_bytes);
        let numbers: BTreeSet<u64> = rooted.root.pages.keys().copied().chain(changed).collect();
        for number in numbers {
            let (mut extents, mut sizes) = match rooted.root.pages.get(&number) {
                None => Default::default(),
                Some(reference) => {
                    let page = shared.pages.page(&shared.store, page_bytes, number, reference)?;
                    (page.extents.clone(), page.objects.clone())
                }
            };
            sizes.extend(&base.objects);
            for extent in base.extents.within(number * page_bytes, (number + 1) * page_bytes) {
                extents.insert(extent);
            }
            act(&extents, &sizes)?;
        }
        Ok(())
    }
}
