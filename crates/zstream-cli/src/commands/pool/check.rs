//! `zstream pool check`: every copy of every block, and which files the damaged ones belong to.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};
use zstream_dmu::error::{Error, Fault};
use zstream_dmu::ids::Txg;
use zstream_dmu::pool::check::{self, Finding, Item, Totals};
use zstream_dmu::pool::checkpoint::Checkpointed;
use zstream_dmu::vdev::DamageCause;
use zstream_dsl::keys::CryptoKey;
use zstream_dsl::lines::Lines;
use zstream_dsl::pool::Dsl;
use zstream_dsl::scrub::{self, Blocks, Part};

use super::damage::{self, Block, Damaged};
use crate::failure::Failure;
use crate::output;
use crate::pool::{OpenPool, PoolOptions};
use crate::progress::Meter;
use crate::text::{Count, Size};

/// Damaged blocks that are kept to name their files; those beyond it are counted only.
const BLOCKS_KEPT: usize = 1 << 20;
/// What stands before what only the checkpoint has.
const CHECKPOINT: &str = "checkpoint";

/// How the outcome is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// As one JSON object.
    pub(super) json: bool,
    /// With every block and copy.
    pub(super) verbose: bool,
}

/// All that a check found.
#[derive(Default)]
struct Outcome {
    totals: Totals,
    blocks: Vec<(Part, Block)>,
    /// Damaged blocks that were not kept.
    more: u64,
    unreachable: Vec<(Part, Error)>,
    /// By the name of the member: places that cannot be read, and places that hold something else.
    members: BTreeMap<String, (u64, u64)>,
    waiting: BTreeMap<&'static str, Waiting>,
    /// The checkpoint's transaction group, and the blocks that only it has.
    checkpoint: Option<(Txg, u64)>,
    /// Datasets that the key of their encryption root does not open, with that.
    locked: Vec<(String, String)>,
}

/// Blocks that wait to be freed and are not read.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    blocks: u64,
    /// Stored bytes of all copies.
    bytes: u64,
    /// Whether there may be more: not all of the list could be read.
    more: bool,
}

impl Waiting {
    fn count(&mut self, blocks: Blocks<'_>) {
        for block in blocks {
            match block {
                Ok(Item { pointer, .. }) => {
                    self.blocks += 1;
                    self.bytes += pointer.psize() * pointer.dvas().count() as u64;
                }
                Err(_) => self.more = true,
            }
        }
    }
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

/// A state of the pool: as it is, or as its checkpoint keeps it.
struct State<'a> {
    open: &'a OpenPool,
    lines: Lines,
    /// The only blocks that are checked; all if not said.
    only: Option<&'a Checkpointed>,
}

impl State<'_> {
    fn part_name(&self, part: Part) -> String {
        match part {
            Part::Mos => "pool metadata".to_owned(),
            Part::Dataset(n) => self.lines.datasets()[n].name().to_owned(),
            Part::Log(n) => format!("{}: intent log", self.lines.datasets()[n].name()),
            Part::Freeing(list) => format!("waiting to be freed ({list})"),
        }
    }

    /// Reads the blocks, and adds what is found to `outcome`; gives what names the damaged files, and what was not checked.
    fn check(
        &self,
        options: &PoolOptions,
        meter: &mut Meter,
        outcome: &mut Outcome,
    ) -> (Vec<Damaged>, Vec<String>) {
        let mut totals = outcome.totals;
        let parts = scrub::parts(&self.open.pool, &self.lines, &mut |part, blocks| {
            if let Part::Freeing(list) = part {
                // Nobody reads these any more, and some were freed before they were written.
                if self.only.is_none() {
                    outcome.waiting.entry(list).or_default().count(blocks);
                }
                return;
            }
            let is_wanted = |item: &Item| self.only.is_none_or(|only| only.has(&item.pointer));
            let blocks = blocks.filter(|block| block.as_ref().map_or(true, is_wanted));
            let mut done = totals.bytes;
            let mut found = |finding| outcome.take(part, finding);
            check::check(self.open.pool.reader(), blocks, &mut totals, &mut found, &mut |totals| {
                meter.add(usize::try_from(totals.bytes - done).unwrap_or(usize::MAX));
                done = totals.bytes;
                true
            });
        });
        outcome.totals = totals;
        let damaged = damage::assign(self.open, options, &self.lines, &std::mem::take(&mut outcome.blocks));
        let unreachable = std::mem::take(&mut outcome.unreachable);
        let unchecked = unreachable
            .iter()
            .map(|(part, error)| format!("{}: {error}", self.part_name(*part)))
            .chain(self.lines.failures().iter().map(ToString::to_string))
            // What lists that comes last.
            .chain(parts.err().map(|error| format!("waiting to be freed: {error}")))
            .collect();
        (damaged, unchecked)
    }
}

