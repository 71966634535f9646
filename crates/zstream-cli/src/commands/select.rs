//! `zstream select`: single datasets and snapshots from a package.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::path::PathBuf;

use zstream::edits::{EditRequestError, no_such_name, requirement, requirements, selection_form};
use zstream_format::edit::{SelectedForm, Selector, select};
use zstream_format::stream::StreamReader;
use zstream_format::summary::summarize;

use crate::failure::Failure;
use crate::input::{Input, note_padding};
use crate::output;

/// Extracts single datasets or snapshots from a package
///
/// Writes the streams of the selected snapshots unchanged and in the order of the package. One `zfs receive`
/// reads one stream: for several snapshots run several that read the same input, or use --package. The whole
/// package is read and verified. The snapshot that an increment requires is reported on standard error.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream select all.zfs tank/home@monday | zfs receive backup/home
  zstream select all.zfs tank/home@mon tank/home@tue |
      { zfs receive backup/home && zfs receive backup/home; }
  zstream select --package all.zfs tank/home | zfs receive backup/home")]
pub(crate) struct Args {
    /// Write one package, as `zfs send -I` does, instead of one stream per snapshot
    ///
    /// All snapshots must belong to one dataset. The package contains no properties.
    #[arg(long)]
    package: bool,
    /// Package file, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Exact name of a snapshot, or of a dataset to select all its snapshots (without those of descendants)
    #[arg(value_name = "DATASET[@SNAP]", required = true)]
    names: Vec<String>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let input = Input::open(Some(&self.file))?;
        let wanted: Vec<_> = self.names.iter().map(|name| Selector::new(name.as_bytes())).collect();
        // A file is looked through first, so that nothing is written if a name is wrong. A pipe cannot be.
        let form = match input.regular_file() {
            Some(file) => self.look_through(file)?,
            None if self.package => {
                return Err(Failure::usage("--package requires a file: its header names the last snapshot"));
            }
            None => SelectedForm::Plain,
        };
        let mut out = output::binary()?;
        let selection = select(input.into_read(), &wanted, &form, &mut out)?;
        if let Some(index) = selection.missing.first() {
            return Err(Failure::new(format_args!("the stream does not contain {}", self.names[*index])));
        }
        note_padding(Some(&self.file), selection.padding_bytes);
        requirements(&selection.written).for_each(|selected| eprintln!("zstream: {}", requirement(selected)));
        Ok(())
    }

    /// Checks the names against the content of the file.
    fn look_through(&self, file: &File) -> Result<SelectedForm, Failure> {
        let unreadable = |error| Failure::new(format_args!("cannot read: {error}"));
        // The position belongs to the file: the next reader starts at it.
        let mut position = file;
        let start = position.stream_position().map_err(unreadable)?;
        let summary = summarize(StreamReader::seekable(file).map_err(unreadable)?);
        position.seek(SeekFrom::Start(start)).map_err(unreadable)?;
        selection_form(&summary, &self.names, self.package).map_err(|error| match error {
            EditRequestError::NoSuchName(name) => Failure::lines(&no_such_name(&name, &summary)),
            error => Failure::usage(error),
        })
    }
}
