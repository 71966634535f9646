//! Results as JSON documents: those that the program prints with `--json` and `-j`.
//!
//! Guids are strings, since many readers of JSON cannot hold 64 bits; times are seconds since 1970. Names that are not UTF-8
//! have replacement characters.
//!
//! # [`summary`]
//!
//! ```text
//! { file, bytes, padding_bytes, error: null | { kind, message, offset, record, record_type },
//!   streams: [ { offset, complete,
//!     package: null | { name, features, recursive, raw, from_snap, to_snap,
//!       datasets: null | [ { name, guid, origin, encryption_root, properties,
//!         snapshots: [ { name, guid, properties, holds } ] } ] },
//!     snapshots: [ { index, name, guid, from_guid, from, clone, created, type, byte_order, features,
//!       offset, bytes, complete, payload_bytes, stored_bytes, logical_bytes, compression_ratio,
//!       records: { BEGIN: 1, ... }, resume: null | { object, offset },
//!       redact_snaps, redact_from_snaps, encryption: null | { suite, keyformat } } ] } ] }
//! ```
//!
//! `from` is the `index` of the snapshot in the same file that `from_guid` names, or `null`.
//!
//! # [`verdict`]
//!
//! | key | value |
//! | --- | --- |
//! | `file` | the name as given |
//! | `ok` | whether it holds whole streams and nothing else |
//! | `bytes`, `records` | how much there is, up to the record that is wrong |
//! | `good_bytes` | how much of it a checksum vouches for |
//! | `padding_bytes` | how many zeros follow the last stream |
//! | `streams`, `snapshots` | how many whole ones there are |
//! | `error` | `null`, or an object: `kind`, `message`, `offset`, `record` (its number), `record_type`, `expected`, `found` (strings or `null`), `snapshot` |
//! | `warnings` | a list of objects: `kind`, `message`, `offset`, `record`, `record_type`, `count` |
//!
//! # [`prune()`]
//!
//! ```text
//! { dry_run, destroyed, freed_bytes,
//!   datasets: [ { dataset, snapshots: [ { snapshot, guid, creation, keep, reasons: [ "daily snapshot", ... ], freed_bytes } ] } ] }
//! ```
//!
//! # [`sync()`] and [`synced`]
//!
//! | event | keys |
//! | --- | --- |
//! | `up_to_date` | `source`, `target`, `snapshot` (`null` if the source has none) |
//! | `sends` | `source`, `target`, `from` (`@a`, `#a` or `null`), `to`, `snapshots`, `resumed`, `estimated_bytes` (or `null`), `dry_run` |
//! | `sent` | those of `sends`, `bytes`, `seconds` |
//! | `discards` | `target` |
//! | `rolls_back` | `target`, `to` (a snapshot) |
//! | `marked` | `name` of a bookmark, or of a snapshot with the tag of its hold |
//! | `failed` | `source`, `target`, `errno`, `message` |
//! | `done` | `up_to_date`, `behind`, `failed` (numbers of datasets), `snapshots`, `bytes`, `dry_run` |

mod pool;
mod prune;
mod stream;
mod sync;
mod zfs;

pub use self::pool::{check, group, pool};
pub use self::prune::prune;
pub use self::stream::{ignored, not_opened, received, resume, summary, tree_change, verdict};
pub use self::sync::{sync, synced};
pub use self::zfs::{JsonProperty, PoolMember, datasets, pool_properties};
