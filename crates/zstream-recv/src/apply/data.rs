//! Content records: WRITE, WRITE_EMBEDDED, WRITE_BYREF and SPILL (`receive_process_write_record`,
//! `flush_write_batch_impl`, `receive_write_embedded`, `receive_spill`).

use zstream_dmu::ReceiveStore;
use zstream_dmu::blkptr::CryptKind;
use zstream_dmu::block::{StoredBlock, StoredCrypt};
use zstream_dmu::ids::BlockId;
use zstream_dmu::object_set::{ObjectInfo, ObjectSet};
use zstream_dmu::objset::Objset;
use zstream_format::algorithm::CompressionType;
use zstream_format::byteswap;
use zstream_format::compress::decompress;
use zstream_format::effect::{self, SpillEffect};
use zstream_format::flags::{SpillFlags, WriteFlags};
use zstream_format::judge::MIN_BLOCK_BYTES;
use zstream_format::object_type::{ObjectType, SwapClass};
use zstream_format::order::ByteOrder;
use zstream_format::record::{Spill, Write, WriteByref, WriteEmbedded};

use super::{Apply, References, existing, find};
use crate::error::Result;
use crate::misfit::Misfit;

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
        // Compressed payloads are never swapped: senders do not compress metadata, and file data has no byte order.
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

    /// Writes an embedded block. Spill blocks that old senders send as embedded blocks are stored as spill blocks.
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
        let is_spill = effect::is_disguised_spill(info.bonus_type, body.offset, body.logical_size.into());
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

    /// Copies a block that was written before, in this snapshot or an earlier one of the stream. In a raw stream it is
    /// copied as stored, with its encryption parameters (`receive_write_byref` of OpenZFS 0.8, the last version that
    /// accepts references).
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
        let raw = self.terms.is_raw();
        let snapshot = if body.ref_guid == body.to_guid {
            existing(set, body.ref_object)?;
            None
        } else {
            let snapshot = references.snapshot(body.ref_guid).filter(|snapshot| snapshot.is_locked() == raw);
            Some(snapshot.ok_or(Misfit::Reference(body.ref_guid))?)
        };
        if raw {
            return copy_stored(set, snapshot.as_deref(), body);
        }
        let mut content = vec![0; body.length as usize];
        match snapshot {
            None => set.read(body.ref_object, body.ref_offset, &mut content)?,
            Some(snapshot) => snapshot.read(body.ref_object, body.ref_offset, &mut content)?,
        }
        set.write(body.object, body.offset, &content)?;
        Ok(())
    }

    pub(super) fn spill(&mut self, set: &mut dyn ReceiveStore, body: &Spill, payload: Vec<u8>) -> Result<()> {
        let found = find(set, body.object)?;
        let has_spill = found.as_ref().map(|info| info.has_spill);
        let info = match (effect::spill(&self.terms, body.flags, has_spill), found) {
            (SpillEffect::Ignored, _) => return Ok(()),
            (SpillEffect::Stored, Some(info)) => info,
            (SpillEffect::Stored, None) | (SpillEffect::NoObject, _) => {
                return Err(Misfit::NoObject(body.object).into());
            }
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

    /// Converts content of this type to the pool's byte order.
    fn swap(&self, object_type: ObjectType, content: &mut [u8]) -> Result<(), Misfit> {
        if self.is_foreign() {
            byteswap::swap_block(object_type, content, ByteOrder::Big)?;
        }
        Ok(())
    }
}

/// Copies a stored block from this set, or from a snapshot that was received raw.
fn copy_stored(set: &mut dyn ReceiveStore, snapshot: Option<&Objset>, body: &WriteByref) -> Result<()> {
    let own = existing(set, body.object)?;
    let from = match snapshot {
        None => existing(set, body.ref_object)?,
        Some(snapshot) => snapshot.info(body.ref_object)?,
    };
    let whole = |object, info: &ObjectInfo, offset| {
        is_block(info, offset, body.length).ok_or(Misfit::RawBlock {
            object,
            found: info.block_bytes,
            new: body.length,
            offset,
        })
    };
    let block = whole(body.object, &own, body.offset)?;
    let referenced = whole(body.ref_object, &from, body.ref_offset)?;
    let stored = match snapshot {
        None => set.stored_block(body.ref_object, referenced)?,
        Some(snapshot) => snapshot.stored_block(body.ref_object, referenced)?,
    };
    // An encrypted block of zeros is not a hole.
    let stored =
        stored.ok_or(Misfit::ReferenceToHole { object: body.ref_object, offset: body.ref_offset })?;
    set.write_stored(body.object, block, stored)?;
    Ok(())
}

/// Returns the block that a write covers exactly; `None` if it covers a part of a block, or several.
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

/// Returns the compression of a raw block: those that are not compressed have `off`, and 0 means the same.
fn raw_compression(found: CompressionType) -> CompressionType {
    if found == CompressionType::INHERIT { CompressionType::OFF } else { found }
}

/// Returns `true` if a compressed payload that is padded to whole sectors is still smaller than its block.
fn fits_sectors(payload: &[u8], logical_bytes: u64) -> bool {
    (payload.len().next_multiple_of(MIN_BLOCK_BYTES as usize) as u64) < logical_bytes
}

/// Pads the last sector with zeros.
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
