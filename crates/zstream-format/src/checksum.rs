//! Block checksums.
