//! The result of resolving a request: the header of a package, if it is one, and the snapshots to send, in order.
//!
//! Everything that can be refused without reading content is refused before there is a job. Each object set is opened
//! when its stream starts.

use std::io::Write;
use std::sync::Arc;

use zstream_dsl::Erratum;
use zstream_dsl::bookmark::Bookmark;
use zstream_dsl::dataset::Dataset;
use zstream_dsl::redact::RedactionList;
use zstream_format::ids::Guid;
use zstream_format::record::HEADER_LEN;

use crate::error::{Error, Fault};
use crate::estimate;
use crate::line::{Earlier, Sizes, written};
use crate::package::{PackageHeader, end};
use crate::pipeline;
use crate::plan::{Base, Options, ResumePoint, Source, SourcePool, StreamForm, StreamPlan};
use crate::progress::{Progress, Sent};
use crate::refusal::Refusal;

/// The source of an increment, which the receiver already has.
#[derive(Clone, Debug)]
pub enum From {
    /// A snapshot.
    Snapshot(Arc<Dataset>),
    /// A bookmark.
    Bookmark(Bookmark),
}

impl From {
    /// The full name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Snapshot(snapshot) => snapshot.name(),
            Self::Bookmark(bookmark) => &bookmark.name,
        }
    }

    /// The short name, after the `@` or `#`.
    #[must_use]
    pub fn short_name(&self) -> &str {
        match self {
            Self::Snapshot(snapshot) => snapshot.snapshot_name().unwrap_or_default(),
            Self::Bookmark(bookmark) => bookmark.short_name(),
        }
    }
}

/// One snapshot to send.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Step {
    /// The name, as shown to the user.
    pub name: String,
    /// The snapshot, the head, or the dataset that is being received.
    pub dataset: Arc<Dataset>,
    /// The source of the increment.
    pub from: Option<From>,
    /// `true` if the source is the origin and was not named (`-R`, `-I`): the estimate is that of a full stream then.
    pub from_origin: bool,
    /// The form of the blocks.
    pub form: StreamForm,
    /// The redacted blocks.
    pub redact: Option<Arc<RedactionList>>,
    /// The point at which to resume.
    pub resume: Option<ResumePoint>,
    /// The number of bytes that the receiver of a resumed stream already has.
    pub done_bytes: u64,
    /// The guid and the name of the snapshot in the saved state of a receive.
    pub saved: Option<(Guid, String)>,
}

impl Step {
    pub(crate) fn new(dataset: Arc<Dataset>, form: StreamForm) -> Self {
        Self {
            name: dataset.name().to_owned(),
            dataset,
            from: None,
            from_origin: false,
            form,
            redact: None,
            resume: None,
            done_bytes: 0,
            saved: None,
        }
    }

    /// Returns `true` if its key must be loaded first.
    ///
    /// # Errors
    /// Fails if its keys cannot be read.
    pub fn needs_key(&self) -> Result<bool, Refusal> {
        Ok(!self.form.raw && !self.dataset.is_unlocked()?)
    }

    /// Opens the dataset and returns the plan for the engine.
    ///
    /// # Errors
    /// Fails if the dataset cannot be opened, usually because its key is not loaded.
    pub fn plan(&self, pool: SourcePool<'_>, options: Options) -> Result<StreamPlan, Refusal> {
        if self.needs_key()? {
            return Err(Refusal::KeyNotLoaded { name: self.name.clone() });
        }
        let source = Source::open(&self.dataset, pool, self.form.raw)?;
        let source = match &self.saved {
            Some((guid, name)) => source.saved(*guid, name.clone()),
            None => source,
        };
        let dsl = self.dataset.dsl();
        let base = match &self.from {
            Some(From::Snapshot(snapshot)) => Some(Base::snapshot(snapshot)?),
            Some(From::Bookmark(bookmark)) => Some(Base::bookmark(bookmark, dsl)?),
            None => None,
        };
        let here = self.name.split(['@', '#']).next();
        let elsewhere = |from: &From| from.name().split(['@', '#']).next() != here;
        let base = match (&self.from, base) {
            (Some(from), Some(base)) if elsewhere(from) => Some(base.origin()),
            (_, base) => base,
        };
        self.check_raw(&source, base.as_ref())?;
        Ok(StreamPlan {
            base,
            form: self.form,
            redact: self.redact.clone(),
            resume: self.resume,
            options,
            ..StreamPlan::new(source)
        })
    }

