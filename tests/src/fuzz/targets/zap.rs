//! ZAPs. An input is the size of a block in sectors (u16, little-endian) and the content of the object.

use crate::golden;
use std::sync::Arc;
use zstream_dmu::block::{Block, ReadBlock};
use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::{BlockId, ObjectId};
use zstream_dmu::object_set::{ObjectInfo, ObjectSet};
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::traverse::{Options, Traverse};
use zstream_dmu::zap::{Entry, Key, Match, Zap};
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::{ObjectType, ObjsetType, SwapClass};

/// Larger ZAPs are left out of the corpus.
const MAX_ZAP_BYTES: u64 = 128 << 10;
/// Entries that are looked at: a pointer table can show the same leaf many times.
const MAX_ENTRIES: usize = 2000;

/// A set with one object.
pub(super) struct One {
    pub(super) object_type: ObjectType,
    pub(super) bonus: Option<Vec<u8>>,
    pub(super) block_bytes: usize,
    pub(super) content: Vec<u8>,
}

impl ObjectSet for One {
    fn objset_id(&self) -> u64 {
        0
    }

    fn objset_type(&self) -> ObjsetType {
        ObjsetType::OTHER
    }

    fn info(&self, object: ObjectId) -> Result<ObjectInfo> {
        Ok(ObjectInfo {
            object,
            object_type: self.object_type,
            bonus_type: ObjectType(0),
            bonus: self.bonus.clone().map(Into::into),
            block_bytes: self.block_bytes as u64,
            indirect_bytes: None,
            levels: None,
            max_block: BlockId((self.content.len().div_ceil(self.block_bytes) as u64).saturating_sub(1)),
            dn_slots: 1,
            has_spill: false,
            checksum_type: ChecksumType(0),
            compression: CompressionType(0),
            used_bytes: None,
        })
    }

    fn next_object(&self, from: ObjectId) -> Result<Option<ObjectId>> {
        Ok((from.0 <= 1).then_some(ObjectId(1)))
    }

    fn block(&self, _: ObjectId, block: BlockId) -> Result<Option<Block>> {
        let start = usize::try_from(block.0).ok().and_then(|n| n.checked_mul(self.block_bytes));
        let Some(content) = start.and_then(|start| self.content.get(start..)).filter(|c| !c.is_empty())
        else {
            return Ok(None);
        };
        let mut bytes = content[..content.len().min(self.block_bytes)].to_vec();
        bytes.resize(self.block_bytes, 0);
        Ok(Some(Arc::from(bytes)))
    }

    fn next_data(&self, _: ObjectId, offset: u64) -> Result<Option<u64>> {
        Ok((offset < self.content.len() as u64).then_some(offset))
    }

    fn next_hole(&self, _: ObjectId, offset: u64) -> Result<u64> {
        Ok(offset.max(self.content.len() as u64))
    }

    fn spill(&self, _: ObjectId) -> Result<Option<Block>> {
        Ok(None)
    }
}

/// The ZAPs of the golden pool's MOS and datasets, one per shape.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    let pool = Pool::open(&golden::pool("tank"), &OpenOptions::default()).expect("the golden pool");
    let reader: Arc<dyn ReadBlock> = pool.reader().clone();
    let mos = Arc::clone(pool.mos());
    let mut found = Vec::new();
    take(&*mos, &mut found);
    let roots: Vec<_> = Traverse::new(reader, 0, pool.uberblock().root, Options::default())
        .filter_map(|visit| visit.expect("a whole MOS").dnode)
        .filter(|dnode| dnode.bonus_type == ObjectType::DSL_DATASET)
        .filter_map(|dnode| {
            zstream_dmu::blkptr::BlockPointer::parse_at(
                dnode.bonus(),
                128,
                zstream_format::order::ByteOrder::Little,
            )
        })
        .filter(|root| !root.is_hole() && !root.uses_crypt())
        .take(12)
        .collect();
    for root in roots {
        take(&pool.open_objset(1, root).expect("a dataset"), &mut found);
    }
    found.sort();
    found.dedup_by_key(|input| (input.len(), input[..66].to_vec()));
    found
}

fn take(set: &dyn ObjectSet, found: &mut Vec<Vec<u8>>) {
    let mut next = ObjectId(1);
    while let Some(object) = set.next_object(next).expect("an object") {
        next = ObjectId(object.0 + 1);
        let info = set.info(object).expect("an object");
        if info.object_type.swap_class() != Some(SwapClass::Zap) || info.end() > MAX_ZAP_BYTES {
            continue;
        }
        let mut content = vec![0; info.end() as usize];
        set.read(object, 0, &mut content).expect("a ZAP");
        let sectors = (info.block_bytes / 512) as u16;
        found.push([&sectors.to_le_bytes()[..], &content].concat());
    }
}

/// What is found by name is one of the entries; in a micro ZAP every entry is found.
pub(super) fn run(input: &[u8]) {
    let Some((sectors, content)) = input.split_first_chunk::<2>() else { return };
    let block_bytes = usize::from(u16::from_le_bytes(*sectors)).clamp(1, 2048) * 512;
    let object_type = ObjectType::DIRECTORY_CONTENTS;
    let set = One { object_type, bonus: None, block_bytes, content: content.to_vec() };
    let Ok(zap) = Zap::open(&set, ObjectId(1)) else { return };
    let info = zap.info();
    let entries: Result<Vec<Entry>, Error> = zap.entries().take(MAX_ENTRIES).collect();
    let Ok(entries) = entries else { return };
    for entry in entries.iter().take(50) {
        let found = match &entry.key {
            Key::Name(name) => {
                let _ = zap.find(name, Match::Normalized);
                zap.find(name, Match::Exact)
            }
            Key::Words(words) => {
                let value = zap.lookup_words(words);
                assert!(value.is_err() || !info.is_micro);
                continue;
            }
        };
        match found {
            Ok(Some(found)) if entries.len() < MAX_ENTRIES => {
                assert!(entries.contains(&found), "{found:?} is found, but is not an entry");
            }
            Ok(None) => assert!(!info.is_micro, "{entry:?} is not found"),
            _ => {}
        }
    }
}
