//! Tests of the records for ranges, read back from the stream.

use std::sync::Arc;

use proptest::prelude::*;
use zstream_dmu::blkptr::{Dva, NormalBlock};
use zstream_dmu::ids::Bookmark;
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::flags::{BeginFlags, HeaderType, SpillFlags, VersionInfo, WriteFlags};
use zstream_format::object_type::ObjectType;
use zstream_format::record::{BEGIN_MAGIC, Begin, Body, Header, Write};
use zstream_format::stream::StreamReader;

use super::*;
use crate::form::BlockForm;
use crate::load::Content;
use crate::progress::Progress;

const GUID: Guid = Guid(7);
/// The end of the object numbers of the source.
const OBJECTS_END: u64 = 96;

/// Returns the records of the ranges with their payloads, without BEGIN and END.
fn records_of(features: FeatureFlags, batches: Vec<LoadedBatch>) -> Result<Vec<(Body, Vec<u8>)>> {
    let (mut stream, progress) = (Vec::new(), Progress::default());
    let mut encoder = begun(&mut stream, &progress, features);
    for mut batch in batches {
        encoder.encode(&mut batch)?;
    }
    let sent = encoder.finish(false)?;
    assert_eq!(sent.bytes, stream.len() as u64);
    assert_eq!(progress.bytes(), sent.bytes);
    let mut found = read(&stream);
    assert_eq!(found.len() as u64 + 1, sent.records, "BEGIN, too");
    found.retain(|(body, _)| !matches!(body, Body::End(_)));
    Ok(found)
}

/// Returns an encoder after BEGIN.
fn begun<'a>(stream: &'a mut Vec<u8>, progress: &'a Progress, features: FeatureFlags) -> Encoder<'a> {
    let mut output = Output::new(Some(stream), progress);
    let begin = Begin {
        magic: BEGIN_MAGIC,
        version_info: VersionInfo::new(HeaderType::Substream, features),
        creation_time: 0,
        objset_type: 2,
        flags: BeginFlags::empty(),
        to_guid: GUID,
        from_guid: Guid(0),
        to_name: Begin::name_field(b"pool/fs@snap").unwrap(),
    };
    output.header(&Header::new(begin, ORDER), Payload::from(&[][..])).unwrap();
    Encoder::new(output, features, GUID, Some(Txg(100)), OBJECTS_END)
}

/// Returns the records after BEGIN, up to the first error.
fn read(stream: &[u8]) -> Vec<(Body, Vec<u8>)> {
    let (mut reader, mut found) = (StreamReader::new(stream), Vec::new());
    while let Ok(Some(record)) = reader.next() {
        found.push((record.header.body().unwrap(), record.payload.to_vec()));
    }
    found.remove(0);
    found
}

/// Returns the records of ranges without content.
fn records(ranges: Vec<Range>) -> Vec<Body> {
    // The result must not depend on the distribution of ranges to batches.
    let alone = |range| LoadedBatch {
        ranges: vec![Loaded { range, form: None, content: Content::None }],
        bytes: Vec::new(),
    };
    let one_by_one: Vec<LoadedBatch> = ranges.into_iter().map(alone).collect();
    records_of(FeatureFlags::empty(), one_by_one).unwrap().into_iter().map(|(body, _)| body).collect()
}

fn range(object: u64, start: u64, end: u64, what: What) -> Range {
    Range { object, start, end, what }
}

fn hole(object: u64, start: u64, end: u64) -> Range {
    range(object, start, end, What::Hole { block_bytes: 512 })
}

fn redact(object: u64, start: u64, end: u64) -> Range {
    range(object, start, end, What::Redact { block_bytes: 512 })
}

fn free_slot(object: u64) -> Range {
    range(object, 0, 0, What::Object { pointer: BlockPointer::EMPTY, dnode: None })
}

/// Free dnode blocks, of 32 objects each.
fn free_objects(start: u64, end: u64) -> Range {
    range(0, start, end, What::Hole { block_bytes: 16 << 10 })
}

fn free(object: u64, offset: u64, length: u64) -> Body {
    Free { object: ObjectId(object), offset, length, to_guid: GUID }.into()
}

