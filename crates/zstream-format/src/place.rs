//! Positions of records in a stream.

use std::fmt;

use crate::record::RecordType;

/// The position of a record in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Place {
    /// The offset of the header of the record in the stream, in bytes.
    pub offset: u64,
    /// The number of records before it in the stream.
    pub index: u64,
    /// The type of the record, if it could be read.
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
