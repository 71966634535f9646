//! Applying the records of one substream to a set of objects (`receive_process_record`).
//!
//! Whoever calls has seen the checksum that covers the record *and its payload*: the trailer of the next record, or END.
//! Here a record is judged by its own limits ([`zstream_format::judge`]) and against what is in the set, and applied at once, as
//! the rules of [`zstream_format::effect`] say.
//!
//! ```text
//! OBJECT        claim, or make the existing object fit: free content | free and claim anew | keep          `object`
//! FREEOBJECTS   free each object of the range
//! WRITE         a whole block as it came, or written through where the sizes differ                        `data`
//! others        as they say
//! ```
//!
//! Content in sets is little-endian; what comes big-endian is swapped by its type. Raw blocks are stored as they came and
//! remember their order.

pub(crate) mod data;
mod object;

use std::sync::Arc;

use zstream_dmu::block::StoredCrypt;
use zstream_dmu::error::Fault as PoolFault;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectInfo;
use zstream_dmu::objset::Objset;
use zstream_dmu::receive_store::ReceiveStore;
use zstream_format::ids::Guid;
use zstream_format::judge::{Judge, Limits, Terms};
use zstream_format::order::ByteOrder;
use zstream_format::record::{Begin, Body, FreeObjects, Header};

use crate::error::Result;
use crate::misfit::Misfit;

/// Where a receive that is interrupted behind a record goes on.
pub type Point = (ObjectId, u64);

/// The snapshots that WRITE_BYREF may refer to: those received before from the same stream.
pub trait References {
    /// The objects of the snapshot with this guid: as they are stored where it was received raw.
    fn snapshot(&self, guid: Guid) -> Option<Arc<Objset>>;
}

/// No snapshots.
impl References for () {
    fn snapshot(&self, _: Guid) -> Option<Arc<Objset>> {
        None
    }
}

/// The state of one substream under way.
#[derive(Debug)]
pub struct Apply {
    judge: Judge,
    terms: Terms,
    order: ByteOrder,
    is_full: bool,
    /// The highest object that was named.
    highest: ObjectId,
    /// How the block of dnodes was encrypted that the next OBJECT belongs to, until that OBJECT comes.
    range: Option<(ObjectId, StoredCrypt)>,
}

impl Apply {
    /// Starts with what BEGIN says; integers of payloads are in `order`.
    #[must_use]
    pub fn new(begin: &Begin, limits: Limits, order: ByteOrder) -> Self {
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

    /// Applies a record that the checksums vouch for, and says where to go on behind it if that has moved.
    ///
    /// # Errors
    /// The record breaks a rule, does not fit what is in the set, or the set cannot be read or written. The set may
    /// have been changed in part.
    pub fn record(
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
            // What was left out is a hole, as OpenZFS makes it. That the dataset is redacted is in its entries.
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

    /// Behind the last record of a full stream that was received as a clone: frees what the origin has above the highest
    /// object of the stream.
    ///
    /// # Errors
    /// An object cannot be freed.
    pub fn free_above(&self, set: &mut dyn ReceiveStore) -> Result<()> {
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

/// What an object is; none where there is none.
fn find(set: &dyn ReceiveStore, object: ObjectId) -> Result<Option<ObjectInfo>> {
    match set.info(object) {
        Ok(info) => Ok(Some(info)),
        Err(error) if matches!(error.fault(), PoolFault::NoObject(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What an object is that has to be there.
fn existing(set: &dyn ReceiveStore, object: ObjectId) -> Result<ObjectInfo> {
    Ok(find(set, object)?.ok_or(Misfit::NoObject(object))?)
}

/// Frees each object of the range; those that are not there are free already.
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
