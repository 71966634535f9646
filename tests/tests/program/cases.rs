//! The command line, case by case: `tests/cases/*.md` are sessions of a shell, which [`session`] runs. A new case needs no
//! Rust: write the command, and let `BLESS=1` write what it prints.

use std::path::Path;

use zstream_tests::{golden, session};

/// `$GOLDEN` is the directory of the golden streams.
#[test]
fn cases_are_true() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let streams = golden::stream_path("fs-full");
    let streams = streams.parent().expect("a directory");
    let pages = session::assert_true(&cases, &[("GOLDEN", streams)]);
    assert!(pages >= 4, "cases are missing: {pages}");
}
