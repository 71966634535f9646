//! Readers and writer over small streams: a real package (`data/small.zfs`, `zfs send -R -I @1 tank/tree@2`
//! of OpenZFS 2.3.2) and streams made here with every record type in either byte order.

#![cfg(feature = "parallel")]

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use proptest::prelude::*;
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::checksum::Checksum;
use zstream_format::flags::{
    BeginFlags, FeatureFlags, HeaderType, ObjectFlags, RangeFlags, SpillFlags, VersionInfo, WriteFlags,
};
use zstream_format::ids::{Guid, ObjectId};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::record::{
    BEGIN_MAGIC, Begin, Body, End, Free, FreeObjects, HEADER_LEN, Header, Object, ObjectRange, RecordType,
    Redact, Spill, TO_OBJECT_END, TRAILER_OFFSET, Write, WriteByref, WriteEmbedded,
};
use zstream_format::stream::{
    Checking, Error, Fault, ParallelReader, Role, StreamReader, StreamWriter, Trailers,
};

const REAL: &[u8] = include_bytes!("data/small.zfs");
const GUID: Guid = Guid(0x1234_5678_9abc_def0);

fn begin(kind: HeaderType, name: &[u8]) -> Begin {
    Begin {
        magic: BEGIN_MAGIC,
        version_info: VersionInfo::new(kind, FeatureFlags::empty()),
        creation_time: 1_700_000_000,
        objset_type: 2,
        flags: BeginFlags::FREERECORDS | BeginFlags::SPILL_BLOCK,
        to_guid: GUID,
        from_guid: Guid(0),
        to_name: Begin::name_field(name).unwrap(),
    }
}

fn end() -> Body {
    End { checksum: Checksum::default(), to_guid: GUID }.into()
}

/// One record of each type that stands inside a substream, with its payload.
#[expect(clippy::too_many_lines, reason = "a table: one record of each type")]
fn data_records() -> Vec<(Body, Vec<u8>)> {
    let object = ObjectId(7);
    let key_checksum = Checksum([1, 2, 3, 4]);
    let (salt, iv, mac) = ([1; 8], [2; 12], [3; 16]);
    vec![
        (
            ObjectRange {
                first_object: ObjectId(0),
                slot_count: 32,
                to_guid: GUID,
                salt,
                iv,
                mac,
                flags: RangeFlags::empty(),
                pad: [0; 3],
            }
            .into(),
            vec![],
        ),
        (
            Object {
                object,
                object_type: ObjectType::PLAIN_FILE_CONTENTS,
                bonus_type: ObjectType::SA,
                block_size: 512,
                bonus_len: 12,
                flags: ObjectFlags::SPILL,
                to_guid: GUID,
                ..Object::default()
            }
            .into(),
            (0..16).collect(),
        ),
        (Free { object, offset: 512, length: TO_OBJECT_END, to_guid: GUID }.into(), vec![]),
        (
            Write {
                object,
                object_type: ObjectType::PLAIN_FILE_CONTENTS,
                logical_size: 512,
                to_guid: GUID,
                checksum_type: ChecksumType::FLETCHER_4,
                key_checksum,
                salt,
                iv,
                mac,
                ..Write::default()
            }
            .into(),
            (0..512).map(|i| (i % 251) as u8).collect(),
        ),
        (
            WriteByref {
                object,
                offset: 512,
                length: 512,
                to_guid: GUID,
                ref_guid: GUID,
                ref_object: object,
                ref_offset: 0,
                checksum_type: ChecksumType::SHA256,
                flags: WriteFlags::CHECKSUM_DEDUP,
                pad: [0; 6],
                key_checksum,
                key_prop: 0,
            }
            .into(),
            vec![],
        ),
        (
            WriteEmbedded {
                object,
                offset: 1024,
                length: 512,
                to_guid: GUID,
                compression: CompressionType::LZ4,
                embedded_type: 0,
                pad: [0; 6],
                logical_size: 512,
                physical_size: 21,
            }
            .into(),
            vec![9; 24],
        ),
        (Redact { object, offset: 2048, length: 512, to_guid: GUID }.into(), vec![]),
        (
            Spill {
                object,
                length: 512,
                to_guid: GUID,
                flags: SpillFlags::UNMODIFIED,
                compression: CompressionType::INHERIT,
                pad: [0; 6],
                compressed_size: 0,
                salt,
                iv,
                mac,
                object_type: ObjectType::NONE,
            }
            .into(),
            vec![5; 512],
        ),
        (FreeObjects { first_object: ObjectId(8), object_count: 24, to_guid: GUID }.into(), vec![]),
    ]
}

