//! `zstream verify`: checks that files hold complete streams that a receiver accepts.
//!
//! The form of the output of `--json` is that of [`zstream::json::verdict`].

use std::path::PathBuf;

use zstream_format::verify::{Options, verify, verify_at};

use crate::failure::Failure;
use crate::input::Input;
use crate::output;
use crate::text::line;

/// Verifies that files contain complete, intact streams
///
/// Exit code 0 means that every checksum matches, a receiver accepts every record, the END record is present, and
/// only another stream may follow it. Otherwise the exit code is 1, and the report shows the location of the
/// fault, the expected and the found value, and how much of the stream before it is intact. Signs of known sender
/// bugs are shown as warnings. Uses all cores.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream verify backup.zfs
  zstream verify --json *.zfs | jq -r 'select(.ok | not) | .file'
  zfs send -R pool@snap | tee backup.zfs | zstream verify -")]
pub(crate) struct Args {
    /// Print one JSON object per file
    #[arg(long)]
    json: bool,
    /// Also verify the sender's block checksums, and decompress all blocks
    ///
    /// The checksums of a stream prove that it is what the sender wrote. Many records also contain the checksum of
    /// the block on the sender's disk, or its authentication code. This option verifies these too. It finds blocks
    /// that were damaged before they were sent, and is slower.
    #[arg(long)]
    deep: bool,
    /// Stream files; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let options = Options { deep: self.deep, ..Options::default() };
        let mut bad = Vec::new();
        for file in &self.files {
            let outcome = Input::open(Some(file)).map(|input| match input.into_positioned() {
                Ok(file) => verify_at(&file, file.start(), options),
                Err(pipe) => verify(pipe.into_silent_read(), options),
            });
            let text = match (&outcome, self.json) {
                (Ok(verdict), true) => format!("{}\n", zstream::json::verdict(file, verdict)),
                (Err(failure), true) => {
                    format!("{}\n", zstream::json::not_opened(file, failure.message().unwrap_or_default()))
                }
                (Ok(verdict), false) => zstream::verdict_text(file, verdict),
                (Err(failure), false) => {
                    format!("{}: {}\n", line(file.display()), failure.message().unwrap_or_default())
                }
            };
            // Each file's report is there once it is known.
            output::print(&text)?;
            if !outcome.is_ok_and(|verdict| verdict.is_good()) {
                bad.push(file);
            }
        }
        match bad[..] {
            [] => Ok(()),
            [file] => Err(Failure::new(format_args!("verification of {} failed", file.display()))),
            _ => Err(Failure::new(format_args!(
                "verification of {} of {} files failed",
                bad.len(),
                self.files.len()
            ))),
        }
    }
}
