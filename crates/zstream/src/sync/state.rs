//! Datasets of a source or target: their snapshots and bookmarks, and where an interrupted receive stopped.

/// A snapshot or bookmark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// The name after the `@` or `#`.
    pub(crate) name: String,
    pub(crate) guid: u64,
    /// The transaction group of its creation in its own pool: orders the points of a dataset.
    pub(crate) txg: u64,
}

/// A filesystem or volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its full name.
    pub(crate) name: String,
    /// Snapshots, oldest first.
    pub(crate) snapshots: Vec<Point>,
    /// Bookmarks, oldest first.
    pub(crate) bookmarks: Vec<Point>,
    /// The token of an interrupted receive.
    pub(crate) token: Option<String>,
    pub(crate) is_encrypted: bool,
    /// The full name of the snapshot that it was cloned from.
    pub(crate) origin: Option<String>,
}

impl Head {
    /// The snapshot or bookmark with this guid; the snapshot if there are both.
    pub(crate) fn with_guid(&self, guid: u64) -> Option<Known<'_>> {
        let find = |points: &'_ [Point]| points.iter().position(|point| point.guid == guid);
        match find(&self.snapshots) {
            Some(at) => Some(Known { point: &self.snapshots[at], is_bookmark: false }),
            None => find(&self.bookmarks).map(|at| Known { point: &self.bookmarks[at], is_bookmark: true }),
        }
    }

    /// Sorts the points.
    pub(crate) fn sorted(mut self) -> Self {
        self.snapshots.sort_by_key(|point| point.txg);
        self.bookmarks.sort_by_key(|point| point.txg);
        self
    }
}

/// A snapshot or bookmark of the source that a target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known<'a> {
    pub(crate) point: &'a Point,
    pub(crate) is_bookmark: bool,
}

impl Known<'_> {
    /// The name with its sign, as a source of an increment.
    pub(crate) fn signed(&self) -> String {
        format!("{}{}", if self.is_bookmark { '#' } else { '@' }, self.point.name)
    }
}
