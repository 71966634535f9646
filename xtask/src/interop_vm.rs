//! Checks that need OpenZFS's kernel module, in a virtual machine.
//!
//! The environment variable [`VARIABLE`] names a program that runs a script as root in a system with the module:
//!
//! ```text
//! PROGRAM SCRIPT -i DIR -o DIR -b FILE      -i: what the script finds in /in; -o: where what it leaves in /out goes;
//!                                           -b: a program that it finds on its PATH. The exit code is the script's.
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::run::{Outcome, cargo, program, root, run, title};

/// Names the program that has a virtual machine.
pub(crate) const VARIABLE: &str = "ZSTREAM_VM";
/// The scripts that run there.
const SEND: &str = "send.sh";
const LOOK: &str = "look.sh";
/// Pools with random histories that are sent; of those that are received there is one less.
const HISTORIES: u64 = 3;
/// What is received, each in a run of its own: emulated machines are slow.
const PARTS: [&str; 2] = ["forms", "kinds"];
/// What is taken of the golden images: the pool that nearly all streams are of, and a raidz2 that lacks two members.
const IMAGES: [&str; 4] =
    ["images/tank.img", "images/raidz2-3.img", "images/raidz2-4.img", "images/raidz2-5.img"];

/// The program that has a virtual machine, if there is one.
pub(crate) fn machine() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|vm| !vm.is_empty())
}