/// A substream with every record type behind a package's header, or alone.
fn synthetic(order: ByteOrder, packaged: bool, trailers: Trailers) -> Vec<u8> {
    let mut writer = StreamWriter::new(Vec::new()).trailers(trailers);
    let mut put = |body: Body, payload: &[u8]| {
        let mut header = Header::new(body, order);
        if matches!(body, Body::Begin(_)) {
            header.set_payload_len_field(payload.len() as u32);
        }
        writer.write(&header, payload).unwrap();
    };
    let package_end = End { checksum: Checksum::default(), to_guid: Guid(0) };
    if packaged {
        let mut header = begin(HeaderType::Package, b"pool/fs@1");
        (header.to_guid, header.creation_time) = (Guid(0), 0);
        put(header.into(), &[7; 12]);
        put(package_end.into(), &[]);
    }
    put(begin(HeaderType::Substream, b"pool/fs@1").into(), &[]);
    for (body, payload) in data_records() {
        put(body, &payload);
    }
    put(end(), &[]);
    if packaged {
        put(package_end.into(), &[]);
    }
    writer.finish().unwrap()
}

fn small_streams() -> Vec<(String, Vec<u8>)> {
    let mut streams = vec![("real package".to_owned(), REAL.to_vec())];
    for order in [ByteOrder::Little, ByteOrder::Big] {
        for packaged in [false, true] {
            for trailers in [Trailers::Modern, Trailers::Never] {
                let name = format!("{order}, packaged {packaged}, {trailers:?}");
                streams.push((name, synthetic(order, packaged, trailers)));
            }
        }
    }
    streams
}

/// Gives a few bytes at a time, as a pipe does.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(self.1);
        self.0.read(&mut buf[..want])
    }
}

/// All that a reader says about a stream: records (offset, role, header, payload), bytes that are good, how it ends.
type Story = (Vec<(u64, Role, Vec<u8>, Vec<u8>)>, u64, Option<String>);

fn told_by_one_thread(source: impl Read) -> Story {
    let mut reader = StreamReader::new(source);
    let mut records = Vec::new();
    let end = loop {
        match reader.next() {
            Ok(Some(record)) => records.push((
                record.place.offset,
                record.role,
                record.header.as_bytes().to_vec(),
                record.payload.to_vec(),
            )),
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    (records, reader.verified(), end)
}

fn told_in_parallel(source: impl Read + Send) -> Story {
    story(ParallelReader::new(source))
}

fn story(mut reader: ParallelReader<'_>) -> Story {
    let mut records = Vec::new();
    let end = reader.for_each(|record| {
        records.push((
            record.place.offset,
            record.role,
            record.header.as_bytes().to_vec(),
            record.payload.to_vec(),
        ));
        Ok(())
    });
    (records, reader.verified(), end.err().map(|error| error.to_string()))
}

/// The same, from a source that several threads read at any place; where it can be viewed it tells the same.
fn told_by_positioned_reads(bytes: &[u8]) -> Story {
    let read = story(ParallelReader::positioned(&bytes, 0));
    assert!(read == story(ParallelReader::positioned(&Arc::new(bytes.to_vec()), 0)));
    read
}

fn read_all(bytes: &[u8]) -> Result<u64, Error> {
    let mut reader = StreamReader::new(bytes);
    while reader.next()?.is_some() {}
    Ok(reader.verified())
}

#[test]
fn whole_streams_are_good_to_the_last_byte() {
    for (name, bytes) in small_streams() {
        assert_eq!(read_all(&bytes).unwrap(), bytes.len() as u64, "{name}");
        let twice = [&bytes[..], &bytes[..]].concat();
        assert_eq!(read_all(&twice).unwrap(), twice.len() as u64, "{name}, twice");
    }
}

/// What every reader says of the zeros after a stream: their number, or the error.
fn padding_of(bytes: &[u8]) -> Result<u64, String> {
    let one = |mut reader: StreamReader<&[u8]>| loop {
        match reader.next() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(reader.padding()),
            Err(error) => return Err(error.to_string()),
        }
    };
    let all = |mut reader: ParallelReader<'_>| {
        reader.for_each(|_| Ok(())).map(|()| reader.padding()).map_err(|error| error.to_string())
    };
    let first = one(StreamReader::new(bytes));
    assert_eq!(one(StreamReader::new(bytes).checking(Checking::Shape)), first);
    assert_eq!(all(ParallelReader::new(bytes)), first);
    assert_eq!(all(ParallelReader::new(Dribble(bytes, 7))), first);
    assert_eq!(all(ParallelReader::positioned(&bytes, 0)), first);
    assert_eq!(all(ParallelReader::positioned(&Arc::new(bytes.to_vec()), 0)), first);
    first
}

