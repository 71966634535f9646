//! The map from addresses of the device to places in objects.
//!
//! ```text
//! lookup:  active -> base -> page of the root -> nothing: zeros
//!
//! active   written since the last commit began
//! base     written since the root was written; in the record of the generation
//! root     pages, loaded when they are needed
//! ```
//!
//! A *fold* writes the pages that `base` changes again, and a new root; `base` is then empty. Pages are immutable, so
//! a cached page never becomes invalid.

mod extents;
mod fold;
mod pages;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use extents::Extents;
pub(crate) use fold::fold;
pub(crate) use pages::Pages;

use crate::format::{Extent, ObjectId, PageReference, Payload, Root, Table};

/// Extents, and the objects that were written for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layer {
    /// The extents; a hole hides what lies below.
    pub(crate) extents: Extents,
    /// The objects with the bytes of the device in each, also those whose extents were all replaced since.
    pub(crate) objects: BTreeMap<ObjectId, u64>,
}

impl Layer {
    /// Returns the layer as a table.
    pub(crate) fn table(&self) -> Table {
        Table { extents: self.extents.iter().copied().collect(), objects: self.objects.clone() }
    }

    /// Places another layer on top of this one.
    fn add(&mut self, above: Self) {
        above.extents.iter().for_each(|extent| self.extents.insert(*extent));
        self.objects.extend(above.objects);
    }
}

impl From<Table> for Layer {
    fn from(table: Table) -> Self {
        Self { extents: Extents::in_order(table.extents), objects: table.objects }
    }
}

/// The root of the map, its own object, and the generation that wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rooted {
    /// The pages.
    pub(crate) root: Root,
    /// The object of the root.
    pub(crate) at: Option<(PageReference, u64)>,
}

/// The map of an open device.
#[derive(Debug, Default)]
pub(crate) struct Map {
    active: Layer,
    base: Arc<Layer>,
    rooted: Arc<Rooted>,
}

/// A part of the device, and where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// In an object, or zeros.
    Known(Extent),
    /// On the page, if there is one.
    OnPage {
        /// The first byte.
        from: u64,
        /// The byte after the last one.
        to: u64,
    },
}

impl Map {
    /// Creates the map of a generation.
    pub(crate) fn new(changes: Table, rooted: Rooted) -> Self {
        Self { active: Layer::default(), base: Arc::new(changes.into()), rooted: Arc::new(rooted) }
    }

    /// Maps the extents of an object that is stored.
    pub(crate) fn insert(&mut self, payload: &Payload) {
        payload.extents.iter().for_each(|extent| self.active.extents.insert(*extent));
        self.active.objects.insert(payload.id, payload.bytes);
    }

    /// Makes `from..to` a hole.
    pub(crate) fn discard(&mut self, from: u64, to: u64) {
        self.active.extents.insert(Extent { address: from, bytes: to - from, at: None });
    }

    /// Returns the parts of `from..to` as far as they are known without pages, and the root for the others.
    pub(crate) fn lookup(&self, from: u64, to: u64) -> (Vec<Part>, Arc<Rooted>) {
        let mut parts = Vec::new();
        let mut gaps = Vec::new();
        let found = &mut |extent| parts.push(Part::Known(extent));
        self.active.extents.cover(from, to, found, &mut |from, to| gaps.push((from, to)));
        for (from, to) in gaps {
            let mut unknown = Vec::new();
            let found = &mut |extent| parts.push(Part::Known(extent));
            self.base.extents.cover(from, to, found, &mut |from, to| unknown.push((from, to)));
            parts.extend(unknown.into_iter().map(|(from, to)| Part::OnPage { from, to }));
        }
        (parts, Arc::clone(&self.rooted))
    }

    /// Begins a commit: all changes so far belong to it. Returns them, and the root.
    pub(crate) fn freeze(&mut self) -> (Arc<Layer>, Arc<Rooted>) {
        let active = std::mem::take(&mut self.active);
        Arc::make_mut(&mut self.base).add(active);
        (Arc::clone(&self.base), Arc::clone(&self.rooted))
    }

    /// Returns the changes of the last commit since the root was written, and the root.
    pub(crate) fn committed(&self) -> (Arc<Layer>, Arc<Rooted>) {
        (Arc::clone(&self.base), Arc::clone(&self.rooted))
    }

    /// Ends a commit that wrote a new root: the changes up to its begin are on pages.
    pub(crate) fn folded(&mut self, rooted: Rooted) {
        self.base = Arc::default();
        self.rooted = Arc::new(rooted);
    }
}
