//! What a user asks for, and the way from there to what is done.
//!
//! The rules are those of `zfs send`, of libzfs and of the kernel, in this order; each that is broken is a [`Refusal`] of
//! its own.
//!
//! | request | becomes |
//! | --- | --- |
//! | a snapshot or head, from nothing, a snapshot or a bookmark | one step |
//! | the same with `-p`, `-b` or `-h` | one step in a package with a list |
//! | `-I` | the snapshots after the source, in a package; with `-p` or `-h` it has a list |
//! | `-R` | those of all datasets below, in a package with a list |
//! | a token | one step that goes on where the receiver stopped |
//! | `-S` | one step: what a receiver has so far |

mod many;
mod one;
mod resume;

use std::sync::Arc;

use zstream_dmu::error::{Error as DmuError, Fault as DmuFault};
use zstream_dsl::dataset::Dataset;
use zstream_dsl::find::Found;
use zstream_dsl::name::{Name, Suffix};
use zstream_dsl::pool::Dsl;
use zstream_format::nvlist::NvList;

pub use resume::resume;

use crate::job::Job;
use crate::note::Note;
use crate::package::{Gather, LIST_BYTES_MAX};
use crate::plan::Form;
use crate::refusal::Refusal;

/// What is to be sent, in the words of `zfs send`.
#[derive(Clone, Debug)]
pub struct Request {
    /// `pool/fs@snapshot`; `pool/fs` for a head as it is, or with [`saved`](Self::saved) for what was received so far.
    pub target: String,
    /// `-i`, `-I`: `@snapshot` or `#bookmark` of the same filesystem, or the full name of one. What says neither is taken
    /// for a snapshot.
    pub from: Option<String>,
    /// `-I`: with all snapshots between.
    pub intermediates: bool,
    /// `-R`: with all datasets below.
    pub replicate: bool,
    /// `-s`: leave out datasets that do not have the snapshot.
    pub skip_missing: bool,
    /// `-X`: datasets to leave out, with all below.
    pub exclude: Vec<String>,
    /// `-p`: with properties.
    pub properties: bool,
    /// `-b`: with properties that were received, and no others.
    pub backup: bool,
    /// `-h`: with holds.
    pub holds: bool,
    /// `--redact`: the redaction bookmark, with or without the name of its filesystem.
    pub redact: Option<String>,
    /// `-S`: what a partial receive left.
    pub saved: bool,
    /// `-L`, `-e`, `-c`, `-w`
    pub form: Form,
    /// How long the list of a package may be, in bytes.
    pub list_bytes_max: usize,
}

impl Request {
    /// A request for `target` without any options.
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
            form: Form::default(),
            list_bytes_max: LIST_BYTES_MAX,
        }
    }

    /// Finds what is asked for, and judges it. `note` is told what is left out.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn resolve(&self, dsl: &Arc<Dsl>, note: &mut dyn FnMut(Note)) -> Result<Job, Refusal> {
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

    /// What gathers the list of one dataset alone, with what of it is asked for.
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

/// A dataset of this name, which must not be that of a bookmark.
fn dataset(dsl: &Arc<Dsl>, name: &str) -> Result<Dataset, Refusal> {
    match find(dsl, name)? {
        Found::Dataset(dataset) => Ok(dataset),
        Found::Bookmark(_) => Err(Refusal::Bookmark { name: name.to_owned() }),
    }
}

/// What a name leads to.
fn find(dsl: &Arc<Dsl>, name: &str) -> Result<Found, Refusal> {
    let parsed = parse(name)?;
    // Bookmarks are looked for by those who may use one.
    if let (Suffix::Bookmark(_), Err(_)) = (&parsed.suffix, dsl.dir(&parsed.filesystem)) {
        return Err(Refusal::NotFound { name: name.to_owned() });
    }
    dsl.find(name).map_err(|error| not_found(name, error))
}

fn parse(name: &str) -> Result<Name, Refusal> {
    Name::parse(name).map_err(|error| match error.fault() {
        DmuFault::Invalid(text) => Refusal::BadName(text.clone()),
        _ => error.into(),
    })
}

fn not_found(name: &str, error: DmuError) -> Refusal {
    match error.fault() {
        DmuFault::NotFound { .. } => Refusal::NotFound { name: name.to_owned() },
        _ => error.into(),
    }
}
