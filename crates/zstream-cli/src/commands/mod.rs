//! The verbs, one file each.

pub(crate) mod completions;
pub(crate) mod decompress;
pub(crate) mod dump;
pub(crate) mod man;
pub(crate) mod recompress;
pub(crate) mod redup;
pub(crate) mod token;
