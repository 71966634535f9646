#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod blkptr;
pub mod block;
pub mod bpobj;
pub mod cache;
pub mod container;
pub mod device;
pub mod dnode;
pub mod error;
#[cfg(feature = "testing")]
pub mod failpoint;
pub mod gpt;
pub mod host;
pub mod ids;
pub mod intent_log;
mod lock;
pub mod mbr;
pub mod mos;
pub mod object_set;
pub mod object_store;
pub mod objset;
pub mod partition;
pub mod pool;
pub mod random;
pub mod range_set;
pub mod receive_store;
pub mod slices;
pub mod space;
pub mod traverse;
pub mod tree;
pub mod tx;
pub mod vdev;
pub mod zap;
pub mod zio;

#[cfg(test)]
mod testing;
