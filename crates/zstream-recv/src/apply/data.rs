//! WRITE, WRITE_EMBEDDED, WRITE_BYREF and SPILL: content (`receive_process_write_record`, `flush_write_batch_impl`,
//! `receive_write_embedded`, `receive_spill`).

use zstream_dmu::blkptr::CryptKind;
use zstream_dmu::block::{StoredBlock, StoredCrypt};
use zstream_dmu::ids::BlockId;
use zstream_dmu::object_set::ObjectInfo;
use zstream_dmu::receive_store::ReceiveStore;
use zstream_format::algorithm::CompressionType;
use zstream_format::byteswap;
use zstream_format::compress::decompress;
use zstream_format::flags::{BeginFlags, SpillFlags, WriteFlags};
use zstream_format::judge::MIN_BLOCK_BYTES;
use zstream_format::object_type::{ObjectType, SwapClass};
use zstream_format::order::ByteOrder;
use zstream_format::record::{Spill, Write, WriteByref, WriteEmbedded};

use super::{Apply, References, existing, find};
use crate::error::Result;
use crate::misfit::Misfit;

/// The block number, counted from the end, under which old senders write spill blocks that they embed (18239).
const SPILL_BLOCKS_FROM_END: u64 = 2;

impl Apply {
    pub(super) fn write(&mut self, set: &mut dyn ReceiveStore, body: &Write, payload: Vec<u8>) -> Result<()> {
        let info = existing(set, body.object)?;
        self.seen(body.object);
        let payload = whole(payload, body.payload_len())?;
        let is_block = is_block(&info, body.offset, body.logical_size);
        if self.terms.is_raw() {
            let Some(block) = is_block else {
                let (object, found) = (body.object, info.block_bytes);
                let (new, offset) = (body.logical_size, body.offset);
                return Err(Misfit::RawBlock { object, found, new, offset }.into());
            };
            let swapped = body.flags.contains(WriteFlags::RAW_BYTESWAP);
            let crypt = StoredCrypt {
                kind: crypt_kind(body.object_type),
                salt: body.salt,
                iv: body.iv,
                mac: body.mac,
                big_endian: self.is_foreign() != swapped,
            };
            let stored = StoredBlock {
                bytes: payload,
                logical_bytes: body.logical_size as u32,
                compression: raw_compression(body.compression),
                crypt: Some(crypt),
                embedded: false,
            };
            set.write_stored(body.object, block, stored)?;
            return Ok(());
        }
        let is_packed = body.is_compressed() && body.compression != CompressionType::OFF;
        // What comes compressed is never swapped: senders compress no metadata, and file data has no order.
        match is_block {
            Some(block) if is_packed && fits_sectors(&payload, body.logical_size) => {
                let stored = StoredBlock {
                    bytes: padded(payload),
                    logical_bytes: body.logical_size as u32,
                    compression: body.compression,
                    crypt: None,
                    embedded: false,
                };
                set.write_stored(body.object, block, stored)?;
            }
            _ => {
                let mut content =
                    if is_packed { expand(body.compression, &payload, body.logical_size)? } else { payload };
                if content.len() as u64 != body.logical_size {
                    return Err(Misfit::Payload { found: content.len(), expected: body.logical_size }.into());
                }
                if !is_packed {
                    self.swap(body.object_type, &mut content)?;
                }
                set.write(body.object, body.offset, &content)?;
            }
        }
        Ok(())
    }

    /// An embedded block. Those that are spill blocks of old senders in disguise are taken for what they are.
    pub(super) fn write_embedded(
        &mut self,
        set: &mut dyn ReceiveStore,
        body: &WriteEmbedded,
        payload: Vec<u8>,
    ) -> Result<()> {
        if body.embedded_type != 0 {
            return Err(Misfit::EmbeddedType(body.embedded_type).into());
        }
        let info = find(set, body.object)?.ok_or(Misfit::NoObjectToEmbed(body.object))?;
        self.seen(body.object);
        let mut payload = whole(payload, body.payload_len().into())?;
        payload.truncate(body.physical_size as usize);
        let from_end = u64::from(body.logical_size).wrapping_mul(SPILL_BLOCKS_FROM_END).wrapping_neg();
        let is_spill = body.offset == from_end && info.bonus_type == ObjectType::SA;
        let has_order = info.object_type.swap_class() != Some(SwapClass::U8);
        let block = is_block(&info, body.offset, body.logical_size.into());
        match block {
            Some(block)
                if !is_spill && body.length == info.block_bytes && !(self.is_foreign() && has_order) =>
            {
                let stored = StoredBlock {
                    bytes: payload,
                    logical_bytes: body.logical_size,
                    compression: body.compression,
                    crypt: None,
                    embedded: true,
                };
                set.write_stored(body.object, block, stored)?;
            }
            _ => {
                let mut content = expand(body.compression, &payload, body.logical_size.into())?;
                if is_spill {
                    let logical_bytes = body.logical_size;
                    set.set_spill(body.object, Some(plain(content, logical_bytes)))?;
                } else {
                    self.swap(info.object_type, &mut content)?;
                    set.write(body.object, body.offset, &content)?;
                }
            }
        }
        Ok(())
    }

