//! Block I/O: from a block pointer to the logical content of the block, and back.

mod allocate;
pub mod crypt;
pub mod gang;
pub mod header;
pub mod large_headers;
mod place;
mod protect;
pub mod read;
mod rewrite;
mod verify;
pub mod write;
mod writer;

pub use allocate::{AllocationClass, Space};
pub use read::{BadCopy, BlockCheck, BlockReader, Decrypt, Observer};
pub use writer::{BlockWriter, WriterSettings};

#[cfg(test)]
mod tests;
