//! Compressing all blocks of a stream anew (`zstream recompress`), on all cores.
//!
//! Every WRITE is decompressed by its own algorithm and compressed by the one that was asked for; a block that
//! does not get smaller, padded to 512 bytes, is sent plain. SPILL and WRITE_EMBEDDED stay as they are: they
//! follow other rules.
//!
//! BEGIN stands before the blocks, so its features are set by what was asked for:
//!
//! | feature | is set |
//! | --- | --- |
//! | COMPRESSED | unless the algorithm is `OFF` |
//! | LZ4, ZSTD | if it is that algorithm; or if it was set and embedded blocks may need it (EMBED_DATA) |
//!
//! Two kinds of blocks are not compressed. The blocks of raw substreams are sealed as they are: such substreams
//! pass through untouched. And receivers swap the bytes of metadata only where it is plain, so in a big-endian
//! stream, which nearly every receiver has to swap, everything that is not an array of bytes becomes plain.
//!
//! ```text
//! read, check -> queue of jobs, in order ......................-> write, sum
//!                 \-> decompress, compress (any core) ->/
//! ```
//!
//! ```
//! use zstream_format::algorithm::CompressionType;
//! use zstream_format::edit::recompress::Recompress;
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

/// Bytes of blocks that may be under way, beyond one block for each core.
const QUEUE_BYTES: usize = 16 << 20;

/// How to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recompress {
    /// The algorithm; `OFF` for plain blocks.
    pub kind: CompressionType,
    /// The level of zstd; `None` for the default one.
    pub level: Option<ZstdLevel>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Substreams whose blocks were compressed anew.
    pub substreams: u64,
    /// Substreams that are raw and passed through.
    pub raw_substreams: u64,
    /// Zeros after the last END of the input, which are not copied.
    pub padding_bytes: u64,
}

impl Summary {
    /// Takes in the features of a substream; those of a package are `None`.
    fn count(&mut self, features: Option<FeatureFlags>) {
        match features {
            Some(features) if features.contains(FeatureFlags::RAW) => self.raw_substreams += 1,
            Some(_) => self.substreams += 1,
            None => {}
        }
    }
}

impl Recompress {
    /// The features of a substream whose blocks are compressed so.
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

    /// Compresses all blocks of a stream anew. The bytes do not depend on the number of cores.
    ///
    /// Memory: 16 MiB of blocks, or one largest block (16 MiB, and as much for its other form) for each core,
    /// whichever is more.
    ///
    /// # Errors
    /// What is wrong with the stream: a block that does not decompress is, and so is a WRITE_BYREF. That
    /// writing failed.
    pub fn run<R: Read, W: Write>(&self, source: R, sink: W) -> Result<(W, Summary), EditError> {
        let mut reader = StreamReader::new(source);
        let mut writer = StreamWriter::new(sink);
        let mut summary = Summary::default();
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
            // What lies before a fault is written whatever its cores were doing, and a fault of an earlier
            // record comes first.
            match outcome {
                Err(EditError::Output(error)) => Err(EditError::Output(error)),
                outcome => queue.write_all(&mut writer).and(outcome),
            }
        })?;
        summary.padding_bytes = reader.padding();
        let sink = writer.finish().map_err(EditError::Output)?;
        Ok((sink, summary))
    }

    /// The BEGIN of a substream with these features, or of a package.
    fn begin(&self, header: &Header, mut begin: record::Begin, features: Option<FeatureFlags>) -> Header {
        let mut header = header.clone();
        if let Some(features) = features.filter(|features| !features.contains(FeatureFlags::RAW)) {
            begin.version_info = begin.version_info.with_features(self.features(features));
            header.set_body(begin);
        }
        header
    }

    /// Whether there is work with a block: none is left where it is plain and is to be.
    fn changes(&self, write: &record::Write) -> bool {
        self.kind != CompressionType::OFF || write.is_compressed() || write.compressed_size != 0
    }

    /// Sends one WRITE to be compressed anew by any core.
    fn spawn(self, scope: &rayon::Scope<'_>, record: &Record<'_>, write: record::Write) -> Slot {
        let (sender, receiver) = sync_channel(1);
        let (header, payload, place) = (record.header.clone(), record.payload.to_vec(), record.place);
        let bytes = payload.len().saturating_add(write.logical_size as usize);
        scope.spawn(move |_| {
            let made = self.block(header, &write, payload);
            // Nobody waits any more where the edit has ended with an error.
            let _ = sender.send(made.map_err(|fault| Error::new(fault, place)));
        });
        Slot { bytes, state: State::Pending(receiver, place) }
    }

    /// Compresses the block of one WRITE anew.
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

/// A record as it is to be written.
struct Made {
    header: Header,
    payload: Vec<u8>,
}

enum State {
    Ready(Box<Made>),
    /// A core is at it; the place is that of the record it came from.
    Pending(Receiver<Result<Made, Error>>, Place),
}

/// A record on its way.
struct Slot {
    /// What it takes, or may take, in memory.
    bytes: usize,
    state: State,
}

impl Slot {
    fn ready(header: Header, payload: &[u8]) -> Self {
        let made = Made { header, payload: payload.to_vec() };
        Self { bytes: made.payload.len(), state: State::Ready(Box::new(made)) }
    }
}

/// The records that were read but not written, in their order.
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

    /// Writes what is ready at the front, and waits for it where too much is under way.
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

    /// Writes the first record, if it is ready or can be waited for. Whether there was one.
    fn write_front<W: Write>(&mut self, writer: &mut StreamWriter<W>, wait: bool) -> Result<bool, EditError> {
        let Some(front) = self.slots.front_mut() else { return Ok(false) };
        if let State::Pending(receiver, place) = &front.state {
            // A job that is gone without a word has panicked, which the scope passes on.
            let gone = || Err(Error::new(Fault::GivenUp, *place));
            let made = loop {
                match receiver.try_recv() {
                    Ok(made) => break made,
                    Err(TryRecvError::Disconnected) => break gone(),
                    Err(TryRecvError::Empty) if !wait => return Ok(false),
                    // A thread of the pool must not sleep while there are jobs: it may be the only one.
                    Err(TryRecvError::Empty) if rayon::yield_now() == Some(rayon::Yield::Executed) => {}
                    Err(TryRecvError::Empty) => break receiver.recv().unwrap_or_else(|_| gone()),
                }
            };
            match made {
                Ok(made) => front.state = State::Ready(Box::new(made)),
                Err(error) => {
                    // Nothing behind a fault is written.
                    self.slots.clear();
                    return Err(EditError::Input(error));
                }
            }
        }
        if let Some(Slot { bytes, state: State::Ready(made) }) = self.slots.pop_front() {
            self.bytes = self.bytes.saturating_sub(bytes);
            writer.write(&made.header, &made.payload).map_err(EditError::Output)?;
        }
        Ok(true)
    }
}
