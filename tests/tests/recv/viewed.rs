//! Streams that are received, and the same streams viewed where they lie: both show the same objects.
//!
//! Random records are put together to streams that a receiver takes: a full one and increments. What a record does to an object
//! that is there already is decided by its own fields and the object's state, so objects are few, and are described again, made
//! anew, freed, written and cut in all ways.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use zstream_dmu::device::{Device, MemoryDevice};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::testing::OverlayDevice;
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::checksum::Checksum;
use zstream_format::compress::{compress, compress_for_stream};
use zstream_format::edit::byteswap;
use zstream_format::flags::{BeginFlags, FeatureFlags, HeaderType, ObjectFlags, SpillFlags, VersionInfo};
use zstream_format::ids::Guid;
use zstream_format::object_type::{ObjectType, ObjsetType};
use zstream_format::order::ByteOrder;
use zstream_format::record::{
    BEGIN_MAGIC, Begin, Body, End, Free, FreeObjects, Header, Object, Spill, TO_OBJECT_END, Write,
    WriteEmbedded,
};
use zstream_format::stream::StreamWriter;
use zstream_tests::created::{self, new_pool, open, open_writable, write_options};
use zstream_tests::receiving::{receive, target};
use zstream_tests::rng::Rng;
use zstream_tests::sending::Sending;
use zstream_view::{Options, Source, Streams};

const FILE: ObjectType = ObjectType::PLAIN_FILE_CONTENTS;
/// Two blocks of dnodes.
const OBJECTS_END: u64 = 64;
/// What is written lies below this, but for disguised spill blocks.
const CONTENT_END: u64 = 2 << 20;

/// Streams of a history, the first of them a full one.
const STREAMS: usize = 4;
const SEEDS: u64 = 60;

static POOL: LazyLock<Arc<dyn Device>> = LazyLock::new(|| {
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::from(vec![0; created::MEMBER_BYTES as usize]));
    let given = Arc::clone(&device);
    created::create(new_pool("demo", "a", 12, &mut |_| ("/a".to_owned(), Arc::clone(&given)))).unwrap();
    device
});

/// An object as the generator described it last.
#[derive(Clone, Copy)]
struct Described {
    block_bytes: u32,
    slots: u8,
    bonus_type: ObjectType,
    has_spill: bool,
}

/// The sender that the streams would come from.
struct Sender {
    rng: Rng,
    objects: BTreeMap<u64, Described>,
    last_guid: u64,
}

/// One stream under way.
struct Making {
    writer: StreamWriter<Vec<u8>>,
    guid: Guid,
    spill_known: bool,
    /// The object that this stream described last. Who turns a stream into the other byte order has to know what is embedded.
    described: u64,
}

impl Making {
    fn put(&mut self, body: impl Into<Body>, payload: &[u8]) {
        let mut header = Header::new(body, ByteOrder::Little);
        if !matches!(header.body(), Some(Body::Begin(_))) {
            // The writer puts the right one there.
            header.set_trailer(Checksum([1, 0, 0, 0]));
        }
        self.writer.write(&header, payload).unwrap();
    }
}

impl Sender {
    fn new(seed: u64) -> Self {
        Self { rng: Rng(seed), objects: BTreeMap::new(), last_guid: 0 }
    }

    /// The next stream; in one of three cases it is big-endian.
    fn stream(&mut self) -> Vec<u8> {
        let spill_known = self.rng.below(4) > 0;
        let guid = Guid(self.last_guid + 1);
        let features = FeatureFlags::EMBED_DATA
            | FeatureFlags::LZ4
            | FeatureFlags::LARGE_BLOCKS
            | FeatureFlags::LARGE_DNODE
            | FeatureFlags::COMPRESSED;
        let begin = Begin {
            magic: BEGIN_MAGIC,
            version_info: VersionInfo::new(HeaderType::Substream, features),
            creation_time: guid.0,
            objset_type: ObjsetType::ZFS.0,
            flags: if spill_known { BeginFlags::SPILL_BLOCK } else { BeginFlags::empty() },
            to_guid: guid,
            from_guid: Guid(self.last_guid),
            to_name: Begin::name_field(format!("sender/fs@{}", guid.0).as_bytes()).unwrap(),
        };
        let mut making = Making { writer: StreamWriter::new(Vec::new()), guid, spill_known, described: 0 };
        making.put(begin, &[]);
        for object in 1..OBJECTS_END {
            self.object(&mut making, object);
        }
        making.put(End { to_guid: guid, ..End::default() }, &[]);
        self.last_guid = guid.0;
        let stream = making.writer.into_inner();
        if self.rng.below(3) > 0 {
            return stream;
        }
        let mut swapped = Vec::new();
        byteswap(&stream[..], &mut swapped).unwrap();
        swapped
    }

