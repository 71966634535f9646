//! Requests to resume where a receiver stopped (`zfs send -t`), and to send the saved state of a receive (`-S`).

use std::sync::Arc;

use zstream_dmu::ids::ObjectId;
use zstream_dsl::bookmark::Bookmark;
use zstream_dsl::dataset::{Dataset, Dir};
use zstream_dsl::error::Result as DmuResult;
use zstream_dsl::{Dsl, RECEIVE_CHILD};
use zstream_format::ids::Guid;
use zstream_format::token::{ResumeToken, TokenError};

use super::one::{bookmark_is_earlier, earlier, redaction_list};
use super::{Request, dataset, not_found};
use crate::job::{From, Sending, Step};
use crate::package::children;
use crate::plan::{ResumePoint, StreamForm};
use crate::refusal::Refusal;

/// Resolves a resume token into a job. `form` is added to that of the token.
///
/// # Errors
/// Returns the rule that the request breaks, usually because a snapshot in the token no longer exists.
pub fn resume(token: &ResumeToken, form: StreamForm, dsl: &Arc<Dsl>) -> Result<Sending, Refusal> {
    let name = to_name(token)?;
    let (filesystem, _) = name.split_once('@').unwrap_or((name, ""));
    let guid = Guid(token.to_guid);
    let target = match search(dsl, filesystem, guid, &SearchedKind::Snapshot)? {
        Some(From::Snapshot(snapshot)) => snapshot,
        _ if dsl.find(name).is_ok() => {
            return Err(Refusal::TokenSnapshotChanged { name: name.to_owned(), guid: guid.0 });
        }
        _ => return Err(Refusal::TokenSnapshotGone { name: name.to_owned() }),
    };
    let mut step = Step::new(target.clone(), joined(form, token));
    step.from = source(token, filesystem, dsl, &target)?;
    if let Some(guids) = &token.redact_snaps {
        step.redact = Some(redaction(guids, filesystem, dsl, &target)?);
    }
    // A token from before the first object requests the whole stream.
    if token.object != 0 || token.offset != 0 {
        step.resume = Some(ResumePoint { object: ObjectId(token.object), offset: token.offset });
        step.done_bytes = token.bytes;
    }
    Ok(Sending::one(None, step))
}

/// Resolves a request for the saved state of a receive into the target (`zfs_send_saved`).
pub(super) fn saved(request: &Request, dsl: &Arc<Dsl>) -> Result<Sending, Refusal> {
    let name = &request.target;
    let head = dataset(dsl, name)?;
    let nothing = || Refusal::NothingSaved { name: name.clone() };
    let token = head.resume_token()?.ok_or_else(nothing)?;
    if token.redact_snaps.is_some() {
        return Err(Refusal::SavedRedacted { name: name.clone() });
    }
    let receiving = match head.dir().child(RECEIVE_CHILD)? {
        Some(child) => child.head()?,
        None => head,
    };
    let receiving = Arc::new(receiving);
    let mut step = Step::new(receiving.clone(), joined(StreamForm::default(), &token));
    step.name.clone_from(name);
    step.from = source(&token, name, dsl, &receiving)?;
    step.saved = Some((Guid(token.to_guid), to_name(&token)?.to_owned()));
    Ok(Sending::one(None, step))
}

fn to_name(token: &ResumeToken) -> Result<&str, Refusal> {
    let wrong = TokenError::Value { name: "toname", expected: "text" };
    token.to_name.to_str().ok_or(Refusal::Token(wrong))
}

fn joined(form: StreamForm, token: &ResumeToken) -> StreamForm {
    StreamForm {
        large_blocks: form.large_blocks || token.large_blocks,
        embedded: form.embedded || token.embedded,
        compressed: form.compressed || token.compressed,
        raw: form.raw || token.raw,
    }
}

