#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod apply;
pub mod engine;
pub mod error;
mod heal;
pub mod host;
pub mod input;
pub mod misfit;
mod needs;
pub mod package;
pub mod refusal;
mod replicate;
pub mod request;
pub mod rules;
mod sent;
mod sent_keys;
