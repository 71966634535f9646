//! What is allocated on a vdev and what is free.

pub mod range_set;
pub mod space_map;
