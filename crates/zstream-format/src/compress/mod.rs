//! Block compression.
