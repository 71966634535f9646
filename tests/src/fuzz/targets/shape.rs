//! Configurations of dRAID vdevs, and the logs of what members missed.

use std::collections::HashMap;
use std::sync::Arc;

use zstream_dmu::blkptr::{BlockPointer, Dva, NormalBlock};
use zstream_dmu::device::Device;
use zstream_dmu::ids::{Bookmark, Guid, ObjectId, Txg};
use zstream_dmu::testing::missed_txgs;
use zstream_dmu::vdev::{Member, VdevConfig, VdevTree};
use zstream_dmu::zio::BlockReader;
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::nvlist::NvList;
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::super::Rng;
use super::zap::One;
use crate::devices::Patched;

const LE: ByteOrder = ByteOrder::Little;
/// The fields of a vdev that an input has, a word each.
const FIELDS: [&str; 9] = [
    "nparity",
    "draid_ndata",
    "draid_nspares",
    "draid_ngroups",
    "ashift",
    "asize",
    "metaslab_shift",
    "create_txg",
    "draid_nchildren",
];
/// The word with the size of the vdev.
const ASIZE: usize = 5;
/// The word with the number of members; after it comes a spare, its number, and blocks: offset and size.
const MEMBERS: usize = FIELDS.len();
const MEMBERS_MAX: u64 = 300;
const SPARE: usize = MEMBERS + 1;
const BLOCKS: usize = SPARE + 1;
const BLOCKS_MAX: usize = 20;
/// The bytes of a member.
const MEMBER_BYTES: u64 = 64 << 20;
/// No field of an input, which is left out of the configuration.
const NONE: u64 = u64::MAX;

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Vdevs of all parities, one with a spare in use, each with blocks.
pub(super) fn draid_corpus() -> Vec<Vec<u8>> {
    let vdev = |[parity, data, spares, groups, members]: [u64; 5], spare: u64| {
        let asize = (members - spares) * (48 << 20);
        let fields = [parity, data, spares, groups, 12, asize, 24, 4, NONE, members, spare];
        let blocks =
            [(0, 4096), (1 << 20, 128 << 10), (3 << 20, 12_288), (asize / 2, 1 << 20), (asize - 8192, 512)];
        words(&[&fields[..], blocks.map(|(offset, size)| [offset, size]).as_flattened()].concat())
    };
    vec![
        vdev([1, 2, 1, 2, 7], NONE),
        vdev([2, 4, 1, 4, 9], 0),
        vdev([3, 3, 2, 4, 10], 1),
        vdev([1, 3, 1, 5, 6], NONE),
        vdev([1, 8, 0, 1, 9], NONE),
    ]
}

/// Changes words to what fits in them, or does not.
pub(super) fn words_mutate(input: &mut Vec<u8>, rng: &mut Rng, corpus: &[Vec<u8>]) {
    if rng.one_in(5) {
        *input = rng.pick::<Vec<u8>>(corpus).clone();
    }
    for _ in 0..=rng.below(4) {
        let count = input.len() / 8;
        if count == 0 || rng.one_in(12) {
            input.extend_from_slice(&rng.u64().to_le_bytes());
            continue;
        }
        let at = 8 * rng.below(count);
        let old = LE.u64(&input[at..]);
        let new = match rng.below(6) {
            0 => rng.below(20) as u64,
            1 => old.wrapping_add(rng.below(9) as u64).wrapping_sub(4),
            2 => 1 << rng.below(64),
            3 => old ^ 1 << rng.below(64),
            4 => u64::MAX >> rng.below(64),
            _ => rng.u64() >> rng.below(64),
        };
        LE.put_u64(&mut input[at..], new);
    }
    if rng.one_in(20) {
        input.truncate(8 * rng.below(input.len() / 8 + 1));
    }
}

/// The configuration of an input.
fn config(words: &[u64]) -> NvList {
    let leaf = |n: u64, guid: u64| {
        let mut list = NvList::new();
        list.add_string("type", "file").add_u64("id", n).add_u64("guid", guid).add_string("path", "/x");
        list
    };
    let word = |n: usize| words.get(n).copied().unwrap_or(NONE);
    let mut list = NvList::new();
    list.add_string("type", "draid").add_u64("id", 0).add_u64("guid", 1000);
    for (name, value) in FIELDS.iter().zip(words).filter(|(_, value)| **value != NONE) {
        list.add_u64(*name, *value);
    }
    let mut members: Vec<NvList> = (0..word(MEMBERS) % MEMBERS_MAX).map(|n| leaf(n, n + 1)).collect();
    if let (spare, Some(first)) = (word(SPARE), members.first_mut())
        && spare != NONE
    {
        let mut of_draid = NvList::new();
        of_draid.add_string("type", "dspare").add_u64("id", 1).add_u64("guid", 2000);
        of_draid.add_string("path", "draid-0").add_u64("spareid", spare);
        let mut in_use = NvList::new();
        in_use.add_string("type", "spare").add_u64("id", 0).add_u64("guid", 3000);
        in_use.add_list_array("children", vec![leaf(0, 1), of_draid]);
        *first = in_use;
    }
    list.add_list_array("children", members);
    list
}

