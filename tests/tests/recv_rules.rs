//! The rules of a receive, one after the other: a stream that breaks just this one is refused with the errno of OpenZFS, and
//! the pool is as it was.

use std::sync::Arc;

use zstream_dmu::device::FileDevice;
use zstream_dmu::device::{Device, OverlayDevice};
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::checksum::Checksum;
use zstream_format::flags::{BeginFlags, FeatureFlags, ObjectFlags, VersionInfo};
use zstream_format::ids::{Guid, ObjectId};
use zstream_format::judge::Errno;
use zstream_format::nvlist::NvList;
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::record::{
    Body, End, Free, FreeObjects, Header, ObjectRange, Redact, TO_OBJECT_END, Write, WriteByref,
    WriteEmbedded,
};
use zstream_recv::rules::Target;
use zstream_tests::created::{open, open_writable, write_options};
use zstream_tests::fuzz::corpus::{Piece, rechained, records};
use zstream_tests::golden;
use zstream_tests::receiving::{self, Demo, check, target};
use zstream_tests::sending::Sending;
use zstream_tests::state::{State, difference, whole};

const ORDER: ByteOrder = ByteOrder::Little;

/// An object that no stream here has.
const NONE: ObjectId = ObjectId(5000);

/// Changes the first record of a kind; its payload gets the length that it then says.
macro_rules! change {
    ($kind:ident, |$record:ident| $change:expr) => {
        Box::new(move |pieces: &mut Vec<Piece>| {
            let is = |piece: &Piece| matches!(piece.0.body(), Some(Body::$kind(_)));
            let at = pieces.iter().position(is).expect(stringify!($kind));
            let Some(Body::$kind(mut $record)) = pieces[at].0.body() else { return };
            $change;
            pieces[at].0.set_body($record);
            let expected = pieces[at].0.payload_len();
            if expected < 1 << 20 {
                pieces[at].1.resize(expected as usize, 0);
            }
        })
    };
}

/// Puts a record before END.
fn add(body: impl Into<Body> + Clone + 'static, payload: usize) -> Edit {
    Box::new(move |pieces| {
        let end = pieces.len() - 1;
        pieces.insert(end, (Header::new(body.clone().into(), ORDER), vec![0; payload]));
    })
}

type Edit = Box<dyn Fn(&mut Vec<Piece>)>;

/// The list behind BEGIN, changed.
fn list(edit: fn(&mut NvList)) -> Edit {
    Box::new(move |pieces| {
        let decoded = NvList::decode(&pieces[0].1).unwrap();
        let mut list = decoded.list;
        edit(&mut list);
        pieces[0].1 = list.encode(decoded.packed).unwrap();
        let length = pieces[0].1.len() as u32;
        pieces[0].0.set_payload_len_field(length);
    })
}

fn features(add: FeatureFlags, remove: FeatureFlags) -> Edit {
    change!(Begin, |begin| {
        let features = (begin.version_info.features() | add) - remove;
        begin.version_info = VersionInfo::new(begin.version_info.header_type(), features);
    })
}

/// A pool with something for every rule, written to in memory only.
struct Bench {
    _demo: Demo,
    base: Arc<dyn Device>,
    before: State,
}

impl Bench {
    fn new() -> Self {
        let demo = Demo::default();
        for (stream, to) in [
            ("fs-full", "demo/fs@a"),
            ("rs512", "demo/fs/child@s"),
            ("rs1m-Lec", "demo/large@s"),
            ("fs-redacted", "demo/red@a"),
            ("e-aes-256-gcm-raw", "demo/gcm@s"),
            ("e-aes-256-gcm-raw-incr", "demo/gcm@t"),
            ("e-aes-128-ccm-raw", "demo/ccm@s"),
            ("vol", "demo/vol@s"),
        ] {
            demo.receive(&golden::stream(stream), &target(to), &[]).unwrap();
        }
        let base: Arc<dyn Device> = Arc::new(FileDevice::open(&demo.members()[0]).unwrap());
        let before = whole(&Sending::of(open(&[Arc::clone(&base)]).unwrap()));
        Self { _demo: demo, base, before }
    }

