//! The tasks that contributors and CI run.
fn main() {}
