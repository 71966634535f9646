//! Snapshots received from a stream into a pool.

use std::fmt;
use std::io::{self, Read};

use zstream_dmu::pool::WriteOptions;
use zstream_dmu::zap::Value;
use zstream_dsl::CryptoKey;
use zstream_dsl::error::Error as DatasetError;
use zstream_dsl::prop::{Parsed, Property, parse_assignment};
use zstream_dsl::write::WritablePool;
use zstream_format::errno::Errno;
use zstream_recv::error::{Cancelled, Fault, Result as StreamResult};
use zstream_recv::{Encryption, Host, Input, Naming, Note, Receiving, Request as RecvRequest};

use crate::control::{Cancel, Control, Event};
use crate::create::{EncryptionProperties, create_parents};
use crate::error::{Cause, Error, ReceiveError, Request, Result};
use crate::place::keys::load_key;
use crate::place::pool::{leave, unsearched};
use crate::place::{Keys, PoolPlace};

/// Properties that configure the encryption of a dataset.
const KEY_PROPERTIES: [&str; 4] = ["encryption", "keyformat", "keylocation", "pbkdf2iters"];

/// True for a property that a receive neither sets nor excludes (`zfs_receive_checkprops`).
fn is_fixed(property: &Property) -> bool {
    property.set_once || property.read_only || matches!(property.name, "volsize" | "version")
}

/// A request to receive, with the options of `zfs receive`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ReceiveRequest {
    /// The target: a dataset, or a snapshot.
    pub to: String,
    /// The part of the sender's dataset names that is appended to it.
    pub naming: Naming,
    /// Roll back, replace, rename and destroy conflicting datasets (`-F`).
    pub force: bool,
    /// Keep the received data if the receive is interrupted (`-s`).
    pub resumable: bool,
    /// Validate everything, change nothing (`-n`).
    pub dry_run: bool,
    /// Repair damaged blocks of an existing snapshot (`-c`).
    pub heal: bool,
    /// Do not receive holds (`-h`).
    pub without_holds: bool,
    /// Never read beyond the end of the stream, so that the next reader gets the data after it. Requires two reads
    /// per record.
    pub exact: bool,
    origin: Option<String>,
    inherits_encryption: bool,
    encryption: EncryptionProperties,
    set: Vec<Parsed>,
    exclude: Vec<String>,
}

impl ReceiveRequest {
    /// A receive into a dataset, or of one snapshot.
    #[must_use]
    pub fn new(to: impl Into<String>) -> Self {
        Self { to: to.into(), ..Self::default() }
    }

    /// Overrides a received property: `PROPERTY=VALUE` (`-o`). `origin=SNAPSHOT` receives as a clone.
    ///
    /// # Errors
    /// The property does not exist, cannot have this value, or cannot be set by a receive.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        if let Some(name) = assignment.strip_prefix("origin=") {
            self.origin = Some(name.to_owned());
            return Ok(());
        }
        let parsed = parse_assignment(assignment)?;
        if self.encryption.take(&parsed) {
            return Ok(());
        }
        if parsed.property.is_some_and(is_fixed) {
            return Err(Request::SetByReceive(parsed.name).into());
        }
        self.set.push(parsed);
        Ok(())
    }

    /// Ignores a received property (`-x`).
    ///
    /// # Errors
    /// The property does not exist, or the request sets it.
    pub fn exclude(&mut self, name: &str) -> Result<()> {
        let found = if name.contains(':') { Some(name) } else { Property::find(name).map(|p| p.name) };
        let found = found.ok_or_else(|| Request::NoSuchProperty(name.to_owned()))?;
        if self.set.iter().any(|parsed| parsed.name == found) {
            return Err(Request::SetAndExcluded(found.to_owned()).into());
        }
        if KEY_PROPERTIES.contains(&found) {
            self.inherits_encryption = true;
        } else if Property::find(name).is_some_and(is_fixed) {
            return Err(Request::SetByReceive(found.to_owned()).into());
        } else {
            self.exclude.push(found.to_owned());
        }
        Ok(())
    }

    fn wanted(mut self) -> (RecvRequest, EncryptionProperties) {
        if let Some(location) = self.encryption.location_only() {
            // Raw streams bring the rest, and increments find it.
            let (name, value) = ("keylocation".to_owned(), Value::string(location));
            self.set.push(Parsed { value, property: Property::find(&name), name });
            self.encryption = EncryptionProperties::default();
        }
        let wanted = RecvRequest {
            to: self.to,
            naming: self.naming,
            force: self.force,
            resumable: self.resumable,
            dry_run: self.dry_run,
            heal: self.heal,
            without_holds: self.without_holds,
            origin: self.origin,
            encryption: self.inherits_encryption.then_some(Encryption::Inherit),
            set: self.set,
            exclude: self.exclude,
        };
        (wanted, self.encryption)
    }
}

