//! Stored streams as object sets, against the same snapshots in the pool that they were sent from.

use std::sync::Arc;

use zstream_dmu::error::Fault;
use zstream_dmu::ids::{BlockId, ObjectId};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::objset::Objset;
use zstream_dsl::Dsl;
use zstream_format::edit::byteswap;
use zstream_format::record::{Body, HEADER_LEN};
use zstream_format::stream::Checking;
use zstream_tests::edit::deduplicated;
use zstream_tests::edit::{Piece, rechained, records};
use zstream_tests::pools::{self, PASSPHRASE};
use zstream_tests::samples::samples;
use zstream_tests::{golden, manifest};
use zstream_view::{Options, Snapshot, Source, StreamView, Streams, ViewError};

const PARTIAL: Options = Options { partial: true, checking: Checking::Sums };

/// The golden stream and what it is built on, in order. `None` for parts that make no snapshot by themselves.
fn files(name: &str) -> Option<Vec<String>> {
    if name.ends_with("-saved") {
        return None;
    }
    let base = match name {
        "fs-incr" | "fs-incr-book" | "fs-package-I" | "clone-incr" => Some("fs-full"),
        "fs-incr-ec" => Some("fs-full-Lec"),
        "fs-incr-ac" => Some("fs-full-c"),
        "fs-from-redbook" => Some("fs-redacted"),
        "fs-unredact" => Some("fs-redacted-two"),
        "vol-incr" => Some("vol"),
        "tree-R-incr" => Some("tree-R-h"),
        "e-aes-256-gcm-raw-incr" => Some("e-aes-256-gcm-raw"),
        "e-aes-128-ccm-raw-incr" => Some("e-aes-128-ccm-raw"),
        "fs-full-resumed" => Some("fs-full-saved"),
        "fs-full-Lec-resumed" => Some("fs-full-Lec-saved"),
        _ => None,
    };
    Some(base.into_iter().chain([name]).map(str::to_owned).collect())
}

fn index(streams: Vec<Vec<u8>>, options: &Options) -> Result<Streams, ViewError> {
    let source = |(n, bytes)| Source::from_bytes(format!("stream {n}"), bytes);
    Streams::index(streams.into_iter().enumerate().map(source).collect(), options)
}

fn unlock(streams: &mut Streams) {
    let count = streams.snapshots().len();
    for number in 0..count {
        streams.unlock(number, PASSPHRASE).expect("the passphrase");
        assert!(!streams.is_locked(number));
    }
}

fn views(streams: &Streams) -> Vec<StreamView> {
    (0..streams.snapshots().len()).map(|n| streams.view(n).unwrap_or_else(|e| panic!("{e}"))).collect()
}

/// The snapshot in its pool. What was sent of a head carries the head's guid.
fn original(pools: &[Arc<Dsl>], snapshot: &Snapshot) -> Arc<Objset> {
    let pool = snapshot.name.split(['/', '@']).next().expect("a pool");
    let dsl = pools.iter().find(|dsl| dsl.name() == pool).expect("a golden pool");
    let dataset = match snapshot.name.strip_suffix("@--head--") {
        Some(head) => dsl.dataset(head).expect("a head"),
        None => dsl.snapshot_by_guid(snapshot.guid).expect("snapshots").expect("the snapshot that was sent"),
    };
    assert_eq!(dataset.phys().guid, snapshot.guid, "{}", snapshot.name);
    dataset.objset().expect("its objects")
}

/// What a comparison came across.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    objects: usize,
    blocks: usize,
    holes: usize,
    spills: usize,
    /// Objects whose blocks were sent in pieces of 128 KiB.
    split: usize,
    redacted: usize,
    /// Redacted blocks that are not the last of their object.
    redacted_inside: usize,
    absent: usize,
}