/// Looks up the source of the increment: a snapshot or bookmark with the guid in the token. If the token has redaction
/// snapshots of the source, it is the bookmark that was created with these.
fn source(
    token: &ResumeToken,
    filesystem: &str,
    dsl: &Arc<Dsl>,
    target: &Dataset,
) -> Result<Option<From>, Refusal> {
    let Some(guid) = token.from_guid.filter(|guid| *guid != 0) else { return Ok(None) };
    let wanted = match &token.book_redact_snaps {
        Some(guids) => SearchedKind::RedactionBookmark(guids),
        None => SearchedKind::Any,
    };
    let found = search(dsl, filesystem, Guid(guid), &wanted)?;
    match &found {
        None => return Err(Refusal::TokenSourceGone { guid }),
        Some(From::Snapshot(snapshot)) => earlier(snapshot, target)?,
        Some(From::Bookmark(bookmark)) => {
            let head = bookmark.name.split('#').next().unwrap_or_default();
            bookmark_is_earlier(bookmark, &dsl.dir(head)?.head()?, target)?;
        }
    }
    Ok(found)
}

/// Looks up the redaction list of the stream: any list of the filesystem that was created with the same snapshots.
fn redaction(
    guids: &[u64],
    filesystem: &str,
    dsl: &Arc<Dsl>,
    target: &Dataset,
) -> Result<Arc<zstream_dsl::redact::RedactionList>, Refusal> {
    let head = dsl.dir(filesystem).map_err(|error| not_found(filesystem, error))?.head()?;
    for bookmark in head.bookmarks()? {
        if has_snapshots(&bookmark, &head, guids)? {
            return redaction_list(&bookmark, target);
        }
    }
    Err(Refusal::TokenRedactionGone { filesystem: filesystem.to_owned() })
}

/// Returns `true` if this is a redaction bookmark that was created with exactly these snapshots.
fn has_snapshots(bookmark: &Bookmark, head: &Dataset, guids: &[u64]) -> DmuResult<bool> {
    let Some(list) = bookmark.redaction_list(head)? else { return Ok(false) };
    let found = list.snapshots();
    Ok(found.len() == guids.len() && guids.iter().all(|guid| found.contains(guid)))
}

/// The kind of item that is searched by its guid.
enum SearchedKind<'a> {
    Snapshot,
    Any,
    RedactionBookmark(&'a [u64]),
}

/// Searches a guid in `filesystem` and its descendants, then in its parent and its descendants, and so on
/// (`guid_to_name`).
fn search(
    dsl: &Arc<Dsl>,
    filesystem: &str,
    guid: Guid,
    wanted: &SearchedKind<'_>,
) -> Result<Option<From>, Refusal> {
    let mut skip = None;
    let mut name = Some(filesystem);
    while let Some(here) = name {
        match dsl.dir(here) {
            Ok(dir) => {
                if let Some(found) = below(&dir, guid, wanted, skip)? {
                    return Ok(Some(found));
                }
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        (skip, name) = (Some(here), here.rsplit_once('/').map(|(above, _)| above));
    }
    Ok(None)
}

/// Searches a guid in a directory and its descendants, except in `skip`.
fn below(
    dir: &Arc<Dir>,
    guid: Guid,
    wanted: &SearchedKind<'_>,
    skip: Option<&str>,
) -> DmuResult<Option<From>> {
    let head = dir.head()?;
    if !matches!(wanted, SearchedKind::RedactionBookmark(_)) {
        let found = head.snapshots()?.into_iter().find(|snapshot| snapshot.phys().guid == guid);
        if let Some(snapshot) = found {
            return Ok(Some(From::Snapshot(Arc::new(snapshot))));
        }
    }
    for child in children(dir)? {
        if Some(child.name()) != skip
            && let Some(found) = below(&child, guid, wanted, None)?
        {
            return Ok(Some(found));
        }
    }
    if matches!(wanted, SearchedKind::Snapshot) {
        return Ok(None);
    }
    for bookmark in head.bookmarks()? {
        let matches = bookmark.guid == guid
            && match wanted {
                SearchedKind::RedactionBookmark(guids) => has_snapshots(&bookmark, &head, guids)?,
                _ => true,
            };
        if matches {
            return Ok(Some(From::Bookmark(bookmark)));
        }
    }
    Ok(None)
}
