//! `zstream info`: the content of stream files, from the headers alone.
//!
//! With `--json` each file gives one line, an object. Guids are strings, since many readers of JSON
//! cannot hold 64 bits; times are seconds since 1970.
//!
//! ```text
//! { file, bytes, padding_bytes, error: null | { kind, message, offset, record, record_type },
//!   streams: [ { offset, complete,
//!     package: null | { name, features, recursive, raw, from_snap, to_snap,
//!       datasets: null | [ { name, guid, origin, encryption_root, properties,
//!         snapshots: [ { name, guid, properties, holds } ] } ] },
//!     snapshots: [ { index, name, guid, from_guid, from, clone, created, type, byte_order, features,
//!       offset, bytes, complete, payload_bytes, stored_bytes, logical_bytes, compression_ratio,
//!       records: { BEGIN: 1, ... }, resume: null | { object, offset },
//!       redact_snaps, redact_from_snaps, encryption: null | { suite, keyformat } } ] } ] }
//! ```
//!
//! `from` is the `index` of the snapshot in the same file that `from_guid` names, or `null`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use zstream_format::algorithm::CryptSuite;
use zstream_format::flags::BeginFlags;
use zstream_format::ids::Guid;
use zstream_format::nvlist::{NvList, NvString, NvValue};
use zstream_format::record::RecordType;
use zstream_format::stream::StreamReader;
use zstream_format::summary::{Dataset, Package, Snapshot, Stream, Summary, split_name, summarize};

use crate::failure::Failure;
use crate::input::{Input, note_padding};
use crate::output;
use crate::text::{Count, Size, Utc, name};

/// The options of `zstream info`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print one JSON object for each file
    #[arg(long)]
    json: bool,
    /// Stream files; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut out = output::text()?;
        let mut first_failure = None;
        for file in &self.files {
            let input = match Input::open(Some(file)) {
                Ok(input) => input,
                Err(failure) => {
                    first_failure.get_or_insert(failure);
                    continue;
                }
            };
            let summary = match input.regular_file() {
                Some(file) => summarize(
                    StreamReader::seekable(file)
                        .map_err(|error| Failure::new(format_args!("cannot read: {error}")))?,
                ),
                None => summarize(StreamReader::new(input.into_read())),
            };
            if !self.json {
                note_padding(Some(file), summary.padding_bytes);
            }
            let text = if self.json { format!("{}\n", json(file, &summary)) } else { text(file, &summary) };
            out.write_all(text.as_bytes())
                .and_then(|()| out.flush())
                .map_err(|error| Failure::output(&error))?;
            if let Some(error) = summary.error {
                first_failure.get_or_insert(Failure::new(format_args!("{}: {error}", file.display())));
            }
        }
        first_failure.map_or(Ok(()), Err)
    }
}

/// The suite and key format in the BEGIN nvlist of a raw stream.
fn encryption(list: Option<&NvList>) -> Option<(CryptSuite, &'static str)> {
    let key = list?.get_list("crypt_keydata")?;
    let suite = key.get_u64("DSL_CRYPTO_SUITE").and_then(|suite| u8::try_from(suite).ok()).unwrap_or(0);
    let format = match key.get_u64("keyformat") {
        Some(1) => "raw",
        Some(2) => "hex",
        Some(3) => "passphrase",
        _ => "unknown",
    };
    Some((CryptSuite(suite), format))
}

fn value_text(value: &NvValue) -> String {
    match value {
        NvValue::String(text) => text.to_string(),
        NvValue::Uint64(number) => number.to_string(),
        other => format!("({})", other.data_type()),
    }
}