    /// All records of one object.
    fn object(&mut self, making: &mut Making, object: u64) {
        match self.rng.below(12) {
            0 => self.free_objects(making, object),
            1..=4 => self.describe(making, object),
            _ => {}
        }
        if self.objects.contains_key(&object) && self.rng.below(3) > 0 {
            self.content(making, object);
        }
    }

    fn free_objects(&mut self, making: &mut Making, object: u64) {
        let count = [1, 2, 3, 40, u64::MAX - object][self.rng.below(5)].min(if self.rng.below(4) == 0 {
            u64::MAX
        } else {
            3
        });
        let end = object.saturating_add(count);
        self.objects.retain(|at, _| !(object..end).contains(at));
        making.put(
            FreeObjects { first_object: ObjectId(object), object_count: count, to_guid: making.guid },
            &[],
        );
    }

    fn describe(&mut self, making: &mut Making, object: u64) {
        let slots = [1, 1, 1, 2, 3, 0][self.rng.below(6)];
        let taken = u64::from(slots.max(1));
        let across = |(at, found): (&u64, &Described)| at + u64::from(found.slots) > object && *at < object;
        if object % 32 + taken > 32 || self.objects.iter().any(across) {
            return;
        }
        let before = self.objects.get(&object).copied();
        let generation = 1 + self.rng.below(2) as u64;
        let (bonus_type, bonus) = self.bonus(generation, taken);
        let sizes = [512, 1536, 4096, 4096, 65536, 131_072, 262_144];
        let block_bytes = match before {
            Some(before) if self.rng.below(2) == 0 => before.block_bytes,
            _ => self.rng.pick(&sizes).unwrap(),
        };
        let described = Described {
            block_bytes,
            slots: taken as u8,
            bonus_type,
            has_spill: making.spill_known && bonus_type == ObjectType::SA && self.rng.below(2) == 0,
        };
        let record = Object {
            object: ObjectId(object),
            object_type: self
                .rng
                .pick(&[FILE, FILE, FILE, ObjectType::ZVOL, ObjectType::OBJECT_ARRAY])
                .unwrap(),
            bonus_type,
            block_size: block_bytes,
            bonus_len: bonus.len() as u32,
            checksum_type: ChecksumType::INHERIT,
            compression: CompressionType::INHERIT,
            dnode_slots: slots,
            flags: if described.has_spill { ObjectFlags::SPILL } else { ObjectFlags::empty() },
            to_guid: making.guid,
            ..Object::default()
        };
        let mut payload = bonus;
        payload.resize(payload.len().next_multiple_of(8), 0);
        making.put(record, &payload);
        self.objects.retain(|at, _| !(object..object + taken).contains(at));
        self.objects.insert(object, described);
        making.described = object;
    }

    /// Type and content of a bonus of a file of this generation.
    fn bonus(&mut self, generation: u64, slots: u64) -> (ObjectType, Vec<u8>) {
        let word =
            |bonus: &mut Vec<u8>, at: usize| bonus[at..at + 8].copy_from_slice(&generation.to_le_bytes());
        match self.rng.below(6) {
            0 => (ObjectType::NONE, Vec::new()),
            1 => {
                let mut bonus = vec![3; 264];
                word(&mut bonus, 64);
                (ObjectType::ZNODE, bonus)
            }
            // A bonus without a generation, in the sizes that leave room for one, two and three pointers.
            2 => (ObjectType::PACKED_NVLIST_SIZE, vec![5; [8, 96, 200, 320][self.rng.below(4)]]),
            _ => {
                let most = (slots * 512 - 320) as usize;
                let mut bonus = vec![0; [168, 168, 184, 192][self.rng.below(4)].min(most)];
                bonus[..4].copy_from_slice(&0x002F_505A_u32.to_le_bytes());
                bonus[4..6].copy_from_slice(&(1_u16 << 10 | 2).to_le_bytes());
                word(&mut bonus, 24);
                (ObjectType::SA, bonus)
            }
        }
    }

