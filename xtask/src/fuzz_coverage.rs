//! Fuzzing guided by coverage: libFuzzer through `cargo fuzz`, over the targets of `zstream-fuzz`.
//!
//! ```text
//! tests/corpora/TARGET.tar.xz + what the target starts from
//!   -> fuzz/corpus/TARGET             libFuzzer adds what reaches something new
//!   -> fuzz/corpus/TARGET-minimal     the smallest part of it that reaches as much
//!   -> tests/corpora/TARGET.tar.xz    what every test run begins with
//! ```

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::run::{Outcome, cargo, find, output, program, root, run};

/// The longest input.
const INPUT_BYTES_MAX: usize = 1 << 20;

/// How long one input may take, in seconds, and how much memory the program may hold, in MiB.
const LIMITS: [&str; 2] = ["-timeout=60", "-rss_limit_mb=4000"];

/// The compilers whose coverage instrumentation stable Rust has, but does not offer.
const BOOTSTRAP: (&str, &str) = ("RUSTC_BOOTSTRAP", "1");

/// What to run.
pub(crate) struct Coverage {
    pub(crate) target: String,
    pub(crate) hours: f64,
    /// `none`, or `address` for targets that reach the vector kernels or C code.
    pub(crate) sanitizer: String,
}

impl Coverage {
    /// Fuzzes, makes the corpus minimal and keeps it.
    pub(crate) fn run(&self) -> Outcome {
        let target = self.target.as_str();
        if find("cargo-fuzz").is_none() {
            return Err("cargo-fuzz is not installed: cargo install cargo-fuzz".into());
        }
        run(self.cargo_fuzz("build", &[]))?;
        let corpus = corpus(target);
        let mut seeds = self.program(&[]);
        seeds.env("SEEDS", &corpus);
        run(seeds)?;
        let artifacts = root().join("fuzz/artifacts").join(target);
        fs::create_dir_all(&artifacts).map_err(|e| format!("{}: {e}", artifacts.display()))?;
        let seconds = format!("-max_total_time={}", (self.hours * 3600.0) as u64);
        let length = format!("-max_len={INPUT_BYTES_MAX}");
        let found = format!("-artifact_prefix={}/", artifacts.display());
        let mut fuzzer = self.program(&[&seconds, &length, &found, "-len_control=0", "-print_final_stats=1"]);
        fuzzer.args(LIMITS).arg(&corpus);
        run(fuzzer)?;
        self.keep()
    }

    /// Keeps the inputs that reach as much as all of them do.
    fn keep(&self) -> Outcome {
        let (all, minimal) = (corpus(&self.target), corpus(&format!("{}-minimal", self.target)));
        // What is there already would stay.
        let _ = fs::remove_dir_all(&minimal);
        fs::create_dir_all(&minimal).map_err(|e| format!("{}: {e}", minimal.display()))?;
        let length = format!("-max_len={INPUT_BYTES_MAX}");
        let mut merge = self.program(&["-merge=1", &length]);
        merge.args(LIMITS).args([&minimal, &all]);
        run(merge)?;
        let minimal = minimal.display().to_string();
        let fixed =
            ["run", "--quiet", "--locked", "--package", "zstream-tests", "--bin", "zstream-fuzz", "--"];
        print!("{}", output(cargo(&[&fixed[..], &["pack", &self.target, &minimal]].concat()))?);
        Ok(())
    }

    fn cargo_fuzz(&self, verb: &str, more: &[&str]) -> Command {
        let words = ["fuzz", verb, "--fuzz-dir", ".", "--sanitizer", &self.sanitizer, &self.target];
        let mut command = cargo(&[&words, more].concat());
        command.current_dir(root().join("fuzz")).env(BOOTSTRAP.0, BOOTSTRAP.1);
        // Cargo's own variables belong to the other workspace.
        for name in ["CARGO_MANIFEST_DIR", "CARGO_TARGET_DIR"] {
            command.env_remove(name);
        }
        command
    }

    /// The program of the target.
    fn program(&self, words: &[&str]) -> Command {
        let path = root().join("fuzz/target").join(host()).join("release").join(&self.target);
        let mut command = program(&path.display().to_string(), words);
        command.current_dir(root().join("fuzz")).stdin(Stdio::null());
        command
    }
}

/// Where libFuzzer collects inputs.
fn corpus(name: &str) -> PathBuf {
    root().join("fuzz/corpus").join(name)
}

/// The platform that `cargo fuzz` builds for: this one.
fn host() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}
