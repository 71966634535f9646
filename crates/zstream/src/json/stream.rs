//! Stored streams: their content, verdicts on them, and how to resume them.

use std::path::Path;

use serde_json::{Map, Value, json};
use zstream_format::edit::resume::{Point, Reason, TruncatedStream};
use zstream_format::flags::BeginFlags;
use zstream_format::ids::Guid;
use zstream_format::nvlist::{NvString, NvValue};
use zstream_format::place::Place;
use zstream_format::summary::{Dataset, Package, Snapshot, Stream, Summary};
use zstream_format::verify::{Note, Verdict};
use zstream_recv::{Note as ReceiveNote, Received};

use crate::info::{encryption, property_text, record_counts};

/// The content of a stream file, as `zstream info --json` prints it; the module has its form.
#[must_use]
pub fn summary(file: &Path, summary: &Summary) -> Value {
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
        other => json!(property_text(other)),
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
        "records": record_counts(snapshot).map(|(kind, count)| (kind.name().to_owned(), json!(count)))
            .collect::<Map<_, _>>(),
        "resume": snapshot.resume_point().map(|(object, offset)| json!({ "object": object, "offset": offset })),
        "redact_snaps": guids(snapshot.redact_snaps()),
        "redact_from_snaps": guids(snapshot.redact_from_snaps()),
        "encryption": encryption(snapshot)
            .map(|(suite, format)| json!({ "suite": suite.to_string(), "keyformat": format })),
    })
}

fn place(place: Place) -> Value {
    json!({
        "offset": place.offset,
        "record": place.index,
        "record_type": place.record.map(|kind| kind.name()),
    })
}

fn with(mut value: Value, more: Value) -> Value {
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

/// The verdict on a file, as `zstream verify --json` prints it; the module has its form.
#[must_use]
pub fn verdict(file: &Path, verdict: &Verdict) -> Value {
    json!({
        "file": file.to_string_lossy(),
        "ok": verdict.is_good(),
        "bytes": verdict.bytes,
        "records": verdict.records,
        "good_bytes": verdict.good_bytes,
        "padding_bytes": verdict.padding_bytes,
        "streams": verdict.streams,
        "snapshots": verdict.snapshots,
        "error": error(verdict),
        "warnings": verdict.notes.iter().map(warning).collect::<Vec<_>>(),
    })
}

/// The same of a file that cannot be opened.
#[must_use]
pub fn not_opened(file: &Path, message: &str) -> Value {
    json!({
        "file": file.to_string_lossy(), "ok": false,
        "bytes": 0, "records": 0, "good_bytes": 0, "padding_bytes": 0, "streams": 0, "snapshots": 0,
        "error": { "kind": "open", "message": message, "offset": null, "record": null,
            "record_type": null, "expected": null, "found": null, "snapshot": null },
        "warnings": [],
    })
}

fn error(verdict: &Verdict) -> Value {
    let Some(error) = &verdict.error else { return Value::Null };
    let (expected, found) = error.fault().expected_and_found().unzip();
    with(
        json!({
            "kind": error.fault().kind(),
            "message": error.fault().to_string(),
            "expected": expected,
            "found": found,
            "snapshot": verdict.inside,
        }),
        place(error.place()),
    )
}

fn warning(note: &Note) -> Value {
    with(
        json!({
            "kind": note.warning.kind(),
            "message": note.warning.to_string(),
            "count": note.count,
        }),
        place(note.place),
    )
}

/// The point at which a truncated stream is resumed with its token, or the reason that there is none, as
/// `zstream resume-token --json` prints it.
#[must_use]
pub fn resume(file: &Path, found: &TruncatedStream, outcome: &Result<(&Point, String), Reason>) -> Value {
    let point = outcome.as_ref().ok();
    let broken = found.broken.as_ref();
    json!({
        "file": file.to_string_lossy(),
        "token": point.map(|(_, token)| token),
        "object": point.map(|(point, _)| point.token.object),
        "offset": point.map(|(point, _)| point.token.offset),
        "keep_bytes": point.map(|(point, _)| point.keep_bytes),
        "reason": outcome.as_ref().err().map(ToString::to_string),
        "snapshot": broken.map(|broken| String::from_utf8_lossy(&broken.name)),
        "guid": broken.map(|broken| broken.to_guid.0.to_string()),
        "from_guid": broken.filter(|broken| broken.from_guid.0 != 0).map(|broken| broken.from_guid.0.to_string()),
        "in_package": found.in_package,
        "whole": found.whole.iter().map(|whole| json!({
            "name": String::from_utf8_lossy(&whole.name), "guid": whole.to_guid.0.to_string(), "end": whole.end,
        })).collect::<Vec<_>>(),
        "error": found.error.as_ref().map(ToString::to_string),
    })
}

/// A snapshot that was received within this time, or validated in a dry run, as `zstream recv --json` prints it.
#[must_use]
pub fn received(received: &Received, seconds: f64, dry_run: bool) -> Value {
    json!({
        "snapshot": received.name,
        "guid": received.guid.0.to_string(),
        "incremental": received.is_incremental,
        "bytes": received.bytes,
        "records": received.records,
        "corrected": received.corrected,
        "seconds": seconds,
        "dry_run": dry_run,
    })
}

/// A change that brings a tree into the form at the sender, as `zstream recv --json` prints it; none for other notes.
#[must_use]
pub fn tree_change(note: &ReceiveNote, dry_run: bool) -> Option<Value> {
    match note {
        ReceiveNote::Renamed { from, to } => Some(json!({ "renamed": from, "to": to, "dry_run": dry_run })),
        ReceiveNote::Destroyed(name) => Some(json!({ "destroyed": name, "dry_run": dry_run })),
        ReceiveNote::Promoted(name) => Some(json!({ "promoted": name, "dry_run": dry_run })),
        _ => None,
    }
}

/// A snapshot that was not received, because it exists, as `zstream recv --json` prints it.
#[must_use]
pub fn ignored(snapshot: &str) -> Value {
    json!({ "snapshot": snapshot, "ignored": true })
}
