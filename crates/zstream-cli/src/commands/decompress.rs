//! `zstream decompress`: decompresses selected blocks of a stream.

use zstream::edits::{BlockName, EditRequestError};
use zstream_format::edit::{DecompressBlocks, DecompressOutcome, decompress};
use zstream_format::ids::ObjectId;

use crate::failure::Failure;
use crate::input::{Input, note_padding};
use crate::output;

/// Decompresses selected blocks of a stream
///
/// Reads a stream from standard input and writes it to standard output. The named blocks are decompressed with
/// the given algorithm, regardless of the compression that their records name. This repairs streams whose blocks
/// are labelled with the wrong compression. `off` labels an uncompressed block as uncompressed. A block that
/// cannot be decompressed is left unchanged and reported on standard error, and the exit code is 1.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream decompress -v 130,0,lz4 130,131072,lz4 < in.zfs > out.zfs
  zstream dump -v in.zfs | grep '^WRITE object = 130 '       lists the offsets of the blocks")]
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
        let mut blocks = DecompressBlocks::new();
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
            left += u64::from(!matches!(outcome, DecompressOutcome::Decompressed | DecompressOutcome::Reset));
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

    fn tell(&self, object: ObjectId, offset: u64, outcome: &DecompressOutcome) {
        let place = format_args!("ino {} offset {offset}", object.0);
        match outcome {
            DecompressOutcome::Decompressed if self.verbose => eprintln!("successfully decompressed {place}"),
            DecompressOutcome::Reset if self.verbose => {
                eprintln!("Resetting compression type to off for {place}")
            }
            DecompressOutcome::Decompressed | DecompressOutcome::Reset => {}
            DecompressOutcome::Failed(error) => {
                eprintln!("zstream: decompression failed for {place}: {error}")
            }
            DecompressOutcome::NotPlain { payload_len, logical_size } => eprintln!(
                "zstream: compression type not reset for {place}: the payload is {payload_len} bytes, \
                 the block {logical_size}"
            ),
            DecompressOutcome::Raw => {
                eprintln!("zstream: not decompressed: {place} is a block of a raw stream")
            }
            _ => eprintln!("zstream: {outcome:?}: {place}"),
        }
    }
}
