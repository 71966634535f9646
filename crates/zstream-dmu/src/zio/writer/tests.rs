//! Blocks written to a pool in memory and read back.

use zstream_format::algorithm::{ChecksumType, CompressionType};

use super::*;
use crate::block::ReadBlock;
use crate::error::Fault;
use crate::ids::{BlockId, Bookmark, ObjectId};
use crate::made::pool::TestPool;
use crate::zio::header;
use crate::zio::write::{Content, Protection};

const AT: Bookmark = Bookmark { objset: 1, object: ObjectId(2), level: 0, block: BlockId(3) };

fn props(copies: u8) -> WriteProps {
    WriteProps {
        dedup: None,
        object_type: ObjectType::PLAIN_FILE_CONTENTS,
        level: 0,
        checksum: ChecksumType::FLETCHER_4,
        compression: CompressionType::LZ4.into(),
        copies,
        may_embed: true,
        protection: Protection::Plain,
        small_bytes: 0,
        fill: 1,
    }
}

fn request(content: &[u8], props: WriteProps, before: BlockPointer) -> WriteRequest<'_> {
    WriteRequest { content: Content::Logical(content), props, at: AT, before }
}

/// Bytes that do not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

#[test]
fn content_chooses_its_form() {
    let pool = TestPool::new(1 << 20, 9);
    let write = |content: &[u8]| {
        let pointer =
            pool.writer.write_block(&request(content, props(1), BlockPointer::EMPTY)).unwrap().pointer;
        assert!(pointer.is_hole() || &pool.reader.read_block(&pointer, AT).unwrap()[..] == content);
        pointer
    };
    assert_eq!(write(&[0; 4096]), BlockPointer::EMPTY);
    assert!(write(&[7; 4096]).is_embedded());
    let mut half = noise(8192);
    half[..4096].fill(0);
    assert_eq!((write(&half).psize(), write(&half).compression()), (4608, CompressionType::LZ4));
    // At least one eighth must be saved.
    let mut little = noise(8192);
    little[..512].fill(0);
    assert_eq!((write(&little).psize(), write(&little).compression()), (8192, CompressionType::OFF));
}

#[test]
fn a_block_without_a_long_enough_place_becomes_a_gang() {
    for (run_max, bytes, copies) in [(8192, 16384, 1), (2048, 32768, 2), (512, 6144, 3), (1024, 131_072, 1)] {
        let pool = TestPool::new(1 << 20, 9);
        pool.space.set_run_max(run_max);
        let content = noise(bytes);
        let first =
            pool.writer.write_block(&request(&content, props(copies), BlockPointer::EMPTY)).unwrap().pointer;
        assert!(first.is_gang());
        assert_eq!(&pool.reader.read_block(&first, AT).unwrap()[..], content);
        let check = pool.reader.check_block(&first, AT).unwrap();
        assert_eq!((check.copies, check.readable), ((copies + 1).min(3).into(), check.copies));
        let taken: u64 = pool.space.in_use().values().sum();
        assert!(taken >= bytes as u64 * u64::from(copies));
        // Members have the requested number of copies; their headers may have one more.
        assert!(first.dva(0).asize() > bytes as u64);

        let changed: Vec<u8> = content.iter().map(|byte| !byte).collect();
        let allocations = pool.space.allocations();
        let second = pool.writer.write_block(&request(&changed, props(copies), first)).unwrap();
        assert!(second.in_place && second.pointer.dva(0) == first.dva(0));
        assert_eq!(pool.space.allocations(), allocations);
        assert_eq!(&pool.reader.read_block(&second.pointer, AT).unwrap()[..], changed);

        pool.writer.discard(&second.pointer);
        assert!(pool.space.in_use().is_empty());
    }
}

#[test]
fn a_gang_that_does_not_fit_takes_nothing() {
    let pool = TestPool::new(24 << 10, 9);
    pool.space.set_run_max(1024);
    let error = pool.writer.write_block(&request(&noise(32768), props(1), BlockPointer::EMPTY)).unwrap_err();
    assert!(matches!(error.fault(), Fault::NoSpace { bytes: 32768 }), "{error}");
    assert!(pool.space.in_use().is_empty());
}

#[test]
fn a_large_gang_header_has_as_many_pieces_as_are_needed() {
    for (run_max, pieces) in [(32 << 10, 4), (8 << 10, 16), (4 << 10, 32)] {
        let large_headers = Arc::new(LargeHeaders::of(true, true));
        let settings = WriterSettings { large_headers, ..WriterSettings::default() };
        let pool = TestPool::with_settings(1 << 20, 12, settings);
        pool.space.set_run_max(run_max);
        let content = noise(128 << 10);
        let block =
            pool.writer.write_block(&request(&content, props(1), BlockPointer::EMPTY)).unwrap().pointer;
        assert_eq!(&pool.reader.read_block(&block, AT).unwrap()[..], content);
        let ranges = pool.reader.ranges(&block).unwrap();
        let is_nested = pieces > header::pieces_max(4096);
        let headers = ranges.iter().filter(|range| range.is_gang()).count();
        assert_eq!(headers, if is_nested { 4 } else { 2 }, "{ranges:?}");
        assert_eq!(ranges.len(), headers + pieces);
        let data = ranges.iter().filter(|range| !range.is_gang()).map(|range| range.asize());
        assert_eq!(block.dva(0).asize(), data.sum::<u64>() + 4096 * (headers as u64 / 2));

        let changed: Vec<u8> = content.iter().map(|byte| !byte).collect();
        let second = pool.writer.write_block(&request(&changed, props(1), block)).unwrap();
        assert!(second.in_place);
        assert_eq!(&pool.reader.read_block(&second.pointer, AT).unwrap()[..], changed);
        pool.writer.discard(&second.pointer);
        assert!(pool.space.in_use().is_empty());
    }
}

#[test]
fn large_gang_headers_are_wanted_when_three_pieces_are_not_enough() {
    // Sectors of 512 bytes have no room for a larger header.
    for (is_enabled, unit_shift, run_max, is_wanted) in [
        (true, 12, 8 << 10, true),
        (true, 12, 24 << 10, false),
        (false, 12, 8 << 10, false),
        (true, 9, 8 << 10, false),
    ] {
        let large_headers = Arc::new(LargeHeaders::of(is_enabled, false));
        let settings =
            WriterSettings { large_headers: Arc::clone(&large_headers), ..WriterSettings::default() };
        let pool = TestPool::with_settings(1 << 20, unit_shift, settings);
        pool.space.set_run_max(run_max);
        let content = noise(64 << 10);
        let write =
            || pool.writer.write_block(&request(&content, props(1), BlockPointer::EMPTY)).unwrap().pointer;
        let first = write();
        assert_eq!(large_headers.begin_if_wanted(), is_wanted);
        assert!(!large_headers.begin_if_wanted());
        let second = write();
        for block in [first, second] {
            assert_eq!(&pool.reader.read_block(&block, AT).unwrap()[..], content);
        }
        let headers =
            |block| pool.reader.ranges(&block).unwrap().iter().filter(|range| range.is_gang()).count();
        assert_eq!(headers(second) < headers(first), is_wanted);
    }
}
