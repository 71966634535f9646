//! The progress of a send, reported every second: in the lines of `zfs send -v`, as a bar on a terminal, as the
//! process title.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use zstream_dsl::prop::{nice_bytes, nice_number};
use zstream_send::Progress;

use crate::progress::Meter;
use crate::text::Clock;

/// The interval between reports.
const TICK: Duration = Duration::from_secs(1);
/// The file with the name that `ps` shows of a process on Linux; 15 bytes are kept.
const NAME_FILE: &str = "/proc/self/comm";

/// The requested reports.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WatchOptions {
    /// A line each second (`-v`).
    pub(super) lines: bool,
    /// The number of blocks in each line (`-vv`).
    pub(super) blocks: bool,
    /// Lines for programs (`-P`).
    pub(super) parsable: bool,
    /// The process title (`-V`).
    pub(super) title: bool,
}

/// A progress report of one send, which sends one snapshot after the other.
pub(super) struct Watch<'a> {
    wanted: WatchOptions,
    progress: &'a Progress,
    total_bytes: u64,
    meter: Meter,
    /// Bytes reported to the meter.
    shown_bytes: u64,
    snapshot: String,
    /// The counts at the start of the snapshot: lines count from there.
    bytes_before: u64,
    blocks_before: u64,
}

impl<'a> Watch<'a> {
    /// A report for a send of about this many bytes, or 0 if that is unknown.
    pub(super) fn new(wanted: WatchOptions, total_bytes: u64, progress: &'a Progress) -> Self {
        let is_shown = io::stderr().is_terminal() && !wanted.parsable;
        let length = Some(total_bytes).filter(|total| *total > 0);
        Self {
            wanted,
            progress,
            total_bytes,
            meter: if is_shown { Meter::new(length) } else { Meter::hidden() },
            shown_bytes: 0,
            snapshot: String::new(),
            bytes_before: 0,
            blocks_before: 0,
        }
    }

    /// Reports until the channel of snapshot names is closed.
    pub(super) fn run(mut self, begins: &Receiver<String>) {
        loop {
            match begins.recv_timeout(TICK) {
                Ok(snapshot) => self.begin(snapshot),
                Err(RecvTimeoutError::Timeout) => self.tick(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn begin(&mut self, snapshot: String) {
        if self.wanted.lines && !self.wanted.parsable {
            let blocks = if self.wanted.blocks { "   BLOCKS    " } else { "" };
            self.meter.line(&format!("TIME        SENT   {blocks}SNAPSHOT {snapshot}"));
        }
        self.snapshot = snapshot;
        (self.bytes_before, self.blocks_before) = (self.progress.bytes(), self.progress.blocks());
    }

    fn tick(&mut self) {
        let done = self.progress.bytes();
        self.meter.add((done - self.shown_bytes) as usize);
        self.shown_bytes = done;
        let bytes = done - self.bytes_before;
        if self.wanted.lines || (self.wanted.title && self.wanted.parsable) {
            let blocks = self.progress.blocks() - self.blocks_before;
            self.meter.columns(&cells(
                self.wanted,
                Clock::of(SystemTime::now()),
                bytes,
                blocks,
                &self.snapshot,
            ));
        }
        if self.wanted.title {
            // A system without process titles needs none.
            let _ = std::fs::write(NAME_FILE, title(done, self.total_bytes));
        }
    }
}

/// The columns of the line of one second; for people it is one.
fn cells(wanted: WatchOptions, clock: Clock, bytes: u64, blocks: u64, snapshot: &str) -> Vec<String> {
    match (wanted.blocks, wanted.parsable) {
        (true, true) => vec![clock.to_string(), bytes.to_string(), blocks.to_string(), snapshot.to_owned()],
        (true, false) => vec![format!("{clock}   {:>5}    {blocks:>8}    {snapshot}", nice_number(bytes))],
        (false, true) => vec![clock.to_string(), bytes.to_string(), snapshot.to_owned()],
        (false, false) => vec![format!("{clock}   {:>5}   {snapshot}", nice_bytes(bytes))],
    }
}

/// The process title, which fits into 15 bytes: `send 42% 1.25G`.
fn title(bytes: u64, total_bytes: u64) -> String {
    let mut title = String::from("send ");
    if let Some(percent) = bytes.saturating_mul(100).checked_div(total_bytes) {
        // Writing to a `String` does not fail.
        let _ = write!(title, "{}% ", percent.min(100));
    }
    title + &nice_number(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `zfs send -v`, `-vv` and `-P` with them print.
    #[test]
    fn lines_are_those_of_zfs() {
        let clock = Clock { hour: 7, minute: 5, second: 9 };
        let line = |blocks, parsable| {
            let wanted = WatchOptions { lines: true, blocks, parsable, title: false };
            cells(wanted, clock, 5 << 20, 41, "tank/fs@a").join("\t")
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
}
