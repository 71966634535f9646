//! The index of a file of streams, which is built in one pass.
//!
//! The index is a [`Log`] for each substream: its records in order, without their payloads, each as an [`Op`] of
//! 48 bytes. Only bonus buffers are stored, as they are small. A log is replayed when its snapshot is opened
//! ([`crate::objects`]), so a hundred increments do not require a hundred maps of objects. The encryption parameters
//! of a block in a raw stream (salt, IV, MAC) are not stored: they are read again from the header before the block.
//!
//! Invariants of a log: each record complies with the rules of receivers ([`zstream_format::judge`]), sizes are
//! within their limits, references (WRITE_BYREF) are resolved, and bonus buffers are little-endian.

use std::collections::HashMap;
use std::sync::Arc;

use zstream_dmu::zio::crypt::{CryptParams, KeyData};
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::byteswap::{SwapError, swap_block};
use zstream_format::effect::is_disguised_spill;
use zstream_format::flags::{BeginFlags, FeatureFlags, ObjectFlags, RangeFlags, SpillFlags};
use zstream_format::ids::Guid;
use zstream_format::judge::{self, Judge, Limits, Terms};
use zstream_format::nvlist::NvList;
use zstream_format::object_type::{ObjectType, ObjsetType, SwapClass};
use zstream_format::order::ByteOrder;
use zstream_format::record::{self, Begin, Body, MAX_BLOCK_BYTES, TO_OBJECT_END};
use zstream_format::stream::parallel::ParallelReader;
use zstream_format::stream::{Checking, Error, Fault, Record, Role, StreamReader};

use crate::source::Source;

/// The snapshot of a substream, described by its BEGIN, and the extent of the substream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The full name at the sender, `pool/fs@snap`.
    pub name: String,
    /// The guid of the snapshot.
    pub guid: Guid,
    /// The guid of the snapshot that the stream starts from; 0 for a full stream.
    pub from_guid: Guid,
    /// The creation time in seconds since 1970.
    pub creation_time: u64,
    /// The type of the object set.
    pub objset_type: ObjsetType,
    /// The flags of the stream.
    pub flags: BeginFlags,
    /// The features of the stream.
    pub features: FeatureFlags,
    /// The end of the stream, if it was cut short.
    pub cut: Option<Cut>,
}

/// The end of a stream that was cut short. Objects below `object` are complete, and `object` itself is complete before
/// `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut {
    /// The first object that is incomplete.
    pub object: u64,
    /// The first byte of that object that is missing.
    pub offset: u64,
}

/// The way to convert a block to little-endian byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swap {
    /// The block is already little-endian.
    No,
    /// Swap by this class.
    Class(SwapClass),
    /// Swap by the type of the object of the block.
    ByObject,
    /// The block is from a raw stream. The header of its record, which is little-endian and precedes the payload, has its
    /// byte order, type, salt, IV and MAC.
    RawLittle,
    /// The block is from a raw stream, and its header is big-endian. (Two variants without a field keep the size of this
    /// type at one byte.)
    RawBig,
}

impl Swap {
    fn raw(order: ByteOrder) -> Self {
        match order {
            ByteOrder::Little => Self::RawLittle,
            ByteOrder::Big => Self::RawBig,
        }
    }

    /// The byte order of the header of the record, for a block of a raw stream.
    pub(crate) fn raw_order(self) -> Option<ByteOrder> {
        match self {
            Self::RawLittle => Some(ByteOrder::Little),
            Self::RawBig => Some(ByteOrder::Big),
            Self::No | Self::Class(_) | Self::ByObject => None,
        }
    }
}

/// The location of a block in a file, and the way to decode it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The offset of the payload in the file.
    pub(crate) place: u64,
    /// The size of the payload in bytes.
    pub(crate) physical: u32,
    /// The size of the block in bytes.
    pub(crate) logical: u32,
    /// The number of bytes at the start of the block that later records overwrote.
    pub(crate) skip: u32,
    /// The index of the file.
    pub(crate) file: u16,
    /// The compression of the payload.
    pub(crate) compression: CompressionType,
    /// The byte swapping of the block.
    pub(crate) swap: Swap,
}

/// The content of a range of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A block in a file, or part of it.
    Stored(Stored),
    /// Redacted content.
    Redacted,
    /// Content after the point at which the stream was cut short.
    Absent,
}

