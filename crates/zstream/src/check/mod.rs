//! A check of every copy of every block of a pool, which names the damaged files.

mod damage;
mod references;
mod shared;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use zstream_dmu::error::{Error as PoolError, Fault};
use zstream_dmu::ids::Txg;
use zstream_dmu::pool::Checkpointed;
use zstream_dmu::pool::check::{self, Finding, Item, NotShared, SharedBlocks, Totals};
use zstream_dmu::vdev::DamageCause;
use zstream_dsl::scrub::{self, Blocks, Lines, Part};
use zstream_dsl::{CryptoKey, Dsl, Erratum};

pub use self::damage::{Damaged, DamagedBlock};
use self::references::Counting;
pub use self::references::{ReferenceCheck, WrongCount};

use crate::control::{Control, Event};
use crate::error::{Error, Result};
use crate::place::keys::key;
use crate::place::{Keys, OpenPool};

/// The maximum number of damaged blocks whose files are named; more are only counted.
const BLOCKS_KEPT: usize = 1 << 20;
/// The prefix of names in the checkpoint.
pub const CHECKPOINT: &str = "checkpoint";

/// Everything that a check found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct PoolCheck {
    /// Counts of blocks and copies.
    pub totals: Totals,
    /// Files and other objects with damaged blocks.
    pub damaged: Vec<Damaged>,
    /// Damaged blocks whose files are not in `damaged`, because there are too many.
    pub not_listed: u64,
    /// Parts that could not be traversed, and therefore were not checked.
    pub unchecked: Vec<String>,
    /// Damage by the name of the member.
    pub members: BTreeMap<String, MemberDamage>,
    /// Names of the members that are missing: their copies were not checked.
    pub missing: Vec<String>,
    /// Blocks waiting to be freed, which were not read, by their list.
    pub waiting: BTreeMap<&'static str, Waiting>,
    /// The checkpoint's transaction group, and the number of blocks that only it references.
    pub checkpoint: Option<(Txg, u64)>,
    /// Datasets that the available key of their encryption root does not open, with that root.
    pub locked: Vec<(String, String)>,
    /// The references to cloned and deduplicated blocks, if the pool has any. `None` as well if they could not be counted.
    pub references: Option<ReferenceCheck>,
    /// Errata of the pool, with the names of the datasets that have them.
    pub errata: BTreeMap<Erratum, Vec<String>>,
}

impl PoolCheck {
    /// True if everything was checked and is intact.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.totals.is_clean()
            && self.unchecked.is_empty()
            && self.locked.is_empty()
            && self.references.as_ref().is_none_or(ReferenceCheck::is_clean)
    }
}

/// Damage on one member of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberDamage {
    /// The number of unreadable locations.
    pub unreadable: u64,
    /// The number of locations with corrupt data.
    pub wrong: u64,
}

/// The findings while blocks are read.
#[derive(Default)]
struct Outcome {
    check: PoolCheck,
    blocks: Vec<(Part, DamagedBlock)>,
    unreachable: Vec<(Part, PoolError)>,
}

/// Blocks waiting to be freed, which are not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// The number of blocks.
    pub blocks: u64,
    /// Stored bytes of all copies.
    pub bytes: u64,
    /// There may be more: a part of the list could not be read.
    pub more: bool,
}

