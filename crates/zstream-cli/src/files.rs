//! The arguments of verbs that read files: a dataset, then paths in it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use zstream::Source;

use crate::failure::Failure;
use crate::pool::{PoolOptions, warnings};

/// Opens the dataset that the first of `words` names, and returns the other words: the paths in it. The name is
/// optional if the streams hold a single snapshot.
pub(crate) fn open<'a>(
    options: &PoolOptions,
    words: &'a [OsString],
) -> Result<(Source, &'a [OsString]), Failure> {
    if let Some(place) = options.streams() {
        let streams = place.open()?;
        let first = words.first().and_then(|word| word.to_str());
        let named = first.and_then(|name| streams.find(Some(name)).ok());
        let (number, paths) = match named {
            Some(number) => (number, &words[1..]),
            // With one snapshot the word is a path; with several its name is missed.
            None if streams.snapshots().len() == 1 => (streams.find(None).map_err(Failure::new)?, words),
            None => (streams.find(first).map_err(Failure::new)?, words),
        };
        return Ok((Source::in_streams(streams, number, options, &mut warnings())?, paths));
    }
    let Some((name, paths)) = words.split_first() else {
        return Err(Failure::usage("no dataset given: `zstream list` shows them"));
    };
    let name = dataset(name.as_bytes())?;
    Ok((Source::in_pool(&options.place()?, name, options, &mut warnings())?, paths))
}

/// Splits `DATASET:/PATH` into the dataset and the path in it, which is empty if there is none.
pub(crate) fn split(word: &OsStr) -> Result<(&str, &[u8]), Failure> {
    let (name, path) = zstream::split_target(word.as_bytes());
    Ok((dataset(name)?, path))
}

fn dataset(name: &[u8]) -> Result<&str, Failure> {
    std::str::from_utf8(name).map_err(|_| Failure::usage("dataset names are ASCII"))
}