#[test]
fn zeros_after_the_last_stream_are_padding() {
    for (name, bytes) in small_streams() {
        let to_block = 512 - bytes.len() % 512;
        let with = |zeros: usize| [&bytes[..], &vec![0; zeros]].concat();
        for zeros in [12, 100, 311, 312, 313, 512, 10_240, to_block, to_block + 512, 3 << 20] {
            assert_eq!(padding_of(&with(zeros)), Ok(zeros as u64), "{name}, {zeros} zeros");
        }
        assert_eq!(padding_of(&bytes), Ok(0), "{name}");
        // So few may be the start of a BEGIN.
        for zeros in (1..=11).filter(|zeros| *zeros != to_block) {
            let error = padding_of(&with(zeros)).unwrap_err();
            assert!(error.contains("cut short"), "{name}, {zeros} zeros: {error}");
        }
        // Anything else is what it was.
        for zeros in [12, 312, 10_240, 3 << 20] {
            let error = padding_of(&[&with(zeros)[..], &[1]].concat()).unwrap_err();
            assert!(error.contains("magic") || error.contains("cut short"), "{name}, {zeros} zeros: {error}");
            let error = padding_of(&[&with(zeros)[..], &bytes].concat()).unwrap_err();
            assert!(error.contains("magic is 0x0"), "{name}, {zeros} zeros: {error}");
        }
        let inside = bytes.len() - 312;
        assert!(padding_of(&[&bytes[..inside], &[0; 10_240]].concat()).is_err(), "{name}, in place of END");
    }
    assert!(padding_of(&[0; 10_240]).is_err(), "zeros alone are not a stream");
}

#[test]
fn a_copy_through_the_writer_is_the_same_stream() {
    for (name, bytes) in small_streams() {
        let mut reader = StreamReader::new(&bytes[..]);
        let mut writer = StreamWriter::new(Vec::new());
        while let Some(record) = reader.next().unwrap() {
            writer.write(record.header, record.payload).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), bytes, "{name}");
    }
}

#[test]
fn a_modern_writer_gives_what_openzfs_gave() {
    // All checksums taken away, then computed anew by the rules of today's senders.
    let mut reader = StreamReader::new(REAL);
    let mut writer = StreamWriter::new(Vec::new()).trailers(Trailers::Modern);
    while let Some(record) = reader.next().unwrap() {
        let mut header = record.header.clone();
        if header.record_type() != Some(RecordType::Begin) {
            header.set_trailer(Checksum::default());
        }
        if let Some(Body::End(mut end)) = header.body() {
            end.checksum = Checksum::default();
            header.set_body(end);
        }
        writer.write(&header, record.payload).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), REAL);
}

