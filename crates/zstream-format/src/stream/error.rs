//! Faults in streams and their positions.

use std::fmt;
use std::io;

use crate::checksum::Checksum;
use crate::compress::CodecError;
use crate::errno::Errno;
use crate::flags::FeatureFlags;
use crate::place::Place;
use crate::record::RecordType;

/// A fault in a payload that contradicts its record, although the checksums of the stream match: the payload
/// was damaged before it was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadFault {
    /// The checksum of the block differs from that in the key.
    #[error(
        "the block differs from the one on the sender's disk: its checksum is {computed}, the record has {found}"
    )]
    Key {
        /// The checksum of the payload.
        computed: Checksum,
        /// The checksum in the record.
        found: Checksum,
    },
    /// The MAC in the key differs from the MAC of the record.
    #[error("the authentication code of the block differs from the one in its checksum")]
    Mac,
    /// The block cannot be decompressed.
    #[error("the block cannot be decompressed: {0}")]
    Codec(#[from] CodecError),
}

/// A fault in a stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Reading the source or writing the destination failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The input is empty.
    #[error("the input is empty, expected a stream")]
    Empty,
    /// The input ends inside a record.
    #[error("the stream is cut short: {what} needs {need} bytes, have {have}")]
    Truncated {
        /// The part of the record that is incomplete.
        what: &'static str,
        /// The number of bytes that it requires.
        need: u64,
        /// The number of bytes that were read.
        have: u64,
    },
    /// The input ends after a complete record that is not an END.
    #[error("the stream is cut short: it ends without an END record")]
    NoEnd,
    /// The input is not a stream, or there are other bytes after a stream.
    #[error("this is not a send stream: magic is {found:#x}, expected 0x2f5bacbac")]
    Magic {
        /// The value in place of the magic number, read as little-endian.
        found: u64,
    },
    /// The header type is neither that of a substream nor that of a package.
    #[error("header type {0} of BEGIN is neither 1 (substream) nor 2 (package)")]
    HeaderType(u8),
    /// The record type does not exist.
    #[error("record type {0} does not exist")]
    RecordType(u32),
    /// The record is not allowed at this position.
    #[error("found {found}, expected {expected}")]
    Unexpected {
        /// The type of the record.
        found: RecordType,
        /// The expected record.
        expected: &'static str,
    },
    /// The checksum at the end of a header does not match.
    #[error("checksum of the record header does not match: computed {computed}, found {found}")]
    Trailer {
        /// The sum of all bytes before the checksum.
        computed: Checksum,
        /// The checksum in the record.
        found: Checksum,
    },
    /// The checksum in an END does not match.
    #[error("checksum of the stream does not match: computed {computed}, found {found} in END")]
    EndChecksum {
        /// The sum of all bytes before END.
        computed: Checksum,
        /// The checksum in END.
        found: Checksum,
    },
    /// A byte that no checksum covers is not zero.
    #[error("byte {at} of the record, which no checksum covers, is {found:#04x}, expected zero")]
    NotZero {
        /// The offset in the record.
        at: usize,
        /// The value of the byte.
        found: u8,
    },
    /// The guid in an END that no checksum covers differs from that in its BEGIN.
    #[error("END is for snapshot {found:x}, BEGIN was for {expected:x}")]
    EndGuid {
        /// The guid in END.
        found: u64,
        /// The guid in BEGIN.
        expected: u64,
    },
    /// A size exceeds the limit of the format.
    #[error("{what} is {found} bytes, the limit is {limit}")]
    TooLarge {
        /// The part of the record that is too large.
        what: &'static str,
        /// The size in the record, in bytes.
        found: u64,
        /// The maximum size in bytes.
        limit: u64,
    },
    /// The stream uses unknown features.
    #[error("the stream uses unknown features: {}", .0.names().join(", "))]
    Features(FeatureFlags),
    /// The record breaks a rule of receivers.
    #[error("a receiver refuses the record: {0}")]
    Rule(#[from] crate::judge::Breach),
    /// The list after BEGIN cannot be decoded.
    #[error("the list after BEGIN cannot be decoded: {0}")]
    List(#[from] crate::nvlist::NvError),
    /// The payload contradicts its record, although the checksums match.
    #[error("{0}")]
    Payload(#[from] PayloadFault),
    /// The payload of a record to write does not have the size that its header states.
    #[error("the payload is {found} bytes, expected {expected} as in the header")]
    PayloadLen {
        /// The size of the payload in bytes.
        found: u64,
        /// The size in the header.
        expected: u64,
    },
    /// The reader or writer was used after an error.
    #[error("the stream was abandoned after an earlier error")]
    GivenUp,
    /// A fault that a caller found in a record.
    #[error("{0}")]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Fault {
    /// An identifier for the kind of fault, which does not change between versions.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::Empty => "empty",
            Self::Truncated { .. } => "truncated",
            Self::NoEnd => "no_end",
            Self::Magic { .. } => "magic",
            Self::HeaderType(_) => "header_type",
            Self::RecordType(_) => "record_type",
            Self::Unexpected { .. } => "unexpected_record",
            Self::Trailer { .. } | Self::EndChecksum { .. } => "checksum",
            Self::NotZero { .. } => "not_zero",
            Self::EndGuid { .. } => "end_guid",
            Self::TooLarge { .. } => "too_large",
            Self::Features(_) => "unknown_features",
            Self::Rule(_) => "rule",
            Self::List(_) => "nvlist",
            Self::Payload(_) => "payload",
            Self::PayloadLen { .. } => "payload_length",
            Self::GivenUp => "given_up",
            Self::Other(_) => "other",
        }
    }

    /// The error number that OpenZFS's receiver gives.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Io(error) => match error.kind() {
                io::ErrorKind::BrokenPipe => Errno::EPIPE,
                io::ErrorKind::StorageFull => Errno::ENOSPC,
                _ => Errno::EIO,
            },
            Self::Empty | Self::Truncated { .. } | Self::NoEnd => Errno::ZFS_ERR_STREAM_TRUNCATED,
            Self::Trailer { .. } | Self::EndChecksum { .. } => Errno::ECKSUM,
            Self::Features(_) => Errno::ZFS_ERR_UNKNOWN_SEND_STREAM_FEATURE,
            Self::Rule(breach) => breach.errno(),
            Self::List(error) => error.errno(),
            Self::Magic { .. }
            | Self::HeaderType(_)
            | Self::RecordType(_)
            | Self::Unexpected { .. }
            | Self::NotZero { .. }
            | Self::EndGuid { .. }
            | Self::TooLarge { .. }
            | Self::Payload(_)
            | Self::PayloadLen { .. }
            | Self::GivenUp
            | Self::Other(_) => Errno::EINVAL,
        }
    }

    /// Returns the expected and the actual value, if the fault is a difference between two values.
    #[must_use]
    pub fn expected_and_found(&self) -> Option<(String, String)> {
        Some(match self {
            Self::Truncated { need, have, .. } => (need.to_string(), have.to_string()),
            Self::Magic { found } => ("0x2f5bacbac".to_owned(), format!("{found:#x}")),
            Self::HeaderType(found) => ("1 or 2".to_owned(), found.to_string()),
            Self::RecordType(found) => ("0 to 10".to_owned(), found.to_string()),
            Self::Unexpected { found, expected } => ((*expected).to_owned(), found.to_string()),
            Self::Trailer { computed, found } | Self::EndChecksum { computed, found } => {
                (computed.to_string(), found.to_string())
            }
            Self::NotZero { found, .. } => ("0x00".to_owned(), format!("{found:#04x}")),
            Self::EndGuid { found, expected } => (format!("{expected:x}"), format!("{found:x}")),
            Self::TooLarge { found, limit, .. } => (format!("at most {limit}"), found.to_string()),
            _ => return None,
        })
    }
}

