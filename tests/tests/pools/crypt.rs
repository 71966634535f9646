//! Decryption against OpenZFS: a raw stream, with the passphrase, holds what the plain stream of the same
//! snapshot holds.

use std::collections::BTreeMap;

use zstream_dmu::error::Fault;
use zstream_dmu::zio::crypt::{CryptParams, DatasetKey, KeyData, WrappingKey};
use zstream_format::compress::decompress;
use zstream_format::ids::ObjectId;
use zstream_format::nvlist::NvList;
use zstream_format::record::{Body, Write};
use zstream_format::stream::StreamReader;
use zstream_tests::golden;
use zstream_tests::pools::PASSPHRASE;

/// The wrapped keys of a raw stream, and the blocks of its WRITE records.
fn raw_stream(name: &str) -> (NvList, Vec<(Write, Vec<u8>)>) {
    let bytes = golden::stream(name);
    let mut reader = StreamReader::new(&bytes[..]);
    let (mut key, mut blocks) = (None, Vec::new());
    while let Some(record) = reader.next().unwrap() {
        match record.header.body() {
            Some(Body::Begin(_)) => {
                let list = NvList::decode(record.payload).unwrap().list;
                key = Some(list.get_list("crypt_keydata").unwrap().clone());
            }
            Some(Body::Write(write)) => blocks.push((write, record.payload.to_vec())),
            _ => {}
        }
    }
    (key.unwrap(), blocks)
}

fn plain_blocks(name: &str) -> BTreeMap<(ObjectId, u64), Vec<u8>> {
    let bytes = golden::stream(name);
    let mut reader = StreamReader::new(&bytes[..]);
    let mut blocks = BTreeMap::new();
    while let Some(record) = reader.next().unwrap() {
        if let Some(Body::Write(write)) = record.header.body() {
            blocks.insert((write.object, write.offset), record.payload.to_vec());
        }
    }
    blocks
}

fn unlock(list: &NvList, passphrase: &[u8]) -> Result<DatasetKey, zstream_dmu::error::Error> {
    let keys = KeyData::parse(list).unwrap();
    keys.wrapped.unwrap(&WrappingKey::new(keys.format, passphrase).unwrap())
}

#[test]
fn raw_blocks_decrypt_to_the_plain_ones() {
    for suite in ["e-aes-256-gcm", "e-aes-128-ccm"] {
        let (list, blocks) = raw_stream(&format!("{suite}-raw"));
        let plain = plain_blocks(&format!("{suite}-plain"));
        let key = unlock(&list, PASSPHRASE).unwrap();
        assert_eq!(format!("e-{}", key.suite()), suite);
        let (mut encrypted, mut authenticated) = (0, 0);
        for (write, mut stored) in blocks {
            let params = CryptParams { salt: write.salt, iv: write.iv, mac: write.mac };
            if write.object_type.is_encrypted() {
                key.decrypt(&mut stored, &params).unwrap();
                encrypted += 1;
            } else {
                key.authenticate(&stored, &write.mac).unwrap();
                authenticated += 1;
            }
            let mut block = vec![0; write.logical_size as usize];
            decompress(write.compression, &stored, &mut block).unwrap();
            assert!(
                plain[&(write.object, write.offset)] == block,
                "{suite}: object {} offset {}",
                write.object,
                write.offset
            );
        }
        assert!(
            encrypted > 20 && authenticated > 0,
            "{suite}: {encrypted} encrypted, {authenticated} authenticated"
        );
    }
}

#[test]
fn a_wrong_key_and_a_bad_mac_are_different_errors() {
    let (list, blocks) = raw_stream("e-aes-256-gcm-raw");
    let error = unlock(&list, b"incorrect horse").unwrap_err();
    assert!(matches!(error.fault(), Fault::WrongKey), "{error}");

    let key = unlock(&list, PASSPHRASE).unwrap();
    let (write, stored) = blocks.into_iter().find(|(write, _)| write.object_type.is_encrypted()).unwrap();
    let params = CryptParams { salt: write.salt, iv: write.iv, mac: write.mac };
    for at in [0, stored.len() / 2, stored.len() - 1] {
        let mut damaged = stored.clone();
        damaged[at] ^= 1;
        let error = key.decrypt(&mut damaged, &params).unwrap_err();
        assert!(matches!(error.fault(), Fault::Authentication { .. }), "{error}");
    }
}