#[test]
fn cut_anywhere_is_a_truncation_and_says_what_is_good() {
    for (name, bytes) in small_streams() {
        for len in 0..bytes.len() {
            let story = told_by_one_thread(&bytes[..len]);
            let Err(error) = read_all(&bytes[..len]) else { panic!("{name} cut to {len} passed") };
            assert!(error.is_truncation(), "{name} cut to {len}: {error}");
            assert!(story.1 <= len as u64);
            assert_eq!(story, told_in_parallel(&bytes[..len]), "{name} cut to {len}");
            assert_eq!(story, told_by_positioned_reads(&bytes[..len]), "{name} cut to {len}");
        }
    }
}

#[test]
fn no_flipped_bit_passes() {
    for (name, bytes) in small_streams() {
        let mut bytes = bytes;
        for at in 0..bytes.len() {
            let bit = 1 << (at % 8);
            bytes[at] ^= bit;
            let outcome = read_all(&bytes);
            assert!(outcome.is_err(), "{name}: bit {} of byte {at} flipped and nobody noticed", at % 8);
            if at % 17 == 0 {
                assert_eq!(told_by_one_thread(&bytes[..]), told_in_parallel(&bytes[..]), "{name}, byte {at}");
                assert_eq!(
                    told_by_one_thread(&bytes[..]),
                    told_by_positioned_reads(&bytes),
                    "{name}, byte {at}"
                );
            }
            bytes[at] ^= bit;
        }
    }
}

#[test]
fn how_the_source_hands_out_bytes_does_not_matter() {
    for (name, bytes) in small_streams() {
        let whole = told_by_one_thread(&bytes[..]);
        for step in [1, 7, 311, 313, 4096] {
            assert_eq!(told_by_one_thread(Dribble(&bytes, step)), whole, "{name}, {step} bytes at a time");
            assert_eq!(told_in_parallel(Dribble(&bytes, step)), whole, "{name}, {step} bytes at a time");
        }
    }
}

#[test]
fn records_larger_than_a_batch_are_read_in_parallel_too() {
    let mut writer = StreamWriter::new(Vec::new()).trailers(Trailers::Modern);
    writer.write(&Header::new(begin(HeaderType::Substream, b"p@1"), ByteOrder::Little), &[]).unwrap();
    let Some((Body::Write(mut write), _)) =
        data_records().into_iter().find(|(body, _)| matches!(body, Body::Write(_)))
    else {
        unreachable!()
    };
    for size in [16 << 20, 512, 5 << 20, 16 << 20, 100 << 10] {
        write.logical_size = size;
        let payload: Vec<u8> = (0..size).map(|i| (i * 7 % 253) as u8).collect();
        writer.write(&Header::new(write, ByteOrder::Little), &payload).unwrap();
    }
    writer.write(&Header::new(end(), ByteOrder::Little), &[]).unwrap();
    let bytes = writer.finish().unwrap();
    assert!(told_by_one_thread(&bytes[..]) == told_in_parallel(&bytes[..]));
    assert!(told_by_one_thread(&bytes[..]) == told_by_positioned_reads(&bytes));
    let cut = &bytes[..bytes.len() - 200_000];
    assert!(told_by_one_thread(cut) == told_in_parallel(cut));
    assert!(told_by_one_thread(cut) == told_by_positioned_reads(cut));
}

