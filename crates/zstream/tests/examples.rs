//! The programs in `examples/` do what they say.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use zstream::create::NewPool;
use zstream::{Control, NoKeys, PoolPlace, ReceiveRequest, Receiver};

/// Runs an example. `cargo test` builds them next to this test; `cargo test --test examples` alone does not.
fn run(example: &str, words: &[&Path], input: &[u8]) -> Output {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(example);
    let mut child = Command::new(path)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{example}: {error}; cargo build -p zstream --examples makes it"));
    // One that does not read its input leaves it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn good(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_stream_is_made_stored_received_replicated_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    let made = run("new_stream", &[], b"");
    let stream = made.stdout.clone();
    good(made);

    let stored = path("greetings.zfs");
    assert!(good(run("verify_upload", &[&stored], &stream)).ends_with(": 1 snapshots\n"));
    assert!(fs::read(&stored).unwrap() == stream);
    let cut = path("cut.zfs");
    assert!(!run("verify_upload", &[&cut], &stream[..stream.len() / 2]).status.success());
    assert!(!cut.exists() && !path("cut.partial").exists());

    let pool = |name: &str| -> PoolPlace {
        let new = NewPool::new(name, &[path(name).to_str().unwrap()]).unwrap();
        new.with_file_size(128 << 20).unwrap().create("test", &NoKeys).unwrap()
    };
    let (first, _) = (pool("first"), pool("second"));
    let receiver = Receiver::open(&first, ReceiveRequest::new("first/fs"), &NoKeys).unwrap();
    receiver.receive(File::open(&stored).unwrap(), "test", &mut Control::new()).unwrap();
    let words = [&path("first"), Path::new("first/fs@first"), &path("second"), Path::new("second/fs")];
    assert!(good(run("replicate", &words, b"")).starts_with("1 snapshots in "));
    // The snapshot is there already.
    assert!(!run("replicate", &words, b"").status.success());
    // Enter stops it: at once, or after the receiver has refused.
    assert!(!run("replicate", &words, b"\n").status.success());

    let words = [&path("second"), Path::new("second/fs@first"), Path::new("english/hello.txt")];
    let read = good(run("read_image", &words, b""));
    assert!(read.ends_with("\nHello\n"), "{read}");
    for name in ["/english/hello.txt", "/deutsch/hallo.txt"] {
        assert!(read.contains(name), "{read}");
    }
}