/// The content of an OBJECT record.
#[derive(Clone, Debug)]
pub(crate) struct ObjectOp {
    pub(crate) object: u64,
    pub(crate) object_type: ObjectType,
    pub(crate) bonus_type: ObjectType,
    pub(crate) bonus: Box<[u8]>,
    pub(crate) block_bytes: u32,
    pub(crate) checksum_type: ChecksumType,
    pub(crate) compression: CompressionType,
    pub(crate) slots: u8,
    pub(crate) has_spill: bool,
    /// The fields that only raw streams have. With them, `bonus` is the whole bonus area as stored, until it is decrypted.
    pub(crate) raw: Option<RawShape>,
}

/// The shape of an object in a raw stream: the fields that the MAC of its dnode covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawShape {
    pub(crate) bonus_len: u16,
    pub(crate) indirect_shift: u8,
    pub(crate) levels: u8,
    pub(crate) pointers: u8,
    pub(crate) max_block: u64,
}

/// The encryption parameters of a dnode block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RangeOp {
    /// The first of its 32 objects.
    pub(crate) first: u64,
    pub(crate) params: CryptParams,
    /// The byte order in which it was written.
    pub(crate) order: ByteOrder,
}

/// A record without its payload.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Object(Box<ObjectOp>),
    FreeObjects { first: u64, count: u64 },
    Write { object: u64, offset: u64, block: Stored },
    Embedded { object: u64, offset: u64, block: Stored },
    Free { object: u64, offset: u64, length: u64 },
    Redact { object: u64, offset: u64, length: u64 },
    Spill { object: u64, flags: SpillFlags, block: Stored },
    Range(Box<RangeOp>),
}

impl Op {
    /// Returns the end of the complete part of a stream that ends with this record. If `trusted` is not set, the record
    /// itself is not part of it.
    fn cut(&self, trusted: bool) -> Option<Cut> {
        let (object, start, length) = match *self {
            Self::Object(ref op) => (op.object, 0, 0),
            Self::FreeObjects { first, count } => (first.saturating_add(count), 0, 0),
            // It may precede or follow the data.
            Self::Spill { .. } => return None,
            Self::Embedded { offset, block, .. } if is_spill(offset, block) => return None,
            Self::Write { object, offset, block } | Self::Embedded { object, offset, block } => {
                (object, offset, block.logical.into())
            }
            // The FREE of the range after the last block precedes all data.
            Self::Free { object, length: TO_OBJECT_END, .. } => (object, 0, 0),
            Self::Free { object, offset, length } | Self::Redact { object, offset, length } => {
                (object, offset, length)
            }
            Self::Range(ref range) => (range.first, 0, 0),
        };
        Some(Cut { object, offset: if trusted { start.saturating_add(length) } else { start } })
    }
}

/// Returns `true` if an embedded block may be a spill block in disguise, depending on its object.
fn is_spill(offset: u64, block: Stored) -> bool {
    is_disguised_spill(ObjectType::SA, offset, block.logical.into())
}

/// A part of an object that is replaced by a record whose payload no checksum covers. The record is ignored, and the part
/// is marked as lost so that its previous content is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The object with its bonus.
    Object(u64),
    /// The spill block of the object.
    Spill(u64),
}

impl Lost {
    fn of(op: &Op) -> Option<Self> {
        match *op {
            Op::Object(ref op) => Some(Self::Object(op.object)),
            Op::Spill { object, .. } => Some(Self::Spill(object)),
            Op::Embedded { object, offset, block } if is_spill(offset, block) => Some(Self::Spill(object)),
            // Content after the cut is not shown.
            _ => None,
        }
    }
}

/// The records of a substream.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) snapshot: Snapshot,
    pub(crate) ops: Vec<Op>,
    /// The point at which the stream resumes, if it is the continuation of one that was cut short.
    pub(crate) resume: Option<Cut>,
    /// The part that is lost in addition to the content after the cut.
    pub(crate) lost: Option<Lost>,
    /// The wrapped keys of a raw stream.
    pub(crate) keys: Option<Arc<KeyData>>,
    /// `true` if the stream is the saved state of a receive: the records have another guid than BEGIN.
    saved: bool,
}

/// The key by which references name a WRITE.
type Key = (Guid, u64, u64);

/// The pass over one file.
pub(crate) struct Indexer<'a> {
    source: &'a Source,
    file: u16,
    /// The logs of this file.
    logs: Vec<Log>,
    judge: Option<Judge>,
    /// `true` if the last log has no END yet.
    open: bool,
    /// `true` inside a package.
    packaged: bool,
    /// The number of operations before the last record, if no checksum has covered its payload yet.
    unvouched: Option<usize>,
    checking: Checking,
    /// All WRITEs of the file, collected from the first reference.
    writes: Option<HashMap<Key, Stored>>,
}

