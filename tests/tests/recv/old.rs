//! Streams that no sender of today makes: in the other byte order, and deduplicated. What is received is the same.

use zstream_format::edit::byteswap;
use zstream_format::errno::Errno;
use zstream_format::record::{Body, WriteByref};
use zstream_format::stream::StreamWriter;
use zstream_tests::edit::deduplicated;
use zstream_tests::edit::records;
use zstream_tests::golden;
use zstream_tests::manifest;
use zstream_tests::program::zstream;
use zstream_tests::receiving::{Demo, target};

/// Streams with what is in them: stream, target, manifest.
const STREAMS: [(&str, &str, &str); 13] = [
    ("fs-full", "demo/fs@a", "tank_fs_a"),
    ("fs-incr", "demo/fs@b", "tank_fs_b"),
    ("fs-full-c", "demo/c@a", "tank_fs_a"),
    ("fs-incr-ac", "demo/c@c", "tank_fs_c"),
    ("fs-full-Lec", "demo/Lec@a", "tank_fs_a"),
    ("rs512-Lec", "demo/rs512@s", "tank_rs512_s"),
    ("rs1m-Lec", "demo/rs1m@s", "tank_rs1m_s"),
    ("dn-Lec", "demo/dn@s", "tank_dn_s"),
    ("c-off-c", "demo/off@s", "tank_c-off_s"),
    ("e-aes-256-gcm-plain", "demo/plain@s", "tank_e-aes-256-gcm_s"),
    ("e-aes-256-gcm-raw", "demo/gcm@s", "tank_e-aes-256-gcm_s"),
    ("e-aes-256-gcm-raw-incr", "demo/gcm@t", "tank_e-aes-256-gcm_t"),
    ("e-aes-128-ccm-raw", "demo/ccm@s", ""),
];

fn small() -> Demo {
    Demo::new("a", 12, 192 << 20)
}

fn compare(demo: &Demo) {
    let reading = demo.reading();
    ["demo/gcm", "demo/ccm"].iter().filter(|name| reading.dsl.dir(name).is_ok()).for_each(|name| {
        reading.unlock(name);
    });
    for (name, to, files) in STREAMS {
        if files.is_empty() {
            continue;
        }
        let Ok(dataset) = reading.dsl.dataset(to) else { continue };
        golden::manifest(files).assert_same(&manifest::of(&*dataset.objset().unwrap()), name);
    }
}

