//! Streams that are sent, beside those of `zfs send`.

mod divergences;
mod golden;
mod interop_send;
mod many;
mod packages;
mod program;
mod rescued;
mod resume;
mod rules;
mod xdr;
