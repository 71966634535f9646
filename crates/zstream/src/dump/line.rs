//! The line of a record, and its payload.

use std::io::{self, Write};

use zstream_format::record::Body;

/// Bytes as hex digits without anything between them.
struct Digits<'a>(&'a [u8]);

impl std::fmt::Display for Digits<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The line of a record other than BEGIN and END.
#[expect(clippy::too_many_lines, reason = "a table: the line of each type of record")]
pub(super) fn line(out: &mut impl Write, body: &Body) -> io::Result<()> {
    match body {
        Body::Begin(_) | Body::End(_) => Ok(()),
        Body::Object(b) => writeln!(
            out,
            "OBJECT object = {} type = {} bonustype = {} blksz = {} bonuslen = {} dn_slots = {} \
             raw_bonuslen = {} flags = {} maxblkid = {} indblkshift = {} nlevels = {} nblkptr = {}",
            b.object.0,
            b.object_type.0,
            b.bonus_type.0,
            b.block_size,
            b.bonus_len,
            b.dnode_slots,
            b.raw_bonus_len,
            b.flags.bits(),
            b.max_block_id,
            b.indirect_block_shift,
            b.levels,
            b.block_pointers,
        ),
        Body::FreeObjects(b) => {
            writeln!(out, "FREEOBJECTS firstobj = {} numobjs = {}", b.first_object.0, b.object_count)
        }
        Body::Write(b) => writeln!(
            out,
            "WRITE object = {} type = {} checksum type = {} compression type = {} flags = {} offset = {} \
             logical_size = {} compressed_size = {} payload_size = {} props = {:x} salt = {} iv = {} mac = {}",
            b.object.0,
            b.object_type.0,
            b.checksum_type.0,
            b.compression.0,
            b.flags.bits(),
            b.offset,
            b.logical_size,
            b.compressed_size,
            b.payload_len(),
            b.key_prop,
            Digits(&b.salt),
            Digits(&b.iv),
            Digits(&b.mac),
        ),
        Body::WriteByref(b) => writeln!(
            out,
            "WRITE_BYREF object = {} checksum type = {} props = {:x} offset = {} length = {} toguid = {:x} \
             refguid = {:x} refobject = {} refoffset = {}",
            b.object.0,
            b.checksum_type.0,
            b.key_prop,
            b.offset,
            b.length,
            b.to_guid.0,
            b.ref_guid.0,
            b.ref_object.0,
            b.ref_offset,
        ),
        Body::Free(b) => writeln!(
            out,
            "FREE object = {} offset = {} length = {}",
            b.object.0,
            b.offset,
            b.length.cast_signed(),
        ),
        Body::Spill(b) => writeln!(
            out,
            "SPILL block for object = {} length = {} flags = {} compression type = {} compressed_size = {} \
             payload_size = {} salt = {} iv = {} mac = {}",
            b.object.0,
            b.length,
            b.flags.bits(),
            b.compression.0,
            b.compressed_size,
            b.payload_len(),
            Digits(&b.salt),
            Digits(&b.iv),
            Digits(&b.mac),
        ),
        Body::WriteEmbedded(b) => writeln!(
            out,
            "WRITE_EMBEDDED object = {} offset = {} length = {} toguid = {:x} comp = {} etype = {} \
             lsize = {} psize = {}",
            b.object.0,
            b.offset,
            b.length,
            b.to_guid.0,
            b.compression.0,
            b.embedded_type,
            b.logical_size,
            b.physical_size,
        ),
        Body::ObjectRange(b) => writeln!(
            out,
            "OBJECT_RANGE firstobj = {} numslots = {} flags = {} salt = {} iv = {} mac = {}",
            b.first_object.0,
            b.slot_count,
            b.flags.bits(),
            Digits(&b.salt),
            Digits(&b.iv),
            Digits(&b.mac),
        ),
        Body::Redact(b) => {
            writeln!(out, "REDACT object = {} offset = {} length = {}", b.object.0, b.offset, b.length)
        }
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Bytes of a line of a payload, and of the groups in it.
const LINE_BYTES: usize = 16;
const GROUP_BYTES: usize = 4;
/// Where the text begins in a line of a payload.
const TEXT_COLUMN: usize = 54;

/// A payload, 16 bytes to the line: in hex, then as text.
pub(super) fn hex(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    let mut line = Vec::with_capacity(TEXT_COLUMN + LINE_BYTES + LINE_BYTES / GROUP_BYTES);
    for bytes in payload.chunks(LINE_BYTES) {
        line.clear();
        for group in bytes.chunks(GROUP_BYTES) {
            line.push(b' ');
            for byte in group {
                line.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)], b' ']);
            }
        }
        line.resize(TEXT_COLUMN, b' ');
        for (index, group) in bytes.chunks(GROUP_BYTES).enumerate() {
            if index > 0 {
                line.push(b' ');
            }
            line.extend(group.iter().map(|&byte| if (b' '..=b'~').contains(&byte) { byte } else { b'.' }));
        }
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(())
}