/// A pool that is open to receive into, with its keys loaded.
///
/// ```no_run
/// use std::fs::File;
/// use zstream::{Control, NoKeys, PoolPlace, ReceiveRequest, Receiver};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let place = PoolPlace::new(["disk.img"]);
/// let receiver = Receiver::open(&place, ReceiveRequest::new("tank/copy"), &NoKeys)?;
/// receiver.receive(File::open("backup.zfs")?, "my program", &mut Control::new())?;
/// # Ok(())
/// # }
/// ```
pub struct Receiver<'k> {
    place: PoolPlace,
    pool: WritablePool,
    request: RecvRequest,
    exact: bool,
    keys: &'k dyn Keys,
}

/// A receive that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// The number of snapshots.
    pub snapshots: u64,
    /// The length of the stream; more of the source may have been read, unless the request excludes that.
    pub stream_bytes: u64,
}

impl fmt::Debug for Receiver<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("request", &self.request).finish_non_exhaustive()
    }
}

impl<'k> Receiver<'k> {
    /// Opens the pool to receive into.
    ///
    /// # Errors
    /// The pool cannot be opened for writing; a required key is not available.
    pub fn open(place: &PoolPlace, request: ReceiveRequest, keys: &'k dyn Keys) -> Result<Self> {
        let exact = request.exact;
        let (mut request, encryption) = request.wanted();
        let writing = WriteOptions { rehearsal: request.dry_run, ..WriteOptions::default() };
        let mut pool = place.open_writable(Some(&request.to), writing, None)?;
        if let Some(encryption) = encryption.for_receive(&mut pool, &request.to, keys)? {
            request.encryption = Some(encryption);
        }
        let mut this = Self { place: place.clone(), pool, request, exact, keys };
        this.unlock()?;
        Ok(this)
    }

    /// The guid of the pool.
    pub(crate) fn pool_guid(&self) -> zstream_dmu::ids::Guid {
        self.pool.pool().guid()
    }

    /// Loads the key of the target, its origin or its parent, if it is available. The key of a new encryption root
    /// opens no other dataset.
    fn unlock(&mut self) -> Result<()> {
        let Self { request, pool, keys, .. } = self;
        let has_own = matches!(&request.encryption, Some(Encryption::On { own: Some(_), .. }));
        if !keys.is_at_hand() || has_own {
            return Ok(());
        }
        let mut name =
            request.origin.as_deref().or(Some(&request.to)).and_then(|name| name.split('@').next());
        while let Some(at) = name {
            let of_dir = pool.dsl().find_dir(at)?.map(|dir| CryptoKey::of(&dir)).transpose()?.flatten();
            if let Some(of_dir) = of_dir {
                return load_key(pool, of_dir.root, *keys).map(drop);
            }
            name = at.rsplit_once('/').map(|(above, _)| above);
        }
        Ok(())
    }

    /// Receives everything in `source`, one snapshot or a package, logs `command` in the pool history, and exports
    /// the pool.
    ///
    /// The request is validated before anything is changed, and a block is written only after its checksum is
    /// verified. Steps are reported as [`Event::Receive`], bytes of the stream as [`Event::Bytes`].
    ///
    /// # Errors
    /// The first snapshot that cannot be received, as [`Error::Receive`]. Its target is unchanged, or, if requested,
    /// the received data is kept. Snapshots of a package that were received before it are kept.
    pub fn receive(
        mut self,
        source: impl Read,
        command: &str,
        control: &mut Control<'_>,
    ) -> Result<Received> {
        unsearched(&self.pool).for_each(|warning| control.warn(warning));
        let cancel = control.cancel().clone();
        let source = Cancellable { source, cancel };
        let mut stream = if self.exact { Input::exact(source) } else { Input::new(source) };
        let mut host = Reporter { keys: self.keys, control, done: 0, current: None };
        let mut receiving = Receiving::new(&mut self.pool);
        let result = receiving.receive_all(&mut stream, &self.request, &mut host);
        let is_broken = receiving.finish();
        let current = host.current;
        let Self { place, pool, request, .. } = self;
        let left = Left { request: &request, current: current.as_deref() };
        let ended = if request.dry_run {
            Ok(false)
        } else if is_broken {
            drop(pool);
            left.clean_up(&place)
        } else if result.is_err() && !pool.has_committed() {
            // It is as it was.
            Ok(false)
        } else {
            left.leave(pool, result.is_ok().then_some(command))
        };
        match (result, ended) {
            (Ok(snapshots), ended) => ended.map(|_| Received { snapshots, stream_bytes: stream.offset() }),
            (Err(error), ended) => {
                let (is_kept, unclean) = match ended {
                    Ok(is_kept) => (is_kept, None),
                    Err(unclean) => (false, Some(unclean)),
                };
                Err(Error::Receive(Box::new(ReceiveError { error, is_kept, unclean })))
            }
        }
    }
}

