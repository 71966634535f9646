//! Tests of ZAPs of OpenZFS, of ZAPs of every shape, and of damaged ZAPs.

use std::collections::BTreeMap;

use proptest::prelude::*;
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::*;
use crate::error::Fault;
use crate::made::Objects;

const ORDER: ByteOrder = ByteOrder::Little;
const OBJECT: ObjectId = ObjectId(5);

fn set(blocks: Vec<Vec<u8>>) -> Objects {
    let mut objects = Objects::default();
    objects.add(OBJECT.0, ObjectType::ZAP_OTHER, ObjectType::NONE, &[], blocks);
    objects
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap()
}

#[test]
fn hashes_of_names_are_those_that_openzfs_stored() {
    let lines = include_str!("testdata/hashes.txt").lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for line in lines {
        let [salt, flags, hash, name] = line.splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let name = NormFlags::from_bits_retain(hex(flags)).normalize(name.as_bytes());
        assert_eq!(hash::of_name(hex(salt), &name, false), hex(hash), "{line}");
        count += 1;
    }
    assert_eq!(count, 396);
}

fn bytes(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits.map(|pair| hex(std::str::from_utf8(pair).expect("hex")) as u8).collect()
}

/// Case pairs, ligatures, marks in every order, long sequences, Hangul, bytes that are not UTF-8; and each character
/// alone, to detect a newer table of Unicode.
#[test]
fn forms_of_names_are_those_that_openzfs_makes() {
    let lines = include_str!("testdata/forms.txt").lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let [first, second, third] = line.split(' ').collect::<Vec<_>>().try_into().expect("three words");
        if first == "all" {
            let flags = NormFlags::from_bits_retain(hex(second));
            let all = ('\u{1}'..=char::MAX).flat_map(|c| {
                let form = flags.form(c.to_string().as_bytes()).expect("a form");
                [form, b"\n".to_vec()].concat()
            });
            let sum = all.fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
                (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
            assert_eq!(sum, hex(third), "all characters, flags {second}");
        } else {
            let form = NormFlags::from_bits_retain(hex(first)).form(&bytes(second));
            let wanted = (third != "-").then(|| bytes(third));
            assert_eq!(form, wanted, "{:?}, flags {first}", String::from_utf8_lossy(&bytes(second)));
        }
    }
}

/// Names with the same key match each other and have the same hash. A name that the ZAP contains has a key.
#[test]
fn what_is_one_name_is_one_key() {
    let nfd = NormFlags::CANONICAL_DECOMPOSITION;
    let one = |how: Match, flags, a: &str, b: &str| {
        let key = |name: &str| how.key(flags, name.as_bytes()).expect("a key");
        key(a) == key(b)
    };
    assert!(!one(Match::Normalized, NormFlags::empty(), "A", "a"));
    assert!(one(Match::Normalized, NormFlags::UPPER, "A", "a"));
    assert!(!one(Match::NormalizedWithCase, NormFlags::UPPER, "A", "a"));
    assert!(one(Match::NormalizedWithCase, nfd, "\u{e9}", "e\u{301}"));
    assert!(one(Match::NormalizedWithCase, nfd | NormFlags::UPPER, "\u{e9}", "e\u{301}"));
    assert!(!one(Match::NormalizedWithCase, nfd | NormFlags::UPPER, "\u{e9}", "E\u{301}"));
    assert!(one(Match::Normalized, NormFlags::UPPER, "\u{131}", "I"));
    assert!(one(Match::NormalizedWithCase, nfd, "\u{3b1}\u{345}\u{301}", "\u{3b1}\u{301}\u{345}"));
    assert_eq!(Match::Normalized.key(nfd, "\u{ac00}".repeat(85).as_bytes()), None);
}

#[test]
fn hashes_of_words_are_those_that_openzfs_stored() {
    for line in include_str!("testdata/word-hashes.txt").lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split(' ').collect();
        let flags = ZapFlags::from_bits_retain(hex(fields[1]));
        let key: Vec<_> = fields[3..].iter().copied().map(hex).collect();
        let (prehashed, long) =
            (flags.contains(ZapFlags::PREHASHED_KEY), flags.contains(ZapFlags::LONG_HASH));
        assert_eq!(hash::of_words(hex(fields[0]), &key, prehashed, long), hex(fields[2]), "{line}");
    }
}

