//! `zstream send`: the program does what `zfs send` was recorded to do on the golden pools, byte for byte.

use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use zstream_dmu::vdev::LEAF_DATA_START;
use zstream_format::record::{Body, HEADER_LEN};
use zstream_format::stream::StreamReader;
use zstream_tests::compare::{Comparison, as_golden};
use zstream_tests::edit::is_package;
use zstream_tests::golden::{self, Outcome};
use zstream_tests::program;
use zstream_tests::sending::Sending;

/// The passphrase of all golden data in a file, which goes away with it.
fn key_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "correct horse").expect("room");
    file
}

/// `zstream -d MEMBERS --key-file KEY send ARGS`
fn send(members: &[PathBuf], args: &[&str]) -> Outcome {
    let key = key_file();
    let mut words = vec!["-d"];
    words.extend(members.iter().map(|path| path.to_str().expect("a path in UTF-8")));
    words.extend(["--key-file", key.path().to_str().expect("a path in UTF-8"), "send"]);
    program::zstream(&[&words, args].concat(), b"")
}

fn tank(args: &[&str]) -> Outcome {
    send(&golden::pool("tank"), args)
}

fn stderr(outcome: &Outcome) -> String {
    String::from_utf8_lossy(&outcome.stderr).into_owned()
}

/// The stream of a command that has nothing to say.
fn stream(args: &[&str]) -> Vec<u8> {
    let outcome = tank(args);
    assert_eq!((outcome.code, stderr(&outcome)), (0, String::new()), "{args:?}");
    outcome.stdout
}

/// The recorded commands: name and words.
fn commands() -> Vec<(String, Vec<String>)> {
    let command = |line: &str| {
        let (name, args) = line.split_once(": zfs send ").expect("NAME: zfs send ARGS");
        (name.to_owned(), args.split(' ').map(str::to_owned).collect())
    };
    golden::text("COMMANDS").lines().map(command).collect()
}

fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// All of `COMMANDS`, packages among them. (Two streams lack blocks in OpenZFS: `compare` names them.)
#[test]
fn golden_commands_give_golden_streams() {
    let mut comparison = Comparison::default();
    let commands = commands();
    assert_eq!(commands.len(), 46);
    for (name, args) in commands {
        let found = stream(&words(&args));
        comparison.add(&name, &as_golden(&name, &found), &golden::stream(&name));
    }
}

/// The streams that `COMMANDS` does not name: what two interrupted receives left, and what they lack; other vdevs.
#[test]
fn resumed_saved_and_redundant() {
    let mut comparison = Comparison::default();
    for (name, token) in golden::tokens() {
        let (resumed, saved) = (format!("{name}-resumed"), format!("{name}-saved"));
        comparison.add(&resumed, &stream(&["-t", &token]), &golden::stream(&resumed));
        comparison.add(&saved, &stream(&["-S", &format!("tank/rx/{name}")]), &golden::stream(&saved));
    }
    for pool in ["pmirror", "praidz1", "praidz2", "praidz3"] {
        let found = send(&golden::pool(pool), &[&format!("{pool}@s")]);
        comparison.add(pool, &found.stdout, &golden::stream(pool));
    }
}

/// What `zfs send -nvP` printed.
#[test]
fn estimates_are_those_of_zfs() {
    let text = golden::text("estimates.txt");
    let mut cases = 0;
    for case in text.split("## zfs send ").skip(1) {
        let (args, expected) = case.split_once('\n').unwrap();
        let args: Vec<&str> = args.split(' ').collect();
        assert_eq!(String::from_utf8(stream(&args)).unwrap(), expected, "{args:?}");
        cases += 1;
    }
    assert_eq!(cases, 7);
}

/// `--exact` gives the lengths that the streams then have.
#[test]
fn exact_sizes_are_the_lengths_of_the_streams() {
    for (name, args) in commands() {
        let printed = tank(&[&["-nP", "--exact"], &words(&args)[..]].concat());
        assert_eq!(printed.code, 0, "{name}");
        let printed = String::from_utf8(printed.stdout).unwrap();
        let lines: Vec<(&str, u64)> = printed
            .lines()
            .map(|line| line.rsplit_once('\t').unwrap())
            .map(|(a, b)| (a, b.parse().unwrap()))
            .collect();
        let ((word, total), steps) = lines.split_last().unwrap();
        assert_eq!((*word, *total), ("size", steps.iter().map(|step| step.1).sum()), "{name}");
        let stream = stream(&words(&args));
        // What makes a package of it is not counted, as `zfs` does not: BEGIN with its list, and two ENDs.
        let list_bytes = u32::from_le_bytes(stream[4..8].try_into().unwrap());
        let more = if is_package(&stream) { 3 * HEADER_LEN as u64 + u64::from(list_bytes) } else { 0 };
        assert_eq!(*total + more, stream.len() as u64, "{name}");
    }
}

