//! Objects as a sender has them, changed at random, and the streams that `zfs send` makes of them.
//!
//! Every object lies in a block of dnodes with few others, so that one pair of streams has thousands of pairs of *object that
//! is there* and *record that describes it*: block size, levels, slots, bonus, block pointers and spill blocks in all
//! combinations, of the same object and of another one of its number.

use std::collections::BTreeMap;

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::checksum::Checksum;
use zstream_format::effect::pointer_count;
use zstream_format::flags::{
    BeginFlags, FeatureFlags, HeaderType, ObjectFlags, RangeFlags, SpillFlags, VersionInfo,
};
use zstream_format::ids::{Guid, ObjectId};
use zstream_format::object_type::{ObjectType, ObjsetType};
use zstream_format::record::{
    BEGIN_MAGIC, Begin, Body, End, Free, FreeObjects, Header, Object, ObjectRange, Spill, TO_OBJECT_END,
    Write,
};

use crate::edit::Piece;
use crate::refusals::{ORDER, chained};
use crate::rng::Rng;

/// Slots in a block of dnodes.
const SLOTS: u64 = 32;
/// The largest block of a stream without large blocks.
const SMALL_BLOCK_BYTES: u32 = 128 << 10;
const SLOT_BYTES: usize = 512;
const CORE_BYTES: usize = 64;
const POINTER_BYTES: usize = 128;
/// Where a znode has its generation, and its length.
const ZNODE: (usize, usize) = (64, 264);
/// The same of system attributes behind a header of 16 bytes, and their least length.
const ATTRIBUTES: (usize, usize) = (32, 48);
const ATTRIBUTES_MAGIC: u32 = 0x002F_505A;

/// Salt, initialization vector and MAC.
type Crypt = ([u8; 8], [u8; 12], [u8; 16]);

/// A block at the sender.
#[derive(Clone, Debug)]
pub struct Block {
    bytes: Vec<u8>,
    /// The snapshot that it came with.
    birth: u64,
    crypt: Crypt,
}

/// An object at the sender.
#[derive(Clone, Debug)]
pub struct SentObject {
    /// Tells it from others of the same number.
    generation: u64,
    slots: u8,
    object_type: ObjectType,
    block_bytes: u32,
    blocks: BTreeMap<u64, Block>,
    last: u64,
    bonus_type: ObjectType,
    bonus: Vec<u8>,
    pointers: u8,
    indirect_shift: u8,
    levels: u8,
    spill: Option<Block>,
}

/// All objects of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Its number, which is its guid too.
    pub guid: u64,
    /// By object number.
    pub objects: BTreeMap<u64, SentObject>,
    /// How blocks of dnodes are encrypted, by their first objects.
    ranges: BTreeMap<u64, Crypt>,
}

/// The form of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Blocks as they are stored, encrypted.
    pub raw: bool,
    /// Blocks above 128 KiB in one piece.
    pub large: bool,
}

fn crypt(rng: &mut Rng) -> Crypt {
    let mut byte = || rng.below(256) as u8;
    (std::array::from_fn(|_| byte()), std::array::from_fn(|_| byte()), std::array::from_fn(|_| byte()))
}

