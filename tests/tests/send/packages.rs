//! Packages, resumed and saved sends, rules: `zstream send` does what `zfs send` was recorded to do on the pool `pack`.

use std::collections::BTreeSet;
use std::sync::Mutex;

use rayon::prelude::*;
use zstream_tests::compare::difference;
use zstream_tests::golden::{self, Outcome};
use zstream_tests::program;

/// Why a command does not do what `zfs` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// `zfs` sends the header of a package, and then finds nothing to send. We refuse before a byte is written.
    HeaderOfNothing,
    /// `zfs` takes the bookmark of this name of the filesystem that is sent, whatever filesystem was named with it.
    OtherRedaction,
    /// `zfs -n` knows lengths of snapshots only, we those of heads and of partial receives too.
    NoEstimate,
    /// The token counts bytes of an uncompressed stream, of which the estimate of a compressed one has fewer: `zfs` shows
    /// the difference as a number near 2^64.
    Underflow,
}

const EXCEPTIONS: [(&str, Reason); 18] = [
    ("-I @3 pack/top/alpha@3", Reason::HeaderOfNothing),
    ("-I @3 pack/top@2", Reason::HeaderOfNothing),
    ("-I @2 pack/top@2", Reason::HeaderOfNothing),
    ("--redact pack/top#book pack/red@s", Reason::OtherRedaction),
    ("pack", Reason::NoEstimate),
    ("pack/outside", Reason::NoEstimate),
    ("-i @x pack/outside", Reason::NoEstimate),
    ("-i #bx pack/outside", Reason::NoEstimate),
    ("-i @y pack/outside", Reason::NoEstimate),
    ("pack/top/after", Reason::NoEstimate),
    ("-S pack/part/full", Reason::NoEstimate),
    ("-S pack/part/Lec", Reason::NoEstimate),
    ("-S pack/part/raw", Reason::NoEstimate),
    ("-S pack/part/incr", Reason::NoEstimate),
    ("-S pack/part/book", Reason::NoEstimate),
    ("-S pack/part/gone", Reason::NoEstimate),
    ("-S pack/part/same", Reason::NoEstimate),
    ("-c -t FULL", Reason::Underflow),
];

struct Recorded {
    stdout: Vec<u8>,
    stderr: String,
    code: i32,
}

fn file(name: &str) -> Vec<u8> {
    golden::package_file(name).map(|path| std::fs::read(path).unwrap()).unwrap_or_default()
}

fn text(name: &str) -> String {
    String::from_utf8(file(name)).unwrap()
}

fn recorded(number: &str, output: &str, code: &str) -> Recorded {
    let code = text(&format!("sends/{number}.{code}"));
    Recorded {
        stdout: file(&format!("sends/{number}.{output}")),
        stderr: text(&format!("sends/{number}.err")),
        code: if code.is_empty() { 0 } else { code.trim().parse().unwrap() },
    }
}

/// Words as a shell's `printf %q` writes them.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            ' ' => words.push(String::new()),
            '\\' => words.last_mut().unwrap().extend(chars.next()),
            char => words.last_mut().unwrap().push(char),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Numbers and words of the commands.
fn commands() -> Vec<(String, Vec<String>)> {
    let line = |line: &str| {
        let (number, args) = line.split_once(": zfs send").unwrap();
        (number.to_owned(), words(args))
    };
    text("COMMANDS").lines().map(line).collect()
}

struct Program {
    image: String,
    key: tempfile::NamedTempFile,
}

impl Program {
    fn new() -> Self {
        let key = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(key.path(), "correct horse").unwrap();
        Self { image: golden::package_file("pack.img").unwrap().to_str().unwrap().to_owned(), key }
    }

    fn send(&self, args: &[&str], with_key: bool) -> Outcome {
        let key = self.key.path().to_str().unwrap();
        let key = if with_key { &["--key-file", key][..] } else { &[] };
        program::zstream(&[&["-d", &self.image], key, &["send"], args].concat(), b"")
    }
}