    /// A block that was written before, in this snapshot or in one that came earlier in the stream.
    pub(super) fn write_byref(
        &mut self,
        set: &mut dyn ReceiveStore,
        references: &dyn References,
        body: &WriteByref,
    ) -> Result<()> {
        existing(set, body.object)?;
        self.seen(body.object);
        let limit = u64::from(self.terms.limits.max_block_bytes);
        if body.length > limit {
            return Err(zstream_format::judge::Breach::Above {
                field: "drr_length",
                found: body.length,
                limit,
            }
            .into());
        }
        let mut content = vec![0; body.length as usize];
        if body.ref_guid == body.to_guid {
            existing(set, body.ref_object)?;
            set.read(body.ref_object, body.ref_offset, &mut content)?;
        } else {
            let snapshot = references.snapshot(body.ref_guid).ok_or(Misfit::Reference(body.ref_guid))?;
            snapshot.read(body.ref_object, body.ref_offset, &mut content)?;
        }
        set.write(body.object, body.offset, &content)?;
        Ok(())
    }

    pub(super) fn spill(&mut self, set: &mut dyn ReceiveStore, body: &Spill, payload: Vec<u8>) -> Result<()> {
        let unmodified =
            body.flags.contains(SpillFlags::UNMODIFIED) && self.terms.flags.contains(BeginFlags::SPILL_BLOCK);
        let info = match find(set, body.object)? {
            Some(info) if unmodified && info.has_spill => return Ok(()),
            Some(info) => info,
            None if unmodified => return Ok(()),
            None => return Err(Misfit::NoObject(body.object).into()),
        };
        self.seen(body.object);
        let mut content = whole(payload, body.payload_len())?;
        let logical_bytes = body.length as u32;
        let stored = if self.terms.is_raw() {
            let swapped = body.flags.contains(SpillFlags::RAW_BYTESWAP);
            StoredBlock {
                bytes: content,
                logical_bytes,
                compression: raw_compression(body.compression),
                crypt: Some(StoredCrypt {
                    kind: crypt_kind(info.bonus_type),
                    salt: body.salt,
                    iv: body.iv,
                    mac: body.mac,
                    big_endian: self.is_foreign() != swapped,
                }),
                embedded: false,
            }
        } else {
            if content.len() as u64 != body.length {
                content = expand(body.compression, &content, body.length)?;
            }
            self.swap(body.object_type, &mut content)?;
            plain(content, logical_bytes)
        };
        set.set_spill(body.object, Some(stored))?;
        Ok(())
    }

    /// Turns content of this type into the pool's byte order.
    fn swap(&self, object_type: ObjectType, content: &mut [u8]) -> Result<(), Misfit> {
        if self.is_foreign() {
            byteswap::swap_block(object_type, content, ByteOrder::Big)?;
        }
        Ok(())
    }
}

/// The block that a write is exactly; none where it is a part of one, or more.
fn is_block(info: &ObjectInfo, offset: u64, length: u64) -> Option<BlockId> {
    (length == info.block_bytes && offset.is_multiple_of(info.block_bytes))
        .then(|| BlockId(offset / info.block_bytes))
}

pub(crate) fn whole(mut payload: Vec<u8>, expected: u64) -> Result<Vec<u8>, Misfit> {
    if (payload.len() as u64) < expected {
        return Err(Misfit::Payload { found: payload.len(), expected });
    }
    payload.truncate(expected as usize);
    Ok(payload)
}

fn crypt_kind(object_type: ObjectType) -> CryptKind {
    if object_type.is_encrypted() { CryptKind::Encrypted } else { CryptKind::Authenticated }
}

/// Raw blocks say `off` where they are not compressed; 0 stands for the same.
fn raw_compression(found: CompressionType) -> CompressionType {
    if found == CompressionType::INHERIT { CompressionType::OFF } else { found }
}

/// Whether a compressed payload is still smaller than its block once it fills sectors.
fn fits_sectors(payload: &[u8], logical_bytes: u64) -> bool {
    (payload.len().next_multiple_of(MIN_BLOCK_BYTES as usize) as u64) < logical_bytes
}

/// Fills the last sector with zeros.
fn padded(mut payload: Vec<u8>) -> Vec<u8> {
    payload.resize(payload.len().next_multiple_of(MIN_BLOCK_BYTES as usize), 0);
    payload
}

pub(crate) fn expand(
    compression: CompressionType,
    payload: &[u8],
    logical_bytes: u64,
) -> Result<Vec<u8>, Misfit> {
    let mut content = vec![0; logical_bytes as usize];
    match compression {
        CompressionType::OFF | CompressionType::INHERIT => {
            let found = payload.len();
            if found as u64 != logical_bytes {
                return Err(Misfit::Payload { found, expected: logical_bytes });
            }
            content.copy_from_slice(payload);
        }
        _ => decompress(compression, payload, &mut content)?,
    }
    Ok(content)
}

fn plain(bytes: Vec<u8>, logical_bytes: u32) -> StoredBlock {
    StoredBlock { bytes, logical_bytes, compression: CompressionType::OFF, crypt: None, embedded: false }
}
