//! `zstream pool check`: verifies every copy of every block, and names the damaged files.

use zstream::OpenPool;
use zstream::check::{CHECKPOINT, PoolCheck, ReferenceCheck, check_pool};
use zstream::describe::errata_lines;

use crate::failure::Failure;
use crate::output;
use crate::pool::PoolOptions;
use crate::progress::Meter;
use crate::text::{Count, Size};

/// The form of the output.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckFormat {
    /// As one JSON object.
    pub(super) json: bool,
    /// With every block and copy.
    pub(super) verbose: bool,
}

/// Runs the check and prints what it finds.
pub(super) fn run(open: &OpenPool, options: &PoolOptions, form: CheckFormat) -> Result<(), Failure> {
    let check = check_pool(open, options, &mut Meter::new(None).control())?;
    let name = open.pool.name();
    let text = if form.json {
        format!("{}\n", zstream::json::check(name, &check))
    } else {
        as_text(name, &check, form.verbose)
    };
    output::print(&text)?;
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
        errata_lines(&check.errata).iter().map(|line| format!("{}\n", crate::text::line(line))).collect();
    for damaged in &check.damaged {
        for place in damaged.places() {
            text += &format!("{}: {}\n", crate::text::line(place), crate::text::line(damaged.extent()));
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
