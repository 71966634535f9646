//! A progress bar on standard error, for work that takes its time.

use std::io::{self, IsTerminal as _, Read};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// No bar is shown before this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Passes bytes on and shows how far they have come: of how many where that is known, and how fast. Shows
/// nothing unless standard error is a terminal and standard output is not.
#[derive(Debug)]
pub(crate) struct Progress<R> {
    source: R,
    done: u64,
    started: Instant,
    /// Counts unseen until there was time enough.
    bar: Option<ProgressBar>,
}

impl<R: Read> Progress<R> {
    /// Counts what is read from `source`, which has `len` bytes where that is known.
    pub(crate) fn new(source: R, len: Option<u64>) -> Self {
        let wanted = io::stderr().is_terminal() && !io::stdout().is_terminal();
        Self { source, done: 0, started: Instant::now(), bar: wanted.then(|| hidden_bar(len)) }
    }

    fn show(&mut self) {
        let Some(bar) = &self.bar else { return };
        bar.set_position(self.done);
        if bar.is_hidden() && self.started.elapsed() >= PATIENCE {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

fn hidden_bar(len: Option<u64>) -> ProgressBar {
    let template = match len {
        Some(_) => "{bytes}/{total_bytes} [{bar:40}] {bytes_per_sec} {eta}",
        None => "{bytes} {bytes_per_sec} {elapsed}",
    };
    let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::hidden());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

impl<R: Read> Read for Progress<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buf)?;
        self.done += got as u64;
        self.show();
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