fn freed_objects(first: u64, object_count: u64) -> Body {
    FreeObjects { first_object: ObjectId(first), object_count, to_guid: GUID }.into()
}

fn redacted(object: u64, offset: u64, length: u64) -> Body {
    Redact { object: ObjectId(object), offset, length, to_guid: GUID }.into()
}

#[test]
fn adjacent_frees_of_an_object_are_one() {
    let ranges = vec![hole(5, 0, 1), hole(5, 1, 4), hole(5, 5, 6), hole(6, 6, 7)];
    assert_eq!(records(ranges), [free(5, 0, 2048), free(5, 2560, 512), free(6, 3072, 512)]);
}

#[test]
fn a_free_whose_end_has_no_number_goes_to_the_end() {
    let last = (1 << 55) - 1;
    assert_eq!(records(vec![hole(5, last, last + 9)]), [free(5, last * 512, u64::MAX - last * 512)]);
    // Merged with the previous one, too.
    let joined = vec![hole(5, last - 1, last), hole(5, last, last + 9)];
    assert_eq!(records(joined), [free(5, (last - 1) * 512, u64::MAX - (last - 1) * 512)]);
    assert_eq!(records(vec![hole(5, 1 << 55, (1 << 55) + 1)]), [], "it was always a hole");
}

#[test]
fn adjacent_free_objects_are_one() {
    let ranges = vec![free_slot(3), free_slot(4), free_slot(6), free_objects(1, 2), free_slot(64)];
    assert_eq!(records(ranges), [freed_objects(3, 2), freed_objects(6, 1), freed_objects(32, 33)]);
}

#[test]
fn objects_that_cannot_exist_are_not_freed() {
    assert_eq!(records(vec![free_objects(2, 1 << 40)]), [freed_objects(64, 32)]);
    assert_eq!(records(vec![free_objects(3, 4)]), [], "the first one beyond the last");
    assert_eq!(records(vec![free_objects(1 << 60, u64::MAX)]), []);
    assert_eq!(records(vec![free_slot(OBJECTS_END - 1)]), [freed_objects(OBJECTS_END - 1, 1)]);
}

#[test]
fn adjacent_redactions_of_an_object_are_one() {
    let ranges = vec![redact(5, 0, 1), redact(5, 1, 4), redact(5, 5, 6), redact(6, 6, 7)];
    assert_eq!(records(ranges), [redacted(5, 0, 2048), redacted(5, 2560, 512), redacted(6, 3072, 512)]);
}

#[test]
fn a_redaction_without_a_number_is_refused() {
    let ranges =
        vec![Loaded { range: redact(5, 1 << 55, (1 << 55) + 1), form: None, content: Content::None }];
    let batch = LoadedBatch { ranges, bytes: Vec::new() };
    assert!(records_of(FeatureFlags::empty(), vec![batch]).is_err());
}

#[test]
fn records_of_different_kinds_do_not_join() {
    let ranges = vec![hole(5, 0, 1), redact(5, 1, 2), hole(5, 2, 3), free_slot(6), hole(7, 3, 4)];
    let expected =
        [free(5, 0, 512), redacted(5, 512, 512), free(5, 1024, 512), freed_objects(6, 1), free(7, 1536, 512)];
    assert_eq!(records(ranges), expected);
}

/// The pointer of a block of this size.
fn pointer(bytes: u64, object_type: ObjectType, birth: u64) -> BlockPointer {
    BlockPointer::normal(&NormalBlock {
        dvas: [Dva::new(0, 1 << 20, bytes, false), Dva::default(), Dva::default()],
        lsize: bytes,
        psize: bytes,
        compression: CompressionType::OFF,
        checksum_type: ChecksumType::SHA256,
        checksum: [1, 2, 3, 4],
        object_type,
        level: 0,
        dedup: false,
        uses_crypt: false,
        byte_order: ORDER,
        logical_birth: Txg(birth),
        physical_birth: Txg(birth),
        fill: 1,
    })
}

