//! A stream on its way from the source to the target, in bounded memory and with a limit of its speed.

use std::io::{self, Read, Write as _};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use zstream_format::errno::Errno;

use super::SyncRequest;
use super::side::{Sending, Source, Target};
use crate::control::{Cancel, Control};
use crate::error::{Error, Result};
use crate::pipe::pipe;

/// The longest time between two looks at the cancel token.
const TICK: Duration = Duration::from_millis(100);

/// A limit of speed that several streams share.
#[derive(Debug)]
pub(super) struct Limiter {
    bytes_per_second: Option<u64>,
    /// The time at which everything that was passed on is within the limit.
    free: Mutex<Instant>,
}

impl Limiter {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second: bytes_per_second.filter(|rate| *rate > 0), free: Mutex::new(Instant::now()) }
    }

    /// The largest piece to read at once: what passes in a tick.
    fn piece(&self) -> usize {
        let bytes = self.bytes_per_second.map_or(u64::MAX, |rate| (rate / 10).max(512));
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Waits as long as these bytes take.
    fn pass(&self, bytes: usize, cancel: &Cancel) {
        let Some(rate) = self.bytes_per_second else { return };
        let until = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            *free = (*free).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / rate as f64);
            *free
        };
        while !cancel.is_cancelled() {
            match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => thread::sleep(left.min(TICK)),
                _ => return,
            }
        }
    }
}

/// A reader within the limit, which counts.
struct Limited<'a, R> {
    source: R,
    limiter: &'a Limiter,
    cancel: &'a Cancel,
    bytes: u64,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = out.len().min(self.limiter.piece());
        let length = self.source.read(&mut out[..length])?;
        self.limiter.pass(length, self.cancel);
        self.bytes += length as u64;
        Ok(length)
    }
}

/// Sends a stream and receives it. Returns its length in bytes.
pub(super) fn transfer(
    (source, target): (&dyn Source, &dyn Target),
    sending: &Sending,
    name: &str,
    request: &SyncRequest,
    limiter: &Limiter,
    control: &mut Control<'_>,
) -> Result<u64> {
    let (mut writer, reader) = pipe();
    let (cancel, stop) = (control.cancel().clone(), Cancel::new());
    let mut stream = Limited { source: reader.cancelled_by(&cancel), limiter, cancel: &cancel, bytes: 0 };
    let (sent, received) = thread::scope(|scope| {
        let send = || {
            let sent = source.send(sending, request, &mut writer, &stop);
            match &sent {
                Ok(()) => writer.finish(),
                // What was sent until then can be kept.
                Err(_) => drop(writer.flush()),
            }
            sent
        };
        let send = thread::Builder::new().name("send".to_owned()).spawn_scoped(scope, send);
        let send = send.map_err(Error::Thread)?;
        let received = target.receive(name, request, &mut stream, control);
        let bytes = stream.bytes;
        // The receiver dropped its end: the sender does not wait for it.
        drop(stream);
        if received.is_err() {
            stop.cancel();
        }
        let sent = send.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, Error>((sent, received.map(|()| bytes)))
    })?;
    match (sent, received) {
        (Ok(()), Ok(bytes)) => Ok(bytes),
        (_, Err(_)) if cancel.is_cancelled() => Err(Error::Cancelled),
        // A sender whose receiver failed fails too, and knows nothing.
        (Err(sent), Err(received)) => Err(if is_of_receiver(&sent) { received } else { sent }),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

fn is_of_receiver(error: &Error) -> bool {
    match error {
        Error::Output(_) | Error::Cancelled => true,
        Error::Send(refusal) => refusal.errno() == Errno::EPIPE,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_kept() {
        let (limiter, cancel) = (Limiter::new(Some(1_000_000)), Cancel::new());
        let started = Instant::now();
        let mut limited =
            Limited { source: io::repeat(7).take(300_000), limiter: &limiter, cancel: &cancel, bytes: 0 };
        let mut all = Vec::new();
        limited.read_to_end(&mut all).unwrap();
        assert_eq!((all.len(), limited.bytes), (300_000, 300_000));
        assert!(started.elapsed() >= Duration::from_millis(295), "{:?}", started.elapsed());
        // A cancelled one does not wait.
        cancel.cancel();
        let started = Instant::now();
        limiter.pass(1_000_000_000, &cancel);
        assert!(started.elapsed() < Duration::from_secs(5));
        assert_eq!(Limiter::new(None).piece(), usize::MAX);
    }
}
