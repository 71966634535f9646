//! A progress bar on standard error, for work that takes its time.

use std::io::{self, IsTerminal as _, Read};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// No bar is shown before this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Passes bytes on and shows how far they have come: of how many where that is known, and how fast. Shows
/// nothing unless standard error is a terminal and standard output is not.
#[derive(Debug)]
pub(crate) struct Progress<R> {
    source: R,
    len: Option<u64>,
    done: u64,
    started: Instant,
    wanted: bool,
    bar: Option<ProgressBar>,
}

impl<R: Read> Progress<R> {
    /// Counts what is read from `source`, which has `len` bytes where that is known.
    pub(crate) fn new(source: R, len: Option<u64>) -> Self {
        let wanted = io::stderr().is_terminal() && !io::stdout().is_terminal();
        Self { source, len, done: 0, started: Instant::now(), wanted, bar: None }
    }

    fn show(&mut self) {
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

impl<R: Read> Read for Progress<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buf)?;
        self.done += got as u64;
        if self.wanted {
            self.show();
        }
        Ok(got)
    }
}

impl<R> Drop for Progress<R> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
