//! Sizes and progress of a send, and events of a receive, as text in the format of `zfs`.

use std::fmt::Write as _;
use std::io::Write as _;

use zstream_dsl::prop::{nice_bytes, nice_number};
use zstream_recv::Note;
use zstream_send::job::Step;

use crate::text::{Clock, columns, line};

/// The estimated sizes of a send as text, in the format of `zfs send -v` and `-P`: a line for each snapshot, and one for the total.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SizeReport {
    /// For programs: exact numbers.
    pub parsable: bool,
    /// True if several snapshots were requested (`-R`, `-I`).
    pub is_many: bool,
    /// The text so far.
    pub text: Vec<u8>,
}

impl SizeReport {
    /// An empty report: for programs, and of several snapshots.
    #[must_use]
    pub fn new(parsable: bool, is_many: bool) -> Self {
        Self { parsable, is_many, text: Vec::new() }
    }

    /// Adds the line of one snapshot. The source of the increment has its full name if the snapshot is the only one.
    pub fn step(&mut self, step: &Step, size: u64) {
        let from = step.from.as_ref().filter(|_| !step.from_origin);
        let from = from.map(|from| if self.is_many { from.short_name() } else { from.name() });
        let name = &step.name;
        if self.parsable {
            let size = size.to_string();
            return match from {
                Some(from) => self.columns(&["incremental", from, name, &size]),
                None => self.columns(&["full", name, &size]),
            };
        }
        let kind = match from {
            Some(from) if from.contains(['@', '#']) => format!("send from {from} to {name}"),
            Some(from) => format!("send from @{from} to {name}"),
            None => format!("full send of {name}"),
        };
        let size = match size {
            0 => String::new(),
            size => format!(" estimated size is {}", nice_bytes(size)),
        };
        self.line(format_args!("{kind}{size}"));
    }

    /// Adds the line of the total.
    pub fn total(&mut self, size: u64) {
        match (self.parsable, self.is_many) {
            (true, _) => self.columns(&["size", &size.to_string()]),
            (false, true) => self.line(format_args!("total estimated size is {}", nice_bytes(size))),
            (false, false) => self.line(format_args!("total estimated size is {}", nice_number(size))),
        }
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = writeln!(self.text, "{}", line(text));
    }

    fn columns(&mut self, cells: &[&str]) {
        let _ = writeln!(self.text, "{}", columns(cells));
    }
}

/// The progress of a send at one time.
#[derive(Clone, Copy, Debug)]
pub struct SecondReport<'a> {
    /// The time.
    pub clock: Clock,
    /// Bytes of the snapshot that were sent.
    pub bytes: u64,
    /// Blocks of it that were read, if they are to be shown (`-vv`).
    pub blocks: Option<u64>,
    /// The snapshot.
    pub snapshot: &'a str,
}

impl SecondReport<'_> {
    /// The heading of the lines for people.
    #[must_use]
    pub fn heading(with_blocks: bool, snapshot: &str) -> String {
        let blocks = if with_blocks { "   BLOCKS    " } else { "" };
        format!("TIME        SENT   {blocks}SNAPSHOT {snapshot}")
    }

    /// The columns of the line; for people it is one.
    #[must_use]
    pub fn columns(&self, parsable: bool) -> Vec<String> {
        let Self { clock, bytes, snapshot, .. } = self;
        match (self.blocks, parsable) {
            (Some(blocks), true) => {
                vec![clock.to_string(), bytes.to_string(), blocks.to_string(), (*snapshot).to_owned()]
            }
            (Some(blocks), false) => {
                vec![format!("{clock}   {:>5}    {blocks:>8}    {snapshot}", nice_number(*bytes))]
            }
            (None, true) => vec![clock.to_string(), bytes.to_string(), (*snapshot).to_owned()],
            (None, false) => vec![format!("{clock}   {:>5}   {snapshot}", nice_bytes(*bytes))],
        }
    }
}

/// The title of the process of a send, which fits into 15 bytes: `send 42% 1.25G`.
#[must_use]
pub fn title(bytes: u64, total_bytes: u64) -> String {
    let mut title = String::from("send ");
    if let Some(percent) = bytes.saturating_mul(100).checked_div(total_bytes) {
        // Writing to a `String` does not fail.
        let _ = write!(title, "{}% ", percent.min(100));
    }
    title + &nice_number(bytes)
}

/// The line of `zfs receive -v` about an event of a receive, in a dry run or a corrective receive; `None` if it has none.
#[must_use]
pub fn receive_line(note: &Note, dry_run: bool, heal: bool) -> Option<String> {
    let verb = |planned: &str, done: &str| match dry_run {
        true => format!("would {planned}"),
        false => done.to_owned(),
    };
    Some(match note {
        Note::Begins { from, to, is_incremental } => {
            let heal = if heal { "corrective " } else { "" };
            let kind = if *is_incremental { "incremental" } else { "full" };
            format!("{} {heal}{kind} stream of {from} into {to}", verb("receive", "receiving"))
        }
        Note::Ignored(name) => format!("snap {name} already exists; ignoring"),
        Note::Origin(name) => format!("found clone origin {name}"),
        Note::Renamed { from, to } => format!("{} {from} to {to}", verb("rename", "renamed")),
        Note::Destroyed(name) => format!("{} {name}", verb("destroy", "destroyed")),
        Note::Promoted(name) => format!("{} {name}", verb("promote", "promoted")),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `zfs send -v`, `-vv` and `-P` with them print.
    #[test]
    fn lines_are_those_of_zfs() {
        let clock = Clock { hour: 7, minute: 5, second: 9 };
        let line = |blocks: bool, parsable| {
            SecondReport { clock, bytes: 5 << 20, blocks: blocks.then_some(41), snapshot: "tank/fs@a" }
                .columns(parsable)
                .join("\t")
        };
        assert_eq!(line(false, false), "07:05:09      5M   tank/fs@a");
        assert_eq!(line(true, false), "07:05:09      5M          41    tank/fs@a");
        assert_eq!(line(false, true), "07:05:09\t5242880\ttank/fs@a");
        assert_eq!(line(true, true), "07:05:09\t5242880\t41\ttank/fs@a");
    }

    /// The kernel keeps 15 bytes of a name.
    #[test]
    fn titles_are_short() {
        assert_eq!(title(0, 0), "send 0");
        assert_eq!(title(1 << 30, 0), "send 1G");
        assert_eq!(title(1234 << 20, 2468 << 20), "send 50% 1.21G");
        // Estimates can be too low.
        assert_eq!(title(1023 << 20, 1 << 20), "send 100% 1023M");
        assert!(title(u64::MAX - 1, u64::MAX).len() <= 15);
    }

    #[test]
    fn totals_are_those_of_zfs() {
        let total = |parsable, is_many, size| {
            let mut report = SizeReport::new(parsable, is_many);
            report.total(size);
            String::from_utf8(report.text).unwrap()
        };
        assert_eq!(total(true, false, 1536), "size\t1536\n");
        assert_eq!(total(false, false, 1000), "total estimated size is 1000\n");
        assert_eq!(total(false, true, 1000), "total estimated size is 1000B\n");
    }
}
