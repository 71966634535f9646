#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod apply;
pub mod engine;
pub mod error;
mod heal;
pub mod input;
pub mod package;
mod replicate;
pub mod request;
pub mod rules;
mod sent_keys;
