//! What the source and the target of a synchronization do, wherever they are.

use std::io::{Read, Write};

use super::SyncRequest;
use super::plan::{Plan, Step};
use super::state::{Head, Point};
use crate::control::{Cancel, Control};
use crate::error::Result;

/// A stream that a source sends.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    /// The dataset at the source.
    pub(crate) name: String,
    pub(crate) is_encrypted: bool,
    pub(crate) content: Content,
}

/// The content of a stream.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// The rest of an interrupted one.
    Rest {
        token: String,
        to: Point,
    },
    Step(Step),
}

impl Content {
    /// The last snapshot.
    pub(crate) fn to(&self) -> &Point {
        match self {
            Self::Rest { to, .. } => to,
            Self::Step(step) => step.to(),
        }
    }
}

/// A source of snapshots.
pub(crate) trait Source: Sync {
    /// The datasets at and below a name, or only this one; the topmost first.
    fn list(&self, recursive: bool, control: &mut Control<'_>) -> Result<Vec<Head>>;

    /// Makes the plan for one of its datasets, if it is not the usual one.
    fn own_plan(
        &self,
        _source: &Head,
        _target: (&str, Option<&Head>),
        _request: &SyncRequest,
    ) -> Option<Result<Plan>> {
        None
    }

    /// The guid of a snapshot.
    fn guid(&self, dataset: &str, snapshot: &str) -> Result<Option<u64>>;

    /// The approximate number of bytes of a stream, if that is known.
    fn estimate(&self, sending: &Sending, request: &SyncRequest) -> Result<Option<u64>>;

    /// Writes a stream.
    fn send(
        &self,
        sending: &Sending,
        request: &SyncRequest,
        out: &mut dyn Write,
        cancel: &Cancel,
    ) -> Result<()>;

    /// Keeps bookmarks and holds on these snapshots, `dataset@snapshot`, and only on them. Returns the names of the
    /// bookmarks and holds that were added.
    fn mark(&self, snapshots: &[(String, Point)], request: &SyncRequest) -> Result<Vec<String>>;
}

/// A target of snapshots.
pub(crate) trait Target: Sync {
    /// True if it receives one stream at a time.
    fn is_serial(&self) -> bool;

    /// A dataset, or with `recursive` also those below, the topmost first; none if it does not exist.
    fn list(&self, name: &str, recursive: bool, control: &mut Control<'_>) -> Result<Vec<Head>>;

    /// Receives a stream into a dataset. Reports the bytes as [`Event::Bytes`](crate::Event::Bytes).
    fn receive(
        &self,
        name: &str,
        request: &SyncRequest,
        stream: &mut dyn Read,
        control: &mut Control<'_>,
    ) -> Result<()>;

    /// Creates a filesystem and those above it, unless they exist.
    fn create(&self, name: &str) -> Result<()>;

    /// Rolls a dataset back to a snapshot, and destroys those after it.
    fn roll_back(&self, snapshot: &str) -> Result<()>;

    /// Discards an interrupted receive.
    fn discard(&self, name: &str) -> Result<()>;
}