impl SentObject {
    /// An object of this number of slots; a file has a generation, as all files have.
    fn new(rng: &mut Rng, slots: u8, birth: u64, generation: u64, has_large: bool) -> Self {
        let types = [ObjectType::PLAIN_FILE_CONTENTS, ObjectType::ZVOL, ObjectType::DIRECTORY_CONTENTS];
        let object_type = types[[0, 0, 1, 2][rng.below(4)]];
        let mut bonus_types = vec![ObjectType::SA, ObjectType::ZNODE];
        if object_type != ObjectType::PLAIN_FILE_CONTENTS {
            bonus_types.extend([ObjectType::NONE, ObjectType::UINT64_OTHER, ObjectType::UINT64_OTHER]);
        }
        let bonus_type = bonus_types[rng.below(bonus_types.len())];
        let whole = usize::from(slots) * SLOT_BYTES - CORE_BYTES - POINTER_BYTES;
        let len = match bonus_type {
            ObjectType::NONE => 0,
            ObjectType::ZNODE => ZNODE.1,
            ObjectType::SA => ATTRIBUTES.1 + rng.below((whole - ATTRIBUTES.1) / 8 + 1) * 8,
            // Where the number of pointers changes, and anywhere.
            _ => [64, 72, 192, 200, 320, 8 + rng.below(whole / 8) * 8][rng.below(6)].min(whole),
        };
        let pointers = pointer_count(bonus_type, len as u32, slots);
        let large = if has_large && object_type != ObjectType::DIRECTORY_CONTENTS { 1 } else { 0 };
        let sizes = [512, 512, 1024, 4096, 4096, 1536, 256 << 10];
        let block_bytes = sizes[rng.below(sizes.len() - 1 + large)];
        let mut made = Self {
            generation,
            slots,
            object_type,
            block_bytes,
            blocks: BTreeMap::new(),
            last: 0,
            bonus_type,
            bonus: Vec::new(),
            pointers,
            indirect_shift: [12, 14, 17][rng.below(3)],
            levels: 1,
            spill: None,
        };
        made.set_bonus(rng, bonus_type, len);
        if block_bytes.is_power_of_two() {
            made.last = [0, 0, 1, 2, 3, 5, 40][rng.below(if block_bytes > 4096 { 4 } else { 7 })];
        }
        for block in 0..=made.last {
            if rng.below(5) > 0 {
                made.write(rng, block, birth);
            }
        }
        made.change_spill(rng, birth);
        made.grow();
        made
    }

    fn write(&mut self, rng: &mut Rng, block: u64, birth: u64) {
        let mut bytes = vec![0; self.block_bytes as usize];
        for word in bytes.chunks_exact_mut(64) {
            let at = rng.below(64);
            word[at] = 1 + rng.below(255) as u8;
        }
        self.blocks.insert(block, Block { bytes, birth, crypt: crypt(rng) });
    }

    fn set_bonus(&mut self, rng: &mut Rng, bonus_type: ObjectType, len: usize) {
        let mut bonus: Vec<u8> = (0..len).map(|_| rng.below(256) as u8).collect();
        let at = match bonus_type {
            ObjectType::ZNODE => Some(ZNODE.0),
            ObjectType::SA => {
                bonus[..4].copy_from_slice(&ATTRIBUTES_MAGIC.to_le_bytes());
                bonus[4..6].copy_from_slice(&((16_u16 / 8) << 10 | 2).to_le_bytes());
                Some(ATTRIBUTES.0)
            }
            _ => None,
        };
        if let Some(at) = at {
            bonus[at..at + 8].copy_from_slice(&self.generation.to_le_bytes());
        }
        (self.bonus_type, self.bonus) = (bonus_type, bonus);
    }

    /// Bytes that the bonus may take.
    fn room(&self) -> usize {
        usize::from(self.slots) * SLOT_BYTES
            - CORE_BYTES
            - usize::from(self.pointers) * POINTER_BYTES
            - if self.spill.is_some() { POINTER_BYTES } else { 0 }
    }

    fn change_spill(&mut self, rng: &mut Rng, birth: u64) {
        let has_room = self.spill.is_some() || self.room() >= self.bonus.len() + POINTER_BYTES;
        self.spill = match rng.below(3) {
            0 => self.spill.take(),
            1 if self.bonus_type == ObjectType::SA && has_room => {
                let sectors = 1 + rng.below(3);
                let bytes = rng.bytes(512 * sectors);
                Some(Block { bytes, birth, crypt: crypt(rng) })
            }
            _ => None,
        };
    }

