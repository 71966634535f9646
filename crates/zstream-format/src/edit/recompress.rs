//! Recompression of all blocks of a stream (`zstream recompress`), on all cores.
//!
//! Every WRITE is decompressed with its own algorithm and compressed with the requested one; a block that does
//! not shrink, padded to 512 bytes, is written uncompressed. SPILL and WRITE_EMBEDDED are copied: other rules apply
//! to them.
//!
//! BEGIN precedes the blocks, so its features follow from the request:
//!
//! | feature | is set |
//! | --- | --- |
//! | COMPRESSED | unless the algorithm is `OFF` |
//! | LZ4, ZSTD | if it is that algorithm; or if it was set and embedded blocks may require it (EMBED_DATA) |
//!
//! Two kinds of blocks are not compressed. The blocks of raw substreams are authenticated as they are, so such
//! substreams are copied. And receivers swap the bytes of metadata only if it is uncompressed; nearly every receiver
//! must swap a big-endian stream, so in such a stream everything that is not an array of bytes is uncompressed.
//!
//! ```text
//! read, verify -> queue of jobs, in order .....................-> write, sum
//!                 \-> decompress, compress (any core) ->/
//! ```
//!
//! ```
//! use zstream_format::algorithm::CompressionType;
//! use zstream_format::edit::Recompress;
//!
//! let stream = include_bytes!("../../tests/data/small.zfs");
//! let how = Recompress { kind: CompressionType::LZJB, level: None };
//! let (smaller, summary) = how.run(&stream[..], Vec::new())?;
//! assert!(smaller.len() < stream.len());
//! assert_eq!(summary.substreams, 2);
//! # Ok::<(), zstream_format::edit::EditError>(())
//! ```

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use super::{
    EditError, Trouble, deduplicated, known_features, plain_block, substream_features, with_payload,
};
use crate::algorithm::CompressionType;
use crate::compress::{ZstdLevel, compress_for_stream};
use crate::flags::FeatureFlags;
use crate::object_type::SwapClass;
use crate::order::ByteOrder;
use crate::place::Place;
use crate::record::{self, Body, Header};
use crate::stream::{Error, Fault, Record, StreamReader, StreamWriter};

/// The maximum size of queued blocks in bytes, beyond one block for each core.
const QUEUE_BYTES: usize = 16 << 20;

/// A request to recompress: the algorithm and its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recompress {
    /// The algorithm; `OFF` for uncompressed blocks.
    pub kind: CompressionType,
    /// The level of zstd; `None` for the default level.
    pub level: Option<ZstdLevel>,
}

/// The numbers of substreams that were recompressed and copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecompressSummary {
    /// The number of substreams whose blocks were recompressed.
    pub substreams: u64,
    /// The number of raw substreams, which were copied.
    pub raw_substreams: u64,
    /// Zeros after the last END of the input, which are not copied.
    pub padding_bytes: u64,
}

impl RecompressSummary {
    /// Counts a substream by its features; `None` is a package.
    fn count(&mut self, features: Option<FeatureFlags>) {
        match features {
            Some(features) if features.contains(FeatureFlags::RAW) => self.raw_substreams += 1,
            Some(_) => self.substreams += 1,
            None => {}
        }
    }
}

impl Recompress {
    /// Returns the features of a substream after recompression; `given` are those before.
    #[must_use]
    pub fn features(&self, given: FeatureFlags) -> FeatureFlags {
        let mut features = given - FeatureFlags::COMPRESSED;
        if !given.contains(FeatureFlags::EMBED_DATA) {
            features -= FeatureFlags::LZ4 | FeatureFlags::ZSTD;
        }
        features.set(FeatureFlags::COMPRESSED, self.kind != CompressionType::OFF);
        match self.kind {
            CompressionType::LZ4 => features | FeatureFlags::LZ4,
            CompressionType::ZSTD => features | FeatureFlags::ZSTD,
            _ => features,
        }
    }

    /// Recompresses all blocks of a stream. The output does not depend on the number of cores.
    ///
    /// Memory: 16 MiB of blocks, or one block of the maximum size (16 MiB, and as much for its other form) for
    /// each core, whichever is more.
    ///
    /// # Errors
    /// Fails if the stream is corrupt, if a block does not decompress, on a WRITE_BYREF, and if writing fails.
    pub fn run<R: Read, W: Write>(&self, source: R, sink: W) -> Result<(W, RecompressSummary), EditError> {
        let mut reader = StreamReader::new(source);
        let mut writer = StreamWriter::new(sink);
        let mut summary = RecompressSummary::default();
        let mut raw = false;
        let max_jobs = rayon::current_num_threads() + 1;
        rayon::in_place_scope(|scope| {
            let mut queue = Queue::default();
            let mut read = || -> Result<(), EditError> {
                while let Some(record) = reader.next().map_err(EditError::Input)? {
                    known_features(&record).map_err(|fault| Trouble::Input(fault).at(&record))?;
                    let slot = match record.header.body() {
                        Some(body @ Body::Begin(begin)) => {
                            let features = substream_features(Some(&body));
                            raw = features.is_some_and(|features| features.contains(FeatureFlags::RAW));
                            summary.count(features);
                            Slot::ready(self.begin(record.header, begin, features), record.payload)
                        }
                        Some(Body::WriteByref(_)) => {
                            return Err(Trouble::Input(deduplicated()).at(&record));
                        }
                        Some(Body::Write(write)) if !raw && self.changes(&write) => {
                            self.spawn(scope, &record, write)
                        }
                        _ if queue.slots.is_empty() => {
                            writer.write(record.header, record.payload).map_err(EditError::Output)?;
                            continue;
                        }
                        _ => Slot::ready(record.header.clone(), record.payload),
                    };
                    queue.push(slot);
                    queue.write(&mut writer, max_jobs)?;
                }
                Ok(())
            };
            let outcome = read();
            // All records before a fault are written, and the fault of the earliest record is reported.
            match outcome {
                Err(EditError::Output(error)) => Err(EditError::Output(error)),
                outcome => queue.write_all(&mut writer).and(outcome),
            }
        })?;
        summary.padding_bytes = reader.padding();
        let sink = writer.finish().map_err(EditError::Output)?;
        Ok((sink, summary))
    }

