//! Places that hold datasets: pools on devices ([`PoolPlace`]) and stored streams ([`StreamPlace`]).

pub(crate) mod keys;
pub(crate) mod pool;
pub(crate) mod replay;
pub(crate) mod source;

pub use keys::{Key, KeyFile, Keys, NoKeys, Secret};
pub use pool::{OpenNames, OpenPool, PoolPlace};
pub use source::{Source, StreamPlace};
