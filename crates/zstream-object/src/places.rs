//! The opener of pools in object storage.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use object_store::ObjectStore;
use zstream_dmu::Random;
use zstream_dmu::device::{Device, EntryKind, Files, Mode, OpenDevice};

use crate::device::{Limits, ObjectDevice};
use crate::format::{Generation, Geometry, Kind, ObjectId, Table, generation_of};
use crate::history;
use crate::store::{Location, Patience, Put, Requests, Store, is_url};

/// The default size of a chunk, in bytes.
pub const CHUNK_BYTES_DEFAULT: u64 = 8 << 20;

/// The default size of a device in object storage. It takes space only for what is written.
pub const DEVICE_BYTES_DEFAULT: u64 = (16 << 40) - (1 << 30);

/// The number of chunks in each page of the map.
const PAGE_CHUNKS: u64 = 1024;

/// An opener of devices that knows pools in object storage by their URLs, and passes all other names on.
///
/// ```
/// use std::path::Path;
/// use zstream_dmu::device::{Mode, OpenDevice};
/// use zstream_object::Places;
///
/// # fn main() -> std::io::Result<()> {
/// let directory = tempfile::tempdir()?;
/// let url = format!("file://{}/pool", directory.path().display());
/// let places = Places::new();
/// let device = places.open(Path::new(&url), Mode::Create { len: 1 << 40, replace: false })?;
/// device.write_at(8 << 20, b"some bytes")?;
/// device.flush()?;
/// drop(device);
///
/// let mut out = [0; 10];
/// places.open(Path::new(&url), Mode::Read)?.read_at(8 << 20, &mut out)?;
/// assert_eq!(&out, b"some bytes");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Places {
    others: Arc<dyn OpenDevice>,
    chunk_bytes: u64,
    page_chunks: u64,
    generation: Option<u64>,
    limits: Limits,
    patience: Patience,
    /// The stores that were opened, by their URLs.
    stores: Mutex<HashMap<String, Store>>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            others: Arc::new(Files),
            chunk_bytes: CHUNK_BYTES_DEFAULT,
            page_chunks: PAGE_CHUNKS,
            generation: None,
            limits: Limits::default(),
            patience: Patience { pause: Duration::from_millis(1), ..Patience::NETWORK },
            stores: Mutex::default(),
        }
    }
}

impl Places {
    /// Creates an opener of URLs, files and disks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the same opener with another opener of names that are not URLs.
    #[must_use]
    pub fn over(self, others: Arc<dyn OpenDevice>) -> Self {
        Self { others, ..self }
    }

    /// Returns the same opener with another size of the chunks of new devices.
    ///
    /// # Errors
    /// Fails unless the size is a power of two from 64 KiB to 256 MiB.
    pub fn with_chunk_bytes(self, chunk_bytes: u64) -> io::Result<Self> {
        let changed = Self { chunk_bytes, ..self };
        changed.geometry(DEVICE_BYTES_DEFAULT).check()?;
        Ok(changed)
    }

    /// Returns the same opener with small pages of the map and other limits, so that little data has much structure.
    #[cfg(test)]
    pub(crate) fn with_limits(self, page_chunks: u64, limits: Limits, patience: Patience) -> Self {
        Self { page_chunks, limits, patience, ..self }
    }

    fn geometry(&self, device_bytes: u64) -> Geometry {
        let page_bytes = self.chunk_bytes.saturating_mul(self.page_chunks);
        Geometry { device_bytes, chunk_bytes: self.chunk_bytes, page_bytes }
    }

    /// Returns the same opener for a generation instead of the newest one. It can only be read.
    #[must_use]
    pub fn at_generation(self, generation: u64) -> Self {
        Self { generation: Some(generation), ..self }
    }