fn text(file: &Path, summary: &Summary) -> String {
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
        line!(out, indent, "{property} = {}", value_text(value));
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
    let records: Vec<_> = counted(snapshot).map(|(kind, count)| format!("{count} {kind}")).collect();
    line!(out, indent, "records: {}", records.join(", "));
    if !snapshot.features.is_empty() {
        line!(out, indent, "features: {}", snapshot.features);
    }
    if let Some((object, offset)) = snapshot.resume_point() {
        line!(out, indent, "resumes at object {object}, offset {offset}");
    }
    if let Some((suite, format)) = encryption(snapshot.list.as_ref()) {
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
            line!(out, indent, "{property} = {}", value_text(value));
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

fn counted(snapshot: &Snapshot) -> impl Iterator<Item = (RecordType, u64)> {
    RecordType::ALL.into_iter().zip(snapshot.records).filter(|(_, count)| *count > 0)
}

fn json(file: &Path, summary: &Summary) -> Value {
    let error = summary.error.as_ref().map(|error| {
        json!({
            "kind": error.fault().kind(),
            "message": error.fault().to_string(),
            "offset": error.place().offset,
            "record": error.place().index,
            "record_type": error.place().record.map(|kind| kind.name()),
        })
    });
    let stream = |stream: &Stream| {
        json!({
            "offset": stream.offset,
            "complete": stream.complete,
            "package": stream.package.as_ref().map(package_json),
            "snapshots": stream.snapshots.clone().map(|index| snapshot_json(index, &summary.snapshots[index]))
                .collect::<Vec<_>>(),
        })
    };
    json!({
        "file": file.to_string_lossy(),
        "bytes": summary.bytes,
        "padding_bytes": summary.padding_bytes,
        "error": error,
        "streams": summary.streams.iter().map(stream).collect::<Vec<_>>(),
    })
}

fn properties(pairs: &[(NvString, NvValue)]) -> Value {
    let value = |value: &NvValue| match value {
        NvValue::Uint64(number) => json!(number),
        other => json!(value_text(other)),
    };
    Value::Object(pairs.iter().map(|(name, of)| (name.to_string(), value(of))).collect::<Map<_, _>>())
}

fn guids(guids: Option<&[u64]>) -> Value {
    guids.map_or(Value::Null, |guids| guids.iter().map(u64::to_string).collect())
}

fn package_json(package: &Package) -> Value {
    let list = package.list.as_ref();
    let dataset = |dataset: &Dataset| {
        json!({
            "name": dataset.name.to_string(),
            "guid": dataset.guid.map(|guid| guid.0.to_string()),
            "origin": dataset.origin.map(|guid| guid.0.to_string()),
            "encryption_root": dataset.is_encryption_root,
            "properties": properties(&dataset.properties),
            "snapshots": dataset.snapshots.iter().map(|snapshot| json!({
                "name": snapshot.name.to_string(),
                "guid": snapshot.guid.0.to_string(),
                "properties": properties(&snapshot.properties),
                "holds": snapshot.holds.iter()
                    .map(|(tag, since)| (tag.to_string(), json!(since)))
                    .collect::<Map<_, _>>(),
            })).collect::<Vec<_>>(),
        })
    };
    json!({
        "name": package.name.to_string(),
        "features": package.features.names(),
        "recursive": list.map(|list| list.recursive),
        "raw": list.map(|list| list.raw),
        "from_snap": list.and_then(|list| list.from_snap.as_ref()).map(ToString::to_string),
        "to_snap": list.and_then(|list| list.to_snap.as_ref()).map(ToString::to_string),
        "datasets": list.map(|list| list.datasets.iter().map(dataset).collect::<Vec<_>>()),
    })
}

fn snapshot_json(index: usize, snapshot: &Snapshot) -> Value {
    json!({
        "index": index,
        "name": String::from_utf8_lossy(snapshot.name.as_bytes()),
        "guid": snapshot.to_guid.0.to_string(),
        "from_guid": (snapshot.from_guid != Guid(0)).then(|| snapshot.from_guid.0.to_string()),
        "from": snapshot.from,
        "clone": snapshot.flags.contains(BeginFlags::CLONE),
        "created": snapshot.creation_time,
        "type": snapshot.objset_type.name(),
        "byte_order": snapshot.order.to_string(),
        "features": snapshot.features.names(),
        "offset": snapshot.offset,
        "bytes": snapshot.bytes,
        "complete": snapshot.complete,
        "payload_bytes": snapshot.payload_bytes,
        "stored_bytes": snapshot.stored_bytes,
        "logical_bytes": snapshot.logical_bytes,
        "compression_ratio": snapshot.compression_ratio(),
        "records": counted(snapshot).map(|(kind, count)| (kind.name().to_owned(), json!(count)))
            .collect::<Map<_, _>>(),
        "resume": snapshot.resume_point().map(|(object, offset)| json!({ "object": object, "offset": offset })),
        "redact_snaps": guids(snapshot.redact_snaps()),
        "redact_from_snaps": guids(snapshot.redact_from_snaps()),
        "encryption": encryption(snapshot.list.as_ref())
            .map(|(suite, format)| json!({ "suite": suite.to_string(), "keyformat": format })),
    })
}
