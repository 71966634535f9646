//! Stored streams as object sets: the result of a receive, without receiving.
//!
//! ```text
//! files -> index: one pass, a log per substream -> Streams: the list of snapshots
//!                                                     | view: replay the logs of a snapshot and its sources
//!                                                     v
//!          positioned reads of single payloads <- StreamView: an ObjectSet
//! ```
//!
//! Nothing is copied or unpacked: a view has the location of the payload for each block of each object, and reads,
//! decompresses and swaps it on request. The input is one or more files, each with one or more streams, in the order in
//! which they would be received. They may be full and incremental, clones, packages, compressed, deduplicated, redacted,
//! in either byte order, and continuations of a stream that was cut short.
//!
//! Invariants:
//! - The pass verifies all checksums (unless requested otherwise) and the rules of receivers. Payloads are not verified
//!   again when they are read: the files must not change meanwhile.
//! - Unknown content is never shown as zeros: reading a redacted block returns [`Fault::Redacted`], and reading after the
//!   point at which a stream was cut short returns [`Fault::Absent`].
//! - In a stream that was cut short, a payload that no checksum covers is not shown.
//! - A snapshot in raw (encrypted) streams is shown after its key was loaded
//!   ([`Streams::unlock`](crate::Streams::unlock)). Everything is authenticated, as in a pool.

use std::sync::Arc;

use rayon::prelude::*;
use zstream_dmu::block::Block;
use zstream_dmu::error::{Error, Fault, Result};
use zstream_dmu::ids::{BlockId, Bookmark, ObjectId};
use zstream_dmu::object_set::{ObjectInfo, ObjectSet};
use zstream_dmu::zio::crypt::DatasetKey;
use zstream_format::algorithm::CompressionType;
use zstream_format::byteswap;
use zstream_format::compress;
use zstream_format::object_type::{ObjectType, ObjsetType};
use zstream_format::order::ByteOrder;

use crate::entry::{Entry, Extent};
use crate::log::{Content, Snapshot, Stored, Swap};
use crate::objects::Objects;
use crate::raw::{Seal, at};
use crate::source::Source;

/// The objects of one snapshot in stored streams.
#[derive(Debug)]
pub struct StreamView {
    pub(crate) files: Arc<[Source]>,
    pub(crate) snapshot: Snapshot,
    pub(crate) objects: Objects,
    /// The key of a raw stream.
    pub(crate) key: Option<Arc<DatasetKey>>,
}

impl StreamView {
    /// The snapshot.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    fn entry(&self, object: ObjectId) -> Result<&Entry> {
        match self.objects.get(object.0) {
            Ok(Some(entry)) => Ok(entry),
            Ok(None) => Err(Fault::NoObject(object).into()),
            Err(_) => Err(Error::from(Fault::Absent).at_bookmark(at(object, BlockId(0)))),
        }
    }

    /// Reads and decodes the block of an extent.
    fn stored(&self, stored: &Stored, object_type: ObjectType) -> Result<Vec<u8>> {
        let mut payload = vec![0; stored.physical as usize];
        self.file(stored).read_exact(stored.place, &mut payload)?;
        let order = stored.swap.raw_order();
        let seal = order.map(|order| Seal::read(self.file(stored), stored, order)).transpose()?;
        if let Some(seal) = &seal {
            let locked = || Fault::Encrypted { what: self.snapshot.name.clone() };
            seal.open(self.key.as_ref().ok_or_else(locked)?, &mut payload)?;
        }
        let mut block = if stored.compression == CompressionType::OFF {
            payload
        } else {
            let mut block = vec![0; stored.logical as usize];
            compress::decompress(stored.compression, &payload, &mut block)?;
            block
        };
        match stored.swap {
            Swap::No => {}
            Swap::RawLittle | Swap::RawBig => seal.map_or(Ok(()), |seal| seal.swap(&mut block))?,
            Swap::Class(class) => byteswap::swap(class, &mut block, ByteOrder::Big)?,
            Swap::ByObject => byteswap::swap_block(object_type, &mut block, ByteOrder::Big)?,
        }
        Ok(block)
    }

    fn file(&self, stored: &Stored) -> &Source {
        // The index is valid: it was assigned when the file was indexed.
        &self.files[usize::from(stored.file)]
    }

    /// Adds the file and the offset of the block to an error.
    fn located(&self, error: Error, stored: &Stored) -> Error {
        error.on_vdev(self.file(stored).name()).at_offset(stored.place)
    }

    /// Reads the content of an extent into `out`.
    fn fill(&self, extent: &Extent, object_type: ObjectType, out: &mut [u8]) -> Result<()> {
        let stored = match &extent.content {
            Content::Stored(stored) => stored,
            Content::Redacted => return Err(Fault::Redacted.into()),
            Content::Absent => return Err(Fault::Absent.into()),
        };
        let skip = u64::from(stored.skip);
        let outcome = if stored.compression == CompressionType::OFF && stored.swap == Swap::No {
            self.file(stored).read_exact(stored.place + skip, out).map_err(Error::from)
        } else {
            self.stored(stored, object_type).and_then(|block| {
                let part = block.get(skip as usize..).and_then(|rest| rest.get(..out.len()));
                let short =
                    || Error::corrupt("block", format!("size is {} bytes, expected more", block.len()));
                out.copy_from_slice(part.ok_or_else(short)?);
                Ok(())
            })
        };
        outcome.map_err(|error| self.located(error, stored))
    }

    /// Reads the content of an object at `offset` into `out`.
    fn fill_range(&self, object: ObjectId, entry: &Entry, offset: u64, out: &mut [u8]) -> Result<()> {
        let end = offset.saturating_add(out.len() as u64);
        let (mut parts, mut rest, mut here) = (Vec::new(), out, offset);
        for (start, extent) in entry.within(offset, end) {
            let (hole, behind) = rest.split_at_mut((start - here) as usize);
            hole.fill(0);
            let (part, behind) = behind.split_at_mut(extent.len as usize);
            parts.push((start, extent, part));
            (rest, here) = (behind, start + extent.len);
        }
        rest.fill(0);
        let block_bytes = u64::from(entry.op.block_bytes);
        let one = |(start, extent, part): (u64, Extent, &mut [u8])| {
            self.fill(&extent, entry.op.object_type, part)
                .map_err(|error| error.at_bookmark(at(object, BlockId(start / block_bytes))))
        };
        match parts.len() {
            0 | 1 => parts.into_iter().try_for_each(one),
            _ => parts.into_par_iter().try_for_each(one),
        }
    }
}

