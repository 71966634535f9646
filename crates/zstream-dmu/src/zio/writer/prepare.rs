//! Blocks prepared to be written, as far as that does not depend on their location: compressed, encrypted, summed.

use std::borrow::Cow;

use zstream_format::algorithm::CompressionType;
use zstream_format::checksum::checksum;
use zstream_format::compress::{DiskForm, compress_for_disk};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::BlockWriter;
use crate::blkptr::{
    BLOCK_BYTES_MAX, BlockKind, BlockPointer, DVAS_PER_BLOCK_POINTER, Dva, NormalBlock, SECTOR_BYTES,
};
use crate::block::StoredBlock;
use crate::error::{Error, Fault, Result};
use crate::ids::Txg;
use crate::zio::protect::{Seal, kept, protect};
use crate::zio::verify::{is_cut, truncated};
use crate::zio::write::{Content, Protection, WriteBlock as _, WriteProps, WriteRequest};

/// A block in its stored form, not yet allocated.
pub(super) struct Prepared<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) block: NormalBlock,
    pub(super) seal: Seal,
    pub(super) in_place: bool,
}

/// What is written of a block.
pub(super) enum Form<'a> {
    /// A block that is completely in its pointer.
    Pointer(BlockPointer),
    Stored(Prepared<'a>),
}

