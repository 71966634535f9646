//! The key of an encrypted dataset, typed on a terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use zstream_tests::{golden, program};

/// What a command did whose standard input and standard error are a terminal.
struct Seen {
    code: Option<i32>,
    stdout: String,
    /// What was to be seen on the terminal.
    shown: String,
}

/// Runs a command, and types when it asks.
fn on_terminal(words: &[&str], typed: &str) -> Seen {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&controller).and_then(|()| unlockpt(&controller)).expect("a terminal to use");
    let name = ptsname(&controller, Vec::new()).expect("its name");
    let terminal = || {
        let file = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty());
        Stdio::from(file.expect("the terminal"))
    };
    let child = Command::new(program::path())
        .args(words)
        .stdin(terminal())
        .stderr(terminal())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut controller = File::from(controller);
    let mut shown = Vec::new();
    let mut buffer = [0; 256];
    // At the end, when nobody has the terminal any more, reading fails.
    while !String::from_utf8_lossy(&shown).contains(": ") {
        let count = controller.read(&mut buffer).expect("a question");
        shown.extend_from_slice(&buffer[..count]);
    }
    controller.write_all(typed.as_bytes()).expect("typed");
    let output = child.wait_with_output().expect("it ends");
    let modes = tcgetattr(&controller).expect("its modes").local_modes;
    assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG), "{modes:?}");
    while let Ok(count @ 1..) = controller.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..count]);
    }
    Seen {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        shown: String::from_utf8_lossy(&shown).into_owned(),
    }
}

const NAME: &str = "tank/e-aes-256-gcm";

/// Lists the files of an encrypted snapshot, of the pool or of a stream.
fn ls(from_stream: bool, typed: &str) -> Seen {
    let (option, path, name) = match from_stream {
        true => ("-f", golden::stream_path("e-aes-256-gcm-raw"), "tank/e-aes-256-gcm@s"),
        false => ("-d", golden::image("tank.img"), "tank/e-aes-256-gcm@s"),
    };
    on_terminal(&[option, path.to_str().expect("UTF-8"), "ls", name], typed)
}

#[test]
fn the_right_key_opens_and_is_not_shown() {
    // With a slip that is taken back.
    for typed in ["correct horse\n", "correct horsä\u{7f}e\r", "wrong\u{15}correct horse\n"] {
        for from_stream in [false, true] {
            let seen = ls(from_stream, typed);
            assert_eq!(seen.code, Some(0), "{}", seen.shown);
            assert!(seen.stdout.starts_with("dir\nembedded\nempty\n"), "{}", seen.stdout);
            assert!(seen.shown.starts_with(&format!("Key of {NAME}")), "{}", seen.shown);
            assert!(!seen.shown.contains("hors"), "{}", seen.shown);
        }
    }
}

#[test]
fn a_wrong_key_and_none_are_said() {
    for (typed, why) in [
        ("battery staple\n", "the key is not the one the dataset was encrypted with"),
        ("horse\n", "passphrase is 5 bytes, expected 8 to 512"),
        ("\u{4}", "was entered"),
        // The program is not killed with the terminal as it set it: what is typed is shown again.
        ("corr\u{3}", "was entered"),
    ] {
        let seen = ls(false, typed);
        assert_eq!((seen.code, seen.stdout.as_str()), (Some(1), ""), "{}", seen.shown);
        assert!(seen.shown.contains(why), "{}", seen.shown);
    }
}

#[test]
fn without_a_terminal_the_option_is_named() {
    let image = golden::image("tank.img");
    let outcome = program::zstream(
        &["-d", image.to_str().expect("UTF-8"), "ls", "tank/e-aes-256-gcm@s"],
        b"correct horse\n",
    );
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!((outcome.code, outcome.stdout.as_slice()), (1, &b""[..]));
    assert_eq!(said, format!("zstream: {NAME} is encrypted: name its key file with --key-file\n"));
}

/// A slip in a new passphrase would lock its dataset for ever, so it is asked for twice.
#[test]
fn a_new_key_is_asked_for_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("a.img").display().to_string();
    assert_eq!(program::zstream(&["pool", "create", "--size", "64M", "demo", &image], b"").code, 0);
    let create = |typed| {
        let encryption = ["-o", "encryption=on", "-o", "keyformat=passphrase"];
        on_terminal(&[&["-d", &image, "create"], &encryption[..], &["demo/e"]].concat(), typed)
    };
    let seen = create("correct horse\ncorect horse\n");
    assert_eq!(seen.code, Some(1), "{}", seen.shown);
    assert!(seen.shown.contains("do not match"), "{}", seen.shown);
    let seen = create("correct horse\ncorrect horse\n");
    assert_eq!(seen.code, Some(0), "{}", seen.shown);
    assert!(!seen.shown.contains("hors"), "{}", seen.shown);
}
