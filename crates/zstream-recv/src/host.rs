//! The caller of a receive, which is notified of what happens and creates the filesystems that `-d` needs.

use zstream_dsl::write::WritablePool;

use crate::engine::Received;
use crate::error::Result;

/// Something that happened, to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The snapshot that a new dataset becomes a clone of was found.
    Origin(String),
    /// A snapshot begins.
    Begins {
        /// Its name at the sender.
        from: String,
        /// Its name here.
        to: String,
        /// Whether it is an increment.
        is_incremental: bool,
    },
    /// A snapshot was received.
    Received(Received),
    /// The target has this snapshot already.
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
    /// Something that could not be taken over; the rest was.
    Warning(String),
}

/// What a receive needs of those who know more than datasets.
pub trait Host {
    /// Makes an empty filesystem, where `-d` needs one above the target.
    ///
    /// # Errors
    /// The pool cannot be changed.
    fn create_filesystem(&mut self, pool: &mut WritablePool, name: &str) -> Result<()>;

    /// Is told what happened.
    fn note(&mut self, note: Note);

    /// Is told how many bytes were read.
    fn progress(&mut self, bytes: u64);
}
