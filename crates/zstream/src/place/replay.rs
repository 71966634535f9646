//! Replay of the intent log of a dataset in a pool that is open for changes.
//!
//! ```text
//! claimed log -> record -> file or volume -> ... -> transaction group is full: number of the last record in the header
//!                                             '---> last record: the log is discarded
//! ```
//!
//! An interrupted replay continues after the last record in the header, here or in OpenZFS at mount. Unlike there, an
//! error does not discard the rest of the log: the dataset stays as it was.

use std::sync::Arc;

use zstream_dmu::Random;
use zstream_dmu::error::Error as PoolError;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::intent_log::{self, Change, Record};
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::objset::ObjsetWriter;
use zstream_dmu::zap::Value;
use zstream_dsl::error::Error as DatasetError;
use zstream_dsl::prop::stored_number;
use zstream_dsl::write::WritablePool;
use zstream_format::object_type::ObjsetType;
use zstream_zpl::node::Time;
use zstream_zpl::volume;
use zstream_zpl::writer::{Settings, Writer};

use super::keys::{Keys, unlock_to_write};
use crate::error::{Cause, Error, Result};

/// Changes in memory above which a transaction group is completed, in bytes.
pub(crate) const DIRTY_BYTES_MAX: usize = 128 << 20;

/// Bytes in a slot of a dnode.
const SLOT_BYTES: u64 = 512;

/// Values of the properties `xattr` and `dnodesize`.
const XATTR_OFF: u64 = 0;
const XATTR_DIRECTORY: u64 = 1;
const XATTR_SA: u64 = 2;
const DNODE_LEGACY: u64 = 0;
const DNODE_AUTO: u64 = 1;

/// The settings for writing files, from the properties of a filesystem, and true if extended attributes are kept.
pub(crate) fn settings(
    pool: &mut WritablePool,
    head: ObjectId,
    now: Time,
) -> Result<(Settings, bool), Cause> {
    let (record, xattr, dnode) = {
        let dataset = pool.dsl().dataset_by_object(head)?;
        let number = |name| stored_number(&dataset, name);
        (number("recordsize")?, number("xattr")?, number("dnodesize")?)
    };
    let record = record.unwrap_or(128 << 10);
    let record_bytes =
        u32::try_from(record).map_err(|_| DatasetError::unsupported(format!("recordsize {record}")))?;
    let xattr = xattr.unwrap_or(XATTR_SA);
    let xattrs_inline = xattr != XATTR_DIRECTORY;
    let dn_slots = match dnode.unwrap_or(DNODE_LEGACY) {
        DNODE_LEGACY => 1,
        DNODE_AUTO => 2,
        bytes => u8::try_from(bytes / SLOT_BYTES)
            .map_err(|_| DatasetError::unsupported(format!("dnodesize {bytes}")))?
            .max(1),
    };
    if dn_slots > 1 {
        pool.tx().activate_feature(head, LARGE_DNODE, &Value::word(0))?;
    }
    Ok((Settings { record_bytes, dn_slots, xattrs_inline, now }, xattr != XATTR_OFF))
}

/// The feature of objects with several slots.
const LARGE_DNODE: &str = "large_dnode";

/// Replays the intent log of a filesystem or volume, which has records. Calls `seen` with each record that is replayed, and
/// returns their number. A transaction group is completed when its changes exceed `dirty_bytes`; the last one is not.
///
/// # Errors
/// The key is not available; a record cannot be read or replayed; the pool cannot be written. The pool must be dropped
/// then.
pub(crate) fn replay_head(
    pool: &mut WritablePool,
    head: ObjectId,
    keys: &dyn Keys,
    dirty_bytes: usize,
    seen: &mut dyn FnMut(&Record),
) -> Result<u64> {
    unlock_to_write(pool, head, keys)?;
    let name = pool.dsl().dataset_by_object(head)?.name().to_owned();
    let failed = |source: Cause| Error::Dataset { name: name.clone(), source };
    let mut set = pool.open_to_replay(head).map_err(|error| failed(error.into()))?;
    let seconds = pool.pool().now().cast_signed();
    let mut writer = match set.objset_type() {
        ObjsetType::ZVOL => None,
        _ => {
            let (settings, _) = settings(pool, head, Time { seconds, nanoseconds: 0 }).map_err(failed)?;
            let random = Random::system().map_err(PoolError::from)?;
            Some(Writer::open(&set, settings, random).map_err(|error| failed(error.into()))?)
        }
    };
    let reader = Arc::clone(pool.pool().reader());
    let header = *set.intent_log();
    let mut count = 0;
    for record in intent_log::records(&*reader, head.0, &header) {
        let record = record.map_err(|error| failed(error.into()))?;
        if needs_large_dnode(&record) {
            pool.tx().activate_feature(head, LARGE_DNODE, &Value::word(0))?;
        }
        seen(&record);
        let replayed = match &mut writer {
            Some(writer) => writer.replay(&mut set, &*reader, &record),
            None => volume::replay(&mut set, &*reader, &record),
        };
        replayed.map_err(|error| Error::Replay {
            name: name.clone(),
            record: format!("{} ({})", record.number, record.kind.name()),
            source: error.into(),
        })?;
        count += 1;
        if set.dirty_bytes() >= dirty_bytes {
            flush(writer.as_mut(), &mut set).map_err(failed)?;
            let header = intent_log::ZilHeader { replay_seq: record.number, ..*set.intent_log() };
            set.set_intent_log(header);
            pool.sync(head, &mut set)?;
            pool.commit()?;
        }
    }
    flush(writer.as_mut(), &mut set).map_err(failed)?;
    pool.discard_log(head, &mut set)?;
    pool.sync(head, &mut set)?;
    Ok(count)
}

fn flush(writer: Option<&mut Writer>, set: &mut ObjsetWriter) -> Result<(), Cause> {
    match writer {
        Some(writer) => Ok(writer.flush(set)?),
        None => Ok(()),
    }
}

fn needs_large_dnode(record: &Record) -> bool {
    match &record.change {
        Change::Create(created) => created.node.slots > 1,
        Change::Rename { whiteout: Some(node), .. } => node.slots > 1,
        _ => false,
    }
}

/// The filesystems and volumes of a pool, parents first: names and heads.
pub(crate) fn heads(pool: &WritablePool) -> Result<Vec<(String, ObjectId)>> {
    let dsl = pool.dsl();
    let mut found = Vec::new();
    dsl.walk(&mut |dir| {
        // A directory without a dataset belongs to the pool itself.
        if dir.phys().head.is_some() {
            let head = dir.head()?;
            if !head.is_inconsistent() {
                found.push((dir.name().to_owned(), head.object()));
            }
        }
        Ok(())
    })?;
    Ok(found)
}