#[test]
fn a_directory_lists_in_the_order_of_openzfs() {
    let set = set(vec![include_bytes!("testdata/root-directory.bin").to_vec()]);
    let zap = Zap::open(&set, OBJECT).unwrap();
    let names: Vec<_> = zap.entries().map(|entry| entry.unwrap().key.text().unwrap().to_owned()).collect();
    assert_eq!(
        names,
        [
            "zeros",
            "fifo",
            "naïve-文件",
            "sparse",
            "random",
            "null",
            "many",
            "text",
            "tiny",
            "empty",
            "dir",
            "embedded"
        ]
    );
    // The upper bits of the values in a directory are the file type.
    assert_eq!(zap.lookup_u64("dir").unwrap().map(|value| value & 0xffff), Some(2));
    assert_eq!(zap.lookup("absent").unwrap(), None);
    assert_eq!((zap.info().entries, zap.info().is_micro), (12, true));
}

#[test]
fn a_fat_zap_of_openzfs_is_read_in_its_order() {
    let set = set(vec![
        include_bytes!("testdata/layouts-header.bin").to_vec(),
        include_bytes!("testdata/layouts-leaf.bin").to_vec(),
    ]);
    let zap = Zap::open(&set, OBJECT).unwrap();
    assert_eq!((zap.info().leaves, zap.info().entries, zap.info().salt), (1, 7, 0x79cb_a4d9));
    let entries: Vec<_> = zap.entries().map(Result::unwrap).collect();
    let keys: Vec<_> = entries.iter().map(|entry| entry.key.number().unwrap()).collect();
    assert_eq!(keys, [7, 3, 4, 6, 5, 8, 2]);
    assert_eq!(entries[1].value.integer_bytes(), 2);
    assert_eq!(entries[1].value.u64s(), [5, 6, 4, 12, 13, 7, 11, 0, 1, 2, 3, 8, 16, 19]);
    assert_eq!(zap.lookup("5").unwrap().unwrap().u64().unwrap(), 17);
    assert_eq!(zap.lookup("9").unwrap(), None);
    let error = zap.lookup_words(&[5]).unwrap_err();
    assert!(matches!(error.fault(), Fault::Corrupt { .. }), "{error}");
}

/// The parameters of a fat ZAP.
struct Fatten {
    block_shift: u32,
    /// The number of bits that select a leaf.
    prefix_len: u32,
    external: bool,
    salt: u64,
    norm_flags: NormFlags,
    flags: ZapFlags,
}

impl Fatten {
    const PLAIN: Self = Self {
        block_shift: 12,
        prefix_len: 2,
        external: false,
        salt: 0x1234_5679,
        norm_flags: NormFlags::empty(),
        flags: ZapFlags::empty(),
    };

    fn hash(&self, key: &Key) -> u64 {
        let long = self.flags.contains(ZapFlags::LONG_HASH);
        match key {
            Key::Name(name) => hash::of_name(self.salt, &self.norm_flags.normalize(name), long),
            Key::Words(words) => {
                hash::of_words(self.salt, words, self.flags.contains(ZapFlags::PREHASHED_KEY), long)
            }
        }
    }

    /// Returns a header, the pointer table if it is external, and `1 << prefix_len` leaves.
    fn blocks(&self, entries: &[(Key, u8, Vec<u8>)]) -> Vec<Vec<u8>> {
        let size = 1_usize << self.block_shift;
        let shift = if self.external { self.block_shift - 2 } else { self.block_shift - 4 };
        let first_leaf = if self.external { 3 } else { 1 };
        let mut header = vec![0; size];
        let table_blocks = u64::from(self.external) * 2;
        for (n, word) in [
            FatZapHeader::BLOCK_TYPE,
            0x2_f52a_b2ab,
            u64::from(self.external),
            table_blocks,
            u64::from(shift),
            0,
            0,
            first_leaf + (1 << self.prefix_len),
            1 << self.prefix_len,
            entries.len() as u64,
            self.salt,
            self.norm_flags.bits(),
            self.flags.bits(),
        ]
        .into_iter()
        .enumerate()
        {
            ORDER.put_u64(&mut header[8 * n..], word);
        }
        let mut table = vec![0; 8 << shift];
        for (index, entry) in table.chunks_exact_mut(8).enumerate() {
            ORDER.put_u64(entry, first_leaf + (index as u64 >> (shift - self.prefix_len)));
        }
        let mut blocks = vec![header];
        if self.external {
            blocks.extend(table.chunks(size).map(<[u8]>::to_vec));
        } else {
            blocks[0][size / 2..].copy_from_slice(&table);
        }
        for prefix in 0..1_u64 << self.prefix_len {
            blocks.push(self.leaf(prefix, entries));
        }
        blocks
    }

