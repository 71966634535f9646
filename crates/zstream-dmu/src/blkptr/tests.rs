use proptest::prelude::*;

use super::*;

const FILE: ObjectType = ObjectType::PLAIN_FILE_CONTENTS;

fn sample() -> NormalBlock {
    NormalBlock {
        dvas: [Dva::new(1, 0x40_0000, 0x1000, false), Dva::new(2, 0x123_4000, 0x2000, true), Dva::default()],
        lsize: 131_072,
        psize: 4096,
        compression: CompressionType::LZ4,
        checksum_type: ChecksumType::FLETCHER_4,
        object_type: FILE,
        level: 0,
        dedup: false,
        uses_crypt: false,
        byte_order: ByteOrder::Little,
        logical_birth: Txg(77),
        physical_birth: Txg(0),
        fill: 1,
        checksum: [1, 2, 3, 4],
    }
}

#[test]
fn fields_of_a_normal_block_come_back() {
    let bp = BlockPointer::normal(&sample());
    assert_eq!(bp.kind(), BlockKind::Normal);
    assert_eq!((bp.lsize(), bp.psize(), bp.asize()), (131_072, 4096, 0x3000));
    assert_eq!(bp.dvas().count(), 2);
    assert_eq!((bp.dva(1).vdev(), bp.dva(1).offset(), bp.dva(1).is_gang()), (2, 0x123_4000, true));
    assert_eq!((bp.logical_birth(), bp.fill(), bp.byte_order()), (Txg(77), 1, ByteOrder::Little));
    assert_eq!(bp.validate(), Ok(()));
    let physical = BlockPointer::normal(&NormalBlock { physical_birth: Txg(80), ..sample() });
    assert_eq!((physical.physical_birth(), physical.logical_birth()), (Txg(80), Txg(77)));
    // The first was moved by the removal of a vdev, the second rewritten: only the latter is new to its dataset.
    assert_eq!((physical.birth(), physical.is_rewritten()), (Txg(77), false));
    let mut words = *physical.words();
    words[7] |= 1 << 63;
    let rewritten = BlockPointer::from_words(words);
    assert_eq!((rewritten.birth(), rewritten.is_rewritten()), (Txg(80), true));
    assert_eq!((rewritten.logical_birth(), rewritten.validate()), (Txg(77), Ok(())));
}

#[test]
fn encryption_parameters_take_the_third_address_and_the_upper_fill() {
    let mut words =
        *BlockPointer::normal(&NormalBlock { uses_crypt: true, fill: 0x0403_0201_0000_0005, ..sample() })
            .words();
    words[4] = 0x8877_6655_4433_2211;
    words[5] = 0x0807_0605_0403_0201;
    let bp = BlockPointer::from_words(words);
    assert_eq!(bp.crypt_kind(), CryptKind::Encrypted);
    assert_eq!((bp.dvas().count(), bp.fill()), (2, 5));
    assert_eq!(bp.salt(), Some([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]));
    assert_eq!(bp.iv(), Some([1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4]));
    assert_eq!(bp.mac(), Some([3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]));
    // A block that was written on a big-endian machine has the same words, with its bytes in the other order.
    words[PROP] &= !(1 << 63);
    assert_eq!(
        BlockPointer::from_words(words).salt(),
        Some([0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11])
    );
    // The ZFS master node is only authenticated. The MAC of an indirect block covers its children.
    let authenticated = BlockPointer::normal(&NormalBlock {
        uses_crypt: true,
        object_type: ObjectType::MASTER_NODE,
        ..sample()
    });
    assert_eq!(authenticated.crypt_kind(), CryptKind::Authenticated);
    let indirect = BlockPointer::normal(&NormalBlock { uses_crypt: true, level: 1, ..sample() });
    assert_eq!(indirect.crypt_kind(), CryptKind::IndirectMac);
    assert_eq!((indirect.salt(), authenticated.iv()), (None, None));
}

#[test]
fn embedded_payload_comes_back_at_every_size() {
    let bytes: Vec<u8> = (1..=112).collect();
    for size in 1..=EMBEDDED_PAYLOAD_MAX {
        let bp = BlockPointer::embedded(&bytes[..size], 4096, CompressionType::LZ4, FILE, 0, Txg(9)).unwrap();
        assert_eq!(bp.embedded_payload().as_deref(), Some(&bytes[..size]));
        assert_eq!((bp.kind(), bp.lsize(), bp.psize(), bp.fill()), (BlockKind::Embedded, 4096, 0, 1));
        assert_eq!((bp.logical_birth(), bp.validate(), bp.dvas().count()), (Txg(9), Ok(()), 0));
    }
    assert!(BlockPointer::embedded(&[0; 113], 512, CompressionType::OFF, FILE, 0, Txg(9)).is_none());
    assert!(BlockPointer::embedded(&[], 512, CompressionType::OFF, FILE, 0, Txg(9)).is_none());
}

#[test]
fn holes_and_redacted_blocks_have_no_address() {
    let hole = BlockPointer::hole(FILE, 2, 131_072, Txg(5));
    assert!(hole.is_hole() && BlockPointer::EMPTY.is_hole());
    assert_eq!((hole.level(), hole.lsize(), hole.logical_birth(), hole.fill()), (2, 131_072, Txg(5), 0));
    let redacted = BlockPointer::redacted(FILE, 131_072, Txg(6));
    assert_eq!((redacted.kind(), redacted.lsize(), redacted.psize()), (BlockKind::Redacted, 131_072, 0));
    assert_eq!((redacted.embedded_payload(), redacted.validate()), (None, Ok(())));
}

proptest! {
    #[test]
    fn any_words_survive_either_byte_order_and_no_accessor_panics(words: [u64; 16]) {
        let bp = BlockPointer::from_words(words);
        for order in [ByteOrder::Little, ByteOrder::Big] {
            prop_assert_eq!(BlockPointer::parse(&bp.encode(order), order), bp);
        }
        let _ = (bp.validate(), bp.embedded_payload(), bp.to_string(), bp.asize(), bp.mac(), bp.iv());
    }

    #[test]
    fn an_address_keeps_its_parts(vdev in 0_u32..1 << 24, sectors in 0_u64..1 << 54, asize in 0_u64..1 << 24, gang: bool) {
        let dva = Dva::new(vdev, sectors * 512, asize * 512, gang);
        prop_assert_eq!((dva.vdev(), dva.offset(), dva.asize(), dva.is_gang()), (vdev, sectors * 512, asize * 512, gang));
    }
}

zstream_format::round_trips! { BlockPointer, Dva }