impl ObjectSet for StreamView {
    fn objset_id(&self) -> u64 {
        0
    }

    fn objset_type(&self) -> ObjsetType {
        self.snapshot.objset_type
    }

    fn info(&self, object: ObjectId) -> Result<ObjectInfo> {
        let entry = self.entry(object)?;
        let op = &entry.op;
        let block_bytes = u64::from(op.block_bytes);
        Ok(ObjectInfo {
            object,
            object_type: op.object_type,
            bonus_type: op.bonus_type,
            bonus: Some(op.bonus.clone()),
            block_bytes,
            indirect_bytes: None,
            levels: None,
            max_block: BlockId(entry.end().div_ceil(block_bytes).saturating_sub(1)),
            dn_slots: op.slots,
            has_spill: entry.spill.is_some(),
            checksum_type: op.checksum_type,
            compression: op.compression,
            used_bytes: None,
        })
    }

    fn next_object(&self, from: ObjectId) -> Result<Option<ObjectId>> {
        Ok(self.objects.next(from.0).map(ObjectId))
    }

    fn block(&self, object: ObjectId, block: BlockId) -> Result<Option<Block>> {
        let entry = self.entry(object)?;
        let bytes = u64::from(entry.op.block_bytes);
        let Some(start) = block.0.checked_mul(bytes) else { return Ok(None) };
        if entry.within(start, start.saturating_add(bytes)).next().is_none() {
            return Ok(None);
        }
        let mut content = vec![0; entry.op.block_bytes as usize];
        self.fill_range(object, entry, start, &mut content)?;
        Ok(Some(content.into()))
    }

    fn read(&self, object: ObjectId, offset: u64, out: &mut [u8]) -> Result<()> {
        self.fill_range(object, self.entry(object)?, offset, out)
    }

    fn next_data(&self, object: ObjectId, offset: u64) -> Result<Option<u64>> {
        // Content ends before the last byte that can be numbered: what `next_hole` gives there is the end.
        if offset == u64::MAX {
            return Ok(None);
        }
        let entry = self.entry(object)?;
        let bytes = u64::from(entry.op.block_bytes);
        let found = entry.from(offset / bytes * bytes);
        Ok(found.map(|(start, _)| (start / bytes * bytes).max(offset)))
    }

    fn next_hole(&self, object: ObjectId, offset: u64) -> Result<u64> {
        let entry = self.entry(object)?;
        let bytes = u64::from(entry.op.block_bytes);
        let mut here = offset / bytes * bytes;
        while let Some((start, extent)) = entry.from(here)
            && start < here.saturating_add(bytes)
        {
            let end = start.saturating_add(extent.len);
            match end.checked_next_multiple_of(bytes) {
                Some(next) => here = next,
                None => return Ok(u64::MAX),
            }
        }
        Ok(here.max(offset))
    }

    fn spill(&self, object: ObjectId) -> Result<Option<Block>> {
        let entry = self.entry(object)?;
        let place = at(object, Bookmark::SPILL);
        let content = match &entry.spill {
            None => return Ok(None),
            Some(Content::Stored(stored)) => {
                self.stored(stored, ObjectType::SA).map_err(|error| self.located(error, stored))
            }
            Some(Content::Redacted) => Err(Fault::Redacted.into()),
            Some(Content::Absent) => Err(Fault::Absent.into()),
        };
        content.map(|block| Some(block.into())).map_err(|error| error.at_bookmark(place))
    }
}
