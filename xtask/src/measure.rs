//! What a program takes: time on the clock, time on the cores, memory.
//!
//! The system counts time and memory of children together, so each program that is measured is the only child
//! of a process of its own: this program again, with the hidden task [`TASK`].

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use crate::run::{Outcome, output, shown};

/// The name of the task that measures one program.
pub(crate) const TASK: &str = "measure-one";

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Time on the clock.
    pub(crate) wall: Duration,
    /// Time on all cores, the kernel's for it included.
    pub(crate) cpu: Duration,
    /// Most memory in use.
    pub(crate) peak_bytes: u64,
}

/// Runs a program to its end, its standard output thrown away; it must succeed.
pub(crate) fn measure(program: &Path, args: &[&str]) -> Result<Usage, String> {
    let this = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(this);
    command.arg(TASK).arg(program).args(args).stdin(Stdio::null());
    let text = output(command)?;
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [wall, cpu, peak_bytes] => {
            Ok(Usage { wall: Duration::from_micros(wall), cpu: Duration::from_micros(cpu), peak_bytes })
        }
        _ => Err(format!("`{TASK}` gave {text:?}")),
    }
}

/// `measure-one PROGRAM ARG...`: prints microseconds on the clock, on the cores, and the peak in bytes.
pub(crate) fn task(args: &[String]) -> Outcome {
    let [program, rest @ ..] = args else { return Err("which program?".into()) };
    let mut command = Command::new(program);
    // What is said on the way, like the progress of zdb, is shown only when it fails.
    command.args(rest).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let line = shown(&command);
    let started = Instant::now();
    let child = command.spawn().and_then(|child| child.wait_with_output());
    let done = child.map_err(|e| format!("cannot run `{line}`: {e}"))?;
    let wall = started.elapsed();
    if !done.status.success() {
        return Err(format!("`{line}` failed: {}: {}", done.status, String::from_utf8_lossy(&done.stderr)));
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|e| e.to_string())?;
    let micros =
        |time: nix::sys::time::TimeVal| i128::from(time.tv_sec()) * 1_000_000 + i128::from(time.tv_usec());
    let cpu = micros(usage.user_time()) + micros(usage.system_time());
    // Linux counts in KiB.
    println!("{} {cpu} {}", wall.as_micros(), usage.max_rss() * 1024);
    Ok(())
}
