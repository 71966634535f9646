//! Pools whose structures lead back to themselves: every verb ends, with an error or with what there is, and none panics.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use zstream_tests::golden;
use zstream_tests::loops::{Image, images};
use zstream_tests::program;

/// What ends within this time is not endless, also on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(60);
/// What a verb prints at most.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

const READING: &[&str] = &[
    "list -t all -o name,used,refer,written,origin,clones,snapshot_count -p",
    "get -r all demo/clone",
    "ls -R HEAD",
    "pool check",
    "pool show",
    "send SNAPSHOT",
    "send -R SNAPSHOT",
];
const WRITING: &[&str] = &[
    "destroy -r HEAD",
    "destroy SNAPSHOT",
    "recv -F demo/clone",
    "recv demo/new",
    "promote demo/clone",
    "snapshot -r demo@new",
    "rollback -r SNAPSHOT",
];

/// One of so many verbs is tried with each image; with `ZSTREAM_THOROUGH=1000` it is all of them, with all datasets.
const VERBS_SAMPLED: usize = 4;

/// Writes what is not zero.
fn write(image: &Image, path: &Path) {
    let mut file = std::fs::File::create(path).expect("a file");
    file.set_len(image.bytes.len() as u64).expect("room");
    for (n, block) in image.bytes.chunks(4096).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start(n as u64 * 4096)).expect("a place");
            file.write_all(block).expect("room");
        }
    }
}

/// Runs a verb: its exit code.
fn run(path: &Path, line: &str, input: &[u8], what: &str) -> i32 {
    let mut command = assert_cmd::Command::new(program::path());
    let start = Instant::now();
    let output = command.arg("-d").arg(path).args(line.split_whitespace()).write_stdin(input);
    let output = output.timeout(TIME_MAX).output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let Some(code) = output.status.code() else {
        panic!("{what}: {line} has not ended in {TIME_MAX:?}: {said}")
    };
    assert!(code <= 1, "{what}: {line}: exit code {code}: {said}");
    assert!(code == 0 || said.len() > 10, "{what}: {line} fails without a word");
    assert!(output.stdout.len() <= OUTPUT_BYTES_MAX, "{what}: {line} prints {} bytes", output.stdout.len());
    if start.elapsed() > Duration::from_secs(3) {
        println!("{what}: {line}: {:?}", start.elapsed());
    }
    code
}

fn names(path: &Path) -> (Vec<String>, Vec<String>) {
    let listed = program::zstream(
        &["-d", path.to_str().expect("UTF-8"), "list", "-H", "-o", "name,type", "-t", "all"],
        &[],
    );
    let (mut heads, mut snapshots) = (Vec::new(), Vec::new());
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let (name, kind) = line.split_once('\t').expect("two columns");
        // The root of the pool has no files.
        match kind {
            _ if name == "demo" || name == "demo@now" => {}
            "snapshot" => snapshots.push(name.to_owned()),
            "filesystem" => heads.push(name.to_owned()),
            _ => {}
        }
    }
    assert!(heads.len() > 2 && snapshots.len() > 2);
    (heads, snapshots)
}

#[test]
fn every_verb_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, copy) = (dir.path().join("image"), dir.path().join("copy"));
    let stream = golden::stream("rs4k");
    let images = images();
    write(&images[0], &path);
    let (heads, snapshots) = names(&path);
    let is_thorough = zstream_tests::every::step(2) == 1;
    for (n, image) in images.iter().enumerate() {
        write(image, &path);
        let mut codes = Vec::new();
        for (m, line) in READING.iter().chain(WRITING).enumerate() {
            let is_writing = m >= READING.len();
            // Of the verbs some, in turn.
            if !is_thorough && n > 0 && !(n + m).is_multiple_of(VERBS_SAMPLED) {
                continue;
            }
            let names = if line.contains("HEAD") { &heads } else { &snapshots };
            let is_fixed = !line.contains("HEAD") && !line.contains("SNAPSHOT");
            // Of the datasets one, or all.
            let first = (n + m) % names.len();
            let count = if is_thorough && !is_fixed { names.len() } else { 1 };
            for name in names.iter().cycle().skip(first).take(count) {
                let line = line.replace("HEAD", name).replace("SNAPSHOT", name);
                if is_writing {
                    write(image, &copy);
                }
                codes.push(run(if is_writing { &copy } else { &path }, &line, &stream, &image.name));
            }
        }
        let failed = codes.iter().filter(|code| **code != 0).count();
        // Where nothing is changed, a few are refused: a promotion, increments that do not fit.
        assert!(n > 0 || failed * 2 < codes.len(), "{}: {failed} of {} verbs fail", image.name, codes.len());
        println!("{}: {failed} of {} verbs fail", image.name, codes.len());
    }
}
