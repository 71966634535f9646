//! Snapshots of a pool sent as a stream.

use std::cell::RefCell;
use std::io::{self, IoSlice, Write};

use zstream_format::token::ResumeToken;
use zstream_send::job::{Sending, Step};
use zstream_send::plan::{Options, StreamForm};
use zstream_send::request::{Request, resume};
use zstream_send::{Progress, Sent};

use crate::control::{Control, Event};
use crate::error::{Error, Result};
use crate::place::keys::unlock;
use crate::place::{Keys, OpenPool};

/// A validated request to send snapshots.
///
/// ```no_run
/// use std::fs::File;
/// use zstream::{Control, NoKeys, PoolPlace, SendRequest, Sender};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let control = &mut Control::new();
/// let open = PoolPlace::new(["disk.img"]).open(Some("tank"), control)?;
/// let sender = Sender::new(&open, &SendRequest::new("tank/home@monday"), control)?;
/// sender.unlock(&NoKeys)?;
/// sender.send(File::create("monday.zfs")?, control)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Sender<'a> {
    open: &'a OpenPool,
    job: Sending,
    /// Options for reading and queueing blocks.
    pub options: Options,
}

impl<'a> Sender<'a> {
    /// Finds the requested snapshots and validates the request. Omissions are reported as [`Event::Send`].
    ///
    /// # Errors
    /// The rule that the request breaks.
    pub fn new(open: &'a OpenPool, request: &Request, control: &mut Control<'_>) -> Result<Self> {
        let job = request.resolve(&open.dsl, &mut |note| control.event(Event::Send(note)))?;
        Ok(Self { open, job, options: Options::default() })
    }

    /// Resumes a send from a receiver's token.
    ///
    /// # Errors
    /// The snapshot of the token is not in the pool, or cannot be sent in the form that the token requires.
    pub fn resume(open: &'a OpenPool, token: &ResumeToken, form: StreamForm) -> Result<Self> {
        Ok(Self { open, job: resume(token, form, &open.dsl)?, options: Options::default() })
    }

    /// The snapshots, in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.job.steps
    }

    /// True if everything that was requested exists; each missing item was reported as [`Event::Send`].
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.job.is_complete
    }

    /// Loads the keys of encrypted datasets that are not sent raw.
    ///
    /// # Errors
    /// A key is not available, or does not open its dataset.
    pub fn unlock(&self, keys: &dyn Keys) -> Result<()> {
        for step in &self.job.steps {
            if step.needs_key()? {
                unlock(&step.dataset, keys)?;
            }
        }
        Ok(())
    }

    /// The estimated size of each snapshot's stream in bytes, as in `zfs send -nvP`.
    ///
    /// # Errors
    /// The pool cannot be read.
    pub fn estimate(&self) -> Result<Vec<u64>> {
        let pool = self.open.source();
        let estimate = |step: &Step| step.estimate(pool, self.options, &Progress::default());
        Ok(self.job.steps.iter().map(estimate).collect::<Result<_, _>>()?)
    }

    /// The exact size of each snapshot's stream in bytes. Reads all block pointers, but not the blocks.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn measure(&self) -> Result<Vec<u64>> {
        let pool = self.open.source();
        let measure = |step: &Step| step.measure(pool, self.options, &Progress::default());
        Ok(self.job.steps.iter().map(measure).collect::<Result<_, _>>()?)
    }

    /// Writes the stream. Each snapshot is reported as [`Event::Sending`], bytes of the stream as [`Event::Bytes`].
    ///
    /// # Errors
    /// The pool cannot be read; a key is missing; `out` fails; the send was cancelled. The data written before the
    /// error is the beginning of the stream.
    pub fn send(&self, out: impl Write, control: &mut Control<'_>) -> Result<Sent> {
        let cancel = control.cancel().clone();
        let control = RefCell::new(control);
        let mut out = Watched { out, control: &control };
        let mut begun = |step: &Step| control.borrow_mut().event(Event::Sending(&step.name));
        let sent = self.send_with(&mut out, &Progress::default(), &mut begun);
        sent.map_err(|error| if cancel.is_cancelled() { Error::Cancelled } else { error })
    }

    /// Writes the stream and updates `progress`, which other threads can watch.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_with(
        &self,
        out: &mut dyn Write,
        progress: &Progress,
        begun: &mut dyn FnMut(&Step),
    ) -> Result<Sent> {
        Ok(self.job.send(out, self.open.source(), self.options, progress, begun)?)
    }
}

/// A destination that reports the bytes written to it, and fails after the send was cancelled.
struct Watched<'r, 'a, 'c, W> {
    out: W,
    control: &'r RefCell<&'a mut Control<'c>>,
}

impl<W> Watched<'_, '_, '_, W> {
    fn check(&self) -> io::Result<()> {
        if self.control.borrow().is_cancelled() { Err(io::Error::other("cancelled")) } else { Ok(()) }
    }

    fn wrote(&self, written: io::Result<usize>) -> io::Result<usize> {
        let written = written?;
        self.control.borrow_mut().did(written);
        Ok(written)
    }
}

impl<W: Write> Write for Watched<'_, '_, '_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        let written = self.out.write(bytes);
        self.wrote(written)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.check()?;
        let written = self.out.write_vectored(parts);
        self.wrote(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
