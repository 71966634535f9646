#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod content;
pub mod create;
pub mod directory;
pub mod error;
pub mod fs;
pub mod fuid;
mod master;
pub mod node;
pub mod paths;
pub mod sa;
pub mod settings;
pub mod volume;
pub mod walk;
pub mod writer;
pub mod xattr;

mod znode;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
