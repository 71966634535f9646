//! Checks against OpenZFS's own tools, where they are installed.
//!
//! What OpenZFS did once is recorded in `tests/golden`; here it is asked anew, so a recording that no longer
//! tells the truth is found, and so is an OpenZFS that has changed.

use crate::interop_vm;
use crate::run::{Outcome, cargo, find, output, program, run};

/// The programs of OpenZFS that run without its kernel module.
const TOOLS: &[&str] = &["zstream", "zdb"];

/// How the names of tests begin that trace the program.
const TRACED: [&str; 2] = ["interop_a_put_", "interop_a_large_put_"];

/// The program of OpenZFS 2.4, under a name of its own beside an older OpenZFS, and how the names of tests begin that need it.
const NEWER: (&str, &str) = ("zdb-2.4", "interop_2_4_");

/// `interop`
pub(crate) fn task(_: &[String]) -> Outcome {
    let missing: Vec<&str> = TOOLS.iter().copied().filter(|name| find(name).is_none()).collect();
    if !missing.is_empty() {
        println!("SKIPPED: interop needs OpenZFS's user-space tools; not found: {}", missing.join(", "));
        return Ok(());
    }
    let dpkg =
        find("dpkg-query").map(|_| program("dpkg-query", &["-W", "-f", "${Version}", "zfsutils-linux"]));
    let version = dpkg.and_then(|query| output(query).ok()).unwrap_or_else(|| "unknown".into());
    println!("OpenZFS's tools: {version}");
    let pools = interop_vm::all()?;
    interop_vm::round_trips()?;
    interop_vm::recv()?;
    interop_vm::made()?;
    let mut tests =
        cargo(&["test", "--workspace", "--locked", "--no-fail-fast", "--", "--ignored", "interop_"]);
    if let Some(pools) = pools {
        tests.env("ZSTREAM_POOLS", pools);
    }
    let (newer, tests_of_newer) = NEWER;
    let mut skipped = Vec::new();
    if find(newer).is_none() {
        println!("SKIPPED: tests with OpenZFS 2.4: {newer} is missing");
        skipped.push(tests_of_newer);
    }
    if !can_trace() {
        println!(
            "SKIPPED: what a loss of power or a failing call does to `zstream put`: strace is missing, or may not trace"
        );
        skipped.extend(TRACED);
    }
    tests.args(skipped.into_iter().flat_map(|test| ["--skip", test]));
    run(tests)
}

/// Whether programs can be traced here: where strace is, a container may still forbid it.
fn can_trace() -> bool {
    find("strace").is_some() && output(program("strace", &["-qq", "-o", "/dev/null", "true"])).is_ok()
}
