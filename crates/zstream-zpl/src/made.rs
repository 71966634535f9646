//! A filesystem of ZPL version 4 in memory, for tests.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use zstream_dmu::block::Block;
use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::{BlockId, ObjectId};
use zstream_dmu::object_set::{ObjectInfo, ObjectSet};
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::{ObjectType, ObjsetType};

/// An object with all its data in one block.
#[derive(Clone, Default)]
pub(crate) struct Object {
    pub(crate) object_type: ObjectType,
    pub(crate) bonus_type: ObjectType,
    pub(crate) bonus: Vec<u8>,
    pub(crate) data: Vec<u8>,
    /// Reads of the data fail with an I/O error.
    pub(crate) fails: bool,
}

/// Objects by number.
#[derive(Clone, Default)]
pub(crate) struct Memory(pub(crate) BTreeMap<u64, Object>);

impl Memory {
    /// Creates an empty filesystem whose root is object 2.
    pub(crate) fn new(properties: &[(&str, u64)], norm_flags: u64) -> Self {
        let mut set = Self::default();
        let master = [&[("VERSION", 4), ("ROOT", 2)], properties].concat();
        let data = micro_zap(&master, 0);
        set.0.insert(1, Object { object_type: ObjectType(21), data, ..Object::default() });
        set.directory(2, &[], norm_flags);
        set
    }

    /// Adds a directory; the values of the entries are as stored.
    pub(crate) fn directory(&mut self, number: u64, entries: &[(&str, u64)], norm_flags: u64) {
        let data = micro_zap(entries, norm_flags);
        self.node(number, ObjectType::DIRECTORY_CONTENTS, 0o040_755, data);
    }

    /// Adds a node with the size of its data.
    pub(crate) fn node(&mut self, number: u64, object_type: ObjectType, mode: u64, data: Vec<u8>) {
        let bonus = znode(mode, data.len() as u64);
        self.0
            .insert(number, Object { object_type, bonus_type: ObjectType::ZNODE, bonus, data, fails: false });
    }
}

/// Returns a znode with a mode, a size, and fixed values in other fields.
pub(crate) fn znode(mode: u64, size: u64) -> Vec<u8> {
    let mut bonus = vec![0; 264];
    for (at, word) in
        [(16, 5), (24, 7), (72, mode), (80, size), (96, 1), (112, 0x1_0000_0003), (128, 1 << 32 | 9)]
    {
        bonus[at..at + 8].copy_from_slice(&u64::to_le_bytes(word));
    }
    bonus
}

fn micro_zap(entries: &[(&str, u64)], norm_flags: u64) -> Vec<u8> {
    let mut block = vec![0; 64 * (entries.len() + 1)];
    for (at, word) in [(0, 0x8000_0000_0000_0003), (8, 1), (16, norm_flags)] {
        block[at..at + 8].copy_from_slice(&u64::to_le_bytes(word));
    }
    for (n, (name, value)) in entries.iter().enumerate() {
        let at = 64 * (n + 1);
        block[at..at + 8].copy_from_slice(&value.to_le_bytes());
        block[at + 14..at + 14 + name.len()].copy_from_slice(name.as_bytes());
    }
    block
}

impl ObjectSet for Memory {
    fn objset_id(&self) -> u64 {
        7
    }

    fn objset_type(&self) -> ObjsetType {
        ObjsetType::ZFS
    }

    fn info(&self, object: ObjectId) -> Result<ObjectInfo> {
        let found =
            self.0.get(&object.0).ok_or_else(|| Error::from(zstream_dmu::error::Fault::NoObject(object)))?;
        Ok(ObjectInfo {
            object,
            object_type: found.object_type,
            bonus_type: found.bonus_type,
            bonus: Some(found.bonus.clone().into()),
            block_bytes: found.data.len().max(512) as u64,
            indirect_bytes: None,
            levels: None,
            max_block: BlockId(0),
            dn_slots: 1,
            has_spill: false,
            checksum_type: ChecksumType::default(),
            compression: CompressionType::default(),
            used_bytes: None,
        })
    }

    fn next_object(&self, from: ObjectId) -> Result<Option<ObjectId>> {
        Ok(self.0.range(from.0..).next().map(|(number, _)| ObjectId(*number)))
    }

    fn block(&self, object: ObjectId, block: BlockId) -> Result<Option<Block>> {
        if self.0.get(&object.0).is_some_and(|object| object.fails) {
            return Err(io::Error::other("injected failure").into());
        }
        let mut data = self.0.get(&object.0).map(|object| object.data.clone()).unwrap_or_default();
        let length = data.len().max(512);
        data.resize(length, 0);
        Ok((block.0 == 0).then(|| Arc::from(data)))
    }

    fn next_data(&self, _: ObjectId, offset: u64) -> Result<Option<u64>> {
        Ok((offset == 0).then_some(0))
    }

    fn next_hole(&self, object: ObjectId, _: u64) -> Result<u64> {
        Ok(self.info(object)?.block_bytes)
    }

    fn spill(&self, _: ObjectId) -> Result<Option<Block>> {
        Ok(None)
    }
}
