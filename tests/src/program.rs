//! Runs the program `zstream` of this workspace.

use crate::golden::Outcome;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The program. Cargo builds it with the tests, as a program of their package, and puts it beside the directory of the tests.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = std::env::current_exe().expect("a test has a path");
        let beside = test.ancestors().skip(1).take(2).map(|dir| dir.join("zstream-tested"));
        beside.into_iter().find(|path| path.exists()).expect("cargo builds the program with the tests")
    })
}

/// Runs `zstream ARGS` with these bytes as standard input.
pub fn zstream(args: &[&str], stdin: &[u8]) -> Outcome {
    run(assert_cmd::Command::new(path()), args, stdin)
}

/// Runs the program under another name, which is made in a directory of its own.
pub fn named(name: &str, args: &[&str], stdin: &[u8]) -> Outcome {
    let dir = installed(name);
    run(assert_cmd::Command::new(dir.path().join(name)), args, stdin)
}

/// A new directory that holds the program under this name, for a PATH.
pub fn installed(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink(path(), dir.path().join(name)).expect("a link");
    dir
}

fn run(mut command: assert_cmd::Command, args: &[&str], stdin: &[u8]) -> Outcome {
    let output = command.args(args).write_stdin(stdin).output().expect("the program runs");
    let code = output.status.code().expect("it ends by itself, not by a signal");
    let message = String::from_utf8_lossy(&output.stderr);
    let repeated = message.lines().find_map(|line| Some((line, repeated_clause(line)?)));
    assert_eq!(repeated, None, "a message says the same twice");
    Outcome { stdout: output.stdout, stderr: output.stderr, code }
}

/// A clause that a message contains twice: the same words, or "cannot" with the same verb. Quotes make no difference.
#[must_use]
pub fn repeated_clause(message: &str) -> Option<String> {
    let plain: String = message.chars().filter(|c| !['\'', '"', '`'].contains(c)).collect();
    // The errors of several attempts to read a block may be alike.
    let plain = plain.split("no copy is intact: ").next().unwrap_or_default();
    let mut seen = std::collections::HashSet::new();
    for clause in plain.split(": ").flat_map(|part| part.split("; ")).map(str::trim) {
        let words: Vec<&str> = clause.split_whitespace().collect();
        let key = match words.as_slice() {
            ["cannot", verb, ..] => format!("cannot {verb}"),
            words if words.len() > 1 => words.join(" "),
            _ => continue,
        };
        if !seen.insert(key.clone()) {
            return Some(key);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_clauses_are_found() {
        for (message, repeated) in [
            ("zstream: cannot destroy 't': cannot destroy t: it is the root", Some("cannot destroy")),
            (
                "zstream: cannot open 'a': dataset a not found; dataset 'a' not found",
                Some("dataset a not found"),
            ),
            ("zstream: cannot destroy 't': t is the root of the pool", None),
            ("zstream: no copy is intact: no vdev 1 (block 1:2:3); no vdev 1 (block 1:4:3)", None),
            ("zstream: a: a: cannot read: No such file or directory (os error 2)", None),
        ] {
            assert_eq!(repeated_clause(message).as_deref(), repeated, "{message}");
        }
    }
}
