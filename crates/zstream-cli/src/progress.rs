//! A progress bar on standard error, for long operations.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;
use std::process;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use zstream::mapped::Mapped;
use zstream::{Cancel, Control, Event};
use zstream_format::stream::{ReadAt, View};
use zstream_recv::Note;

use crate::failure::Failure;
use crate::text::{complain_columns, file_name};

/// The delay before the bar is shown.
const PATIENCE: Duration = Duration::from_secs(1);

/// A progress meter: bytes done, the total if it is known, and the speed. Shows nothing unless standard error is a
/// terminal.
#[derive(Debug)]
pub(crate) struct Meter {
    done: u64,
    started: Instant,
    /// Hidden until [`PATIENCE`] has passed.
    bar: Option<ProgressBar>,
}

impl Meter {
    /// A meter for `len` bytes, or for an unknown number.
    pub(crate) fn new(len: Option<u64>) -> Self {
        let bar = io::stderr().is_terminal().then(|| hidden_bar(len));
        Self { done: 0, started: Instant::now(), bar }
    }

    /// A meter without a bar, which only prints lines.
    pub(crate) fn hidden() -> Self {
        Self { done: 0, started: Instant::now(), bar: None }
    }

    /// Adds to the number of bytes done.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.done += bytes as u64;
        let Some(bar) = &self.bar else { return };
        bar.set_position(self.done);
        if bar.is_hidden() && self.started.elapsed() >= PATIENCE {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Shows an event of the library.
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Total(bytes) => {
                if let Some(bar) = &self.bar {
                    bar.set_length(*bytes);
                    set_style(bar, true);
                }
            }
            Event::Bytes(bytes) => self.add(*bytes as usize),
            Event::Warning(warning) => self.line(&format!("zstream: {warning}")),
            Event::Receive(Note::Warning(text)) => self.line(&format!("zstream: {text}")),
            Event::NotRestored { path, why, .. } => {
                let path = if path.is_empty() { "/".to_owned() } else { file_name(path) };
                self.line(&format!("zstream: {path}: {why}"));
            }
            _ => {}
        }
    }

    /// A control that reports to this meter.
    pub(crate) fn control(&mut self) -> Control<'_> {
        Control::new().watched_by(|event| self.event(&event))
    }

    /// The same, cancelled by this token.
    pub(crate) fn control_with(&mut self, cancel: &Cancel) -> Control<'_> {
        self.control().cancelled_by(cancel)
    }

    /// Prints a line on standard error if it is a terminal.
    pub(crate) fn note(&self, line: &str) {
        if self.bar.is_some() {
            self.line(line);
        }
    }

    /// Prints a line on standard error, above the bar.
    pub(crate) fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Prints a line of columns above the bar.
    pub(crate) fn columns(&self, cells: &[String]) {
        match &self.bar {
            Some(bar) => bar.suspend(|| complain_columns(cells)),
            None => complain_columns(cells),
        }
    }
}

fn hidden_bar(len: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::hidden());
    set_style(&bar, len.is_some());
    bar
}

fn set_style(bar: &ProgressBar, has_length: bool) {
    let template = match has_length {
        true => "{bytes}/{total_bytes} [{bar:40}] {bytes_per_sec} {eta}",
        false => "{bytes} {bytes_per_sec} {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A reader that shows how much of it was read.
#[derive(Debug)]
pub(crate) struct Progress<R> {
    source: R,
    meter: Meter,
}

impl<R: Read> Progress<R> {
    /// Counts bytes read from `source`, whose length is `len` if it is known. Shows nothing if standard output is a
    /// terminal, because printed lines would overwrite the bar.
    pub(crate) fn new(source: R, len: Option<u64>) -> Self {
        let mut meter = Meter::new(len);
        if io::stdout().is_terminal() {
            meter.bar = None;
        }
        Self { source, meter }
    }

    /// The same for a verb that prints nothing until the end: the bar is shown on any terminal.
    pub(crate) fn silent(source: R, len: Option<u64>) -> Self {
        Self { source, meter: Meter::new(len) }
    }
}

impl<R: Read> Read for Progress<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buf)?;
        self.meter.add(got);
        Ok(got)
    }
}

/// A regular file that is read or viewed at any offset, with a progress bar.
#[derive(Debug)]
pub(crate) struct ProgressAt {
    file: File,
    mapped: Option<Mapped>,
    start: u64,
    meter: Mutex<Meter>,
}

impl ProgressAt {
    /// Shows the progress of reading `len` bytes of `file` from `start`. Nothing may be printed until everything is
    /// read. The file can be viewed if `path` is given.
    pub(crate) fn new(file: File, path: Option<&Path>, start: u64, len: u64) -> Self {
        let mapped = path.and_then(|path| Mapped::new(path, &file, unreadable));
        Self { file, mapped, start, meter: Mutex::new(Meter::new(Some(len))) }
    }

    /// The offset in the file where the stream starts.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Moves the progress to `end`.
    fn reach(&self, end: u64) {
        let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        let done = meter.done;
        meter.add(end.saturating_sub(self.start).saturating_sub(done) as usize);
    }
}

/// Ends the program, because a file that is being read can no longer be read.
fn unreadable(reason: &str) -> ! {
    Failure::new(reason).report();
    process::exit(1)
}

impl ReadAt for ProgressAt {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let got = self.file.read_at(buf, offset)?;
        self.reach(offset + got as u64);
        Ok(got)
    }

    fn view(&self, offset: u64, len: usize) -> Option<View> {
        let view = self.mapped.as_ref()?.view(offset, len)?;
        self.reach(offset + view.len() as u64);
        Some(view)
    }
}
