//! Volumes received: their bytes, their size when it changes, and what is reserved for them.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::object_store::ObjectStore as _;
use zstream_dmu::zap::{Value, Zap, ZapMut};
use zstream_format::record::TO_OBJECT_END;
use zstream_tests::golden;
use zstream_tests::receiving::{Demo, target};
use zstream_tests::sending::{Sending, stream};

const CONTENT: ObjectId = ObjectId(1);
const PROPERTIES: ObjectId = ObjectId(2);

/// All bytes of a volume that is not locked.
fn bytes(pool: &Sending, name: &str) -> Vec<u8> {
    let set = pool.dsl.dataset(name).unwrap().objset().unwrap();
    let size = Zap::open(&*set, PROPERTIES).unwrap().lookup_u64("size").unwrap().unwrap();
    let mut out = vec![0; size as usize];
    set.read(CONTENT, 0, &mut out).unwrap();
    out
}

#[test]
fn golden_volumes_have_the_bytes_of_the_sender() {
    let tank = Sending::open(&golden::pool("tank"));
    let demo = Demo::new("a", 12, 128 << 20);
    for (name, to) in [("vol", "demo/vol@s"), ("vol-incr", "demo/vol@t")] {
        demo.receive(&golden::stream(name), &target(to), &[]).unwrap();
    }
    let reading = demo.reading();
    for snapshot in ["s", "t"] {
        let (ours, theirs) = (format!("demo/vol@{snapshot}"), format!("tank/vol@{snapshot}"));
        assert!(bytes(&reading, &ours) == bytes(&tank, &theirs), "{ours}");
        let block = |pool: &Sending, name: &str| {
            pool.dsl.dataset(name).unwrap().objset().unwrap().info(CONTENT).unwrap().block_bytes
        };
        assert_eq!(block(&reading, &ours), block(&tank, &theirs));
    }
    assert!(bytes(&reading, "demo/vol@s") != bytes(&reading, "demo/vol@t"));
    let get = |property: &str| demo.run(&[], &format!("get -Hp -o value {property} demo/vol"), b"").1;
    assert_eq!(get("type"), "volume\n");
    assert_eq!(get("volsize").trim_end(), bytes(&tank, "tank/vol@t").len().to_string());
    demo.check("volumes");
}

/// A volume that grew and one that shrank at the sender, which no golden stream has.
#[test]
fn the_size_of_a_volume_follows_the_sender() {
    const BLOCK: u64 = 16 << 10;
    let (source, demo) = (Demo::new("a", 12, 128 << 20), Demo::new("a", 12, 128 << 20));
    let (code, _, message) = source.run(&[], "create -s -V 1M -b 16K demo/vol", b"");
    assert_eq!(code, 0, "{message}");
    let change = |size: u64, seed: u8, snapshot: &str| {
        source.change(|pool| {
            let head = pool.dsl().head("demo/vol").unwrap().object();
            let mut set = pool.open_head(head).unwrap();
            ZapMut::open(&mut set, PROPERTIES).unwrap().update("size", &Value::word(size)).unwrap();
            set.free_range(CONTENT, size, TO_OBJECT_END).unwrap();
            for block in (0..size / BLOCK).step_by(3) {
                let content: Vec<u8> =
                    (0..BLOCK).map(|at| (at * 7 + at / 251 + block) as u8 ^ seed).collect();
                set.write(CONTENT, block * BLOCK, &content).unwrap();
            }
            pool.sync(head, &mut set).unwrap();
            pool.commit().unwrap();
            pool.tx().snapshot(&[format!("demo/vol@{snapshot}")]).unwrap();
        });
    };
    let mut last: Option<&str> = None;
    for (snapshot, size, form) in
        [("a", 1 << 20, ""), ("grown", 6 << 20, "-c "), ("shrunk", 2 << 20, ""), ("same", 2 << 20, "-e -c ")]
    {
        change(size, snapshot.len() as u8, snapshot);
        let base = last.map_or(String::new(), |last| format!("-i @{last} "));
        let sending = source.reading();
        let sent = stream(&sending.plan(&format!("{form}{base}demo/vol@{snapshot}"))).0;
        demo.receive(&sent, &target(&format!("demo/copy@{snapshot}")), &[]).unwrap();
        let copy = bytes(&demo.reading(), &format!("demo/copy@{snapshot}"));
        assert_eq!(copy.len(), size as usize, "{snapshot}");
        assert!(copy == bytes(&sending, &format!("demo/vol@{snapshot}")), "{snapshot}");
        // Nothing is left above the end.
        let set = demo.reading().dsl.dataset(&format!("demo/copy@{snapshot}")).unwrap().objset().unwrap();
        assert_eq!(set.next_data(CONTENT, size).unwrap(), None, "{snapshot}");
        last = Some(snapshot);
    }
    demo.check("volumes that change their size");
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_zdb_finds_received_volumes_clean() {
    let demo = Demo::new("a", 12, 128 << 20);
    for (name, to) in [("vol", "demo/vol@s"), ("vol-incr", "demo/vol@t")] {
        demo.receive(&golden::stream(name), &target(to), &[]).unwrap();
    }
    demo.zdb("volumes");
}
