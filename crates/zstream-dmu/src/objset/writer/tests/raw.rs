//! A copy of a set through a raw stream can be read with the key, including all MACs, and copied again.

use zstream_format::algorithm::{CompressionType, CryptSuite};
use zstream_format::byteswap::swap;
use zstream_format::object_type::SwapClass;
use zstream_format::order::ByteOrder;

use super::*;
use crate::blkptr::CryptKind;
use crate::block::{StoredBlock, StoredCrypt};
use crate::dnode::{DNODE_SLOT_BYTES, NewObject};
use crate::ids::Guid;
use crate::object_store::ObjectStore;
use crate::receive_store::ReceiveStore;
use crate::zio::crypt::{CryptParams, KeyData, KeyFormat, WrappingKey};
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

/// The content of a raw stream for a block of dnodes: the encryption parameters, and the content in native byte order.
type Dnodes = (StoredCrypt, Vec<u8>);

/// Returns the blocks of dnodes of a set in stored form.
fn dnodes_as_stored(from: &Objset) -> BTreeMap<u64, Dnodes> {
    let mut all = BTreeMap::new();
    let meta = &from.phys().meta_dnode;
    for block in 0..=meta.max_block.0 {
        let pointer = from.tree(ObjectId(0), meta).pointer(0, BlockId(block)).unwrap();
        if !pointer.is_hole() {
            let at = crate::ids::Bookmark { objset: 1, object: ObjectId(0), level: 0, block: BlockId(block) };
            let bytes = from.reader().read_stored(&pointer, at).unwrap().to_vec();
            all.insert(block, (crypt_of(&pointer), bytes));
        }
    }
    all
}

/// Returns the same, re-encrypted as on a big-endian machine.
fn dnodes_of_a_big_endian_sender(from: &Objset, key: &DatasetKey) -> BTreeMap<u64, Dnodes> {
    let mut all = BTreeMap::new();
    for (block, (crypt, mut bytes)) in dnodes_as_stored(from) {
        let params = CryptParams { salt: crypt.salt, iv: crypt.iv, mac: crypt.mac };
        key.decrypt_dnodes(&mut bytes, &params, ByteOrder::Little).unwrap();
        swap(SwapClass::Dnode, &mut bytes, ByteOrder::Little).unwrap();
        let CryptParams { salt, iv, mac } = key.encrypt_dnodes(&mut bytes, ByteOrder::Big).unwrap();
        swap(SwapClass::Dnode, &mut bytes, ByteOrder::Big).unwrap();
        all.insert(block, (StoredCrypt { salt, iv, mac, big_endian: true, ..crypt }, bytes));
    }
    all
}

