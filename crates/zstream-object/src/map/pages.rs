//! The cache of pages of the map.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Layer, Rooted};
use crate::format::{Extent, ObjectId, Page, PageReference, Root, SEALED_BYTES_MAX};
use crate::store::Store;

/// The number of extents in the cache. Each takes some 100 bytes.
const EXTENTS_MAX: usize = 400_000;

/// The pages that were used last.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    pages: HashMap<ObjectId, Cached>,
    clock: u64,
    extents: usize,
}

#[derive(Debug)]
struct Cached {
    layer: Arc<Layer>,
    used: u64,
}

impl Cache {
    fn insert(&mut self, id: ObjectId, layer: Arc<Layer>) {
        self.clock += 1;
        self.extents += layer.extents.len();
        if let Some(old) = self.pages.insert(id, Cached { layer, used: self.clock }) {
            self.extents -= old.layer.extents.len();
        }
        while self.extents > EXTENTS_MAX && self.pages.len() > 1 {
            let Some(oldest) = self.pages.iter().min_by_key(|(_, page)| page.used).map(|(id, _)| *id) else {
                return;
            };
            self.extents -= self.pages.remove(&oldest).map_or(0, |page| page.layer.extents.len());
        }
    }
}

impl Pages {
    /// Returns page `number`, which has this reference.
    ///
    /// # Errors
    /// Fails if the page cannot be read.
    pub(crate) fn page(
        &self,
        store: &Store,
        page_bytes: u64,
        number: u64,
        reference: &PageReference,
    ) -> io::Result<Arc<Layer>> {
        {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.clock += 1;
            let now = cache.clock;
            if let Some(page) = cache.pages.get_mut(&reference.id) {
                page.used = now;
                return Ok(Arc::clone(&page.layer));
            }
        }
        let layer = Arc::new(Layer::from(Self::read(store, page_bytes, number, reference)?.table));
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(reference.id, Arc::clone(&layer));
        Ok(layer)
    }

    /// Reads page `number`, which has this reference, from the store.
    ///
    /// # Errors
    /// Fails if the page cannot be read.
    pub(crate) fn read(
        store: &Store,
        page_bytes: u64,
        number: u64,
        reference: &PageReference,
    ) -> io::Result<Page> {
        let name = reference.id.name();
        let bytes = store.get(&name, SEALED_BYTES_MAX)?;
        let page = reference.check(&bytes).and_then(|()| Page::parse(number, page_bytes, &bytes));
        page.map_err(|error| store.name_error(&name, error))
    }

    /// Reads the root with this reference.
    ///
    /// # Errors
    /// Fails if the root cannot be read.
    pub(crate) fn root(
        store: &Store,
        page_bytes: u64,
        at: Option<(PageReference, u64)>,
    ) -> io::Result<Rooted> {
        let Some((reference, _)) = at else { return Ok(Rooted::default()) };
        let name = reference.id.name();
        let bytes = store.get(&name, SEALED_BYTES_MAX)?;
        let root = reference.check(&bytes).and_then(|()| Root::parse(page_bytes, &bytes));
        Ok(Rooted { root: root.map_err(|error| store.name_error(&name, error))?, at })
    }

    /// Returns the extents in `from..to` on their pages, and the gaps as holes.
    ///
    /// # Errors
    /// Fails if a page cannot be read.
    pub(crate) fn lookup(
        &self,
        store: &Store,
        page_bytes: u64,
        rooted: &Rooted,
        (from, to): (u64, u64),
    ) -> io::Result<Vec<Extent>> {
        let mut found = Vec::new();
        let mut at = from;
        while at < to {
            let number = at / page_bytes;
            let end = to.min((number + 1).saturating_mul(page_bytes));
            match rooted.root.pages.get(&number) {
                None => found.push(Extent { address: at, bytes: end - at, at: None }),
                Some(reference) => {
                    let page = self.page(store, page_bytes, number, reference)?;
                    let mut gaps = Vec::new();
                    let gap = &mut |from, to| gaps.push(Extent { address: from, bytes: to - from, at: None });
                    page.extents.cover(at, end, &mut |extent| found.push(extent), gap);
                    found.extend(gaps);
                }
            }
            at = end;
        }
        Ok(found)
    }
}