/// Compares everything that a view shows; what it says is redacted or absent is counted.
fn compare(what: &str, view: &dyn ObjectSet, pool: &dyn ObjectSet) -> Seen {
    let mut seen = Seen::default();
    assert_eq!(view.objset_type(), pool.objset_type(), "{what}");
    let mut next = ObjectId(0);
    while let Some(object) = pool.next_object(next).expect("the pool's objects") {
        let listed = view.next_object(next).expect("the view's objects");
        next = ObjectId(object.0 + 1);
        if listed != Some(object) {
            let error = view.info(object).expect_err("an object that is not listed");
            assert!(matches!(error.fault(), Fault::Absent), "{what} object {object}: {error}, {listed:?}");
            assert!(listed.is_none(), "{what}: nothing behind {object}");
            seen.absent += 1;
            continue;
        }
        seen.objects += 1;
        let what = format!("{what} object {object}");
        let (found, expected) =
            (view.info(object).expect("an object"), pool.info(object).expect("an object"));
        assert_eq!(
            (found.object_type, found.bonus_type, &found.bonus, found.dn_slots),
            (expected.object_type, expected.bonus_type, &expected.bonus, expected.dn_slots),
            "{what}"
        );
        assert_eq!(
            (found.checksum_type, found.compression, found.has_spill),
            (expected.checksum_type, expected.compression, expected.has_spill),
            "{what}"
        );
        match view.spill(object) {
            Ok(spill) => {
                assert_eq!(spill, pool.spill(object).expect("a spill block"), "{what}: spill");
                seen.spills += usize::from(spill.is_some());
            }
            Err(error) if matches!(error.fault(), Fault::Absent) => seen.absent += 1,
            Err(error) => panic!("{what}: {error}"),
        }
        let size = expected.block_bytes;
        if found.block_bytes == size {
            let before = seen.absent;
            blocks(&what, object, view, pool, &mut seen);
            // A half-received snapshot ends its objects behind their last block with content.
            let ends_early = what.contains("-resumed") && found.max_block < expected.max_block;
            if seen.absent == before && !ends_early {
                assert_eq!(found.max_block, expected.max_block, "{what}");
            }
        } else {
            assert!(found.block_bytes == 131_072 && size > 131_072, "{what}: {} {size}", found.block_bytes);
            assert!((expected.end() - 131_071..=expected.end()).contains(&found.end()), "{what}");
            seen.split += 1;
            for block in 0..=expected.max_block.0 {
                let (mut ours, mut theirs) = (vec![1; size as usize], vec![2; size as usize]);
                pool.read(object, block * size, &mut theirs).expect("the pool's block");
                match view.read(object, block * size, &mut ours) {
                    Ok(()) => assert!(ours == theirs, "{what} block {block}"),
                    Err(error) => count(&what, &error, &mut seen),
                }
            }
        }
    }
    assert_eq!(view.next_object(next).expect("the view's objects"), None, "{what}: one more");
    seen
}

fn count(what: &str, error: &zstream_dmu::error::Error, seen: &mut Seen) {
    match error.fault() {
        Fault::Redacted => seen.redacted += 1,
        Fault::Absent => seen.absent += 1,
        _ => panic!("{what}: {error}"),
    }
}

fn blocks(what: &str, object: ObjectId, view: &dyn ObjectSet, pool: &dyn ObjectSet, seen: &mut Seen) {
    let info = pool.info(object).expect("an object");
    let unseen = (seen.absent, seen.redacted);
    for block in 0..=info.max_block.0 + 1 {
        let expected = pool.block(object, BlockId(block)).expect("the pool's block");
        match view.block(object, BlockId(block)) {
            Ok(found) => {
                assert!(found == expected, "{what} block {block}");
                *(if found.is_some() { &mut seen.blocks } else { &mut seen.holes }) += 1;
            }
            Err(error) => {
                count(what, &error, seen);
                let inside = matches!(error.fault(), Fault::Redacted) && block < info.max_block.0;
                seen.redacted_inside += usize::from(inside);
            }
        }
    }
    // Where a block could have been redacted, a REDACT may stand for a hole.
    if (seen.absent, seen.redacted) != unseen {
        return;
    }
    for block in 0..=info.max_block.0 {
        let at = block * info.block_bytes + 3;
        let data = |set: &dyn ObjectSet| set.next_data(object, at).expect("data");
        let hole = |set: &dyn ObjectSet| set.next_hole(object, at).expect("a hole");
        assert_eq!((data(view), hole(view)), (data(pool), hole(pool)), "{what} from {at}");
    }
    // A range that neither begins nor ends with a block.
    let (from, len) = (info.block_bytes / 3, (2 * info.block_bytes + 11) as usize);
    let (mut ours, mut theirs) = (vec![1; len], vec![2; len]);
    if pool.read(object, from, &mut theirs).is_ok() && view.read(object, from, &mut ours).is_ok() {
        assert!(ours == theirs, "{what}: {len} bytes at {from}");
    }
}

