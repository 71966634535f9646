#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod algorithm;
pub mod byteswap;
pub mod checksum;
pub mod compress;
#[cfg(feature = "gzip")]
mod deflate;
pub mod edit;
pub mod effect;
pub mod errno;
pub mod file_info;
pub mod flags;
pub mod fletcher;
pub mod ids;
pub mod judge;
pub mod number;
pub mod nvlist;
pub mod object_type;
pub mod order;
pub mod phys;
pub mod place;
pub mod record;
pub mod shown;
pub mod stream;
mod sum;
pub mod summary;
#[cfg(feature = "gzip")]
pub mod token;
pub mod verify;
pub mod wire;