    /// Adds a store with the URL `memory://NAME` or any other.
    ///
    /// # Errors
    /// Fails if the URL is not valid.
    pub fn insert(&self, url: &str, store: Arc<dyn ObjectStore>) -> io::Result<()> {
        let url = Location::parse(url)?.url().to_owned();
        let store = Store::new(store, object_store::path::Path::default(), url.clone(), self.patience);
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).insert(url, store);
        Ok(())
    }

    /// Returns the counts of requests to the store at `url` through this opener.
    ///
    /// # Errors
    /// Fails if the store cannot be opened.
    pub fn requests(&self, url: &str) -> io::Result<Requests> {
        Ok(self.store(url, false)?.1.requests())
    }

    /// Returns `true` if a name is a URL, and not a path.
    #[must_use]
    pub fn is_url(name: &str) -> bool {
        is_url(name)
    }

    /// Opens the newest generation, for writing if `writes` is `true`, with these limits.
    pub(crate) fn open_newest(&self, store: Store, writes: bool, limits: Limits) -> io::Result<ObjectDevice> {
        let missing = || io::Error::new(ErrorKind::NotFound, format!("{} has no pool", store.url()));
        let generation = history::newest(&store)?.ok_or_else(missing)?;
        let writer = if writes { Some(Random::system()?.u64()?) } else { None };
        ObjectDevice::open(store, generation, writer, limits)
    }

    /// Returns the limits of devices.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns the store with a URL.
    pub(crate) fn store(&self, url: &str, create: bool) -> io::Result<(Location, Store)> {
        let location = Location::parse(url)?;
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(location.url()) {
            return Ok((location, store.clone()));
        }
        let store = location.open(create)?;
        stores.insert(location.url().to_owned(), store.clone());
        Ok((location, store))
    }

    /// Returns the generation to read.
    fn wanted(&self, store: &Store) -> io::Result<Option<Generation>> {
        match self.generation {
            None => history::newest(store),
            Some(number) => match history::read(store, number) {
                Ok(generation) => Ok(Some(generation)),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let text =
                        format!("{}: generation {number} does not exist, or was collected", store.url());
                    Err(io::Error::new(ErrorKind::NotFound, text))
                }
                Err(error) => Err(error),
            },
        }
    }

    fn open_url(&self, url: &str, mode: Mode) -> io::Result<Arc<dyn Device>> {
        let (location, store) = self.store(url, matches!(mode, Mode::Create { .. }))?;
        if mode != Mode::Read {
            let refused = if location.is_read_only() {
                "pools at https:// are for reading only"
            } else if self.generation.is_some() {
                "an older generation is for reading only"
            } else {
                ""
            };
            if !refused.is_empty() {
                return Err(io::Error::new(ErrorKind::ReadOnlyFilesystem, refused));
            }
        }
        let missing = || io::Error::new(ErrorKind::NotFound, format!("{} has no pool", store.url()));
        let (generation, writer) = match mode {
            Mode::Read => (self.wanted(&store)?.ok_or_else(missing)?, None),
            Mode::Write => (history::newest(&store)?.ok_or_else(missing)?, Some(Random::system()?.u64()?)),
            Mode::Create { len, replace } => {
                let writer = Random::system()?.u64()?;
                (self.create(&store, writer, len, replace)?, Some(writer))
            }
        };
        Ok(Arc::new(ObjectDevice::open(store, generation, writer, self.limits)?))
    }

    /// Commits the first generation of a new device.
    fn create(&self, store: &Store, writer: u64, len: u64, replace: bool) -> io::Result<Generation> {
        let geometry = self.geometry(len);
        geometry.check()?;
        let newest = history::newest(store)?;
        if newest.is_some() && !replace {
            return Err(io::Error::new(ErrorKind::AlreadyExists, format!("{} has a pool", store.url())));
        }
        probe(store, writer)?;
        let random = Random::system()?;
        let mut identity = [0; 16];
        random.fill(&mut identity)?;
        let (number, parent_writer) = newest.map_or((1, 0), |newest| (newest.number + 1, newest.writer));
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let generation = Generation {
            number,
            writer,
            parent_writer,
            time: time.as_secs(),
            identity,
            geometry,
            root: None,
            labels: Default::default(),
            changes: Table::default(),
            dead: Vec::new(),
        };
        history::commit(store, &generation)?;
        Ok(generation)
    }

    /// Removes all objects of a pool, the generations first.
    fn remove_url(&self, url: &str) -> io::Result<()> {
        let (location, store) = self.store(url, false)?;
        for folder in std::iter::once("gen").chain(Kind::ALL.map(Kind::folder)) {
            let listed = store.list(folder, usize::MAX)?.into_iter().map(|listed| listed.name);
            let is_ours = |name: &String| match Kind::ALL.into_iter().find(|kind| kind.folder() == folder) {
                Some(kind) => ObjectId::of_name(kind, name).is_some(),
                None => generation_of(name).is_some(),
            };
            store.delete(listed.filter(&is_ours).map(|name| format!("{folder}/{name}")).collect())?;
            location.delete_left(folder, false, &|name| is_ours(&name.to_owned()))?;
            if let Some(directory) = location.directory() {
                // It may have files of others.
                let _ = std::fs::remove_dir(directory.join(folder));
            }
        }
        if let Some(directory) = location.directory() {
            let _ = std::fs::remove_dir(directory);
        }
        Ok(())
    }
}

/// Makes sure that the store refuses to replace an object: one writer at a time depends on it.
fn probe(store: &Store, writer: u64) -> io::Result<()> {
    let name = format!("probe/{writer:016x}");
    let text = Bytes::from_static(b"Does this store refuse to replace an object?");
    store.put(&name, text.clone())?;
    let second = store.put(&name, text);
    let deleted = store.delete(vec![name]);
    match second? {
        Put::Exists => deleted,
        Put::Created => {
            let text = format!(
                "{}: the store replaces an object although it must not (it ignores `If-None-Match: *`), so two \
                 writers could destroy the pool: use a store that supports conditional writes",
                store.url()
            );
            Err(io::Error::new(ErrorKind::Unsupported, text))
        }
    }
}

/// Returns the name as a URL, if it is one.
fn url_of(name: &Path) -> Option<&str> {
    name.to_str().filter(|name| is_url(name))
}

impl OpenDevice for Places {
    fn kind(&self, name: &Path) -> io::Result<EntryKind> {
        let Some(url) = url_of(name) else { return self.others.kind(name) };
        let (_, store) = self.store(url, false)?;
        match history::list(&store, 1)?.is_empty() {
            false => Ok(EntryKind::File),
            true => Err(io::Error::new(ErrorKind::NotFound, format!("{} has no pool", store.url()))),
        }
    }

    fn list(&self, directory: &Path, most: usize) -> io::Result<Vec<PathBuf>> {
        match url_of(directory) {
            None => self.others.list(directory, most),
            Some(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn open(&self, name: &Path, mode: Mode) -> io::Result<Arc<dyn Device>> {
        match url_of(name) {
            None => self.others.open(name, mode),
            Some(url) => self.open_url(url, mode),
        }
    }

    fn remove(&self, name: &Path) -> io::Result<()> {
        match url_of(name) {
            None => self.others.remove(name),
            Some(url) => self.remove_url(url),
        }
    }

    fn full_name(&self, name: &Path) -> io::Result<PathBuf> {
        match url_of(name) {
            None => self.others.full_name(name),
            Some(url) => Ok(Location::parse(url)?.url().into()),
        }
    }

    fn identity(&self, name: &Path) -> io::Result<String> {
        match url_of(name) {
            None => self.others.identity(name),
            Some(url) => Ok(Location::parse(url)?.url().to_owned()),
        }
    }
}
