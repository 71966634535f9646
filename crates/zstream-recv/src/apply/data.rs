//! WRITE, WRITE_EMBEDDED, WRITE_BYREF and SPILL: content (`receive_process_write_record`, `flush_write_batch_impl`,
//! `receive_write_embedded`, `receive_spill`).

use zstream_dmu::blkptr::CryptKind;
use zstream_dmu::block::{StoredBlock, StoredCrypt};
use zstream_dmu::ids::BlockId;
use zstream_dmu::object_set::{ObjectInfo, ObjectSet};
use zstream_dmu::objset::Objset;
use zstream_dmu::receive_store::ReceiveStore;
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

    /// A block that was written before, in this snapshot or in one that came earlier in the stream. In a raw stream it is copied as
    /// it is stored, with the parameters of its encryption (`receive_write_byref` of OpenZFS 0.8, the last that takes references).
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

    /// Turns content of this type into the pool's byte order.
    fn swap(&self, object_type: ObjectType, content: &mut [u8]) -> Result<(), Misfit> {
        if self.is_foreign() {
            byteswap::swap_block(object_type, content, ByteOrder::Big)?;
        }
        Ok(())
    }
}

/// Makes a block what another one is, of this set or of a snapshot that was received raw.
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
    // What is encrypted is no hole, even if it is zeros.
    let stored =
        stored.ok_or(Misfit::ReferenceToHole { object: body.ref_object, offset: body.ref_offset })?;
    set.write_stored(body.object, block, stored)?;
    Ok(())
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
