//! The program `zstream`, for tests that run it.

use crate::golden::target_dir;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of the program, built when it is asked for the first time: cargo builds binaries for tests of their own
/// package only.
pub fn zstream() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--package", "zstream-cli", "--bin", "zstream"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        build.arg("--target-dir").arg(target_dir()).current_dir(root());
        assert!(build.status().expect("cargo runs").success(), "zstream is built");
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        let path = target_dir().join(profile).join("zstream");
        assert!(path.is_file(), "no {}", path.display());
        path
    })
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