    /// Adds the levels that the last block needs.
    fn grow(&mut self) {
        let step = u32::from(self.indirect_shift) - 7;
        while self.last >> (u32::from(self.levels - 1) * step) >= self.pointers.into() {
            self.levels += 1;
        }
    }

    /// What a program may do to an object between two snapshots. With `follows_rule` the number of block pointers stays the
    /// one that a new dnode would have.
    fn change(&mut self, rng: &mut Rng, birth: u64, follows_rule: bool) {
        let present: Vec<u64> = self.blocks.keys().copied().collect();
        for block in present {
            match rng.below(6) {
                0 | 1 => self.write(rng, block, birth),
                2 => drop(self.blocks.remove(&block)),
                _ => {}
            }
        }
        match rng.below(4) {
            0 if self.last > 0 => {
                self.last = rng.below(self.last as usize) as u64;
                self.blocks.retain(|block, _| *block <= self.last);
            }
            1 if self.block_bytes.is_power_of_two() && self.block_bytes <= 4096 => {
                self.last += 1 + rng.below(4) as u64;
                self.write(rng, self.last, birth);
            }
            // One block grows, and is written with it.
            2 if self.last == 0 && self.block_bytes < SMALL_BLOCK_BYTES && self.levels == 1 => {
                let sizes = [1024, 1536, 4096, SMALL_BLOCK_BYTES];
                let sizes: Vec<u32> = sizes.into_iter().filter(|size| *size > self.block_bytes).collect();
                self.block_bytes = rng.pick(&sizes).expect("a larger size");
                if !self.blocks.is_empty() {
                    self.write(rng, 0, birth);
                }
            }
            _ => {}
        }
        self.change_spill(rng, birth);
        let (room, before) = (self.room(), (self.bonus_type, self.bonus.clone()));
        match (self.bonus_type, rng.below(4)) {
            // As `zfs upgrade` does when a file is changed afterwards: the pointers stay.
            (ObjectType::ZNODE, 0 | 1) => {
                let len = ATTRIBUTES.1 + rng.below((room - ATTRIBUTES.1) / 8 + 1) * 8;
                self.set_bonus(rng, ObjectType::SA, len);
            }
            (ObjectType::SA, 0) => {
                let len = ATTRIBUTES.1 + rng.below((room - ATTRIBUTES.1) / 8 + 1) * 8;
                self.set_bonus(rng, ObjectType::SA, len);
            }
            (ObjectType::UINT64_OTHER, 0) => {
                let len = 8 + rng.below(room / 8) * 8;
                self.set_bonus(rng, ObjectType::UINT64_OTHER, len);
            }
            (bonus_type, 2) => self.set_bonus(rng, bonus_type, self.bonus.len()),
            _ => {}
        }
        let rule = pointer_count(self.bonus_type, self.bonus.len() as u32, self.slots);
        if follows_rule && rule != self.pointers {
            (self.bonus_type, self.bonus) = before;
        }
        self.grow();
    }

    /// All of its content, to the end of its last block.
    fn content(&self) -> Vec<u8> {
        let mut content = Vec::new();
        for block in 0..=self.last {
            match self.blocks.get(&block) {
                Some(found) => content.extend_from_slice(&found.bytes),
                None => content.resize(content.len() + self.block_bytes as usize, 0),
            }
        }
        content
    }