impl Waiting {
    fn count(&mut self, blocks: Blocks<'_>, shared: &mut dyn SharedBlocks) {
        for block in blocks {
            match block {
                Ok(item) => {
                    shared.refer(&item);
                    let pointer = item.pointer;
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
            Finding::Block { at, pointer, check, is_repeated } => {
                let bad = if is_repeated { &[][..] } else { &check.bad };
                for damage in bad.iter().flat_map(|copy| &copy.damage) {
                    let member = self.check.members.entry(damage.vdev.clone()).or_default();
                    match damage.cause {
                        DamageCause::Unreadable => member.unreadable += 1,
                        DamageCause::Wrong => member.wrong += 1,
                    }
                }
                if self.blocks.len() < BLOCKS_KEPT {
                    self.blocks.push((part, DamagedBlock { at, pointer, check }));
                } else {
                    self.check.not_listed += 1;
                }
            }
            Finding::Unreachable(error) => {
                // Below a lost block nothing can be reached: that one is known.
                let at = error.place().bookmark;
                let known = |(known, block): &(Part, DamagedBlock)| {
                    *known == part && Some(block.at) == at && block.check.readable == 0
                };
                if !self.blocks.iter().rev().any(known) && self.unreachable.len() < BLOCKS_KEPT {
                    self.unreachable.push((part, error));
                }
            }
        }
    }
}

/// A state of the pool: the current one, or the checkpoint.
struct CheckedState<'a> {
    open: &'a OpenPool,
    lines: Lines,
    /// The blocks to check; all if `None`.
    only: Option<&'a Checkpointed>,
}

impl CheckedState<'_> {
    fn part_name(&self, part: Part) -> String {
        match part {
            Part::Mos => "pool metadata".to_owned(),
            Part::Dataset(n) => self.lines.datasets()[n].name().to_owned(),
            Part::Log(n) => format!("{}: intent log", self.lines.datasets()[n].name()),
            Part::Freeing(list) => format!("waiting to be freed ({list})"),
        }
    }

    /// Reads the blocks and adds the findings to `outcome`; returns the damaged files and the parts that were not
    /// checked.
    fn check(
        &self,
        keys: &dyn Keys,
        control: &mut Control<'_>,
        outcome: &mut Outcome,
        shared: &mut dyn SharedBlocks,
    ) -> Result<(Vec<Damaged>, Vec<String>)> {
        let mut totals = outcome.check.totals;
        let parts = scrub::parts(&self.open.pool, &self.lines, &mut |part, blocks| {
            if control.is_cancelled() {
                return;
            }
            if let Part::Freeing(list) = part {
                // Nobody reads these any more, and some were freed before they were written.
                if self.only.is_none() {
                    outcome.check.waiting.entry(list).or_default().count(blocks, shared);
                }
                return;
            }
            let is_wanted = |item: &Item| self.only.is_none_or(|only| only.has(&item.pointer));
            let blocks = blocks.filter(|block| block.as_ref().map_or(true, is_wanted));
            let mut done = totals.bytes + totals.repeated_bytes;
            let mut found = |finding| outcome.take(part, finding);
            check::check(self.open.pool.reader(), blocks, shared, &mut totals, &mut found, &mut |totals| {
                // Datasets use the space of shared blocks once for each reference.
                let now = totals.bytes + totals.repeated_bytes;
                control.event(Event::Bytes(now - done));
                done = now;
                !control.is_cancelled()
            });
        });
        outcome.check.totals = totals;
        control.cancel().check()?;
        let damaged = damage::assign(self.open, keys, &self.lines, &std::mem::take(&mut outcome.blocks));
        let unreachable = std::mem::take(&mut outcome.unreachable);
        let unchecked = unreachable
            .iter()
            .map(|(part, error)| format!("{}: {error}", self.part_name(*part)))
            .chain(self.lines.failures().iter().map(ToString::to_string))
            // The lists of these blocks come last.
            .chain(parts.err().map(|error| format!("waiting to be freed: {error}")))
            .collect();
        Ok((damaged, unchecked))
    }
}