/// Long options, options twice and in any order mean the same.
#[test]
fn options_have_two_names() {
    let (short, long) =
        (["-L", "-e", "-c", "tank/fs@a"], ["tank/fs@a", "--compressed", "--embed", "--large-block"]);
    assert!(stream(&short) == stream(&long));
    assert!(stream(&short) == stream(&["-LLcc", "-e", "tank/fs@a"]));
    assert!(
        stream(&["-Rh", "tank/tree@1"])
            == stream(&["--replicate", "--holds", "--skip-missing", "tank/tree@1"])
    );
    assert!(stream(&["-p", "tank/fs@a"]) == stream(&["--props", "tank/fs@a"]));
    assert!(stream(&["-w", "tank/vol@s"]) == stream(&["--raw", "tank/vol@s"]));
    assert!(stream(&["--redact", "red", "tank/fs@a"]) == stream(&["-d", "tank/fs#red", "tank/fs@a"]));
    assert!(
        stream(&["-R", "-X", "tank/tree/child", "tank/tree@2"])
            == stream(&["-R", "--exclude=tank/tree/child", "tank/tree@2"])
    );
    assert!(stream(&["-b", "tank/fs@a"]) == stream(&["--backup", "tank/fs@a"]));
    let (name, token) = &golden::tokens()[0];
    assert!(stream(&["-t", token]) == stream(&[&format!("--resume={token}")]));
    let dataset = format!("tank/rx/{name}");
    assert!(stream(&["-S", &dataset]) == stream(&["--saved", &dataset]));
    assert!(stream(&["-nvP", "tank/fs@a"]) == stream(&["--dryrun", "--verbose", "--parsable", "tank/fs@a"]));
    for deduplicated in ["-D", "--dedup"] {
        let outcome = tank(&[deduplicated, "tank/vol@s"]);
        assert!(stderr(&outcome).starts_with("WARNING: deduplicated send is no longer supported."));
        assert!(outcome.code == 0 && outcome.stdout == golden::stream("vol"));
    }
}

/// A dry run writes nothing but what was asked for.
#[test]
fn dry_runs() {
    assert_eq!(stream(&["-n", "tank/fs@a"]), b"");
    assert_eq!(stream(&["-nV", "tank/fs@a"]), b"");
    let expected = "full send of tank/fs@a estimated size is 713K\ntotal estimated size is 713K\n";
    assert_eq!(String::from_utf8(stream(&["-nv", "tank/fs@a"])).unwrap(), expected);
    // What is refused, is refused.
    assert_eq!(tank(&["-n", "tank/fs@nope"]).code, 1);
}

/// With -v and -P lengths go to standard error, and the stream is the same.
#[test]
fn verbose_streams() {
    for (options, expected) in [
        (
            &["-v"][..],
            "full send of tank/vol@s estimated size is 203K\ntotal estimated size is 203K\nTIME        SENT   SNAPSHOT tank/vol@s\n",
        ),
        (
            &["-vv"],
            "full send of tank/vol@s estimated size is 203K\ntotal estimated size is 203K\nTIME        SENT      BLOCKS    SNAPSHOT tank/vol@s\n",
        ),
        (&["-P"], "full\ttank/vol@s\t207632\nsize\t207632\n"),
        (&["-V"], ""),
    ] {
        let outcome = tank(&[options, &["tank/vol@s"]].concat());
        assert_eq!((outcome.code, stderr(&outcome)), (0, expected.to_owned()), "{options:?}");
        assert!(outcome.stdout == golden::stream("vol"), "{options:?}");
    }
}

/// What is refused before anything is written: exit code 1, or 2 where the command line makes no sense.
#[test]
fn refusals() {
    for (args, code, says) in [
        (&["tank/fs@nope"][..], 1, "cannot send 'tank/fs@nope': tank/fs@nope does not exist"),
        (&["tank/fs#a"], 1, "tank/fs#a is a bookmark"),
        (
            &["-i", "@b", "tank/fs@a"],
            1,
            "tank/fs@b is not an earlier snapshot of the line that led to tank/fs@a",
        ),
        (&["-i", "tank/vol@s", "tank/fs@a"], 1, "is not an earlier snapshot"),
        (&["-i", "#nope", "tank/fs@b"], 1, "tank/fs#nope does not exist"),
        (&["--redact", "a", "tank/fs@a"], 1, "tank/fs#a is not a redaction bookmark"),
        (&["--redact", "tank/fs#red", "tank/clone@x"], 1, "tank/fs#red is not a bookmark of tank/clone"),
        (&["-w", "--redact", "red", "tank/fs@a"], 1, "raw streams cannot be redacted"),
        (&["-R", "tank/e-aes-256-gcm@s"], 1, "only raw (-w)"),
        (&["-R", "tank/fs"], 1, "tank/fs is not a snapshot"),
        (&["-I", "#a", "tank/fs@c"], 1, "several snapshots cannot be sent from a bookmark"),
        (&["-S", "tank/fs"], 1, "no saved state of an interrupted receive"),
        (&["-X", "tank/fs", "tank@s"], 1, "-X"),
        (&["-t", "1-abc"], 1, "cannot resume send: resume token is corrupt"),
        (&["-R", "-X", "tank", "tank@s"], 2, "-X tank"),
        (&["-i", "@a", "-I", "@a", "tank/fs@b"], 2, "only one -i or -I"),
        (&["-i", "@a", "-i", "@a", "tank/fs@b"], 2, "only one -i or -I"),
        (&["-s", "tank/fs@a"], 2, "-s"),
        (&["-S", "-c", "tank/fs"], 2, "--compressed"),
        (&["-S", "tank/fs@a"], 2, "-S"),
        (&["-t", "1-abc", "-R"], 2, "--replicate"),
        (&["-t", "1-abc", "tank/fs@a"], 2, "SNAPSHOT"),
        (&["--nope", "tank/fs@a"], 2, "--nope"),
        (&[], 2, "SNAPSHOT"),
    ] {
        let outcome = tank(args);
        let message = stderr(&outcome);
        assert_eq!((outcome.code, outcome.stdout.len()), (code, 0), "{args:?}: {message}");
        assert!(message.contains(says), "{args:?}: {message}");
    }
}