    fn content(&mut self, making: &mut Making, object: u64) {
        let found = self.objects[&object];
        let (guid, object) = (making.guid, ObjectId(object));
        let size = u64::from(found.block_bytes);
        let blocks = if size.is_power_of_two() { CONTENT_END / size } else { 1 };
        let end = blocks * size;
        if self.rng.below(3) == 0 {
            let offset = self.rng.below(blocks as usize) as u64 * size;
            let length = [TO_OBJECT_END, size, 3 * size, 700][self.rng.below(4)];
            making.put(Free { object, offset, length, to_guid: guid }, &[]);
        }
        let mut at = self.rng.below(blocks.min(6) as usize) as u64 * size;
        for _ in 0..self.rng.below(4) {
            // Whole blocks mostly; parts of them, or several, where the sizes of sender and receiver differ.
            let length = match self.rng.below(8) {
                0 if size > 4096 => size / 2,
                1 => (2 * size).min(end),
                _ => size,
            };
            if at + length > end || length > 1 << 20 {
                break;
            }
            self.write(making, object, at, length);
            at += length + size * self.rng.below(3) as u64;
        }
        if self.rng.below(4) == 0 {
            let offset = self.rng.below(blocks as usize) as u64 * size;
            let length = [TO_OBJECT_END, size][self.rng.below(2)];
            making.put(Free { object, offset, length, to_guid: guid }, &[]);
        }
        if found.bonus_type == ObjectType::SA && self.rng.below(2) == 0 {
            self.spill(making, object, found.has_spill);
        }
    }

    fn write(&mut self, making: &mut Making, object: ObjectId, offset: u64, length: u64) {
        let byte = self.rng.below(255) as u8 + 1;
        let mut block = vec![byte; length as usize];
        block[..8].copy_from_slice(&(self.rng.below(1 << 40) as u64).to_le_bytes());
        match self.rng.below(4) {
            0 if length > 4096 => {
                let packed = compress_for_stream(CompressionType::LZ4, None, &block).unwrap().unwrap();
                let record = Write {
                    compression: CompressionType::LZ4,
                    compressed_size: packed.len() as u64,
                    ..Write::plain(object, FILE, offset, length, making.guid)
                };
                making.put(record, &packed);
            }
            1 if length <= 4096 && making.described == object.0 => {
                self.embedded(making, object, offset, &block)
            }
            _ => making.put(Write::plain(object, FILE, offset, length, making.guid), &block),
        }
    }

    fn embedded(&mut self, making: &mut Making, object: ObjectId, offset: u64, block: &[u8]) {
        let packed = compress(CompressionType::LZ4, None, block, 112)
            .unwrap()
            .expect("it is one byte again and again");
        let record = WriteEmbedded {
            object,
            offset,
            length: block.len() as u64,
            to_guid: making.guid,
            compression: CompressionType::LZ4,
            embedded_type: 0,
            logical_size: block.len() as u32,
            physical_size: packed.len() as u32,
            ..WriteEmbedded::default()
        };
        let mut payload = packed;
        payload.resize(payload.len().next_multiple_of(8), 0);
        making.put(record, &payload);
    }

    /// A spill block: changed, the same as before, or as old senders disguise it.
    fn spill(&mut self, making: &mut Making, object: ObjectId, has_spill: bool) {
        let block = vec![self.rng.below(255) as u8 + 1; [512, 1024, 4096][self.rng.below(3)]];
        let length = block.len() as u64;
        match self.rng.below(4) {
            0 if making.described == object.0 => {
                self.embedded(making, object, 0_u64.wrapping_sub(2 * length), &block)
            }
            kind => {
                let unmodified = kind == 1 && has_spill;
                let flags = if unmodified { SpillFlags::UNMODIFIED } else { SpillFlags::empty() };
                let record = Spill { object, length, to_guid: making.guid, flags, ..Spill::default() };
                making.put(record, &block);
            }
        }
    }
}