/// A configuration is refused, or blocks of zeros lie on its members, which are zeros, with their parity.
pub(super) fn draid(input: &[u8]) {
    let words: Vec<u64> = input.chunks_exact(8).map(|word| LE.u64(word)).collect();
    let Ok(config) = VdevConfig::parse(&config(&words)) else { return };
    let device: Arc<dyn Device> = Arc::new(Patched::zeros(MEMBER_BYTES, Vec::new()));
    let member = |n: u64| (Guid(n), Member { name: format!("m{n}"), device: Arc::clone(&device) });
    let members: HashMap<Guid, Member> = (1..=MEMBERS_MAX).map(member).collect();
    let Ok(tree) = VdevTree::build(Guid(1), &[config], &members, 0) else { return };
    let tree = Arc::new(tree);
    let reader = BlockReader::new(Arc::clone(&tree), 0, None);
    for block in words.get(BLOCKS..).unwrap_or_default().chunks_exact(2).take(BLOCKS_MAX) {
        // A block begins at a multiple of the smallest one.
        let smallest = tree.tops()[0].asize(512, Txg(1));
        let offset = block[0] / smallest * smallest;
        let psize = (block[1] % (1 << 20) / 512 + 1) * 512;
        let asize = tree.tops()[0].asize(psize, Txg(1));
        assert!(asize >= psize, "{psize} bytes take {asize}");
        let pointer = BlockPointer::normal(&NormalBlock {
            dvas: [Dva::new(0, offset, asize, false), Dva::default(), Dva::default()],
            lsize: psize,
            psize,
            compression: CompressionType::OFF,
            checksum_type: ChecksumType::FLETCHER_4,
            object_type: ObjectType::PLAIN_FILE_CONTENTS,
            level: 0,
            dedup: false,
            uses_crypt: false,
            byte_order: LE,
            logical_birth: Txg(1),
            physical_birth: Txg(0),
            fill: 1,
            checksum: [0; 4],
        });
        let Ok(check) = reader.check_block(&pointer, Bookmark::root(1)) else { continue };
        // What lies on the members is zeros, wherever it is. The end of a member may be missing.
        let is_good = check.bad.is_empty() && check.readable == 1;
        assert_eq!(check.copies, 1);
        // Spares and parity leave this much, unless the vdev says that it is smaller.
        let end = offset.saturating_add(asize);
        let is_near = end < MEMBER_BYTES / 4 && words[ASIZE] >= MEMBER_BYTES;
        assert!(is_good || !is_near, "{pointer}: {check:?}");
    }
}

/// A log of what a member missed, in both forms of entries, and an empty one.
pub(super) fn dtl_corpus() -> Vec<Vec<u8>> {
    // A run of `run` groups from `start` on, with one word or two.
    let short = |start: u64, run: u64| start << 16 | (run - 1);
    let long = |start: u64, run: u64| [3 << 62 | (run - 1) << 24, start];
    let of =
        |entries: &[u64], missed: u64| words(&[&[entries.len() as u64 * 8, missed][..], entries].concat());
    vec![
        of(&[], 0),
        of(&[short(4, 3), short(1000, 1)], 4),
        of(&[&long(4, 3)[..], &long(1 << 40, 70_000)].concat(), 70_003),
        of(&[1 << 63 | 5, short(9, 20)], 20),
    ]
}

/// A log is the same in blocks of any size: its ranges are in order and apart.
pub(super) fn dtl(input: &[u8]) {
    let Some((header, entries)) = input.split_at_checked(16) else { return };
    let read = |block_bytes: usize| {
        let bonus = [&7_u64.to_le_bytes()[..], &header[..8], &header[8..16]].concat();
        // The object ends at the same place in any case.
        let mut content = entries.to_vec();
        content.resize((content.len() + 1).next_multiple_of(16 << 10), 0);
        let set = One { object_type: ObjectType::SPACE_MAP, bonus: Some(bonus), block_bytes, content };
        missed_txgs::read(&set, ObjectId(7)).map_err(|error| error.fault().to_string())
    };
    let missed = read(4096);
    for block_bytes in [512, 16 << 10] {
        assert_eq!(read(block_bytes), missed, "in blocks of {block_bytes} bytes");
    }
    let Ok(missed) = missed else { return };
    let mut last = None;
    for (start, end) in missed.iter() {
        assert!(start < end && last.is_none_or(|last| last < start), "{missed:?}");
        last = Some(end);
    }
}
