//! Files in stored streams, through the program: they are those of the pool that the streams were sent from.

use zstream_tests::golden::{self, Outcome};
use zstream_tests::pools::PASSPHRASE;
use zstream_tests::program::zstream;

/// Runs a verb on stream files.
fn in_streams(streams: &[&str], options: &[&str], words: &[&str]) -> Outcome {
    let paths: Vec<_> =
        streams.iter().map(|name| golden::stream_path(name).to_str().expect("UTF-8").to_owned()).collect();
    let mut args = vec!["-f"];
    args.extend(paths.iter().map(String::as_str));
    args.extend(options);
    args.extend(words);
    zstream(&args, b"")
}

/// Runs a verb on the pool.
fn in_pool(words: &[&str]) -> Outcome {
    let image = golden::image("tank.img");
    zstream(&[&["-d", image.to_str().expect("UTF-8")], words].concat(), b"")
}

/// The streams that make up a snapshot, and the snapshot.
const CASES: [(&[&str], &str); 9] = [
    (&["fs-full"], "tank/fs@a"),
    (&["fs-full-Lec"], "tank/fs@a"),
    (&["fs-full", "fs-incr"], "tank/fs@b"),
    (&["fs-full-c", "fs-package-I"], "tank/fs@c"),
    (&["fs-full", "clone-incr"], "tank/clone@x"),
    (&["rs1m"], "tank/rs1m@s"),
    (&["rs512-Lec"], "tank/rs512@s"),
    (&["dn"], "tank/dn@s"),
    (&["tree-R"], "tank/tree/child@2"),
];

#[test]
fn a_stream_holds_the_files_of_its_snapshot() {
    for (streams, snapshot) in CASES {
        for verb in [&["ls", "-lR"][..], &["extract", "--tar"]] {
            let words = [verb, &[snapshot]].concat();
            let (found, expected) = (in_streams(streams, &[], &words), in_pool(&words));
            assert_eq!((expected.code, expected.stderr.len()), (0, 0), "{snapshot}");
            assert!(expected.stdout.len() > 50, "{snapshot}: {words:?}");
            assert!(found == expected, "{streams:?} {words:?}: {}", String::from_utf8_lossy(&found.stderr));
        }
    }
}

/// With the key a raw stream shows what the pool shows with the same key.
#[test]
fn a_key_opens_raw_streams() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("key");
    std::fs::write(&key, PASSPHRASE).expect("a file");
    let key = ["--key-file", key.to_str().expect("UTF-8")];
    let image = golden::image("tank.img");
    let image = image.to_str().expect("UTF-8");
    for (streams, snapshot) in [
        (&["e-aes-256-gcm-raw"][..], "tank/e-aes-256-gcm@s"),
        (&["e-aes-128-ccm-raw", "e-aes-128-ccm-raw-incr"], "tank/e-aes-128-ccm@t"),
    ] {
        for verb in [&["ls", "-lR"][..], &["extract", "--tar"]] {
            let words = [verb, &[snapshot]].concat();
            let expected = zstream(&[&["-d", image], &key[..], &words].concat(), b"");
            assert!(expected.code == 0 && expected.stdout.len() > 100, "{snapshot}");
            let found = in_streams(streams, &key, &words);
            assert!(found == expected, "{streams:?} {words:?}: {}", String::from_utf8_lossy(&found.stderr));
        }
    }
}

#[test]
fn the_only_snapshot_needs_no_name() {
    let expected = in_pool(&["cat", "tank/fs@a", "text"]);
    assert!(expected.code == 0 && expected.stdout.len() > 10_000);
    for words in [&["cat", "text"][..], &["cat", "@a", "text"], &["cat", "tank/fs@a", "text"]] {
        assert!(in_streams(&["fs-full-e"], &[], words) == expected, "{words:?}");
    }
    let outcome = in_streams(&["fs-full", "fs-incr"], &[], &["cat", "text"]);
    assert_eq!(outcome.code, 1, "which of the two is meant?");
    let outcome = in_streams(&["fs-incr"], &[], &["ls"]);
    assert_eq!(outcome.code, 1, "an increment alone is half of it");
    assert!(
        String::from_utf8_lossy(&outcome.stderr).contains("6145876587502195179"),
        "the guid it needs is named"
    );
}

