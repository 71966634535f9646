//! The encryption of one block of a raw stream.

use zstream_dmu::blkptr::{BlockPointer, NormalBlock};
use zstream_dmu::error::{Error, Result};
use zstream_dmu::zio::crypt::{CryptParams, DatasetKey};
use zstream_format::byteswap;
use zstream_format::flags::{SpillFlags, WriteFlags};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::record::{Body, HEADER_LEN, Header};

use super::tree::{mac_words, template};
use crate::log::Stored;
use crate::source::Source;

/// The encryption parameters and the type of a raw block, from the header of its record.
pub(crate) struct Seal {
    params: CryptParams,
    object_type: ObjectType,
    /// The byte order in which the block was written.
    pub(crate) order: ByteOrder,
}

impl Seal {
    /// Reads the header before a block; `order` is the byte order of the header.
    pub(crate) fn read(source: &Source, stored: &Stored, order: ByteOrder) -> Result<Self> {
        let mut bytes = [0; HEADER_LEN];
        let at = stored.place.checked_sub(HEADER_LEN as u64);
        let at = at.ok_or_else(|| Error::corrupt("block of a raw stream", "it has no header before it"))?;
        source.read_exact(at, &mut bytes)?;
        let (params, object_type, swapped) = match Header::from_bytes(bytes, order).body() {
            Some(Body::Write(body)) => (
                CryptParams { salt: body.salt, iv: body.iv, mac: body.mac },
                body.object_type,
                body.flags.contains(WriteFlags::RAW_BYTESWAP),
            ),
            Some(Body::Spill(body)) => (
                CryptParams { salt: body.salt, iv: body.iv, mac: body.mac },
                // Senders leave the type in the record zero.
                ObjectType::SA,
                body.flags.contains(SpillFlags::RAW_BYTESWAP),
            ),
            _ => return Err(Error::corrupt("block of a raw stream", "its header is not that of a block")),
        };
        Ok(Self { params, object_type, order: if swapped { order.swapped() } else { order } })
    }

    /// Decrypts the stored bytes, or authenticates them if blocks of the type are not encrypted.
    pub(crate) fn open(&self, key: &DatasetKey, stored: &mut [u8]) -> Result<()> {
        if self.object_type.is_encrypted() {
            key.decrypt(stored, &self.params)
        } else {
            key.authenticate(stored, &self.params.mac)
        }
    }

    /// Swaps the block if it is big-endian.
    pub(crate) fn swap(&self, block: &mut [u8]) -> Result<()> {
        if self.order == ByteOrder::Big {
            byteswap::swap_block(self.object_type, block, ByteOrder::Big)?;
        }
        Ok(())
    }

    /// Returns the authenticated part of the pointer to the block.
    pub(super) fn pointer(&self, stored: &Stored) -> BlockPointer {
        BlockPointer::normal(&NormalBlock {
            lsize: stored.logical.into(),
            psize: stored.physical.into(),
            compression: stored.compression,
            object_type: self.object_type,
            byte_order: self.order,
            checksum: mac_words(&self.params.mac, self.order),
            ..template()
        })
    }
}
