//! `zstream pool check`: every copy of every block, and which files the damaged ones belong to.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};
use zstream_dmu::error::Error;
use zstream_dmu::pool::check::{self, Finding, Totals};
use zstream_dmu::vdev::DamageCause;
use zstream_dsl::lines::Lines;
use zstream_dsl::scrub::{self, Part};

use super::damage::{self, Block, Damaged};
use crate::failure::Failure;
use crate::output;
use crate::pool::{OpenPool, PoolOptions};
use crate::progress::Meter;
use crate::text::{Count, Size};

/// Damaged blocks that are kept to name their files; those beyond it are counted only.
const BLOCKS_KEPT: usize = 1 << 20;

/// How the outcome is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// As one JSON object.
    pub(super) json: bool,
    /// With every block and copy.
    pub(super) verbose: bool,
}

/// All that a check found.
struct Outcome {
    totals: Totals,
    blocks: Vec<(Part, Block)>,
    /// Damaged blocks that were not kept.
    more: u64,
    unreachable: Vec<(Part, Error)>,
    /// By the name of the member: places that cannot be read, and places that hold something else.
    members: BTreeMap<String, (u64, u64)>,
}

impl Outcome {
    fn take(&mut self, part: Part, finding: Finding) {
        match finding {
            Finding::Block { at, pointer, check } => {
                for damage in check.bad.iter().flat_map(|copy| &copy.damage) {
                    let member = self.members.entry(damage.vdev.clone()).or_default();
                    match damage.cause {
                        DamageCause::Unreadable => member.0 += 1,
                        DamageCause::Wrong => member.1 += 1,
                    }
                }
                if self.blocks.len() < BLOCKS_KEPT {
                    self.blocks.push((part, Block { at, pointer, check: Arc::new(check) }));
                } else {
                    self.more += 1;
                }
            }
            Finding::Unreachable(error) => {
                // Below a lost block nothing can be reached: that one is known.
                let at = error.place().bookmark;
                let known = |(known, block): &(Part, Block)| {
                    *known == part && Some(block.at) == at && block.check.readable == 0
                };
                if !self.blocks.iter().rev().any(known) && self.unreachable.len() < BLOCKS_KEPT {
                    self.unreachable.push((part, error));
                }
            }
        }
    }
}

/// Runs the check and prints what it finds.
pub(super) fn run(open: &OpenPool, options: &PoolOptions, form: Form) -> Result<(), Failure> {
    let lines = Lines::new(&open.dsl)?;
    let outcome = examine(open, &lines)?;
    let name = open.pool.name();
    let damaged = damage::assign(open, options, &lines, &outcome.blocks);
    let missing = open.missing();
    let part_name = |part: Part| match part {
        Part::Mos => "pool metadata".to_owned(),
        Part::Dataset(n) => lines.datasets()[n].name().to_owned(),
        Part::Log(n) => format!("{}: intent log", lines.datasets()[n].name()),
        Part::Freeing(list) => format!("waiting to be freed ({list})"),
    };
    let unchecked: Vec<String> = outcome
        .unreachable
        .iter()
        .map(|(part, error)| format!("{}: {error}", part_name(*part)))
        .chain(lines.failures().iter().map(ToString::to_string))
        .collect();
    let text = if form.json {
        format!("{}\n", as_json(name, &outcome, &damaged, &unchecked, &missing))
    } else {
        as_text(name, &outcome, &damaged, &unchecked, &missing, form.verbose)
    };
    let mut out = output::text()?;
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))?;
    let totals = outcome.totals;
    if totals.is_clean() && unchecked.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format_args!(
        "{name}: {} of {} copies are damaged, {} lost{}",
        totals.bad_copies,
        totals.copies,
        Count(totals.lost_blocks, "block"),
        match unchecked.len() {
            0 => String::new(),
            count => format!(", {} could not be followed", Count(count as u64, "part")),
        }
    )))
}

fn examine(open: &OpenPool, lines: &Lines) -> Result<Outcome, Failure> {
    let mut outcome = Outcome {
        totals: Totals::default(),
        blocks: Vec::new(),
        more: 0,
        unreachable: Vec::new(),
        members: BTreeMap::new(),
    };
    let reader = open.pool.reader();
    let mut meter = Meter::new(Some(open.dsl.root()?.phys().used_bytes));
    let mut totals = Totals::default();
    scrub::parts(&open.pool, lines, &mut |part, blocks| {
        // Nobody reads these any more, and some were freed before they were written.
        if matches!(part, Part::Freeing(_)) {
            return;
        }
        let mut done = totals.bytes;
        let mut found = |finding| outcome.take(part, finding);
        check::check(reader, blocks, &mut totals, &mut found, &mut |totals| {
            meter.add(usize::try_from(totals.bytes - done).unwrap_or(usize::MAX));
            done = totals.bytes;
            true
        });
    })?;
    outcome.totals = totals;
    Ok(outcome)
}

fn as_text(
    name: &str,
    outcome: &Outcome,
    damaged: &[Damaged],
    unchecked: &[String],
    missing: &[String],
    verbose: bool,
) -> String {
    let mut text = String::new();
    for damaged in damaged {
        for place in damaged.places() {
            text += &format!("{place}: {}\n", damaged.summary());
        }
        if verbose {
            damaged.blocks.iter().for_each(|block| text += &format!("    {block}\n"));
        }
    }
    unchecked.iter().for_each(|line| text += &format!("not checked: {line}\n"));
    if outcome.more > 0 {
        text += &format!("{} more are not listed\n", Count(outcome.more, "damaged block"));
    }
    for (member, (unreadable, wrong)) in &outcome.members {
        text += &format!("{member}: wrong data in {}, {} unreadable\n", Count(*wrong, "place"), unreadable);
    }
    missing.iter().for_each(|member| text += &format!("{member} is missing: its copies were not checked\n"));
    let totals = &outcome.totals;
    text += &format!(
        "{name}: checked {}, {} copies, {}\n",
        Count(totals.blocks, "block"),
        totals.copies,
        Size(totals.bytes)
    );
    text
}

fn as_json(
    name: &str,
    outcome: &Outcome,
    damaged: &[Damaged],
    unchecked: &[String],
    missing: &[String],
) -> Value {
    let totals = &outcome.totals;
    let members = outcome
        .members
        .iter()
        .map(|(name, (unreadable, wrong))| json!({ "name": name, "unreadable": unreadable, "wrong": wrong }));
    json!({
        "pool": name,
        "ok": totals.is_clean() && unchecked.is_empty(),
        "blocks": totals.blocks,
        "copies": totals.copies,
        "bytes": totals.bytes,
        "bad_copies": totals.bad_copies,
        "lost_blocks": totals.lost_blocks,
        "damaged": damaged.iter().map(Damaged::json).collect::<Vec<_>>(),
        "not_listed": outcome.more,
        "unchecked": unchecked,
        "members": members.collect::<Vec<_>>(),
        "missing": missing,
    })
}
