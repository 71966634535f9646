//! Opening stored streams: the list of snapshots, and the streams that each requires.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use zstream_dmu::zio::crypt::{DatasetKey, WrappingKey};
use zstream_format::ids::Guid;
use zstream_format::stream::Checking;

use crate::error::{MAX_FILES, ViewError};
use crate::index::index;
use crate::log::{Log, Snapshot};
use crate::objects::Objects;
use crate::raw::Locked;
use crate::source::Source;
use crate::view::StreamView;

/// The options for opening streams.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `true` to show the intact part of streams that were cut short. Otherwise they are an error.
    pub partial: bool,
    /// The extent of the verification: all checksums, which reads the files completely once, or headers only.
    pub checking: Checking,
}

/// A set of indexed stored streams.
#[derive(Debug)]
pub struct Streams {
    files: Arc<[Source]>,
    logs: Vec<Log>,
    /// The keys of raw streams that were unlocked, by their guid.
    keys: HashMap<Guid, Arc<DatasetKey>>,
    padded: Vec<Padded>,
}

/// A file whose last block was filled up with zeros after the last END.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Padded {
    /// The name of the file.
    pub file: String,
    /// The number of zeros.
    pub bytes: u64,
}

impl Streams {
    /// Opens and indexes files of streams, in the order in which they would be received.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be opened, and like [`Self::index`].
    pub fn open<P: AsRef<Path>>(paths: &[P], options: &Options) -> Result<Self, ViewError> {
        let open = |path: &P| {
            let path = path.as_ref();
            Source::open(path).map_err(|error| ViewError::Open { file: path.display().to_string(), error })
        };
        Self::index(paths.iter().map(open).collect::<Result<_, _>>()?, options)
    }

    /// Indexes streams, in the order in which they would be received.
    ///
    /// # Errors
    ///
    /// Fails if a stream is corrupt, if it is cut short without a continuation and `partial` is not set, and if a continuation
    /// has no start.
    pub fn index(files: Vec<Source>, options: &Options) -> Result<Self, ViewError> {
        if files.len() > MAX_FILES {
            return Err(ViewError::TooManyFiles(files.len()));
        }
        let mut logs: Vec<Log> = Vec::new();
        let (mut cuts, mut padded) = (Vec::new(), Vec::new());
        for (number, file) in (0u16..).zip(&files) {
            let located = |error| ViewError::Stream { file: file.name().to_owned(), error };
            let found = index(file, number, options.checking).map_err(located)?;
            if found.padding_bytes > 0 {
                padded.push(Padded { file: file.name().to_owned(), bytes: found.padding_bytes });
            }
            let mut last = None;
            for log in found.logs {
                last = Some(match log.resume {
                    Some(_) => join(&mut logs, log)?,
                    None => {
                        logs.push(log);
                        logs.len() - 1
                    }
                });
            }
            cuts.extend(
                found.short.map(|short| (file.name(), last.filter(|_| short.only_last), short.error)),
            );
        }
        if !options.partial {
            let whole = |log: Option<usize>| log.is_some_and(|log| logs[log].snapshot.cut.is_none());
            if let Some((file, _, error)) = cuts.into_iter().find(|(_, log, _)| !whole(*log)) {
                return Err(ViewError::Stream { file: file.to_owned(), error });
            }
        }
        Ok(Self { files: files.into(), logs, keys: HashMap::new(), padded })
    }

    /// The files whose last block was filled up with zeros.
    #[must_use]
    pub fn padded(&self) -> &[Padded] {
        &self.padded
    }

    /// Returns an iterator over the snapshots, in the order of the streams.
    #[must_use]
    pub fn snapshots(&self) -> impl ExactSizeIterator<Item = &Snapshot> {
        self.logs.iter().map(|log| &log.snapshot)
    }

    /// Returns the index of a snapshot in [`snapshots`](Self::snapshots), by its full name or `@snap`, or that of the
    /// only one. If it was sent more than once, this is the last one.
    ///
    /// # Errors
    ///
    /// Returns [`ViewError::NotFound`] or [`ViewError::Ambiguous`].
    pub fn find(&self, name: Option<&str>) -> Result<usize, ViewError> {
        let fits = |snapshot: &Snapshot| {
            name.is_none_or(|name| {
                snapshot.name == name || name.starts_with('@') && snapshot.name.ends_with(name)
            })
        };
        let names = |logs: &mut dyn Iterator<Item = &Log>| -> Vec<String> {
            logs.map(|log| log.snapshot.name.clone()).collect()
        };
        let fitting = || self.logs.iter().enumerate().filter(|(_, log)| fits(&log.snapshot));
        let Some((last, log)) = fitting().next_back() else {
            let wanted = name.unwrap_or("at all").to_owned();
            return Err(ViewError::NotFound { wanted, there: names(&mut self.logs.iter()) });
        };
        if fitting().any(|(_, other)| other.snapshot.guid != log.snapshot.guid) {
            return Err(ViewError::Ambiguous(names(&mut fitting().map(|(_, log)| log))));
        }
        Ok(last)
    }

    /// Returns `true` if a snapshot is encrypted and its key is not loaded.
    #[must_use]
    pub fn is_locked(&self, number: usize) -> bool {
        let keys = self.logs.get(number).and_then(|log| log.keys.as_ref());
        keys.is_some_and(|keys| !self.keys.contains_key(&keys.wrapped.guid))
    }

