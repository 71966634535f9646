//! Block I/O: from a block pointer to the logical content of the block, and back.

mod allocate;
pub mod crypt;
pub(crate) mod gang;
pub(crate) mod header;
pub(crate) mod large_headers;
mod place;
mod protect;
pub(crate) mod read;
mod rewrite;
mod verify;
pub(crate) mod write;
mod writer;

pub use allocate::{AllocationClass, Same, Space};
pub use large_headers::LargeHeaders;
pub use read::{BadCopy, BlockCheck, BlockReader, Decrypt, Observer};
pub use write::{Dedup, Ledger, Protection};
pub use writer::{BlockWriter, WriterSettings};

#[cfg(test)]
mod tests;
