//! The result of a check as text.

use super::{CHECKPOINT, PoolCheck, ReferenceCheck};
use crate::describe::errata_lines;
use crate::text::{Count, Size, line};

impl PoolCheck {
    /// What is wrong with the pool, in one sentence; `None` if everything was checked and is intact.
    #[must_use]
    pub fn fault(&self, pool: &str) -> Option<String> {
        if self.is_clean() {
            return None;
        }
        let totals = self.totals;
        if totals.is_clean()
            && self.unchecked.is_empty()
            && let Some(references) = self.references.as_ref().filter(|references| !references.is_clean())
        {
            let what = match references.wrong.len() as u64 + references.not_listed {
                0 => "the sums of the block reference tables are wrong".to_owned(),
                wrong => format!("the count of references is wrong for {}", Count(wrong, "block")),
            };
            return Some(format!("{pool}: no block is damaged, but {what}"));
        }
        if totals.is_clean() && self.unchecked.is_empty() {
            let locked = Count(self.locked.len() as u64, "dataset");
            return Some(format!("{pool}: no block is damaged, but {locked} cannot be opened"));
        }
        Some(format!(
            "{pool}: {} of {} copies are damaged, {} lost{}",
            totals.bad_copies,
            totals.copies,
            Count(totals.lost_blocks, "block"),
            match self.unchecked.len() {
                0 => String::new(),
                count => format!(", {} could not be checked", Count(count as u64, "part")),
            }
        ))
    }

    /// The result as lines of text, as `zstream pool check` prints it; if `verbose`, with every damaged block and copy.
    #[must_use]
    pub fn text(&self, pool: &str, verbose: bool) -> String {
        let mut text: String =
            errata_lines(&self.errata).iter().map(|erratum| format!("{}\n", line(erratum))).collect();
        for damaged in &self.damaged {
            for place in damaged.places() {
                text += &format!("{}: {}\n", line(place), line(damaged.extent()));
            }
            if verbose {
                damaged.blocks.iter().for_each(|block| text += &format!("    {}\n", line(block)));
            }
        }
        self.unchecked.iter().for_each(|part| text += &format!("not checked: {}\n", line(part)));
        for (dataset, root) in &self.locked {
            let (dataset, root) = (line(dataset), line(root));
            text += &format!("{dataset}: the key of {root}, its encryption root, does not open it\n");
        }
        if self.not_listed > 0 {
            text += &format!("{} more are not listed\n", Count(self.not_listed, "damaged block"));
        }
        for (member, damage) in &self.members {
            let wrong = Count(damage.wrong, "place");
            text += &format!("{}: corrupt data in {wrong}, {} unreadable\n", line(member), damage.unreadable);
        }
        self.missing.iter().for_each(|member| {
            text += &format!("{} is missing: its copies were not checked\n", line(member))
        });
        for (list, waiting) in self.waiting.iter().filter(|(_, waiting)| waiting.blocks > 0 || waiting.more) {
            let more = if waiting.more { " or more" } else { "" };
            let (blocks, size) = (Count(waiting.blocks, "block"), Size(waiting.bytes));
            text += &format!("not read: {blocks}{more}, {size}, waiting to be freed ({list})\n");
        }
        if let Some(references) = &self.references {
            text += &references.text();
        }
        if let Some((txg, blocks)) = self.checkpoint {
            text += &format!(
                "{CHECKPOINT} of transaction group {txg}: checked {} that only it references\n",
                Count(blocks, "block")
            );
        }
        let totals = &self.totals;
        let repeated = match totals.repeated {
            0 => String::new(),
            more => format!("; {} to them", Count(more, "more reference")),
        };
        text += &format!(
            "{}: checked {}, {} copies, {}{repeated}\n",
            line(pool),
            Count(totals.blocks, "block"),
            totals.copies,
            Size(totals.bytes)
        );
        text
    }
}

impl ReferenceCheck {
    /// The wrong counts, a line for each.
    fn text(&self) -> String {
        let mut text = String::new();
        for wrong in &self.wrong {
            let places = if wrong.places.is_empty() { "unknown".to_owned() } else { wrong.places.join(", ") };
            let effect = match wrong.is_too_low() {
                true => "freeing one would lose the data of the others",
                false => "its space would never be freed",
            };
            text += &format!(
                "{}: block at offset {} of vdev {} has {}, but {} in its table: {effect}\n",
                line(places),
                wrong.offset,
                wrong.vdev,
                Count(wrong.found, "reference"),
                wrong.recorded
            );
        }
        if self.not_listed > 0 {
            text += &format!("{} of references are not listed\n", Count(self.not_listed, "more wrong count"));
        }
        self.sums.iter().for_each(|sum| text += &format!("{}\n", line(sum)));
        text
    }
}
