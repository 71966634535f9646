//! `zstream decompress`: decompresses selected blocks of a stream.

use std::str::FromStr;

use zstream_format::algorithm::CompressionType;
use zstream_format::edit::decompress::{Blocks, Outcome, decompress};
use zstream_format::ids::ObjectId;

use crate::failure::Failure;
use crate::input::{Input, note_padding};
use crate::output;

/// The options of `zstream decompress`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Report each decompressed block on standard error
    #[arg(short, long)]
    verbose: bool,
    /// Blocks: object number, offset in bytes, and compression: off, lz4 (default), lzjb, gzip, zle or zstd
    ///
    /// Numbers are decimal, octal (leading 0) or hexadecimal (leading 0x).
    #[arg(value_name = "OBJECT,OFFSET[,TYPE]")]
    blocks: Vec<String>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut blocks = Blocks::new();
        for text in &self.blocks {
            let block: Block = text.parse()?;
            blocks.insert((block.object, block.offset), block.kind);
        }
        let input = Input::open(None)?;
        let output = output::binary()?;
        let mut left = 0u64;
        let (_, summary) = decompress(input.into_read(), output, &blocks, |object, offset, outcome| {
            left += u64::from(!matches!(outcome, Outcome::Decompressed | Outcome::Reset));
            self.tell(object, offset, outcome);
        })?;
        note_padding(None, summary.padding_bytes);
        match left {
            0 => Ok(()),
            _ => Err(Failure::new(format_args!(
                "the stream is complete, but {left} blocks were left unchanged"
            ))),
        }
    }

    fn tell(&self, object: ObjectId, offset: u64, outcome: &Outcome) {
        let place = format_args!("ino {} offset {offset}", object.0);
        match outcome {
            Outcome::Decompressed if self.verbose => eprintln!("successfully decompressed {place}"),
            Outcome::Reset if self.verbose => eprintln!("Resetting compression type to off for {place}"),
            Outcome::Decompressed | Outcome::Reset => {}
            Outcome::Failed(error) => eprintln!("zstream: decompression failed for {place}: {error}"),
            Outcome::NotPlain { payload_len, logical_size } => eprintln!(
                "zstream: compression type not reset for {place}: the payload is {payload_len} bytes, \
                 the block {logical_size}"
            ),
            Outcome::Raw => eprintln!("zstream: not decompressed: {place} is a block of a raw stream"),
            _ => eprintln!("zstream: {outcome:?}: {place}"),
        }
    }
}

/// A block named on the command line.
struct Block {
    object: ObjectId,
    offset: u64,
    kind: CompressionType,
}

impl FromStr for Block {
    type Err = Failure;

    /// Exit codes are those of OpenZFS's `zstream`: 1 for an invalid number, 2 for an unknown type.
    fn from_str(text: &str) -> Result<Self, Failure> {
        let mut words = text.splitn(3, ',');
        let mut next = |what: &str| {
            let word = words.next().ok_or_else(|| Failure::new(format_args!("no {what} in `{text}`")))?;
            number(word)
                .ok_or_else(|| Failure::new(format_args!("invalid value for {what}: `{word}` in `{text}`")))
        };
        let (object, offset) = (ObjectId(next("object")?), next("offset")?);
        let kind = match words.next() {
            None => CompressionType::LZ4,
            // All levels of gzip have one decoder.
            Some("gzip") => CompressionType::GZIP_1,
            Some(name) => match CompressionType::from_name(name) {
                Some(CompressionType::INHERIT | CompressionType::ON | CompressionType::EMPTY) | None => {
                    return Err(Failure::usage(format_args!(
                        "invalid compression type {name}: use off, lz4, lzjb, gzip, zle or zstd"
                    )));
                }
                Some(kind) => kind,
            },
        };
        Ok(Self { object, offset, kind })
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
}