fn pools() -> Vec<Arc<Dsl>> {
    let pool = |name| pools::unlocked(&golden::pool(name)).expect("a golden pool");
    ["tank", "pmirror", "praidz1", "praidz2", "praidz3"].map(pool).into()
}

/// Views of every golden stream, of its copy in the other byte order and of its deduplicated form.
#[test]
fn every_stream_shows_what_the_pool_holds() {
    let pools = pools();
    let (mut views_seen, mut all) = (0, Seen::default());
    for name in golden::streams() {
        let Some(files) = files(&name) else { continue };
        let streams: Vec<_> = files.iter().map(|file| golden::stream(file)).collect();
        let swap = |stream: &Vec<u8>| {
            let mut swapped = Vec::new();
            // A half-received snapshot has no END: the copy ends where the original does.
            let outcome = byteswap(&stream[..], &mut swapped);
            assert!(outcome.is_ok() || files[0].ends_with("-saved"), "{name}");
            swapped
        };
        let mut forms = vec![("", streams.clone()), (" swapped", streams.iter().map(swap).collect())];
        let raw = name.contains("-raw");
        if !files[0].ends_with("-saved") && !raw {
            forms.push((" dedup'd", streams.iter().map(|stream| deduplicated(stream).0).collect()));
        }
        let mut first = Vec::new();
        for (form, streams) in forms {
            let shape = Options { checking: Checking::Shape, ..Options::default() };
            let options = if form == " dedup'd" { shape } else { Options::default() };
            let mut streams = index(streams, &options).unwrap_or_else(|e| panic!("{name}{form}: {e}"));
            unlock(&mut streams);
            let mut found = Vec::new();
            for view in views(&streams) {
                let snapshot = view.snapshot();
                assert_eq!(snapshot.cut, None);
                let what = format!("{name}{form}: {}", snapshot.name);
                let seen = compare(&what, &view, &*original(&pools, snapshot));
                assert_eq!(seen.absent, 0, "{what}");
                let on_redacted = ["fs-from-redbook", "fs-unredact"].contains(&&*name);
                let redacted = on_redacted || name.starts_with("fs-redacted");
                assert_eq!(seen.redacted > 0, redacted, "{what}: {seen:?}");
                if on_redacted && !found.is_empty() {
                    // openzfs/zfs#18477: the last block of a file is not sent again, and so it stays redacted.
                    assert_eq!(seen.redacted_inside, 0, "{what}: {seen:?}");
                }
                found.push(seen);
                views_seen += 1;
            }
            if first.is_empty() {
                for seen in &found {
                    all.blocks += seen.blocks;
                    all.holes += seen.holes;
                    all.spills += seen.spills;
                    all.split += seen.split;
                }
                first = found;
            } else {
                assert_eq!(found, first, "{name}{form} shows the same");
            }
        }
    }
    assert!(views_seen > 150, "{views_seen}");
    assert!(all.blocks > 5000 && all.holes > 20_000 && all.spills > 50 && all.split > 0, "{all:?}");
}

