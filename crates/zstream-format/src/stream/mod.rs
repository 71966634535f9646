//! Reading and writing streams: records in order, with the running checksum.
//!
//! A file or pipe contains one or more streams. A stream is a substream (one snapshot) or a package (many
//! snapshots, after a header that describes their relations):
//!
//! ```text
//! substream:  BEGIN record... END
//! package:    BEGIN nvlist END  { BEGIN record... END }...  END
//! ```
//!
//! [`Chain`] tracks the position of a record in this structure and the checksum rules for it; the readers
//! and the writer drive it.

mod chain;
mod error;
mod follow;
mod padding;
#[cfg(feature = "parallel")]
mod parallel;
mod reader;
mod writer;

pub(crate) use chain::Section;
pub use chain::{Chain, Role};
pub use error::{Error, Fault, PayloadFault};
#[cfg(feature = "parallel")]
pub use parallel::{ParallelReader, ReadAt, View};
pub use reader::{Checking, Record, StreamReader};
pub use writer::{Sealer, StreamWriter, Trailers};
