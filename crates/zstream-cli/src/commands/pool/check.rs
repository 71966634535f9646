//! `zstream pool check`: verifies every copy of every block, and names the damaged files.

use std::io::Write as _;

use serde_json::{Value, json};
use zstream::OpenPool;
use zstream::check::{CHECKPOINT, Damaged, DamagedBlock, PoolCheck, ReferenceCheck, check_pool};
use zstream_dmu::vdev::DamageCause;

use crate::failure::Failure;
use crate::output;
use crate::pool::PoolOptions;
use crate::progress::Meter;
use crate::text::{Count, Size};

/// The maximum number of byte ranges in a line of text.
const RANGES_SHOWN: usize = 4;

/// The form of the output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// As one JSON object.
    pub(super) json: bool,
    /// With every block and copy.
    pub(super) verbose: bool,
}

/// Runs the check and prints what it finds.
pub(super) fn run(open: &OpenPool, options: &PoolOptions, form: Form) -> Result<(), Failure> {
    let check = check_pool(open, options, &mut Meter::new(None).control())?;
    let name = open.pool.name();
    let text =
        if form.json { format!("{}\n", as_json(name, &check)) } else { as_text(name, &check, form.verbose) };
    let mut out = output::text()?;
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))?;
    if check.is_clean() {
        return Ok(());
    }
    let totals = check.totals;
    if totals.is_clean()
        && check.unchecked.is_empty()
        && let Some(references) = check.references.as_ref().filter(|references| !references.is_clean())
    {
        let what = match references.wrong.len() as u64 + references.not_listed {
            0 => "the sums of the block reference tables are wrong".to_owned(),
            wrong => format!("the count of references is wrong for {}", Count(wrong, "block")),
        };
        return Err(Failure::new(format_args!("{name}: no block is damaged, but {what}")));
    }
    if totals.is_clean() && check.unchecked.is_empty() {
        let locked = Count(check.locked.len() as u64, "dataset");
        return Err(Failure::new(format_args!("{name}: no block is damaged, but {locked} cannot be opened")));
    }
    Err(Failure::new(format_args!(
        "{name}: {} of {} copies are damaged, {} lost{}",
        totals.bad_copies,
        totals.copies,
        Count(totals.lost_blocks, "block"),
        match check.unchecked.len() {
            0 => String::new(),
            count => format!(", {} could not be checked", Count(count as u64, "part")),
        }
    )))
}

fn as_text(name: &str, check: &PoolCheck, verbose: bool) -> String {
    let mut text: String =
        super::errata(&check.errata).iter().map(|line| format!("{}\n", crate::text::line(line))).collect();
    for damaged in &check.damaged {
        for place in places(damaged) {
            text += &format!("{}: {}\n", crate::text::line(place), crate::text::line(summary(damaged)));
        }
        if verbose {
            damaged.blocks.iter().for_each(|block| text += &format!("    {}\n", crate::text::line(block)));
        }
    }
    check.unchecked.iter().for_each(|line| text += &format!("not checked: {}\n", crate::text::line(line)));
    for (dataset, root) in &check.locked {
        let (dataset, root) = (crate::text::line(dataset), crate::text::line(root));
        text += &format!("{dataset}: the key of {root}, its encryption root, does not open it\n");
    }
    if check.not_listed > 0 {
        text += &format!("{} more are not listed\n", Count(check.not_listed, "damaged block"));
    }
    for (member, damage) in &check.members {
        let wrong = Count(damage.wrong, "place");
        text += &format!(
            "{}: corrupt data in {wrong}, {} unreadable\n",
            crate::text::line(member),
            damage.unreadable
        );
    }
    check.missing.iter().for_each(|member| {
        text += &format!("{} is missing: its copies were not checked\n", crate::text::line(member))
    });
    for (list, waiting) in check.waiting.iter().filter(|(_, waiting)| waiting.blocks > 0 || waiting.more) {
        let more = if waiting.more { " or more" } else { "" };
        let (blocks, size) = (Count(waiting.blocks, "block"), Size(waiting.bytes));
        text += &format!("not read: {blocks}{more}, {size}, waiting to be freed ({list})\n");
    }
    if let Some(references) = &check.references {
        text += &references_text(references);
    }
    if let Some((txg, blocks)) = check.checkpoint {
        text += &format!(
            "{CHECKPOINT} of transaction group {txg}: checked {} that only it references\n",
            Count(blocks, "block")
        );
    }
    let totals = &check.totals;
    text += &format!(
        "{}: checked {}, {} copies, {}\n",
        crate::text::line(name),
        Count(totals.blocks, "block"),
        totals.copies,
        Size(totals.bytes)
    );
    text
}

