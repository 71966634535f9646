//! The writer of blocks: the only code through which blocks of a pool are written.

mod alike;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use rayon::prelude::*;
use zstream_format::algorithm::CompressionType;
use zstream_format::checksum::{Salt, checksum};
use zstream_format::compress::{DiskForm, compress_for_disk};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use self::alike::{Alike, Taken};
use super::crypt::{DatasetKey, Keyring};
use super::large_headers::LargeHeaders;
use super::place::{Demand, GangWrite, Placed, Sum};
use super::protect::{Seal, kept, key, protect};
use super::verify::{is_cut, truncated};
use super::write::{Content, Protection, WriteBlock, WriteProps, WriteRequest, Written};
use crate::blkptr::{
    BLOCK_BYTES_MAX, BlockKind, BlockPointer, DVAS_PER_BLOCK_POINTER, Dva, NormalBlock, SECTOR_BYTES,
};
use crate::block::StoredBlock;
use crate::error::{Error, Fault, Result};
use crate::ids::Txg;
use crate::lock::lock;
use crate::zio::{AllocationClass, Same, Space};

/// The approximate number of bytes that are passed to the devices at once.
const TOGETHER_BYTES: usize = 1 << 20;

/// The properties of a pool on which the form of its blocks depends.
#[derive(Clone, Debug, Default)]
pub struct WriterSettings {
    /// The salt of the pool, which keyed checksums require.
    pub salt: Option<Salt>,
    /// `true` if the feature `hole_birth` is enabled: holes have a birth.
    pub hole_birth: bool,
    /// `true` if the feature `embedded_data` is enabled: short content is stored in the pointer.
    pub embedded_data: bool,
    /// The use of large gang headers.
    pub large_headers: Arc<LargeHeaders>,
    /// For tests: larger blocks become gang blocks, even if there is space for them as a whole
    /// (`metaslab_force_ganging`).
    #[cfg(any(test, feature = "testing"))]
    pub whole_max: Option<u64>,
    /// For tests: blocks are not compressed (`zfs_mdcomp_disable`), so that each can be changed in place.
    #[cfg(any(test, feature = "testing"))]
    pub is_uncompressed: bool,
}

#[cfg(any(test, feature = "testing"))]
impl WriterSettings {
    fn whole_max(&self) -> Option<u64> {
        self.whole_max
    }

    fn is_uncompressed(&self) -> bool {
        self.is_uncompressed
    }
}

#[cfg(not(any(test, feature = "testing")))]
impl WriterSettings {
    fn whole_max(&self) -> Option<u64> {
        None
    }

    fn is_uncompressed(&self) -> bool {
        false
    }
}

/// A writer of the blocks of a pool.
pub struct BlockWriter {
    space: Arc<dyn Space>,
    settings: WriterSettings,
    /// The gang blocks that were written in a transaction group, by their first address, to free or overwrite them.
    gangs: Mutex<(Txg, HashMap<Dva, Placed>)>,
    keys: Keyring,
}

impl fmt::Debug for BlockWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockWriter").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A block in its stored form, not yet allocated.
struct Prepared<'a> {
    bytes: Cow<'a, [u8]>,
    block: NormalBlock,
    seal: Seal,
    in_place: bool,
}

enum Form<'a> {
    /// A block that is completely in its pointer.
    Pointer(BlockPointer),
    Stored(Prepared<'a>),
}

impl BlockWriter {
    /// Creates a writer to `space`.
    #[must_use]
    pub fn new(space: Arc<dyn Space>, settings: WriterSettings) -> Self {
        Self { space, settings, gangs: Mutex::default(), keys: Keyring::default() }
    }

