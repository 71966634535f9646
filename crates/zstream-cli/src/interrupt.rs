//! Signals handled like errors, so that a partial receive is undone, or kept if requested.

use std::fs::{self, File};
use std::io::{self, PipeReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use zstream_recv::error::Cancelled;

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
        let (wakes, wake) = io::pipe()?;
        let (came, any) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let ignored = ignored();
        for (number, _) in SIGNALS {
            // As `nohup` and shells ask for of what runs in the background.
            if ignored >> (number - 1) & 1 == 1 {
                continue;
            }
            flag::register_conditional_default(number, Arc::clone(&any))?;
            flag::register(number, Arc::clone(&any))?;
            flag::register_usize(number, Arc::clone(&came), number as usize)?;
            low_level::pipe::register(number, wake.try_clone()?)?;
        }
        Ok(Self { file, wakes, signal: Signal(came) })
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

/// The signals that this program was started to ignore, a bit for each, the first one lowest; none where the system does not
/// tell.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
