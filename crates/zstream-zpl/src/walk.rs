//! Walking through all that lies below a directory, each directory once.
//!
//! Directories come before what is in them, names in the order of their bytes. Nothing recurses, and a
//! directory that is met a second time is an error and not entered, so that a damaged tree with a loop ends. A name that
//! comes a second time in its directory is an error too.

use std::collections::HashSet;
use std::vec;

use zstream_dmu::error::Error;
use zstream_dmu::ids::ObjectId;

use crate::directory::DirectoryEntry;
use crate::fs::Filesystem;
use crate::node::Node;

/// How deep directories may lie in each other: a path of 4096 bytes, as long as systems take, has half as many parts.
pub const DEPTH_MAX: usize = 2048;
/// How long a path may get, in bytes: more than systems take, and little enough that a damaged tree costs no memory.
pub const PATH_BYTES_MAX: usize = 16 << 10;

/// What a walk came to.
#[derive(Debug)]
pub enum Visit {
    /// A node; `path` is relative to where the walk began, and empty there.
    Node {
        /// The path.
        path: Vec<u8>,
        /// The node.
        node: Node,
    },
    /// All that is in a directory was visited.
    Leave {
        /// Path of the directory.
        path: Vec<u8>,
        /// The directory.
        node: Node,
    },
    /// Something could not be read; the walk goes on with what comes after it.
    Failed {
        /// Where.
        path: Vec<u8>,
        /// Why.
        error: Error,
    },
}

struct Level {
    path: Vec<u8>,
    node: Node,
    entries: vec::IntoIter<DirectoryEntry>,
    errors: vec::IntoIter<Error>,
}

/// A walk through a directory and all below it.
pub struct Walk<'f, 'a> {
    fs: &'f Filesystem<'a>,
    start: Option<Node>,
    levels: Vec<Level>,
    seen: HashSet<ObjectId>,
}

impl<'a> Filesystem<'a> {
    /// Walks from a node on.
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
                        "nested more than {DEPTH_MAX} deep, or its path is longer than {PATH_BYTES_MAX} bytes"
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
            // One that is a link and one that is a directory would lead what is put below the second through the first.
            entries.dedup_by(|second, first| {
                let same = second.name == first.name;
                if same {
                    let detail = format!("name {:?} is there twice", String::from_utf8_lossy(&first.name));
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
