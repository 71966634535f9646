//! Streams that end after a record that comes a second time: what came the first time is not shown while no checksum vouches for
//! the second.

use zstream_dmu::error::Fault;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_format::algorithm::CompressionType;
use zstream_format::checksum::Checksum;
use zstream_format::compress::compress;
use zstream_format::flags::{BeginFlags, FeatureFlags, HeaderType, ObjectFlags, VersionInfo};
use zstream_format::ids::Guid;
use zstream_format::object_type::{ObjectType, ObjsetType};
use zstream_format::order::ByteOrder;
use zstream_format::record::{
    BEGIN_MAGIC, Begin, Body, End, FreeObjects, HEADER_LEN, Header, Object, Spill, Write, WriteEmbedded,
};
use zstream_format::stream::{Checking, StreamWriter};
use zstream_view::{Options, Source, StreamView, Streams};

const GUID: Guid = Guid(7);
const FILE: ObjectId = ObjectId(9);
const BLOCK_BYTES: u64 = 1024;

/// A record that replaces what an earlier one of its kind said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Object,
    Spill,
    /// A spill block in disguise (openzfs/zfs#18239).
    EmbeddedSpill,
    Write,
    Embedded,
}

/// The record for the snapshot `guid`, with a payload made of one byte.
fn record(kind: Kind, byte: u8, guid: Guid) -> (Body, Vec<u8>) {
    let block = vec![byte; BLOCK_BYTES as usize];
    let embedded = |offset| {
        let mut packed = compress(CompressionType::LZ4, None, &block, 112).unwrap().unwrap();
        let record = WriteEmbedded {
            object: FILE,
            offset,
            length: BLOCK_BYTES,
            to_guid: guid,
            compression: CompressionType::LZ4,
            logical_size: BLOCK_BYTES as u32,
            physical_size: packed.len() as u32,
            ..WriteEmbedded::default()
        };
        packed.resize(packed.len().next_multiple_of(8), 0);
        (record.into(), packed)
    };
    match kind {
        Kind::Object => {
            let record = Object {
                object: FILE,
                object_type: ObjectType::PLAIN_FILE_CONTENTS,
                bonus_type: ObjectType::SA,
                block_size: BLOCK_BYTES as u32,
                bonus_len: 168,
                dnode_slots: 1,
                flags: ObjectFlags::SPILL,
                to_guid: guid,
                ..Object::default()
            };
            (record.into(), vec![byte; 168])
        }
        Kind::Spill => {
            let record = Spill { object: FILE, length: BLOCK_BYTES, to_guid: guid, ..Spill::default() };
            (record.into(), block)
        }
        Kind::EmbeddedSpill => embedded(0_u64.wrapping_sub(2 * BLOCK_BYTES)),
        Kind::Write => {
            let file = ObjectType::PLAIN_FILE_CONTENTS;
            (Write::plain(FILE, file, 0, BLOCK_BYTES, guid).into(), block)
        }
        Kind::Embedded => embedded(0),
    }
}

/// A stream in which a record of this kind comes twice, and where its second payload ends. `saved`: records carry two guids, as
/// in what `send -S` makes of a receive that was interrupted.
fn twice(kind: Kind, saved: bool) -> (Vec<u8>, usize) {
    let mut writer = StreamWriter::new(Vec::new());
    let mut end = 0;
    let mut put = |(body, payload): (Body, Vec<u8>)| {
        let mut header = Header::new(body, ByteOrder::Little);
        if !matches!(header.body(), Some(Body::Begin(_))) {
            // The writer puts the right one there.
            header.set_trailer(Checksum([1, 0, 0, 0]));
        }
        writer.write(&header, &payload).unwrap();
        end += HEADER_LEN + payload.len();
        end
    };
    let begin = Begin {
        magic: BEGIN_MAGIC,
        version_info: VersionInfo::new(
            HeaderType::Substream,
            FeatureFlags::EMBED_DATA | FeatureFlags::LZ4 | FeatureFlags::SA_SPILL,
        ),
        objset_type: ObjsetType::ZFS.0,
        flags: BeginFlags::SPILL_BLOCK,
        to_guid: GUID,
        to_name: Begin::name_field(b"tank/fs@s").unwrap(),
        ..Begin::default()
    };
    put((begin.into(), Vec::new()));
    let other = if saved { Guid(8) } else { GUID };
    let before: &[Kind] = if kind == Kind::Object { &[] } else { &[Kind::Object, Kind::Spill, Kind::Write] };
    for first in before.iter().copied().filter(|first| *first != kind) {
        put(record(first, 1, GUID));
    }
    put(record(kind, 1, GUID));
    let end = put(record(kind, 2, other));
    put((FreeObjects { first_object: ObjectId(10), object_count: 5, to_guid: GUID }.into(), Vec::new()));
    put((End { to_guid: GUID, ..End::default() }.into(), Vec::new()));
    (writer.into_inner(), end)
}

/// The first byte of what the second record of this kind replaces.
fn shown(view: &StreamView, kind: Kind) -> Result<u8, zstream_dmu::error::Error> {
    match kind {
        Kind::Object => Ok(view.info(FILE)?.bonus()?[0]),
        Kind::Spill | Kind::EmbeddedSpill => Ok(view.spill(FILE)?.expect("a spill block")[0]),
        Kind::Write | Kind::Embedded => {
            let mut bytes = [0; 1];
            view.read(FILE, 5, &mut bytes)?;
            Ok(bytes[0])
        }
    }
}

#[test]
fn what_came_first_is_not_shown_before_the_second_is_vouched_for() {
    let options = Options { partial: true, checking: Checking::Sums };
    for kind in [Kind::Object, Kind::Spill, Kind::EmbeddedSpill, Kind::Write, Kind::Embedded] {
        for saved in [false, true] {
            let (stream, end) = twice(kind, saved);
            for len in end..end + 2 * HEADER_LEN {
                let source = Source::from_bytes("a stream", stream[..len].to_vec());
                let streams = Streams::index(vec![source], &options).unwrap();
                let view = streams.view(0).unwrap();
                let what = format!("{kind:?}, saved {saved}, {} bytes after", len - end);
                match shown(&view, kind) {
                    Ok(byte) => assert!(byte == 2 && len >= end + HEADER_LEN, "{what}: {byte}"),
                    Err(error) => {
                        assert!(matches!(error.fault(), Fault::Absent), "{what}: {error}");
                        assert!(len < end + HEADER_LEN, "{what}: {error}");
                    }
                }
            }
        }
    }
}