/// Some 5 MiB: small records, large ones, and again.
fn mixed_sizes() -> Vec<u8> {
    let mut writer = StreamWriter::new(Vec::new()).trailers(Trailers::Modern);
    let Some((Body::Write(mut write), _)) =
        data_records().into_iter().find(|(body, _)| matches!(body, Body::Write(_)))
    else {
        unreachable!()
    };
    for _ in 0..2 {
        writer.write(&Header::new(begin(HeaderType::Substream, b"p@1"), ByteOrder::Little), &[]).unwrap();
        for (count, size) in [(100, 512), (9, 128 << 10), (1, 700 << 10), (20, 32 << 10), (800, 16)] {
            for index in 0..count {
                (write.logical_size, write.offset) = (size, index);
                let payload: Vec<u8> = (0..size).map(|i| (i * 7 % 253 + index) as u8).collect();
                writer.write(&Header::new(write, ByteOrder::Little), &payload).unwrap();
            }
        }
        writer.write(&Header::new(end(), ByteOrder::Little), &[]).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn reading_at_any_place_tells_the_same() {
    let mut bytes = mixed_sizes();
    assert!(told_by_one_thread(&bytes[..]) == told_by_positioned_reads(&bytes));
    assert!(told_by_one_thread(&bytes[..]) == told_in_parallel(&bytes[..]));
    let len = bytes.len();
    for at in (0..len).step_by(len / 40) {
        let cut = &bytes[..at];
        assert!(told_by_one_thread(cut) == told_by_positioned_reads(cut), "cut to {at}");
        bytes[at] ^= 0x41;
        assert!(told_by_one_thread(&bytes[..]) == told_by_positioned_reads(&bytes), "byte {at}");
        bytes[at] ^= 0x41;
    }
    // Not from the start.
    let shifted = [&[9; 1000], &bytes[..]].concat();
    assert!(told_by_one_thread(&bytes[..]) == story(ParallelReader::positioned(&&shifted[..], 1000)));
}

#[test]
fn a_consumer_that_panics_ends_the_reading() {
    let bytes = mixed_sizes();
    let mut count = 0;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        ParallelReader::positioned(&&bytes[..], 0).for_each(|_| {
            count += 1;
            assert_ne!(count, 500, "on purpose");
            Ok(())
        })
    }));
    assert!(outcome.is_err());
    assert_eq!(count, 500);
}

#[test]
fn a_consumer_that_fails_ends_the_reading() {
    let bytes = mixed_sizes();
    let mut reader = ParallelReader::new(&bytes[..]);
    let mut count = 0;
    let error = reader
        .for_each(|_| {
            count += 1;
            if count == 300 { Err(Fault::Other("enough".into())) } else { Ok(()) }
        })
        .unwrap_err();
    assert_eq!((count, error.place().index), (300, 299));
}

