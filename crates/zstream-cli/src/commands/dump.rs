//! `zstream dump`: the records of a stream as OpenZFS's `zstream dump` prints them.

use std::path::PathBuf;

use zstream::dump::{Dump, DumpOptions};
use zstream_format::stream::{Checking, StreamReader};

use crate::failure::Failure;
use crate::input::{Input, note_padding};
use crate::output;

/// Prints the records of a stream
///
/// Without options, prints the BEGIN and END records of each snapshot and the number of records of each type, in
/// the format of OpenZFS's `zstream dump`. All checksums are verified; the dump stops at the first mismatch with
/// exit code 1.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream dump backup.zfs            summary of the stream
  zstream dump -v backup.zfs         one line per record
  zfs send pool/fs@snap | zstream dump")]
pub(crate) struct Args {
    /// Print one line per record; -vv also prints checksums
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Do not compute checksums; check only the structure of the stream
    #[arg(short = 'C', long)]
    no_checksums: bool,
    /// Also print payloads in hex and ASCII; implies -vv
    #[arg(short, long)]
    dump: bool,
    /// Stream file, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let input = Input::open(self.file.as_deref())?;
        let mut options = DumpOptions::default();
        options.payloads = self.dump;
        options.verbosity = if self.dump { 2 } else { self.verbose };
        let mut dump = Dump::new(output::same_text()?, options);
        let outcome = if !self.no_checksums {
            dump.verify(input.into_read())
        } else if let (false, Some(file)) = (self.dump, input.regular_file()) {
            let reader = StreamReader::seekable(file)
                .map_err(|error| Failure::new(format_args!("cannot read: {error}")))?;
            dump.read(reader)
        } else {
            dump.read(StreamReader::new(input.into_read()).checking(Checking::Shape))
        };
        note_padding(self.file.as_deref(), *outcome.as_ref().unwrap_or(&0));
        Ok(dump.finish(outcome.map(drop))?)
    }
}
