//! The fold: changes become pages and a new root.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::{Extents, Layer, Pages, Rooted};
use crate::format::{Extent, Kind, ObjectId, Page, PageReference, Table};
use crate::store::Store;

/// The objects of a fold.
#[derive(Debug)]
pub(crate) struct Folded {
    /// The new root.
    pub(crate) rooted: Rooted,
    /// The objects to store, before the record of the generation.
    pub(crate) objects: Vec<(ObjectId, Vec<u8>)>,
    /// The objects that the new map no longer refers to.
    pub(crate) dead: Vec<ObjectId>,
}

/// Folds `base` into the pages of `rooted`, for `generation`. `new_id` returns identities for objects of the map.
///
/// # Errors
/// Fails if a page cannot be read, or becomes too large.
pub(crate) fn fold(
    (store, pages): (&Store, &Pages),
    page_bytes: u64,
    (base, rooted): (&Layer, &Rooted),
    generation: u64,
    new_id: &mut dyn FnMut() -> ObjectId,
) -> io::Result<Folded> {
    let mut root = rooted.root.clone();
    let mut objects = Vec::new();
    // All objects of the map before, as far as pages change; what is not in the map after it is dead.
    let mut before: BTreeSet<ObjectId> = base.objects.keys().copied().collect();
    let mut after = BTreeSet::new();
    for (number, changes) in by_page(&base.extents, page_bytes) {
        let old = match root.pages.get(&number) {
            None => None,
            Some(reference) => {
                before.insert(reference.id);
                Some(pages.page(store, page_bytes, number, reference)?)
            }
        };
        let old = old.as_deref();
        before.extend(old.iter().flat_map(|old| old.objects.keys()));
        let mut extents = old.map(|old| old.extents.clone()).unwrap_or_default();
        for extent in changes {
            match extent.at {
                Some(_) => extents.insert(extent),
                None => extents.remove(extent.address, extent.end()),
            }
        }
        let sizes = |id: &ObjectId| base.objects.get(id).or_else(|| old?.objects.get(id)).copied();
        let table = table(&extents, &sizes);
        after.extend(table.objects.keys());
        if table.extents.is_empty() {
            root.pages.remove(&number);
            continue;
        }
        let bytes = Page { number, page_bytes, table }.encode()?;
        let id = new_id();
        root.pages.insert(number, PageReference::new(id, &bytes));
        objects.push((id, bytes));
    }
    before.extend(rooted.at.map(|(reference, _)| reference.id));
    let bytes = root.encode(page_bytes)?;
    let id = new_id();
    let at = Some((PageReference::new(id, &bytes), generation));
    objects.push((id, bytes));
    let dead = before.difference(&after).copied().collect();
    Ok(Folded { rooted: Rooted { root, at }, objects, dead })
}

/// The table of a page.
fn table(extents: &Extents, size: &dyn Fn(&ObjectId) -> Option<u64>) -> Table {
    let extents: Vec<Extent> = extents.iter().copied().collect();
    let ids: BTreeSet<ObjectId> = extents.iter().filter_map(|extent| Some(extent.at?.object)).collect();
    let known = ids.into_iter().filter(|id| id.kind == Kind::Data);
    let objects = known.map(|id| (id, size(&id).unwrap_or_default())).collect();
    Table { extents, objects }
}

/// The changes of each page.
fn by_page(extents: &Extents, page_bytes: u64) -> BTreeMap<u64, Vec<Extent>> {
    let mut pages: BTreeMap<u64, Vec<Extent>> = BTreeMap::new();
    for extent in extents.iter() {
        let mut at = extent.address;
        while at < extent.end() {
            let number = at / page_bytes;
            let end = extent.end().min((number + 1) * page_bytes);
            pages.entry(number).or_default().push(extent.part(at, end));
            at = end;
        }
    }
    pages
}