/// Copies the whole set, as a full raw stream does.
fn copy(from: &Objset, to: &mut ObjsetWriter, dnodes: &BTreeMap<u64, Dnodes>, portable_mac: [u8; 32]) {
    let meta = &from.phys().meta_dnode;
    set_head(from, to, portable_mac);
    for (block, (crypt, _)) in dnodes {
        to.set_dnodes_crypt(ObjectId(block * 32), *crypt).unwrap();
    }
    assert!(dnodes.keys().all(|block| *block <= meta.max_block.0));
    let mut next = ObjectId(1);
    while let Some(object) = from.next_object(next).unwrap() {
        next = ObjectId(object.0 + 1);
        let (block, slot) = (object.0 / 32, object.0 as usize % 32);
        let dnode = Dnode::parse(&dnodes[&block].1[slot * DNODE_SLOT_BYTES..]).unwrap().unwrap();
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

/// Applies the parameters of the whole set in a raw stream.
fn set_head(from: &Objset, to: &mut ObjsetWriter, portable_mac: [u8; 32]) {
    let meta = &from.phys().meta_dnode;
    let key = DatasetKey::generate(CryptSuite::AES_256_GCM, Guid(1)).unwrap();
    to.set_raw_head(&KeyData {
        format: KeyFormat::Raw,
        wrapped: key.wrap(&WrappingKey::new(KeyFormat::Raw, &[1; 32]).unwrap()).unwrap(),
        portable_mac,
        meta_checksum: meta.checksum_type,
        meta_compression: meta.compression,
        meta_levels: meta.levels,
        meta_block_bytes: meta.block_bytes(),
        meta_indirect_shift: meta.indirect_shift,
        meta_pointers: meta.pointers().len() as u8,
        meta_max_block: meta.max_block.0,
    })
    .unwrap();
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
        let dnodes = dnodes_as_stored(&locked);
        // Some blocks are still in memory, others were written before the sync.
        target.set.set_dirty_limit(64 << 10);
        copy(&locked, &mut target.set, &dnodes, locked.phys().portable_mac);
        let same = |set: &ObjsetWriter| {
            for (object, block) in [(2, 0), (2, 1), (2, 3), (2, 117), (7, 0), (40, 0), (200, 6), (41, 0)] {
                let (object, block) = (ObjectId(object), BlockId(block));
                let theirs = locked.stored_block(object, block).unwrap();
                assert_eq!(set.stored_block(object, block).unwrap(), theirs, "{object} {block}");
                assert_eq!(theirs.is_some(), block.0 % 3 == 0 && object.0 != 7, "{object} {block}");
            }
        };
        same(&target.set);
        let root = target.set.sync(&mut target.ledger).unwrap();
        same(&target.set);
        let (places, _) = target.pool.blocks_of(root, true);
        assert_eq!(places, target.ledger.places());
        target.load_key(&key);
        let set = target.pool.open(root);
        check_set(&set);
        assert_eq!(model_of(&set), model);
        assert_eq!(set.phys().portable_mac, locked.phys().portable_mac);
        assert_eq!(set.dnode(ObjectId(41)).unwrap().pointers()[0].crypt_kind(), CryptKind::Authenticated);

        // Content that is not in the stream cannot be changed.
        target.next_txg();
        target.set.write(ObjectId(2), 0, &[1; 4096]).unwrap();
        let error = target.set.sync(&mut target.ledger).unwrap_err();
        assert!(error.to_string().contains("an unencrypted block"), "{error}");
    }
}

/// Blocks of dnodes are encrypted and authenticated in the byte order of the machine that wrote them, and keep it.
#[test]
fn a_raw_copy_of_a_big_endian_set_is_read_with_the_key() {
    let key = Arc::new(DatasetKey::generate(CryptSuite::AES_256_GCM, Guid(5)).unwrap());
    let mut source = filled(&key);
    let root = *source.sync().root();
    let locked = Objset::open_locked(Arc::clone(&source.pool.reader) as _, 1, root).unwrap();
    let model = model_of(&source.set);
    let dnodes = dnodes_of_a_big_endian_sender(&locked, &key);
    let mut target = Bench::new(12, kept());
    copy(&locked, &mut target.set, &dnodes, [0; 32]);
    let root = target.set.sync(&mut target.ledger).unwrap();
    // The sender has the key, and computes the MAC.
    let made = Objset::open_locked(Arc::clone(&target.pool.reader) as _, 1, root).unwrap();
    let [portable_mac, _] = key.objset_macs(&made.phys().encode()).unwrap();
    set_head(&locked, &mut target.set, portable_mac);
    // Another block of the set changes in a later transaction group: the dnodes keep their byte order.
    target.next_txg();
    let spill = locked.dnode(ObjectId(7)).unwrap().spill().copied().unwrap();
    let spill = stored(&locked, &spill, ObjectId(7), crate::ids::Bookmark::SPILL.0);
    target.set.set_spill(ObjectId(7), Some(spill)).unwrap();
    let root = target.set.sync(&mut target.ledger).unwrap();
    target.load_key(&key);
    let set = target.pool.open(root);
    check_set(&set);
    assert_eq!(model_of(&set), model);
    for block in dnodes.keys() {
        let pointer = set.tree(ObjectId(0), &set.phys().meta_dnode).pointer(0, BlockId(*block)).unwrap();
        assert_eq!(pointer.byte_order(), ByteOrder::Big);
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