    fn leaf(&self, prefix: u64, entries: &[(Key, u8, Vec<u8>)]) -> Vec<u8> {
        let size = 1_usize << self.block_shift;
        let bucket_bits = self.block_shift - 5;
        let mut leaf = vec![0; size];
        ORDER.put_u64(&mut leaf, 1 << 63);
        ORDER.put_u64(&mut leaf[16..], prefix);
        ORDER.put_u32(&mut leaf[24..], 0x02ab_1eaf);
        ORDER.put_u16(&mut leaf[32..], self.prefix_len as u16);
        let chunks_at = 48 + (2 << bucket_bits);
        leaf[48..chunks_at].fill(0xff);
        let mut next_chunk = 0_u16;
        let mut cds: BTreeMap<u64, u32> = BTreeMap::new();
        let array = |leaf: &mut [u8], next_chunk: &mut u16, bytes: &[u8]| -> u16 {
            let first = if bytes.is_empty() { 0xffff } else { *next_chunk };
            let count = bytes.chunks(21).count();
            for (n, part) in bytes.chunks(21).enumerate() {
                let at = chunks_at + 24 * usize::from(*next_chunk);
                leaf[at] = 251;
                leaf[at + 1..at + 1 + part.len()].copy_from_slice(part);
                *next_chunk += 1;
                ORDER.put_u16(&mut leaf[at + 22..], if n + 1 == count { 0xffff } else { *next_chunk });
            }
            first
        };
        for (key, integer_bytes, value) in entries {
            let hash = self.hash(key);
            if self.prefix_len > 0 && hash >> (64 - self.prefix_len) != prefix {
                continue;
            }
            let (name, name_len) = match key {
                Key::Name(name) => ([&name[..], &[0]].concat(), name.len() + 1),
                Key::Words(words) => {
                    (words.iter().flat_map(|word| word.to_be_bytes()).collect(), words.len())
                }
            };
            let name_chunk = array(&mut leaf, &mut next_chunk, &name);
            let value_chunk = array(&mut leaf, &mut next_chunk, value);
            let bucket =
                48 + 2 * ((hash >> (64 - bucket_bits - self.prefix_len)) as usize & ((1 << bucket_bits) - 1));
            let at = chunks_at + 24 * usize::from(next_chunk);
            let cd = cds.entry(hash).and_modify(|cd| *cd += 1).or_insert(0);
            leaf[at] = 252;
            leaf[at + 1] = *integer_bytes;
            let head = ORDER.u16(&leaf[bucket..]);
            let count = value.len() / usize::from(*integer_bytes);
            for (n, field) in
                [head, name_chunk, name_len as u16, value_chunk, count as u16].into_iter().enumerate()
            {
                ORDER.put_u16(&mut leaf[at + 2 + 2 * n..], field);
            }
            ORDER.put_u32(&mut leaf[at + 12..], *cd);
            ORDER.put_u64(&mut leaf[at + 16..], hash);
            ORDER.put_u16(&mut leaf[bucket..], next_chunk);
            next_chunk += 1;
            assert!(chunks_at + 24 * usize::from(next_chunk) <= size, "the test fills a leaf");
        }
        leaf
    }
}

fn names(count: usize) -> Vec<(Key, u8, Vec<u8>)> {
    (0..count)
        .map(|n| (Key::Name(format!("entry-{n}").into_bytes()), 8, (n as u64 * 7).to_be_bytes().to_vec()))
        .collect()
}

