//! A walk over everything below a directory, which visits each directory once.
//!
//! A directory is visited before its entries, and entries are visited in the order of the bytes of their names. The walk
//! does not recurse. A directory that is found a second time is an error and is not entered, so the walk ends even if a
//! damaged tree has a loop. A duplicate name in a directory is also an error.

use std::collections::HashSet;
use std::vec;

use zstream_dmu::error::Error;
use zstream_dmu::ids::ObjectId;

use crate::directory::DirectoryEntry;
use crate::fs::Filesystem;
use crate::node::Node;

/// The maximum depth of nested directories: a path of 4096 bytes, the limit of systems, has half as many components.
pub(crate) const DEPTH_MAX: usize = 2048;
/// The maximum length of a path in bytes: above the limit of systems, but so small that a damaged tree uses little memory.
pub(crate) const PATH_BYTES_MAX: usize = 16 << 10;

/// A step of a walk.
#[derive(Debug)]
pub enum Visit {
    /// The walk found a node.
    Node {
        /// The path relative to the start of the walk, where it is empty.
        path: Vec<u8>,
        /// The node.
        node: Node,
    },
    /// The walk has visited all entries of a directory.
    Leave {
        /// The path of the directory.
        path: Vec<u8>,
        /// The directory.
        node: Node,
    },
    /// A node or an entry could not be read. The walk continues with the next one.
    Failed {
        /// The path.
        path: Vec<u8>,
        /// The error.
        error: Error,
    },
}

struct Level {
    path: Vec<u8>,
    node: Node,
    entries: vec::IntoIter<DirectoryEntry>,
    errors: vec::IntoIter<Error>,
}

/// A walk over a node and everything below it.
pub struct Walk<'f, 'a> {
    fs: &'f Filesystem<'a>,
    start: Option<Node>,
    levels: Vec<Level>,
    seen: HashSet<ObjectId>,
}

impl<'a> Filesystem<'a> {
    /// Starts a walk at a node.
    #[must_use]
    pub fn walk(&self, node: Node) -> Walk<'_, 'a> {
        Walk { fs: self, start: Some(node), levels: Vec::new(), seen: HashSet::new() }
    }
}

impl Walk<'_, '_> {
    fn visit(&mut self, path: Vec<u8>, node: Node) -> Visit {
        if node.is_directory() {
            if !self.seen.insert(node.object) {
                let error =
                    Error::corrupt("directory", format!("object {} has more than one name", node.object));
                return Visit::Failed { path, error };
            }
            if self.levels.len() >= DEPTH_MAX || path.len() > PATH_BYTES_MAX {
                let error = Error::corrupt(
                    "directory",
                    format!(
                        "it is nested more than {DEPTH_MAX} deep, or its path is longer than {PATH_BYTES_MAX} bytes"
                    ),
                );
                return Visit::Failed { path, error };
            }
            let (mut entries, mut errors) = (Vec::new(), Vec::new());
            match self.fs.directory(node.object) {
                Ok(directory) => {
                    for entry in directory.entries() {
                        match entry {
                            Ok(entry) => entries.push(entry),
                            Err(error) => errors.push(error),
                        }
                    }
                }
                Err(error) => errors.push(error),
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            // If one were a link and the other a directory, entries of the directory would be extracted through the link.
            entries.dedup_by(|second, first| {
                let same = second.name == first.name;
                if same {
                    let detail = format!("name {:?} exists twice", String::from_utf8_lossy(&first.name));
                    errors.push(Error::corrupt("directory", detail));
                }
                same
            });
            self.levels.push(Level {
                path: path.clone(),
                node: node.clone(),
                entries: entries.into_iter(),
                errors: errors.into_iter(),
            });
        }
        Visit::Node { path, node }
    }
}

impl Iterator for Walk<'_, '_> {
    type Item = Visit;

    fn next(&mut self) -> Option<Visit> {
        if let Some(node) = self.start.take() {
            return Some(self.visit(Vec::new(), node));
        }
        let level = self.levels.last_mut()?;
        if let Some(error) = level.errors.next() {
            return Some(Visit::Failed { path: level.path.clone(), error });
        }
        let Some(entry) = level.entries.next() else {
            return self.levels.pop().map(|level| Visit::Leave { path: level.path, node: level.node });
        };
        let mut path = level.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&entry.name);
        Some(match self.fs.node(entry.object) {
            Ok(node) => self.visit(path, node),
            Err(error) => Visit::Failed { path, error },
        })
    }
}
