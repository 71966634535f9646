//! From objects to the paths that lead to them.
//!
//! Directories are searched, so hard links are found under all their names, and an object whose dnode is lost is found
//! under the name that its directory still has.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use zstream_dmu::ids::ObjectId;

use crate::fs::Filesystem;
use crate::node::{FileType, Node};
use crate::walk::{DEPTH_MAX, PATH_BYTES_MAX};

/// Marks the directories and files that are extended attributes (`ZFS_XATTR`).
const XATTR: u64 = 1;
/// Paths that are found for one object at most: a file may have very many names.
const PATHS_MAX: usize = 16;

/// The objects whose paths are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Single ones.
    pub objects: BTreeSet<ObjectId>,
    /// Ranges of numbers that lost blocks of dnodes held; not all of them need to be in use.
    pub ranges: Vec<Range<u64>>,
}

impl Wanted {
    fn has(&self, object: ObjectId) -> bool {
        self.objects.contains(&object) || self.ranges.iter().any(|range| range.contains(&object.0))
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// The paths from the root, without a slash before them; the root's own is empty.
    pub of: BTreeMap<ObjectId, Vec<Vec<u8>>>,
    /// Of what is part of an extended attribute: the file that has it.
    pub owners: BTreeMap<ObjectId, ObjectId>,
    /// Directories that could not be read to their end: what is in them may have been missed.
    pub unread: Vec<Vec<u8>>,
}

impl Filesystem<'_> {
    /// Finds paths. Of extended attributes, those of the files that have them.
    #[must_use]
    pub fn paths(&self, wanted: &Wanted) -> Paths {
        let mut paths = Paths::default();
        let mut wanted = wanted.clone();
        for object in wanted.objects.clone() {
            if let Some(owner) = self.xattr_owner(object) {
                paths.owners.insert(object, owner);
                wanted.objects.insert(owner);
            }
        }
        if wanted.has(self.root()) {
            paths.of.insert(self.root(), vec![Vec::new()]);
        }
        let mut entered = HashSet::from([self.root()]);
        let mut left = vec![(self.root(), Vec::new(), 0)];
        while let Some((directory, path, depth)) = left.pop() {
            let entries = self.directory(directory);
            let Ok(entries) = entries else {
                paths.unread.push(path);
                continue;
            };
            let mut failed = false;
            for entry in entries.entries() {
                let Ok(entry) = entry else {
                    failed = true;
                    continue;
                };
                let mut below = path.clone();
                if !below.is_empty() {
                    below.push(b'/');
                }
                below.extend_from_slice(&entry.name);
                if wanted.has(entry.object) {
                    let known = paths.of.entry(entry.object).or_default();
                    if known.len() < PATHS_MAX {
                        known.push(below.clone());
                    }
                }
                let is_directory = match entry.file_type {
                    Some(file_type) => file_type == FileType::Directory,
                    // File systems of old do not say it in the entry.
                    None => self.node(entry.object).is_ok_and(|node| node.is_directory()),
                };
                let fits = depth < DEPTH_MAX && below.len() <= PATH_BYTES_MAX;
                if is_directory && fits && entered.insert(entry.object) {
                    left.push((entry.object, below, depth + 1));
                }
            }
            if failed {
                paths.unread.push(path);
            }
        }
        paths.of.values_mut().for_each(|paths| paths.sort());
        paths.unread.sort();
        paths
    }

    /// The file that an extended attribute or a directory of them belongs to.
    fn xattr_owner(&self, object: ObjectId) -> Option<ObjectId> {
        let is_xattr = |node: &Node| node.flags & XATTR != 0;
        let mut node = self.node(object).ok().filter(is_xattr)?;
        // The attribute lies in the directory, the directory belongs to the file.
        for _ in 0..2 {
            node = self.node(node.parent).ok()?;
            if !is_xattr(&node) {
                return Some(node.object);
            }
        }
        None
    }
}
