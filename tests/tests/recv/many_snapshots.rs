//! A package of very many snapshots: what time and memory it takes is in proportion to their number. With
//! `ZSTREAM_THOROUGH=1000` there are a hundred thousand.

use std::io::Write as _;
use std::time::Instant;

use zstream_tests::every;
use zstream_tests::program::zstream;
use zstream_tests::receiving::Demo;

use crate::costs::measured;

/// The memory that a verb takes at most, and how much more for each snapshot: an entry of the list, names, and what is known of
/// the dataset.
const MEMORY_BYTES_BASE: u64 = 160 << 20;
const MEMORY_PER_SNAPSHOT: u64 = 8 << 10;

/// What the program writes to its output.
fn output(demo: &Demo, line: &str) -> Vec<u8> {
    let member = demo.members()[0].display().to_string();
    let words: Vec<&str> = ["-d", &member].into_iter().chain(line.split_whitespace()).collect();
    let outcome = zstream(&words, b"");
    assert_eq!(outcome.code, 0, "{line}: {}", String::from_utf8_lossy(&outcome.stderr));
    outcome.stdout
}

#[test]
fn a_package_of_very_many_snapshots_arrives() {
    let count: u64 = if every::step(2) == 1 { 100_000 } else { 150 };
    let size = 64 << 20;
    let room = size + count * (16 << 10);
    let (a, b) = (Demo::new("a", 12, room), Demo::new("b", 12, room));
    assert_eq!(a.run(&[], "create demo/fs", b"").0, 0);
    let names: Vec<String> = (0..count).map(|n| format!("s{n:06}")).collect();
    a.change(|pool| {
        for name in &names {
            pool.tx().snapshot(&[format!("demo/fs@{name}")]).expect("a snapshot");
            pool.commit().expect("a transaction group");
        }
    });
    let member = |demo: &Demo| demo.members()[0].display().to_string();
    let limit = MEMORY_BYTES_BASE + MEMORY_PER_SNAPSHOT * count;
    let runs = |words: &[&str], input: &[u8]| {
        let start = Instant::now();
        let (peak, code, message) = measured(words, input);
        println!("{count} snapshots: {words:?}: {:?}, {} MiB", start.elapsed(), peak >> 20);
        assert_eq!(code, Some(0), "{words:?}: {message}");
        assert!(peak <= limit, "{words:?}: {peak} bytes, limit {limit}");
    };
    let last = names.last().expect("a name");
    let words = format!("send -R demo/fs@{last}");
    let (code, _, message) = a.run(&[], &format!("{words} -n"), b"");
    assert_eq!(code, 0, "{message}");
    let stream = output(&a, &words);
    let file = tempfile::NamedTempFile::new().expect("a file");
    file.as_file().write_all(&stream).expect("room");
    let path = file.path().to_str().expect("UTF-8");
    runs(&["info", path], b"");
    runs(&["verify", path], b"");
    runs(&["-d", &member(&b), "recv", "demo/fs"], &stream);
    runs(&["-d", &member(&b), "list", "-t", "all", "-H", "-o", "name"], b"");
    let found: Vec<String> = b.datasets().into_keys().filter(|name| name.contains('@')).collect();
    let expected: Vec<String> = names.iter().map(|name| format!("demo/fs@{name}")).collect();
    assert_eq!(found, expected);
    runs(&["-d", &member(&b), "send", "-R", &format!("demo/fs@{last}")], b"");
    b.check("very many snapshots");
}
