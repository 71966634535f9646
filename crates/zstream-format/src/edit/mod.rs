//! Edits of whole streams: one stream in, another one out, both record by record and in constant memory.
//!
//! What every edit keeps: input checksums are verified, output checksums are computed anew, and an edit
//! that has nothing to change gives the same bytes. Nothing here opens a file.

pub mod byteswap;
#[cfg(feature = "gzip")]
pub mod resume;
pub mod select;

mod error;

pub use error::EditError;
