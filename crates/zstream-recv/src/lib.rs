#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod apply;
pub mod error;
pub mod rules;
