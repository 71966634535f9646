//! Signals handled like errors, so that a verb that is interrupted undoes partial changes, or reports them.

use std::fs::{self, File};
use std::io::{self, PipeReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use zstream::Cancel;
use zstream_recv::error::Cancelled;

use crate::failure::Failure;

/// The signals that end a program.
const SIGNALS: [(i32, &str); 3] = [(SIGHUP, "SIGHUP"), (SIGINT, "SIGINT"), (SIGTERM, "SIGTERM")];

/// The received signal, after its default action was replaced.
#[derive(Clone, Debug)]
pub(crate) struct Signal(Arc<AtomicUsize>);

impl Signal {
    /// Its number, if one was received.
    pub(crate) fn number(&self) -> Option<i32> {
        let number = self.0.load(Ordering::Relaxed);
        (number != 0).then_some(number as i32)
    }

    fn name(&self) -> &'static str {
        let number = self.number();
        SIGNALS.iter().find(|(signal, _)| Some(*signal) == number).map_or("a signal", |(_, name)| name)
    }
}

/// Signals that cancel a verb. A second signal has its default action, which kills.
#[derive(Debug)]
pub(crate) struct Interrupt {
    any: Arc<AtomicBool>,
    /// Readable after a signal.
    wakes: PipeReader,
    signal: Signal,
}

impl Interrupt {
    /// From now on, a signal that would end the program cancels the verb instead.
    pub(crate) fn catch() -> Result<Self, Failure> {
        Self::register().map_err(|error| Failure::new(format_args!("cannot wait for signals: {error}")))
    }

    fn register() -> io::Result<Self> {
        let (wakes, wake) = io::pipe()?;
        let (received, any) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let ignored = ignored();
        for (number, _) in SIGNALS {
            // `nohup` and shells start background programs with ignored signals.
            if ignored >> (number - 1) & 1 == 1 {
                continue;
            }
            flag::register_conditional_default(number, Arc::clone(&any))?;
            // The number is stored before the flag, so that it is known when the flag is seen.
            flag::register_usize(number, Arc::clone(&received), number as usize)?;
            flag::register(number, Arc::clone(&any))?;
            low_level::pipe::register(number, wake.try_clone()?)?;
        }
        Ok(Self { any, wakes, signal: Signal(received) })
    }

    /// The token that a signal cancels.
    pub(crate) fn cancel(&self) -> Cancel {
        Cancel::from(Arc::clone(&self.any))
    }

    /// The same file; its reads fail after a signal.
    pub(crate) fn reader(&self, file: File) -> io::Result<Interruptible> {
        Ok(Interruptible { file, wakes: self.wakes.try_clone()?, signal: self.signal.clone() })
    }

    /// The failure of a verb. After a signal it reports the state that is `left`, and the program ends by that signal.
    pub(crate) fn failure(&self, failure: impl Into<Failure>, left: &str) -> Failure {
        match self.signal.number() {
            Some(number) => {
                Failure::new(format_args!("interrupted by {}{left}", self.signal.name())).by(Some(number))
            }
            None => failure.into(),
        }
    }
}

/// A file, pipe or terminal whose reads fail after a signal, even if no data is available. A second signal has its
/// default action, which kills.
#[derive(Debug)]
pub(crate) struct Interruptible {
    file: File,
    /// Readable after a signal.
    wakes: PipeReader,
    signal: Signal,
}

impl Interruptible {
    /// From now on, a signal that would end the program fails the read instead.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        Interrupt::register()?.reader(file)
    }

    /// Received signals are reported there.
    pub(crate) fn signal(&self) -> Signal {
        self.signal.clone()
    }
}

impl Read for Interruptible {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut ready = [PollFd::new(&self.file, PollFlags::IN), PollFd::new(&self.wakes, PollFlags::IN)];
        while let Err(error) = poll(&mut ready, None) {
            if error != rustix::io::Errno::INTR {
                return Err(error.into());
            }
        }
        if ready[1].revents().is_empty() {
            return self.file.read(bytes);
        }
        Err(io::Error::other(Cancelled(self.signal.name())))
    }
}

/// The signals that this program was started to ignore: a bit for each, the lowest for signal 1. Empty if the system does
/// not report them.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
