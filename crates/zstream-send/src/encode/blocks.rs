//! The records of the content of objects: WRITE, WRITE_EMBEDDED and SPILL.

use zstream_dmu::blkptr::{BlockPointer, CryptKind};
use zstream_dmu::error::Error as DmuError;
use zstream_dmu::ids::ObjectId;
use zstream_format::algorithm::CompressionType;
use zstream_format::checksum::Checksum;
use zstream_format::flags::{SpillFlags, WriteFlags};
use zstream_format::object_type::ObjectType;
use zstream_format::record::{Spill, Write, WriteEmbedded};

use super::{Crypt, Encoder};
use crate::error::Result;
use crate::form::{BlockForm, OLD_BLOCK_BYTES_MAX, ORDER};
use crate::load::{Content, Loaded};
use crate::output::Payload;
use crate::progress::Replaced;

impl Encoder<'_> {
    /// Writes a block of an object.
    pub(super) fn data(
        &mut self,
        loaded: Loaded,
        buffer: &[u8],
        pointer: &BlockPointer,
        object_type: ObjectType,
        block_bytes: u64,
    ) -> Result<()> {
        let (range, form) = (&loaded.range, loaded.form.unwrap_or(BlockForm::Logical));
        let object = ObjectId(range.object);
        let (payload, replaced) = match &loaded.content {
            Content::None => (Payload::from(&[][..]), false),
            Content::Block { at, sum } => {
                (Payload { bytes: &buffer[at.clone()], sum: *sum, start: Some(at.start) }, false)
            }
            Content::Replaced { bytes } => (Payload::from(&bytes[..]), true),
            Content::Failed(_) => (Payload::from(&[][..]), false),
        };
        if let Content::Failed(error) = loaded.content {
            return Err(error.into());
        }
        if range.is_spill() {
            if replaced {
                let length = pointer.lsize();
                self.replaced.push(Replaced { object: object.0, offset: range.start, length });
            }
            return self.spill(object, pointer, payload);
        }
        let offset = range.start.checked_mul(block_bytes).ok_or_else(|| {
            let detail =
                format!("block {} of {block_bytes} bytes of object {object} starts past 2^64", range.start);
            DmuError::corrupt("dnode", detail)
        })?;
        if replaced {
            self.replaced.push(Replaced { object: object.0, offset, length: block_bytes });
        }
        let plain = || Write::plain(object, object_type, offset, block_bytes, self.to_guid);
        match form {
            BlockForm::Embedded => self.embedded(object, offset, block_bytes, pointer),
            BlockForm::Split => self.split(object, object_type, offset, block_bytes, payload),
            _ if replaced => {
                let write = plain();
                self.write(write, payload)
            }
            BlockForm::Stored | BlockForm::Compressed | BlockForm::Logical => {
                let write = self.keyed_write(plain(), form, pointer);
                self.write(write, payload)
            }
        }
    }

    fn write(&mut self, write: Write, payload: Payload<'_>) -> Result<()> {
        self.write_pending()?;
        self.output.record_with(write, payload)
    }

    /// Sets the compression and the encryption parameters of the payload, and the key for deduplicated streams: the checksum
    /// of the stored block, if it is that of the payload.
    fn keyed_write(&self, mut write: Write, form: BlockForm, pointer: &BlockPointer) -> Write {
        let raw = form == BlockForm::Stored;
        if form != BlockForm::Logical {
            write.compression = pointer.compression();
            write.compressed_size = pointer.psize();
        }
        if raw {
            let crypt = Crypt::of(pointer);
            (write.salt, write.iv, write.mac) = (crypt.salt, crypt.iv, crypt.mac);
            write.flags.set(WriteFlags::RAW_BYTESWAP, pointer.byte_order() != ORDER);
        }
        let is_protected = matches!(pointer.crypt_kind(), CryptKind::Encrypted | CryptKind::Authenticated);
        if !pointer.is_embedded() && (raw || !is_protected) {
            write.checksum_type = pointer.checksum_type();
            write.flags.set(WriteFlags::CHECKSUM_DEDUP, write.checksum_type.is_dedup_capable());
            write.key_checksum = Checksum(pointer.checksum());
            // If only sizes are requested, the pointer may be one that cannot be read.
            let sectors = |bytes: u64| (bytes / 512).wrapping_sub(1) & 0xffff;
            write.key_prop = sectors(pointer.lsize())
                | sectors(pointer.psize()) << 16
                | u64::from(pointer.compression().0 & 0x7f) << 32
                | u64::from(is_protected) << 39;
        }
        write
    }

    /// Writes a block in pieces that every receiver accepts.
    fn split(
        &mut self,
        object: ObjectId,
        object_type: ObjectType,
        offset: u64,
        block_bytes: u64,
        payload: Payload<'_>,
    ) -> Result<()> {
        let mut done = 0;
        while done < block_bytes {
            let size = OLD_BLOCK_BYTES_MAX.min(block_bytes - done);
            let bytes = payload.bytes.get(done as usize..(done + size) as usize).unwrap_or_default();
            let start = payload.start.map(|start| start + done as usize);
            let at = offset.saturating_add(done);
            let write = Write::plain(object, object_type, at, size, self.to_guid);
            self.write(write, Payload { bytes, sum: None, start })?;
            done += size;
        }
        Ok(())
    }

    fn embedded(
        &mut self,
        object: ObjectId,
        offset: u64,
        block_bytes: u64,
        pointer: &BlockPointer,
    ) -> Result<()> {
        self.write_pending()?;
        let Some(mut payload) = pointer.embedded_payload() else {
            let detail = format!("{} bytes cannot be embedded", pointer.embedded_psize());
            return Err(DmuError::corrupt("block pointer", detail).into());
        };
        let physical_size = payload.len();
        payload.resize(physical_size.next_multiple_of(8), 0);
        let record = WriteEmbedded {
            object,
            offset,
            length: block_bytes,
            to_guid: self.to_guid,
            compression: pointer.compression(),
            embedded_type: 0,
            pad: [0; 6],
            logical_size: pointer.lsize() as u32,
            physical_size: physical_size as u32,
        };
        self.output.record_with(record, Payload::from(&payload[..]))
    }

    /// Writes the spill block of an object (`dump_spill`).
    fn spill(&mut self, object: ObjectId, pointer: &BlockPointer, payload: Payload<'_>) -> Result<()> {
        self.write_pending()?;
        let mut record = Spill {
            object,
            length: pointer.lsize(),
            to_guid: self.to_guid,
            flags: SpillFlags::empty(),
            compression: CompressionType::INHERIT,
            pad: [0; 6],
            compressed_size: 0,
            salt: [0; 8],
            iv: [0; 12],
            mac: [0; 16],
            object_type: ObjectType::NONE,
        };
        let is_unmodified = self.unmodified_spill.is_some_and(|floor| pointer.logical_birth() <= floor);
        record.flags.set(SpillFlags::UNMODIFIED, is_unmodified);
        if self.is_raw() {
            let crypt = Crypt::of(pointer);
            (record.salt, record.iv, record.mac) = (crypt.salt, crypt.iv, crypt.mac);
            record.flags.set(SpillFlags::RAW_BYTESWAP, pointer.byte_order() != ORDER);
            record.compression = pointer.compression();
            record.compressed_size = pointer.psize();
        }
        self.output.record_with(record, payload)
    }
}
