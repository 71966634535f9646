//! `put` and `extract` that somebody ends with a signal: the pool is as before, what is partial is named, and a shell sees which
//! signal it was.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use zstream_tests::program;
use zstream_tests::receiving::Demo;
use zstream_tests::signals::{end, handle_signals, interrupt_when, signal};

const SIGNALS: [(Signal, &str); 3] =
    [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM"), (Signal::HUP, "SIGHUP")];
/// Files that take a while to be restored.
const FILES: usize = 20_000;
/// More than a pipe holds.
const FILE_BYTES: usize = 1 << 20;

/// A pool with an empty filesystem.
fn demo() -> Demo {
    let demo = Demo::new("a", 12, 128 << 20);
    assert_eq!(demo.run(&[], "create demo/fs", b"").0, 0);
    demo
}

fn command(demo: &Demo, words: &[&str]) -> Command {
    let mut command = Command::new(program::path());
    command.arg("-d").arg(&demo.members()[0]).args(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// An archive of `count` files of `bytes` bytes in a directory.
fn archive(count: usize, bytes: usize) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for n in 0..count {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes as u64);
        header.set_mode(0o640);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        archive.append_data(&mut header, format!("dir/f{n:05}"), &vec![n as u8; bytes][..]).unwrap();
    }
    archive.into_inner().unwrap()
}

#[test]
fn a_put_leaves_the_pool_as_it_was() {
    handle_signals();
    let demo = demo();
    let before = fs::read(&demo.members()[0]).unwrap();
    let archive = archive(4, FILE_BYTES);
    for (number, name) in SIGNALS {
        let mut child = command(&demo, &["put", "--tar", "-", "demo/fs"]).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        // When the pipe has taken all of it, the program has read the most, and waits for more.
        input.write_all(&archive[..3 * FILE_BYTES]).unwrap();
        signal(&child, number);
        let output = end(child);
        drop(input);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(number.as_raw()), "{message}");
        assert_eq!(message, format!("zstream: interrupted by {name}: nothing was written\n"));
        // Blocks may have been written where nothing was; the labels and what they lead to are as before.
        assert_eq!(demo.run(&[], "ls demo/fs", b"").1, "", "{name}");
        let after = fs::read(&demo.members()[0]).unwrap();
        assert!(before[..4 << 20] == after[..4 << 20], "{name}: the labels changed");
    }
    demo.check("after signals");
    assert_eq!(demo.run(&[], "put --tar - demo/fs", &archive).0, 0);
}

#[test]
fn an_extraction_says_how_far_it_came() {
    let demo = demo();
    let (code, _, message) = demo.run(&[], "put --tar - demo/fs", &archive(FILES, 1));
    assert_eq!(code, 0, "{message}");
    for (number, name) in SIGNALS {
        let target = tempfile::tempdir().unwrap();
        let first = target.path().join("dir/f00009");
        let mut command = command(&demo, &["extract", "-C", target.path().to_str().unwrap(), "demo/fs"]);
        let output = interrupt_when(&mut command, number, || first.exists());
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(number.as_raw()), "{message}");
        let begin = format!("zstream: interrupted by {name} at dir/f");
        assert!(message.starts_with(&begin) && message.contains(": restored "), "{message}");
        let restored = fs::read_dir(target.path().join("dir")).unwrap().count();
        assert!(message.contains(&format!("restored {restored} files, ")), "{restored}: {message}");
        assert!(restored < FILES);
        for entry in fs::read_dir(target.path().join("dir")).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().len(), 1, "a part of a file was left");
        }
    }
}

#[test]
fn an_image_that_is_not_complete_is_removed() {
    let demo = Demo::new("a", 12, 512 << 20);
    assert_eq!(demo.run(&[], "create -V 256M demo/v", b"").0, 0);
    let noise: Vec<u8> = (0..160_u32 << 18).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    let (code, _, message) = demo.run(&[], "put - demo/v", &noise);
    assert_eq!(code, 0, "{message}");
    let target = tempfile::tempdir().unwrap();
    let image = target.path().join("v.img");
    let mut command = command(&demo, &["extract", "-C", target.path().to_str().unwrap(), "demo/v"]);
    let output = interrupt_when(&mut command, Signal::TERM, || image.exists());
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(Signal::TERM.as_raw()), "{message}");
    assert_eq!(message, "zstream: interrupted by SIGTERM: v.img was removed, because it was not complete\n");
    assert!(!image.exists());
}

/// A send changes nothing: it ends by the signal at once, also while it waits for its reader.
#[test]
fn a_send_ends_by_the_signal() {
    let demo = demo();
    assert_eq!(demo.run(&[], "put --tar - demo/fs", &archive(4, FILE_BYTES)).0, 0);
    assert_eq!(demo.run(&[], "snapshot demo/fs@s", b"").0, 0);
    let mut command = command(&demo, &["send", "demo/fs@s"]);
    handle_signals();
    let mut child = command.spawn().unwrap();
    let out = child.stdout.take().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    signal(&child, Signal::TERM);
    assert_eq!(end(child).status.signal(), Some(Signal::TERM.as_raw()));
    drop(out);
    demo.check("after a send");
}
