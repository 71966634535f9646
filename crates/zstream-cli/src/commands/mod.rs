//! The verbs, one file each.

pub(crate) mod byteswap;
pub(crate) mod cat;
pub(crate) mod completions;
pub(crate) mod decompress;
pub(crate) mod dump;
pub(crate) mod extract;
pub(crate) mod get;
pub(crate) mod info;
pub(crate) mod join;
pub(crate) mod list;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod pool;
pub(crate) mod recompress;
pub(crate) mod redup;
pub(crate) mod resume_token;
pub(crate) mod select;
pub(crate) mod send;
pub(crate) mod token;
pub(crate) mod verify;
