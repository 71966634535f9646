//! The writer of blocks: the only code through which blocks of a pool are written.

mod alike;
mod prepare;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use rayon::prelude::*;
use zstream_format::checksum::Salt;
use zstream_format::object_type::ObjectType;

use self::alike::{Alike, Taken};
use self::prepare::{Form, Prepared};
use super::crypt::{DatasetKey, Keyring};
use super::large_headers::LargeHeaders;
use super::place::{Demand, GangWrite, Placed, Sum};
use super::protect::key;
use super::verify::is_cut;
use super::write::{WriteBlock, WriteProps, WriteRequest, Written};
use crate::blkptr::{BlockKind, BlockPointer, DVAS_PER_BLOCK_POINTER, Dva, NormalBlock};
use crate::error::{Error, Result};
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

impl BlockWriter {
    /// Creates a writer to `space`.
    #[must_use]
    pub fn new(space: Arc<dyn Space>, settings: WriterSettings) -> Self {
        Self { space, settings, gangs: Mutex::default(), keys: Keyring::default() }
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

#[cfg(test)]
mod tests;
