//! Block checksums against what OpenZFS stored in a real pool: see `data/checksum/README.md`.

#![cfg(feature = "block-checksums")]

use zstream_format::algorithm::ChecksumType;
use zstream_format::checksum::{
    Checksum, EMBEDDED_MAGIC, EMBEDDED_SIZE, EmbeddedError, Error, Salt, checksum, seal_embedded,
    verify_embedded,
};
use zstream_format::order::ByteOrder;

const BLOCK: &[u8] = include_bytes!("data/checksum/block.lz4");
const METADATA: &[u8] = include_bytes!("data/checksum/metadata.lz4");
const UBERBLOCK: &[u8] = include_bytes!("data/checksum/uberblock");
const UBERBLOCK_VERIFIER: [u64; 4] = [179_200, 0, 0, 0];

const SALT: [u8; 32] = [
    0x0d, 0x7c, 0xbb, 0xbf, 0xcb, 0x5a, 0x10, 0x28, 0xa9, 0xd3, 0xfb, 0xe3, 0xcb, 0x93, 0x27, 0xee, //
    0x8e, 0x3c, 0x54, 0x81, 0x51, 0x66, 0x95, 0x41, 0x67, 0xac, 0x11, 0x89, 0xf8, 0x44, 0x3f, 0x62,
];

const VECTORS: [(ChecksumType, &[u8], [u64; 4]); 7] = [
    (
        ChecksumType::FLETCHER_2,
        BLOCK,
        [0xcbf2_14ab_ca8d_f683, 0xdced_bf0a_95a2_eeb5, 0x74ca_4fcd_29ce_f4f1, 0x8ca3_9c63_fc5a_7f20],
    ),
    (
        ChecksumType::FLETCHER_4,
        METADATA,
        [0x0000_0011_559e_4dbc, 0x0000_076f_9752_2ae6, 0x0001_9db1_fb5c_39ec, 0x003c_b9f7_1c50_2e1b],
    ),
    (
        ChecksumType::SHA256,
        BLOCK,
        [0xb05f_fd33_4d05_b752, 0x701f_0d40_d814_9d0d, 0x5f69_f283_b68b_6ee4, 0x2c45_d75f_e09e_31c2],
    ),
    (
        ChecksumType::SHA512,
        BLOCK,
        [0x0432_e8a3_6667_cb38, 0xa0d6_9a74_e326_41ce, 0x0b35_07c2_1a0c_23cd, 0xc262_45a8_ba73_ecb6],
    ),
    (
        ChecksumType::SKEIN,
        BLOCK,
        [0xaa6a_8248_7f66_cd62, 0x82d1_83f7_313c_3f60, 0x8a8d_81a8_305c_a9b4, 0x863d_3397_ed31_dbfb],
    ),
    (
        ChecksumType::EDONR,
        BLOCK,
        [0xe2df_eb1b_6504_3394, 0x984d_505b_1c2b_5116, 0xf4ac_59a1_2524_41b4, 0x86f4_f6fc_4088_068d],
    ),
    (
        ChecksumType::BLAKE3,
        BLOCK,
        [0x58f3_ae6d_20b1_7432, 0xe170_feeb_1373_85eb, 0xcb9b_1fa6_02fa_2fec, 0xc125_698f_61dd_0bfa],
    ),
];

const SALTED: [ChecksumType; 3] = [ChecksumType::SKEIN, ChecksumType::EDONR, ChecksumType::BLAKE3];

#[test]
fn every_function_gives_what_openzfs_stored() {
    let salt = Salt::new(SALT);
    for (kind, data, words) in VECTORS {
        let sum = checksum(kind, data, ByteOrder::Little, Some(&salt)).unwrap();
        assert_eq!(sum, Checksum(words), "{kind}");
        // The second time from what the salt keeps.
        assert_eq!(checksum(kind, data, ByteOrder::Little, Some(&salt)).unwrap(), sum, "{kind}");
    }
}

/// A digest's bytes are the same on every machine; all but SHA-256 are stored in memory order.
#[test]
fn a_big_endian_pool_has_the_digests_in_its_order() {
    let salt = Salt::new(SALT);
    for (kind, data, words) in VECTORS {
        let big = checksum(kind, data, ByteOrder::Big, Some(&salt)).unwrap();
        match kind {
            ChecksumType::SHA256 => assert_eq!(big, Checksum(words)),
            ChecksumType::FLETCHER_2 | ChecksumType::FLETCHER_4 => {
                let width = if kind == ChecksumType::FLETCHER_2 { 8 } else { 4 };
                let swapped: Vec<u8> =
                    data.chunks(width).flat_map(|word| word.iter().rev().copied()).collect();
                assert_eq!(
                    checksum(kind, &swapped, ByteOrder::Big, None).unwrap(),
                    Checksum(words),
                    "{kind}"
                );
                assert_ne!(big, Checksum(words), "{kind}");
            }
            _ => assert_eq!(big, Checksum(words).swap_bytes(), "{kind}"),
        }
    }
}

