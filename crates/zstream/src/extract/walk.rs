//! The walk over the extracted nodes, which restoring into a directory and writing an archive share.

use zstream_zpl::node::Node;
use zstream_zpl::{Filesystem, Visit};

use super::{Report, What};
use crate::error::Result;
use crate::place::source::joined;

/// A step of a walk, at a path from the root of the filesystem.
pub(super) enum Step {
    /// A node; a directory before its entries.
    Node(Node),
    /// A directory after its entries.
    #[cfg_attr(not(unix), expect(dead_code, reason = "of extraction into a directory"))]
    Leave(Node),
}

/// Returns the node at a path of the filesystem; `None` if it cannot be read, which is reported.
pub(super) fn resolve(fs: &Filesystem<'_>, path: &[u8], report: &mut Report<'_, '_>) -> Option<Node> {
    fs.resolve(path).map_err(|error| report.failed(path, What::Name, error)).ok()
}

/// Passes the node at a path and everything below it to `step`, and reports names that cannot be read.
///
/// # Errors
/// It was cancelled; `step` failed.
pub(super) fn walk(
    fs: &Filesystem<'_>,
    path: &[u8],
    node: Node,
    report: &mut Report<'_, '_>,
    mut step: impl FnMut(&[u8], Step, &mut Report<'_, '_>) -> Result<()>,
) -> Result<()> {
    for visit in fs.walk(node) {
        let (Visit::Node { path: below, .. }
        | Visit::Leave { path: below, .. }
        | Visit::Failed { path: below, .. }) = &visit;
        let here = joined(path, below);
        if report.control.is_cancelled() {
            return Err(report.cancelled(&here));
        }
        match visit {
            Visit::Node { node, .. } => step(&here, Step::Node(node), report)?,
            Visit::Leave { node, .. } => step(&here, Step::Leave(node), report)?,
            Visit::Failed { error, .. } => report.failed(&here, What::Name, error),
        }
    }
    Ok(())
}
