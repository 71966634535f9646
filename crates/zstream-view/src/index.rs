//! The index of a file of streams, which is built in one pass: a [`Log`] for each substream.

use std::collections::HashMap;
use std::sync::Arc;

use zstream_dmu::zio::crypt::{CryptParams, KeyData};
use zstream_format::algorithm::CompressionType;
use zstream_format::byteswap::{SwapError, swap_block};
use zstream_format::flags::{FeatureFlags, ObjectFlags, RangeFlags};
use zstream_format::ids::Guid;
use zstream_format::judge::{self, Judge, Limits, Terms};
use zstream_format::nvlist::NvList;
use zstream_format::object_type::{ObjectType, ObjsetType, SwapClass};
use zstream_format::order::ByteOrder;
use zstream_format::record::{self, Begin, Body, MAX_BLOCK_BYTES};
use zstream_format::stream::{Checking, Error, Fault, ParallelReader, Record, Role, StreamReader};

use crate::log::{Cut, Log, ObjectOp, Op, RangeOp, RawShape, Snapshot, Stored, Swap};
use crate::source::Source;

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
        if let Some(log) = self.logs.last_mut().filter(|_| self.open) {
            log.cut(self.unvouched);
        }
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
