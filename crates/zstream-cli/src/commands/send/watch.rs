//! The progress of a send, reported every second: in the lines of `zfs send -v`, as a bar on a terminal, as the
//! process title.

use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use zstream::progress::{SecondReport, title};
use zstream_send::Progress;

use crate::progress::Meter;
use crate::text::Clock;

/// The interval between reports.
const TICK: Duration = Duration::from_secs(1);
/// The file with the name that `ps` shows of a process on Linux; 15 bytes are kept.
const NAME_FILE: &str = "/proc/self/comm";

/// The requested reports.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
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
    wanted: Wanted,
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
    pub(super) fn new(wanted: Wanted, total_bytes: u64, progress: &'a Progress) -> Self {
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
            self.meter.line(&SecondReport::heading(self.wanted.blocks, &snapshot));
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
            let report = SecondReport {
                clock: Clock::of(SystemTime::now()),
                bytes,
                blocks: self.wanted.blocks.then_some(blocks),
                snapshot: &self.snapshot,
            };
            self.meter.columns(&report.columns(self.wanted.parsable));
        }
        if self.wanted.title {
            // A system without process titles needs none.
            let _ = std::fs::write(NAME_FILE, title(done, self.total_bytes));
        }
    }
}
