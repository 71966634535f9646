//! Runs OpenZFS's own programs. Only tests named `interop_...` do, which are ignored unless asked for:
//! `cargo xtask interop` checks that the programs are there.

use crate::golden::Outcome;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a program of OpenZFS lies; panics when it is not installed.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into(), "/usr/local/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("OpenZFS's {name} is not installed: run `cargo xtask interop`"))
}

/// Runs a program of OpenZFS to its end, `stdin` from a file or empty.
pub fn run(name: &str, args: &[&str], stdin: Option<&Path>) -> Outcome {
    let stdin = stdin.map_or_else(Stdio::null, |file| File::open(file).expect("a file to read").into());
    let output = Command::new(program(name)).args(args).stdin(stdin).output().expect("the program runs");
    // a program that ends by a signal has no exit code; a shell shows 128 and the signal's number
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status).map(|n| 128 + n);
    let code = output.status.code().or(signal).expect("an exit code or a signal");
    Outcome { stdout: output.stdout, stderr: output.stderr, code }
}

/// Asserts that `zdb -bcc` finds every block of a pool with members in `dir` whole, and no place lost.
///
/// # Panics
/// It does not.
pub fn assert_no_leaks(dir: &Path, pool: &str) {
    assert_no_leaks_by("zdb", dir, pool);
}

/// Asserts that `zdb -d` finds livelists that fit their clones, features that are counted as often as they are used, and no
/// object of the MOS that nothing refers to.
///
/// # Panics
/// It does not.
pub fn assert_no_lost_objects(zdb: &str, dir: &Path, pool: &str) {
    let (dir, program) = (dir.to_str().expect("UTF-8"), program(zdb));
    // It may not end by itself.
    let args = ["60", program.to_str().expect("UTF-8"), "-e", "-p", dir, "-d", pool];
    let outcome = run("timeout", &args, None);
    let text = String::from_utf8_lossy(&[outcome.stdout, outcome.stderr].concat()).into_owned();
    let is_bad = ["leaked", "ERROR", "Discrepancy", "incorrect", "does not match", "mismatch"];
    let is_clean = !is_bad.iter().any(|word| text.contains(word)) && text.contains("refcount");
    assert!(is_clean && [0, 124].contains(&outcome.code), "{zdb} -d {pool}: {} {text}", outcome.code);
}

/// The same by a `zdb` of another name: `zdb-2.4` knows more features.
///
/// # Panics
/// As [`assert_no_leaks`].
pub fn assert_no_leaks_by(zdb: &str, dir: &Path, pool: &str) {
    let dir = dir.to_str().expect("UTF-8");
    let outcome = run(zdb, &["-e", "-p", dir, "-bcc", pool], None);
    let text = String::from_utf8_lossy(&[outcome.stdout, outcome.stderr].concat()).into_owned();
    assert!(outcome.code == 0 && text.contains("No leaks"), "{zdb} -bcc {pool}: {text}");
}
