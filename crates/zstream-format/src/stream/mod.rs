//! Reading and writing whole streams: records in their order, with the checksum that runs through them.
//!
//! A file or pipe holds one or more streams. A stream is a substream (one snapshot) or a package
//! (many, behind a header that says how they belong together):
//!
//! ```text
//! substream:  BEGIN record... END
//! package:    BEGIN nvlist END  { BEGIN record... END }...  END
//! ```
//!
//! [`Chain`] knows where in this shape a record stands and which checksum rules hold for it; the
//! readers and the writer are drivers of it.

mod chain;
mod error;
mod follow;
mod padding;
mod reader;
mod writer;

pub use chain::{Chain, Role, Section};
pub use error::{Error, Fault, PayloadFault};
pub use reader::{Checking, Record, StreamReader};
pub use writer::{Sealer, StreamWriter, Trailers};

#[cfg(feature = "parallel")]
pub mod parallel;
