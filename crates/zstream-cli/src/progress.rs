//! A progress bar on standard error, for work that takes its time.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use zstream_format::stream::parallel::ReadAt;

/// No bar is shown before this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows how far the work has come: of how many bytes where that is known, and how fast. Shows nothing unless
/// standard error is a terminal.
#[derive(Debug)]
pub(crate) struct Meter {
    len: Option<u64>,
    done: u64,
    started: Instant,
    wanted: bool,
    bar: Option<ProgressBar>,
}

impl Meter {
    fn new(len: Option<u64>) -> Self {
        // A bar would be lost between the lines of text that is printed meanwhile.
        let wanted = io::stderr().is_terminal() && !io::stdout().is_terminal();
        Self { len, done: 0, started: Instant::now(), wanted, bar: None }
    }

    /// Counts what is added, for work that prints nothing meanwhile.
    pub(crate) fn silent(len: Option<u64>) -> Self {
        let mut meter = Self::new(len);
        meter.wanted = io::stderr().is_terminal();
        meter
    }

    /// So many more bytes are done.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.done += bytes as u64;
        if !self.wanted {
            return;
        }
        if self.bar.is_none() && self.started.elapsed() >= PATIENCE {
            let (bar, template) = match self.len {
                Some(len) => {
                    (ProgressBar::new(len), "{bytes}/{total_bytes} [{bar:40}] {bytes_per_sec} {eta}")
                }
                None => (ProgressBar::no_length(), "{bytes} {bytes_per_sec} {elapsed}"),
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            self.bar = Some(bar.with_elapsed(self.started.elapsed()));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }
}

impl Meter {
    /// Prints a line on standard error, above the bar.
    pub(crate) fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Passes bytes on and shows how far they have come.
#[derive(Debug)]
pub(crate) struct Progress<R> {
    source: R,
    meter: Meter,
}

impl<R: Read> Progress<R> {
    /// Counts what is read from `source`, which has `len` bytes where that is known.
    pub(crate) fn new(source: R, len: Option<u64>) -> Self {
        Self { source, meter: Meter::new(len) }
    }

    /// Shows the bar although standard output is a terminal: nothing is printed until all is read.
    pub(crate) fn while_silent(mut self) -> Self {
        self.meter.wanted = io::stderr().is_terminal();
        self
    }
}

impl<R: Read> Read for Progress<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buf)?;
        self.meter.add(got);
        Ok(got)
    }
}

/// A regular file that is read at any place, and shows how much of it was.
#[derive(Debug)]
pub(crate) struct ProgressAt {
    file: File,
    start: u64,
    meter: Mutex<Meter>,
}

impl ProgressAt {
    /// Counts what is read of `file`, of which `len` bytes from `start` on are of interest. Nothing is to be
    /// printed until all is read.
    pub(crate) fn new(file: File, start: u64, len: u64) -> Self {
        let mut meter = Meter::new(Some(len));
        meter.wanted = io::stderr().is_terminal();
        Self { file, start, meter: Mutex::new(meter) }
    }

    /// Where in the file the stream begins.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }
}

impl ReadAt for ProgressAt {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let got = self.file.read_at(buf, offset)?;
        self.meter.lock().unwrap_or_else(PoisonError::into_inner).add(got);
        Ok(got)
    }
}