/// Runs the check and prints what it finds.
pub(super) fn run(open: &OpenPool, options: &PoolOptions, form: Form) -> Result<(), Failure> {
    let mut outcome = Outcome::default();
    let used = open.dsl.root()?.phys().used_bytes;
    // What it has to itself is known without it.
    let kept = open.pool.checkpointed();
    let mut meter = Meter::new(Some(used + kept.as_ref().map_or(0, Checkpointed::bytes)));
    let now = State { open, lines: Lines::new(&open.dsl)?, only: None };
    let (mut damaged, mut unchecked) = now.check(options, &mut meter, &mut outcome);
    match kept
        .map_err(Failure::from)
        .and_then(|kept| checkpoint(open, options, &kept, &mut meter, &mut outcome))
    {
        Ok((more, not)) => {
            damaged.extend(more.into_iter().map(|damaged| damaged.inside(CHECKPOINT)));
            unchecked.extend(not.iter().map(|not| format!("{CHECKPOINT}: {not}")));
        }
        Err(error) => unchecked.push(format!("{CHECKPOINT}: {}", error.message())),
    }
    drop(meter);
    match locked(open, options) {
        Ok(locked) => outcome.locked = locked,
        Err(error) => unchecked.push(format!("keys: {}", error.message())),
    }
    let (name, missing) = (open.pool.name(), open.missing());
    let text = if form.json {
        format!("{}\n", as_json(name, &outcome, &damaged, &unchecked, &missing))
    } else {
        as_text(name, &outcome, &damaged, &unchecked, &missing, form.verbose)
    };
    let mut out = output::text()?;
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))?;
    let totals = outcome.totals;
    let is_whole = totals.is_clean() && unchecked.is_empty();
    if is_whole && outcome.locked.is_empty() {
        return Ok(());
    }
    if is_whole {
        let locked = Count(outcome.locked.len() as u64, "dataset");
        return Err(Failure::new(format_args!("{name}: no block is damaged, but {locked} cannot be opened")));
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

/// The datasets that the key of their encryption root does not open, as far as that key is the one that is given, each with
/// that root; and those whose encryption root is not one.
fn locked(open: &OpenPool, options: &PoolOptions) -> Result<Vec<(String, String)>, Failure> {
    let (mut found, mut roots) = (Vec::new(), Vec::new());
    open.dsl.walk(&mut |dir| {
        let Some(keys) = CryptoKey::of(dir)? else { return Ok(()) };
        if keys.root == dir.object() {
            roots.push(Arc::clone(dir));
            return Ok(());
        }
        let root = open.dsl.dir_by_object(keys.root)?;
        if CryptoKey::of(&root)?.is_none_or(|keys| keys.root != root.object()) {
            found.push((dir.name().to_owned(), root.name().to_owned()));
        }
        Ok(())
    })?;
    if !options.has_key_file() {
        return Ok(found);
    }
    for root in roots {
        match open.dsl.open_keys(&root, &options.key(root.name())?) {
            Ok(opened) => {
                let names = opened.locked.iter().map(|dir| dir.name().to_owned());
                found.extend(names.map(|name| (name, root.name().to_owned())));
            }
            // It is the key of another one.
            Err(error) if matches!(error.fault(), Fault::WrongKey | Fault::Invalid(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// Checks what only the checkpoint has, where there is one.
fn checkpoint(
    open: &OpenPool,
    options: &PoolOptions,
    kept: &Checkpointed,
    meter: &mut Meter,
    outcome: &mut Outcome,
) -> Result<(Vec<Damaged>, Vec<String>), Failure> {
    let Some(pool) = open.pool.checkpoint()? else { return Ok(Default::default()) };
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::clone(open.dsl.keyring()))?;
    let then = OpenPool { pool, dsl };
    let (txg, before) = (then.pool.txg(), outcome.totals.blocks);
    let state = State { lines: Lines::new(&then.dsl)?, open: &then, only: Some(kept) };
    let found = state.check(options, meter, outcome);
    outcome.checkpoint = Some((txg, outcome.totals.blocks - before));
    Ok(found)
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
    for (dataset, root) in &outcome.locked {
        text += &format!("{dataset}: the key of {root}, its encryption root, does not open it\n");
    }
    if outcome.more > 0 {
        text += &format!("{} more are not listed\n", Count(outcome.more, "damaged block"));
    }
    for (member, (unreadable, wrong)) in &outcome.members {
        text += &format!("{member}: wrong data in {}, {} unreadable\n", Count(*wrong, "place"), unreadable);
    }
    missing.iter().for_each(|member| text += &format!("{member} is missing: its copies were not checked\n"));
    for (list, waiting) in outcome.waiting.iter().filter(|(_, waiting)| waiting.blocks > 0 || waiting.more) {
        let more = if waiting.more { " or more" } else { "" };
        let (blocks, size) = (Count(waiting.blocks, "block"), Size(waiting.bytes));
        text += &format!("not read: {blocks}{more}, {size}, waiting to be freed ({list})\n");
    }
    if let Some((txg, blocks)) = outcome.checkpoint {
        text += &format!(
            "{CHECKPOINT} of transaction group {txg}: checked {} of its own\n",
            Count(blocks, "block")
        );
    }
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
    let waiting = outcome.waiting.iter().map(|(list, waiting)| {
        json!({ "list": list, "blocks": waiting.blocks, "bytes": waiting.bytes, "complete": !waiting.more })
    });
    let locked = outcome.locked.iter().map(|(dataset, root)| json!({ "dataset": dataset, "root": root }));
    json!({
        "pool": name,
        "ok": totals.is_clean() && unchecked.is_empty() && outcome.locked.is_empty(),
        "blocks": totals.blocks,
        "copies": totals.copies,
        "bytes": totals.bytes,
        "bad_copies": totals.bad_copies,
        "lost_blocks": totals.lost_blocks,
        "damaged": damaged.iter().map(Damaged::json).collect::<Vec<_>>(),
        "not_listed": outcome.more,
        "unchecked": unchecked,
        "locked": locked.collect::<Vec<_>>(),
        "members": members.collect::<Vec<_>>(),
        "missing": missing,
        "waiting": waiting.collect::<Vec<_>>(),
        "checkpoint": outcome.checkpoint.map(|(txg, blocks)| json!({ "txg": txg.0, "blocks": blocks })),
    })
}