/// The end of a file that was cut short.
pub(crate) struct Short {
    /// The error of the reader.
    pub(crate) error: Error,
    /// `true` if only the last log is incomplete, so that its continuation completes the file.
    pub(crate) only_last: bool,
}

/// The result of the pass over a file.
pub(crate) struct Indexed {
    pub(crate) logs: Vec<Log>,
    /// Its end, if it was cut short.
    pub(crate) short: Option<Short>,
    /// The number of zeros after its last END.
    pub(crate) padding_bytes: u64,
}

/// Indexes a file.
///
/// # Errors
/// Fails if the stream is corrupt, but not if it was cut short.
pub(crate) fn index(source: &Source, file: u16, checking: Checking) -> Result<Indexed, Error> {
    let mut indexer = Indexer {
        source,
        file,
        logs: Vec::new(),
        judge: None,
        open: false,
        packaged: false,
        unvouched: None,
        checking,
        writes: None,
    };
    let outcome = match checking {
        Checking::Sums => {
            let mut reader = ParallelReader::positioned(source.positioned(), 0);
            reader.for_each(|record| indexer.record(record)).map(|()| reader.padding())
        }
        Checking::Shape => indexer.skim(),
    };
    match outcome {
        Ok(padding_bytes) => Ok(Indexed { logs: indexer.logs, short: None, padding_bytes }),
        Err(error) if error.is_truncation() => {
            indexer.cut();
            let only_last = indexer.open && !indexer.packaged;
            let short = Some(Short { error, only_last });
            Ok(Indexed { logs: indexer.logs, short, padding_bytes: 0 })
        }
        Err(error) => Err(error),
    }
}