    /// Receives what must be refused.
    fn refuses(&self, what: &str, stream: &[u8], to: &Target, errno: Errno) {
        let device: Arc<dyn Device> = Arc::new(OverlayDevice::new(Arc::clone(&self.base)));
        let pool = open_writable(&[Arc::clone(&device)], &write_options()).unwrap();
        let Err(error) = receiving::receive(pool, stream, to, &[]) else { panic!("{what}: it was received") };
        assert_eq!(error.errno(), errno, "{what}: {error}");
        let found = Sending::of(open(&[device]).unwrap());
        assert_eq!(difference(&whole(&found), &self.before), "", "{what}: {error}");
        check(&found, what);
    }

    fn refuses_edited(&self, what: &str, name: &str, edit: &Edit, to: &Target, errno: Errno) {
        let mut pieces = records(&golden::stream(name));
        edit(&mut pieces);
        let stream = rechained(&pieces).unwrap_or_else(|| panic!("{what}: no stream"));
        self.refuses(what, &stream, to, errno);
    }
}

#[test]
fn begins_that_break_a_rule_are_refused() {
    use Errno::{E2BIG, EACCES, ECKSUM, EINVAL, ENODEV, ENOENT, ETXTBSY};
    let bench = Bench::new();
    let new = target("demo/new@s");
    let none = FeatureFlags::empty();
    let origin = |to: &str, origin: &str| Target { origin: Some(origin.to_owned()), ..target(to) };
    let force = |to: &str| Target { force: true, ..target(to) };
    let large = Guid(begin_of("rs1m-Lec").1);
    let redacted = Guid(begin_of("fs-redacted").1);
    let gcm = Guid(begin_of("e-aes-256-gcm-raw").1);
    let cases: Vec<(&str, &str, Edit, Target, Errno)> = vec![
        ("objset type", "k-sha256", change!(Begin, |begin| begin.objset_type = 6), new.clone(), EINVAL),
        (
            "clone without origin",
            "k-sha256",
            change!(Begin, |begin| begin.flags |= BeginFlags::CLONE),
            new.clone(),
            EINVAL,
        ),
        (
            "unknown feature",
            "k-sha256",
            features(FeatureFlags::from_bits_retain(1 << 40), none),
            new.clone(),
            Errno::ZFS_ERR_UNKNOWN_SEND_STREAM_FEATURE,
        ),
        (
            "raw and embedded",
            "e-aes-256-gcm-raw",
            features(FeatureFlags::EMBED_DATA, none),
            new.clone(),
            EINVAL,
        ),
        (
            "raw without spill flag",
            "e-aes-256-gcm-raw",
            change!(Begin, |begin| begin.flags -= BeginFlags::SPILL_BLOCK),
            new.clone(),
            Errno::ZFS_ERR_SPILL_BLOCK_FLAG_MISSING,
        ),
        (
            "no key data",
            "e-aes-256-gcm-raw",
            list(|list| assert_eq!(list.remove("crypt_keydata"), 1)),
            new.clone(),
            ENOENT,
        ),
        ("locked target", "fs-incr", features(none, none), target("demo/gcm@x"), EACCES),
        ("locked parent", "k-sha256", features(none, none), target("demo/gcm/x@s"), EACCES),
        (
            "volume over a parent",
            "vol-incr",
            features(none, none),
            target("demo/fs@t"),
            Errno::ZFS_ERR_WRONG_PARENT,
        ),
        (
            "embedded increment of encrypted",
            "e-aes-256-gcm-raw-incr",
            features(FeatureFlags::EMBED_DATA, none),
            target("demo/gcm@u"),
            EINVAL,
        ),
        (
            "raw, not the newest",
            "e-aes-256-gcm-raw-incr",
            features(none, none),
            target("demo/gcm@u"),
            ETXTBSY,
        ),
        ("increment of another", "vol-incr", features(none, none), target("demo/fs/child@t"), ENODEV),
        (
            "without large blocks",
            "fs-incr",
            change!(Begin, |begin| begin.from_guid = large),
            target("demo/large@t"),
            Errno::ZFS_ERR_STREAM_LARGE_BLOCK_MISMATCH,
        ),
        (
            "clone without large blocks",
            "fs-incr",
            change!(Begin, |begin| begin.from_guid = large),
            origin("demo/c@t", "demo/large@s"),
            Errno::ZFS_ERR_STREAM_LARGE_BLOCK_MISMATCH,
        ),
        (
            "redacted source",
            "fs-incr",
            change!(Begin, |begin| begin.from_guid = redacted),
            target("demo/red@t"),
            EINVAL,
        ),
        (
            "redacted origin",
            "fs-incr",
            change!(Begin, |begin| begin.from_guid = redacted),
            origin("demo/c@t", "demo/red@a"),
            EINVAL,
        ),
        (
            "full as clone without FREERECORDS",
            "k-sha256",
            change!(Begin, |begin| begin.flags -= BeginFlags::FREERECORDS),
            origin("demo/c@t", "demo/fs@a"),
            EINVAL,
        ),
        ("origin is no snapshot", "fs-incr", features(none, none), origin("demo/c@t", "demo/fs"), EINVAL),
        (
            "origin is locked",
            "fs-incr",
            change!(Begin, |begin| begin.from_guid = gcm),
            origin("demo/c@t", "demo/gcm@s"),
            EACCES,
        ),
        (
            "force over an encrypted one",
            "e-aes-256-gcm-raw",
            features(none, none),
            force("demo/ccm@x"),
            EINVAL,
        ),
        (
            "another key",
            "e-aes-256-gcm-raw-incr",
            change!(Begin, |begin| begin.from_guid = Guid(begin_of("e-aes-128-ccm-raw").1)),
            target("demo/ccm@t"),
            Errno::ZFS_ERR_FROM_IVSET_GUID_MISMATCH,
        ),
    ];
    for (what, name, edit, to, errno) in &cases {
        bench.refuses_edited(what, name, edit, to, *errno);
    }
    // Framing of the begin, which no writer makes.
    let whole = golden::stream("k-sha256");
    let poke = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] ^= byte;
        bytes
    };
    bench.refuses("magic", &poke(8, 1), &new, EINVAL);
    bench.refuses("list above 256 MiB", &poke(7, 0x20), &new, E2BIG);
    bench.refuses("the trailer behind", &poke(312 + 300, 1), &new, ECKSUM);
    bench.refuses("a type of record that is none", &poke(312, 12), &new, ECKSUM);
    bench.refuses(
        "the list is cut short",
        &golden::stream("e-aes-256-gcm-raw")[..400],
        &new,
        Errno::ZFS_ERR_STREAM_TRUNCATED,
    );
    let mut garbage = golden::stream("e-aes-256-gcm-raw");
    garbage[312] = 9;
    let error = zstream_recv::input::Input::new(&garbage[..]).open().expect_err("no list");
    assert!([Errno::ECKSUM, Errno::EFAULT, EINVAL, Errno::ENOTSUP].contains(&error.errno()), "{error}");
}