fn check(fatten: &Fatten, entries: &[(Key, u8, Vec<u8>)]) {
    let set = set(fatten.blocks(entries));
    let zap = Zap::open(&set, OBJECT).unwrap();
    let found: Vec<_> = zap.entries().map(Result::unwrap).collect();
    assert_eq!(found.len(), entries.len());
    assert!(found.is_sorted_by_key(|entry| (entry.hash, entry.differentiator)));
    for (key, integer_bytes, bytes) in entries {
        let entry = found.iter().find(|entry| entry.key == *key).unwrap();
        let expected: Vec<u64> = bytes
            .chunks(usize::from(*integer_bytes))
            .map(|bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
            .collect();
        assert_eq!((entry.value.integer_bytes(), entry.value.u64s()), (*integer_bytes, expected));
        let looked_up = match key {
            Key::Name(name) => zap.lookup(name),
            Key::Words(words) => zap.lookup_words(words),
        };
        assert_eq!(looked_up.unwrap().as_ref(), Some(&entry.value));
    }
}

#[test]
fn pointer_tables_of_each_kind_lead_to_every_entry() {
    for block_shift in [9, 12, 14] {
        for external in [false, true] {
            for prefix_len in 0..=block_shift - 4 {
                let fatten = Fatten { block_shift, external, prefix_len, ..Fatten::PLAIN };
                check(&fatten, &names(if prefix_len == 0 { 3 } else { 12 }));
            }
        }
    }
}

#[test]
fn values_of_every_size_and_keys_of_every_kind_are_read() {
    let mut entries = Vec::new();
    for (n, size) in [1, 2, 4, 8].into_iter().enumerate() {
        for count in [0, 1, 2, 20, 21, 22, 43] {
            let bytes: Vec<u8> = (0..count * usize::from(size)).map(|byte| (byte * 7 + n) as u8).collect();
            entries.push((Key::Name(format!("{size}x{count}").into_bytes()), size, bytes));
        }
    }
    entries.push((Key::Name(vec![b'n'; 255]), 8, vec![1; 8]));
    check(&Fatten { block_shift: 14, ..Fatten::PLAIN }, &entries);

    let words: Vec<_> = (1..60_u64)
        .map(|n| (Key::Words(vec![n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n]), 8, n.to_be_bytes().to_vec()))
        .collect();
    for flags in [
        ZapFlags::WORD_KEYS,
        ZapFlags::WORD_KEYS | ZapFlags::LONG_HASH,
        ZapFlags::WORD_KEYS | ZapFlags::PREHASHED_KEY,
    ] {
        check(&Fatten { flags, ..Fatten::PLAIN }, &words);
    }
}

#[test]
fn normalized_names_are_found_by_their_form() {
    let norm_flags = NormFlags::UPPER | NormFlags::CANONICAL_DECOMPOSITION;
    let entries = [(Key::Name("Na\u{ef}ve".into()), 8, vec![0, 0, 0, 0, 0, 0, 0, 1])];
    let set = set(Fatten { norm_flags, ..Fatten::PLAIN }.blocks(&entries));
    let zap = Zap::open(&set, OBJECT).unwrap();
    let finds = |name: &str, how| zap.find(name, how).unwrap().is_some();
    assert!(finds("Na\u{ef}ve", Match::Exact));
    assert!(!finds("NAI\u{308}VE", Match::Exact));
    assert!(finds("NAI\u{308}VE", Match::Normalized));
    assert!(!finds("NAI\u{308}VE", Match::NormalizedWithCase));
    assert!(finds("Nai\u{308}ve", Match::NormalizedWithCase));
    assert!(!finds("naive", Match::Normalized));
}

#[test]
fn hostile_structures_are_errors_that_name_the_object() {
    type Damage = fn(&mut Vec<Vec<u8>>);
    let size = 1 << 12;
    let chunks_at = 48 + (2 << 7);
    let damages: [(&str, Damage); 9] = [
        ("magic", |blocks| blocks[0][8] ^= 1),
        ("embedded pointer table has 2^9", |blocks| blocks[0][32] = 9),
        ("pointer table has 2^8 entries in 1000 blocks", |blocks| ORDER.put_u64(&mut blocks[0][24..], 1000)),
        ("flags 0x8", |blocks| blocks[0][96] = 8),
        ("block 77 is a hole", |blocks| ORDER.put_u64(&mut blocks[0][2048..], 77)),
        ("refers to the leaf of prefix 0x1", |blocks| ORDER.put_u64(&mut blocks[0][2048..], 2)),
        ("referenced twice", |blocks| {
            // Every chain becomes a loop of its first chunk.
            let chunks_at = 48 + (2 << 7);
            for leaf in &mut blocks[1..] {
                for chunk in 0..40_u16 {
                    let at = chunks_at + 24 * usize::from(chunk);
                    if leaf[at] == 252 {
                        ORDER.put_u16(&mut leaf[at + 2..], chunk);
                    }
                }
            }
        }),
        ("chunk 60000 does not exist", |blocks| {
            blocks[1..]
                .iter_mut()
                .for_each(|leaf| leaf[48..48 + 256].copy_from_slice(&[0x60, 0xea].repeat(128)))
        }),
        ("does not end with its only NUL", |blocks| {
            let chunks_at = 48 + (2 << 7);
            for leaf in &mut blocks[1..] {
                leaf[chunks_at + 3] = 0;
            }
        }),
    ];
    assert!(chunks_at < size);
    for (text, damage) in damages {
        let mut blocks = Fatten::PLAIN.blocks(&names(40));
        damage(&mut blocks);
        let set = set(blocks);
        let error =
            Zap::open(&set, OBJECT).and_then(|zap| zap.entries().collect::<Result<Vec<_>>>()).unwrap_err();
        assert!(error.to_string().contains(text), "{error}, expected {text:?}");
        if !matches!(error.fault(), Fault::Unsupported(_)) {
            assert_eq!(error.place().bookmark.map(|at| at.object), Some(OBJECT));
        }
    }
    let set = set(vec![vec![7; 512]]);
    assert!(Zap::open(&set, OBJECT).err().unwrap().to_string().contains("block type is 0x707070707070707"));
}

/// Reads all of a damaged ZAP, which must terminate without a panic, and without more entries than its blocks can
/// contain.
fn survive(blocks: Vec<Vec<u8>>, names: &[&str]) {
    let total: usize = blocks.iter().map(Vec::len).sum();
    let set = set(blocks);
    let Ok(zap) = Zap::open(&set, OBJECT) else { return };
    let mut bytes = 0;
    for entry in zap.entries() {
        let Ok(entry) = entry else { break };
        bytes += 24 + entry.value.len() * usize::from(entry.value.integer_bytes());
    }
    assert!(bytes <= total, "{bytes} bytes of entries in {total} bytes of blocks");
    for name in names {
        let _ = zap.lookup(name);
        let _ = zap.find(name, Match::Normalized);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_fat_zaps_give_errors(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..600, any::<u8>()), 1..12),
        external: bool,
    ) {
        let mut blocks = Fatten { block_shift: 10, external, ..Fatten::PLAIN }.blocks(&names(14));
        for (block, offset, value) in flips {
            let block = block.index(blocks.len());
            blocks[block][offset] = value;
        }
        survive(blocks, &["entry-1", "entry-13"]);
    }

    #[test]
    fn damaged_micro_zaps_give_errors_or_entries(
        flips in proptest::collection::vec((0_usize..1024, any::<u8>()), 1..12), cut in 0_usize..1024,
    ) {
        let mut block = include_bytes!("testdata/root-directory.bin").to_vec();
        for (offset, value) in flips {
            block[offset] = value;
        }
        survive(vec![block.clone()], &["dir", "random"]);
        block.truncate(cut);
        survive(vec![block], &["dir"]);
    }

    #[test]
    fn any_entries_come_back(keys in proptest::collection::btree_set("[a-zA-Zé]{1,30}", 1..30), salt: u64) {
        let entries: Vec<_> = keys
            .into_iter()
            .enumerate()
            .map(|(n, name)| (Key::Name(name.into_bytes()), 8, (n as u64).to_be_bytes().to_vec()))
            .collect();
        check(&Fatten { salt, prefix_len: 3, ..Fatten::PLAIN }, &entries);
    }
}
