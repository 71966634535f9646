//! Test support: devices that fail or record, and parts of the crate that only tests call.
//!
//! Requires the feature `testing`. Nothing in this module is covered by semantic versioning.

pub use crate::device::{FailingCalls, FaultyDevice, Loss, OverlayDevice, RecordedEvent, Recorder};
pub use crate::tx::{Commit, commit};
pub use crate::vdev::sync::Uberblocks;
pub use crate::zio::write::WriteBlock;

/// Failures of chosen steps of writable object sets.
pub mod failpoint {
    pub use crate::failpoint::{fail, stop, taken};
}

/// Writers of labels and uberblocks.
pub mod label_write {
    pub use crate::vdev::label_write::{encode, encode_uberblock, list, write_uberblock};
}

/// The transaction groups that a member missed.
pub mod missed_txgs {
    pub use crate::space::missed_txgs::read;
}

/// Formats of devices that are not members.
pub mod container {
    pub use crate::container::{Container, recognize};
}

/// GUID partition tables.
pub mod gpt {
    pub use crate::gpt::{Partition, partitions};
}

/// Parts of a disk that may hold a member.
pub mod partition {
    pub use crate::partition::{Part, Parts, parts};
}