#[test]
fn volumes_come_out_whole() {
    let expected = in_pool(&["cat", "tank/vol@t"]);
    assert_eq!((expected.code, expected.stdout.len()), (0, 8 << 20));
    assert!(in_streams(&["vol", "vol-incr"], &[], &["cat", "@t"]) == expected);
}

#[test]
fn a_cut_stream_shows_what_there_is_when_asked_to() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("cut.zfs");
    let whole = golden::stream("fs-full");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("a file");
    let path = path.to_str().expect("UTF-8");
    let outcome = zstream(&["-f", path, "ls"], b"");
    assert_eq!(outcome.code, 1);
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("cut short"));
    let outcome = zstream(&["-f", path, "--partial", "cat", "text"], b"");
    assert_eq!(outcome.code, 0, "{}", String::from_utf8_lossy(&outcome.stderr));
    assert!(outcome.stdout == in_pool(&["cat", "tank/fs@a", "text"]).stdout);
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("cut short"), "and says that it is not all");
}

/// What a user may meet: no snapshot at all, a directory that lies beyond the cut, an option that does nothing for a pool.
#[test]
fn what_is_beyond_a_cut_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("cut.zfs");
    let (path, whole) = (path.to_str().expect("UTF-8"), golden::stream("fs-full"));
    for (len, said) in [
        (100, "the streams have no snapshot at all; they have none\n"),
        (5000, "it was cut short before the metadata of its files"),
    ] {
        std::fs::write(path, &whole[..len]).expect("a file");
        let outcome = zstream(&["-f", path, "--partial", "ls"], b"");
        let stderr = String::from_utf8_lossy(&outcome.stderr);
        assert_eq!((outcome.code, outcome.stdout.as_slice()), (1, &b""[..]), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
    let image = golden::image("tank.img");
    let outcome = zstream(&["-d", image.to_str().expect("UTF-8"), "--partial", "ls", "tank/fs@a"], b"");
    assert_eq!(outcome.code, 2);
}

/// A dataset whose receive was cut off shows what there is.
#[test]
fn a_receive_that_was_cut_off_is_said() {
    for (name, shown) in [("tank/rx/fs-full", false), ("tank/rx/fs-full-Lec", true)] {
        let outcome = in_pool(&["ls", name]);
        let stderr = String::from_utf8_lossy(&outcome.stderr);
        assert!(stderr.contains(&format!("{name}: the receive was not completed")), "{stderr}");
        assert_eq!(!outcome.stdout.is_empty(), shown, "{stderr}");
    }
}

#[test]
fn what_cannot_be_shown_is_said() {
    // Redacted content is an error, not zeros.
    let outcome = in_streams(&["fs-redacted"], &[], &["cat", "random"]);
    assert_eq!(outcome.code, 1);
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("redacted"));
    // An archive goes on without the file.
    let outcome = in_streams(&["fs-redacted"], &[], &["extract", "--tar"]);
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.code == 1 && said.contains("random: block is redacted"), "{said}");
    assert!(said.contains("1 item could not be restored: 1 file\n"), "{said}");
    let names: Vec<String> = tar::Archive::new(&outcome.stdout[..])
        .entries()
        .expect("an archive")
        .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string())
        .collect();
    assert_eq!((names.len(), names.last().map(String::as_str)), (259, Some("GNUSparseFile.0/zeros")));
    assert!(!names.contains(&"random".to_owned()));
    // Raw streams without their key.
    let outcome = in_streams(&["e-aes-256-gcm-raw"], &[], &["ls"]);
    assert_eq!(outcome.code, 1);
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert!(said.contains("tank/e-aes-256-gcm@s is encrypted") && said.contains("--key-file"), "{said}");
    // Verbs of pools do not take streams.
    assert_eq!(in_streams(&["fs-full"], &[], &["list"]).code, 2);
}
