//! The summary of a stream file as text.

use std::fmt::Write as _;
use std::path::Path;

use zstream_format::flags::BeginFlags;
use zstream_format::ids::Guid;
use zstream_format::summary::{Dataset, Snapshot, Stream, Summary, split_name};

use super::{encryption, property_text, record_counts};
use crate::text::{Count, Size, Utc, name};

/// The content of a stream file as text, as `zstream info` prints it: each stream, and the snapshots in it.
#[must_use]
pub fn summary_text(file: &Path, summary: &Summary) -> String {
    let mut out = format!(
        "{}: {}, {}\n",
        crate::text::line(file.display()),
        Count(summary.snapshots.len() as u64, "snapshot"),
        Size(summary.bytes)
    );
    for stream in &summary.streams {
        stream_text(&mut out, stream, summary);
    }
    out
}

/// Writing to a `String` does not fail.
macro_rules! line {
    ($out:expr, $indent:expr, $($arg:tt)*) => {{
        let _ = writeln!($out, "{:indent$}{}", "", crate::text::line(format_args!($($arg)*)), indent = 2 * $indent);
    }};
}

fn stream_text(out: &mut String, stream: &Stream, summary: &Summary) {
    let cut = if stream.complete { "" } else { ", cut short" };
    match &stream.package {
        Some(package) => {
            let list = package.list.as_ref();
            let kind = match list {
                None => "without properties",
                Some(list) if list.recursive => "with descendants and properties",
                Some(_) => "with properties",
            };
            line!(out, 0, "package {}, {kind}{cut}", package.name);
        }
        None => line!(out, 0, "single stream{cut}"),
    }
    let snapshots = &summary.snapshots[stream.snapshots.clone()];
    let list = stream.package.as_ref().and_then(|package| package.list.as_ref());
    let mut shown: Vec<&[u8]> = Vec::new();
    let top = snapshots.first().map_or(0, |snapshot| depth(snapshot.dataset()));
    for snapshot in snapshots {
        let dataset = snapshot.dataset();
        let indent = 1 + depth(dataset).saturating_sub(top);
        let listed =
            list.and_then(|list| list.datasets.iter().find(|listed| listed.name.as_bytes() == dataset));
        if shown.last() != Some(&dataset) {
            line!(out, indent, "{} ({})", name(dataset), snapshot.objset_type.name());
            if let (Some(listed), false) = (listed, shown.contains(&dataset)) {
                dataset_text(out, indent + 2, listed);
            }
            shown.push(dataset);
        }
        snapshot_text(out, indent + 1, snapshot, listed, summary);
    }
    not_sent(out, list.map_or(&[], |list| &list.datasets), snapshots);
}

/// The depth of a dataset in its pool.
fn depth(dataset: &[u8]) -> usize {
    dataset.iter().filter(|byte| **byte == b'/').count()
}

fn dataset_text(out: &mut String, indent: usize, dataset: &Dataset) {
    for (property, value) in &dataset.properties {
        line!(out, indent, "{property} = {}", property_text(value));
    }
}

fn not_sent(out: &mut String, datasets: &[Dataset], snapshots: &[Snapshot]) {
    for dataset in datasets
        .iter()
        .filter(|dataset| !snapshots.iter().any(|snapshot| snapshot.dataset() == dataset.name.as_bytes()))
    {
        line!(out, 1, "{}: listed, but the stream contains no snapshot of it", dataset.name);
    }
}

fn snapshot_text(
    out: &mut String,
    indent: usize,
    snapshot: &Snapshot,
    listed: Option<&Dataset>,
    summary: &Summary,
) {
    let cut = if snapshot.complete { "" } else { ", cut short" };
    line!(
        out,
        indent,
        "@{}  {}, created {}{cut}",
        name(snapshot.short_name()),
        kind(snapshot, summary),
        Utc(snapshot.creation_time)
    );
    let indent = indent + 2;
    line!(out, indent, "guid {}", snapshot.to_guid.0);
    let ratio = snapshot.compression_ratio().map_or(String::new(), |ratio| format!(", {ratio:.2}x"));
    line!(
        out,
        indent,
        "{} in the stream, {} of data{ratio}, {}",
        Size(snapshot.bytes),
        Size(snapshot.logical_bytes),
        snapshot.order
    );
    let records: Vec<_> = record_counts(snapshot).map(|(kind, count)| format!("{count} {kind}")).collect();
    line!(out, indent, "records: {}", records.join(", "));
    if !snapshot.features.is_empty() {
        line!(out, indent, "features: {}", snapshot.features);
    }
    if let Some((object, offset)) = snapshot.resume_point() {
        line!(out, indent, "resumes at object {object}, offset {offset}");
    }
    if let Some((suite, format)) = encryption(snapshot) {
        line!(out, indent, "encrypted with {suite}, key format {format}");
    }
    for (what, guids) in [
        ("redacted for", snapshot.redact_snaps()),
        ("the source is redacted for", snapshot.redact_from_snaps()),
    ] {
        if let Some(guids) = guids {
            let guids: Vec<_> = guids.iter().map(u64::to_string).collect();
            line!(out, indent, "{what} guids {}", guids.join(", "));
        }
    }
    let listed = listed.and_then(|dataset| {
        dataset.snapshots.iter().find(|listed| listed.name.as_bytes() == snapshot.short_name())
    });
    if let Some(listed) = listed {
        for (property, value) in &listed.properties {
            line!(out, indent, "{property} = {}", property_text(value));
        }
        for (tag, since) in &listed.holds {
            line!(out, indent, "hold {tag} since {}", Utc(*since));
        }
    }
}

fn kind(snapshot: &Snapshot, summary: &Summary) -> String {
    if snapshot.from_guid == Guid(0) {
        return "full".to_owned();
    }
    let clone = if snapshot.flags.contains(BeginFlags::CLONE) { "clone of" } else { "increment from" };
    let Some(from) = snapshot.from.map(|index| &summary.snapshots[index]) else {
        return format!("{clone} guid {}, which is not in the file", snapshot.from_guid.0);
    };
    let (dataset, short) = split_name(from.name.as_bytes());
    if dataset == snapshot.dataset() {
        format!("{clone} @{}", name(short))
    } else {
        format!("{clone} {}", name(from.name.as_bytes()))
    }
}