    /// Returns the BEGIN to write for a substream with these features, or for a package.
    fn begin(&self, header: &Header, mut begin: record::Begin, features: Option<FeatureFlags>) -> Header {
        let mut header = header.clone();
        if let Some(features) = features.filter(|features| !features.contains(FeatureFlags::RAW)) {
            begin.version_info = begin.version_info.with_features(self.features(features));
            header.set_body(begin);
        }
        header
    }

    /// Returns `true` unless a block is uncompressed already and should be.
    fn changes(&self, write: &record::Write) -> bool {
        self.kind != CompressionType::OFF || write.is_compressed() || write.compressed_size != 0
    }

    /// Starts the recompression of one WRITE on any core.
    fn spawn(self, scope: &rayon::Scope<'_>, record: &Record<'_>, write: record::Write) -> Slot {
        let (sender, receiver) = sync_channel(1);
        let (header, payload, place) = (record.header.clone(), record.payload.to_vec(), record.place);
        let bytes = payload.len().saturating_add(write.logical_size as usize);
        scope.spawn(move |_| {
            let made = self.block(header, &write, payload);
            // The receiver is closed if the edit has ended with an error.
            let _ = sender.send(made.map_err(|fault| Error::new(fault, place)));
        });
        Slot { bytes, state: SlotState::Pending(receiver, place) }
    }

    /// Recompresses the block of one WRITE.
    fn block(&self, header: Header, write: &record::Write, payload: Vec<u8>) -> Result<Made, Fault> {
        let block = if write.is_compressed() {
            plain_block(write, write.compression, &payload).map_err(Fault::from)?
        } else {
            payload
        };
        let swappable =
            header.order() == ByteOrder::Big && write.object_type.swap_class() != Some(SwapClass::U8);
        let compressed = if self.kind == CompressionType::OFF || swappable {
            None
        } else {
            compress_for_stream(self.kind, self.level, &block).map_err(|error| Fault::Other(error.into()))?
        };
        let (kind, payload) = match compressed {
            Some(payload) => (self.kind, payload),
            None => (CompressionType::INHERIT, block),
        };
        Ok(Made { header: with_payload(&header, write, kind, payload.len()), payload })
    }
}

/// A record to write.
struct Made {
    header: Header,
    payload: Vec<u8>,
}

enum SlotState {
    Ready(Box<Made>),
    /// The record is being recompressed; the place is that of the record in the input.
    Pending(Receiver<Result<Made, Error>>, Place),
}

/// A record in the queue.
struct Slot {
    /// The memory that it requires at most, in bytes.
    bytes: usize,
    state: SlotState,
}

impl Slot {
    fn ready(header: Header, payload: &[u8]) -> Self {
        let made = Made { header, payload: payload.to_vec() };
        Self { bytes: made.payload.len(), state: SlotState::Ready(Box::new(made)) }
    }
}

/// The records that were read but not yet written, in order.
#[derive(Default)]
struct Queue {
    slots: VecDeque<Slot>,
    bytes: usize,
}

impl Queue {
    fn push(&mut self, slot: Slot) {
        self.bytes = self.bytes.saturating_add(slot.bytes);
        self.slots.push_back(slot);
    }

    /// Writes the records that are ready at the front, and waits for them if the queue is full.
    fn write<W: Write>(&mut self, writer: &mut StreamWriter<W>, max_jobs: usize) -> Result<(), EditError> {
        loop {
            let full = self.bytes > QUEUE_BYTES && self.slots.len() > max_jobs;
            if !self.write_front(writer, full)? {
                return Ok(());
            }
        }
    }

    fn write_all<W: Write>(&mut self, writer: &mut StreamWriter<W>) -> Result<(), EditError> {
        while self.write_front(writer, true)? {}
        Ok(())
    }

    /// Writes the first record, if it is ready or `wait` is set. Returns `true` if it wrote one.
    fn write_front<W: Write>(&mut self, writer: &mut StreamWriter<W>, wait: bool) -> Result<bool, EditError> {
        let Some(front) = self.slots.front_mut() else { return Ok(false) };
        if let SlotState::Pending(receiver, place) = &front.state {
            // A job that ended without a result has panicked; the scope propagates the panic.
            let gone = || Err(Error::new(Fault::GivenUp, *place));
            let made = loop {
                match receiver.try_recv() {
                    Ok(made) => break made,
                    Err(TryRecvError::Disconnected) => break gone(),
                    Err(TryRecvError::Empty) if !wait => return Ok(false),
                    // A thread of the pool must not block while there are jobs: it may be the only one.
                    Err(TryRecvError::Empty) if rayon::yield_now() == Some(rayon::Yield::Executed) => {}
                    Err(TryRecvError::Empty) => break receiver.recv().unwrap_or_else(|_| gone()),
                }
            };
            match made {
                Ok(made) => front.state = SlotState::Ready(Box::new(made)),
                Err(error) => {
                    // Nothing after a fault is written.
                    self.slots.clear();
                    return Err(EditError::Input(error));
                }
            }
        }
        if let Some(Slot { bytes, state: SlotState::Ready(made) }) = self.slots.pop_front() {
            self.bytes = self.bytes.saturating_sub(bytes);
            writer.write(&made.header, &made.payload).map_err(EditError::Output)?;
        }
        Ok(true)
    }
}
