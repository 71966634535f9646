//! Claiming of intent logs in pools that were not exported (`zil_claim`).
//!
//! ```text
//! head -> header -> block -> block -> block (reserved, never written)
//!                     |        '-> records up to the first that cannot be trusted: the end of the log
//!                     '-> data blocks of write records, cloned blocks
//! ```
//!
//! Log blocks that were written after the last transaction group are not in the space maps yet, so a writer that
//! allocates before they are claimed may overwrite them. A claimed log has its end in the header, and its blocks are
//! allocated. It is replayed or discarded later.

use std::collections::HashSet;
use std::sync::Arc;

use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::{Pool, PoolWriter};
use crate::blkptr::{BLOCK_POINTER_BYTES, BlockKind, BlockPointer};
use crate::block::ReadBlock;
use crate::error::{Error, Fault, Result};
use crate::ids::{BlockId, Bookmark, ObjectId};
use crate::intent_log::{self, LogClone, LogWrite, ZilHeader};
use crate::object_set::ObjectSet;
use crate::objset::Objset;
use crate::vdev::config::PoolState;
use crate::zio::{BlockReader, Space as _};

/// The offsets of the number of children, which only snapshots have, and of the root in a dataset (`ds_num_children`,
/// `ds_bp`).
const CHILDREN: usize = 40;
const ROOT: usize = 128;

/// Returns the heads of a pool whose intent logs have to be claimed before anything is allocated. A pool that was
/// exported has none.
///
/// # Errors
///
/// Fails if a dataset or a device cannot be read.
pub(super) fn unclaimed(pool: &Pool) -> Result<Vec<ObjectId>> {
    let mut found = Vec::new();
    each_unclaimed(pool, &mut |head, _| found.push(head))?;
    Ok(found)
}

/// Calls `visit` for each of these heads with the header of its log.
pub(super) fn each_unclaimed(pool: &Pool, visit: &mut dyn FnMut(ObjectId, &ZilHeader)) -> Result<()> {
    let mos = &**pool.mos();
    if pool.state() == PoolState::Exported {
        return Ok(());
    }
    let mut next = ObjectId(1);
    while let Some(object) = mos.next_object(next)? {
        next = ObjectId(object.0 + 1);
        let info = mos.info(object)?;
        if info.bonus_type != ObjectType::DSL_DATASET {
            continue;
        }
        let bonus = info.bonus()?;
        let children = bonus.get(CHILDREN..CHILDREN + 8).map(|bytes| ByteOrder::Little.u64(bytes));
        let root = BlockPointer::parse_at(bonus, ROOT, ByteOrder::Little);
        let (Some(0), Some(root)) = (children, root) else { continue };
        if root.is_hole() {
            continue;
        }
        let reader = Arc::clone(pool.reader()) as Arc<dyn ReadBlock>;
        let set = Objset::open_locked(reader, object.0, root)?;
        let zil = &set.phys().zil;
        if zil.log.is_hole() || zil.is_claimed() {
            continue;
        }
        if zil.log.logical_birth() > pool.txg() || is_written(pool.reader(), &zil.log, object)? {
            visit(object, zil);
        }
    }
    Ok(())
}

/// The progress of claiming a log.
#[derive(Default)]
struct Claimed {
    /// The first addresses of the blocks that were claimed.
    places: HashSet<(u32, u64)>,
    blocks: u64,
    last_block: u64,
    records: u64,
    last_record: u64,
}

impl PoolWriter {
    /// The heads whose intent logs have to be claimed before anything is allocated.
    #[must_use]
    pub fn unclaimed_logs(&self) -> &[ObjectId] {
        &self.unclaimed
    }

    /// Declares that the logs of all [`unclaimed_logs`](Self::unclaimed_logs) were claimed.
    pub fn set_logs_claimed(&mut self) {
        self.unclaimed.clear();
    }

    /// Checks that no log has to be claimed any more, so that blocks can be allocated.
    ///
    /// # Errors
    ///
    /// Fails if there is such a log, which is a bug.
    pub fn check_claimed(&self) -> Result<()> {
        match self.unclaimed.first() {
            Some(head) => Err(Error::internal(format!("the intent log of dataset {head} was not claimed"))),
            None => Ok(()),
        }
    }

    /// Claims an intent log in this transaction group: allocates its blocks and adds references to those that it cloned.
    /// Returns the new header, which the caller has to store. The claim of a log that was claimed before is its header.
    ///
    /// # Errors
    ///
    /// Fails if a device or a map cannot be read.
    pub fn claim_log(&self, objset: u64, header: &ZilHeader) -> Result<ZilHeader> {
        if header.log.is_hole() || header.is_claimed() {
            return Ok(*header);
        }
        let mut claimed = Claimed::default();
        self.claim_chain(objset, header, &mut claimed)?;
        let mut flags = header.flags | intent_log::HAS_LAST_RECORD;
        if claimed.records > 0 || claimed.blocks > 1 {
            flags |= intent_log::REPLAY_NEEDED;
        }
        let (claim_block_seq, claim_record_seq) = (claimed.last_block, claimed.last_record);
        Ok(ZilHeader { claim_txg: self.txg(), claim_block_seq, claim_record_seq, flags, ..*header })
    }