/// Reads every copy of every block, like a scrub that repairs nothing, and names the damaged files.
///
/// Reads the copies on all members, parity, intent logs, and blocks that only the pool's checkpoint references.
/// Encrypted datasets do not require a key; with available keys their files are named.
///
/// Damage is not an error: see [`PoolCheck::is_clean`].
///
/// # Errors
/// The pool cannot be read at all; it was cancelled.
pub fn check_pool(open: &OpenPool, keys: &dyn Keys, control: &mut Control<'_>) -> Result<PoolCheck> {
    let mut outcome = Outcome::default();
    let used = open.dsl.root()?.phys().used_bytes;
    // The blocks that only the checkpoint references are known without reading it.
    let kept = open.pool.checkpointed();
    control.event(Event::Total(used + kept.as_ref().map_or(0, Checkpointed::bytes)));
    let now = CheckedState { open, lines: Lines::new(&open.dsl)?, only: None };
    let mut counting = Counting::begin(open);
    let mut references = None;
    let (mut damaged, mut unchecked) = match &mut counting {
        Ok(Some(counting)) => now.check(keys, control, &mut outcome, counting)?,
        Ok(None) | Err(_) => now.check(keys, control, &mut outcome, &mut NotShared)?,
    };
    match counting.and_then(|counting| counting.map(|counting| counting.finish(&now.lines, keys)).transpose())
    {
        // A reference may be in a part that was not read.
        Ok(Some(_)) if !unchecked.is_empty() => unchecked.push("references to shared blocks".to_owned()),
        Ok(found) => references = found,
        Err(error) => unchecked.push(format!("references to shared blocks: {error}")),
    }
    match kept
        .map_err(Error::from)
        .and_then(|kept| check_checkpoint(open, keys, &kept, control, &mut outcome))
    {
        Ok((more, not)) => {
            damaged.extend(more.into_iter().map(|damaged| damaged.inside(CHECKPOINT)));
            unchecked.extend(not.iter().map(|not| format!("{CHECKPOINT}: {not}")));
        }
        Err(Error::Cancelled) => return Err(Error::Cancelled),
        Err(error) => unchecked.push(format!("{CHECKPOINT}: {error}")),
    }
    unchecked.extend(open.pool.notices().iter().map(ToString::to_string));
    let locked = locked(open, keys).unwrap_or_else(|error| {
        unchecked.push(format!("keys: {error}"));
        Vec::new()
    });
    let errata = Erratum::of_pool(&now.lines);
    Ok(PoolCheck { damaged, unchecked, missing: open.missing(), locked, references, errata, ..outcome.check })
}

/// The datasets that the available key of their encryption root does not open, each with that root, and those whose
/// recorded encryption root is not an encryption root.
fn locked(open: &OpenPool, keys: &dyn Keys) -> Result<Vec<(String, String)>> {
    let (mut found, mut roots) = (Vec::new(), Vec::new());
    open.dsl.walk(&mut |dir| {
        let Some(of_dir) = CryptoKey::of(dir)? else { return Ok(()) };
        if of_dir.root == dir.object() {
            roots.push(Arc::clone(dir));
            return Ok(());
        }
        let root = open.dsl.dir_by_object(of_dir.root)?;
        if CryptoKey::of(&root)?.is_none_or(|keys| keys.root != root.object()) {
            found.push((dir.name().to_owned(), root.name().to_owned()));
        }
        Ok(())
    })?;
    if !keys.is_at_hand() {
        return Ok(found);
    }
    for root in roots {
        match open.dsl.open_keys(&root, &key(keys, root.name())?) {
            Ok(opened) => {
                let names = opened.locked.iter().map(|dir| dir.name().to_owned());
                found.extend(names.map(|name| (name, root.name().to_owned())));
            }
            // It is the key of another one.
            Err(error) if matches!(error.pool_fault(), Some(Fault::WrongKey | Fault::BadKey(_))) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// Checks the blocks that only the checkpoint references, if there is one.
fn check_checkpoint(
    open: &OpenPool,
    keys: &dyn Keys,
    kept: &Checkpointed,
    control: &mut Control<'_>,
    outcome: &mut Outcome,
) -> Result<(Vec<Damaged>, Vec<String>)> {
    let Some(pool) = open.pool.checkpoint()? else { return Ok(Default::default()) };
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::clone(open.dsl.keyring()))?;
    let then = OpenPool { pool, dsl };
    let (txg, before) = (then.pool.txg(), outcome.check.totals.blocks);
    let state = CheckedState { lines: Lines::new(&then.dsl)?, open: &then, only: Some(kept) };
    // If its tables cannot be read, each block is read for each reference.
    let found = match Counting::begin(&then) {
        Ok(Some(mut counting)) => state.check(keys, control, outcome, &mut counting)?,
        Ok(None) | Err(_) => state.check(keys, control, outcome, &mut NotShared)?,
    };
    outcome.check.checkpoint = Some((txg, outcome.check.totals.blocks - before));
    Ok(found)
}