/// A stream that ends anywhere: an error, or as far as it goes; never other content than the pool's.
#[test]
fn a_stream_that_is_cut_short_shows_what_is_there() {
    let pools = pools();
    for (base, name) in [
        (None, "fs-full"),
        (None, "fs-full-Lec"),
        (Some("fs-full"), "fs-incr"),
        (None, "vol"),
        (None, "e-aes-256-gcm-raw"),
        (Some("e-aes-128-ccm-raw"), "e-aes-128-ccm-raw-incr"),
    ] {
        let whole = golden::stream(name);
        let base: Vec<_> = base.map(golden::stream).into_iter().collect();
        let (mut most, mut cuts, mut end) = (0, 0, 0);
        let pieces = records(&whole);
        let step = pieces.len() / 24;
        for (n, (header, payload)) in pieces.iter().enumerate().take(pieces.len() - 1) {
            end += HEADER_LEN + payload.len();
            // Behind a record, and inside the one that comes next.
            let len = end + n % 3 * 100;
            let unusual = matches!(header.body(), Some(Body::FreeObjects(_) | Body::Spill(_)));
            if n % step != 0 && !(unusual && name == "fs-incr") {
                continue;
            }
            let streams = || base.iter().cloned().chain([whole[..len].to_vec()]).collect::<Vec<_>>();
            let error = index(streams(), &Options::default()).expect_err("a cut stream").to_string();
            assert!(error.contains("cut short"), "{error}");
            let mut streams = index(streams(), &PARTIAL).unwrap_or_else(|e| panic!("{name} at {len}: {e}"));
            unlock(&mut streams);
            let view = streams.view(base.len()).expect("a part");
            assert!(view.snapshot().cut.is_some());
            let seen = compare(&format!("{name} at {len}"), &view, &*original(&pools, view.snapshot()));
            assert!(seen.objects >= most, "{name} at {len}: {seen:?}");
            most = seen.objects;
            // Behind the last block nothing may be missing but records that say what is not there.
            cuts += usize::from(seen.blocks > 0 && seen.absent > 0);
        }
        assert!(cuts > 10, "{name}: {cuts}");
    }
}

/// Tree, types, modes, owners, sizes, times, links, targets, content and extended attributes, from every stream of a
/// snapshot that has a manifest.
#[test]
fn files_in_streams_are_as_their_manifests_say() {
    let manifests = golden::manifests();
    let (mut checked, mut raw) = (0, 0);
    for name in golden::streams() {
        // What redacted streams leave out cannot be compared.
        let redacted = name.contains("redact") || name.contains("redbook");
        let Some(files) = files(&name).filter(|_| !redacted) else { continue };
        let paths: Vec<_> = files.iter().map(|file| golden::stream_path(file)).collect();
        let mut streams = Streams::open(&paths, &Options::default()).expect("streams");
        unlock(&mut streams);
        for view in views(&streams) {
            let snapshot = view.snapshot().name.clone();
            let recorded = snapshot.replace(['/', '@'], "_");
            if manifests.contains(&recorded) {
                golden::manifest(&recorded).assert_same(&manifest::of(&view), &format!("{name}: {snapshot}"));
                checked += 1;
                raw += usize::from(name.contains("-raw"));
            }
        }
    }
    assert!(checked > 40 && raw == 4, "{checked} {raw}");
}

