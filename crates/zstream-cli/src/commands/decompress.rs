//! `zstream decompress`: decompresses selected blocks of a stream.

use zstream::edits::{BlockName, EditRequestError};
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
            let block: BlockName = text.parse().map_err(|error| match error {
                // As OpenZFS's `zstream` exits.
                EditRequestError::BlockCompression(_) => Failure::usage(error),
                error => Failure::new(error),
            })?;
            blocks.insert((block.object, block.offset), block.compression);
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
