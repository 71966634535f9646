//! A set that is copied as a raw stream carries it can be read with the key, all MACs included, and be copied on.

use zstream_format::algorithm::{CompressionType, CryptSuite};

use super::*;
use crate::blkptr::CryptKind;
use crate::block::{StoredBlock, StoredCrypt};
use crate::dnode::NewObject;
use crate::ids::Guid;
use crate::object_store::ObjectStore;
use crate::receive_store::ReceiveStore;
use crate::zio::crypt::{KeyData, KeyFormat, WrappingKey};
use crate::zio::write::Protection;

fn kept() -> SetProperties {
    SetProperties { protection: Protection::Kept, ..SetProperties::default() }
}

fn crypt_of(pointer: &BlockPointer) -> StoredCrypt {
    StoredCrypt {
        kind: pointer.crypt_kind(),
        salt: pointer.salt().unwrap_or_default(),
        iv: pointer.iv().unwrap_or_default(),
        mac: pointer.mac().unwrap(),
        big_endian: false,
    }
}

fn stored(from: &Objset, pointer: &BlockPointer, object: ObjectId, block: u64) -> StoredBlock {
    let at = crate::ids::Bookmark { objset: 1, object, level: 0, block: BlockId(block) };
    StoredBlock {
        bytes: from.reader().read_stored(pointer, at).unwrap().to_vec(),
        logical_bytes: pointer.lsize() as u32,
        compression: pointer.compression(),
        crypt: Some(crypt_of(pointer)),
        embedded: false,
    }
}

/// Copies everything, as a full raw stream would.
fn copy(from: &Objset, to: &mut ObjsetWriter) {
    let phys = from.phys();
    let meta = &phys.meta_dnode;
    let key = DatasetKey::generate(CryptSuite::AES_256_GCM, Guid(1)).unwrap();
    to.set_raw_head(&KeyData {
        format: KeyFormat::Raw,
        wrapped: key.wrap(&WrappingKey::new(KeyFormat::Raw, &[1; 32]).unwrap()).unwrap(),
        portable_mac: phys.portable_mac,
        meta_checksum: meta.checksum_type,
        meta_compression: meta.compression,
        meta_levels: meta.levels,
        meta_block_bytes: meta.block_bytes(),
        meta_indirect_shift: meta.indirect_shift,
        meta_pointers: meta.pointers().len() as u8,
        meta_max_block: meta.max_block.0,
    })
    .unwrap();
    for block in 0..=meta.max_block.0 {
        let pointer = from.tree(ObjectId(0), meta).pointer(0, BlockId(block)).unwrap();
        if !pointer.is_hole() {
            to.set_dnodes_crypt(ObjectId(block * 32), crypt_of(&pointer)).unwrap();
        }
    }
    let mut next = ObjectId(1);
    while let Some(object) = from.next_object(next).unwrap() {
        next = ObjectId(object.0 + 1);
        let dnode = from.dnode(object).unwrap();
        let new = NewObject {
            object_type: dnode.object_type,
            block_bytes: dnode.block_bytes() as u32,
            indirect_shift: dnode.indirect_shift,
            bonus_type: dnode.bonus_type,
            bonus_len: dnode.bonus_len,
            dn_slots: dnode.extra_slots + 1,
            checksum_type: dnode.checksum_type,
            compression: dnode.compression,
        };
        to.claim(object, &new).unwrap();
        assert_eq!(to.pointer_count(object).unwrap(), dnode.pointers().len() as u8);
        to.set_shape(object, dnode.levels, dnode.max_block).unwrap();
        for block in 0..=dnode.max_block.0 {
            let pointer = from.tree(object, &dnode).pointer(0, BlockId(block)).unwrap();
            if !pointer.is_hole() {
                to.write_stored(object, BlockId(block), stored(from, &pointer, object, block)).unwrap();
            }
        }
        if let Some(spill) = dnode.spill() {
            to.set_spill(object, Some(stored(from, spill, object, crate::ids::Bookmark::SPILL.0))).unwrap();
        }
        to.set_bonus_stored(object, dnode.bonus_type, dnode.bonus_len, dnode.bonus_area()).unwrap();
    }
}

fn filled(key: &Arc<DatasetKey>) -> Bench {
    let properties = SetProperties { protection: Protection::Keyed, ..SetProperties::default() };
    let mut bench = Bench::new(9, properties);
    bench.load_key(key);
    let set = &mut bench.set;
    let file = NewObject { indirect_shift: 12, ..NewObject::new(ObjectType::PLAIN_FILE_CONTENTS, 4096) };
    for (object, blocks) in [(1, 1), (2, 40), (7, 0), (40, 1), (200, 3)] {
        let object = ObjectId(object);
        set.claim(object, &file.with_bonus(ObjectType::SA, 168)).unwrap();
        set.set_bonus(object, ObjectType::SA, &[object.0 as u8; 168]).unwrap();
        for block in 0..blocks {
            let content: Vec<u8> = (0..4096_u32).map(|n| (n * n / 7 + block) as u8).collect();
            set.write(object, u64::from(block) * 3 * 4096, &content).unwrap();
        }
    }
    let spill = StoredBlock {
        bytes: vec![9; 1024],
        logical_bytes: 1024,
        compression: CompressionType::OFF,
        crypt: None,
        embedded: false,
    };
    set.set_spill(ObjectId(7), Some(spill)).unwrap();
    set.claim(ObjectId(41), &NewObject::new(ObjectType::BPOBJ, 512)).unwrap();
    set.write(ObjectId(41), 0, b"authenticated only").unwrap();
    bench
}

#[test]
fn a_raw_copy_is_read_with_the_key() {
    for suite in [CryptSuite::AES_256_GCM, CryptSuite::AES_192_CCM] {
        let key = Arc::new(DatasetKey::generate(suite, Guid(5)).unwrap());
        let mut source = filled(&key);
        let root = *source.sync().root();
        let locked = Objset::open_locked(Arc::clone(&source.pool.reader) as _, 1, root).unwrap();
        let model = model_of(&source.set);

        let mut target = Bench::new(12, kept());
        copy(&locked, &mut target.set);
        let root = target.set.sync(&mut target.ledger).unwrap();
        let (places, _) = target.pool.blocks_of(root, true);
        assert_eq!(places, target.ledger.places());
        target.load_key(&key);
        let set = target.pool.open(root);
        check_set(&set);
        assert_eq!(model_of(&set), model);
        assert_eq!(set.phys().portable_mac, locked.phys().portable_mac);
        assert_eq!(set.dnode(ObjectId(41)).unwrap().pointers()[0].crypt_kind(), CryptKind::Authenticated);

        // What is not in the stream cannot be changed.
        target.next_txg();
        target.set.write(ObjectId(2), 0, &[1; 4096]).unwrap();
        let error = target.set.sync(&mut target.ledger).unwrap_err();
        assert!(error.to_string().contains("does not come encrypted"), "{error}");
    }
}

#[test]
fn content_of_another_key_is_refused() {
    let key = Arc::new(DatasetKey::generate(CryptSuite::AES_256_GCM, Guid(5)).unwrap());
    let mut source = filled(&key);
    let root = *source.sync().root();
    source.load_key(&Arc::new(DatasetKey::generate(CryptSuite::AES_256_GCM, Guid(5)).unwrap()));
    assert!(Objset::open(Arc::clone(&source.pool.reader) as _, 1, root).is_err());
}
