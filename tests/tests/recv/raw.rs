//! Raw streams received without a key: interrupted at any record and gone on with, and with keys that were wrapped anew at the
//! sender. What is there afterwards is what was sent, which a raw send of it shows to the bit.

use zstream_dmu::zio::crypt::{KeyFormat, WrappedKey, WrappingKey};
use zstream_dsl::CryptoKey;
use zstream_dsl::write::Wrapping;
use zstream_format::algorithm::CryptSuite;
use zstream_format::edit::byteswap;
use zstream_format::errno::Errno;
use zstream_format::record::Body;
use zstream_recv::{Encryption, Input, OwnKey, Receiving, Target};
use zstream_tests::edit::records;
use zstream_tests::golden;
use zstream_tests::manifest;
use zstream_tests::receiving::{Demo, target};
use zstream_tests::samples::record_places;
use zstream_tests::sending::{Sending, resume, stream};

const OLD: &[u8] = b"correct horse";
const NEW: &[u8] = b"battery staple";

/// The records behind BEGIN, with their payloads: what they say does not depend on names.
fn content(stream: &[u8]) -> Vec<(String, Vec<u8>)> {
    let said = |body: Option<Body>| match body {
        // Sums everything before it, the name included.
        Some(Body::End(end)) => format!("end of {}", end.to_guid),
        body => format!("{body:?}"),
    };
    records(stream).into_iter().skip(1).map(|(header, payload)| (said(header.body()), payload)).collect()
}

fn assert_same_content(ours: &[u8], theirs: &[u8], what: &str) {
    let (ours, theirs) = (content(ours), content(theirs));
    for (n, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours.0, theirs.0, "{what}: record {n}");
        assert!(ours.1 == theirs.1, "{what}: payload of record {n}, {}", ours.0);
    }
    assert_eq!(ours.len(), theirs.len(), "{what}");
}

fn files(reading: &Sending, name: &str, files: &str) {
    let set = reading.dsl.dataset(name).unwrap().objset().unwrap();
    golden::manifest(files).assert_same(&manifest::of(&*set), name);
}

#[test]
fn what_is_received_raw_is_sent_raw_as_it_came() {
    let demo = Demo::new("a", 12, 192 << 20);
    for suite in ["aes-256-gcm", "aes-128-ccm"] {
        let dataset = format!("demo/{suite}");
        for (words, name) in [("-w DS@s", "raw"), ("-w -i @s DS@t", "raw-incr")] {
            let golden = golden::stream(&format!("e-{suite}-{name}"));
            let words = words.replace("DS", &dataset);
            demo.receive(&golden, &target(words.rsplit(' ').next().unwrap()), &[]).unwrap();
            let sent = stream(&demo.reading().plan(&words)).0;
            assert_same_content(&sent, &golden, &words);
        }
    }
}

/// The stream of a machine of the other byte order: blocks stay as they are.
#[test]
fn raw_streams_cross_between_byte_orders() {
    let demo = Demo::new("a", 12, 192 << 20);
    let dataset = "demo/e";
    for (words, name, last) in [("-w demo/e@s", "raw", "s"), ("-w -i @s demo/e@t", "raw-incr", "t")] {
        let golden = golden::stream(&format!("e-aes-256-gcm-{name}"));
        let mut swapped = Vec::new();
        byteswap(&golden[..], &mut swapped).unwrap();
        assert_ne!(swapped, golden);
        demo.receive(&swapped, &target(&format!("{dataset}@{last}")), &[]).unwrap();
        let reading = demo.reading();
        assert_same_content(&stream(&reading.plan(words)).0, &golden, words);
        reading.unlock(dataset);
        files(&reading, &format!("{dataset}@{last}"), &format!("tank_e-aes-256-gcm_{last}"));
    }
    demo.check("streams of the other byte order");
}