    fn describe(&self, number: u64, guid: u64, form: Sent) -> Piece {
        let spill = if self.spill.is_some() { ObjectFlags::SPILL } else { ObjectFlags::empty() };
        // All of the area is encrypted, where there is a bonus.
        let room = if self.bonus.is_empty() { 0 } else { self.room() };
        let mut payload = self.bonus.clone();
        payload.resize(if form.raw { room } else { payload.len().next_multiple_of(8) }, 0);
        let body = Object {
            object: ObjectId(number),
            object_type: self.object_type,
            bonus_type: self.bonus_type,
            block_size: if form.large { self.block_bytes } else { self.block_bytes.min(SMALL_BLOCK_BYTES) },
            bonus_len: self.bonus.len() as u32,
            checksum_type: ChecksumType::INHERIT,
            compression: CompressionType::INHERIT,
            dnode_slots: self.slots,
            flags: spill,
            raw_bonus_len: if form.raw { room as u32 } else { 0 },
            to_guid: Guid(guid),
            indirect_block_shift: if form.raw { self.indirect_shift } else { 0 },
            levels: if form.raw { self.levels } else { 0 },
            block_pointers: if form.raw { self.pointers } else { 0 },
            pad: [0; 5],
            max_block_id: self.last,
        };
        (Header::new(body, ORDER), payload)
    }

    /// The records of this object, where `old` had its number before.
    fn records(&self, number: u64, guid: u64, old: Option<&Self>, form: Sent, out: &mut Vec<Piece>) {
        let object = ObjectId(number);
        let same = old.filter(|old| old.generation == self.generation);
        let is_new = |block: &Block| same.is_none() || block.birth == guid;
        out.push(self.describe(number, guid, form));
        let free = |offset: u64, length: u64, out: &mut Vec<Piece>| {
            let body = Free { object, offset, length, to_guid: Guid(guid) };
            out.push((Header::new(body, ORDER), Vec::new()));
        };
        let size = u64::from(self.block_bytes);
        free((self.last + 1) * size, TO_OBJECT_END, out);
        if let Some(spill) = &self.spill {
            let flags = if is_new(spill) { SpillFlags::empty() } else { SpillFlags::UNMODIFIED };
            let (salt, iv, mac) = if form.raw { spill.crypt } else { Default::default() };
            let body = Spill {
                object,
                length: spill.bytes.len() as u64,
                to_guid: Guid(guid),
                flags,
                compression: if form.raw { CompressionType::OFF } else { CompressionType::INHERIT },
                pad: [0; 6],
                compressed_size: if form.raw { spill.bytes.len() as u64 } else { 0 },
                salt,
                iv,
                mac,
                object_type: if form.raw { ObjectType::SA } else { ObjectType::NONE },
            };
            out.push((Header::new(body, ORDER), spill.bytes.clone()));
        }
        for block in 0..=self.last {
            let Some(found) = self.blocks.get(&block) else {
                free(block * size, size, out);
                continue;
            };
            if !is_new(found) {
                continue;
            }
            let piece = if form.large { found.bytes.len() } else { SMALL_BLOCK_BYTES as usize };
            let mut offset = block * size;
            for bytes in found.bytes.chunks(piece) {
                let mut body = Write::plain(object, self.object_type, offset, bytes.len() as u64, Guid(guid));
                if form.raw {
                    (body.salt, body.iv, body.mac) = found.crypt;
                    (body.compression, body.compressed_size) = (CompressionType::OFF, bytes.len() as u64);
                }
                out.push((Header::new(body, ORDER), bytes.to_vec()));
                offset += bytes.len() as u64;
            }
        }
    }
}

impl Snapshot {
    /// Objects at random in this many blocks of dnodes.
    #[must_use]
    pub fn random(rng: &mut Rng, groups: u64, has_large: bool) -> Self {
        let mut this = Self { guid: 1, ..Self::default() };
        for group in 1..=groups {
            this.fill(rng, group * SLOTS, has_large);
        }
        this
    }

    /// Puts objects into free slots of a block of dnodes.
    fn fill(&mut self, rng: &mut Rng, base: u64, has_large: bool) {
        self.ranges.insert(base, crypt(rng));
        let mut at = base + rng.below(2) as u64;
        while at < base + 12 {
            let slots = [1, 1, 1, 2, 2, 3, 8][rng.below(7)];
            let is_taken = self
                .objects
                .range(base..at + u64::from(slots))
                .any(|(number, other)| number + u64::from(other.slots) > at);
            if !is_taken {
                let generation = 1 + rng.below(1 << 40) as u64;
                let object = SentObject::new(rng, slots, self.guid, generation, has_large);
                self.objects.insert(at, object);
            }
            at += u64::from(slots) + [0, 0, 1, 3][rng.below(4)];
        }
    }

