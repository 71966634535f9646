//! What whoever uses a pool should know, though it can be read.

use std::fmt;

use crate::vdev::config::VdevType;
use crate::vdev::{CutMember, Vdev, VdevTree};

/// Something about an open pool that its user should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The end of a member is missing: what lies there cannot be read from it, and the pool cannot be written.
    CutMember(CutMember),
    /// Top-level vdevs, of which there are `of`, are missing, or too many of their members are. What lies on them alone cannot be
    /// read, and the pool cannot be written.
    Lost {
        /// What is missing, each vdev with its members.
        vdevs: Vec<String>,
        /// How many top-level vdevs hold data.
        of: usize,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutMember(member) => member.fmt(f),
            Self::Lost { vdevs, of } => write!(
                f,
                "{} of {of} vdevs {} missing: {}; what lies there alone is lost, and the pool can only be read",
                vdevs.len(),
                if vdevs.len() == 1 { "is" } else { "are" },
                vdevs.join(", ")
            ),
        }
    }
}

impl Notice {
    /// What of a pool is missing that nothing makes up for.
    pub(super) fn of_lost(tree: &VdevTree) -> Option<Self> {
        let vdevs: Vec<String> = tree.lost().map(describe).collect();
        let holds_data = |top: &&Vdev| {
            !top.config().is_log && !matches!(top.config().kind, VdevType::Hole | VdevType::Indirect)
        };
        let of = tree.tops().iter().filter(holds_data).count();
        (!vdevs.is_empty()).then_some(Self::Lost { vdevs, of })
    }
}

/// `mirror-1 (a, b)`: a vdev with those of its members that are missing.
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