/// `zstream send` beside the real `zfs send` and into the real `zfs receive`, and what it shows beside what they show. Gives
/// the directory of the pools that were made.
pub(crate) fn all() -> Result<Option<PathBuf>, String> {
    let Some(vm) = machine() else {
        println!(
            "SKIPPED: the kernel module's `zfs send` and `zfs receive`: {VARIABLE} does not say what runs a script where it is"
        );
        return Ok(None);
    };
    title("zstream send and the kernel module");
    run(cargo(&["build", "--locked", "--package", "zstream-cli"]))?;
    let work = root().join("target/interop");
    if work.exists() {
        fs::remove_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()))?;
    }
    let (golden, seeds, pools) = (work.join("golden"), work.join("seeds"), work.join("pools"));
    for dir in [&golden, &seeds, &pools] {
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    unpack("images", &IMAGES, &golden)?;
    unpack("manifest", &[], &golden)?;
    let write = |path: PathBuf, text: String| {
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    for part in PARTS {
        write(golden.join("parts"), format!("{part}\n"))?;
        guest(&vm, SEND, &golden, &work.join("received"))?;
    }

    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    for seed in (0..HISTORIES).map(|n| (now + n) % 32768) {
        write(seeds.join("seeds"), format!("{seed}\n"))?;
        guest(&vm, SEND, &seeds, &pools)?;
    }
    title("what zstream shows of pools, and what the kernel module shows");
    for what in ["old".to_owned(), (now % 32768).to_string()] {
        write(seeds.join("seeds"), format!("{what}\n"))?;
        guest(&vm, LOOK, &seeds, &work.join("looked"))?;
    }
    Ok(Some(pools))
}

/// Pools that zstream makes and writes, in the hands of the kernel module and back: scripts, and their parts, each in a run of
/// its own.
const ROUND_TRIPS: &[(&str, &[&str])] = &[
    ("create.sh", &["all"]),
    ("draid.sh", &["one", "two", "three"]),
    ("put.sh", &["1", "2", "3"]),
    ("names.sh", &["sensitive", "insensitive", "mixed"]),
    ("rounds.sh", &["plain", "secret"]),
    ("cloned.sh", &["plain", "mirror", "secret"]),
    ("dedup.sh", &["legacy", "fast", "secret"]),
    ("change-key.sh", &["all"]),
    ("sync.sh", &["all"]),
    (
        "degraded.sh",
        &["mirror", "raidz2", "draid1", "draid2", "offline", "spare", "replaced", "scrub", "apart"],
    ),
    ("expanding.sh", &["early", "middle", "late", "two", "degraded"]),
];

/// Pools that zstream makes and fills, imported, changed and exported by the kernel module, and changed here again.
pub(crate) fn round_trips() -> Outcome {
    let Some(vm) = machine() else {
        println!("SKIPPED: pools of zstream and the kernel module: {VARIABLE} is not set");
        return Ok(());
    };
    title("pools of zstream and the kernel module");
    run(cargo(&["build", "--locked", "--package", "zstream-cli"]))?;
    let work = root().join("target/interop");
    let [input, output] = ["parts", "exported"].map(|name| work.join(name));
    for dir in [&input, &output] {
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    let chosen = input.join("parts");
    for &(script, parts) in ROUND_TRIPS {
        for part in parts {
            fs::write(&chosen, part).map_err(|error| format!("{}: {error}", chosen.display()))?;
            guest(&vm, script, &input, &output)?;
        }
    }
    Ok(())
}

/// The pools that `zstream-make-pools` makes, each for a run of its own.
const MADE: [&str; 3] = ["gangs9", "gangs12", "errata"];

/// Pools that tests made for it, read by the kernel module: gang blocks, and encrypted datasets of the first format.
pub(crate) fn made() -> Outcome {
    let Some(vm) = machine() else {
        println!("SKIPPED: gang blocks and errata, and the kernel module: {VARIABLE} is not set");
        return Ok(());
    };
    title("gang blocks and errata, and the kernel module");
    run(cargo(&["build", "--locked", "--package", "zstream-cli"]))?;
    let work = root().join("target/interop");
    let [input, output] = ["made", "made-left"].map(|name| work.join(name));
    for dir in [&input, &output] {
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    let mut make =
        cargo(&["run", "--locked", "--package", "zstream-tests", "--bin", "zstream-make-pools", "--"]);
    make.arg(&input);
    run(make)?;
    let chosen = input.join("parts");
    MADE.iter().try_for_each(|part| {
        fs::write(&chosen, part).map_err(|error| format!("{}: {error}", chosen.display()))?;
        guest(&vm, "made.sh", &input, &output)
    })
}

/// Runs a script with our program in the machine: what it finds there, and where it leaves something.
fn guest(vm: &str, script: &str, input: &Path, output: &Path) -> Outcome {
    let mut command = program(vm, &[&format!("tests/interop/{script}"), "-i"]);
    command.arg(input).arg("-o").arg(output).arg("-b").arg(root().join("target/debug/zstream"));
    run(command)
}

/// What is received, beside the real `zfs receive`: golden streams, and encrypted ones.
const RECEIVES: [&str; 2] = ["recv.sh", "receive-keys.sh"];

/// Streams received by zstream, beside the real `zfs receive`, and random histories from one to the other.
pub(crate) fn recv() -> Outcome {
    let Some(vm) = machine() else {
        println!(
            "SKIPPED: what the kernel module makes of what zstream receives: {VARIABLE} does not say what runs a script where it is"
        );
        return Ok(());
    };
    title("zstream recv and the kernel module");
    run(cargo(&["build", "--locked", "--package", "zstream-cli"]))?;
    let target = root().join("target");
    let (streams, left) = (target.join("interop/streams"), target.join("interop/recv"));
    for dir in [&streams, &left] {
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    unpack("streams", &[], &streams)?;
    unpack("images", &IMAGES[..1], &streams)?;
    RECEIVES.iter().try_for_each(|script| guest(&vm, script, &streams, &left))?;
    // Every third seed is of an encrypted tree.
    let first = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) % 10_000 * 3;
    (first..first + HISTORIES - 1).try_for_each(|seed| {
        fs::write(streams.join("seeds"), format!("{seed}\n"))
            .map_err(|error| format!("{}: {error}", streams.display()))?;
        guest(&vm, "recv-history.sh", &streams, &left)
    })
}

/// `zstream recv` beside the module's `zfs receive` in the same machine, in time and memory.
pub(crate) fn bench_recv() -> Outcome {
    let Some(vm) = machine() else {
        println!(
            "SKIPPED: the time that the kernel module's `zfs receive` takes: {VARIABLE} does not say what runs a script where it is"
        );
        return Ok(());
    };
    title("zstream recv and zfs receive of the kernel module");
    let mut command = program(&vm, &["tests/interop/bench-recv.sh", "-b"]);
    command.arg(root().join("target/release/zstream"));
    run(command)
}

/// Unpacks members of a golden archive, or all, without their top directory.
fn unpack(archive: &str, members: &[&str], dir: &Path) -> Outcome {
    let archive = format!("tests/golden/{archive}.tar.xz");
    let mut command = program("tar", &["-xJf", &archive, "--strip-components=1", "-C"]);
    command.arg(dir).args(members);
    run(command)
}
