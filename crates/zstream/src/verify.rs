//! Verification of streams: in files, and while they are copied.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use zstream_format::stream::{Fault, ReadAt};
use zstream_format::verify::{Options, Verdict, verify_at};

use crate::control::{Cancel, Control, Event, padding_note};
use crate::error::{Error, Result};
use crate::pipe::{PipeWriter, pipe};
use crate::text::{Count, line};

/// The time between two reports of progress.
const TICK: Duration = Duration::from_millis(100);

/// Verifies a stream in a file, using all cores: that it is complete and intact, and that a receiver accepts it.
///
/// An invalid stream is not an error: see [`Verdict::is_good`].
///
/// # Errors
/// The file cannot be opened; it was cancelled.
pub fn verify(path: &Path, options: Options, control: &mut Control<'_>) -> Result<Verdict> {
    let of_file = |source| Error::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(of_file)?;
    control.event(Event::Total(file.metadata().map_err(of_file)?.len()));
    let source = Watched { file, cancel: control.cancel().clone(), reached: AtomicU64::new(0) };
    let (done, ended) = channel();
    let verdict = thread::scope(|scope| {
        let work = || {
            let verdict = verify_at(&source, 0, options);
            // Ends the waiting below; the value has no meaning.
            drop(done);
            verdict
        };
        let work = thread::Builder::new().name("verify".to_owned()).spawn_scoped(scope, work);
        let work = work.map_err(Error::Thread)?;
        let mut reported = 0;
        loop {
            let outcome: Result<(), _> = ended.recv_timeout(TICK);
            let reached = source.reached.load(Ordering::Relaxed);
            control.event(Event::Bytes(reached - reported));
            reported = reached;
            if outcome == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
        Ok::<_, Error>(work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    control.cancel().check()?;
    Ok(verdict)
}

/// The likely cause of the fault of a stream, or what to do about it, if something is known.
#[must_use]
fn advice(verdict: &Verdict) -> Option<&'static str> {
    let error = verdict.error.as_ref()?;
    match error.fault() {
        _ if verdict.may_be_saved_partial() => Some(
            "its records belong to another dataset than its BEGIN: this is a partial receive saved with \
             zfs send -S; receive it with zfs receive -s, then resume",
        ),
        Fault::NoEnd => Some(
            "it ends after a complete record: cut short, or a partial receive saved with zfs send -S, which has no END",
        ),
        Fault::Truncated { .. } if verdict.inside.is_some() => {
            Some("zstream resume-token shows how to resume it")
        }
        _ => None,
    }
}

/// The verdict on a file as text, as `zstream verify` prints it.
#[must_use]
pub fn verdict_text(file: &Path, verdict: &Verdict) -> String {
    let file = line(file.display());
    let mut text = match &verdict.error {
        None => format!(
            "{file}: valid, {} in {} and {}\n",
            Count(verdict.snapshots, "snapshot"),
            Count(verdict.records, "record"),
            Count(verdict.bytes, "byte"),
        ),
        Some(error) => {
            let mut text = format!("{file}: invalid: {}\n", line(error));
            if let Some((expected, found)) = error.fault().expected_and_found() {
                text += &format!("  expected {}\n  found    {}\n", line(expected), line(found));
            }
            let inside = verdict.inside.as_ref().map(|name| format!("; the fault is in {}", line(name)));
            text += &format!(
                "  intact   {}, {} complete{}\n",
                Count(verdict.good_bytes, "byte"),
                Count(verdict.snapshots, "snapshot"),
                inside.unwrap_or_default(),
            );
            if let Some(hint) = advice(verdict) {
                text += &format!("  note     {hint}\n");
            }
            text
        }
    };
    if verdict.padding_bytes > 0 {
        text += &format!("  {}\n", padding_note(verdict.padding_bytes));
    }
    for note in &verdict.notes {
        text += &line(format_args!("  warning  {} ({})", note.warning, note.place));
        if note.count > 1 {
            text += &format!(", {} times", note.count);
        }
        text += "\n";
    }
    text
}

/// A file that records how much of it was read, and fails reads after it was cancelled.
struct Watched {
    file: File,
    cancel: Cancel,
    reached: AtomicU64,
}

impl ReadAt for Watched {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        let got = self.file.read_at(buf, offset)?;
        self.reached.fetch_max(offset + got as u64, Ordering::Relaxed);
        Ok(got)
    }
}

/// A writer that verifies a stream while it passes it on, in bounded memory.
///
/// ```no_run
/// use std::fs::File;
/// use std::io;
/// use zstream::VerifyingWriter;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut upload = VerifyingWriter::new(File::create("kept.zfs")?, Default::default())?;
/// io::copy(&mut io::stdin(), &mut upload)?;
/// let (file, verdict) = upload.finish()?;
/// if !verdict.is_good() {
///     std::fs::remove_file("kept.zfs")?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct VerifyingWriter<W> {
    inner: W,
    copy: PipeWriter,
    verdict: JoinHandle<Verdict>,
}

impl<W: Write> VerifyingWriter<W> {
    /// A writer that passes its data on to `inner`.
    ///
    /// # Errors
    /// [`Error::Thread`]
    pub fn new(inner: W, options: Options) -> Result<Self> {
        let (copy, stream) = pipe();
        let verify = move || zstream_format::verify::verify(stream, options);
        let verdict =
            thread::Builder::new().name("verify".to_owned()).spawn(verify).map_err(Error::Thread)?;
        Ok(Self { inner, copy, verdict })
    }

    /// Ends the stream, and returns the inner writer and the verdict on the stream.
    ///
    /// # Errors
    /// The inner writer cannot be flushed.
    pub fn finish(mut self) -> io::Result<(W, Verdict)> {
        self.inner.flush()?;
        self.copy.finish();
        let verdict = self.verdict.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((self.inner, verdict))
    }
}

impl<W: Write> Write for VerifyingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        // After a fault the verifier stops reading; the rest is passed on unverified.
        let _ = self.copy.write_all(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
