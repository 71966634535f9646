//! Requests of a user, and their resolution into jobs.
//!
//! The rules are those of `zfs send`, of libzfs and of the kernel, in this order; each has its own [`Refusal`].
//!
//! | request | job |
//! | --- | --- |
//! | a snapshot or head, in full, or from a snapshot or a bookmark | one step |
//! | the same with `-p`, `-b` or `-h` | one step in a package with a list |
//! | `-I` | the snapshots after the source, in a package; with `-p` or `-h` it has a list |
//! | `-R` | those of all descendants, in a package with a list |
//! | a token | one step that resumes where the receiver stopped |
//! | `-S` | one step: the saved state of a receive |

mod many;
mod one;
mod resume;

use std::sync::Arc;

use zstream_dsl::dataset::Dataset;
use zstream_dsl::error::{Error as DslError, Fault as DslFault};
use zstream_dsl::name::{Name, Suffix};
use zstream_dsl::{Dsl, Named};
use zstream_format::nvlist::NvList;

pub use resume::resume;

use crate::job::Sending;
use crate::note::Note;
use crate::package::{Gather, PACKAGE_LIST_BYTES_MAX};
use crate::plan::StreamForm;
use crate::refusal::Refusal;

/// A request to send, with the options of `zfs send`.
#[derive(Clone, Debug)]
pub struct Request {
    /// The target: `pool/fs@snapshot`, or `pool/fs` for a head or, with [`saved`](Self::saved), for the saved state of a
    /// receive.
    pub target: String,
    /// The source (`-i`, `-I`): `@snapshot` or `#bookmark` of the same filesystem, or the full name of one. A name without
    /// `@` and `#` is that of a snapshot.
    pub from: Option<String>,
    /// `true` to include all intermediate snapshots (`-I`).
    pub intermediates: bool,
    /// `true` to include descendants (`-R`).
    pub replicate: bool,
    /// `true` to skip datasets without the snapshot (`-s`).
    pub skip_missing: bool,
    /// The datasets to exclude, with their descendants (`-X`).
    pub exclude: Vec<String>,
    /// `true` to include properties (`-p`).
    pub properties: bool,
    /// `true` to include received properties only (`-b`).
    pub backup: bool,
    /// `true` to include holds (`-h`).
    pub holds: bool,
    /// The redaction bookmark, with or without the name of its filesystem (`--redact`).
    pub redact: Option<String>,
    /// `true` to send the saved state of an interrupted receive (`-S`).
    pub saved: bool,
    /// The form of the blocks (`-L`, `-e`, `-c`, `-w`).
    pub form: StreamForm,
    /// The maximum size of the list of a package in bytes.
    pub list_bytes_max: usize,
}

impl Request {
    /// Creates a request for `target` without options.
    #[must_use]
    pub fn new(target: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            from: None,
            intermediates: false,
            replicate: false,
            skip_missing: false,
            exclude: Vec::new(),
            properties: false,
            backup: false,
            holds: false,
            redact: None,
            saved: false,
            form: StreamForm::default(),
            list_bytes_max: PACKAGE_LIST_BYTES_MAX,
        }
    }

    /// Looks up the requested snapshots and validates the request. `note` is called for each omission.
    ///
    /// # Errors
    /// Returns the rule that the request breaks.
    pub fn resolve(&self, dsl: &Arc<Dsl>, note: &mut dyn FnMut(Note)) -> Result<Sending, Refusal> {
        if self.saved {
            return resume::saved(self, dsl);
        }
        if self.form.raw && self.redact.is_some() {
            return Err(Refusal::RawRedacted);
        }
        if self.replicate || self.intermediates {
            many::resolve(self, dsl, note)
        } else {
            one::resolve(self, dsl, note)
        }
    }

    /// Creates a collector for the list of one dataset, with the requested content.
    fn gather<'a>(&'a self, top: &'a str, to: &'a str, note: &'a mut dyn FnMut(Note)) -> Gather<'a> {
        Gather {
            top,
            to,
            from: None,
            recursive: false,
            all: false,
            skip_missing: false,
            exclude: &self.exclude,
            raw: self.form.raw,
            properties: self.properties,
            backup: self.backup,
            holds: self.holds,
            note,
            list: NvList::new(),
            filesystems: Vec::new(),
        }
    }
}

/// Looks up a dataset by its name, which must not be that of a bookmark.
fn dataset(dsl: &Arc<Dsl>, name: &str) -> Result<Dataset, Refusal> {
    match find(dsl, name)? {
        Named::Dataset(dataset) => Ok(dataset),
        Named::Bookmark(_) => Err(Refusal::Bookmark { name: name.to_owned() }),
    }
}

/// Looks up a dataset or bookmark by its name.
fn find(dsl: &Arc<Dsl>, name: &str) -> Result<Named, Refusal> {
    let parsed = parse(name)?;
    // The filesystem of a bookmark must exist.
    if matches!(parsed.suffix, Suffix::Bookmark(_)) {
        dsl.dir(&parsed.filesystem).map_err(|error| not_found(name, error))?;
    }
    dsl.find(name).map_err(|error| not_found(name, error))
}

fn parse(name: &str) -> Result<Name, Refusal> {
    Name::parse(name).map_err(|error| match error.fault() {
        DslFault::BadName(text) => Refusal::BadName(text.clone()),
        _ => error.into(),
    })
}

fn not_found(name: &str, error: DslError) -> Refusal {
    match error.fault() {
        DslFault::NotFound { .. } => Refusal::NotFound { name: name.to_owned() },
        _ => error.into(),
    }
}