/// Tokens stand by the name of their receive.
fn nameable(args: &[String]) -> String {
    let tokens: Vec<(String, String)> = text("tokens.txt")
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(dataset, token)| (token.to_owned(), dataset.rsplit('/').next().unwrap().to_uppercase()))
        .collect();
    let name = |word: &String| {
        tokens.iter().find(|(token, _)| token == word).map_or(word.clone(), |found| found.1.clone())
    };
    args.iter().map(name).collect::<Vec<_>>().join(" ")
}

fn reason(name: &str) -> Option<Reason> {
    let name = name.strip_prefix("-w -t").map_or(name.to_owned(), |rest| format!("-c -t{rest}"));
    EXCEPTIONS.iter().find(|(excepted, _)| *excepted == name).map(|(_, reason)| *reason)
}

/// Every stream, every estimate, and whether a command succeeds.
#[test]
fn commands_do_what_they_did() {
    let program = Program::new();
    let commands = commands();
    assert_eq!(commands.len(), 199);
    let (wrong, seen) = (Mutex::new(Vec::new()), Mutex::new(BTreeSet::new()));
    commands.par_iter().for_each(|(number, args)| {
        let name = nameable(args);
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let reason = reason(&name);
        let say = |what: String| wrong.lock().unwrap().push(format!("{number}: {name}: {what}"));
        let see = |expected: Reason| {
            seen.lock().unwrap().insert(expected);
            reason == Some(expected)
        };

        let zfs = recorded(number, "zfs", "rc");
        let with_key = !zfs.stderr.contains("key must be loaded");
        let ours = program.send(&words, with_key);
        let stderr = String::from_utf8(ours.stderr).unwrap();
        if (ours.code == 0) != (zfs.code == 0) && !see(Reason::OtherRedaction) {
            say(format!("exit code {} instead of {}: {stderr}", ours.code, zfs.code));
        }
        if ours.stdout != zfs.stdout {
            let is_header = ours.stdout.is_empty() && zfs.stdout.len() == 624;
            if !(is_header && see(Reason::HeaderOfNothing) || ours.code != 0 && see(Reason::OtherRedaction)) {
                say(difference(&ours.stdout, &zfs.stdout));
            }
        }
        for warning in zfs.stderr.lines().filter(|line| line.to_lowercase().starts_with("warning")) {
            let is_failure = warning.starts_with("warning: cannot send");
            if !is_failure && !stderr.contains(warning) {
                say(format!("does not say {warning:?}, but {stderr:?}"));
            }
        }
        let last = stderr.lines().last().unwrap_or_default();
        if ours.code == 1 && !last.starts_with("zstream: ") {
            say(format!("does not say what is wrong: {stderr:?}"));
        }

        let zfs = recorded(number, "est", "est-rc");
        let ours = program.send(&[&["-nvP"], &words[..]].concat(), with_key);
        let is_same = (ours.code == 0) == (zfs.code == 0) && (ours.stdout == zfs.stdout || zfs.code != 0);
        if !is_same {
            let zeros = String::from_utf8_lossy(&ours.stdout).ends_with("\nsize\t0\n");
            let excused = match reason {
                Some(Reason::NoEstimate) => zfs.code != 0 && ours.code == 0 && see(Reason::NoEstimate),
                Some(Reason::Underflow) => zeros && see(Reason::Underflow),
                Some(Reason::OtherRedaction) => ours.code != 0,
                _ => false,
            };
            if !excused {
                let ours = String::from_utf8_lossy(&ours.stdout).into_owned();
                say(format!("-nvP: {ours:?} instead of {:?}", String::from_utf8_lossy(&zfs.stdout)));
            }
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen.into_inner().unwrap().len(), 4, "a reason has gone: take it off the list");
}

/// What `-v`, `-P` and `-n` print. (Where `zfs` fails it has printed notes before.)
#[test]
fn words_are_those_of_zfs() {
    let program = Program::new();
    let tokens = text("tokens.txt");
    let token = tokens.lines().next().unwrap().split_once(' ').unwrap().1;
    for (name, args) in [
        ("dry-R", &["-nv", "-R", "-I", "@1", "pack/top@3"][..]),
        ("dry-one", &["-nv", "-i", "@1", "pack/top@2"]),
        ("dry-book", &["-nv", "-i", "#b1", "pack/top@2"]),
        ("dry-vvv", &["-nvvv", "-I", "@1", "pack/top@3"]),
        ("dry-token", &["-nP", "-t", token]),
    ] {
        let ours = program.send(args, true);
        assert_eq!(String::from_utf8(ours.stdout).unwrap(), text(&format!("{name}.txt")), "{name}");
        assert_eq!(ours.code, 0, "{name}");
    }
    for (name, args) in [
        ("verbose-token", &["-v", "-t", token][..]),
        ("verbose-one", &["-v", "pack/top@1"]),
        ("verbose-R", &["-v", "-R", "pack/top@1"]),
    ] {
        let ours = program.send(args, true);
        let (ours, zfs) = (String::from_utf8(ours.stderr).unwrap(), text(&format!("{name}.txt")));
        // Refusals have their own words.
        let common = |text: &str| {
            text.lines().filter(|line| !line.contains("cannot send")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(common(&ours), common(&zfs), "{name}");
    }
}

/// An excluded dataset that could not be sent is in nobody's way: one that is encrypted, or that lacks the snapshot. What is excluded
/// and could be sent stays in the list, as `zfs` 2.4 leaves it.
#[test]
fn what_is_excluded_refuses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (image, key, to) = (path("a.img"), path("key"), path("b.img"));
    std::fs::write(&key, [7; 32]).unwrap();
    let run = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        program::zstream(&[&["-d", &image, "--key-file", &key], &words[..]].concat(), b"")
    };
    let made = program::zstream(&["pool", "create", "--size", "64M", "a", &image], b"");
    assert_eq!(made.code, 0);
    for line in [
        "create a/t",
        "create a/t/plain",
        "create a/t/other",
        "create -o encryption=on -o keyformat=raw a/t/locked",
        "create a/t/locked/below",
        "snapshot -r a/t@1",
        "create a/t/late",
        "snapshot a/t@2",
        "snapshot a/t/plain@2",
        "snapshot a/t/other@2",
        "clone a/t/other@2 a/t/plain/clone",
        "snapshot a/t/plain/clone@2",
    ] {
        let outcome = run(line);
        assert_eq!(outcome.code, 0, "{line}: {}", String::from_utf8_lossy(&outcome.stderr));
    }
    for (line, code, says) in [
        ("send -R a/t@1", 1, "encrypted dataset a/t/locked"),
        ("send -R -X a/t/locked a/t@1", 0, ""),
        ("send -R -X a/t/lock a/t@1", 1, "encrypted dataset a/t/locked"),
        ("send -R -X a/t/locked/below a/t@1", 1, "encrypted dataset a/t/locked"),
        ("send -R -X a/t/plain a/t@1", 1, "encrypted dataset a/t/locked"),
        ("send -R -w -X a/t/locked a/t@1", 0, ""),
        ("send -R -X a/t/locked a/t@2", 1, "a/t/late@2"),
        ("send -R -X a/t/locked -X a/t/late a/t@2", 0, ""),
        ("send -R -I @1 -X a/t/locked -X a/t/late a/t@2", 0, ""),
        ("send -R -X a/t/locked -X a/t/late -X a/t/other a/t@2", 0, ""),
    ] {
        let outcome = run(line);
        let message = String::from_utf8_lossy(&outcome.stderr);
        assert!(outcome.code == code && message.contains(says), "{line}: {message}");
        assert!(code == 1 || message.is_empty(), "{line}: {message}");
        // Nothing of a package is written before it is known that it can be.
        assert_eq!(outcome.stdout.is_empty(), code == 1, "{line}");
    }
    let made = program::zstream(&["pool", "create", "--size", "64M", "b", &to], b"");
    assert_eq!(made.code, 0);
    let package = run("send -R -X a/t/locked a/t@1").stdout;
    let received = program::zstream(&["-d", &to, "recv", "b/t"], &package);
    assert_eq!(received.code, 0, "{}", String::from_utf8_lossy(&received.stderr));
    let listed = program::zstream(&["-d", &to, "list", "-r", "-H", "-o", "name", "b/t"], b"");
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "b/t\nb/t/other\nb/t/plain\n");
}
