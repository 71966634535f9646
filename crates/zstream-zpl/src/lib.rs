#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
// The parts that only `testing` re-exports are not reachable without it.
#![cfg_attr(not(feature = "testing"), allow(unreachable_pub))]

mod content;
pub mod create;
mod directory;
pub mod error;
mod fs;
mod fuid;
mod master;
pub mod node;
mod paths;
pub mod quota;
mod sa;
pub mod settings;
pub mod volume;
mod walk;
pub mod writer;
mod xattr;

mod znode;

#[cfg(test)]
mod made;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;

pub use self::content::Content;
pub use self::directory::{CaseSensitivity, Directory, DirectoryEntry};
pub use self::fs::Filesystem;
pub use self::fuid::Fuid;
pub use self::paths::{PathQuery, Paths};
pub use self::walk::{Visit, Walk};
pub use self::xattr::{Xattr, XattrValue};
