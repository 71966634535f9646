//! Requests for one snapshot or head (`zfs_send_one`, `dmu_send`).

use std::sync::Arc;

use zstream_dsl::bookmark::Bookmark;
use zstream_dsl::dataset::Dataset;
use zstream_dsl::redact::RedactionList;
use zstream_dsl::{Dsl, Named};

use super::{Request, dataset, find};
use crate::job::{From, Sending, Step};
use crate::line::is_before;
use crate::note::Note;
use crate::package::PackageHeader;
use crate::refusal::Refusal;

pub(super) fn resolve(
    request: &Request,
    dsl: &Arc<Dsl>,
    note: &mut dyn FnMut(Note),
) -> Result<Sending, Refusal> {
    let target = Arc::new(dataset(dsl, &request.target)?);
    if target.is_inconsistent() {
        return Err(Refusal::Inconsistent { name: request.target.clone() });
    }
    let mut step = Step::new(target.clone(), request.form);
    if let Some(from) = &request.from {
        step.from = Some(source(dsl, &target, from, note)?);
    }
    if let Some(bookmark) = &request.redact {
        step.redact = Some(redaction(&target, bookmark)?);
    }
    let packaged = request.properties || request.backup || request.holds;
    let header = packaged.then(|| header(request, &target, note)).transpose()?;
    Ok(Sending::one(header, step))
}

/// Looks up and validates the source of the increment.
fn source(dsl: &Arc<Dsl>, target: &Dataset, from: &str, note: &mut dyn FnMut(Note)) -> Result<From, Refusal> {
    let filesystem = target.dir().name();
    let name = if from.starts_with(['@', '#']) {
        format!("{filesystem}{from}")
    } else if from.contains(['@', '#']) {
        from.to_owned()
    } else {
        note(Note::AmbiguousSource);
        format!("{filesystem}@{from}")
    };
    match find(dsl, &name)? {
        Named::Dataset(snapshot) => {
            if !snapshot.is_snapshot() {
                return Err(Refusal::NotSnapshot { name });
            }
            earlier(&snapshot, target)?;
            Ok(From::Snapshot(Arc::new(snapshot)))
        }
        Named::Bookmark(bookmark) => {
            let head = dsl.dir(name.split('#').next().unwrap_or_default())?.head()?;
            bookmark_is_earlier(&bookmark, &head, target)?;
            Ok(From::Bookmark(bookmark))
        }
    }
}

/// Validates a snapshot as the source of an increment.
pub(super) fn earlier(snapshot: &Dataset, target: &Dataset) -> Result<(), Refusal> {
    if is_before(snapshot.dir(), snapshot.phys().creation_txg, target)? {
        return Ok(());
    }
    Err(Refusal::NotEarlier { from: snapshot.name().to_owned(), to: target.name().to_owned() })
}

/// Validates a bookmark of `head` as the source of an increment. A redaction bookmark may be of the target itself: then
/// the redacted blocks are sent.
pub(super) fn bookmark_is_earlier(
    bookmark: &Bookmark,
    head: &Dataset,
    target: &Dataset,
) -> Result<(), Refusal> {
    let is_same = bookmark.redaction_object.is_some() && bookmark.guid == target.phys().guid;
    if is_same || is_before(head.dir(), bookmark.creation_txg, target)? {
        return Ok(());
    }
    Err(Refusal::NotEarlier { from: bookmark.name.clone(), to: target.name().to_owned() })
}

/// Looks up the list of the blocks to redact.
fn redaction(target: &Dataset, bookmark: &str) -> Result<Arc<RedactionList>, Refusal> {
    let filesystem = target.dir().name();
    if !target.is_snapshot() {
        return Err(Refusal::HeadRedacted { name: target.name().to_owned() });
    }
    let short = match bookmark.split_once('#') {
        Some((other, _)) if !other.is_empty() && other != filesystem => {
            return Err(Refusal::OtherRedaction {
                bookmark: bookmark.to_owned(),
                filesystem: filesystem.to_owned(),
            });
        }
        Some((_, short)) => short,
        None => bookmark,
    };
    let name = format!("{filesystem}#{short}");
    let found = target.dir().head()?.bookmark(short)?;
    let found = found.ok_or_else(|| Refusal::NotFound { name: name.clone() })?;
    redaction_list(&found, target)
}

/// Returns the list of a redaction bookmark.
pub(super) fn redaction_list(bookmark: &Bookmark, target: &Dataset) -> Result<Arc<RedactionList>, Refusal> {
    let name = || bookmark.name.clone();
    let list = bookmark.redaction_list(target)?;
    let list = list.ok_or_else(|| Refusal::NotRedactionBookmark { name: name() })?;
    // With an incomplete list, blocks after its end would be sent that should be redacted.
    if !list.is_complete() {
        return Err(Refusal::IncompleteRedaction { name: name() });
    }
    Ok(Arc::new(list))
}

/// Returns the header of a package with one snapshot. It does not contain the source of an increment, which may be in
/// another filesystem.
fn header(request: &Request, target: &Dataset, note: &mut dyn FnMut(Note)) -> Result<PackageHeader, Refusal> {
    let filesystem = target.dir().name();
    let to = target.snapshot_name().unwrap_or_default();
    let mut gather = request.gather(filesystem, to, note);
    gather.gather(target.dir())?;
    let list = super::many::list(gather.list, None, to, false, request.form.raw);
    PackageHeader::new(format!("{filesystem}@{to}"), request.holds).with_list(&list, request.list_bytes_max)
}
