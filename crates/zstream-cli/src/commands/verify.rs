//! `zstream verify`: checks that files hold complete streams that a receiver accepts.
//!
//! The form of the output of `--json` is that of [`zstream::json::verdict`].

use std::path::{Path, PathBuf};

use zstream_format::verify::{Options, Verdict, verify, verify_at};

use crate::failure::Failure;
use crate::input::Input;
use crate::output;
use crate::text::Count;

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
                (outcome, false) => report(file, outcome),
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

fn report(file: &Path, outcome: &Result<Verdict, Failure>) -> String {
    let file = crate::text::line(file.display());
    let verdict = match outcome {
        Ok(verdict) => verdict,
        Err(failure) => return format!("{file}: {}\n", failure.message().unwrap_or_default()),
    };
    let mut text = match &verdict.error {
        None => format!(
            "{file}: valid, {} in {} and {}\n",
            Count(verdict.snapshots, "snapshot"),
            Count(verdict.records, "record"),
            Count(verdict.bytes, "byte"),
        ),
        Some(error) => {
            let mut text = format!("{file}: invalid: {}\n", crate::text::line(error));
            if let Some((expected, found)) = error.fault().expected_and_found() {
                text += &format!("  expected {}\n", crate::text::line(expected));
                text += &format!("  found    {}\n", crate::text::line(found));
            }
            text += &format!(
                "  intact   {}, {} complete{}\n",
                Count(verdict.good_bytes, "byte"),
                Count(verdict.snapshots, "snapshot"),
                verdict
                    .inside
                    .as_ref()
                    .map_or(String::new(), |name| format!("; the fault is in {}", crate::text::line(name))),
            );
            if let Some(hint) = zstream::advice(verdict) {
                text += &format!("  note     {hint}\n");
            }
            text
        }
    };
    if verdict.padding_bytes > 0 {
        text += &format!("  {}\n", zstream::padding_note(verdict.padding_bytes));
    }
    for note in &verdict.notes {
        text += &crate::text::line(format_args!("  warning  {} ({})", note.warning, note.place));
        if note.count > 1 {
            text += &format!(", {} times", note.count);
        }
        text += "\n";
    }
    text
}