/// The end of a receive.
struct Left<'a> {
    request: &'a RecvRequest,
    /// The snapshot that was started and not completed.
    current: Option<&'a str>,
}

impl Left<'_> {
    /// Exports the pool, and returns true if it holds a saved state to resume. `command` is logged if the receive
    /// succeeded.
    fn leave(&self, pool: WritablePool, command: Option<&str>) -> Result<bool> {
        let mut is_kept = false;
        if command.is_none()
            && let Some(name) = self.current.filter(|_| self.request.resumable)
        {
            let dataset = name.split('@').next().unwrap_or_default();
            is_kept = pool.dsl().unfinished_receive(dataset)?.is_some();
        }
        leave(pool, command)?;
        Ok(is_kept)
    }

    /// Handles a pool that failed during a write: the open transaction group is lost. The state before it is
    /// destroyed, or kept to be resumed. Returns true if it is kept.
    fn clean_up(&self, place: &PoolPlace) -> Result<bool> {
        let mut pool = place.open_writable(Some(&self.request.to), WriteOptions::default(), None)?;
        if let Some(name) = self.current.filter(|_| !self.request.resumable) {
            let dataset = name.split('@').next().unwrap_or_default();
            Receiving::new(&mut pool).discard(dataset).map_err(Error::Discard)?;
        }
        self.leave(pool, None)
    }
}

/// Discards the saved state of an interrupted receive (`zfs receive -A`).
///
/// # Errors
/// There is no saved state; the pool cannot be changed.
pub fn abort_receive(pool: &mut WritablePool, dataset: &str) -> Result<()> {
    if Receiving::new(pool).discard(dataset).map_err(Error::Discard)? {
        return Ok(());
    }
    let text = format!("'{dataset}' does not have any resumable receive state to abort");
    Err(Error::Discard(DatasetError::refused(Errno::EINVAL, text).into()))
}

/// Reports progress to the caller.
struct Reporter<'a, 'c> {
    keys: &'a dyn Keys,
    control: &'a mut Control<'c>,
    done: u64,
    /// The snapshot that was started last.
    current: Option<String>,
}

impl Host for Reporter<'_, '_> {
    fn create_filesystem(&mut self, pool: &mut WritablePool, name: &str) -> StreamResult<()> {
        match create_parents(pool, &format!("{name}/x"), self.keys) {
            Ok(_) => Ok(()),
            Err(Error::Pool(Cause::Pool(error))) => Err(error.into()),
            Err(Error::Pool(Cause::Datasets(error))) => Err(error.into()),
            Err(error) => {
                let errno = error.errno();
                Err(Fault::Host { errno, source: Box::new(error) }.into())
            }
        }
    }

    fn note(&mut self, note: Note) {
        match &note {
            Note::Begins { to, .. } => self.current = Some(to.clone()),
            Note::Received(_) => self.current = None,
            _ => {}
        }
        self.control.event(Event::Receive(note));
    }

    fn progress(&mut self, bytes: u64) {
        self.control.event(Event::Bytes(bytes.saturating_sub(self.done)));
        self.done = bytes;
    }
}

/// A source that ends with an error after it was cancelled.
struct Cancellable<R> {
    source: R,
    cancel: Cancel,
}

impl<R: Read> Read for Cancellable<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other(Cancelled("its caller")));
        }
        self.source.read(bytes)
    }
}
