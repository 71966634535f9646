//! Support for the tests that cross crates: the golden data and the fuzz harness.
//!
//! The tests themselves are in `tests/`; what OpenZFS made and printed is in `golden/`.

pub mod blocks;
pub mod compare;
pub mod created;
pub mod devices;
pub mod edit;
pub mod errata;
pub mod errors;
pub mod every;
pub mod forged;
pub mod fuzz;
pub mod gangs;
pub mod golden;
pub mod history;
pub mod key_history;
pub mod keys;
pub mod lab;
pub mod loops;
pub mod manifest;
pub mod objects;
pub mod openzfs;
pub mod pools;
pub mod program;
pub mod receiving;
pub mod refusals;
pub mod rng;
pub mod samples;
pub mod sender_history;
pub mod sending;
pub mod sent_objects;
pub mod session;
pub mod signals;
pub mod state;
pub mod traced;
pub mod ways;
pub mod writing;