#[test]
fn an_interrupted_raw_receive_goes_on() {
    let tank = Sending::open(&golden::pool("tank"));
    let demo = Demo::new("a", 12, 256 << 20);
    let dataset = "tank/e-aes-256-gcm";
    let (full, incr) = (golden::stream("e-aes-256-gcm-raw"), golden::stream("e-aes-256-gcm-raw-incr"));
    let mut count = 0;
    for (words, whole, is_incremental) in
        [(format!("-w {dataset}@s"), &full, false), (format!("-w -i @s {dataset}@t"), &incr, true)]
    {
        let places = record_places(whole);
        let cuts: Vec<usize> = places.iter().skip(2).step_by(places.len() / 12).map(|at| at + 100).collect();
        for cut in cuts.into_iter().filter(|cut| *cut < whole.len()) {
            count += 1;
            let to = Target { resumable: true, ..target(&format!("demo/r{count}@got")) };
            if is_incremental {
                demo.receive(&full, &target(&format!("demo/r{count}@s")), &[]).unwrap();
            }
            // Twice, so that a state that was gone on with is interrupted too.
            demo.receive(&whole[..cut], &to, &[]).expect_err("it is cut short");
            for is_last in [false, true] {
                let token = {
                    let reading = demo.reading();
                    reading.dsl.dataset(&to.dataset).unwrap().resume_token().unwrap().expect("a token")
                };
                assert!(token.raw);
                let mut plan = tank.plan(&words);
                resume(&mut plan, &token);
                let rest = stream(&plan).0;
                let end = if is_last { rest.len() } else { rest.len() * 2 / 3 };
                let result = demo.receive(&rest[..end], &to, &[]);
                assert_eq!(result.is_ok(), is_last, "cut at {cut}: {result:?}");
            }
            let reading = demo.reading();
            let words = words.replace(dataset, &to.dataset).replace("@t", "@got");
            let words = if is_incremental { words } else { words.replace("@s", "@got") };
            assert_same_content(&stream(&reading.plan(&words)).0, whole, &format!("cut at {cut}"));
            reading.unlock(&to.dataset);
            let last = if is_incremental { "t" } else { "s" };
            files(&reading, &to.full_name(), &format!("tank_e-aes-256-gcm_{last}"));
        }
    }
    assert!(count > 15, "{count}");
    demo.check("interrupted raw receives");
}

/// What wraps the keys of `demo/e` now.
fn keys(demo: &Demo) -> CryptoKey {
    demo.reading().dsl.dataset("demo/e").unwrap().crypto_key().unwrap().unwrap()
}

/// The keys are the same ones as long as their guid is, whatever wraps them: an increment brings the new wrapping.
#[test]
fn an_increment_brings_the_keys_wrapped_anew() {
    let (source, demo) = (Demo::new("a", 12, 128 << 20), Demo::new("a", 12, 128 << 20));
    let full = golden::stream("e-aes-256-gcm-raw");
    for pool in [&source, &demo] {
        pool.receive(&full, &target("demo/e@s"), &[]).unwrap();
    }
    source.receive(&golden::stream("e-aes-256-gcm-raw-incr"), &target("demo/e@t"), &[]).unwrap();
    source.change(|pool| {
        let mut tx = pool.tx();
        let (head, there) = {
            let head = tx.dsl().head("demo/e").unwrap();
            (head.object(), head.crypto_key().unwrap().unwrap())
        };
        let key = there.wrapped.unwrap(&WrappingKey::new(there.format, OLD).unwrap()).unwrap();
        let format = KeyFormat::Passphrase { salt: 12345, rounds: 100_000 };
        let wrapped: WrappedKey = key.wrap(&WrappingKey::new(format, NEW).unwrap()).unwrap();
        tx.receive_keys(head, format, &wrapped).unwrap();
    });
    let incr = stream(&source.reading().plan("-w -i @s demo/e@t")).0;
    let before = keys(&demo);
    let cut = record_places(&incr)[record_places(&incr).len() / 2] + 100;
    let error = demo.receive(&incr[..cut], &target("demo/e@t"), &[]).unwrap_err();
    assert_eq!(error.errno(), Errno::ZFS_ERR_STREAM_TRUNCATED, "{error}");
    assert_eq!(keys(&demo), before, "what failed has changed no keys");
    demo.receive(&incr, &target("demo/e@t"), &[]).unwrap();
    assert_eq!(keys(&demo).wrapped.guid, before.wrapped.guid);
    let reading = demo.reading();
    let dir = reading.dsl.dir("demo/e").unwrap();
    assert!(reading.dsl.load_key(&dir, OLD).is_err(), "the old passphrase opens nothing any more");
    reading.dsl.load_key(&dir, NEW).unwrap();
    files(&reading, "demo/e@s", "tank_e-aes-256-gcm_s");
    files(&reading, "demo/e@t", "tank_e-aes-256-gcm_t");
    demo.check("keys wrapped anew");
}

