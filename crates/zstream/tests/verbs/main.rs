//! The promises of the verbs to a program: errors that can be matched on, and, after a cancel, a target as before.

mod bench;
mod cancel;
mod errors;
mod outcomes;
