//! Block checksums.
fn main() {}
