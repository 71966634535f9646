//! Requests of edits of streams, in the words of a command line.

use std::collections::BTreeSet;
use std::str::FromStr;

use zstream_format::algorithm::CompressionType;
use zstream_format::compress::{Compression, ZstdLevel};
use zstream_format::edit::{Recompress, Selected, SelectedForm, Selector};
use zstream_format::ids::ObjectId;
use zstream_format::summary::{Summary, split_name};

use crate::text::name;

/// A request of an edit that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditRequestError {
    /// The name of a block ends before a number.
    #[error("no {what} in `{text}`")]
    NoNumber {
        /// `object` or `offset`.
        what: &'static str,
        /// The name.
        text: String,
    },
    /// A number in the name of a block is not valid.
    #[error("invalid value for {what}: `{word}` in `{text}`")]
    Number {
        /// `object` or `offset`.
        what: &'static str,
        /// The number.
        word: String,
        /// The name.
        text: String,
    },
    /// Blocks are not stored with such a compression.
    #[error("invalid compression type {0}: use off, lz4, lzjb, gzip, zle or zstd")]
    BlockCompression(String),
    /// Blocks cannot be compressed so.
    #[error("invalid compression type {0}")]
    Compression(String),
    /// The level is part of the compression, and given on its own.
    #[error("two levels are given: that of {0} and that of -l")]
    TwoLevels(String),
    /// There is no such level.
    #[error("zstd does not have level {0} in ZFS")]
    Level(i32),
    /// A package holds the snapshots of one dataset.
    #[error("--package accepts snapshots of one dataset only")]
    SeveralDatasets,
    /// The stream does not contain a snapshot or dataset of this name.
    #[error("the stream does not contain {0}")]
    NoSuchName(String),
}

/// A block by name, `OBJECT,OFFSET[,TYPE]`, with the compression that it has. Numbers are in C notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockName {
    /// The object.
    pub object: ObjectId,
    /// The offset of the block in bytes.
    pub offset: u64,
    /// Its compression; LZ4 if none is named.
    pub compression: CompressionType,
}

impl FromStr for BlockName {
    type Err = EditRequestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.splitn(3, ',');
        let mut next = |what| {
            let word =
                words.next().ok_or_else(|| EditRequestError::NoNumber { what, text: text.to_owned() })?;
            number(word).ok_or_else(|| EditRequestError::Number {
                what,
                word: word.to_owned(),
                text: text.to_owned(),
            })
        };
        let (object, offset) = (ObjectId(next("object")?), next("offset")?);
        let compression = match words.next() {
            None => CompressionType::LZ4,
            // All levels of gzip have one decoder.
            Some("gzip") => CompressionType::GZIP_1,
            Some(name) => match CompressionType::from_name(name) {
                Some(CompressionType::INHERIT | CompressionType::ON | CompressionType::EMPTY) | None => {
                    return Err(EditRequestError::BlockCompression(name.to_owned()));
                }
                Some(kind) => kind,
            },
        };
        Ok(Self { object, offset, compression })
    }
}

/// A number in C notation.
fn number(word: &str) -> Option<u64> {
    let (digits, radix) = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if word.len() > 1 && word.starts_with('0') => (&word[1..], 8),
        None => (word, 10),
    };
    // The standard library takes a plus sign.
    u64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'))
}

/// The recompression to this type, such as `lz4`, `zstd-9` or `off`, with a level in zstd's numbering or in that of ZFS, where
/// the fast levels have numbers above 100. Level 0 is the default.
///
/// # Errors
/// The type or the level does not exist, or two levels are given.
pub fn recompress(compression: &str, level: Option<i32>) -> Result<Recompress, EditRequestError> {
    let unknown = || EditRequestError::Compression(compression.to_owned());
    let Compression { kind, level: own } = compression.parse().map_err(|_| unknown())?;
    if kind == CompressionType::ON {
        return Err(unknown());
    }
    let level = match level {
        Some(_) if own.is_some() => return Err(EditRequestError::TwoLevels(compression.to_owned())),
        Some(number) if kind == CompressionType::ZSTD && number != 0 => {
            let of_zfs = || u8::try_from(number).ok().and_then(ZstdLevel::from_cookie);
            let level = ZstdLevel::from_library(number).or_else(of_zfs);
            Some(level.ok_or(EditRequestError::Level(number))?)
        }
        _ => own,
    };
    Ok(Recompress { kind, level })
}

/// Checks the names of a selection against the content of a stream, and gives the form of the result: with `package` one
/// package of snapshots of one dataset.
///
/// # Errors
/// The first name that the stream does not contain; snapshots of several datasets in one package.
pub fn selection_form<S: AsRef<str>>(
    summary: &Summary,
    names: &[S],
    package: bool,
) -> Result<SelectedForm, EditRequestError> {
    let snapshots: Vec<&[u8]> = summary.snapshots.iter().map(|snapshot| snapshot.name.as_bytes()).collect();
    form_of(&snapshots, names, package)
}

