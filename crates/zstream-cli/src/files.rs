//! The words of verbs that read files: which dataset, then the paths in it.

use std::ffi::OsString;

use zstream::Source;

use crate::failure::Failure;
use crate::pool::{PoolOptions, warnings};

/// Opens what the first of `words` names, and gives the others back: the paths in it. With streams whose only snapshot is
/// meant the name may be left out.
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
    let name = name.to_str().ok_or_else(|| Failure::usage("dataset names are ASCII"))?;
    Ok((Source::in_pool(&options.place()?, name, options, &mut warnings())?, paths))
}
