#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
// The parts that only `testing` re-exports are not reachable without it.
#![cfg_attr(not(feature = "testing"), allow(unreachable_pub))]

pub mod blkptr;
pub mod block;
pub mod bpobj;
pub mod brt;
mod cache;
mod container;
pub mod ddt;
pub mod device;
pub mod dnode;
pub mod error;
#[cfg(feature = "testing")]
mod failpoint;
mod gpt;
mod host;
pub mod ids;
pub mod intent_log;
mod lock;
mod mbr;
pub mod mos;
pub mod object_set;
pub mod object_store;
pub mod objset;
mod partition;
pub mod pool;
mod random;
mod range_set;
mod receive_store;
mod slices;
pub mod space;
pub mod traverse;
mod tree;
pub mod tx;
pub mod vdev;
pub mod zap;
pub mod zio;

#[cfg(test)]
mod made;
#[cfg(feature = "testing")]
pub mod testing;

pub use self::host::Host;
pub use self::random::Random;
pub use self::range_set::RangeSet;
pub use self::receive_store::ReceiveStore;
pub use self::tree::Seek;