    /// The next snapshot. Raw receivers refuse what has not the block pointers that follow from its bonus (`follows_rule`).
    #[must_use]
    pub fn next(&self, rng: &mut Rng, has_large: bool, follows_rule: bool) -> Self {
        let mut next = Self { guid: self.guid + 1, ..self.clone() };
        let groups: Vec<u64> = self.ranges.keys().copied().collect();
        for base in groups {
            let numbers: Vec<u64> =
                self.objects.range(base..base + SLOTS).map(|(number, _)| *number).collect();
            for number in numbers {
                match rng.below(5) {
                    0 | 1 => drop(next.objects.remove(&number)),
                    2 => {}
                    _ => {
                        let guid = next.guid;
                        if let Some(object) = next.objects.get_mut(&number) {
                            object.change(rng, guid, follows_rule);
                        }
                    }
                }
            }
            next.fill(rng, base, has_large);
        }
        next
    }

    /// The stream of this snapshot, from `old` on or as a whole. `begin` is the first record of a raw stream, with its list.
    #[must_use]
    pub fn stream(&self, old: Option<&Self>, form: Sent, begin: Option<&Piece>) -> Vec<u8> {
        let first = begin.cloned().unwrap_or_else(|| {
            let body = Begin {
                magic: BEGIN_MAGIC,
                version_info: VersionInfo::new(HeaderType::Substream, FeatureFlags::empty()),
                creation_time: 1_700_000_000,
                objset_type: ObjsetType::ZVOL.0,
                flags: BeginFlags::FREERECORDS | BeginFlags::SPILL_BLOCK,
                to_guid: Guid(0),
                from_guid: Guid(0),
                to_name: Begin::name_field(b"tank/v@s").expect("a short name"),
            };
            (Header::new(body, ORDER), Vec::new())
        });
        let mut pieces = vec![first];
        let Some(Body::Begin(mut body)) = pieces[0].0.body() else { unreachable!("a BEGIN") };
        (body.to_guid, body.from_guid) = (Guid(self.guid), Guid(old.map_or(0, |old| old.guid)));
        body.objset_type = ObjsetType::ZVOL.0;
        let mut features = body.version_info.features() | FeatureFlags::LARGE_DNODE;
        features.set(FeatureFlags::LARGE_BLOCKS, form.large);
        body.version_info = body.version_info.with_features(features);
        pieces[0].0.set_body(body);
        for (base, (salt, iv, mac)) in &self.ranges {
            if form.raw {
                let body = ObjectRange {
                    first_object: ObjectId(*base),
                    slot_count: SLOTS,
                    to_guid: Guid(self.guid),
                    salt: *salt,
                    iv: *iv,
                    mac: *mac,
                    flags: RangeFlags::empty(),
                    pad: [0; 3],
                };
                pieces.push((Header::new(body, ORDER), Vec::new()));
            }
            self.group(*base, old, form, &mut pieces);
        }
        let end = End { checksum: Checksum::ZERO, to_guid: Guid(self.guid) };
        pieces.push((Header::new(end, ORDER), Vec::new()));
        chained(&pieces)
    }

    fn group(&self, base: u64, old: Option<&Self>, form: Sent, out: &mut Vec<Piece>) {
        let mut at = base;
        let free = |from: u64, to: u64, out: &mut Vec<Piece>| {
            if to > from {
                let body = FreeObjects {
                    first_object: ObjectId(from),
                    object_count: to - from,
                    to_guid: Guid(self.guid),
                };
                out.push((Header::new(body, ORDER), Vec::new()));
            }
        };
        for (number, object) in self.objects.range(base..base + SLOTS) {
            free(at, *number, out);
            let before = old.and_then(|old| old.objects.get(number));
            object.records(*number, self.guid, before, form, out);
            at = number + u64::from(object.slots);
        }
        free(at, base + SLOTS, out);
    }
}

