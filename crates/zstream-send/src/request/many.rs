//! Requests for several snapshots: `-R` and `-I` (`zfs_send`).

use std::collections::HashSet;
use std::sync::Arc;

use zstream_dsl::Dsl;
use zstream_dsl::dataset::Dataset;
use zstream_format::nvlist::NvList;

use super::{Request, dataset, parse};
use crate::job::{From, Sending, Step};
use crate::note::Note;
use crate::package::{Gather, PackageHeader, Range, in_order, snapshots};
use crate::refusal::Refusal;

pub(super) fn resolve(
    request: &Request,
    dsl: &Arc<Dsl>,
    note: &mut dyn FnMut(Note),
) -> Result<Sending, Refusal> {
    if request.from.as_ref().is_some_and(|from| from.contains('#')) {
        return Err(Refusal::ManyFromBookmark);
    }
    if request.redact.is_some() {
        return Err(Refusal::ManyRedacted);
    }
    let Some((filesystem, to)) = request.target.split_once('@') else {
        return Err(Refusal::NotSnapshot { name: request.target.clone() });
    };
    let head = dataset(dsl, filesystem)?;
    dataset(dsl, &request.target)?;
    let from = source(request, &head)?;
    if let Some(from) = &from {
        dataset(dsl, &format!("{filesystem}@{from}"))?;
    }
    let from = from.as_deref();
    // Without a source, -R sends all snapshots.
    let all = request.intermediates || (request.replicate && from.is_none());
    let mut header = PackageHeader::new(request.target.clone(), request.holds);
    let mut filesystems = Vec::new();
    if request.replicate || request.properties || request.holds {
        let mut gather = Gather {
            from,
            recursive: request.replicate,
            all,
            skip_missing: request.skip_missing,
            ..request.gather(filesystem, to, note)
        };
        gather.gather(head.dir())?;
        let list = list(gather.list, from, to, request.replicate, request.form.raw);
        filesystems = gather.filesystems;
        header = header.with_list(&list, request.list_bytes_max)?;
    }
    let range = Range {
        to,
        from,
        all,
        recursive: request.replicate,
        origins: filesystems.iter().filter_map(|filesystem| filesystem.origin).collect::<HashSet<u64>>(),
        exclude: &request.exclude,
    };
    let mut job = Sending { header: Some(header), steps: Vec::new(), is_complete: true };
    let heads = if request.replicate {
        in_order(&filesystems)?.into_iter().map(|filesystem| &filesystem.head).collect()
    } else {
        vec![&head]
    };
    for head in heads {
        let origin = head.dir().origin()?.map(Arc::new);
        let mut add = |snapshot: Arc<Dataset>, previous: Option<Arc<Dataset>>| {
            let mut step = Step::new(snapshot, request.form);
            step.from_origin = previous.is_none() && origin.is_some() && from_origin(request, from);
            step.from = match previous {
                Some(previous) => Some(From::Snapshot(previous)),
                None if step.from_origin => origin.clone().map(From::Snapshot),
                None => None,
            };
            job.steps.push(step);
        };
        job.is_complete &= snapshots(head, &range, note, &mut add)?;
    }
    if job.steps.is_empty() && !job.is_complete {
        let from = from.unwrap_or_default();
        return Err(Refusal::NotEarlier { from: format!("{filesystem}@{from}"), to: request.target.clone() });
    }
    Ok(job)
}

/// Returns `true` if the first snapshot of a clone is an increment from the origin: with `-R`, and with `-I` from the origin.
fn from_origin(request: &Request, from: Option<&str>) -> bool {
    request.replicate || (request.from.is_some() && from.is_none())
}

/// Returns the short name of the source; `None` if there is no source, or if it is the origin of the target.
fn source(request: &Request, head: &Dataset) -> Result<Option<String>, Refusal> {
    let Some(from) = &request.from else { return Ok(None) };
    let filesystem = head.dir().name();
    let short = match from.split_once('@') {
        None => from.as_str(),
        Some((other, short)) => {
            if head.dir().origin()?.is_some_and(|origin| origin.name() == from) {
                return Ok(None);
            }
            if !other.is_empty() && other != filesystem {
                return Err(Refusal::OtherFilesystem {
                    from: from.clone(),
                    filesystem: filesystem.to_owned(),
                });
            }
            short
        }
    };
    parse(&format!("{filesystem}@{short}"))?;
    Ok(Some(short.to_owned()))
}

/// Returns the list of a package.
pub(super) fn list(filesystems: NvList, from: Option<&str>, to: &str, recursive: bool, raw: bool) -> NvList {
    let mut list = NvList::new();
    if let Some(from) = from {
        list.add_string("fromsnap", from);
    }
    list.add_string("tosnap", to);
    if !recursive {
        list.add_boolean("not_recursive");
    }
    if raw {
        list.add_boolean("raw");
    }
    list.add_list("fss", filesystems);
    list
}
