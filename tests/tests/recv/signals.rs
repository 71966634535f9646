//! A receive that somebody ends with a signal ends as one whose stream is cut short, and a shell sees which signal it was.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use zstream_tests::golden;
use zstream_tests::program;
use zstream_tests::receiving::{Demo, target};
use zstream_tests::sending::{Sending, resume, stream};
use zstream_tests::signals::{self, end, handle_signals};

/// What may be on its way to the program, in a pipe: more than any system has.
const PIPE_BYTES: usize = 128 << 10;

/// Runs `zstream recv WORDS` under a shell that does `before`, gives it a part of the stream and then the signal, and the rest
/// only where it goes on.
fn interrupted(demo: &Demo, words: &str, sent: &[u8], before: &str, signal: Signal, rest: &[u8]) -> Output {
    handle_signals();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{before} exec \"$0\" \"$@\"")]).arg(program::path());
    for member in demo.members() {
        shell.arg("-d").arg(member);
    }
    shell.arg("recv").args(words.split_whitespace());
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // When the pipe has taken all of it, the program has read the most.
    input.write_all(sent).unwrap();
    signals::signal(&child, signal);
    if !rest.is_empty() {
        input.write_all(rest).unwrap();
        drop(input);
        return end(child);
    }
    // The pipe stays open: the program does not wait for more.
    let output = end(child);
    drop(input);
    output
}

fn demo() -> Demo {
    let demo = Demo::new("a", 12, 128 << 20);
    demo.receive(&golden::stream("fs-full"), &target("demo/fs@a"), &[]).unwrap();
    demo
}

#[test]
fn the_target_is_as_it_was() {
    let demo = demo();
    let before = demo.datasets();
    for (signal, name) in [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM"), (Signal::HUP, "SIGHUP")] {
        for (file, to) in [("fs-incr", "demo/fs"), ("rs1m", "demo/new")] {
            let whole = golden::stream(file);
            let sent = &whole[..whole.len() - PIPE_BYTES];
            let output = interrupted(&demo, to, sent, "", signal, b"");
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.signal(), Some(signal.as_raw()), "{name} {to}: {message}");
            let said = format!("interrupted by {name}");
            assert!(message.contains(&said) && message.ends_with(" [EINTR]\n"), "{name} {to}: {message}");
            assert_eq!(demo.datasets(), before, "{name} {to}");
        }
    }
    demo.check("after signals");
}

#[test]
fn what_came_is_kept_where_that_is_asked_for() {
    let demo = demo();
    let tank = Sending::open(&golden::pool("tank"));
    let whole = golden::stream("fs-incr");
    let output = interrupted(&demo, "-s demo/fs", &whole[..whole.len() - PIPE_BYTES], "", Signal::INT, b"");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(Signal::INT.as_raw()), "{message}");
    assert!(message.contains("[EINTR]; the received data is kept"), "{message}");
    let token = demo.reading().dsl.dataset("demo/fs").unwrap().resume_token().unwrap().expect("a token");
    assert!(token.bytes > (whole.len() / 2) as u64, "{token:?}");
    let mut plan = tank.plan("-i @a tank/fs@b");
    resume(&mut plan, &token);
    let (code, _, message) = demo.run(&[], "recv demo/fs", &stream(&plan).0);
    assert_eq!(code, 0, "{message}");
    demo.check("after what was interrupted");
}

#[test]
fn snapshots_of_a_package_that_came_whole_stay() {
    let demo = demo();
    let before = demo.datasets();
    let whole = golden::stream("fs-package-I");
    let sent = &whole[..whole.len() - PIPE_BYTES];
    let output = interrupted(&demo, "demo/fs", sent, "", Signal::TERM, b"");
    assert_eq!(output.status.signal(), Some(Signal::TERM.as_raw()));
    let after = demo.datasets();
    let snapshots = |all: &BTreeMap<String, String>| all.keys().filter(|name| name.contains('@')).count();
    assert!(snapshots(&after) > snapshots(&before), "{after:?}");
    let (code, _, message) = demo.run(&[], "recv -F demo/fs", &whole);
    assert_eq!(code, 0, "{message}");
    assert!(snapshots(&demo.datasets()) > snapshots(&after));
    demo.check("after a package in two parts");
}

/// As `nohup`, and shells for what runs in the background.
#[test]
fn signals_that_are_ignored_stay_ignored() {
    let demo = demo();
    let whole = golden::stream("fs-incr");
    let (sent, rest) = whole.split_at(whole.len() - PIPE_BYTES);
    for (number, signal) in [Signal::INT, Signal::HUP].into_iter().enumerate() {
        let to = ["demo/fs", "-F demo/fs"][number];
        let output = interrupted(&demo, to, sent, "trap '' INT HUP;", signal, rest);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        demo.change(|pool| pool.tx().destroy_snapshots(&["demo/fs@b".to_owned()], false).unwrap());
    }
}
