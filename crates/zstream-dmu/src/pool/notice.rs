//! Notices for the user of a pool that can be read but is not complete.

use std::fmt;

use crate::error::{Error, Fault};
use crate::vdev::config::VdevType;
use crate::vdev::{CutMember, Vdev, VdevTree};

/// A notice about an open pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The end of a member is missing. Its blocks there cannot be read, and the pool cannot be written.
    CutMember(CutMember),
    /// A device without labels of its own was recognized as a member by its content.
    Identified {
        /// The name of the device.
        device: String,
        /// The name of the member.
        member: String,
    },
    /// A member was written apart from its siblings. What was written there is not in this state of the pool.
    Apart(String),
    /// A part of the metadata of the pool that is not needed for everything cannot be read.
    Unread {
        /// The part.
        what: String,
        /// The reason.
        error: String,
    },
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
            Self::Apart(member) => write!(
                f,
                "{member} was written apart from the other members, and what was written there is not in this state of the pool; \
                 name it alone to read that"
            ),
            Self::Unread { what, error } => write!(f, "{what} cannot be read: {error}"),
            Self::Identified { device, member } => {
                write!(f, "{device} has no labels of its own; its content is that of {member}")
            }
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
    /// Returns the notice that a part of the metadata cannot be read. Of several copies, the error of the first one is shown.
    #[must_use]
    pub fn unread(what: &str, error: &Error) -> Self {
        let error = match error.fault() {
            Fault::NoGoodCopy(errors) => match errors.first() {
                Some(first) => format!("no copy is intact: {first}"),
                None => error.to_string(),
            },
            _ => error.to_string(),
        };
        Self::Unread { what: what.to_owned(), error }
    }

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
