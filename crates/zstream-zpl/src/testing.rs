//! Test support: parts of the crate that only tests call.
//!
//! Requires the feature `testing`. Nothing in this module is covered by semantic versioning.

/// System attributes.
pub mod sa {
    pub use crate::sa::{Attribute, Registry};
}
