//! Runs the program `zstream` of this workspace, which is built on first use.

use crate::golden::{self, Outcome};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The program. Cargo knows no tests that need the program of another package, so it is asked to build it.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--package", "zstream-cli", "--bin", "zstream"]);
        let (release, profile) =
            if cfg!(debug_assertions) { (None, "debug") } else { (Some("--release"), "release") };
        let status = cargo
            .args(release)
            .arg("--target-dir")
            .arg(golden::target_dir())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the program does not build");
        golden::target_dir().join(profile).join("zstream")
    })
}

/// Runs `zstream ARGS` with these bytes as standard input.
pub fn zstream(args: &[&str], stdin: &[u8]) -> Outcome {
    run(assert_cmd::Command::new(path()), args, stdin)
}

/// Runs the program under another name, which is made in a directory of its own.
pub fn named(name: &str, args: &[&str], stdin: &[u8]) -> Outcome {
    let dir = tempfile::tempdir().expect("a directory");
    let link = dir.path().join(name);
    std::os::unix::fs::symlink(path(), &link).expect("a link");
    run(assert_cmd::Command::new(link), args, stdin)
}

fn run(mut command: assert_cmd::Command, args: &[&str], stdin: &[u8]) -> Outcome {
    let output = command.args(args).write_stdin(stdin).output().expect("the program runs");
    let code = output.status.code().expect("it ends by itself, not by a signal");
    Outcome { stdout: output.stdout, stderr: output.stderr, code }
}