/// A record of a stream without what depends on when and whence it was sent.
fn essence(header: &Header, payload: &[u8]) -> Option<(u64, String)> {
    Some(match header.body()? {
        Body::Object(mut body) => {
            (body.to_guid, body.flags) = (Guid(0), ObjectFlags::empty());
            (body.object.0, format!("{body:?} {payload:02x?}"))
        }
        Body::ObjectRange(body) => {
            (body.first_object.0, format!("range {:x?} {:x?} {:x?}", body.salt, body.iv, body.mac))
        }
        Body::Write(body) => (
            body.object.0,
            format!("write {:x} {:x?} {:x?} {:x?} {payload:02x?}", body.offset, body.salt, body.iv, body.mac),
        ),
        Body::Spill(body) => {
            (body.object.0, format!("spill {:x?} {:x?} {:x?} {payload:02x?}", body.salt, body.iv, body.mac))
        }
        _ => return None,
    })
}

/// Compares what two full raw streams hold, object by object.
///
/// # Panics
/// They differ.
pub fn assert_same_raw(found: &[Piece], expected: &[Piece], what: &str) {
    let of = |pieces: &[Piece]| {
        let mut all: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for (object, text) in pieces.iter().filter_map(|(header, payload)| essence(header, payload)) {
            all.entry(object).or_default().push(text);
        }
        all.values_mut().for_each(|list| list.sort());
        all
    };
    let (found, expected) = (of(found), of(expected));
    for (object, expected) in &expected {
        let found = found.get(object).map(Vec::as_slice).unwrap_or_default();
        for text in expected {
            let short: String = text.chars().take(400).collect();
            let near: Vec<String> = found.iter().map(|text| text.chars().take(400).collect()).collect();
            assert!(found.contains(text), "{what}: object {object} lacks {short}, it has {near:#?}");
        }
        assert_eq!(found.len(), expected.len(), "{what}: object {object}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

/// Compares a set with what the sender has.
///
/// # Panics
/// They differ.
pub fn assert_same(set: &dyn zstream_dmu::object_set::ObjectSet, expected: &Snapshot, what: &str) {
    let mut numbers = Vec::new();
    let mut at = ObjectId(1);
    while let Some(object) = set.next_object(at).expect("dnodes") {
        numbers.push(object.0);
        at = ObjectId(object.0 + 1);
    }
    assert_eq!(numbers, expected.objects.keys().copied().collect::<Vec<_>>(), "{what}: objects");
    for (number, sent) in &expected.objects {
        let object = ObjectId(*number);
        let info = set.info(object).expect("an object");
        let what = format!("{what}: object {number}, sent as {:?} {:?}", sent.object_type, sent.bonus_type);
        assert_eq!(
            (info.object_type, info.bonus_type, info.dn_slots),
            (sent.object_type, sent.bonus_type, sent.slots),
            "{what}"
        );
        assert_eq!(info.bonus.as_deref(), Some(&sent.bonus[..]), "{what}: bonus");
        let spill = set.spill(object).expect("a spill block");
        assert_eq!(spill.as_deref(), sent.spill.as_ref().map(|block| &block.bytes[..]), "{what}: spill");
        let mut content = sent.content();
        content.resize(content.len().max(info.end() as usize), 0);
        let mut found = vec![0; content.len()];
        set.read(object, 0, &mut found).expect("content");
        let differs = found.iter().zip(&content).position(|(found, sent)| found != sent);
        assert_eq!(differs, None, "{what}: content, {} blocks of {}", sent.last + 1, sent.block_bytes);
    }
}
