//! Progress reports and cancellation of running verbs.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use zstream_dmu::pool::Notice;
use zstream_recv::Note as ReceiveNote;
use zstream_send::Note as SendNote;
use zstream_zpl::node::{FileType, Node};

use crate::error::{Cause, Error};
use crate::synced::SyncNote;
use crate::text::Count;

/// A token that cancels the verbs that were started with it. Clones are the same token.
///
/// A verb checks its token every few megabytes, and ends with [`Error::Cancelled`]. A blocking read is not
/// interrupted: a source that may block for long should return an error itself.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl From<Arc<AtomicBool>> for Cancel {
    /// A token that is cancelled when the flag is set, as a handler of signals may do.
    fn from(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }
}

impl Cancel {
    /// A token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels the verbs. Can be called from any thread and more than once.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True after [`cancel`](Self::cancel) was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`Error::Cancelled`] after [`cancel`](Self::cancel) was called.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// A kind of item that an extraction restores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum What {
    /// A file with its content.
    File,
    /// A directory or its content.
    Directory,
    /// A symbolic link.
    Symlink,
    /// An additional name of a file.
    HardLink,
    /// A device, FIFO or socket.
    Special,
    /// A name whose object cannot be read.
    Name,
    /// An owner or group.
    Owner,
    /// An extended attribute.
    Xattr,
    /// An access control list.
    Acl,
    /// A mode.
    Mode,
    /// Times.
    Times,
}

impl What {
    /// A count of it with its noun: `2 directories`.
    #[must_use]
    pub fn counted(self, count: u64) -> String {
        let one = match self {
            Self::File => "file",
            Self::Directory if count == 1 => "directory",
            Self::Directory => return format!("{count} directories"),
            Self::Symlink => "symbolic link",
            Self::HardLink => "hard link",
            Self::Special => "special file",
            Self::Name => "name",
            Self::Owner => "owner",
            Self::Xattr => "extended attribute",
            Self::Acl => "ACL",
            Self::Mode => "mode",
            Self::Times if count == 1 => return "the times of 1 file".to_owned(),
            Self::Times => return format!("the times of {count} files"),
        };
        Count(count, one).to_string()
    }

    /// The kind of a node.
    pub(crate) fn of(node: &Node) -> Self {
        match node.file_type() {
            Some(FileType::File) => Self::File,
            Some(FileType::Directory) => Self::Directory,
            Some(FileType::Symlink) => Self::Symlink,
            Some(_) => Self::Special,
            None => Self::Name,
        }
    }
}

/// The result of an extraction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extracted {
    /// The number of restored items by kind.
    pub restored: BTreeMap<What, u64>,
    /// The number of items that could not be restored, by kind; an [`Event::NotRestored`] reported the reason of
    /// each.
    pub failed: BTreeMap<What, u64>,
    /// The number of items that were left out as the options say, by kind.
    pub left_out: BTreeMap<What, u64>,
    /// Bytes of content.
    pub bytes: u64,
}

/// A progress report or warning of a running verb.
#[non_exhaustive]
pub enum Event<'a> {
    /// The approximate total number of bytes, if it is known.
    Total(u64),
    /// A number of bytes processed since the last report: of content or of a stream.
    Bytes(u64),
    /// A problem that does not stop the verb.
    Warning(Warning),
    /// A file, or an attribute of one, was not extracted.
    NotRestored {
        /// The path, from the root of the filesystem; empty for the root.
        path: &'a [u8],
        /// The kind of thing.
        what: What,
        /// The reason.
        why: &'a dyn Display,
    },
    /// An extraction was cancelled.
    Cancelled {
        /// The path of the file that was next, from the root of the filesystem; empty for the root. The directories on
        /// the way to it are partial; they have no owner, mode and times yet.
        next: &'a [u8],
        /// What was restored before.
        extracted: &'a Extracted,
    },
    /// The send of a snapshot starts.
    Sending(&'a str),
    /// A send omits something.
    Send(SendNote),
    /// A step of a receive.
    Receive(ReceiveNote),
    /// A step of a synchronization.
    Sync(SyncNote),
}

impl std::fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Total(bytes) => f.debug_tuple("Total").field(bytes).finish(),
            Self::Bytes(bytes) => f.debug_tuple("Bytes").field(bytes).finish(),
            Self::Warning(warning) => f.debug_tuple("Warning").field(warning).finish(),
            Self::NotRestored { path, what, why } => f
                .debug_struct("NotRestored")
                .field("path", &String::from_utf8_lossy(path))
                .field("what", what)
                .field("why", &why.to_string())
                .finish(),
            Self::Cancelled { next, extracted } => f
                .debug_struct("Cancelled")
                .field("next", &String::from_utf8_lossy(next))
                .field("extracted", extracted)
                .finish(),
            Self::Sending(name) => f.debug_tuple("Sending").field(name).finish(),
            Self::Send(note) => f.debug_tuple("Send").field(note).finish(),
            Self::Receive(note) => f.debug_tuple("Receive").field(note).finish(),
            Self::Sync(note) => f.debug_tuple("Sync").field(note).finish(),
        }
    }
}

