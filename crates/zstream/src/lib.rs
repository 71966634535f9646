#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod check;
mod control;
mod copy;
pub mod create;
mod datasets;
mod dedup;
pub mod describe;
pub mod dump;
pub mod edits;
mod error;
pub mod extract;
mod files;
pub mod info;
#[cfg(feature = "json")]
pub mod json;
pub mod keys;
pub mod list;
#[cfg(all(unix, feature = "mapped"))]
pub mod mapped;
mod pipe;
mod place;
pub mod pools;
pub mod progress;
mod prune;
mod put;
pub mod quotas;
mod receive;
mod replay;
mod replicate;
pub mod rescue;
mod send;
pub mod sync;
mod synced;
pub mod text;
mod verify;

pub use control::{Cancel, Control, Event, Warning, padding_note};
pub use copy::{CopiedPool, PoolCopy};
pub use datasets::{
    Destroyed, Held, SnapshotOptions, bookmark, bookmark_names, check_once, clone_snapshot, destroy, hold,
    holds, inherit, promote, redact, release, rename, rename_snapshot, roll_back, set, snapshot,
    snapshot_with,
};
pub use dedup::{Prune, prune_dedup};
pub use error::{
    Cause, EncryptionFault, Error, OtherError, PutFault, ReceiveError, Request, Result, SyncFault,
};
pub use files::{ListOptions, Listed, list_files};
pub use place::keys::{load_key, unlock, unlock_to_write};
pub use place::pool::unsearched;
pub use place::source::{CHUNK_BYTES, joined, parts};
pub use place::{Key, KeyFile, Keys, NoKeys, OpenNames, OpenPool, PoolPlace, Secret, Source, StreamPlace};
pub use prune::{Keep, Period, Policy, PruneRequest, Pruned, PrunedDataset, Reason, Verdict, Within};
pub use put::{Copied, Extent, HostExtents, Input, Put, PutOptions, Reflink, SharedExtents, split_target};
pub use receive::{ReceiveRequest, Received, Receiver, abort_receive};
pub use replay::{ReplayOptions, Replayed, replay};
pub use replicate::{Replicated, Replication};
pub use send::Sender;
pub use synced::{SyncNote, SyncStream, Synced};
pub use verify::{VerifyingWriter, verdict_text, verify};
pub use zstream_format::errno::Errno;
pub use zstream_send::request::Request as SendRequest;

/// The crates below this one, re-exported because the API uses their types.
pub mod layers {
    pub use zstream_dmu as dmu;
    pub use zstream_dsl as dsl;
    pub use zstream_format as format;
    pub use zstream_recv as recv;
    pub use zstream_send as send;
    pub use zstream_view as view;
    pub use zstream_zpl as zpl;
}
