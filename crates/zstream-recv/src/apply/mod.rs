//! Application of the records of one substream to a set of objects (`receive_process_record`).
//!
//! The caller has verified the checksum that covers the record *and its payload*: that of the next record, or of END.
//! Here a record is checked against its own limits ([`zstream_format::judge`]) and against the content of the set, and
//! then applied at once by the rules of [`zstream_format::effect`].
//!
//! ```text
//! OBJECT        claim, or make the existing object fit: free content | free and claim again | keep          `object`
//! FREEOBJECTS   free each object of the range
//! WRITE         a whole block, or written through if the sizes differ                                   `data`
//! others        as described by the record
//! ```
//!
//! Content in sets is little-endian; big-endian content is swapped by its type. Raw blocks are stored as they are and
//! keep their byte order.

pub(crate) mod data;
mod object;

use std::sync::Arc;

use zstream_dmu::ReceiveStore;
use zstream_dmu::block::StoredCrypt;
use zstream_dmu::error::Fault as PoolFault;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectInfo;
use zstream_dmu::objset::Objset;
use zstream_format::ids::Guid;
use zstream_format::judge::{Judge, Limits, Terms};
use zstream_format::order::ByteOrder;
use zstream_format::record::{Begin, Body, FreeObjects, Header};

use crate::error::Result;
use crate::misfit::Misfit;

/// The point from which an interrupted receive resumes.
pub(crate) type Point = (ObjectId, u64);

/// The snapshots that WRITE_BYREF may refer to, which are those received earlier from the same stream.
pub(crate) trait References {
    /// Returns the objects of the snapshot with this guid, in stored form if it was received raw.
    fn snapshot(&self, guid: Guid) -> Option<Arc<Objset>>;
}

/// No snapshots.
impl References for () {
    fn snapshot(&self, _: Guid) -> Option<Arc<Objset>> {
        None
    }
}

/// The state of a substream that is being received.
#[derive(Debug)]
pub(crate) struct Apply {
    judge: Judge,
    terms: Terms,
    order: ByteOrder,
    is_full: bool,
    /// The highest object number in the stream so far.
    highest: ObjectId,
    /// The encryption parameters of the block of dnodes that the next OBJECT belongs to, until that OBJECT was applied.
    range: Option<(ObjectId, StoredCrypt)>,
}

impl Apply {
    /// Starts with the fields of BEGIN; integers of payloads are in `order`.
    #[must_use]
    pub(crate) fn new(begin: &Begin, limits: Limits, order: ByteOrder) -> Self {
        let terms = Terms::new(begin, limits);
        Self {
            judge: Judge::new(terms),
            terms,
            order,
            is_full: begin.from_guid == Guid(0),
            highest: ObjectId(0),
            range: None,
        }
    }

    /// Applies a record that was verified. Returns the point after it from which to resume, if that has moved.
    ///
    /// # Errors
    /// Fails if the record breaks a rule or does not fit the content of the set, or if the set cannot be read or
    /// written. The set may have changed in part.
    pub(crate) fn record(
        &mut self,
        set: &mut dyn ReceiveStore,
        references: &dyn References,
        header: &Header,
        payload: Vec<u8>,
    ) -> Result<Option<Point>> {
        let Some(body) = header.body() else { return Ok(None) };
        self.judge.record(&body)?;
        let point = match &body {
            Body::Object(body) => {
                self.object(set, body, payload)?;
                Some((body.object, 0))
            }
            Body::FreeObjects(body) => {
                free_objects(set, body)?;
                None
            }
            Body::Write(body) => {
                self.write(set, body, payload)?;
                Some((body.object, body.offset))
            }
            Body::WriteEmbedded(body) => {
                self.write_embedded(set, body, payload)?;
                Some((body.object, body.offset))
            }
            Body::WriteByref(body) => {
                self.write_byref(set, references, body)?;
                None
            }
            Body::Free(body) => {
                self.seen(body.object);
                existing(set, body.object)?;
                set.free_range(body.object, body.offset, body.length)?;
                None
            }
            Body::Spill(body) => {
                self.spill(set, body, payload)?;
                None
            }
            Body::ObjectRange(body) => {
                self.object_range(body);
                None
            }
            // Redacted ranges are holes, as in OpenZFS. The entries of the dataset record that it is redacted.
            Body::Redact(body) => {
                self.seen(body.object);
                existing(set, body.object)?;
                set.free_range(body.object, body.offset, body.length)?;
                None
            }
            Body::Begin(_) | Body::End(_) => None,
        };
        Ok(point)
    }

    /// Frees the origin's objects above the highest object of the stream, after the last record of a full stream that
    /// was received as a clone.
    ///
    /// # Errors
    /// Fails if an object cannot be freed.
    pub(crate) fn free_above(&self, set: &mut dyn ReceiveStore) -> Result<()> {
        while let Some(object) = set.next_object(ObjectId(self.highest.0 + 1))? {
            set.free(object)?;
        }
        Ok(())
    }

    fn is_foreign(&self) -> bool {
        self.order == ByteOrder::Big
    }

    fn seen(&mut self, object: ObjectId) {
        self.highest = self.highest.max(object);
    }
}

/// Returns the facts about an object; `None` if it does not exist.
fn find(set: &dyn ReceiveStore, object: ObjectId) -> Result<Option<ObjectInfo>> {
    match set.info(object) {
        Ok(info) => Ok(Some(info)),
        Err(error) if matches!(error.fault(), PoolFault::NoObject(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the facts about an object that has to exist.
fn existing(set: &dyn ReceiveStore, object: ObjectId) -> Result<ObjectInfo> {
    Ok(find(set, object)?.ok_or(Misfit::NoObject(object))?)
}

/// Frees each object in the range that exists.
fn free_objects(set: &mut dyn ReceiveStore, body: &FreeObjects) -> Result<()> {
    let end = body.first_object.0.saturating_add(body.object_count);
    let mut at = ObjectId(body.first_object.0.max(1));
    while at.0 < end {
        match set.next_object(at)? {
            Some(object) if object.0 < end => {
                set.free(object)?;
                at = ObjectId(object.0 + 1);
            }
            _ => break,
        }
    }
    Ok(())
}