    fn claim_chain(&self, objset: u64, header: &ZilHeader, claimed: &mut Claimed) -> Result<()> {
        let reader: &dyn ReadBlock = &**self.reader();
        let mut next = Some(header.log);
        while let Some(pointer) = next.take().filter(|pointer| pointer.kind() == BlockKind::Normal) {
            if !self.claim_block(&pointer, claimed)? {
                return Ok(());
            }
            claimed.blocks += 1;
            claimed.last_block = intent_log::bookmark(objset, &pointer).block.0;
            let Some((block, chain)) = at_end(intent_log::read_block(reader, objset, &pointer, false))?
            else {
                return Ok(());
            };
            let mut records = block.get(chain.records.0..chain.records.1).unwrap_or_default();
            while !records.is_empty() {
                let Ok((header, record)) = intent_log::split(records, chain.order) else { return Ok(()) };
                records = &records[record.len()..];
                let is_whole = match header.kind & intent_log::TYPE_MASK {
                    intent_log::TX_WRITE => self.claim_write(objset, record, chain.order, claimed)?,
                    intent_log::TX_CLONE_RANGE => self.claim_clones(record, chain.order)?,
                    _ => true,
                };
                if !is_whole {
                    return Ok(());
                }
                claimed.records += 1;
                claimed.last_record = header.number;
            }
            next = Some(chain.next);
        }
        Ok(())
    }

    /// Claims a block that was written after the last transaction group. Returns `false` if it cannot belong to a log.
    fn claim_block(&self, pointer: &BlockPointer, claimed: &mut Claimed) -> Result<bool> {
        if pointer.kind() != BlockKind::Normal || pointer.birth() < self.txg() {
            return Ok(true);
        }
        let first = pointer.dva(0);
        if !claimed.places.insert((first.vdev(), first.offset())) {
            return Ok(true);
        }
        Ok(at_end(self.space().claim(pointer))?.unwrap_or(false))
    }

    /// Claims the data block of a write record. A block that was not written ends the log: nobody was told that the
    /// write is stable.
    fn claim_write(
        &self,
        objset: u64,
        record: &[u8],
        order: ByteOrder,
        claimed: &mut Claimed,
    ) -> Result<bool> {
        let Some(write) = LogWrite::read(record, order) else { return Ok(false) };
        let pointer = write.pointer;
        if pointer.kind() == BlockKind::Normal && pointer.birth() >= self.txg() {
            let block = BlockId(write.offset / pointer.lsize().max(1));
            let at = Bookmark { objset, object: write.object, level: Bookmark::LEVEL_ZIL, block };
            if at_end(self.reader().read_stored(&pointer, at))?.is_none() {
                return Ok(false);
            }
        }
        self.claim_block(&pointer, claimed)
    }

    /// Adds references to the blocks of a clone record.
    fn claim_clones(&self, record: &[u8], order: ByteOrder) -> Result<bool> {
        let Some(clone) = LogClone::read(record, order) else { return Ok(false) };
        let pointers = record[LogClone::LEN..].chunks_exact(BLOCK_POINTER_BYTES);
        if pointers.len() as u64 != clone.count {
            return Ok(false);
        }
        let pointers = pointers.filter_map(|bytes| BlockPointer::parse_at(bytes, 0, order));
        let pointers: Vec<_> = pointers.filter(|pointer| pointer.kind() == BlockKind::Normal).collect();
        // Blocks of the future are not allocated yet, and only blocks of content are cloned.
        let is_foreign = |pointer: &BlockPointer| {
            pointer.physical_birth() >= self.txg()
                || pointer.level() != 0
                || pointer.object_type().is_metadata()
        };
        if pointers.iter().any(is_foreign) {
            return Ok(false);
        }
        for pointer in &pointers {
            self.space().share(pointer)?;
        }
        Ok(true)
    }
}

/// Returns `None` for an error that ends a log; an error of a device is an error.
fn at_end<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_unreadable(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Returns whether the first block of a log was written. The block is allocated before it is written, so the first
/// block of a log that was replayed or never used is not valid.
fn is_written(reader: &BlockReader, log: &BlockPointer, dataset: ObjectId) -> Result<bool> {
    let at =
        Bookmark { objset: dataset.0, object: ObjectId(0), level: Bookmark::LEVEL_ZIL, block: BlockId(0) };
    match reader.read_stored(log, at) {
        Ok(_) => Ok(true),
        Err(error) if is_unreadable(&error) => Err(error),
        Err(_) => Ok(false),
    }
}

/// Returns whether a block is unreadable because of a device.
fn is_unreadable(error: &Error) -> bool {
    match error.fault() {
        Fault::NoGoodCopy(errors) => errors.iter().any(is_unreadable),
        Fault::Io(_)
        | Fault::NoMember(_)
        | Fault::NoVdev(_)
        | Fault::NoMapping(_)
        | Fault::TooManyMissing { .. } => true,
        _ => false,
    }
}