#[test]
fn salted_functions_depend_on_the_salt_and_refuse_to_go_without() {
    let mut other = SALT;
    other[31] ^= 1;
    let (salt, other) = (Salt::new(SALT), Salt::new(other));
    for kind in SALTED {
        let sum = checksum(kind, BLOCK, ByteOrder::Little, Some(&salt));
        assert_ne!(checksum(kind, BLOCK, ByteOrder::Little, Some(&other)), sum, "{kind}");
        assert_eq!(checksum(kind, BLOCK, ByteOrder::Little, None), Err(Error::NoSalt(kind)));
    }
    assert_eq!(
        Error::NoSalt(ChecksumType::SKEIN).to_string(),
        "checksum skein requires the salt of the pool, which is missing"
    );
}

#[test]
fn off_is_zero_and_numbers_without_a_function_are_refused() {
    for kind in [ChecksumType::OFF, ChecksumType::NOPARITY] {
        assert!(checksum(kind, BLOCK, ByteOrder::Little, None).unwrap().is_zero());
    }
    for kind in [
        ChecksumType::INHERIT,
        ChecksumType::ON,
        ChecksumType::LABEL,
        ChecksumType::GANG_HEADER,
        ChecksumType::ZILOG,
        ChecksumType::ZILOG2,
        ChecksumType(15),
        ChecksumType(255),
    ] {
        assert_eq!(checksum(kind, BLOCK, ByteOrder::Little, None), Err(Error::NotForBlocks(kind)));
    }
    assert_eq!(
        Error::NotForBlocks(ChecksumType(99)).to_string(),
        "checksum unknown(99) cannot be computed over a block"
    );
}

#[test]
fn a_real_uberblock_verifies_where_it_belongs_and_nowhere_else() {
    assert_eq!(verify_embedded(UBERBLOCK, UBERBLOCK_VERIFIER), Ok(ByteOrder::Little));
    assert!(matches!(
        verify_embedded(UBERBLOCK, [179_200 + 1024, 0, 0, 0]),
        Err(EmbeddedError::Mismatch { .. })
    ));
}

#[test]
fn sealing_writes_the_bytes_openzfs_wrote() {
    let mut structure = UBERBLOCK.to_vec();
    let end = structure.len() - EMBEDDED_SIZE;
    structure[end..].fill(0xee);
    seal_embedded(&mut structure, UBERBLOCK_VERIFIER, ByteOrder::Little).unwrap();
    assert_eq!(structure, UBERBLOCK);
}

/// The other order, as a gang header: magic, verifier and digest words all in it.
#[test]
fn both_orders_seal_and_verify() {
    use sha2::{Digest, Sha256};

    let verifier = [1, 0x0123_4567_8a00, 42, 0];
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let mut header: Vec<u8> = (0..512u32).map(|i| (i * 7) as u8).collect();
        seal_embedded(&mut header, verifier, order).unwrap();
        assert_eq!(verify_embedded(&header, verifier), Ok(order));
        assert_eq!(order.u64(&header[472..]), EMBEDDED_MAGIC);

        let mut with_verifier = header.clone();
        for (i, word) in verifier.into_iter().enumerate() {
            order.put_u64(&mut with_verifier[480 + 8 * i..], word);
        }
        let digest = Sha256::digest(&with_verifier);
        for i in 0..4 {
            let word = ByteOrder::Big.u64(&digest[8 * i..]);
            assert_eq!(order.u64(&header[480 + 8 * i..]), word, "{order} word {i}");
        }
    }
}

#[test]
fn every_flipped_bit_of_a_structure_is_seen() {
    let mut structure = UBERBLOCK.to_vec();
    let magic_at = structure.len() - EMBEDDED_SIZE;
    for bit in 0..structure.len() * 8 {
        structure[bit / 8] ^= 1 << (bit % 8);
        let error = verify_embedded(&structure, UBERBLOCK_VERIFIER).unwrap_err();
        if (magic_at..magic_at + 8).contains(&(bit / 8)) {
            assert!(matches!(error, EmbeddedError::NoMagic { .. }), "bit {bit}: {error}");
        } else {
            assert!(matches!(error, EmbeddedError::Mismatch { .. }), "bit {bit}: {error}");
        }
        structure[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn what_has_no_embedded_checksum_is_named() {
    for len in 0..EMBEDDED_SIZE {
        let mut structure = vec![0; len];
        let too_short = EmbeddedError::TooShort { have: len };
        assert_eq!(verify_embedded(&structure, [0; 4]), Err(too_short));
        assert_eq!(seal_embedded(&mut structure, [0; 4], ByteOrder::Little), Err(too_short));
    }
    assert_eq!(
        EmbeddedError::TooShort { have: 39 }.to_string(),
        "structure is 39 bytes, an embedded checksum requires 40"
    );
    assert_eq!(
        verify_embedded(&[0; 64], [0; 4]).unwrap_err().to_string(),
        "embedded checksum is missing: magic is 0x0000000000000000, expected 0x0210da7ab10c7a11 in either byte order"
    );
}