/// Encrypted datasets are sent raw without a key, and else ask for it.
#[test]
fn keys_are_needed_only_to_decrypt() {
    let image = golden::image("tank.img");
    let image = image.to_str().unwrap();
    let raw = program::zstream(&["-d", image, "send", "-w", "tank/e-aes-128-ccm@s"], b"");
    assert!(raw.code == 0 && raw.stdout == golden::stream("e-aes-128-ccm-raw"));
    let plain = program::zstream(&["-d", image, "send", "tank/e-aes-128-ccm@s"], b"");
    assert_eq!((plain.code, plain.stdout.len()), (1, 0));
    assert!(stderr(&plain).contains("--key-file"), "{}", stderr(&plain));
    let wrong = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(wrong.path(), "wrong horse").unwrap();
    let key = wrong.path().to_str().unwrap();
    let plain = program::zstream(&["-d", image, "--key-file", key, "send", "tank/e-aes-128-ccm@s"], b"");
    assert_eq!((plain.code, plain.stdout.len()), (1, 0));
    assert!(stderr(&plain).contains("cannot load the key"), "{}", stderr(&plain));
}

/// A reader that goes away ends the program without a word.
#[test]
fn a_broken_pipe_is_no_news() {
    let mut command = Command::new(program::path());
    command.arg("-d").arg(golden::image("tank.img")).args(["send", "tank/rs1m@s"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 312];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), message), (Some(1), String::new()));
    assert!(first[..] == golden::stream("rs1m")[..312]);
}

/// A block that is lost ends a send with its name. With `--corrupt-data` a pattern is sent for it, and that is told.
#[test]
fn lost_blocks() {
    const PATTERN: [u8; 8] = 0x2f5_badd_b10c_u64.to_le_bytes();
    let dir = tempfile::tempdir().unwrap();
    let image = golden::copy(&golden::image("tank.img"), dir.path());
    let sending = Sending::open(std::slice::from_ref(&image));
    let objset = sending.dsl.dataset("tank/fs@a").unwrap().object().0;
    let (victim, at) = zstream_tests::blocks::blocks(&sending.pool)
        .into_iter()
        .find(|(pointer, at)| {
            at.objset == objset && at.level == 0 && at.object.0 > 2 && pointer.lsize() == 128 << 10
        })
        .expect("a block of a file");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&image).unwrap();
    for dva in victim.dvas() {
        file.write_all_at(b"lost", LEAF_DATA_START + dva.offset()).unwrap();
    }
    let members = [image];

    let outcome = send(&members, &["tank/fs@a"]);
    let (message, object, offset) = (stderr(&outcome), at.object.0, at.block.0 * victim.lsize());
    assert_eq!(outcome.code, 1, "{message}");
    assert!(message.lines().count() == 1 && message.contains(&format!("object {object} ")), "{message}");
    let golden = golden::stream("fs-full");
    assert!(golden.starts_with(&outcome.stdout), "what was sent is the beginning of the stream");

    let outcome = send(&members, &["--corrupt-data", "tank/fs@a"]);
    let replaced =
        format!("zstream: replaced 131072 unreadable bytes at offset {offset} of object {object}\n");
    assert_eq!((outcome.code, stderr(&outcome)), (0, replaced));
    let (mut ours, mut theirs) = (StreamReader::new(&outcome.stdout[..]), StreamReader::new(&golden[..]));
    let mut others = 0;
    while let Some(record) = ours.next().unwrap() {
        let golden = theirs.next().unwrap().expect("as many records");
        match record.header.body() {
            Some(Body::Write(write)) if (write.object.0, write.offset) == (object, offset) => {
                assert!(record.payload.chunks(8).all(|word| word == PATTERN));
                assert_eq!(record.payload.len(), golden.payload.len());
                others += 1;
            }
            _ => assert!(record.payload == golden.payload),
        }
    }
    assert!(theirs.next().unwrap().is_none());
    assert_eq!(others, 1);
}
