#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod bookmark;
pub mod dataset;
pub mod deadlist;
pub mod erratum;
pub mod error;
pub mod find;
pub mod hold;
pub mod keys;
pub mod lines;
pub mod livelist;
pub mod name;
pub mod phys;
pub mod pool;
pub mod prop;
mod reader;
pub mod redact;
pub mod resume;
pub mod scrub;
pub mod write;

pub use self::reader::{Mos, OpenMos, RECEIVE_CHILD};