/// What a raw stream says is held against the MACs made when the snapshot was: whatever is changed in it, all
/// checksums set right, is noticed.
#[test]
#[expect(clippy::too_many_lines, reason = "a table: one forgery after the other")]
fn forged_raw_streams_are_noticed() {
    let whole = golden::stream("e-aes-256-gcm-raw");
    let pieces = records(&whole);
    let mut unlocked = index(vec![whole], &Options::default()).expect("a stream");
    unlock(&mut unlocked);
    let open = |pieces: &[Piece]| {
        let stream = rechained(pieces).expect("a stream");
        let mut streams = index(vec![stream], &Options::default())?;
        // Stretching the passphrase anew each time takes longer than all the rest.
        streams.share_keys(&unlocked);
        streams.view(0)
    };
    let refused = |what: &str, pieces: &[Piece]| match open(pieces).map(drop) {
        Err(ViewError::Objects { error, .. }) => error,
        other => panic!("{what}: {other:?}"),
    };
    let authentication = |what: &str, pieces: &[Piece]| {
        let error = refused(what, pieces);
        assert!(matches!(error.fault(), Fault::Authentication { .. }), "{what}: {error}");
    };
    assert!(open(&pieces).is_ok());
    let (mut headers, mut payloads) = (0, 0);
    for (n, (header, payload)) in pieces.iter().enumerate() {
        let mut left_out = pieces.clone();
        left_out.remove(n);
        let mut forged = pieces.clone();
        match header.body().expect("a record") {
            Body::Write(mut body) => {
                authentication("a WRITE is left out", &left_out);
                body.mac[5] ^= 1;
                forged[n].0.set_body(body);
                authentication("the MAC of a WRITE", &forged);
                // What no MAC in a tree covers is that of the block itself.
                let mut forged = pieces.clone();
                let at = payload.len() / 2;
                forged[n].1[at] ^= 1;
                let view = open(&forged).expect("payloads are read later");
                let (size, mut out) = (view.info(body.object).expect("it").block_bytes, [0; 16]);
                let error = view.read(body.object, body.offset + size / 2, &mut out).expect_err("a forgery");
                assert!(matches!(error.fault(), Fault::Authentication { .. }), "{error}");
                assert!(error.to_string().contains("stream 0"), "{error}");
                payloads += 1;
            }
            Body::ObjectRange(mut body) => {
                let error = open(&left_out).expect_err("an OBJECT_RANGE is left out");
                assert!(matches!(error, ViewError::Stream { .. }), "{error}");
                body.salt[0] ^= 1;
                forged[n].0.set_body(body);
                authentication("the salt of an OBJECT_RANGE", &forged);
            }
            Body::Object(mut body) => {
                body.max_block_id += 1;
                forged[n].0.set_body(body);
                authentication("the shape of an OBJECT", &forged);
                headers += 1;
                if body.raw_bonus_len > 0 {
                    let mut forged = pieces.clone();
                    forged[n].1[0] ^= 1;
                    authentication("the bonus of an OBJECT", &forged);
                }
            }
            Body::Spill(mut body) => {
                body.iv[0] ^= 1;
                body.mac[0] ^= 1;
                forged[n].0.set_body(body);
                authentication("the MAC of a SPILL", &forged);
            }
            _ => {}
        }
    }
    assert!(headers > 20 && payloads > 20, "{headers} {payloads}");
    // The last dnode block as a whole.
    let last = pieces.iter().rposition(|(header, _)| matches!(header.body(), Some(Body::ObjectRange(_))));
    let end = pieces.len() - 1;
    let last = last.expect("a range");
    assert!(matches!(pieces[end].0.body(), Some(Body::End(_))));
    let mut shorter = pieces[..last].to_vec();
    shorter.push(pieces[end].clone());
    let error = refused("a block of dnodes is left out", &shorter).to_string();
    assert!(error.contains("objset (portable MAC)"), "{error}");
}

