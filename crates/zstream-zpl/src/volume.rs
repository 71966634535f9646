//! Volumes: an object with the data, and a ZAP with its size. Their intent logs are replayed here.

use zstream_dmu::block::ReadBlock;
use zstream_dmu::ids::{BlockId, ObjectId};
use zstream_dmu::intent_log::{Change, Content as Logged, Record, read_content};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::object_store::CloneStore;
use zstream_dmu::zap::Zap;
use zstream_format::object_type::{ObjectType, ObjsetType};

use crate::content::Content;
use crate::error::{Error, Result};

/// The object with the data (`ZVOL_OBJ`).
pub const DATA: ObjectId = ObjectId(1);
/// The ZAP with the size (`ZVOL_ZAP_OBJ`).
pub(crate) const PROPERTIES: ObjectId = ObjectId(2);

/// Returns the content of a volume.
///
/// # Errors
/// Fails if the object set is not a volume, if its size is missing, and if it cannot be read.
pub fn content(set: &dyn ObjectSet) -> Result<Content<'_>> {
    let kind = set.objset_type();
    if kind != ObjsetType::ZVOL {
        return Err(Error::other_type(format!("object set is of type {}, expected a volume", kind.name())));
    }
    set.info(DATA)?.expect_type(ObjectType::ZVOL)?;
    set.info(PROPERTIES)?.expect_type(ObjectType::ZVOL_PROP)?;
    let size = Zap::open(set, PROPERTIES)?
        .lookup_u64("size")?
        .ok_or_else(|| Error::corrupt("volume", "it has no size"))?;
    Ok(Content::new(set, DATA, size)?)
}

/// Returns the content of a write record and its offset. A block that was written for the log is the whole block of its
/// object.
pub(crate) fn logged_bytes(
    reader: &dyn ReadBlock,
    objset: u64,
    object: ObjectId,
    (offset, len): (u64, u64),
    content: &Logged,
) -> Result<(u64, Vec<u8>)> {
    match content {
        Logged::Inline(bytes) => Ok((offset, bytes.clone())),
        Logged::Block(pointer) => {
            let mut bytes = read_content(reader, objset, object, (offset, len), pointer)?;
            let block = pointer.lsize();
            if len < block {
                return Ok((offset - offset % block, bytes));
            }
            bytes.truncate(len as usize);
            Ok((offset, bytes))
        }
    }
}

/// Returns the error for a range that exceeds the maximum offset.
pub(crate) fn too_far(object: ObjectId) -> Error {
    Error::corrupt("log record", format!("its range of object {object} exceeds the maximum offset"))
}

/// Replays a record of the intent log of a volume (`zvol_replay_vector`). `reader` reads the blocks that were written for
/// the log.
///
/// # Errors
/// Fails if the record is not of a volume, and if the volume cannot be read or written. The changes of this transaction
/// group must be dropped then.
pub fn replay(set: &mut dyn CloneStore, reader: &dyn ReadBlock, record: &Record) -> Result<()> {
    let size = content(set)?.size();
    let check = |object: ObjectId, offset: u64, len: u64| {
        if object != DATA || offset.checked_add(len).is_none_or(|end| end > size) {
            let what = format!("it is for {len} bytes at {offset} of object {object}, the volume has {size}");
            return Err(Error::corrupt("log record", what));
        }
        Ok(())
    };
    match &record.change {
        Change::Write { object, offset, len, content } => {
            check(*object, *offset, *len)?;
            let (start, bytes) = logged_bytes(reader, set.objset_id(), *object, (*offset, *len), content)?;
            Ok(set.write(DATA, start, &bytes)?)
        }
        Change::Truncate { object, offset, len } => {
            check(*object, *offset, *len)?;
            Ok(set.free_range(DATA, *offset, *len)?)
        }
        Change::Clone { object, offset, len, block_bytes, pointers } => {
            check(*object, *offset, *len)?;
            let found = set.info(DATA)?.block_bytes;
            if found != *block_bytes || !offset.is_multiple_of(found) {
                let what =
                    format!("it clones blocks of {block_bytes} bytes at {offset}, the volume has {found}");
                return Err(Error::corrupt("log record", what));
            }
            Ok(set.put_clones(DATA, BlockId(offset / found), pointers)?)
        }
        _ => Err(Error::unsupported(format!("{} in the intent log of a volume", record.kind.name()))),
    }
}
