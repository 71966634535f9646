//! Checksums of blocks and streams.

mod value;

pub use value::Checksum;
