//! Packages of many snapshots arrive whole, and are destroyed together.

use std::time::Instant;

use zstream_tests::receiving::Demo;

/// Snapshots in a test, and where every case is taken.
const SNAPSHOTS: [usize; 2] = [40, 5_000];

#[test]
fn hostile_numbers_of_snapshots_are_sent_and_received() {
    let count = SNAPSHOTS[usize::from(std::env::var_os("ZSTREAM_THOROUGH").is_some())];
    let [from, to] = [(); 2].map(|()| Demo::new("a", 12, 2 << 30));
    assert_eq!(from.run(&[], "create demo/fs", b"").0, 0);
    let started = Instant::now();
    let said = |what: &str| eprintln!("{count} snapshots: {what} after {:?}", started.elapsed());
    from.change(|pool| {
        for n in 0..count {
            pool.tx().snapshot(&[format!("demo/fs@{n}")]).unwrap();
            pool.commit().unwrap();
        }
    });
    said("made");
    let (code, list, message) = from.run(&[], "list -H -t snapshot -o name", b"");
    assert_eq!((code, list.lines().count()), (0, count), "{message}");
    said("listed");
    let members: Vec<String> = from.members().iter().map(|path| path.display().to_string()).collect();
    let last = format!("demo/fs@{}", count - 1);
    let package = zstream_tests::program::zstream(&["-d", &members[0], "send", "-R", &last], b"");
    assert_eq!(package.code, 0, "{}", String::from_utf8_lossy(&package.stderr));
    said("sent");
    let (code, _, message) = to.run(&[], "recv demo/new", &package.stdout);
    assert_eq!(code, 0, "{message}");
    said("received");
    let snapshots = to.datasets().keys().filter(|name| name.contains('@')).count();
    assert_eq!(snapshots, count);
    to.check("after a package of many snapshots");
    let (code, _, message) = to.run(&[], "destroy -r demo/new", b"");
    assert_eq!(code, 0, "{message}");
    said("destroyed");
    to.check("after its snapshots were destroyed");
}