/// A fault and its position. It is one word wide, so that results stay small.
pub struct Error(Box<(Fault, Place)>);

impl Error {
    /// Creates an error from a fault and its position.
    #[must_use]
    pub fn new(fault: Fault, place: Place) -> Self {
        Self(Box::new((fault, place)))
    }

    /// Returns the fault without its position.
    #[must_use]
    pub fn into_fault(self) -> Fault {
        self.0.0
    }

    /// The fault.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.0.0
    }

    /// The position: the record that was being read.
    #[must_use]
    pub fn place(&self) -> Place {
        self.0.1
    }

    /// The error number that OpenZFS's receiver gives.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self.fault() {
            Fault::TooLarge { .. } if self.place().record == Some(RecordType::Begin) => Errno::E2BIG,
            fault => fault.errno(),
        }
    }

    /// Returns `true` if the stream only ends too early: all records before that may be intact.
    #[must_use]
    pub fn is_truncation(&self) -> bool {
        matches!(self.fault(), Fault::Truncated { .. } | Fault::NoEnd | Fault::Empty)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.fault(), self.place())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}, {:?})", self.fault(), self.place())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.fault() {
            Fault::Io(error) => Some(error),
            Fault::Rule(error) => Some(error),
            Fault::List(error) => Some(error),
            Fault::Payload(error) => Some(error),
            Fault::Other(error) => Some(&**error),
            _ => None,
        }
    }
}