/// The wrong counts of references to cloned blocks.
fn references_text(references: &ReferenceCheck) -> String {
    let mut text = String::new();
    for wrong in &references.wrong {
        let places = if wrong.places.is_empty() { "unknown".to_owned() } else { wrong.places.join(", ") };
        let effect = match wrong.is_too_low() {
            true => "freeing one would lose the data of the others",
            false => "its space would never be freed",
        };
        text += &format!(
            "{}: block at offset {} of vdev {} has {}, but {} in its table: {effect}\n",
            crate::text::line(places),
            wrong.offset,
            wrong.vdev,
            Count(wrong.found, "reference"),
            wrong.recorded
        );
    }
    if references.not_listed > 0 {
        text +=
            &format!("{} of references are not listed\n", Count(references.not_listed, "more wrong count"));
    }
    references.sums.iter().for_each(|line| text += &format!("{}\n", crate::text::line(line)));
    text
}

fn references_json(references: &ReferenceCheck) -> Value {
    let wrong = references.wrong.iter().map(|wrong| {
        json!({
            "vdev": wrong.vdev,
            "offset": wrong.offset,
            "recorded": wrong.recorded,
            "found": wrong.found,
            "places": wrong.places,
        })
    });
    json!({
        "blocks": references.totals.entries,
        "used": references.totals.used_bytes,
        "saved": references.totals.saved_bytes,
        "wrong": wrong.collect::<Vec<_>>(),
        "not_listed": references.not_listed,
        "sums": references.sums,
    })
}

fn as_json(name: &str, check: &PoolCheck) -> Value {
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
        "bad_copies": totals.bad_copies,
        "lost_blocks": totals.lost_blocks,
        "damaged": check.damaged.iter().map(damaged_json).collect::<Vec<_>>(),
        "not_listed": check.not_listed,
        "unchecked": check.unchecked,
        "locked": check.locked.iter().map(|(dataset, root)| json!({ "dataset": dataset, "root": root })).collect::<Vec<_>>(),
        "members": members.collect::<Vec<_>>(),
        "missing": check.missing,
        "waiting": waiting.collect::<Vec<_>>(),
        "references": check.references.as_ref().map(references_json),
        "errata": super::errata_json(&check.errata),
        "checkpoint": check.checkpoint.map(|(txg, blocks)| json!({ "txg": txg.0, "blocks": blocks })),
    })
}

/// The paths of a damaged file, after the name of the dataset.
fn places(damaged: &Damaged) -> Vec<String> {
    let what = if damaged.what.is_empty() { String::new() } else { format!(" ({})", damaged.what) };
    match &damaged.paths[..] {
        [] => vec![format!("{}: {}", damaged.within, damaged.what)],
        paths => paths.iter().map(|path| format!("{}:{path}{what}", damaged.within)).collect(),
    }
}

/// The extent of the damage.
fn summary(damaged: &Damaged) -> String {
    let mut parts = Vec::new();
    if damaged.is_lost {
        parts.push("lost".to_owned());
    } else if !damaged.lost.is_empty() {
        let shown = damaged.lost.iter().take(RANGES_SHOWN);
        let shown: Vec<_> = shown.map(|range| format!("{}-{}", range.start, range.end - 1)).collect();
        let more = match damaged.lost.len().saturating_sub(RANGES_SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        parts.push(format!("bytes {}{more} lost", shown.join(", ")));
    }
    let repairable = damaged.blocks.iter().filter(|block| !block.is_lost()).count();
    if repairable > 0 {
        parts.push(format!("{} damaged but readable", Count(repairable as u64, "block")));
    }
    parts.join("; ")
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
