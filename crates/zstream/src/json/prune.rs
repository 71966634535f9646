//! Snapshots that a policy keeps or destroys.

use serde_json::{Value, json};

use crate::prune::{Pruned, PrunedDataset, Verdict};

/// The verdicts on snapshots, as `zstream prune --json` prints them; the module has its form.
#[must_use]
pub fn prune(pruned: &Pruned) -> Value {
    let snapshot = |verdict: &Verdict| {
        json!({
            "snapshot": verdict.name,
            "guid": verdict.guid.0.to_string(),
            "creation": verdict.creation,
            "keep": verdict.is_kept(),
            "reasons": verdict.reasons.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "freed_bytes": verdict.freed_bytes,
        })
    };
    let dataset = |dataset: &PrunedDataset| {
        json!({
            "dataset": dataset.name,
            "snapshots": dataset.snapshots.iter().map(snapshot).collect::<Vec<_>>(),
        })
    };
    json!({
        "dry_run": pruned.dry_run,
        "destroyed": pruned.destroyed().count(),
        "freed_bytes": pruned.freed_bytes(),
        "datasets": pruned.datasets.iter().map(dataset).collect::<Vec<_>>(),
    })
}
