//! The generations of a pool: which is the newest, and what is in it.

use std::io::{self, ErrorKind};
use std::time::SystemTime;

use bytes::Bytes;

use crate::format::{Generation, SEALED_BYTES_MAX, generation_name, generation_of};
use crate::store::{Put, Store};

/// The number of names that a listing for the newest generation requests. Stores answer that many at once.
const FIRST_NAMES: usize = 1000;

/// The number of times that a search for the newest generation starts again because the one it found was collected.
const SEARCHES_MAX: u32 = 10;

/// A generation in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListedGeneration {
    /// Its number.
    pub(crate) number: u64,
    /// The size of its record.
    pub(crate) bytes: u64,
    /// When it was committed, by the clock of the store.
    pub(crate) modified: SystemTime,
}

/// Lists generations, the newest first: at least `most`, unless there are fewer.
///
/// # Errors
/// Fails if they cannot be listed.
pub(crate) fn list(store: &Store, most: usize) -> io::Result<Vec<ListedGeneration>> {
    let listed = store.list("gen", most)?;
    let known = listed.into_iter().filter_map(|listed| {
        let number = generation_of(&listed.name)?;
        Some(ListedGeneration { number, bytes: listed.bytes, modified: listed.modified })
    });
    let mut generations: Vec<_> = known.collect();
    generations.sort_by_key(|generation| std::cmp::Reverse(generation.number));
    Ok(generations)
}

/// Reads the record of a generation.
///
/// # Errors
/// Fails with `NotFound` if it does not exist, and if it is corrupt.
pub(crate) fn read(store: &Store, number: u64) -> io::Result<Generation> {
    let name = generation_name(number);
    let bytes = store.get(&name, SEALED_BYTES_MAX)?;
    Generation::parse(number, &bytes).map_err(|error| store.name_error(&name, error))
}

/// Reads the newest generation. Returns `None` if there is none.
///
/// A listing may be a little older than the store: generations that follow the one that it shows are looked up by
/// their names.
///
/// # Errors
/// Fails if the store cannot be read, or if the newest generation is corrupt.
pub(crate) fn newest(store: &Store) -> io::Result<Option<Generation>> {
    for _ in 0..SEARCHES_MAX {
        let Some(listed) = list(store, FIRST_NAMES)?.first().copied() else { return Ok(None) };
        let mut found = match read(store, listed.number) {
            Ok(found) => found,
            // It was collected after it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        loop {
            match read(store, found.number.saturating_add(1)) {
                Ok(next) => found = next,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(found)),
                Err(error) => return Err(error),
            }
        }
    }
    let text = format!("{}: generations disappear as fast as they are listed", store.url());
    Err(io::Error::other(text))
}

/// Commits a generation: stores its record, unless another writer was faster.
///
/// # Errors
/// Fails with `ResourceBusy` if another writer has committed this generation. After any other error it may be
/// committed, or not.
pub(crate) fn commit(store: &Store, generation: &Generation) -> io::Result<()> {
    let bytes = Bytes::from(generation.encode()?);
    let name = generation_name(generation.number);
    let error = match store.put(&name, bytes.clone()) {
        Ok(Put::Created) => return Ok(()),
        Ok(Put::Exists) => None,
        Err(error) => Some(error),
    };
    // Either another writer was faster, or the answer to a request of this one was lost.
    match (store.get(&name, SEALED_BYTES_MAX), error) {
        (Ok(found), _) if found == bytes => Ok(()),
        (Ok(_), _) => Err(overtaken(store, generation.number)),
        (Err(_), Some(error)) | (Err(error), None) => Err(error),
    }
}

/// Fails if there is a newer generation than `number`: this writer stalled for so long that others committed the same
/// number, and even collected it.
///
/// # Errors
/// Fails with `ResourceBusy` in this case, and if generations cannot be listed.
pub(crate) fn confirm_newest(store: &Store, number: u64) -> io::Result<()> {
    match list(store, FIRST_NAMES)?.first() {
        Some(newest) if newest.number > number => Err(overtaken(store, newest.number)),
        _ => Ok(()),
    }
}

fn overtaken(store: &Store, number: u64) -> io::Error {
    let text = format!(
        "{}: another writer has committed generation {number}; nothing was changed by this one",
        store.url()
    );
    io::Error::new(ErrorKind::ResourceBusy, text)
}
