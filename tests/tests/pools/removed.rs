//! Changes of pools with a checkpoint, and of pools from which vdevs were removed, as far as they are refused.

use zstream_tests::golden;
use zstream_tests::program::zstream;

/// A pool in which a dataset has a list of blocks that OpenZFS remapped cannot be changed, and the error says why.
#[test]
fn lists_of_remapped_blocks_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    for path in golden::shape("removed") {
        golden::copy(&path, dir.path());
    }
    let outcome = zstream(&["-d", dir.path().to_str().expect("UTF-8"), "create", "removed/new"], &[]);
    let text = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert_eq!(outcome.code, 1, "{text}");
    assert!(text.contains("lists of remapped blocks"), "{text}");
}

#[test]
fn a_pool_has_one_checkpoint_at_most() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = golden::copy(&golden::kept_file("checkpointed.img"), dir.path());
    let run = |args: &[&str]| {
        let outcome = zstream(&[&["-d", image.to_str().expect("UTF-8")], args].concat(), &[]);
        (outcome.code, String::from_utf8_lossy(&[outcome.stdout, outcome.stderr].concat()).into_owned())
    };
    let (code, text) = run(&["pool", "checkpoint", "checkpointed"]);
    assert!(code == 1 && text.contains("exists"), "{text}");
    let (code, text) = run(&["--checkpoint", "list", "-H", "-o", "name"]);
    assert_eq!((code, text.as_str()), (0, "checkpointed\ncheckpointed/goes\ncheckpointed/stays\n"));
    assert_eq!(run(&["--checkpoint", "create", "checkpointed/x"]).0, 2);
    assert_eq!(run(&["pool", "checkpoint", "--discard", "checkpointed"]), (0, String::new()));
    let (code, text) = run(&["pool", "get", "-H", "-o", "value", "checkpoint,feature@zpool_checkpoint"]);
    assert_eq!((code, text.as_str()), (0, "-\nenabled\n"));
    let (code, text) = run(&["pool", "checkpoint", "--discard", "checkpointed"]);
    assert!(code == 1 && text.contains("checkpoint does not exist"), "{text}");
    let (code, text) = run(&["--checkpoint", "list"]);
    assert!(code == 1 && text.contains("does not have a checkpoint"), "{text}");
    assert_eq!(run(&["pool", "check"]).0, 0);
}