/// What cannot be viewed is refused with the reason.
#[test]
fn refusals_name_the_reason() {
    let streams = |names: &[&str]| index(names.iter().map(|name| golden::stream(name)).collect(), &PARTIAL);
    let view = |names: &[&str]| {
        let streams = streams(names).expect("streams that can be indexed");
        let last = streams.snapshots().len() - 1;
        streams.view(last).expect_err("a refusal").to_string()
    };
    assert_eq!(
        view(&["fs-incr"]),
        "tank/fs@b is incremental: it requires the stream of its source, guid 6145876587502195179, before it"
    );
    assert!(view(&["fs-incr", "fs-incr-ac"]).contains("guid 6145876587502195179"));
    assert!(view(&["fs-full-saved", "fs-incr"]).contains("the stream of its source tank/fs@a is cut short"));
    assert_eq!(view(&["e-aes-256-gcm-raw"]), "tank/e-aes-256-gcm@s is encrypted and its key is not loaded");
    let mut locked = streams(&["e-aes-256-gcm-raw"]).expect("a raw stream");
    assert!(locked.is_locked(0));
    assert_eq!(
        locked.unlock(0, b"incorrect horse").expect_err("the wrong one").to_string(),
        "cannot load the key of tank/e-aes-256-gcm@s: the key is not the one the dataset was encrypted with"
    );
    assert!(
        locked
            .unlock(0, b"horse")
            .expect_err("too short")
            .to_string()
            .contains("passphrase is 5 bytes, expected 8 to 512")
    );
    assert!(locked.is_locked(0));
    let error = streams(&["fs-full-resumed"]).expect_err("half a stream").to_string();
    assert!(error.contains("is a continuation"), "{error}");
    let package = streams(&["tree-R"]).expect("a package");
    let error = package.find(None).expect_err("several").to_string();
    assert!(error.contains("several snapshots: tank/tree@1, tank/tree@2"), "{error}");
    assert!(package.find(Some("@3")).expect_err("none").to_string().contains("no snapshot @3"));
    let found = package.find(Some("tank/tree@2")).expect("a name");
    assert_eq!(package.snapshots().nth(found).expect("a snapshot").name, "tank/tree@2");
    assert_eq!(streams(&["fs-redacted-two", "fs-unredact"]).expect("streams").find(None).expect("one"), 1);
    let mut flipped = golden::stream("fs-full");
    flipped[500_000] ^= 1;
    let error = index(vec![flipped], &PARTIAL).expect_err("a wrong checksum").to_string();
    assert!(error.contains("checksum") && error.contains("stream 0"), "{error}");
}

/// Headers with a wrong byte, with nobody to check sums: an error or some content, never a panic.
#[test]
fn damaged_headers_do_no_harm() {
    let shape = Options { partial: true, checking: Checking::Shape };
    let (mut opened, mut refused) = (0, 0);
    for sample in samples() {
        // The rest of a stream is none by itself, until its flags are damaged.
        let mut unlocked = index(vec![sample.bytes.clone()], &shape);
        unlocked.iter_mut().for_each(unlock);
        let (mut at, mut step) = (0, 0);
        let mut places = Vec::new();
        for (_, payload) in records(&sample.bytes) {
            places.extend((at..at + 132).step_by(5).map(|place| place + step % 5));
            (at, step) = (at + HEADER_LEN + payload.len(), step + 1);
        }
        for place in places {
            for change in [0x01, 0x80, 0xff] {
                let mut bytes = sample.bytes.clone();
                bytes[place] ^= change;
                let Ok(mut streams) = index(vec![bytes], &shape) else {
                    refused += 1;
                    continue;
                };
                unlocked.iter().for_each(|unlocked| streams.share_keys(unlocked));
                for number in 0..streams.snapshots().len() {
                    let Ok(view) = streams.view(number) else { continue };
                    opened += 1;
                    let mut next = ObjectId(0);
                    while let Some(object) = view.next_object(next).expect("a number") {
                        next = ObjectId(object.0 + 1);
                        let info = view.info(object).expect("it was listed");
                        let mut some = [0; 700];
                        for from in [0, 1000, info.end().saturating_sub(350), u64::MAX - 20] {
                            let _ = view.read(object, from, &mut some);
                            let _ = view.block(object, BlockId(from / info.block_bytes));
                            let data = view.next_data(object, from).expect("a number");
                            assert!(data.is_none_or(|data| data >= from));
                            assert!(view.next_hole(object, from).expect("a number") >= from);
                        }
                        let _ = view.spill(object);
                    }
                }
            }
        }
    }
    assert!(opened > 1000 && refused > 1000, "{opened} {refused}");
}
