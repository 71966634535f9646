//! Notices for the user of a pool that can be read but is not complete.

use std::fmt;

use crate::vdev::config::VdevType;
use crate::vdev::{CutMember, Vdev, VdevTree};

/// A notice about an open pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The end of a member is missing. Its blocks there cannot be read, and the pool cannot be written.
    CutMember(CutMember),
    /// Top-level vdevs are missing, or too many of their members are. Blocks that are stored only there cannot be
    /// read, and the pool cannot be written.
    Lost {
        /// The missing vdevs, each with its missing members.
        vdevs: Vec<String>,
        /// The number of top-level vdevs that store data.
        of: usize,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutMember(member) => member.fmt(f),
            Self::Lost { vdevs, of } => write!(
                f,
                "{} of {of} vdevs {} missing: {}; data stored only there is lost, and the pool can only be read",
                vdevs.len(),
                if vdevs.len() == 1 { "is" } else { "are" },
                vdevs.join(", ")
            ),
        }
    }
}

impl Notice {
    /// Returns the notice for the top-level vdevs that are lost, if there are any.
    pub(super) fn of_lost(tree: &VdevTree) -> Option<Self> {
        let vdevs: Vec<String> = tree.lost().map(describe).collect();
        let holds_data = |top: &&Vdev| {
            !top.config().is_log && !matches!(top.config().kind, VdevType::Hole | VdevType::Indirect)
        };
        let of = tree.tops().iter().filter(holds_data).count();
        (!vdevs.is_empty()).then_some(Self::Lost { vdevs, of })
    }
}

/// Describes a vdev with its missing members: `mirror-1 (a, b)`.
fn describe(top: &Vdev) -> String {
    let mut missing = Vec::new();
    let mut left: Vec<&Vdev> = top.children().iter().rev().collect();
    while let Some(vdev) = left.pop() {
        if vdev.children().is_empty() && !vdev.is_available() {
            missing.push(vdev.name());
        }
        left.extend(vdev.children().iter().rev());
    }
    if missing.is_empty() {
        top.name().to_owned()
    } else {
        format!("{} ({})", top.name(), missing.join(", "))
    }
}
