#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod blkptr;
pub mod device;
pub mod error;
pub mod gpt;
pub mod ids;
pub mod zio;
