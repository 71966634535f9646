//! Steps of a synchronization.

use serde_json::{Value, json};

use crate::synced::{SyncNote, SyncStream, Synced};

/// A step of a synchronization, as `zstream sync --json` prints it; the module has its form.
#[must_use]
pub fn sync(note: &SyncNote) -> Value {
    let with = |event: &str, stream: &SyncStream| {
        json!({
            "event": event,
            "source": stream.source,
            "target": stream.target,
            "from": stream.from,
            "to": stream.to,
            "snapshots": stream.snapshots,
            "resumed": stream.resumed,
            "estimated_bytes": stream.estimated_bytes,
            "dry_run": stream.dry_run,
        })
    };
    match note {
        SyncNote::UpToDate { source, target, snapshot } => {
            json!({ "event": "up_to_date", "source": source, "target": target, "snapshot": snapshot })
        }
        SyncNote::Sends(stream) => with("sends", stream),
        SyncNote::Sent { stream, bytes, seconds } => {
            let mut value = with("sent", stream);
            (value["bytes"], value["seconds"]) = (json!(bytes), json!(seconds));
            value
        }
        SyncNote::RollsBack { target, to } => {
            json!({ "event": "rolls_back", "target": target, "to": to })
        }
        SyncNote::Discards { target } => json!({ "event": "discards", "target": target }),
        SyncNote::Marked { name } => json!({ "event": "marked", "name": name }),
        SyncNote::Failed { source, target, error } => json!({
            "event": "failed", "source": source, "target": target, "errno": error.errno().to_string(), "message": error.to_string(),
        }),
    }
}

/// The result of a synchronization, as `zstream sync --json` prints it.
#[must_use]
pub fn synced(synced: &Synced, dry_run: bool) -> Value {
    json!({
        "event": "done",
        "up_to_date": synced.up_to_date,
        "behind": synced.behind,
        "failed": synced.failed,
        "snapshots": synced.snapshots,
        "bytes": synced.bytes,
        "dry_run": dry_run,
    })
}