impl Indexer<'_> {
    /// Indexes the file from its headers only. Returns the number of zeros after the last END.
    fn skim(&mut self) -> Result<u64, Error> {
        let start = zstream_format::place::Place::default();
        let mut reader = StreamReader::seekable(self.source.reader())
            .map_err(|error| Error::new(Fault::Io(error), start))?;
        while let Some(record) = reader.next_header()? {
            self.record(&record).map_err(|fault| Error::new(fault, record.place))?;
        }
        Ok(reader.padding())
    }

    /// Adds the next record to the index.
    fn record(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        let Some(body) = record.header.body() else { return Ok(()) };
        match (record.role, &body) {
            (Role::SubstreamBegin, Body::Begin(begin)) => return self.begin(begin, record.payload),
            (Role::SubstreamEnd, _) => {
                self.open = false;
                return Ok(());
            }
            (Role::PackageBegin | Role::PackageEnd, _) => {
                self.packaged = record.role == Role::PackageBegin;
                return Ok(());
            }
            (Role::Data, _) => {}
            _ => return Ok(()),
        }
        let (Some(log), Some(judge)) = (self.logs.last_mut(), &mut self.judge) else { return Ok(()) };
        judge.record(&body)?;
        log.saved |= body.to_guid() != log.snapshot.guid && body.to_guid() != Guid(0);
        let vouched = record.payload.is_empty() || record.header.trailer().is_zero();
        let unvouched = self.checking == Checking::Sums && !vouched;
        self.unvouched = unvouched.then_some(log.ops.len());
        let op = self.op(&body, record)?;
        if let Some(log) = self.logs.last_mut() {
            log.ops.extend(op);
        }
        Ok(())
    }

    fn begin(&mut self, begin: &Begin, payload: &[u8]) -> Result<(), Fault> {
        judge::begin(begin)?;
        let list = match payload {
            [] => None,
            payload => Some(NvList::decode(payload)?.list),
        };
        let features = begin.version_info.features();
        judge::begin_list(features, list.as_ref())?;
        let number = |key| list.as_ref().and_then(|list| list.get_u64(key)).unwrap_or(0);
        let resume = features
            .contains(FeatureFlags::RESUMING)
            .then(|| Cut { object: number("resume_object"), offset: number("resume_offset") });
        let keys = list.as_ref().and_then(|list| list.get_list("crypt_keydata"));
        let keys = keys.filter(|_| features.contains(FeatureFlags::RAW)).map(KeyData::parse).transpose();
        self.logs.push(Log {
            snapshot: Snapshot {
                name: String::from_utf8_lossy(begin.name()).into_owned(),
                guid: begin.to_guid,
                from_guid: begin.from_guid,
                creation_time: begin.creation_time,
                objset_type: ObjsetType(begin.objset_type),
                flags: begin.flags,
                features,
                cut: None,
            },
            ops: Vec::new(),
            resume,
            lost: None,
            keys: keys.map_err(|error| other(error.to_string()))?.map(Arc::new),
            saved: false,
        });
        self.judge = Some(Judge::new(Terms::new(begin, Limits::default())));
        (self.open, self.unvouched) = (true, None);
        Ok(())
    }

    /// Returns the operation for a record; `None` for a record without an effect on objects.
    fn op(&mut self, body: &Body, record: &Record<'_>) -> Result<Option<Op>, Fault> {
        let order = record.header.order();
        let raw = self.logs.last().is_some_and(|log| log.keys.is_some());
        let foreign = order == ByteOrder::Big;
        let mut block = Stored {
            place: record.payload_offset(),
            physical: 0,
            logical: 0,
            skip: 0,
            file: self.file,
            compression: CompressionType::OFF,
            swap: Swap::No,
        };
        Ok(Some(match body {
            Body::Object(body) => Op::Object(Box::new(self.object(body, record, raw)?)),
            Body::FreeObjects(body) => {
                Op::FreeObjects { first: body.first_object.0, count: body.object_count }
            }
            Body::Free(body) => Op::Free { object: body.object.0, offset: body.offset, length: body.length },
            Body::Redact(body) => {
                Op::Redact { object: body.object.0, offset: body.offset, length: body.length }
            }
            Body::Write(body) => self.write(body, block, raw.then_some(order), foreign)?,
            Body::WriteEmbedded(body) => embedded(body, block, foreign)?,
            Body::Spill(body) => {
                block.set_sizes(body.payload_len(), body.length, body.compression)?;
                if raw {
                    block.swap = Swap::raw(order);
                } else if foreign && body.compressed_size == 0 {
                    block.swap = class_of(body.object_type)?;
                }
                Op::Spill { object: body.object.0, flags: body.flags, block }
            }
            Body::WriteByref(body) => {
                let block = self.referenced(body)?;
                Op::Write { object: body.object.0, offset: body.offset, block }
            }
            Body::ObjectRange(body) => {
                let swapped = body.flags.contains(RangeFlags::RAW_BYTESWAP);
                Op::Range(Box::new(RangeOp {
                    first: body.first_object.0,
                    params: CryptParams { salt: body.salt, iv: body.iv, mac: body.mac },
                    order: if swapped { order.swapped() } else { order },
                }))
            }
            Body::Begin(_) | Body::End(_) => return Ok(None),
        }))
    }

    /// Returns the operation for a WRITE. `raw` is the byte order of the stream where it is a raw one.
    fn write(
        &mut self,
        body: &record::Write,
        mut block: Stored,
        raw: Option<ByteOrder>,
        foreign: bool,
    ) -> Result<Op, Fault> {
        block.set_sizes(body.payload_len(), body.logical_size, body.compression)?;
        if let Some(order) = raw {
            block.swap = Swap::raw(order);
        } else if foreign && !body.is_compressed() {
            // Senders compress only blocks of types that are not swapped.
            block.swap = class_of(body.object_type)?;
        }
        if let Some(writes) = &mut self.writes {
            writes.insert((body.to_guid, body.object.0, body.offset), block);
        }
        Ok(Op::Write { object: body.object.0, offset: body.offset, block })
    }

    fn object(&self, body: &record::Object, record: &Record<'_>, raw: bool) -> Result<ObjectOp, Fault> {
        let len = body.payload_len() as usize;
        let mut bonus = record.payload.to_vec();
        if bonus.is_empty() && len > 0 {
            bonus.resize(len, 0);
            self.source.read_exact(record.payload_offset(), &mut bonus)?;
        }
        if record.header.order() == ByteOrder::Big && !bonus.is_empty() && !raw {
            swap_block(body.bonus_type, &mut bonus, ByteOrder::Big)
                .map_err(|error| other(format!("cannot swap the bonus buffer: {error}")))?;
        }
        if !raw {
            bonus.truncate(body.bonus_len as usize);
        }
        let shape = RawShape {
            // The size was validated: it fits in a dnode.
            bonus_len: body.bonus_len as u16,
            indirect_shift: body.indirect_block_shift,
            levels: body.levels,
            pointers: body.block_pointers,
            max_block: body.max_block_id,
        };
        Ok(ObjectOp {
            object: body.object.0,
            object_type: body.object_type,
            bonus_type: body.bonus_type,
            bonus: bonus.into(),
            block_bytes: body.block_size,
            checksum_type: body.checksum_type,
            compression: body.compression,
            slots: body.slots(),
            has_spill: body.flags.contains(ObjectFlags::SPILL),
            raw: raw.then_some(shape),
        })
    }

    /// Resolves a reference to its block.
    fn referenced(&mut self, body: &record::WriteByref) -> Result<Stored, Fault> {
        let logs = &self.logs;
        let writes = self.writes.get_or_insert_with(|| {
            // This is the first reference, so all of these were WRITE records.
            let of_log = |log: &Log| -> Vec<(Key, Stored)> {
                let guid = log.snapshot.guid;
                let writes = log.ops.iter().filter_map(|op| match *op {
                    Op::Write { object, offset, block } => Some(((guid, object, offset), block)),
                    _ => None,
                });
                writes.collect()
            };
            logs.iter().flat_map(of_log).collect()
        });
        let key = (body.ref_guid, body.ref_object.0, body.ref_offset);
        let nowhere = |why: String| {
            let (guid, object, offset) = key;
            other(format!(
                "reference to object {object} offset {offset} of snapshot {guid} cannot be resolved: {why}"
            ))
        };
        let block = *writes.get(&key).ok_or_else(|| nowhere("no WRITE before it has this block".into()))?;
        if u64::from(block.logical) != body.length {
            let why = format!("the block is {} bytes, expected {}", block.logical, body.length);
            return Err(nowhere(why));
        }
        if body.offset.checked_add(body.length).is_none() {
            return Err(other(format!(
                "the range of {} bytes at {} ends past 2^64",
                body.length, body.offset
            )));
        }
        Ok(block)
    }

    /// Sets the end of the last log, if it has no END.
    fn cut(&mut self) {
        let Some(log) = self.logs.last_mut().filter(|_| self.open) else { return };
        // A record whose payload no checksum covers only shows that everything before it is complete.
        let unvouched = self.unvouched.and_then(|first| log.ops.drain(first..).next());
        log.lost = unvouched.as_ref().and_then(Lost::of);
        let limit = unvouched.as_ref().and_then(|op| op.cut(false));
        let known =
            |is_known: fn(&&Op) -> bool| log.ops.iter().rev().filter(is_known).find_map(|op| op.cut(true));
        let cut = match limit {
            // In the saved state of a receive, records that free later objects only mean that they were not received yet.
            _ if log.saved => {
                let data = known(|op| !matches!(op, Op::FreeObjects { .. } | Op::Free { .. }));
                data.map(|cut| limit.map_or(cut, |limit| cut.min(limit)))
            }
            Some(limit) => Some(limit),
            None => known(|_| true),
        };
        log.snapshot.cut = Some(cut.unwrap_or(Cut { object: 0, offset: 0 }));
    }
}

