//! The caller of a receive, which is notified of events and creates the filesystems that `-d` needs.

use zstream_dsl::write::WritablePool;

use crate::engine::Received;
use crate::error::Result;

/// An event of a receive that is reported to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The snapshot that a new dataset becomes a clone of was found.
    Origin(String),
    /// The receive of a snapshot begins.
    Begins {
        /// Its name at the sender.
        from: String,
        /// Its name here.
        to: String,
        /// `true` if it is an increment.
        is_incremental: bool,
    },
    /// A snapshot was received; in a dry run: it was validated.
    Received(Received),
    /// A snapshot was skipped because the target already has it.
    Ignored(String),
    /// A dataset or snapshot was renamed.
    Renamed {
        /// Its old name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// A dataset or snapshot was destroyed.
    Destroyed(String),
    /// A clone was promoted.
    Promoted(String),
    /// Something could not be received; the rest was.
    Warning(String),
}

/// The services that a receive needs from a layer that knows more than datasets.
pub trait Host {
    /// Creates an empty filesystem above the target, for `-d`.
    ///
    /// # Errors
    /// Fails if the pool cannot be changed.
    fn create_filesystem(&mut self, pool: &mut WritablePool, name: &str) -> Result<()>;

    /// Receives an event.
    fn note(&mut self, note: Note);

    /// Receives the number of bytes that were read.
    fn progress(&mut self, bytes: u64);
}