/// Name and guid that a stream is of.
fn begin_of(name: &str) -> (Vec<u8>, u64) {
    match records(&golden::stream(name))[0].0.body() {
        Some(Body::Begin(begin)) => (begin.name().to_vec(), begin.to_guid.0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn records_that_break_a_rule_are_refused() {
    use Errno::{EINVAL, ENOENT};
    let bench = Bench::new();
    let guid = Guid(begin_of("k-sha256").1);
    let file = ObjectType::PLAIN_FILE_CONTENTS;
    let write = |object: ObjectId, offset: u64, bytes: u64| Write::plain(object, file, offset, bytes, guid);
    let embedded = |object, physical_size: u32, embedded_type, compression| WriteEmbedded {
        object,
        offset: 0,
        length: 512,
        to_guid: guid,
        compression,
        embedded_type,
        pad: [0; 6],
        logical_size: 512,
        physical_size,
    };
    let free = |object, offset, length| Free { object, offset, length, to_guid: guid };
    let raw = "e-aes-256-gcm-raw";
    let range = |first: u64, slot_count| ObjectRange {
        first_object: ObjectId(first),
        slot_count,
        to_guid: guid,
        ..ObjectRange::default()
    };
    let cases: Vec<(&str, &str, Edit, Errno)> = vec![
        ("OBJECT: type 0", "k-sha256", change!(Object, |object| object.object_type = ObjectType(0)), EINVAL),
        ("OBJECT: type", "k-sha256", change!(Object, |object| object.object_type = ObjectType(60)), EINVAL),
        (
            "OBJECT: bonus type",
            "k-sha256",
            change!(Object, |object| object.bonus_type = ObjectType(60)),
            EINVAL,
        ),
        (
            "OBJECT: checksum",
            "k-sha256",
            change!(Object, |object| object.checksum_type = ChecksumType(15)),
            EINVAL,
        ),
        (
            "OBJECT: compression",
            "k-sha256",
            change!(Object, |object| object.compression = CompressionType(17)),
            EINVAL,
        ),
        ("OBJECT: block of 513", "k-sha256", change!(Object, |object| object.block_size = 513), EINVAL),
        ("OBJECT: block of 0", "k-sha256", change!(Object, |object| object.block_size = 0), EINVAL),
        (
            "OBJECT: block of 32 MiB",
            "k-sha256",
            change!(Object, |object| object.block_size = 32 << 20),
            EINVAL,
        ),
        ("OBJECT: bonus", "k-sha256", change!(Object, |object| object.bonus_len = 16200), EINVAL),
        ("OBJECT: slots", "k-sha256", change!(Object, |object| object.dnode_slots = 33), EINVAL),
        ("OBJECT: number 0", "k-sha256", change!(Object, |object| object.object = ObjectId(0)), EINVAL),
        (
            "OBJECT: number 2^48",
            "k-sha256",
            change!(Object, |object| object.object = ObjectId(1 << 48)),
            EINVAL,
        ),
        (
            "OBJECT: flags",
            "k-sha256",
            change!(Object, |object| object.flags = ObjectFlags::from_bits_retain(2)),
            EINVAL,
        ),
        ("OBJECT: levels", "k-sha256", change!(Object, |object| object.levels = 1), EINVAL),
        ("OBJECT: pointers", "k-sha256", change!(Object, |object| object.block_pointers = 1), EINVAL),
        (
            "OBJECT: indirect blocks",
            "k-sha256",
            change!(Object, |object| object.indirect_block_shift = 17),
            EINVAL,
        ),
        (
            "OBJECT raw: indirect blocks",
            raw,
            change!(Object, |object| object.indirect_block_shift = 25),
            EINVAL,
        ),
        ("OBJECT raw: levels", raw, change!(Object, |object| object.levels = 13), EINVAL),
        ("OBJECT raw: pointers", raw, change!(Object, |object| object.block_pointers = 4), EINVAL),
        (
            "OBJECT raw: bonus",
            raw,
            change!(Object, |object| object.bonus_len = object.raw_bonus_len + 8),
            EINVAL,
        ),
        (
            "OBJECT raw: outside of its range",
            raw,
            change!(Object, |object| object.object = ObjectId(100)),
            EINVAL,
        ),
        (
            "FREEOBJECTS: wraps",
            "k-sha256",
            add(FreeObjects { first_object: ObjectId(9), object_count: u64::MAX - 3, to_guid: guid }, 0),
            EINVAL,
        ),
        ("WRITE: wraps", "k-sha256", add(write(ObjectId(1), u64::MAX - 511, 1024), 1024), EINVAL),
        ("WRITE: no object", "k-sha256", add(write(NONE, 0, 512), 512), EINVAL),
        ("WRITE: type", "k-sha256", change!(Write, |write| write.object_type = ObjectType(60)), EINVAL),
        (
            "WRITE_EMBEDDED: type",
            "k-sha256",
            add(embedded(ObjectId(1), 16, 3, CompressionType::LZ4), 16),
            EINVAL,
        ),
        (
            "WRITE_EMBEDDED: compression",
            "k-sha256",
            add(embedded(ObjectId(1), 16, 0, CompressionType(17)), 16),
            EINVAL,
        ),
        (
            "WRITE_EMBEDDED: no object",
            "k-sha256",
            add(embedded(NONE, 16, 0, CompressionType::LZ4), 16),
            ENOENT,
        ),
        ("WRITE_EMBEDDED: raw", raw, add(embedded(ObjectId(1), 16, 0, CompressionType::LZ4), 16), EINVAL),
        (
            "WRITE_BYREF: no snapshot",
            "k-sha256",
            add(
                WriteByref {
                    object: ObjectId(1),
                    length: 512,
                    to_guid: guid,
                    ref_guid: Guid(5),
                    ref_object: ObjectId(1),
                    ..WriteByref::default()
                },
                0,
            ),
            EINVAL,
        ),
        ("FREE: wraps", "k-sha256", add(free(ObjectId(1), 512, u64::MAX - 100), 0), EINVAL),
        ("FREE: no object", "k-sha256", add(free(NONE, 0, TO_OBJECT_END), 0), EINVAL),
        ("FREE: object 0", "k-sha256", add(free(ObjectId(0), 0, 512), 0), EINVAL),
        (
            "REDACT: no object",
            "k-sha256",
            add(Redact { object: NONE, offset: 0, length: 512, to_guid: guid }, 0),
            EINVAL,
        ),
        ("OBJECT_RANGE: not raw", "k-sha256", add(range(0, 32), 0), EINVAL),
        ("OBJECT_RANGE: 31", raw, change!(ObjectRange, |range| range.slot_count = 31), EINVAL),
        (
            "OBJECT_RANGE: in between",
            raw,
            change!(ObjectRange, |range| range.first_object = ObjectId(8)),
            EINVAL,
        ),
        ("SPILL: length", "dn", change!(Spill, |spill| spill.length = 256), EINVAL),
        ("SPILL: no object", "dn", change!(Spill, |spill| spill.object = NONE), EINVAL),
    ];
    let mut taken = Vec::new();
    for (what, name, edit, errno) in &cases {
        let mut pieces = records(&golden::stream(name));
        edit(&mut pieces);
        let Some(stream) = rechained(&pieces) else {
            taken.push(format!("{what}: no stream"));
            continue;
        };
        bench.refuses(what, &stream, &target("demo/new@s"), *errno);
    }
    assert_eq!(taken, Vec::<String>::new());
    // Nothing but a begin and an end is an empty snapshot.
    let pieces: Vec<Piece> = records(&golden::stream("k-sha256"));
    let ends = [
        pieces[0].clone(),
        (Header::new(End { checksum: Checksum::ZERO, to_guid: guid }, ORDER), Vec::new()),
    ];
    let device: Arc<dyn Device> = Arc::new(OverlayDevice::new(Arc::clone(&bench.base)));
    let pool = open_writable(&[Arc::clone(&device)], &write_options()).unwrap();
    receiving::receive(pool, &rechained(&ends).unwrap(), &target("demo/empty@s"), &[]).unwrap();
    check(&Sending::of(open(&[device]).unwrap()), "an empty snapshot");
}
