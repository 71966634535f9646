//! Lists of files.

use zstream_zpl::Filesystem;
use zstream_zpl::Visit;
use zstream_zpl::node::Node;

use crate::error::{Cause, Error};
use crate::place::source::joined;

/// A file in a list.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listed {
    /// Its path: as given, or below that in a recursive list; in a list of a directory the name.
    pub path: Vec<u8>,
    /// Its attributes; none if only names were requested. The error of one that cannot be read; it may also be the error of
    /// reading a directory at this path.
    pub node: Result<Option<Node>, Cause>,
}

/// The form of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Include subdirectories with their files.
    pub recursive: bool,
    /// Read attributes even where names are enough.
    pub attributes: bool,
}

/// Lists a file, or the files in a directory by name; recursively in the order of [`Filesystem::walk`]. Each goes to `show`,
/// what cannot be read too.
///
/// # Errors
/// The error of `show`; the directory at `path` cannot be read.
pub fn list_files<E: From<Error>>(
    fs: &Filesystem<'_>,
    path: &[u8],
    options: ListOptions,
    show: &mut dyn FnMut(Listed) -> Result<(), E>,
) -> Result<(), E> {
    let mut given = |node| show(Listed { path: path.to_vec(), node });
    let start = match fs.resolve(path) {
        Ok(node) if node.is_directory() => node,
        Ok(node) => return given(Ok(Some(node))),
        Err(error) => return given(Err(error.into())),
    };
    if options.recursive {
        for visit in fs.walk(start) {
            match visit {
                Visit::Node { path, .. } if path.is_empty() => {}
                Visit::Node { path: below, node } => {
                    show(Listed { path: joined(path, &below), node: Ok(Some(node)) })?;
                }
                Visit::Leave { .. } => {}
                Visit::Failed { path: below, error } => {
                    show(Listed { path: joined(path, &below), node: Err(error.into()) })?;
                }
            }
        }
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in fs.directory(start.object).map_err(Error::from)?.entries() {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(error) => show(Listed { path: path.to_vec(), node: Err(error.into()) })?,
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries.into_iter().try_for_each(|entry| {
        let node =
            if options.attributes { fs.node(entry.object).map(Some).map_err(Cause::from) } else { Ok(None) };
        show(Listed { path: entry.name, node })
    })
}
