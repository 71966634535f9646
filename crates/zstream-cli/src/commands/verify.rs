//! `zstream verify`: checks that files hold complete streams that a receiver accepts.
//!
//! With `--json` each file gives one line, an object with these keys:
//!
//! | key | value |
//! | --- | --- |
//! | `file` | the name as given |
//! | `ok` | whether it holds whole streams and nothing else |
//! | `bytes`, `records` | how much there is, up to the record that is wrong |
//! | `good_bytes` | how much of it a checksum vouches for |
//! | `padding_bytes` | how many zeros follow the last stream |
//! | `streams`, `snapshots` | how many whole ones there are |
//! | `error` | `null`, or an object: `kind`, `message`, `offset`, `record` (its number), `record_type`, `expected`, `found` (strings or `null`), `snapshot` |
//! | `warnings` | a list of objects: `kind`, `message`, `offset`, `record`, `record_type`, `count` |

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zstream_format::place::Place;
use zstream_format::stream::Fault;
use zstream_format::verify::{Note, Options, Verdict, verify, verify_at};

use crate::failure::Failure;
use crate::input::Input;
use crate::output;
use crate::text::Count;

/// The options of `zstream verify`.
#[derive(Debug, clap::Args)]
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
        let mut out = output::text()?;
        let mut bad = Vec::new();
        for file in &self.files {
            let outcome = Input::open(Some(file)).map(|input| match input.into_positioned() {
                Ok(file) => verify_at(&file, file.start(), options),
                Err(pipe) => verify(pipe.into_silent_read(), options),
            });
            let text = if self.json { json_line(file, &outcome) } else { report(file, &outcome) };
            // Each file's report is there once it is known.
            out.write_all(text.as_bytes())
                .and_then(|()| out.flush())
                .map_err(|error| Failure::output(&error))?;
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
        Err(failure) => return format!("{file}: {}\n", failure.message()),
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
            if let Some(hint) = hint(verdict) {
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

/// A hint at the cause of the error, or at what to do.
fn hint(verdict: &Verdict) -> Option<&'static str> {
    let error = verdict.error.as_ref()?;
    match error.fault() {
        _ if verdict.may_be_saved_partial() => Some(
            "its records belong to another dataset than its BEGIN: this is a partial receive saved with \
             zfs send -S; receive it with zfs receive -s, then resume",
        ),
        Fault::NoEnd => Some(
            "it ends after a complete record: cut short, or a partial receive saved with zfs send -S, which has no END",
        ),
        Fault::Truncated { .. } if verdict.inside.is_some() => {
            Some("zstream resume-token shows how to resume it")
        }
        _ => None,
    }
}

fn place(place: Place) -> Value {
    json!({
        "offset": place.offset,
        "record": place.index,
        "record_type": place.record.map(|kind| kind.name()),
    })
}

fn with(mut value: Value, more: Value) -> Value {
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

fn json_line(file: &Path, outcome: &Result<Verdict, Failure>) -> String {
    let file = file.to_string_lossy();
    let value = match outcome {
        Err(failure) => json!({
            "file": file, "ok": false, "bytes": 0, "records": 0, "good_bytes": 0, "padding_bytes": 0, "streams": 0, "snapshots": 0,
            "error": { "kind": "open", "message": failure.message(), "offset": null, "record": null,
                "record_type": null, "expected": null, "found": null, "snapshot": null },
            "warnings": [],
        }),
        Ok(verdict) => json!({
            "file": file,
            "ok": verdict.is_good(),
            "bytes": verdict.bytes,
            "records": verdict.records,
            "good_bytes": verdict.good_bytes,
            "padding_bytes": verdict.padding_bytes,
            "streams": verdict.streams,
            "snapshots": verdict.snapshots,
            "error": error(verdict),
            "warnings": verdict.notes.iter().map(warning).collect::<Vec<_>>(),
        }),
    };
    format!("{value}\n")
}

fn error(verdict: &Verdict) -> Value {
    let Some(error) = &verdict.error else { return Value::Null };
    let (expected, found) = error.fault().expected_and_found().unzip();
    with(
        json!({
            "kind": error.fault().kind(),
            "message": error.fault().to_string(),
            "expected": expected,
            "found": found,
            "snapshot": verdict.inside,
        }),
        place(error.place()),
    )
}

fn warning(note: &Note) -> Value {
    with(
        json!({
            "kind": note.warning.kind(),
            "message": note.warning.to_string(),
            "count": note.count,
        }),
        place(note.place),
    )
}