#[test]
fn headers_alone_are_found_by_seeking() {
    for (name, bytes) in small_streams() {
        let whole = told_by_one_thread(&bytes[..]);
        let mut reader = StreamReader::seekable(Cursor::new(&bytes)).unwrap();
        let mut headers = Vec::new();
        while let Some(record) = reader.next_header().unwrap() {
            headers.push((record.place.offset, record.role, record.header.as_bytes().to_vec()));
        }
        let expected: Vec<_> =
            whole.0.into_iter().map(|(offset, role, header, _)| (offset, role, header)).collect();
        assert_eq!(headers, expected, "{name}");

        // A file that ends inside a payload that is skipped.
        let Some((offset, _, header)) =
            headers.iter().rev().find(|(_, _, header)| header[0] == 7 || header[3] == 7)
        else {
            continue;
        };
        assert_eq!(header.len(), HEADER_LEN);
        let cut = &bytes[..*offset as usize + HEADER_LEN + 100];
        let mut reader = StreamReader::seekable(Cursor::new(cut)).unwrap();
        let error = loop {
            match reader.next_header() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{name}: the end was not missed"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error.fault(), Fault::Truncated { have: 100, need: 512, .. }), "{name}: {error}");
    }
}

/// A reader that checks sums needs the payloads: it reads them where headers alone are asked for, and finds what is wrong.
#[test]
fn headers_of_a_reader_that_checks_sums_come_with_their_payloads() {
    for (name, bytes) in small_streams() {
        let (mut asked, mut reader) = (Vec::new(), StreamReader::new(&bytes[..]));
        while let Some(record) = reader.next_header().unwrap() {
            asked.push((record.place.offset, record.payload.to_vec()));
        }
        let expected =
            told_by_one_thread(&bytes[..]).0.into_iter().map(|(offset, _, _, payload)| (offset, payload));
        assert_eq!(asked, expected.collect::<Vec<_>>(), "{name}");
        assert_eq!(reader.verified(), bytes.len() as u64, "{name}");
    }
}

#[test]
fn a_size_that_no_block_can_have_is_refused_before_it_is_read() {
    let mut bytes = synthetic(ByteOrder::Little, false, Trailers::Never);
    let at = (0..bytes.len()).step_by(4).find(|&at| bytes[at..at + 8] == [3, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    ByteOrder::Little.put_u64(&mut bytes[at + 32..], 1 << 40);
    let error = read_all(&bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the block is 1099511627776 bytes, the limit is 16777216 (record 4 WRITE, stream offset {at:#x})"
        )
    );
}

#[test]
fn a_promised_nvlist_takes_no_memory_before_it_comes() {
    let mut header = Header::new(begin(HeaderType::Package, b"p@1"), ByteOrder::Little);
    header.set_payload_len_field(256 << 20);
    let error = read_all(header.as_bytes()).unwrap_err();
    assert!(matches!(error.fault(), Fault::Truncated { need: 268_435_456, have: 0, .. }), "{error}");
    header.set_payload_len_field((256 << 20) + 1);
    let error = read_all(header.as_bytes()).unwrap_err();
    assert!(matches!(error.fault(), Fault::TooLarge { .. }), "{error}");
}

#[test]
fn what_is_not_a_stream_is_told_apart() {
    let text = |bytes: &[u8]| read_all(bytes).unwrap_err().to_string();
    assert_eq!(text(b""), "the input is empty, expected a stream (record 0, stream offset 0x0)");
    assert!(text(&[b'x'; 400]).starts_with("this is not a send stream: magic is 0x7878787878787878"));
    let mut garbage_behind = REAL.to_vec();
    garbage_behind.extend([0; 312]);
    garbage_behind.push(1);
    assert!(
        text(&garbage_behind).starts_with("this is not a send stream: magic is 0x0, expected 0x2f5bacbac")
    );
    let mut few_behind = REAL.to_vec();
    few_behind.extend([0; 5]);
    assert!(text(&few_behind).contains("a record header needs 312 bytes, have 5"));
}

#[test]
fn records_out_of_their_place_are_refused() {
    let header = |body: Body| Header::new(body, ByteOrder::Little);
    let try_writing = |bodies: &[Body]| {
        let mut writer = StreamWriter::new(io::sink());
        bodies.iter().try_for_each(|body| writer.write(&header(*body), &[])).unwrap_err().to_string()
    };
    let package: Body = begin(HeaderType::Package, b"p@1").into();
    let substream: Body = begin(HeaderType::Substream, b"p@1").into();
    let free: Body = FreeObjects { first_object: ObjectId(1), object_count: 1, to_guid: GUID }.into();
    assert!(try_writing(&[free]).starts_with("found FREEOBJECTS, expected BEGIN ("));
    assert!(
        try_writing(&[substream, substream]).starts_with("found BEGIN, expected a record of the substream")
    );
    assert!(try_writing(&[package, free]).starts_with("found FREEOBJECTS, expected END after the header"));
    assert!(
        try_writing(&[package, end(), package])
            .starts_with("found BEGIN, expected BEGIN of a substream, not")
    );
    assert!(
        try_writing(&[package, end(), free])
            .starts_with("found FREEOBJECTS, expected BEGIN of a substream or")
    );
    let odd: Body = begin(HeaderType::Invalid(3), b"p@1").into();
    assert!(try_writing(&[odd]).starts_with("header type 3 of BEGIN"));
}

#[test]
fn a_reader_that_failed_does_not_go_on() {
    let mut bytes = REAL.to_vec();
    bytes[HEADER_LEN + 20] ^= 1;
    let mut reader = StreamReader::new(&bytes[..]);
    let error = loop {
        if let Err(error) = reader.next() {
            break error;
        }
    };
    assert!(matches!(error.fault(), Fault::EndChecksum { .. }), "{error}");
    assert!(matches!(reader.next().unwrap_err().fault(), Fault::GivenUp));
}

#[test]
fn long_names_are_not_taken_for_a_checksum() {
    // OpenZFS's zstream reads the last 32 bytes of a name over 224 bytes as a trailer.
    let name = [b'n'; 255];
    let mut writer = StreamWriter::new(Vec::new()).trailers(Trailers::Modern);
    writer.write(&Header::new(begin(HeaderType::Substream, &name), ByteOrder::Big), &[]).unwrap();
    writer.write(&Header::new(end(), ByteOrder::Big), &[]).unwrap();
    let bytes = writer.finish().unwrap();
    assert_eq!(bytes[TRAILER_OFFSET], b'n');
    read_all(&bytes).unwrap();
}

#[test]
fn checking_the_shape_only_passes_over_wrong_sums() {
    let mut bytes = REAL.to_vec();
    let last = bytes.len() - 400;
    bytes[last] ^= 1;
    assert!(read_all(&bytes).is_err());
    let mut reader = StreamReader::new(&bytes[..]).checking(Checking::Shape);
    while reader.next().unwrap().is_some() {}
    assert_eq!((reader.verified(), reader.whole_streams()), (0, 1));
}

proptest! {
    #[test]
    fn any_bytes_give_the_same_story_on_one_thread_and_on_many(
        damage in proptest::collection::vec((0usize..13_932, any::<u8>()), 1..4),
        cut in 0usize..13_932,
    ) {
        let mut bytes = REAL.to_vec();
        for (at, byte) in damage {
            bytes[at] = byte;
        }
        bytes.truncate(cut.max(100));
        prop_assert_eq!(told_by_one_thread(&bytes[..]), told_in_parallel(&bytes[..]));
    }
}

/// A source that counts how often it is asked, and gives as much as it is asked for.
struct Counting<'a>(&'a [u8], usize);

impl Read for Counting<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.1 += 1;
        self.0.read(buf)
    }
}

/// The records up to the last END, and the error where there is one.
fn read_exactly(source: &mut impl Read) -> Result<Vec<(Role, Header, Vec<u8>)>, Error> {
    let mut reader = StreamReader::exact(source);
    let mut records = Vec::new();
    while let Some(record) = reader.next()? {
        let is_last = record.role == Role::PackageEnd;
        records.push((record.role, record.header.clone(), record.payload.to_vec()));
        if is_last {
            break;
        }
    }
    Ok(records)
}

#[test]
fn an_exact_reader_leaves_what_follows_the_end_and_asks_once_a_record() {
    let twice = [REAL, REAL].concat();
    let mut source = Counting(&twice, 0);
    let records = read_exactly(&mut source).unwrap();
    assert_eq!(source.0.len(), REAL.len());
    assert_eq!(source.1, records.len());
    assert_eq!(read_exactly(&mut source).unwrap(), records);
    assert!(source.0.is_empty());
}

#[test]
fn an_exact_reader_reports_each_cut_as_a_buffered_one() {
    for len in 0..REAL.len() {
        let mut buffered = StreamReader::new(&REAL[..len]);
        let expected = loop {
            match buffered.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a stream cut at {len} is whole"),
                Err(error) => break error.to_string(),
            }
        };
        assert_eq!(read_exactly(&mut &REAL[..len]).unwrap_err().to_string(), expected, "cut at {len}");
    }
}

#[test]
fn parallel_reading_within_a_pool_stays_in_it() {
    let stream: Vec<u8> = REAL.repeat(200);
    for threads in [1, 2, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (records, strays) = pool.install(|| {
            let (mut records, mut strays) = (0, 0);
            let mut reader = ParallelReader::new(&stream[..]);
            reader
                .for_each(|_| {
                    records += 1;
                    strays += u32::from(rayon::current_thread_index().is_none());
                    Ok(())
                })
                .unwrap();
            (records, strays)
        });
        let whole = read_exactly(&mut &REAL[..]).unwrap().len();
        assert_eq!((records, strays), (200 * whole, 0), "{threads} threads");
    }
}
