//! Judging: each snapshot is judged once, by what the open transaction group holds, and nothing is committed for it. What is
//! refused leaves the pool byte for byte as it was.

use zstream_dmu::ids::Txg;
use zstream_dsl::write::WritablePool;
use zstream_format::errno::Errno;
use zstream_format::object_type::ObjsetType;
use zstream_recv::error::Result;
use zstream_recv::{Host, Input, Naming, Note, Receiving, Request};
use zstream_tests::golden;
use zstream_tests::receiving::{Demo, target};
use zstream_tests::sending::stream;

/// Transaction groups that a snapshot takes: what is filled is made in one, and content and snapshot come in the next.
const GROUPS_PER_SNAPSHOT: u64 = 2;

/// Counts, and makes filesystems without completing their transaction group.
#[derive(Default)]
struct Counter {
    received: u64,
}

impl Host for Counter {
    fn create_filesystem(&mut self, pool: &mut WritablePool, name: &str) -> Result<()> {
        let head = pool.tx().create(name, false)?;
        let mut set = pool.create_set(head, ObjsetType::ZFS)?;
        pool.sync(head, &mut set)?;
        Ok(())
    }

    fn note(&mut self, note: Note) {
        self.received += u64::from(matches!(note, Note::Received(_)));
    }

    fn progress(&mut self, _: u64) {}
}

fn last_group(pool: &WritablePool) -> Txg {
    pool.pool().uberblock().txg
}

fn bytes(demo: &Demo) -> Vec<Vec<u8>> {
    demo.members().iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn to(name: &str) -> Request {
    Request { to: name.to_owned(), ..Request::default() }
}

/// Receives all of a stream, and gives the number of snapshots, how many were judged, and the transaction groups it took.
fn receive(demo: &Demo, stream: &[u8], request: &Request) -> (u64, u64, u64) {
    let mut pool = demo.writable();
    pool.destroy_unresumable().unwrap();
    let before = last_group(&pool);
    let mut host = Counter::default();
    let mut receiving = Receiving::new(&mut pool);
    let count = receiving.receive_all(&mut Input::new(stream), request, &mut host).unwrap();
    assert_eq!(count, host.received);
    let text = format!("{receiving:?}");
    let (_, judged) = text.split_once("judged: ").unwrap();
    let judged = judged.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    let groups = last_group(&pool).0 - before.0;
    pool.export().unwrap();
    (count, judged, groups)
}

/// A full stream of `demo/a/b/c@1` and an increment of it.
fn nested() -> [Vec<u8>; 2] {
    let source = Demo::new("a", 12, 64 << 20);
    for line in ["create -p demo/a/b/c", "snapshot demo/a/b/c@1", "snapshot demo/a/b/c@2"] {
        let (code, _, message) = source.run(&[], line, b"");
        assert_eq!(code, 0, "{line}: {message}");
    }
    let reading = source.reading();
    ["demo/a/b/c@1", "-i @1 demo/a/b/c@2"].map(|words| stream(&reading.plan(words)).0)
}

#[test]
fn each_snapshot_is_judged_once_and_no_transaction_group_is_for_that() {
    let demo = Demo::default();
    demo.receive(&golden::stream("fs-full"), &target("demo/fs@a"), &[]).unwrap();
    let mut all = 0;
    for (name, dataset) in [("tree-R", "demo/tree"), ("fs-package-I", "demo/fs")] {
        let (count, judged, groups) = receive(&demo, &golden::stream(name), &to(dataset));
        assert!(count > 0, "{name}");
        assert_eq!(judged, count, "{name}");
        // Snapshots with properties or holds take one more each.
        let least = GROUPS_PER_SNAPSHOT * count;
        assert!((least..=least + 3).contains(&groups), "{name}: {groups} transaction groups for {count}");
        all += count;
    }
    assert!(all > 4, "{all}");
    demo.check("packages");
    // What is skipped need not be judged.
    assert_eq!(receive(&demo, &golden::stream("tree-R"), &to("demo/tree")), (0, 0, 0));
}

/// Filesystems that are made above the target belong to the transaction group in which it begins.
#[test]
fn what_is_open_is_judged_over() {
    let demo = Demo::default();
    let request = Request { naming: Naming::WithoutPool, ..to("demo") };
    let [full, incr] = nested();
    assert_eq!(receive(&demo, &full, &request), (1, 1, GROUPS_PER_SNAPSHOT));
    assert_eq!(receive(&demo, &incr, &request), (1, 1, GROUPS_PER_SNAPSHOT));
    demo.check("datasets above");
    assert!(demo.reading().dsl.dataset("demo/a/b/c@2").is_ok());
}

#[test]
fn what_is_refused_leaves_the_pool_as_it_was() {
    let demo = Demo::new("a", 12, 64 << 20);
    demo.receive(&golden::stream("fs-full"), &target("demo/fs@a"), &[]).unwrap();
    let before = bytes(&demo);
    let cases = [
        ("fs-full", "demo/fs@b", Errno::EEXIST),
        ("fs-full", "demo/none/fs@a", Errno::ENOENT),
        ("fs-incr", "demo/new@b", Errno::ENOENT),
        ("rs512", "demo/fs@s", Errno::EEXIST),
    ];
    for (name, to, errno) in cases {
        let stream = golden::stream(name);
        let error = demo.receive(&stream, &target(to), &[]).unwrap_err();
        assert_eq!(error.errno(), errno, "{name} to {to}: {error}");
        assert!(bytes(&demo) == before, "{name} to {to}: the pool was written to");
        let (code, _, message) = demo.run(&[], &format!("recv {to}"), &stream);
        assert_eq!(code, 1, "{message}");
        assert!(bytes(&demo) == before, "{name} to {to}: the program wrote to the pool");
    }
    // Nor do the filesystems stay that were made above what is refused, though their blocks lie in free space.
    let (group, datasets) = (demo.reading().pool.uberblock().txg, demo.datasets());
    let [_, incr] = nested();
    let (code, _, message) = demo.run(&[], "recv -d demo", &incr);
    assert_eq!(code, 1, "{message}");
    assert_eq!((demo.reading().pool.uberblock().txg, demo.datasets()), (group, datasets), "{message}");
}
