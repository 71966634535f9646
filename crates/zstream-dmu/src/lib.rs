#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod blkptr;
pub mod dnode;
pub mod error;
pub mod ids;
pub mod zio;
