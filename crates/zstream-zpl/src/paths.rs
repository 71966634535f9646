//! The search for the paths of objects.
//!
//! Directories are searched, so hard links are found under all their names, and an object whose dnode is lost is found
//! under the name that remains in its directory.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use zstream_dmu::ids::ObjectId;

use crate::fs::Filesystem;
use crate::node::{FileType, Node};
use crate::walk::{DEPTH_MAX, PATH_BYTES_MAX};

/// The flag of the directories and files of extended attributes (`ZFS_XATTR`).
const XATTR: u64 = 1;
/// The maximum number of paths for one object: a file may have very many names.
const PATHS_MAX: usize = 16;

/// The objects whose paths are requested.
#[derive(Clone, Debug, Default)]
pub struct PathQuery {
    /// Individual objects.
    pub objects: BTreeSet<ObjectId>,
    /// Ranges of object numbers in lost dnode blocks; not all of them need to be in use.
    pub ranges: Vec<Range<u64>>,
}

impl PathQuery {
    fn has(&self, object: ObjectId) -> bool {
        self.objects.contains(&object) || self.ranges.iter().any(|range| range.contains(&object.0))
    }
}

/// The result of a search for paths.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Paths {
    /// The paths from the root, without a leading slash; that of the root is empty.
    pub of: BTreeMap<ObjectId, Vec<Vec<u8>>>,
    /// The file that has an extended attribute, by the objects of the attribute.
    pub owners: BTreeMap<ObjectId, ObjectId>,
    /// The directories that could not be read completely: entries in them may be missing.
    pub unread: Vec<Vec<u8>>,
}

impl Filesystem<'_> {
    /// Finds the paths of objects. For extended attributes, it finds those of the files that have them.
    #[must_use]
    pub fn paths(&self, wanted: &PathQuery) -> Paths {
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
                    // The entries of old filesystems do not contain the type.
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

    /// Returns the file that has an extended attribute or a directory of extended attributes.
    fn xattr_owner(&self, object: ObjectId) -> Option<ObjectId> {
        let is_xattr = |node: &Node| node.flags & XATTR != 0;
        let mut node = self.node(object).ok().filter(is_xattr)?;
        // The parent of the attribute is the directory, and the parent of that is the file.
        for _ in 0..2 {
            node = self.node(node.parent).ok()?;
            if !is_xattr(&node) {
                return Some(node.object);
            }
        }
        None
    }
}