impl BlockWriter {
    /// Prepares a block as far as it does not depend on its location.
    pub(super) fn prepare<'a>(&self, request: &WriteRequest<'a>) -> Result<Form<'a>> {
        let form = match request.content {
            Content::Logical(content) => self.prepare_logical(request, content),
            Content::Stored(stored) => self.prepare_stored(request, stored),
        };
        form.map_err(|error| error.at_bookmark(request.at))
    }

    fn prepare_logical<'a>(&self, request: &WriteRequest<'a>, content: &'a [u8]) -> Result<Form<'a>> {
        let props = &request.props;
        check_size(content.len() as u64)?;
        let target = self.target(request);
        let kind =
            if self.settings.is_uncompressed() { CompressionType::OFF } else { props.compression.kind };
        let (bytes, compression) = match compress_for_disk(
            kind,
            props.compression.level,
            content,
            self.space.unit_shift(),
            self.may_embed(props) && target.is_none(),
        )
        .map_err(Fault::from)?
        {
            DiskForm::Hole => {
                let hole = self.hole(&request.before, props.object_type, props.level, content.len() as u64);
                return Ok(Form::Pointer(hole));
            }
            DiskForm::Embedded(payload) => {
                let pointer = BlockPointer::embedded(
                    &payload,
                    content.len() as u64,
                    kind,
                    props.object_type,
                    props.level,
                    self.txg(),
                );
                return pointer.map(Form::Pointer).ok_or_else(|| Error::internal("embedded block is empty"));
            }
            DiskForm::Compressed(bytes) => (Cow::Owned(bytes), kind),
            DiskForm::Plain => (Cow::Borrowed(content), CompressionType::OFF),
        };
        self.finish(request, content, bytes, compression, target).map(Form::Stored)
    }

    /// Chooses between the location of the previous block and a new one, and computes the checksum.
    fn finish<'a>(
        &self,
        request: &WriteRequest<'a>,
        content: &'a [u8],
        mut bytes: Cow<'a, [u8]>,
        mut compression: CompressionType,
        target: Option<u64>,
    ) -> Result<Prepared<'a>> {
        let lsize = content.len() as u64;
        let mut in_place = false;
        if let Some(target) = target {
            in_place = bytes.len() as u64 <= target && target <= lsize;
            // Content that exceeds its location gets a new one of at least twice the size, so that a block moves only
            // a few times in a transaction group, no matter how often it is written.
            let unit = SECTOR_BYTES.max(1 << self.space.unit_shift());
            let roomy = (2 * target).max(bytes.len() as u64).next_multiple_of(unit);
            let psize = if in_place { target } else { roomy };
            if psize < lsize {
                bytes.to_mut().resize(psize as usize, 0);
            } else {
                (bytes, compression) = (Cow::Borrowed(content), CompressionType::OFF);
                in_place = target == lsize;
            }
        }
        let seal = protect(&request.props, request.at.objset, &self.keys, content, &mut bytes)?;
        let block = self.sum(request, &bytes, lsize, compression, ByteOrder::Little)?;
        Ok(Prepared { bytes, block, seal, in_place })
    }

    fn prepare_stored<'a>(&self, request: &WriteRequest<'a>, stored: &'a StoredBlock) -> Result<Form<'a>> {
        let props = &request.props;
        let lsize = u64::from(stored.logical_bytes);
        check_size(lsize)?;
        if stored.embedded {
            if !self.settings.embedded_data || props.protection != Protection::Plain {
                return Err(Error::unsupported("an embedded block in this dataset"));
            }
            let pointer = BlockPointer::embedded(
                &stored.bytes,
                lsize,
                stored.compression,
                props.object_type,
                props.level,
                self.txg(),
            );
            return pointer
                .map(Form::Pointer)
                .ok_or_else(|| Error::bad_shape(format!("embedded block is {} bytes", stored.bytes.len())));
        }
        // The unit of the pool may be larger than that of the stream. Encrypted blocks cannot be padded, because the
        // MAC covers them as stored.
        let unit = if stored.crypt.is_some() { SECTOR_BYTES } else { 1 << self.space.unit_shift() };
        let padded = (stored.bytes.len() as u64).next_multiple_of(unit).min(lsize);
        let is_plain = stored.compression == CompressionType::OFF;
        let is_short = stored.crypt.is_some() && stored.bytes.len() as u64 != padded;
        if stored.bytes.len() as u64 > padded || is_short || is_plain && stored.bytes.len() as u64 != lsize {
            return Err(Error::bad_shape(format!(
                "block is {} bytes stored and {lsize} logical, with compression {}",
                stored.bytes.len(),
                stored.compression
            )));
        }
        let mut bytes = Cow::Borrowed(&stored.bytes[..]);
        if bytes.len() as u64 != padded {
            bytes.to_mut().resize(padded as usize, 0);
        }
        let (seal, order) = match &stored.crypt {
            Some(crypt) => kept(props, crypt)?,
            None => {
                if props.level > 0 {
                    return Err(Error::internal("an indirect block is already in its stored form"));
                }
                (protect(props, request.at.objset, &self.keys, &[], &mut bytes)?, ByteOrder::Little)
            }
        };
        let block = self.sum(request, &bytes, lsize, stored.compression, order)?;
        let in_place = self.target(request) == Some(padded);
        Ok(Form::Stored(Prepared { bytes, block, seal, in_place }))
    }

    /// Returns the stored size of a block that can be overwritten in place because it was written in this transaction
    /// group and has no other references.
    fn target(&self, request: &WriteRequest<'_>) -> Option<u64> {
        let before = &request.before;
        let is_new = before.kind() == BlockKind::Normal
            && before.birth() == self.txg()
            && before.physical_birth() == self.txg()
            && !before.is_dedup()
            && request.props.dedup.is_none()
            && if before.is_gang() {
                self.gang(before.dva(0)).is_some()
            } else {
                before.dvas().count() == usize::from(request.props.copies)
            };
        is_new.then(|| before.psize())
    }

    fn may_embed(&self, props: &WriteProps) -> bool {
        props.may_embed
            && self.settings.embedded_data
            && props.level == 0
            && props.protection == Protection::Plain
            && !matches!(props.object_type, ObjectType::DNODE | ObjectType::OBJSET)
    }

    /// Returns the fields of the pointer, without addresses.
    fn sum(
        &self,
        request: &WriteRequest<'_>,
        bytes: &[u8],
        lsize: u64,
        compression: CompressionType,
        byte_order: ByteOrder,
    ) -> Result<NormalBlock> {
        let props = &request.props;
        let sum = checksum(props.checksum, bytes, byte_order, self.settings.salt.as_ref())?;
        let uses_crypt = props.protection != Protection::Plain;
        let sum = if is_cut(uses_crypt, props.object_type) { truncated(props.checksum, sum) } else { sum };
        Ok(NormalBlock {
            dvas: [Dva::default(); DVAS_PER_BLOCK_POINTER],
            lsize,
            psize: bytes.len() as u64,
            compression,
            checksum_type: props.checksum,
            object_type: props.object_type,
            level: props.level,
            dedup: props.dedup.is_some(),
            uses_crypt,
            byte_order,
            logical_birth: self.txg(),
            physical_birth: Txg(0),
            fill: props.fill,
            checksum: sum.0,
        })
    }
}

fn check_size(lsize: u64) -> Result<()> {
    if lsize == 0 || lsize > BLOCK_BYTES_MAX {
        return Err(Fault::TooLarge { what: "block", size: lsize, limit: BLOCK_BYTES_MAX }.into());
    }
    Ok(())
}
