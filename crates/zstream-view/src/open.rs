//! Opening stored streams: which snapshots there are, and what each is built on.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use zstream_dmu::zio::crypt::{DatasetKey, WrappingKey};
use zstream_format::ids::Guid;
use zstream_format::stream::{self, Checking};

use crate::index::{Log, Snapshot, index};
use crate::objects::{Objects, Unfit};
use crate::raw::Locked;
use crate::source::Source;
use crate::view::StreamView;

/// The most files that are viewed together.
const MAX_FILES: usize = 1 << 15;

/// How streams are opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether streams that are cut short are shown as far as they go. Else they are an error.
    pub partial: bool,
    /// Whether all checksums are verified, which reads the whole files once, or only headers are read.
    pub checking: Checking,
}

/// Why streams cannot be viewed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// A file cannot be opened.
    #[error("cannot open {file}: {error}")]
    Open {
        /// Its path.
        file: String,
        /// Why.
        error: std::io::Error,
    },
    /// More files than can be told apart.
    #[error("{0} files are too many, at most {MAX_FILES} can be viewed together")]
    TooManyFiles(usize),
    /// A stream is bad, or was cut short and this was not allowed.
    #[error("{file}: {error}")]
    Stream {
        /// The file.
        file: String,
        /// What is wrong, and where.
        error: stream::Error,
    },
    /// An incremental stream without what it starts from.
    #[error("{snapshot} is incremental: the stream of its source, guid {guid}, has to come before it")]
    MissingBase {
        /// The snapshot.
        snapshot: String,
        /// Guid of the snapshot it starts from.
        guid: Guid,
    },
    /// An incremental stream whose source was cut short.
    #[error("{snapshot} is incremental, and the stream of its source {base} is cut short")]
    CutBase {
        /// The snapshot.
        snapshot: String,
        /// The snapshot it starts from.
        base: String,
    },
    /// The rest of a stream whose beginning is not there.
    #[error("{snapshot} is the rest of a stream: its beginning has to come before it")]
    MissingBeginning {
        /// The snapshot.
        snapshot: String,
    },
    /// The rest of a stream that begins behind where the beginning ends.
    #[error(
        "{snapshot} goes on at object {} offset {}, but its beginning ends at object {} offset {}",
        at.object, at.offset, end.object, end.offset
    )]
    Gap {
        /// The snapshot.
        snapshot: String,
        /// Where the rest begins.
        at: crate::index::Cut,
        /// Where the beginning ends.
        end: crate::index::Cut,
    },
    /// A raw stream whose key was not given.
    #[error("{snapshot} is encrypted and its key is not loaded")]
    Locked {
        /// The snapshot.
        snapshot: String,
    },
    /// A key that is of the wrong form, or not the one that the stream's keys are wrapped with.
    #[error("cannot load the key of {snapshot}: {error}")]
    Key {
        /// The snapshot.
        snapshot: String,
        /// Why.
        error: zstream_dmu::error::Error,
    },
    /// A raw stream on top of one that is not, or of one with another key; or the other way round.
    #[error("{snapshot} cannot be received on top of {base}: {}", if *raw {
        "they are encrypted with different keys"
    } else {
        "one stream is raw (encrypted) and the other is not"
    })]
    Mixed {
        /// The snapshot.
        snapshot: String,
        /// The snapshot it starts from.
        base: String,
        /// Whether both are raw.
        raw: bool,
    },
    /// Objects of a raw stream that are not what was sent.
    #[error("{snapshot}: {error}")]
    Objects {
        /// The snapshot.
        snapshot: String,
        /// Which, and what is wrong.
        error: zstream_dmu::error::Error,
    },
    /// A record of the stream fits nothing.
    #[error("{snapshot}: {error}")]
    Record {
        /// The snapshot.
        snapshot: String,
        /// What is wrong.
        error: Unfit,
    },
    /// The streams hold no such snapshot.
    #[error("no snapshot {wanted} in the streams; there is {}", if there.is_empty() {
        "none".to_owned()
    } else {
        there.join(", ")
    })]
    NotFound {
        /// What was asked for.
        wanted: String,
        /// What there is.
        there: Vec<String>,
    },
    /// Several snapshots fit and none was chosen.
    #[error("the streams hold several snapshots: {}; name one", .0.join(", "))]
    Ambiguous(Vec<String>),
}

/// Stored streams, indexed.
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
    /// A file cannot be opened, or what [`Self::index`] finds.
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
    /// A stream is bad, is cut short and `partial` is not set (and no later one goes on with it), or is the rest of one that is not
    /// there.
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

    /// The snapshots, in the order of the streams.
    #[must_use]
    pub fn snapshots(&self) -> impl ExactSizeIterator<Item = &Snapshot> {
        self.logs.iter().map(|log| &log.snapshot)
    }

    /// The number of a snapshot among [`snapshots`](Self::snapshots): by its whole name or `@snap`, or the only
    /// one. Where it was sent more than once, the last time counts.
    ///
    /// # Errors
    ///
    /// [`ViewError::NotFound`] and [`ViewError::Ambiguous`].
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

    /// Whether a snapshot is encrypted and its key was not given yet.
    #[must_use]
    pub fn is_locked(&self, number: usize) -> bool {
        let keys = self.logs.get(number).and_then(|log| log.keys.as_ref());
        keys.is_some_and(|keys| !self.keys.contains_key(&keys.wrapped.guid))
    }

    /// Unlocks a snapshot in raw streams, and with it the others that `input` unlocks. `input` is what the user knows:
    /// see [`WrappingKey::new`]. Nothing is done for one that is not encrypted.
    ///
    /// # Errors
    ///
    /// [`ViewError::Key`] when the input is not of its form, or the wrong one.
    pub fn unlock(&mut self, number: usize, input: &[u8]) -> Result<(), ViewError> {
        let Some(log) = self.logs.get(number) else { return Err(self.no_such(number)) };
        let Some(keys) = &log.keys else { return Ok(()) };
        let failed = |error| ViewError::Key { snapshot: log.snapshot.name.clone(), error };
        let wrapping = WrappingKey::new(keys.format, input).map_err(failed)?;
        let key = keys.wrapped.unwrap(&wrapping).map_err(failed)?;
        self.keys.insert(key.guid(), Arc::new(key));
        // Of the same encryption root: stretching a passphrase takes its time.
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

    /// Takes over the keys that were unlocked for other streams of the same datasets.
    pub fn share_keys(&mut self, other: &Self) {
        self.keys.extend(other.keys.iter().map(|(guid, key)| (*guid, Arc::clone(key))));
    }

    /// The objects of a snapshot: its stream on top of those it is built on. `number` counts
    /// [`snapshots`](Self::snapshots).
    ///
    /// # Errors
    ///
    /// There is no such snapshot, a stream it is built on is missing, it is encrypted and was not unlocked or is not
    /// what was encrypted, or a record fits nothing.
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

    /// A snapshot's log and those it is built on, down to a full one.
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

/// Adds the rest of a stream to its beginning, and says which log that is.
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
