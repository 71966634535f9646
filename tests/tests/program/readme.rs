//! What README.md shows is what the program prints.

use std::process::Command;
use zstream_tests::program::{installed, root};

/// Every `console` block: each line that begins with `$ ` is run by a shell in the root of the workspace, and prints the
/// lines that follow it.
#[test]
fn console_blocks_are_true() {
    let text = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let dir = installed("zstream");
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap_or_default());
    let mut compared = 0;
    for block in text.split("```console\n").skip(1) {
        let (block, _) = block.split_once("```").expect("the end of a block");
        for command in block.split("$ ").skip(1) {
            let (command, expected) = command.split_once('\n').expect("a command and its output");
            let output = Command::new("sh")
                .args(["-c", command])
                .env("PATH", &path)
                .current_dir(root())
                .output()
                .expect("a shell runs");
            let printed = String::from_utf8_lossy(&output.stdout);
            let complaints = String::from_utf8_lossy(&output.stderr);
            assert_eq!(printed, expected, "$ {command}\n{complaints}");
            compared += 1;
        }
    }
    assert!(compared > 0, "no command in README.md");
}
