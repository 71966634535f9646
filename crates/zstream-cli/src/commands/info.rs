//! `zstream info`: the content of stream files, from the headers alone.
//!
//! The forms of the output are those of [`summary_text`] and [`zstream::json::summary`].

use std::path::PathBuf;

use zstream::info::summary_text;
use zstream_format::stream::StreamReader;
use zstream_format::summary::summarize;

use crate::failure::Failure;
use crate::input::{Input, note_padding};
use crate::output;

/// Shows the snapshots in a stream: names, guids, sizes, properties
///
/// Reads only the headers, which takes a few seeks in a file, and does not verify the data; use `zstream verify`
/// for that. If the stream is damaged, everything before the damage is shown.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream info backup.zfs
  zstream info --json backup.zfs | jq '.streams[].snapshots[].name'")]
pub(crate) struct Args {
    /// Print one JSON object for each file
    #[arg(long)]
    json: bool,
    /// Stream files; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut first_failure = None;
        for file in &self.files {
            let input = match Input::open(Some(file)) {
                Ok(input) => input,
                Err(failure) => {
                    first_failure.get_or_insert(failure);
                    continue;
                }
            };
            let summary = match input.regular_file() {
                Some(file) => summarize(
                    StreamReader::seekable(file)
                        .map_err(|error| Failure::new(format_args!("cannot read: {error}")))?,
                ),
                None => summarize(StreamReader::new(input.into_read())),
            };
            if !self.json {
                note_padding(Some(file), summary.padding_bytes);
            }
            let text = if self.json {
                format!("{}\n", zstream::json::summary(file, &summary))
            } else {
                summary_text(file, &summary)
            };
            output::print(&text)?;
            if let Some(error) = summary.error {
                first_failure.get_or_insert(Failure::new(format_args!("{}: {error}", file.display())));
            }
        }
        first_failure.map_or(Ok(()), Err)
    }
}
