//! Pools and their checks.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use zstream_dmu::vdev::DamageCause;
use zstream_dsl::Erratum;

use crate::check::{Damaged, DamagedBlock, PoolCheck, ReferenceCheck};
use crate::describe::{PoolDescription, VdevDescription};
use crate::rescue::Group;

/// A pool, as `zstream pool show --json` prints it: name, guid, state, health, version, txg, `available_txgs`, vdevs (each with
/// name, type, guid, state, class, children), features (name, guid, state, count), datasets (name, object, root), errata,
/// notices. Guids are strings.
#[must_use]
pub fn pool(pool: &PoolDescription) -> Value {
    let feature = |of: &crate::describe::FeatureDescription| json!({ "name": of.name, "guid": of.guid, "state": of.state, "count": of.count });
    let dataset = |of: &crate::describe::DatasetDescription| json!({ "name": of.name, "object": of.object, "root": of.root });
    json!({
        "name": pool.name,
        "guid": pool.guid.0.to_string(),
        "state": pool.state.to_string(),
        "health": pool.health.to_string(),
        "version": pool.version,
        "txg": pool.txg.0,
        "available_txgs": pool.available_txgs.iter().map(|txg| txg.0).collect::<Vec<_>>(),
        "vdevs": pool.vdevs.iter().map(vdev).collect::<Vec<_>>(),
        "features": pool.features.iter().map(feature).collect::<Vec<_>>(),
        "datasets": pool.datasets.iter().map(dataset).collect::<Vec<_>>(),
        "errata": errata(&pool.errata),
        "notices": pool.notices.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn vdev(of: &VdevDescription) -> Value {
    json!({
        "name": of.name,
        "type": of.kind,
        "guid": of.guid.0.to_string(),
        "state": of.state.to_string(),
        "class": of.class,
        "children": of.children.iter().map(vdev).collect::<Vec<_>>(),
    })
}

fn errata(found: &BTreeMap<Erratum, Vec<String>>) -> Value {
    let entry = |(erratum, names): (&Erratum, &Vec<String>)| {
        json!({
            "number": erratum.number(),
            "name": erratum.name(),
            "advice": erratum.advice(),
            "datasets": names,
        })
    };
    found.iter().map(entry).collect()
}

/// The check of the pool `name`, as `zstream pool check --json` prints it.
#[must_use]
pub fn check(name: &str, check: &PoolCheck) -> Value {
    let totals = &check.totals;
    let members = check
        .members
        .iter()
        .map(|(name, of)| json!({ "name": name, "unreadable": of.unreadable, "wrong": of.wrong }));
    let waiting = check.waiting.iter().map(|(list, waiting)| {
        json!({ "list": list, "blocks": waiting.blocks, "bytes": waiting.bytes, "complete": !waiting.more })
    });
    json!({
        "pool": name,
        "ok": check.is_clean(),
        "blocks": totals.blocks,
        "copies": totals.copies,
        "bytes": totals.bytes,
        "repeated": totals.repeated,
        "bad_copies": totals.bad_copies,
        "lost_blocks": totals.lost_blocks,
        "damaged": check.damaged.iter().map(damaged_json).collect::<Vec<_>>(),
        "not_listed": check.not_listed,
        "unchecked": check.unchecked,
        "locked": check.locked.iter().map(|(dataset, root)| json!({ "dataset": dataset, "root": root })).collect::<Vec<_>>(),
        "members": members.collect::<Vec<_>>(),
        "missing": check.missing,
        "waiting": waiting.collect::<Vec<_>>(),
        "references": check.references.as_ref().map(references),
        "errata": errata(&check.errata),
        "checkpoint": check.checkpoint.map(|(txg, blocks)| json!({ "txg": txg.0, "blocks": blocks })),
    })
}

/// A transaction group, as `pool show --txgs --json` prints it.
#[must_use]
pub fn group(group: &Group) -> Value {
    let state = group.state.as_ref();
    json!({
        "txg": group.txg.0,
        "time": group.timestamp,
        "sound": group.is_sound(),
        "datasets": state.ok().map(|state| state.datasets),
        "unreadable": state.ok().map(|state| &state.unreadable),
        "error": state.err().map(ToString::to_string),
    })
}

/// The references to cloned blocks.
fn references(check: &ReferenceCheck) -> Value {
    let wrong = check.wrong.iter().map(|wrong| {
        json!({
            "vdev": wrong.vdev,
            "offset": wrong.offset,
            "recorded": wrong.recorded,
            "found": wrong.found,
            "places": wrong.places,
        })
    });
    json!({
        "blocks": check.totals.entries,
        "used": check.totals.used_bytes,
        "saved": check.totals.saved_bytes,
        "wrong": wrong.collect::<Vec<_>>(),
        "not_listed": check.not_listed,
        "sums": check.sums,
    })
}

/// All about it.
fn damaged_json(damaged: &Damaged) -> Value {
    json!({
        "in": damaged.within,
        "paths": damaged.paths,
        "what": damaged.what,
        "object": damaged.object.0,
        "lost": damaged.is_lost,
        "lost_bytes": damaged.lost.iter().map(|range| [range.start, range.end]).collect::<Vec<_>>(),
        "blocks": damaged.blocks.iter().map(block_json).collect::<Vec<_>>(),
    })
}

/// All about a block.
fn block_json(block: &DamagedBlock) -> Value {
    let copies = block.check.bad.iter().map(|copy| {
        let damage = copy.damage.iter().map(|damage| {
            json!({
                "member": damage.vdev,
                "offset": damage.offset,
                "bytes": damage.len,
                "unreadable": damage.cause == DamageCause::Unreadable,
            })
        });
        json!({
            "address": copy.address.to_string(),
            "error": copy.error.as_ref().map(ToString::to_string),
            "damage": damage.collect::<Vec<_>>(),
        })
    });
    json!({
        "object": block.at.object.0,
        "level": block.at.level,
        "block": block.at.block.0,
        "lost": block.is_lost(),
        "copies": copies.collect::<Vec<_>>(),
    })
}