/// A problem that does not stop a verb.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// A device with unusable labels, which is treated as missing.
    #[error("{reason}; it is treated as missing")]
    Refused {
        /// Its path.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A condition that restricts the use of the pool.
    #[error("warning: {0}")]
    Pool(Notice),
    /// A dataset cannot be read, so an interrupted receive in it was not destroyed.
    #[error("unfinished receives may remain, because a dataset cannot be read: {reason}")]
    NotSearched {
        /// The reason.
        reason: String,
    },
    /// Members of the pool are missing; their content is reconstructed from the others.
    #[error("pool {pool}: missing {}; data is reconstructed from the other members", members.join(", "))]
    MembersMissing {
        /// The pool.
        pool: String,
        /// The members.
        members: Vec<String>,
    },
    /// The intent log of a dataset holds writes that are not in the dataset.
    #[error("{dataset}: the intent log was not replayed: the last synchronous writes are missing")]
    LogNotReplayed {
        /// The dataset.
        dataset: String,
    },
    /// A dataset has an incomplete receive.
    #[error("{dataset}: the receive was not completed; the data that was not received is missing")]
    ReceiveIncomplete {
        /// The dataset.
        dataset: String,
    },
    /// Blocks of a file cannot be cloned, so they are copied.
    #[error("{file}: copied instead of cloned: {reason}")]
    NotCloned {
        /// The file.
        file: String,
        /// The reason.
        reason: String,
    },
    /// A stream was cut short.
    #[error("{snapshot}: the stream is cut short; the data after that point is missing")]
    StreamCut {
        /// The snapshot in it.
        snapshot: String,
    },
    /// Zeros after the last stream of a file, which are ignored.
    #[error("{file}: {}", padding_note(*bytes))]
    Padding {
        /// The file.
        file: String,
        /// The number of zeros.
        bytes: u64,
    },
    /// The given key opens other datasets, but not this one.
    #[error("{root} remains locked: {source}")]
    StaysLocked {
        /// The encryption root.
        root: String,
        /// The reason.
        source: Cause,
    },
    /// A dataset that cannot be read is omitted from a list.
    #[error("{0}")]
    Unreadable(Cause),
    /// Properties of a dataset cannot be read, and are omitted.
    #[error("{dataset}: {source}")]
    UnreadableProperties {
        /// The dataset.
        dataset: String,
        /// The reason.
        source: Box<Error>,
    },
    /// A name does not exist or is of another type, and is omitted.
    #[error("{0}")]
    Omitted(Box<Error>),
}

/// What is reported of zeros after a stream.
#[must_use]
pub fn padding_note(bytes: u64) -> String {
    let s = if bytes == 1 { "" } else { "s" };
    format!("note: {bytes} zero byte{s} after the end of the stream, padding of a block, are ignored")
}

type Watch<'a> = Box<dyn FnMut(Event<'_>) + 'a>;

/// Control over a verb: a [`Cancel`] token, and a closure that receives every [`Event`]. The default has neither.
///
/// ```
/// use zstream::{Cancel, Control, Event};
///
/// let cancel = Cancel::new();
/// let mut bytes = 0;
/// let control = Control::new().cancelled_by(&cancel).watched_by(|event| {
///     if let Event::Bytes(more) = event {
///         bytes += more;
///     }
/// });
/// # drop(control);
/// ```
#[derive(Default)]
pub struct Control<'a> {
    cancel: Cancel,
    watch: Option<Watch<'a>>,
}

impl std::fmt::Debug for Control<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("cancel", &self.cancel).finish_non_exhaustive()
    }
}

impl<'a> Control<'a> {
    /// A control without a token and without a closure.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, cancelled by this token.
    #[must_use]
    pub fn cancelled_by(self, cancel: &Cancel) -> Self {
        Self { cancel: cancel.clone(), ..self }
    }

    /// The same, with a closure that is called with each event, on the thread that called the verb.
    #[must_use]
    pub fn watched_by(self, watch: impl FnMut(Event<'_>) + 'a) -> Self {
        Self { watch: Some(Box::new(watch)), ..self }
    }

    /// The token.
    #[must_use]
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    pub(crate) fn event(&mut self, event: Event<'_>) {
        if let Some(watch) = &mut self.watch {
            watch(event);
        }
    }

    pub(crate) fn warn(&mut self, warning: Warning) {
        self.event(Event::Warning(warning));
    }

    /// Reports that bytes are done.
    pub(crate) fn did(&mut self, bytes: usize) {
        self.event(Event::Bytes(bytes as u64));
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}