    /// Refuses raw streams that no receiver accepts.
    fn check_raw(&self, source: &Source, base: Option<&Base>) -> Result<(), Refusal> {
        let Some(keys) = source.key.as_ref().filter(|_| self.form.raw) else { return Ok(()) };
        if let Some(erratum) = Erratum::of_keys(keys) {
            return Err(Refusal::NotRaw { name: self.name.clone(), erratum });
        }
        match (&self.from, base) {
            (Some(from), Some(base)) if base.ivset_guid == 0 => {
                let (name, erratum) = (from.name().to_owned(), Erratum::NoIvSet);
                Err(Refusal::NotRaw { name, erratum })
            }
            _ => Ok(()),
        }
    }

    /// Returns `true` if the estimate is that of [`measure`](Self::measure), which requires the key of an encrypted
    /// dataset: with redaction lists, and from old bookmarks.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        let is_unknown = |bookmark: &Bookmark| {
            bookmark.redaction_object.is_some() || Earlier::bookmark(bookmark).is_none()
        };
        let from = self.from.as_ref().filter(|_| !self.from_origin);
        self.redact.is_some() || matches!(from, Some(From::Bookmark(bookmark)) if is_unknown(bookmark))
    }

    /// Returns the estimated size of the stream in bytes, as in `zfs send -nvP`; the exact size if it
    /// [`is_measured`](Self::is_measured).
    ///
    /// # Errors
    /// Fails if the pool cannot be read.
    pub fn estimate(
        &self,
        pool: SourcePool<'_>,
        options: Options,
        progress: &Progress,
    ) -> Result<u64, Refusal> {
        if self.is_measured() {
            return self.measure(pool, options, progress);
        }
        let earlier = match self.from.as_ref().filter(|_| !self.from_origin) {
            Some(From::Snapshot(snapshot)) => Some(Earlier::snapshot(snapshot)),
            Some(From::Bookmark(bookmark)) => Earlier::bookmark(bookmark),
            None => None,
        };
        let sizes = match earlier {
            Some(earlier) => written(&earlier, &self.dataset)?,
            None => Sizes::referenced(&self.dataset),
        };
        let compressed = self.form.compressed || self.form.raw;
        let size = estimate::estimate(&self.dataset, sizes, compressed, options.estimate_record_bytes)?;
        Ok(size.saturating_sub(self.done_bytes))
    }

    /// Returns the exact size of the stream in bytes.
    ///
    /// # Errors
    /// Fails like [`Step::plan`] and [`measure`](crate::measure).
    pub fn measure(
        &self,
        pool: SourcePool<'_>,
        options: Options,
        progress: &Progress,
    ) -> Result<u64, Refusal> {
        let plan = self.plan(pool, options)?;
        Ok(pipeline::measure(&plan, progress)?.bytes)
    }
}

/// A resolved request.
#[derive(Debug)]
#[non_exhaustive]
pub struct Sending {
    /// The header of the package; `None` for a single stream.
    pub header: Option<PackageHeader>,
    /// The snapshots, in order.
    pub steps: Vec<Step>,
    /// `true` if everything that was requested is included. Notes have named what is not.
    pub is_complete: bool,
}

impl Sending {
    pub(crate) fn one(header: Option<PackageHeader>, step: Step) -> Self {
        Self { header, steps: vec![step], is_complete: true }
    }

    /// Writes the stream. `begun` is called at the start of each step.
    ///
    /// If a step cannot be started, the package ends there, so that the previous steps can be received.
    ///
    /// # Errors
    /// Returns the error of the first step that fails. The output before it remains.
    pub fn send(
        &self,
        out: &mut dyn Write,
        pool: SourcePool<'_>,
        options: Options,
        progress: &Progress,
        begun: &mut dyn FnMut(&Step),
    ) -> Result<Sent, Refusal> {
        let mut total = Sent::default();
        if let Some(header) = &self.header {
            total.bytes += header.write(out)?;
            total.records += 2;
        }
        let mut outcome = Ok(());
        for step in &self.steps {
            begun(step);
            match step.plan(pool, options) {
                Ok(plan) => {
                    let sent = pipeline::send(&plan, out, progress)?;
                    total.bytes += sent.bytes;
                    total.records += sent.records;
                    total.replaced.extend(sent.replaced);
                }
                Err(refusal) => {
                    outcome = Err(refusal);
                    break;
                }
            }
        }
        if self.header.is_some() && (outcome.is_ok() || total.records > 2) {
            out.write_all(end().as_bytes()).map_err(|error| Error::from(Fault::Output(error)))?;
            total.bytes += HEADER_LEN as u64;
            total.records += 1;
        }
        out.flush().map_err(|error| Error::from(Fault::Output(error)))?;
        outcome.map(|()| total)
    }
}