fn form_of<S: AsRef<str>>(
    snapshots: &[&[u8]],
    names: &[S],
    package: bool,
) -> Result<SelectedForm, EditRequestError> {
    let wanted: Vec<_> = names.iter().map(|name| Selector::new(name.as_ref().as_bytes())).collect();
    for (wanted, name) in wanted.iter().zip(names) {
        if !snapshots.iter().any(|snapshot| wanted.matches(snapshot)) {
            return Err(EditRequestError::NoSuchName(name.as_ref().to_owned()));
        }
    }
    if !package {
        return Ok(SelectedForm::Plain);
    }
    let mut chosen = snapshots.iter().filter(|name| wanted.iter().any(|wanted| wanted.matches(name)));
    let datasets: BTreeSet<_> = chosen.clone().map(|name| split_name(name).0).collect();
    match chosen.next_back() {
        _ if datasets.len() > 1 => Err(EditRequestError::SeveralDatasets),
        last => Ok(SelectedForm::Package(last.map_or_else(Vec::new, |name| name.to_vec()))),
    }
}

/// The selected snapshots that require another one that is not among those before them: the receiver must have it.
pub fn requirements(written: &[Selected]) -> impl Iterator<Item = &Selected> {
    let is_at_hand = |index: usize, selected: &Selected| {
        written[..index].iter().any(|before| before.to_guid == selected.from_guid)
    };
    let enumerated = written.iter().enumerate();
    let needs = move |(index, selected): &(usize, &Selected)| {
        selected.from_guid.0 != 0 && !is_at_hand(*index, selected)
    };
    enumerated.filter(needs).map(|(_, selected)| selected)
}

/// What a receiver requires besides a selected snapshot: one of [`requirements`] as a line.
#[must_use]
pub fn requirement(selected: &Selected) -> String {
    let what = if selected.is_clone { "a clone of" } else { "an increment from" };
    format!(
        "{} is {what} the snapshot with guid {}, which the receiver must have",
        name(&selected.name),
        selected.from_guid.0,
    )
}

/// The maximum number of names that an error lists.
const LISTED: usize = 20;

/// The error of a name that is not in a stream, with the names that are: lines of a message.
#[must_use]
pub fn no_such_name(given: &str, summary: &Summary) -> Vec<String> {
    let mut lines = vec![format!("the stream does not contain {given}; it contains")];
    let listed = summary.snapshots.iter().take(LISTED);
    lines.extend(listed.map(|snapshot| format!("  {}", name(snapshot.name.as_bytes()))));
    match summary.snapshots.len() {
        0 => lines[0] += " no snapshot",
        all if all > LISTED => lines.push(format!("  and {} more: see zstream info", all - LISTED)),
        _ => {}
    }
    lines
        .extend(summary.error.as_ref().map(|error| format!("the stream cannot be read to its end: {error}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_c() {
        for (word, value) in [("0", 0), ("10", 10), ("010", 8), ("0x10", 16), ("0XfF", 255), ("00", 0)] {
            assert_eq!(number(word), Some(value), "{word}");
        }
        for word in ["", "0x", "x", "1x", "-1", "+1", "0x+1", "08", " 1", "18446744073709551616"] {
            assert_eq!(number(word), None, "{word}");
        }
    }

    #[test]
    fn blocks_have_names() {
        let block = |text: &str| text.parse::<BlockName>();
        let named =
            |object, offset, compression| Ok(BlockName { object: ObjectId(object), offset, compression });
        assert_eq!(block("130,0"), named(130, 0, CompressionType::LZ4));
        assert_eq!(block("0x10,010,gzip"), named(16, 8, CompressionType::GZIP_1));
        assert_eq!(block("1,2,off"), named(1, 2, CompressionType::OFF));
        let message = |text: &str| block(text).unwrap_err().to_string();
        assert_eq!(message("1"), "no offset in `1`");
        assert_eq!(message("x,2"), "invalid value for object: `x` in `x,2`");
        assert_eq!(block("1,2,on"), Err(EditRequestError::BlockCompression("on".to_owned())));
    }

    #[test]
    fn levels_are_those_of_zstd_or_of_zfs() {
        let level = |kind, level| recompress(kind, level).map(|how| how.level);
        assert_eq!(level("zstd", Some(0)), Ok(None));
        assert_eq!(level("zstd", Some(19)), Ok(ZstdLevel::from_library(19)));
        assert_eq!(level("zstd", Some(-5)), Ok(ZstdLevel::from_library(-5)));
        assert_eq!(level("lz4", Some(7)), Ok(None));
        assert_eq!(level("zstd", Some(77)), Err(EditRequestError::Level(77)));
        assert_eq!(level("zstd-3", Some(3)), Err(EditRequestError::TwoLevels("zstd-3".to_owned())));
        assert_eq!(level("on", None), Err(EditRequestError::Compression("on".to_owned())));
    }

    #[test]
    fn a_package_holds_snapshots_of_one_dataset() {
        let snapshots: [&[u8]; 3] = [b"p@a", b"p@b", b"p/x@b"];
        let form = |names: &[&str], package| form_of(&snapshots, names, package);
        assert!(matches!(form(&["p", "p/x@b"], false), Ok(SelectedForm::Plain)));
        assert!(matches!(form(&["p"], true), Ok(SelectedForm::Package(last)) if last == b"p@b"));
        assert!(matches!(form(&["p@a"], true), Ok(SelectedForm::Package(last)) if last == b"p@a"));
        assert!(matches!(form(&["p", "p/x"], true), Err(EditRequestError::SeveralDatasets)));
        assert!(
            matches!(form(&["p", "p@c"], false), Err(EditRequestError::NoSuchName(name)) if name == "p@c")
        );
    }
}