/// A block number `block` of object 5, in this form, with content that differs from byte to byte.
fn data(block: u64, bytes: u64, form: BlockForm) -> LoadedBatch {
    let pointer = pointer(bytes, ObjectType::PLAIN_FILE_CONTENTS, 200);
    let what = What::Data { pointer, object_type: ObjectType::PLAIN_FILE_CONTENTS, block_bytes: bytes };
    // It is not at the start of its batch.
    let content = Content::Block { at: 3..3 + bytes as usize, sum: None };
    let loaded = Loaded { range: range(5, block, block + 1, what), form: Some(form), content };
    let buffer = [9; 3].into_iter().chain((0..bytes).map(|n| (n % 251) as u8)).chain([9; 5]).collect();
    LoadedBatch { ranges: vec![loaded], bytes: buffer }
}

fn write((body, payload): &(Body, Vec<u8>)) -> (&Write, &[u8]) {
    match body {
        Body::Write(write) => (write, payload),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_block_is_one_record_with_the_key_of_its_pointer() {
    let found = records_of(FeatureFlags::empty(), vec![data(2, 4096, BlockForm::Logical)]).unwrap();
    let (found, payload) = write(&found[0]);
    assert_eq!((found.object.0, found.offset, found.logical_size), (5, 8192, 4096));
    assert_eq!((found.checksum_type, found.key_checksum), (ChecksumType::SHA256, Checksum([1, 2, 3, 4])));
    assert!(found.flags.contains(WriteFlags::CHECKSUM_DEDUP));
    // Sectors, less one, of both sizes; no compression.
    assert_eq!(found.key_prop, 7 | 7 << 16 | 2 << 32);
    assert_eq!(payload, &data(2, 4096, BlockForm::Logical).bytes[3..4099]);
}

#[test]
fn large_blocks_are_split_and_lose_their_key() {
    let found = records_of(FeatureFlags::empty(), vec![data(1, 320 << 10, BlockForm::Split)]).unwrap();
    let whole: Vec<u8> = found.iter().flat_map(|(_, payload)| payload.clone()).collect();
    assert_eq!(whole, data(1, 320 << 10, BlockForm::Split).bytes[3..3 + (320 << 10)]);
    let pieces: Vec<(u64, u64)> = found
        .iter()
        .map(|record| {
            let (write, _) = write(record);
            assert_eq!((write.checksum_type, write.key_prop), (ChecksumType::OFF, 0));
            (write.offset, write.logical_size)
        })
        .collect();
    const K: u64 = 1 << 10;
    assert_eq!(pieces, [(320 * K, 128 * K), (448 * K, 128 * K), (576 * K, 64 * K)]);
}

#[test]
fn what_waits_is_written_before_a_block() {
    let mut batch = data(2, 512, BlockForm::Logical);
    batch.ranges.insert(0, Loaded { range: hole(5, 0, 2), form: None, content: Content::None });
    batch.ranges.push(Loaded { range: hole(5, 3, 4), form: None, content: Content::None });
    let found = records_of(FeatureFlags::empty(), vec![batch]).unwrap();
    assert_eq!(found[0].0, free(5, 0, 1024));
    assert_eq!(write(&found[1]).0.offset, 1024);
    assert_eq!(found[2].0, free(5, 1536, 512));
}

#[test]
fn an_embedded_block_is_padded_to_words() {
    let payload: Vec<u8> = (1..=13).collect();
    let file = ObjectType::PLAIN_FILE_CONTENTS;
    let pointer = BlockPointer::embedded(&payload, 4096, CompressionType::LZ4, file, 0, Txg(200)).unwrap();
    let what = What::Data { pointer, object_type: ObjectType::PLAIN_FILE_CONTENTS, block_bytes: 4096 };
    let loaded =
        Loaded { range: range(5, 1, 2, what), form: Some(BlockForm::Embedded), content: Content::None };
    let batch = LoadedBatch { ranges: vec![loaded], bytes: Vec::new() };
    let features = FeatureFlags::EMBED_DATA | FeatureFlags::LZ4;
    let found = records_of(features, vec![batch]).unwrap();
    let (Body::WriteEmbedded(record), bytes) = &found[0] else { panic!("{found:?}") };
    assert_eq!(
        (record.offset, record.length, record.logical_size, record.physical_size),
        (4096, 4096, 4096, 13)
    );
    assert_eq!(bytes[..], [payload, vec![0; 3]].concat());
}

#[test]
fn a_spill_block_says_whether_it_changed() {
    for (birth, unmodified) in [(100, true), (101, false)] {
        let pointer = pointer(1024, ObjectType::SA, birth);
        let what = What::Data { pointer, object_type: ObjectType::PLAIN_FILE_CONTENTS, block_bytes: 1024 };
        let spill = Bookmark::SPILL.0;
        let content = Content::Block { at: 0..1024, sum: None };
        let loaded =
            Loaded { range: range(5, spill, spill + 1, what), form: Some(BlockForm::Logical), content };
        let batch = LoadedBatch { ranges: vec![loaded], bytes: vec![4; 1024] };
        let found = records_of(FeatureFlags::empty(), vec![batch]).unwrap();
        let (Body::Spill(record), bytes) = &found[0] else { panic!("{found:?}") };
        assert_eq!((record.object.0, record.length, bytes.len()), (5, 1024, 1024));
        assert_eq!(record.flags.contains(SpillFlags::UNMODIFIED), unmodified, "born in {birth}");
    }
}

#[test]
fn a_block_that_failed_ends_the_stream_behind_what_came_before() {
    let (mut stream, progress) = (Vec::new(), Progress::default());
    let mut encoder = begun(&mut stream, &progress, FeatureFlags::empty());
    let mut batch = data(2, 512, BlockForm::Logical);
    let mut bad = data(3, 512, BlockForm::Logical).ranges.remove(0);
    bad.content = Content::Failed(zstream_dmu::error::Error::corrupt("block", "torn"));
    batch.ranges.push(bad);
    let error = encoder.encode(&mut batch).unwrap_err();
    assert!(matches!(error.fault(), crate::error::Fault::Read(_)), "{error}");
    encoder.give_up();
    assert_eq!(write(&read(&stream)[0]).0.offset, 1024);
}

/// A dnode of an empty file with blocks of this size.
fn dnode(block_sectors: u16) -> Arc<Dnode> {
    let mut bytes = vec![0_u8; 512];
    let file = ObjectType::PLAIN_FILE_CONTENTS.0 as u8;
    bytes[..8].copy_from_slice(&[file, 17, 1, 1, 0, 0, 0, 0]);
    bytes[8..10].copy_from_slice(&block_sectors.to_le_bytes());
    Arc::new(Dnode::parse(&bytes).unwrap().unwrap())
}

#[test]
fn an_object_frees_what_is_behind_it_at_once() {
    let object = |number| What::Object { pointer: BlockPointer::EMPTY, dnode: Some(dnode(number)) };
    let found = records(vec![range(5, 0, 0, object(1)), hole(5, 1, 2), range(6, 0, 0, object(4096))]);
    assert!(matches!(&found[0], Body::Object(object) if object.block_size == 512), "{found:?}");
    // A tail is not held back, so that nothing joins it.
    assert_eq!(found[1..3], [free(5, 512, TO_OBJECT_END), free(5, 512, 512)]);
    // Without large blocks in the stream, an object has none either; its end stays where it was.
    assert!(matches!(&found[3], Body::Object(object) if object.block_size == 128 << 10), "{found:?}");
    assert_eq!(found[4], free(6, 2 << 20, TO_OBJECT_END));
}

proptest! {
    /// Every block that a range names is in exactly one record, in order, and none that is in no range.
    #[test]
    fn every_block_is_in_one_record(steps in proptest::collection::vec((0_u64..3, 1_u64..4, any::<bool>()), 0..20)) {
        let (mut at, mut ranges, mut blocks) = (0, Vec::new(), Vec::new());
        for (gap, length, is_hole) in steps {
            let start = at + gap;
            at = start + length;
            ranges.push(if is_hole { hole(5, start, at) } else { redact(5, start, at) });
            blocks.extend((start..at).map(|block| (block, is_hole)));
        }
        let found: Vec<(u64, bool)> = records(ranges)
            .iter()
            .flat_map(|body| {
                let (offset, length, is_hole) = match body {
                    Body::Free(free) => (free.offset, free.length, true),
                    Body::Redact(redact) => (redact.offset, redact.length, false),
                    other => panic!("{other:?}"),
                };
                (offset / 512..(offset + length) / 512).map(move |block| (block, is_hole))
            })
            .collect();
        prop_assert_eq!(found, blocks);
    }
}
