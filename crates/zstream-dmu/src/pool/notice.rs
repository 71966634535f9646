//! What whoever uses a pool should know, though it can be read.

use std::fmt;

use crate::vdev::CutMember;

/// Something about an open pool that its user should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The end of a member is missing: what lies there cannot be read from it, and the pool cannot be written.
    CutMember(CutMember),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutMember(member) => member.fmt(f),
        }
    }
}
