//! Streams that are received.

mod asked;
mod clones;
mod costs;
mod encrypted;
mod failing;
mod faults;
mod features;
mod force;
mod ganged;
mod golden;
mod heal;
mod history;
mod interrupted;
mod keys;
mod objects;
mod old;
mod packages;
mod raw;
mod rules;
mod rules_pool;
mod rules_raw;
mod rules_records;
mod rules_resume;
mod signals;
mod viewed;
mod volumes;
