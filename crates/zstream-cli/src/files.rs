//! What the verbs that read files have in common: which dataset, and its objects.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use zstream_dmu::intent_log;
use zstream_dmu::object_set::ObjectSet;
use zstream_format::object_type::ObjsetType;
use zstream_view::{Options, Streams};
use zstream_zpl::fs::Filesystem;

use crate::failure::Failure;
use crate::pool::PoolOptions;

/// Bytes that are read at a time: enough blocks to keep all cores decompressing.
pub(crate) const CHUNK_BYTES: usize = 8 << 20;

/// An open file system, volume or snapshot.
pub(crate) struct Source {
    /// Its name.
    pub(crate) name: String,
    /// Its objects.
    pub(crate) set: Arc<dyn ObjectSet>,
    /// Whether only a part of it came: of a stream, or of what is received.
    is_cut: bool,
}

impl Source {
    /// Opens what the first of `words` names, and gives the others back: the paths in it. With streams whose only
    /// snapshot is meant the name may be left out.
    pub(crate) fn open<'a>(
        options: &PoolOptions,
        words: &'a [OsString],
    ) -> Result<(Self, &'a [OsString]), Failure> {
        if !options.streams().is_empty() {
            return Self::in_streams(options, words);
        }
        let Some((name, paths)) = words.split_first() else {
            return Err(Failure::usage("which dataset? `zstream list` shows them"));
        };
        let name = name.to_str().ok_or_else(|| Failure::usage("the name of a dataset is ASCII"))?;
        Ok((Self::in_pool(options, name)?, paths))
    }

    /// A snapshot in stream files.
    fn in_streams<'a>(
        options: &PoolOptions,
        words: &'a [OsString],
    ) -> Result<(Self, &'a [OsString]), Failure> {
        let reading = Options { partial: options.partial(), ..Options::default() };
        let mut streams = Streams::open(options.streams(), &reading).map_err(Failure::new)?;
        let first = words.first().and_then(|word| word.to_str());
        let named = first.and_then(|name| streams.find(Some(name)).ok());
        let (number, paths) = match named {
            Some(number) => (number, &words[1..]),
            // With one snapshot the word is a path; with several its name is missed.
            None if streams.snapshots().len() == 1 => (streams.find(None).map_err(Failure::new)?, words),
            None => (streams.find(first).map_err(Failure::new)?, words),
        };
        if streams.is_locked(number) {
            let name = streams.snapshots().nth(number).map_or_else(String::new, |it| it.name.clone());
            streams.unlock(number, &options.key(&name)?).map_err(Failure::new)?;
        }
        let view = streams.view(number).map_err(Failure::new)?;
        let snapshot = view.snapshot();
        if snapshot.cut.is_some() {
            eprintln!(
                "zstream: {}: the stream is cut short; what is beyond the cut is missing",
                snapshot.name
            );
        }
        let (name, is_cut) = (snapshot.name.clone(), snapshot.cut.is_some());
        Ok((Self { name, set: Arc::new(view), is_cut }, paths))
    }

    /// A dataset of the pool that the options name, with its key where it needs one.
    fn in_pool(options: &PoolOptions, name: &str) -> Result<Self, Failure> {
        let pool = options.open(Some(name))?;
        let missing = pool.missing();
        if !missing.is_empty() {
            eprintln!(
                "zstream: pool {} lacks {}; what is read is put together from the other members",
                pool.pool.name(),
                missing.join(", ")
            );
        }
        let dataset = pool.dsl.dataset(name)?;
        options.unlock(&dataset)?;
        let set = dataset.objset()?;
        // Snapshots have the header of a log that is of their head alone.
        if !dataset.is_snapshot()
            && intent_log::has_records(&**set.reader(), dataset.object().0, &set.phys().zil)
        {
            eprintln!(
                "zstream: {name}: the intent log was not replayed: the last synchronous writes are missing"
            );
        }
        if dataset.is_inconsistent() {
            eprintln!("zstream: {name}: its receive was not completed; what had not come is missing");
        }
        Ok(Self { name: name.to_owned(), set, is_cut: dataset.is_inconsistent() })
    }

    /// The file system in it.
    pub(crate) fn filesystem(&self) -> Result<Filesystem<'_>, Failure> {
        Filesystem::open(&*self.set).map_err(|error| match self.is_cut {
            true => Failure::new(format_args!(
                "{}: it was cut before what all its files need to be read: {error}",
                self.name
            )),
            false => error.into(),
        })
    }

    /// Whether it is a volume.
    pub(crate) fn is_volume(&self) -> bool {
        self.set.objset_type() == ObjsetType::ZVOL
    }
}

/// A path with another one below it; either may be empty.
pub(crate) fn joined(path: &[u8], below: &[u8]) -> Vec<u8> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    match (path, below) {
        (b"", below) => below.to_vec(),
        (path, b"") => path.to_vec(),
        (path, below) => [path, b"/", below].concat(),
    }
}

/// The parts of a path that the user gave, from the root of the file system.
pub(crate) fn parts(path: &OsStr) -> Result<Vec<&[u8]>, Failure> {
    let parts: Vec<_> = path
        .as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&&b".."[..]) {
        return Err(Failure::usage(format_args!("{}: a path may not have '..' in it", path.display())));
    }
    Ok(parts)
}
