//! Streams received with ganging forced, into encrypted datasets, raw ones and plain ones.

use zstream_dmu::blkptr::CryptKind;
use zstream_format::object_type::ObjectType;
use zstream_tests::blocks::blocks;
use zstream_tests::gangs::{FILES, ROOT, make};
use zstream_tests::golden;
use zstream_tests::manifest;
use zstream_tests::receiving::Demo;

/// How many gang blocks there are of a kind.
fn ganged(demo: &Demo, is_kind: impl Fn(CryptKind, ObjectType) -> bool) -> usize {
    let blocks = blocks(&demo.open());
    let gangs = blocks.iter().filter(|(pointer, _)| pointer.is_gang());
    gangs.filter(|(pointer, _)| is_kind(pointer.crypt_kind(), pointer.object_type())).count()
}

#[test]
fn what_was_received_in_pieces_is_what_was_sent() {
    for ashift in [9, 12] {
        let demo = make(ashift);
        demo.check("received in pieces");
        for (kind, count) in [
            ("data", ganged(&demo, |kind, ty| kind == CryptKind::Encrypted && ty != ObjectType::DNODE)),
            ("dnodes", ganged(&demo, |kind, ty| kind == CryptKind::Encrypted && ty == ObjectType::DNODE)),
            ("volumes", ganged(&demo, |kind, ty| kind == CryptKind::Encrypted && ty == ObjectType::ZVOL)),
            ("indirect", ganged(&demo, |kind, _| kind == CryptKind::IndirectMac)),
            (
                "objsets",
                ganged(&demo, |kind, ty| kind == CryptKind::Authenticated && ty == ObjectType::OBJSET),
            ),
            ("plain", ganged(&demo, |kind, _| kind == CryptKind::Plain)),
        ] {
            // Objsets and their like are smaller than a sector of 4096 bytes.
            assert!(count > 0 || ashift == 12, "no gang blocks: {kind}");
        }
        let reading = demo.reading();
        for root in [ROOT, "demo/raw"] {
            reading.unlock(root);
        }
        for (snapshot, files) in FILES {
            let set = reading.dsl.dataset(snapshot).unwrap().objset().unwrap();
            golden::manifest(files).assert_same(&manifest::of(&*set), snapshot);
        }
    }
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_what_was_received_in_pieces_is_clean_to_zdb() {
    for ashift in [9, 12] {
        make(ashift).zdb("received in pieces");
    }
}
