//! What can be wrong with a stream, and where.

use std::fmt;
use std::io;

use crate::checksum::Checksum;
use crate::compress::CodecError;
use crate::errno::Errno;
use crate::flags::FeatureFlags;
use crate::place::Place;
use crate::record::RecordType;

/// A payload that is not what its record says, though the checksums of the stream are right: it was
/// damaged before it was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadFault {
    /// The block's checksum is another one.
    #[error(
        "the block is not what it was on the sender's disk: its checksum is {computed}, the record says {found}"
    )]
    Key {
        /// Sum of the payload.
        computed: Checksum,
        /// What the record says.
        found: Checksum,
    },
    /// The MAC in the key is not that in the record.
    #[error("the block's authentication code differs from that in its checksum")]
    Mac,
    /// The block cannot be decompressed.
    #[error("the block cannot be decompressed: {0}")]
    Codec(#[from] CodecError),
}

/// What is wrong with a stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The source could not be read, or the destination not written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// There is no stream: not one byte.
    #[error("no stream: the input is empty")]
    Empty,
    /// The input ends inside a record.
    #[error("the stream is cut short: {what} needs {need} bytes, have {have}")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes it takes.
        need: u64,
        /// Bytes there were.
        have: u64,
    },
    /// The input ends behind a whole record, but not behind an END.
    #[error("the stream is cut short: it ends without an END record")]
    NoEnd,
    /// Not a stream, or something behind a stream that is not another one.
    #[error("not a send stream: magic is {found:#x}, expected 0x2f5bacbac")]
    Magic {
        /// The number in the place of the magic, read as little-endian.
        found: u64,
    },
    /// The header type is neither that of a substream nor that of a package.
    #[error("header type {0} of BEGIN is neither 1 (substream) nor 2 (package)")]
    HeaderType(u8),
    /// A record type that does not exist.
    #[error("record type {0} does not exist")]
    RecordType(u32),
    /// A record where another one has to be.
    #[error("found {found}, expected {expected}")]
    Unexpected {
        /// What it is.
        found: RecordType,
        /// What has to be there.
        expected: &'static str,
    },
    /// The checksum at the end of a record is not that of everything before it.
    #[error("checksum of the record header is wrong: computed {computed}, found {found}")]
    Trailer {
        /// Sum of everything before it.
        computed: Checksum,
        /// What the record says.
        found: Checksum,
    },
    /// The checksum inside an END is not that of everything before it.
    #[error("checksum of the stream is wrong: computed {computed}, END says {found}")]
    EndChecksum {
        /// Sum of everything before END.
        computed: Checksum,
        /// What END says.
        found: Checksum,
    },
    /// Bytes that no checksum covers and that have to be zero, but are not.
    #[error("byte {at} of the record, which no checksum covers, is {found:#04x}, expected zero")]
    NotZero {
        /// Offset in the record.
        at: usize,
        /// The byte.
        found: u8,
    },
    /// The guid in an END that no checksum covers is not that of its BEGIN.
    #[error("END is for snapshot {found:x}, BEGIN was for {expected:x}")]
    EndGuid {
        /// What END says.
        found: u64,
        /// What BEGIN said.
        expected: u64,
    },
    /// A size that the format does not allow.
    #[error("{what} is {found} bytes, the limit is {limit}")]
    TooLarge {
        /// Which size.
        what: &'static str,
        /// What the record says.
        found: u64,
        /// The most there can be.
        limit: u64,
    },
    /// Features that this version does not know.
    #[error("the stream uses features that are not known: {}", .0.names().join(", "))]
    Features(FeatureFlags),
    /// A rule that receivers hold records to is broken.
    #[error("a receiver refuses the record: {0}")]
    Rule(#[from] crate::judge::Breach),
    /// The list behind BEGIN cannot be decoded.
    #[error("the list behind BEGIN cannot be read: {0}")]
    List(#[from] crate::nvlist::NvError),
    /// A payload is not what its record says, though the checksums are right.
    #[error("{0}")]
    Payload(#[from] PayloadFault),
    /// A record to be written whose payload has another length than its header says.
    #[error("the payload is {found} bytes, the header says {expected}")]
    PayloadLen {
        /// Bytes of the payload.
        found: u64,
        /// What the header says.
        expected: u64,
    },
    /// The reader or writer was asked to go on behind an error.
    #[error("the stream was given up after an earlier error")]
    GivenUp,
    /// Something a caller found out about a record.
    #[error("{0}")]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Fault {
    /// A word for the kind of fault, which stays the same from version to version.
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

    /// What was expected and what was found, where the fault is a matter of two values.
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

/// A fault and where it is. One word wide, so that results stay small.
pub struct Error(Box<(Fault, Place)>);

impl Error {
    /// A fault at a place.
    #[must_use]
    pub fn new(fault: Fault, place: Place) -> Self {
        Self(Box::new((fault, place)))
    }

    /// What is wrong, without its place.
    #[must_use]
    pub fn into_fault(self) -> Fault {
        self.0.0
    }

    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.0.0
    }

    /// Where: the record that was being read.
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

    /// Whether the stream only ends too early: everything up to there may be good.
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
