#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod bookmark;
pub mod dataset;
mod deadlist;
mod erratum;
pub mod error;
mod find;
mod hold;
mod keys;
mod lines;
mod livelist;
pub mod mend;
pub mod name;
mod phys;
mod pool;
pub mod prop;
mod reader;
pub mod redact;
mod resume;
pub mod scrub;
#[cfg(feature = "testing")]
pub mod testing;
pub mod write;

pub use self::deadlist::Deadlist;
pub use self::erratum::Erratum;
pub use self::find::Named;
pub use self::keys::CryptoKey;
pub use self::pool::Dsl;
pub use self::reader::{Mos, OpenMos, RECEIVE_CHILD};
pub use self::resume::RAW_RECEIVE;
