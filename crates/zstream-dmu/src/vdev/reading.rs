//! The parameters of a read of a block, and the damage that it found.

use std::fmt;

use crate::error::Result;
use crate::ids::Guid;

/// The copies of a block that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Only as many as are required for an intact one.
    AnyCopy,
    /// All, so that any damage is found.
    EveryCopy,
}

/// The kind of damage on a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DamageCause {
    /// The device returned an error.
    Unreadable,
    /// The content does not match the checksum or the other copies.
    Wrong,
}

/// A range of a device with a corrupt or unreadable part of a block.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Damage {
    /// The path or name of the member.
    pub vdev: String,
    /// The guid of the member.
    pub guid: Guid,
    /// The byte offset on the device.
    pub offset: u64,
    /// The length in bytes.
    pub len: u64,
    /// The kind of damage.
    pub cause: DamageCause,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = match self.cause {
            DamageCause::Unreadable => "unreadable",
            DamageCause::Wrong => "corrupt",
        };
        write!(f, "{} bytes at offset {:#x} of {} are {cause}", self.len, self.offset, self.vdev)
    }
}

/// A verification of candidate content.
pub(crate) type Verify<'a> = dyn Fn(&[u8]) -> Result<()> + 'a;

/// The parameters of a read, and the damage that it found.
pub(crate) struct Reading<'a> {
    /// The verification, which accepts intact content.
    pub(crate) verify: &'a Verify<'a>,
    /// The copies to read.
    pub(crate) effort: Effort,
    /// The damaged ranges.
    pub(crate) damage: Vec<Damage>,
}

impl<'a> Reading<'a> {
    /// Creates the parameters of a read that continues until `verify` succeeds.
    pub(crate) fn new(verify: &'a Verify<'a>, effort: Effort) -> Self {
        Self { verify, effort, damage: Vec::new() }
    }
}
