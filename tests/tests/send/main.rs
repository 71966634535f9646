//! Streams that are sent, beside those of `zfs send`.

mod divergences;
mod golden;
mod interop_send;
mod many;
mod packages;
mod program;
mod resume;
mod rules;