/// What is shown of an object: its description, spill block, and content without zeros at its end.
fn shown(set: &dyn ObjectSet, object: ObjectId) -> (String, Option<Vec<u8>>, Vec<u8>) {
    let info = set.info(object).unwrap();
    let text = format!(
        "{} bonus {} {:?} blocks {} slots {} {:?} {:?} spill {}",
        info.object_type,
        info.bonus_type,
        info.bonus,
        info.block_bytes,
        info.dn_slots,
        info.checksum_type,
        info.compression,
        info.has_spill
    );
    let spill = set.spill(object).unwrap().map(|block| block.to_vec());
    assert!(info.end() <= 2 * CONTENT_END, "object {object} ends at {}", info.end());
    let mut content = vec![0; info.end() as usize];
    set.read(object, 0, &mut content).unwrap();
    content.truncate(content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    (text, spill, content)
}

fn objects(set: &dyn ObjectSet) -> Vec<ObjectId> {
    let next = |at: u64| set.next_object(ObjectId(at)).unwrap();
    std::iter::successors(next(1), |object| next(object.0 + 1)).collect()
}

/// Receives streams of one seed until one is refused, and compares each snapshot with its view. How many arrived; or what
/// differs.
fn history(seed: u64) -> Result<usize, String> {
    let device: Arc<dyn Device> = Arc::new(OverlayDevice::new(Arc::clone(&POOL)));
    let mut sender = Sender::new(seed);
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        let stream = sender.stream();
        let pool = open_writable(&[Arc::clone(&device)], &write_options()).unwrap();
        let name = format!("demo/fs@{}", number + 1);
        let received = receive(pool, &stream, &target(&name), &[]);
        streams.push(stream);
        let source = |(n, bytes): (usize, &Vec<u8>)| Source::from_bytes(format!("stream {n}"), bytes.clone());
        let sources = streams.iter().enumerate().map(source).collect();
        let view = Streams::index(sources, &Options::default()).and_then(|streams| streams.view(number));
        let failed = |error: &dyn std::fmt::Display| format!("seed {seed}, stream {number}: {error}");
        if let Err(error) = received {
            // A sender has files with a generation, whose blocks do not become smaller.
            let text = error.to_string();
            let is_known = ["no generation", "for the same file"].iter().any(|known| text.contains(known));
            return if is_known { Ok(number) } else { Err(failed(&text)) };
        }
        let view = view.map_err(|error| failed(&error))?;
        let reading = Sending::of(open(&[Arc::clone(&device)]).unwrap());
        let set = reading.dsl.dataset(&name).unwrap().objset().unwrap();
        if objects(&view) != objects(&*set) {
            return Err(failed(&format_args!("{:?} and {:?}", objects(&view), objects(&*set))));
        }
        for object in objects(&view) {
            let (viewed, there) = (shown(&view, object), shown(&*set, object));
            if viewed.0 != there.0 {
                return Err(failed(&format_args!("object {object}: {} and {}", viewed.0, there.0)));
            }
            if viewed.1 != there.1 {
                return Err(failed(&format_args!("the spill block of object {object}")));
            }
            if viewed.2 != there.2 {
                let lengths = (viewed.2.len(), there.2.len());
                let at = viewed.2.iter().zip(&there.2).position(|(one, other)| one != other);
                return Err(failed(&format_args!("the content of object {object} at {at:?} of {lengths:?}")));
            }
        }
    }
    Ok(STREAMS)
}

/// Whatever records a stream has, its view shows what a receive makes of it.
#[test]
fn a_view_shows_what_a_receive_makes() {
    let (mut arrived, mut differences) = (0, Vec::new());
    for seed in 1..=SEEDS {
        match history(seed * 0x9e37_79b9) {
            Ok(streams) => arrived += streams,
            Err(difference) => differences.push(difference),
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(arrived > SEEDS as usize, "{arrived} streams arrived");
}