    /// Loads the key of a snapshot in raw streams, and of all others with the same wrapping key. `input` is the key or
    /// passphrase of the user, see [`WrappingKey::new`]. It does nothing if the snapshot is not encrypted.
    ///
    /// # Errors
    ///
    /// Returns [`ViewError::Key`] if the input has an invalid form or is not the right key.
    pub fn unlock(&mut self, number: usize, input: &[u8]) -> Result<(), ViewError> {
        let Some(log) = self.logs.get(number) else { return Err(self.no_such(number)) };
        let Some(keys) = &log.keys else { return Ok(()) };
        let failed = |error| ViewError::Key { snapshot: log.snapshot.name.clone(), error };
        let wrapping = WrappingKey::new(keys.format, input).map_err(failed)?;
        let key = keys.wrapped.unwrap(&wrapping).map_err(failed)?;
        self.keys.insert(key.guid(), Arc::new(key));
        // Load all keys of the same encryption root now, since deriving a key from a passphrase is slow.
        for other in self.logs.iter().filter_map(|other| other.keys.as_ref()) {
            if other.format == keys.format
                && !self.keys.contains_key(&other.wrapped.guid)
                && let Ok(key) = other.wrapped.unwrap(&wrapping)
            {
                self.keys.insert(key.guid(), Arc::new(key));
            }
        }
        Ok(())
    }

    /// Copies the keys that were loaded for other streams of the same datasets.
    pub fn share_keys(&mut self, other: &Self) {
        self.keys.extend(other.keys.iter().map(|(guid, key)| (*guid, Arc::clone(key))));
    }

    /// Opens the objects of a snapshot by replaying its stream on top of those of its sources. `number` is an index in
    /// [`snapshots`](Self::snapshots).
    ///
    /// # Errors
    ///
    /// Fails if there is no such snapshot, if the stream of a source is missing, if it is encrypted and its key is not
    /// loaded, if authentication fails, and if a record cannot be replayed.
    pub fn view(&self, number: usize) -> Result<StreamView, ViewError> {
        let mut objects = Objects::default();
        for log in self.chain(number)?.into_iter().rev() {
            objects
                .replay(log)
                .map_err(|error| ViewError::Record { snapshot: log.snapshot.name.clone(), error })?;
        }
        let Log { snapshot, keys, .. } = &self.logs[number];
        let snapshot = snapshot.clone();
        let mut view = StreamView { files: Arc::clone(&self.files), snapshot, objects, key: None };
        if let Some(keys) = keys {
            let name = || view.snapshot.name.clone();
            let Some(key) = self.keys.get(&keys.wrapped.guid) else {
                return Err(ViewError::Locked { snapshot: name() });
            };
            let locked = Locked { files: &self.files, key, keys, objset_type: view.snapshot.objset_type };
            locked.open(&mut view.objects).map_err(|error| ViewError::Objects { snapshot: name(), error })?;
            view.key = Some(Arc::clone(key));
        }
        Ok(view)
    }

    fn no_such(&self, number: usize) -> ViewError {
        let there = self.snapshots().map(|snapshot| snapshot.name.clone()).collect();
        ViewError::NotFound { wanted: format!("number {number}"), there }
    }

    /// Returns the log of a snapshot and those of its sources, down to a full stream.
    fn chain(&self, number: usize) -> Result<Vec<&Log>, ViewError> {
        let Some(top) = self.logs.get(number) else { return Err(self.no_such(number)) };
        let (mut chain, mut log, mut before) = (vec![top], top, &self.logs[..number]);
        loop {
            let name = || log.snapshot.name.clone();
            let guid = log.snapshot.from_guid;
            if guid == Guid(0) {
                return Ok(chain);
            }
            let Some(at) = before.iter().rposition(|log| log.snapshot.guid == guid) else {
                return Err(ViewError::MissingBase { snapshot: name(), guid });
            };
            if before[at].snapshot.cut.is_some() {
                return Err(ViewError::CutBase { snapshot: name(), base: before[at].snapshot.name.clone() });
            }
            let guid_of_key = |log: &Log| log.keys.as_ref().map(|keys| keys.wrapped.guid);
            if guid_of_key(log) != guid_of_key(&before[at]) {
                let raw = log.keys.is_some() && before[at].keys.is_some();
                return Err(ViewError::Mixed {
                    snapshot: name(),
                    base: before[at].snapshot.name.clone(),
                    raw,
                });
            }
            (log, before) = (&before[at], &before[..at]);
            chain.push(log);
        }
    }
}

/// Appends a continuation to the stream that it continues, and returns the index of that log.
fn join(logs: &mut [Log], rest: Log) -> Result<usize, ViewError> {
    let Log { snapshot, ops, resume, lost, .. } = rest;
    let same = |log: &Log| {
        log.snapshot.guid == snapshot.guid
            && log.snapshot.from_guid == snapshot.from_guid
            && log.snapshot.cut.is_some()
    };
    let Some(number) = logs.iter().rposition(same) else {
        return Err(ViewError::MissingBeginning { snapshot: snapshot.name });
    };
    let log = &mut logs[number];
    if let (Some(at), Some(end)) = (resume, log.snapshot.cut)
        && at > end
    {
        return Err(ViewError::Gap { snapshot: snapshot.name, at, end });
    }
    log.ops.extend(ops);
    (log.snapshot.cut, log.lost) = (snapshot.cut, lost);
    Ok(number)
}
