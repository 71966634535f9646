//! Replication of datasets from one pool to another.

use std::thread;

use zstream_format::errno::Errno;
use zstream_send::Sent;
use zstream_send::request::Request as SendRequest;

use crate::control::{Control, Event};
use crate::error::{Error, Request, Result};
use crate::pipe::{PipeWriter, pipe};
use crate::place::{Keys, PoolPlace};
use crate::receive::{ReceiveRequest, Receiver};
use crate::send::Sender;

/// A replication of snapshots from one pool to another, like `zfs send | zfs receive`, in bounded memory.
///
/// ```no_run
/// use zstream::{Cancel, Control, Event, NoKeys, PoolPlace, Replication};
///
/// # fn main() -> zstream::Result<()> {
/// let (from, to) = (PoolPlace::new(["disk.img"]), PoolPlace::new(["backup.img"]));
/// let cancel = Cancel::new();
/// let mut bytes = 0;
/// let mut control = Control::new().cancelled_by(&cancel).watched_by(|event| {
///     if let Event::Bytes(more) = event {
///         bytes += more;
///     }
/// });
/// Replication::new("tank/home@tuesday", "backup/home").since("@monday").run(&from, &to, &NoKeys, &mut control)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Replication {
    /// The request of the sender.
    pub send: SendRequest,
    /// The request of the receiver.
    pub receive: ReceiveRequest,
    /// The line that is logged in the history of the target.
    pub command: String,
}

/// The result of a [`Replication`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Replicated {
    /// The stream.
    pub sent: Sent,
    /// The number of snapshots that were received.
    pub snapshots: u64,
    /// True if everything that was requested existed at the source.
    pub is_complete: bool,
}

impl Replication {
    /// A replication of the snapshot `from` into the dataset `to`.
    #[must_use]
    pub fn new(from: impl Into<String>, to: impl Into<String>) -> Self {
        let (send, receive) = (SendRequest::new(from), ReceiveRequest::new(to));
        let command = format!("replicate {} to {}", send.target, receive.to);
        Self { send, receive, command }
    }

    /// The same as an increment from a snapshot or bookmark: `@snapshot`, `#bookmark`, or a full name.
    #[must_use]
    pub fn since(mut self, from: impl Into<String>) -> Self {
        self.send.from = Some(from.into());
        self
    }

    /// The same with all intermediate snapshots.
    #[must_use]
    pub fn with_intermediates(mut self) -> Self {
        self.send.intermediates = true;
        self
    }

    /// The same with all descendants, their snapshots, properties and clones.
    #[must_use]
    pub fn with_descendants(mut self) -> Self {
        self.send.replicate = true;
        self
    }

    /// The same as a raw send, which requires no encryption key on either side.
    #[must_use]
    pub fn raw(mut self) -> Self {
        let form = &mut self.send.form;
        (form.large_blocks, form.embedded, form.compressed, form.raw) = (true, true, true, true);
        self
    }

    /// Sends from one pool and receives into the other. `keys` provides the keys of both.
    ///
    /// The events are those of the receive; omissions of the send are reported as [`Event::Send`].
    ///
    /// # Errors
    /// As [`Sender::send`] and [`Receiver::receive`]; [`Error::Cancelled`] if it was cancelled. The dataset that was
    /// being received is then unchanged, unless the request keeps the received data.
    pub fn run(
        &self,
        from: &PoolPlace,
        to: &PoolPlace,
        keys: &(dyn Keys + Sync),
        control: &mut Control<'_>,
    ) -> Result<Replicated> {
        let open = from.open(Some(&self.send.target), control)?;
        let sender = Sender::new(&open, &self.send, control)?;
        sender.unlock(keys)?;
        if let Ok(sizes) = sender.estimate() {
            control.event(Event::Total(sizes.iter().sum()));
        }
        let receiver = Receiver::open(to, self.receive.clone(), keys)?;
        if receiver.pool_guid() == open.pool.guid() {
            return Err(Request::SamePool.into());
        }
        let is_complete = sender.is_complete();
        let (writer, reader) = pipe();
        let (sent, received) = thread::scope(|scope| {
            let send = thread::Builder::new().name("send".to_owned());
            let send = send.spawn_scoped(scope, || write(&sender, writer)).map_err(Error::Thread)?;
            let received = receiver.receive(reader, &self.command, control);
            // The receiver dropped its end: the sender does not wait for it.
            let sent = send.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<_, Error>((sent, received))
        })?;
        match (sent, received) {
            (Ok(sent), Ok(received)) => Ok(Replicated { sent, snapshots: received.snapshots, is_complete }),
            (_, Err(error)) if error.is_cancelled() => Err(Error::Cancelled),
            // A sender whose receiver failed fails too, and knows nothing.
            (Err(Error::Send(refusal)), Err(error)) if refusal.errno() == Errno::EPIPE => Err(error),
            (Ok(_), Err(error)) => Err(error),
            (Err(error), _) => Err(error),
        }
    }
}

fn write(sender: &Sender<'_>, mut writer: PipeWriter) -> Result<Sent> {
    let sent = sender.send(&mut writer, &mut Control::new())?;
    writer.finish();
    Ok(sent)
}
