//! Rules for a stream that resumes an interrupted receive (`dmu_recv_resume_begin_check`).

use zstream_dmu::ids::ObjectId;
use zstream_dsl::{RAW_RECEIVE, RECEIVE_CHILD};
use zstream_format::flags::FeatureFlags;

use super::existing::unlocked;
use super::{Destination, Head, OpenDataset, Receiver, Target, large_blocks};
use crate::error::Result;
use crate::refusal::Refusal;

pub(super) fn judge<'t>(
    receiver: &Receiver<'t>,
    head: Head<'_>,
    target: &Target,
) -> Result<Destination<OpenDataset<'t>>> {
    let found = receiver
        .dsl
        .find_head(&target.dataset)?
        .ok_or_else(|| Refusal::NothingToResume(target.dataset.clone()))?;
    let hidden = found.dir().child(RECEIVE_CHILD)?.map(|dir| dir.head()).transpose()?;
    if hidden.is_some() && !head.is_incremental() && !target.force {
        return Err(Refusal::ResumeExists(target.dataset.clone()).into());
    }
    let (filled, replaced) = match hidden {
        Some(hidden) => (hidden, Some(found)),
        None => (found, None),
    };
    unlocked(head, &filled)?;
    waits_for(head, target, &filled)?;
    large_blocks(head, &filled)?;
    let base = filled.previous()?;
    super::encryption::writable(Some(&filled), base.as_ref())?;
    super::encryption::raw(head, Some(&filled), base.as_ref())?;
    super::encryption::wrapping(head, target, replaced.as_ref().unwrap_or(&filled), true)?;
    point(head, target, &filled)?;
    Ok(Destination::Resume { filled, head: replaced })
}

/// Checks that the interrupted receive is of the same snapshot, from the same source, with the same redactions.
fn waits_for(head: Head<'_>, target: &Target, filled: &OpenDataset<'_>) -> Result<()> {
    let refuse = |why: String| -> Result<()> {
        Err(Refusal::NotResumable { dataset: target.dataset.clone(), why }.into())
    };
    if !filled.has_receive_state()? {
        return refuse("there is no interrupted receive".to_owned());
    }
    let is_raw = filled.entry(RAW_RECEIVE)?.is_some();
    if is_raw != head.has(FeatureFlags::RAW) {
        let kind = |is_raw| if is_raw { "raw" } else { "not raw" };
        return refuse(format!("the receive is {}, but the stream is {}", kind(is_raw), kind(!is_raw)));
    }
    let (to, from) = (filled.receive_number("toguid")?, filled.receive_number("fromguid")?);
    if to != head.begin.to_guid.0 {
        return refuse(format!(
            "the receive is of snapshot {to:x}, but the stream is of {}",
            head.begin.to_guid
        ));
    }
    if !filled.snapshots()?.is_empty() {
        return refuse("the dataset already has a snapshot".to_owned());
    }
    if from != head.begin.from_guid.0 {
        return refuse(format!(
            "the receive starts from {from:x}, but the stream from {}",
            head.begin.from_guid
        ));
    }
    if head.has(FeatureFlags::REDACTED) {
        let sorted = |guids: &[u64]| {
            let mut guids = guids.to_vec();
            guids.sort_unstable();
            guids
        };
        let kept = filled.redaction_snapshots()?.map(|guids| sorted(&guids));
        if kept != head.redact_snaps().map(sorted) {
            return refuse("the receive has other redactions".to_owned());
        }
    }
    Ok(())
}

/// Checks that the stream resumes exactly at the point that the dataset expects.
fn point(head: Head<'_>, target: &Target, filled: &OpenDataset<'_>) -> Result<()> {
    let stream = |key| head.list.and_then(|list| list.get_u64(key)).unwrap_or(0);
    let found = (ObjectId(stream("resume_object")), stream("resume_offset"));
    let expected = (ObjectId(filled.receive_number("object")?), filled.receive_number("offset")?);
    if found != expected {
        return Err(Refusal::ResumePoint { dataset: target.dataset.clone(), found, expected }.into());
    }
    Ok(())
}
