//! Where in a stream something is.

use std::fmt;

use crate::record::RecordType;

/// The place of a record in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Place {
    /// Bytes of the stream before the record's header.
    pub offset: u64,
    /// Records of the stream before it.
    pub index: u64,
    /// What it is, where that could be read.
    pub record: Option<RecordType>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {}", self.index)?;
        if let Some(kind) = self.record {
            write!(f, " {kind}")?;
        }
        write!(f, ", stream offset {:#x}", self.offset)
    }
}