#[test]
fn streams_of_the_other_byte_order_are_received() {
    let demo = small();
    for (name, to, _) in STREAMS {
        let mut swapped = Vec::new();
        byteswap(&golden::stream(name)[..], &mut swapped).unwrap();
        assert!(swapped != golden::stream(name));
        demo.receive(&swapped, &target(to), &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    compare(&demo);
    demo.check("from the other byte order");
    let vol = |demo: &Demo, stream: &[u8]| {
        demo.receive(stream, &target("demo/vol@s"), &[]).unwrap();
        let sending = demo.reading();
        zstream_tests::sending::stream(&sending.plan("demo/vol@s")).0
    };
    let mut swapped = Vec::new();
    byteswap(&golden::stream("vol")[..], &mut swapped).unwrap();
    let (straight, crossed) = (vol(&small(), &golden::stream("vol")), vol(&small(), &swapped));
    assert!(records(&straight).len() > 4);
    assert!(straight == crossed, "a volume is the same, whichever order it came in");
}

#[test]
fn deduplicated_streams_are_received() {
    let demo = small();
    let mut all = 0;
    for (name, to, _) in STREAMS.into_iter().filter(|(name, ..)| !name.contains("raw")) {
        let (deduped, references) = deduplicated(&golden::stream(name));
        all += references;
        demo.receive(&deduped, &target(to), &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(all > 0, "{all} references");
    compare(&demo);
    demo.check("deduplicated");
}

/// References within a snapshot, and to one that came earlier in the same package.
#[test]
fn blocks_of_earlier_snapshots_are_found() {
    let (source, demo, files) = (small(), small(), tempfile::tempdir().unwrap());
    let does = |pool: &Demo, line: &str, input: &[u8]| {
        let (code, _, message) = pool.run(&[], line, input);
        assert_eq!((code, message.as_str()), (0, ""), "{line}");
    };
    let content: Vec<u8> =
        (0..1_u32 << 20).flat_map(|at| (at.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
    does(&source, "create demo/fs", b"");
    for (snapshot, names) in [("1", ["a", "b"]), ("2", ["c", "d"])] {
        for name in names {
            let path = files.path().join(name);
            std::fs::write(&path, &content).unwrap();
            does(&source, &format!("put {} demo/fs:/", path.display()), b"");
        }
        does(&source, &format!("snapshot demo/fs@{snapshot}"), b"");
    }
    let member = source.members()[0].display().to_string();
    let package = zstream(&["-d", &member, "send", "-R", "demo/fs@2"], b"").stdout;
    let (deduped, references) = deduplicated(&package);
    assert!(references >= 90 && deduped.len() < package.len() / 3, "{references} references");
    does(&demo, "recv demo/copy", &deduped);
    for snapshot in ["1", "2"] {
        let read = |pool: &Demo, name: &str| {
            manifest::of(
                &*pool.reading().dsl.dataset(&format!("{name}@{snapshot}")).unwrap().objset().unwrap(),
            )
        };
        read(&source, "demo/fs").assert_same(&read(&demo, "demo/copy"), snapshot);
    }
    does(&demo, "destroy demo/copy@2", b"");
    does(&demo, "recv -F demo/copy", &deduped);
    let read =
        |pool: &Demo, name: &str| manifest::of(&*pool.reading().dsl.dataset(name).unwrap().objset().unwrap());
    read(&source, "demo/fs@2").assert_same(&read(&demo, "demo/copy@2"), "with the first snapshot there");
    demo.check("a deduplicated package");
}

/// The raw stream with the content of one block for all that have its size, as an encrypted dataset with `dedup=on` has it:
/// each copy is encrypted in the same way.
fn repeated(stream: &[u8]) -> Vec<u8> {
    let mut first = std::collections::HashMap::new();
    let mut writer = StreamWriter::new(Vec::new());
    for (mut header, mut payload) in records(stream) {
        if let Some(Body::Write(mut write)) = header.body() {
            let (one, content) = first
                .entry((write.object_type, write.logical_size))
                .or_insert_with(|| (write, payload.clone()))
                .clone();
            write = zstream_format::record::Write {
                object: write.object,
                offset: write.offset,
                to_guid: write.to_guid,
                ..one
            };
            payload = content;
            header.set_body(write);
        }
        writer.write(&header, &payload).unwrap();
    }
    writer.into_inner()
}

/// References in raw streams are copies of blocks as they are stored: within a snapshot, to an earlier one of the same package,
/// and to a block that the increment did not bring.
#[test]
fn deduplicated_raw_streams_are_received() {
    let (source, files) = (small(), tempfile::tempdir().unwrap());
    let key = files.path().join("key");
    std::fs::write(&key, [7; 32]).unwrap();
    let key = format!("--key-file {}", key.display());
    let does = |pool: &Demo, line: &str, input: &[u8]| {
        let (code, out, message) = pool.run(&[], line, input);
        assert_eq!((code, message.as_str()), (0, ""), "{line}");
        out
    };
    does(&source, &format!("{key} create -o encryption=on -o keyformat=raw demo/fs"), b"");
    for (snapshot, names) in [("1", ["a", "b"]), ("2", ["c", "d"])] {
        for name in names {
            let path = files.path().join(name);
            let content: Vec<u8> = (0..1_u32 << 18).flat_map(|at| (at ^ (at << 9)).to_le_bytes()).collect();
            std::fs::write(&path, &content).unwrap();
            does(&source, &format!("{key} put {} demo/fs:/", path.display()), b"");
        }
        does(&source, &format!("snapshot demo/fs@{snapshot}"), b"");
    }
    let raw = |pool: &Demo, name: &str, words: &str| {
        let member = pool.members()[0].display().to_string();
        let words = words.replace("FS", name);
        let words: Vec<&str> = ["-d", &member].into_iter().chain(words.split(' ')).collect();
        let outcome = zstream(&words, b"");
        assert_eq!(outcome.code, 0, "{}", String::from_utf8_lossy(&outcome.stderr));
        outcome.stdout
    };
    let package = repeated(&raw(&source, "demo/fs", "send -w -R FS@2"));
    let (deduped, references) = deduplicated(&package);
    assert!(references >= 24 && deduped.len() < package.len() / 4, "{references} references");
    let (plain, demo) = (small(), small());
    does(&plain, "recv demo/copy", &package);
    assert!(does(&demo, "recv -n -v demo/copy", &deduped).contains("would receive"));
    does(&demo, "recv demo/copy", &deduped);
    for words in ["send -w FS@1", "send -w -i @1 FS@2"] {
        let [ours, theirs] = [&demo, &plain].map(|pool| raw(pool, "demo/copy", words));
        assert!(ours == theirs, "{words}");
    }
    demo.check("a deduplicated raw package");

    // What is there already is referred to.
    let before = demo.datasets();
    does(&demo, "destroy demo/copy@2", b"");
    does(&demo, "recv -F demo/copy", &deduped);
    assert_eq!(raw(&demo, "demo/copy", "send -w -i @1 FS@2"), raw(&plain, "demo/copy", "send -w -i @1 FS@2"));
    assert_eq!(demo.datasets().len(), before.len());

    // What it refers to must be there, as it is stored.
    let before = demo.datasets();
    let misled = |change: &dyn Fn(&mut WriteByref)| with_references(&deduped, change);
    for (what, stream) in [
        ("no object", misled(&|byref| byref.ref_object = 7777.into())),
        ("no snapshot", misled(&|byref| byref.ref_guid = 77.into())),
        ("a hole", misled(&|byref| byref.ref_offset = byref.length << 20)),
        ("a part of a block", misled(&|byref| byref.ref_offset += 512)),
        ("another size", misled(&|byref| byref.length /= 2)),
    ] {
        let (code, _, message) = demo.run(&[], "recv demo/bad", &stream);
        assert!(code == 1 && message.contains("WRITE_BYREF"), "{what}: {message}");
        assert_eq!(demo.datasets(), before, "{what}");
    }
    demo.check("after raw references that lead nowhere");
}

/// A package brings `dedup=on`: what is received with it, inherits it, or is put there later, is deduplicated.
#[test]
fn datasets_that_are_deduplicated_elsewhere_are_received() {
    let (source, demo, files) = (small(), small(), tempfile::tempdir().unwrap());
    let does = |pool: &Demo, line: &str, input: &[u8]| {
        let (code, _, message) = pool.run(&[], line, input);
        assert_eq!(code, 0, "{line}: {message}");
        message
    };
    let path = files.path().join("file");
    does(&source, "create demo/fs", b"");
    does(&source, "create demo/fs/below", b"");
    for (snapshot, content) in [("1", [1; 300_000]), ("2", [2; 300_000])] {
        std::fs::write(&path, content).unwrap();
        for dataset in ["demo/fs", "demo/fs/below"] {
            does(&source, &format!("put {} {dataset}:/f{snapshot}", path.display()), b"");
        }
        does(&source, &format!("snapshot -r demo/fs@{snapshot}"), b"");
    }
    source.change(|pool| {
        let head = pool.dsl().head("demo/fs").unwrap().object();
        let on = zstream_dsl::write::Setting::Local(zstream_dmu::zap::Value::word(1));
        pool.tx().set_property(head, "dedup", &on).unwrap();
    });
    let member = source.members()[0].display().to_string();
    let send = |words: &[&str]| {
        let outcome = zstream(&[&["-d", &member, "send"], words].concat(), b"");
        assert_eq!(outcome.code, 0, "{}", String::from_utf8_lossy(&outcome.stderr));
        outcome.stdout
    };
    let package = send(&["-R", "demo/fs@2"]);
    let is_shared = |demo: &Demo| {
        let pool = &demo.reading().pool;
        let totals = zstream_dmu::space::dedup_totals(&**pool.mos(), pool.vdevs().tops()).unwrap();
        totals.ratio_percent() > 100
    };
    for option in ["-x dedup", "-o dedup=off"] {
        does(&demo, &format!("recv {option} demo/{}", option.len()), &package);
        assert!(!is_shared(&demo), "{option}");
    }
    for line in ["recv -n demo/copy", "recv demo/copy"] {
        does(&demo, line, &package);
    }
    assert!(is_shared(&demo));
    let (_, dedup, _) = demo.run(&[], "get -Hr -o name,value,source dedup demo/copy", b"");
    assert!(dedup.contains("demo/copy\ton\treceived") && dedup.contains("below\ton\tinherited"), "{dedup}");
    for dataset in ["", "/below"] {
        for snapshot in ["1", "2"] {
            let read = |pool: &Demo, name: String| {
                manifest::of(&*pool.reading().dsl.dataset(&name).unwrap().objset().unwrap())
            };
            read(&source, format!("demo/fs{dataset}@{snapshot}"))
                .assert_same(&read(&demo, format!("demo/copy{dataset}@{snapshot}")), snapshot);
        }
    }
    // One after another, with the property from the first.
    does(&demo, "recv demo/one", &send(&["-p", "demo/fs@1"]));
    does(&demo, "recv demo/one", &send(&["-i", "@1", "demo/fs@2"]));
    does(&demo, &format!("put {} demo/one:/g", path.display()), b"");
    does(&demo, "snapshot demo/one@3", b"");
    does(&demo, "rollback -r demo/one@1", b"");
    demo.check("datasets with dedup on");
}

/// A stream with changed references, and the checksums made right.
fn with_references(stream: &[u8], change: &dyn Fn(&mut WriteByref)) -> Vec<u8> {
    let mut writer = StreamWriter::new(Vec::new());
    for (mut header, payload) in records(stream) {
        if let Some(Body::WriteByref(mut byref)) = header.body() {
            change(&mut byref);
            header.set_body(byref);
        }
        writer.write(&header, &payload).unwrap();
    }
    writer.into_inner()
}

/// A reference to something that was not received is no reason to make something up.
#[test]
fn references_that_lead_nowhere_end_the_receive() {
    let demo = small();
    let (deduped, _) = deduplicated(&golden::stream("c-off-c"));
    let broken = |change: &dyn Fn(&mut WriteByref)| with_references(&deduped, change);
    let before = demo.datasets();
    for (what, stream) in [
        ("object", broken(&|byref| byref.ref_object = 7777.into())),
        ("snapshot", broken(&|byref| byref.ref_guid = 77.into())),
        ("length", broken(&|byref| byref.length = 1 << 40)),
    ] {
        let error = demo.receive(&stream, &target("demo/fs@s"), &[]).expect_err(what);
        assert_eq!(error.errno(), Errno::EINVAL, "{what}: {error}");
        assert!(error.place().is_some(), "{what}: {error}");
        assert_eq!(demo.datasets(), before, "{what}");
    }
    demo.check("after references that lead nowhere");
}

/// OpenZFS issue 18239: a spill block that lies in its pointer comes as if it were data of the file, near the end of what can
/// be. It becomes the spill block, as if the sender had sent it as one.
#[test]
fn embedded_spill_blocks_become_spill_blocks() {
    let demo = small();
    for (to, names) in
        [("demo/good", ["spill", "spill-incr"]), ("demo/embedded", ["spill-e", "spill-ec-incr"])]
    {
        for (n, name) in names.iter().enumerate() {
            let stream = std::fs::read(golden::fault_file(&format!("{name}.zfs"))).unwrap();
            demo.receive(&stream, &target(&format!("{to}@{n}")), &[]).unwrap();
        }
    }
    let reading = demo.reading();
    let files = |name: String| manifest::of(&*reading.dsl.dataset(&name).unwrap().objset().unwrap());
    for n in [0, 1] {
        let good = files(format!("demo/good@{n}"));
        assert!(good.entries.values().any(|entry| !entry.xattrs.is_empty()), "nothing needs a spill block");
        good.assert_same(&files(format!("demo/embedded@{n}")), &n.to_string());
    }
    demo.check("embedded spill blocks");
}
