//! What can be sent of filesystems that are damaged.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_store::ObjectStore as _;
use zstream_format::verify::{Options, verify};
use zstream_tests::receiving::Demo;

/// A filesystem that has lost the object that leads to all others can be sent where damage is allowed; else it is an error.
#[test]
fn a_filesystem_without_its_master_node() {
    let demo = Demo::default();
    let does = |line: &str| {
        let (code, _, message) = demo.run(&[], line, b"");
        assert_eq!(code, 0, "{line}: {message}");
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"what is left of it").unwrap();
    does("create demo/fs");
    does(&format!("put {} demo/fs:/", file.display()));
    demo.change(|pool| {
        let head = pool.dsl().head("demo/fs").unwrap().object();
        let mut set = pool.open_head(head).unwrap();
        set.free(ObjectId(1)).unwrap();
        pool.sync(head, &mut set).unwrap();
    });
    does("snapshot demo/fs@1");
    let (code, _, message) = demo.run(&[], "send demo/fs@1", b"");
    assert!(code == 1 && message.contains("object 1"), "{message}");
    // The stream itself is not text: it goes through a file.
    let members: Vec<String> = demo.members().iter().map(|path| path.display().to_string()).collect();
    let words: Vec<&str> =
        members.iter().flat_map(|path| ["-d", path]).chain(["send", "--corrupt-data", "demo/fs@1"]).collect();
    let outcome = zstream_tests::program::zstream(&words, b"");
    assert_eq!(outcome.code, 0, "{}", String::from_utf8_lossy(&outcome.stderr));
    let verdict = verify(&outcome.stdout[..], Options::default());
    assert!(verdict.is_good(), "{:?}", verdict.error);
    let content = b"what is left of it";
    assert!(outcome.stdout.windows(content.len()).any(|bytes| bytes == content), "the file is in the stream");
}