/// A target that is to be encrypted with a key of its own.
fn encrypted(name: &str) -> Target {
    let format = KeyFormat::Passphrase { salt: 1, rounds: 100_000 };
    let wrapping = Wrapping { root: None, format, key: WrappingKey::new(format, OLD).unwrap() };
    let own = Some(OwnKey { wrapping, location: "prompt".to_owned() });
    Target { encryption: Encryption::On { suite: Some(CryptSuite::AES_192_CCM), own }, ..target(name) }
}

/// What was encrypted while it was received is sent raw, with its increments, as if it had been written encrypted.
#[test]
fn what_was_encrypted_by_a_receive_travels_raw() {
    let (here, there) = (Demo::new("a", 12, 128 << 20), Demo::new("a", 9, 128 << 20));
    here.receive(&golden::stream("fs-full"), &encrypted("demo/fs@a"), &[]).unwrap();
    here.change(|pool| {
        let dir = pool.dsl().dir("demo/fs").unwrap().object();
        pool.load_key(dir, OLD).unwrap();
        let incr = golden::stream("fs-incr");
        let mut input = Input::new(&incr[..]);
        let opening = input.open().unwrap().unwrap();
        let mut receiving = Receiving::new(pool);
        receiving.receive(&mut input, opening, &target("demo/fs@b"), &[], &mut |_| ()).unwrap();
    });
    for words in ["-w demo/fs@a", "-w -i @a demo/fs@b"] {
        let sent = stream(&here.reading().plan(words)).0;
        there.receive(&sent, &target(words.rsplit(' ').next().unwrap()), &[]).unwrap();
    }
    for pool in [&here, &there] {
        let reading = pool.reading();
        reading.unlock("demo/fs");
        files(&reading, "demo/fs@a", "tank_fs_a");
        files(&reading, "demo/fs@b", "tank_fs_b");
        pool.check("encrypted here, raw there");
    }
}

/// A snapshot of the same name and guid that was encrypted on another way is not the source of a raw increment.
#[test]
fn a_raw_increment_starts_from_the_very_same_encryption() {
    let demo = Demo::new("a", 12, 128 << 20);
    // The same snapshot, not encrypted.
    demo.receive(&golden::stream("e-aes-256-gcm-plain"), &target("demo/plain@s"), &[]).unwrap();
    // The same snapshot, encrypted here.
    demo.receive(&golden::stream("e-aes-256-gcm-plain"), &encrypted("demo/here@s"), &[]).unwrap();
    let before = demo.datasets();
    let incr = golden::stream("e-aes-256-gcm-raw-incr");
    for (dataset, errno) in
        [("demo/plain", Errno::EINVAL), ("demo/here", Errno::ZFS_ERR_FROM_IVSET_GUID_MISMATCH)]
    {
        for force in [false, true] {
            let to = Target { force, ..target(&format!("{dataset}@t")) };
            let error = demo.receive(&incr, &to, &[]).unwrap_err();
            assert_eq!(error.errno(), errno, "{dataset}: {error}");
            assert_eq!(demo.datasets(), before, "{dataset}");
        }
    }
}