    /// Prepares a block as far as it does not depend on its location.
    fn prepare<'a>(&self, request: &WriteRequest<'a>) -> Result<Form<'a>> {
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

    fn gang(&self, first: Dva) -> Option<Placed> {
        let gangs = lock(&self.gangs);
        (gangs.0 == self.txg()).then(|| gangs.1.get(&first).cloned()).flatten()
    }

    fn remember(&self, first: Dva, placed: Placed) {
        let mut gangs = lock(&self.gangs);
        if gangs.0 != self.txg() {
            *gangs = (self.txg(), HashMap::new());
        }
        gangs.1.insert(first, placed);
    }

    /// Returns the locations of a block, and `true` if they were newly allocated.
    fn place(&self, request: &WriteRequest<'_>, prepared: &Prepared<'_>) -> Result<(Placed, bool)> {
        let (props, before) = (&request.props, &request.before);
        if prepared.in_place {
            let kept = if before.is_gang() { self.gang(before.dva(0)) } else { None };
            return Ok((kept.unwrap_or_else(|| Placed::Whole(before.dvas().collect())), false));
        }
        let class = class_of(props, prepared.bytes.len() as u64);
        let keeps_salt = prepared.block.uses_crypt && props.level == 0 && props.object_type.is_encrypted();
        let addresses = DVAS_PER_BLOCK_POINTER as u8 - u8::from(keeps_salt);
        let demand = Demand {
            copies: props.copies.clamp(1, addresses),
            class,
            headers_max: addresses,
            whole_max: self.settings.whole_max(),
            large_headers: &self.settings.large_headers,
        };
        Placed::allocate(&*self.space, prepared.bytes.len() as u64, demand).map(|placed| (placed, true))
    }

    fn write_all(&self, requests: &[WriteRequest<'_>], taken: &mut Taken) -> Result<Vec<Written>> {
        let forms: Vec<Form<'_>> = match requests {
            [request] => vec![self.prepare(request)?],
            _ => requests.par_iter().map(|request| self.prepare(request)).collect::<Result<_>>()?,
        };
        let mut written = Vec::with_capacity(requests.len());
        let mut jobs = Vec::new();
        let mut alike = Alike::default();
        for (n, (request, form)) in requests.iter().zip(&forms).enumerate() {
            let prepared = match form {
                Form::Pointer(pointer) => {
                    written.push(Written { pointer: *pointer, in_place: false });
                    continue;
                }
                Form::Stored(prepared) => prepared,
            };
            let is_dedup = match self.find_same(n, request, prepared, &mut alike)? {
                Some(Same::Shared(pointer)) => {
                    written.push(Written { pointer, in_place: false });
                    taken.shared.extend(pointer.is_dedup().then_some(pointer));
                    continue;
                }
                Some(Same::New) => true,
                Some(Same::Apart) | None => false,
            };
            let (placed, is_new) =
                self.place(request, prepared).map_err(|error| error.at_bookmark(request.at))?;
            if is_new {
                taken.places.push(placed.clone());
            }
            let sum = Sum {
                kind: prepared.block.checksum_type,
                salt: self.settings.salt.as_ref(),
                txg: self.txg(),
            };
            let mut of_block = Vec::new();
            let is_cut = is_cut(prepared.block.uses_crypt, prepared.block.object_type);
            let dvas = placed.seal(&prepared.bytes, is_cut, &sum, &mut of_block)?;
            jobs.extend(of_block.into_iter().map(|job| match job {
                GangWrite::Part(place, range) => (place, Cow::Borrowed(&prepared.bytes[range])),
                GangWrite::Header(place, header) => (place, Cow::Owned(header)),
            }));
            if is_new && matches!(placed, Placed::Gang { .. }) {
                self.remember(dvas[0], placed);
            }
            let block = NormalBlock { dvas, dedup: is_dedup, ..prepared.block };
            let pointer = prepared.seal.put(BlockPointer::normal(&block));
            if is_dedup {
                alike.new.push((n, taken.places.len() - 1));
            }
            written.push(Written { pointer, in_place: prepared.in_place });
        }
        let places: Vec<(Dva, &[u8])> = jobs.iter().map(|(place, bytes)| (*place, &**bytes)).collect();
        match &places[..] {
            [(place, bytes)] => self.space.write(*place, bytes)?,
            _ => {
                let bytes: usize = places.iter().map(|(_, bytes)| bytes.len()).sum();
                let together = (places.len() * TOGETHER_BYTES / bytes.max(1)).max(1);
                places.par_chunks(together).try_for_each(|part| self.space.write_places(part))?;
            }
        }
        self.enter(requests, &forms, &alike, &mut written, taken)?;
        Ok(written)
    }
}

/// Returns the class of vdevs for a block of this stored size (`spa_preferred_class`).
fn class_of(props: &WriteProps, psize: u64) -> AllocationClass {
    match () {
        () if props.object_type == ObjectType::DDT_ZAP => AllocationClass::Dedup,
        () if props.level > 0 || props.object_type.is_metadata() => AllocationClass::Special,
        () if psize <= props.small_bytes => AllocationClass::Small,
        () => AllocationClass::Normal,
    }
}

impl WriteBlock for BlockWriter {
    fn txg(&self) -> Txg {
        self.space.txg()
    }

    fn write_blocks(&self, requests: &[WriteRequest<'_>]) -> Result<Vec<Written>> {
        let mut taken = Taken::default();
        self.write_all(requests, &mut taken).inspect_err(|_| {
            for placed in &taken.places {
                placed.give_back(&*self.space);
            }
            for pointer in &taken.shared {
                self.discard(pointer);
            }
        })
    }

    fn clone_block(&self, block: &BlockPointer) -> Result<BlockPointer> {
        match block.kind() {
            BlockKind::Normal => {
                self.space.share(block)?;
                Ok(block.cloned(self.txg()))
            }
            BlockKind::Hole | BlockKind::Embedded => Ok(block.cloned(self.txg())),
            BlockKind::Redacted | BlockKind::UnknownEmbedded(_) => {
                Err(Error::unsupported(format!("cloning block {block}")))
            }
        }
    }

    fn discard(&self, block: &BlockPointer) {
        if block.kind() == BlockKind::Normal && (block.is_dedup() || block.physical_birth() < self.txg()) {
            let result = self.space.free(block);
            debug_assert!(result.is_ok(), "the count of a clone of this group is in memory: {result:?}");
        } else if block.is_gang() {
            let mut gangs = lock(&self.gangs);
            if let Some(placed) = gangs.1.remove(&block.dva(0)) {
                placed.give_back(&*self.space);
            }
        } else {
            self.space.unallocate(&block.dvas().collect::<Vec<_>>());
        }
    }

    fn hole(&self, before: &BlockPointer, object_type: ObjectType, level: u8, lsize: u64) -> BlockPointer {
        if self.settings.hole_birth && before.logical_birth().0 != 0 {
            BlockPointer::hole(object_type, level, lsize, self.txg())
        } else {
            BlockPointer::EMPTY
        }
    }

    fn dsize(&self, block: &BlockPointer) -> u64 {
        self.space.dsize(block)
    }

    fn add_key(&self, objset: u64, key: Arc<DatasetKey>) {
        self.keys.insert(objset, key);
    }

    fn objset_macs(&self, objset: u64, block: &[u8]) -> Result<[[u8; 32]; 2]> {
        key(&self.keys, objset)?.objset_macs(block)
    }
}

fn check_size(lsize: u64) -> Result<()> {
    if lsize == 0 || lsize > BLOCK_BYTES_MAX {
        return Err(Fault::TooLarge { what: "block", size: lsize, limit: BLOCK_BYTES_MAX }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
