//! What a program writes to files and when it flushes them, as `strace` sees it, and what a loss of power leaves of that.
//!
//! Held against the program most strictly: a write counts from the call on, and is safe when a flush that was called after
//! it had returned has returned itself.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use zstream_dmu::device::{Device, FileDevice};
use zstream_dmu::testing::{Loss, OverlayDevice};

use crate::program;
use crate::rng::Rng;

/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

/// The longest content of a call that is kept.
const STRING_BYTES_MAX: &str = "20000000";

enum Call {
    Write { offset: u64, bytes: Vec<u8> },
    Flush,
}

struct Event {
    file: usize,
    call: Call,
    /// Numbers of the moments at which the call came and returned.
    from: usize,
    to: usize,
}

/// What a program did to some files.
pub struct Trace {
    events: Vec<Event>,
    moments: usize,
}

impl Trace {
    /// Runs `zstream WORDS` and follows what it does to `files`.
    ///
    /// # Panics
    /// `strace` is not there, the program fails, or it writes in a way that is not known here.
    pub fn of(words: &[String], files: &[PathBuf]) -> Self {
        let log = tempfile::NamedTempFile::new().expect("a file");
        let calls = "trace=openat,write,pwrite64,pwritev,pwritev2,fsync,fdatasync,sync_file_range,ftruncate,fallocate";
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-xx", "-s", STRING_BYTES_MAX, "-e", calls, "-e", "signal=none", "-o"]);
        let run = strace.arg(log.path()).arg(program::path()).args(words).output();
        let run = run.expect("strace is installed");
        assert!(run.status.success(), "{words:?}: {}", String::from_utf8_lossy(&run.stderr));
        Self::parse(&std::fs::read_to_string(log.path()).expect("a log"), files)
    }

    fn parse(log: &str, files: &[PathBuf]) -> Self {
        let mut trace = Self { events: Vec::new(), moments: 0 };
        let mut open: HashMap<u64, usize> = HashMap::new();
        // By thread: what was called and has not returned.
        let mut waiting: HashMap<&str, (String, usize)> = HashMap::new();
        for line in log.lines() {
            let (thread, text) = line.split_once(' ').expect("a thread");
            let text = text.trim_start();
            trace.moments += 1;
            let (call, from) = if let Some(call) = text.strip_suffix("<unfinished ...>") {
                waiting.insert(thread, (call.trim_end().to_owned(), trace.moments));
                continue;
            } else if text.starts_with("<... ") {
                let (call, from) = waiting.remove(thread).expect("a call that waits");
                let (_, rest) = text.split_once("resumed>").expect("the end of a call");
                (call + rest, from)
            } else {
                (text.to_owned(), trace.moments)
            };
            let (name, rest) = call.split_once('(').expect("a call");
            let (arguments, result) = rest.rsplit_once(" = ").expect("a result");
            let (arguments, result) = (arguments.trim_end().trim_end_matches(')').trim_end(), result.trim());
            if name == "openat" {
                let path = PathBuf::from(String::from_utf8(content(arguments)).expect("a path"));
                if let Ok(number) = result.parse() {
                    let file = files.iter().position(|file| *file == path);
                    match file.filter(|_| arguments.contains("O_RDWR") || arguments.contains("O_WRONLY")) {
                        Some(file) => open.insert(number, file),
                        None => open.remove(&number),
                    };
                }
                continue;
            }
            let number = arguments.split(',').next().and_then(|number| number.parse().ok());
            let Some(file) = number.and_then(|number: u64| open.get(&number)) else { continue };
            let call = match name {
                "pwrite64" | "pwritev" => {
                    let bytes = content(arguments);
                    assert_eq!(result, bytes.len().to_string(), "a write is whole");
                    let offset = arguments.rsplit(", ").next().expect("an offset");
                    Call::Write { offset: offset.parse().expect("a number"), bytes }
                }
                "fdatasync" | "fsync" => {
                    assert_eq!(result, "0", "a flush");
                    Call::Flush
                }
                other => panic!("{other} of a file that is followed"),
            };
            trace.events.push(Event { file: *file, call, from, to: trace.moments });
        }
        assert!(waiting.is_empty(), "a call never returned");
        trace.events.sort_by_key(|event| event.from);
        trace
    }

    /// How many writes and flushes there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing was written or flushed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How many flushes there were.
    #[must_use]
    pub fn flushes(&self) -> usize {
        self.events.iter().filter(|event| matches!(event.call, Call::Flush)).count()
    }

    /// What `files`, as they were before the program ran, are when the power fails at the moment at which event `cut` is
    /// called for.
    ///
    /// # Panics
    /// They cannot be read.
    #[must_use]
    pub fn crashed(&self, files: &[PathBuf], cut: usize, loss: Loss) -> Vec<Arc<dyn Device>> {
        let open = |path: &PathBuf| OverlayDevice::new(Arc::new(FileDevice::open(path).expect("a file")));
        let devices: Vec<OverlayDevice> = files.iter().map(open).collect();
        let moment = self.events.get(cut).map_or(self.moments + 1, |event| event.from);
        let mut last_flush = vec![0; files.len()];
        for event in self.events.iter().filter(|event| event.to < moment) {
            if matches!(event.call, Call::Flush) {
                last_flush[event.file] = last_flush[event.file].max(event.from);
            }
        }
        for (number, event) in self.events.iter().enumerate().filter(|(_, event)| event.from < moment) {
            let Call::Write { offset, bytes } = &event.call else { continue };
            let is_safe = event.to < last_flush[event.file];
            let mut luck = match loss {
                Loss::Torn(seed) => Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number as u64 ^ 1 << 40),
                _ => Rng(1),
            };
            for (sector, part) in bytes.chunks(SECTOR_BYTES).enumerate() {
                let survives = is_safe
                    || match loss {
                        Loss::Nothing => true,
                        Loss::All => false,
                        Loss::Torn(_) => luck.below(2) == 0,
                    };
                if survives {
                    let at = offset + (sector * SECTOR_BYTES) as u64;
                    devices[event.file].write_at(at, part).expect("what was written can be written");
                }
            }
        }
        devices.into_iter().map(|device| Arc::new(device) as _).collect()
    }
}

/// Runs `zstream WORDS`, in which the calls `when` of this name fail with `EIO`, counted for each thread: `3` the third, `3+`
/// from it on. Whether it succeeded, and what it said.
///
/// # Panics
/// `strace` is not there.
#[must_use]
pub fn failing(words: &[String], call: &str, when: &str) -> (bool, String) {
    let inject = format!("inject={call}:error=EIO:when={when}");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "signal=none", "-o", "/dev/null", "-e", &inject]);
    let run = strace.arg(program::path()).args(words).output().expect("strace is installed");
    (run.status.success(), String::from_utf8_lossy(&run.stderr).into_owned())
}

/// The bytes of all strings among arguments, one behind the other: `\x61\x62`.
fn content(arguments: &str) -> Vec<u8> {
    assert!(!arguments.contains("\"..."), "a string is whole");
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a digit") as u8;
    let strings = arguments.split('"').skip(1).step_by(2);
    strings
        .flat_map(|hex| hex.as_bytes().chunks_exact(4).map(|byte| digit(byte[2]) << 4 | digit(byte[3])))
        .collect()
}
