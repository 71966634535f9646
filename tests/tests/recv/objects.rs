//! Objects that are there and records that describe them, in all combinations: what the sender has is what is received.

use zstream_format::nvlist::NvList;
use zstream_recv::Target;
use zstream_tests::edit::{Piece, records};
use zstream_tests::every;
use zstream_tests::golden;
use zstream_tests::receiving::{Demo, target};
use zstream_tests::refusals::{chained, keydata};
use zstream_tests::rng::Rng;
use zstream_tests::sending::stream;
use zstream_tests::sent_objects::{Sent, Snapshot, assert_same, assert_same_raw};

/// Blocks of dnodes with objects in each snapshot; they hold a hundred thousand objects with `ZSTREAM_THOROUGH=100`.
const GROUPS: u64 = 150;

/// Seeds, of which more are taken where more is asked for.
fn seeds() -> impl Iterator<Item = u64> {
    (1..=40 / every::step(40) as u64).map(|seed| seed * 0x9E37_79B9_7F4A_7C15)
}

#[test]
fn what_an_increment_leaves_out_stays() {
    for seed in seeds() {
        for (from_large, to_large) in [(false, false), (false, true), (true, true)] {
            let what = format!("seed {seed:x}, large blocks {from_large}, then {to_large}");
            let mut rng = Rng(seed);
            let demo = Demo::new("a", 9, 512 << 20);
            let mut old = Snapshot::random(&mut rng, GROUPS, true);
            let full = old.stream(None, Sent { large: from_large, raw: false }, None);
            demo.receive(&full, &target("demo/v@1"), &[]).unwrap_or_else(|error| panic!("{what}: {error}"));
            for _ in 0..2 {
                let new = old.next(&mut rng, true, false);
                let increment = new.stream(Some(&old), Sent { large: to_large, raw: false }, None);
                let to = format!("demo/v@{}", new.guid);
                demo.receive(&increment, &target(&to), &[]).unwrap_or_else(|error| panic!("{what}: {error}"));
                let reading = demo.reading();
                assert_same(&*reading.dsl.dataset(&to).unwrap().objset().unwrap(), &new, &what);
                old = new;
            }
            demo.check(&what);
        }
    }
}

#[test]
fn a_full_stream_makes_anything_of_a_clone() {
    for seed in seeds() {
        let what = format!("seed {seed:x}");
        let mut rng = Rng(seed);
        let demo = Demo::new("a", 9, 512 << 20);
        let old = Snapshot::random(&mut rng, GROUPS, true);
        let new = old.next(&mut rng, true, false);
        let form = Sent { large: true, raw: false };
        demo.receive(&old.stream(None, form, None), &target("demo/v@1"), &[]).unwrap();
        let to = Target { origin: Some("demo/v@1".to_owned()), ..target("demo/w@2") };
        let full = new.stream(None, form, None);
        demo.receive(&full, &to, &[]).unwrap_or_else(|error| panic!("{what}: {error}"));
        let reading = demo.reading();
        assert_same(&*reading.dsl.dataset("demo/w@2").unwrap().objset().unwrap(), &new, &what);
        demo.check(&what);
    }
}

/// The first record of a raw stream, which an increment from the same set of initialization vectors has too.
fn raw_begin() -> Piece {
    let mut pieces = records(&golden::stream("e-aes-256-gcm-raw"));
    keydata(|list: &mut NvList| {
        let to = list.get_u64("to_ivset_guid").expect("a guid");
        list.add_u64("from_ivset_guid", to);
    })(&mut pieces);
    records(&chained(&pieces)).swap_remove(0)
}

#[test]
fn raw_objects_become_what_they_are_at_the_sender() {
    let begin = raw_begin();
    let form = Sent { large: true, raw: true };
    for seed in seeds() {
        let what = format!("seed {seed:x}");
        let mut rng = Rng(seed);
        let demo = Demo::new("a", 9, 512 << 20);
        let mut old = Snapshot::random(&mut rng, GROUPS, true);
        let full = old.stream(None, form, Some(&begin));
        demo.receive(&full, &target("demo/v@1"), &[]).unwrap_or_else(|error| panic!("{what}: {error}"));
        for _ in 0..2 {
            let new = old.next(&mut rng, true, true);
            let increment = new.stream(Some(&old), form, Some(&begin));
            let to = format!("demo/v@{}", new.guid);
            demo.receive(&increment, &target(&to), &[]).unwrap_or_else(|error| panic!("{what}: {error}"));
            let sent = stream(&demo.reading().plan(&format!("-w {to}"))).0;
            let expected = records(&new.stream(None, form, Some(&begin)));
            assert_same_raw(&records(&sent), &expected, &what);
            old = new;
        }
        demo.check(&what);
    }
}
