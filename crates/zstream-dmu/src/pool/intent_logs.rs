//! Check of intent logs in pools that were not exported.
//!
//! OpenZFS replays intent logs when it imports a pool. Log blocks that were written after the last transaction group
//! are not in the space maps yet, so a writer that allocates before they are claimed may overwrite them.

use std::sync::Arc;

use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::Pool;
use crate::blkptr::BlockPointer;
use crate::block::ReadBlock;
use crate::error::{Error, Fault, Result};
use crate::ids::{BlockId, Bookmark, ObjectId};
use crate::object_set::ObjectSet;
use crate::objset::Objset;
use crate::zio::BlockReader;

/// The offsets of the number of children, which only snapshots have, and of the root in a dataset (`ds_num_children`,
/// `ds_bp`).
const CHILDREN: usize = 40;
const ROOT: usize = 128;

/// Refuses a pool that has intent logs that were not replayed.
///
/// # Errors
///
/// Returns [`Fault::Unsupported`], which names the dataset. Fails if a dataset cannot be read.
pub(super) fn check_replayed(pool: &Pool) -> Result<()> {
    let mos = &**pool.mos();
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
        let log = &set.phys().zil.log;
        if log.is_hole() {
            continue;
        }
        if log.logical_birth() > pool.txg() || is_written(pool.reader(), log, object)? {
            return Err(Error::unsupported(format!(
                "writing to a pool whose dataset {object} has an intent log that was not replayed (import the pool with \
                 OpenZFS to replay it)"
            )));
        }
    }
    Ok(())
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
