//! The estimated size of a send, in the format of `zfs send -v` and `-P`.

use std::io::Write as _;

use zstream_dsl::prop::{nice_bytes, nice_number};
use zstream_send::job::Step;

/// Text with one line per snapshot, and one for the total.
pub(super) struct Report {
    /// For programs: exact numbers.
    pub(super) parsable: bool,
    /// True if several snapshots were requested (`-R`, `-I`).
    pub(super) is_many: bool,
    /// The text so far.
    pub(super) text: Vec<u8>,
}

impl Report {
    /// Adds the line of one snapshot. The source of the increment has its full name if the snapshot is the only one.
    pub(super) fn step(&mut self, step: &Step, size: u64) {
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
    pub(super) fn total(&mut self, size: u64) {
        match (self.parsable, self.is_many) {
            (true, _) => self.columns(&["size", &size.to_string()]),
            (false, true) => self.line(format_args!("total estimated size is {}", nice_bytes(size))),
            (false, false) => self.line(format_args!("total estimated size is {}", nice_number(size))),
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = writeln!(self.text, "{}", crate::text::line(line));
    }

    fn columns(&mut self, cells: &[&str]) {
        let _ = writeln!(self.text, "{}", crate::text::columns(cells));
    }
}
