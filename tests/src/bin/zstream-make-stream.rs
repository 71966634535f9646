//! Writes a large synthetic stream to a file, for measuring: `zstream-make-stream FILE MIB BLOCK_BYTES`.
//!
//! One filesystem of files with 64 MiB each; every block is a WRITE of its own with bytes that look random.
//! Below 4 KiB most of the stream is headers.

use std::fs::File;
use std::io::BufWriter;
use std::process::ExitCode;

use zstream_format::checksum::Checksum;
use zstream_format::flags::{BeginFlags, FeatureFlags, HeaderType, VersionInfo};
use zstream_format::ids::{Guid, ObjectId};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::record::{BEGIN_MAGIC, Begin, Body, End, Free, Header, Object, TO_OBJECT_END, Write};
use zstream_format::stream::{Error, StreamWriter, Trailers};

const GUID: Guid = Guid(0x0123_4567_89ab_cdef);
const FILE_BYTES: u64 = 64 << 20;
const BONUS_BYTES: u32 = 176;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, mib, block] = &args[..] else {
        eprintln!("usage: zstream-make-stream FILE MIB BLOCK_BYTES");
        return ExitCode::from(2);
    };
    let (Ok(mib), Ok(block)) = (mib.parse::<u64>(), block.parse::<u32>()) else {
        eprintln!("zstream-make-stream: MIB and BLOCK_BYTES are numbers");
        return ExitCode::from(2);
    };
    match File::create(path).map_err(|e| e.to_string()).and_then(|file| {
        make(BufWriter::with_capacity(1 << 20, file), mib << 20, block).map_err(|e| e.to_string())
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zstream-make-stream: {path}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes a stream of about `bytes` bytes.
fn make(file: BufWriter<File>, bytes: u64, block_size: u32) -> Result<(), Error> {
    let mut writer = StreamWriter::new(file).trailers(Trailers::Modern);
    let begin = Begin {
        magic: BEGIN_MAGIC,
        version_info: VersionInfo::new(HeaderType::Substream, FeatureFlags::SA_SPILL),
        creation_time: 1_700_000_000,
        objset_type: 2,
        flags: BeginFlags::FREERECORDS | BeginFlags::SPILL_BLOCK,
        to_guid: GUID,
        from_guid: Guid(0),
        to_name: Begin::name_field(b"bench/fs@1").unwrap_or([0; 256]),
    };
    let put = |writer: &mut StreamWriter<_>, body: Body, payload: &[u8]| {
        writer.write(&Header::new(body, ByteOrder::Little), payload)
    };
    put(&mut writer, begin.into(), &[])?;
    let mut payload = vec![0; block_size as usize];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for word in payload.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    let mut object = ObjectId(1);
    while writer.offset() < bytes {
        put(&mut writer, head(object, block_size).into(), &[7; BONUS_BYTES as usize])?;
        let tail = Free { object, offset: FILE_BYTES, length: TO_OBJECT_END, to_guid: GUID };
        put(&mut writer, tail.into(), &[])?;
        let mut offset = 0;
        while offset < FILE_BYTES && writer.offset() < bytes {
            // No two blocks are the same.
            payload[..8].copy_from_slice(&(object.0 << 40 | offset).to_le_bytes());
            put(
                &mut writer,
                Write::plain(object, ObjectType::PLAIN_FILE_CONTENTS, offset, block_size.into(), GUID).into(),
                &payload,
            )?;
            offset += u64::from(block_size);
        }
        object.0 += 1;
    }
    put(&mut writer, End { checksum: Checksum::ZERO, to_guid: GUID }.into(), &[])?;
    writer.finish().map(drop)
}

fn head(object: ObjectId, block_size: u32) -> Object {
    Object {
        object,
        object_type: ObjectType::PLAIN_FILE_CONTENTS,
        bonus_type: ObjectType::SA,
        block_size,
        bonus_len: BONUS_BYTES,
        to_guid: GUID,
        ..Object::default()
    }
}