impl Stored {
    fn set_sizes(&mut self, physical: u64, logical: u64, kind: CompressionType) -> Result<(), Fault> {
        if logical > MAX_BLOCK_BYTES || physical > MAX_BLOCK_BYTES {
            let found = logical.max(physical);
            return Err(Fault::TooLarge { what: "the block", found, limit: MAX_BLOCK_BYTES });
        }
        // Both numbers mean that the payload is the block.
        let plain = matches!(kind, CompressionType::INHERIT | CompressionType::OFF);
        self.compression = if plain { CompressionType::OFF } else { kind };
        if plain && physical != logical {
            return Err(other(format!("uncompressed payload is {physical} bytes, expected {logical}")));
        }
        (self.physical, self.logical) = (physical as u32, logical as u32);
        Ok(())
    }
}

fn class_of(object_type: ObjectType) -> Result<Swap, Fault> {
    match object_type.swap_class() {
        Some(SwapClass::U8) => Ok(Swap::No),
        Some(class) => Ok(Swap::Class(class)),
        None => Err(other(SwapError::Type(object_type.0).to_string())),
    }
}

fn other(text: String) -> Fault {
    Fault::Other(text.into())
}

/// Returns the operation for a WRITE_EMBEDDED.
fn embedded(body: &record::WriteEmbedded, mut block: Stored, foreign: bool) -> Result<Op, Fault> {
    if body.embedded_type != 0 {
        return Err(other(format!("embedded type is {}, expected 0 (data)", body.embedded_type)));
    }
    if u64::from(body.logical_size) != body.length {
        let (have, need) = (body.logical_size, body.length);
        return Err(other(format!("embedded block is {have} bytes, expected {need}")));
    }
    block.set_sizes(body.physical_size.into(), body.length, body.compression)?;
    if foreign {
        block.swap = Swap::ByObject;
    }
    Ok(Op::Embedded { object: body.object.0, offset: body.offset, block })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes in the documentation of the modules.
    #[test]
    fn the_index_is_small() {
        assert_eq!(size_of::<Op>(), 48);
        assert_eq!(size_of::<crate::objects::Extent>(), 32);
    }
}
