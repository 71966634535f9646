//! The space that a stream needs, found without writing it: a dry run compresses the blocks as a receive would, and
//! counts.
//!
//! Each block of files and other objects is counted once, with its copies. Indirect blocks, dnodes and references in
//! deduplicated streams are not counted, so that the sum is the least that a receive needs.

use zstream_dmu::error::{Error, Fault};
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::mos::Features;
use zstream_dmu::objset::SetProperties;
use zstream_dmu::vdev::{VdevConfig, deflated};
use zstream_dmu::zio::{Protection, Space as _};
use zstream_dsl::write::WritablePool;
use zstream_format::algorithm::CompressionType;
use zstream_format::compress::{Compression, DiskForm, compress_for_disk};
use zstream_format::object_type::ObjectType;
use zstream_format::record::Body;

use crate::error::Result;

/// The space that the blocks of a stream need.
pub(crate) struct Needs {
    properties: SetProperties,
    unit_shift: u8,
    may_embed: bool,
    /// The top-level vdevs, each with the bytes that one of its sectors counts for.
    tops: Vec<(VdevConfig, u64)>,
    txg: Txg,
    /// Object and offset of the last block: a repeated block needs no more space.
    last: Option<(ObjectId, u64)>,
    bytes: u64,
}

impl Needs {
    /// Starts to count for writes into this head.
    pub(crate) fn new(pool: &mut WritablePool, filled: ObjectId) -> Result<Self> {
        let properties = pool.dsl().dataset_by_object(filled)?.set_properties()?;
        let may_embed = Features::read(pool.pool().mos())?.is_active("embedded_data");
        let txg = pool.txg();
        let writer = pool.pool();
        let tops =
            writer.vdevs().tops().iter().map(|top| (top.config().clone(), top.config().deflate_ratio()));
        Ok(Self {
            properties,
            unit_shift: writer.space().unit_shift(),
            may_embed: may_embed && properties.protection == Protection::Plain,
            tops: tops.filter(|(config, ratio)| *ratio > 0 && !config.is_log).collect(),
            txg,
            last: None,
            bytes: 0,
        })
    }

    /// Returns the bytes so far, as datasets count them.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts a record.
    pub(crate) fn record(&mut self, body: &Body, payload: &[u8]) -> Result<()> {
        let stored = match body {
            Body::Write(write) => {
                let place = Some((write.object, write.offset));
                if self.last == place {
                    return Ok(());
                }
                self.last = place;
                // Raw blocks have a size on disk even if they are not compressed.
                match write.compressed_size {
                    0 => self.stored(write.object_type, payload)?,
                    _ => payload.len() as u64,
                }
            }
            Body::Spill(spill) if spill.compressed_size != 0 => payload.len() as u64,
            Body::Spill(spill) => self.stored(spill.object_type, payload)?,
            _ => return Ok(()),
        };
        if stored > 0 {
            let size =
                |(config, ratio): &(VdevConfig, u64)| deflated(config.asize_of(stored, self.txg), *ratio);
            let least = self.tops.iter().map(size).min().unwrap_or(0);
            self.bytes = self.bytes.saturating_add(least.saturating_mul(self.copies()));
        }
        Ok(())
    }

    /// Returns the number of copies of a block of data. The pointer of an encrypted block has room for two.
    fn copies(&self) -> u64 {
        let room = if self.properties.protection == Protection::Plain { 3 } else { 2 };
        u64::from(self.properties.copies.min(room))
    }

    /// Returns the stored size of a block that is not compressed in the stream.
    fn stored(&self, object_type: ObjectType, block: &[u8]) -> Result<u64> {
        let default = Compression::from(self.properties.default_compression);
        let Compression { kind, level } = match self.properties.compression {
            _ if object_type.is_metadata() => default,
            compression if compression.kind == CompressionType::ON => default,
            compression => compression,
        };
        let form = compress_for_disk(kind, level, block, self.unit_shift, self.may_embed);
        Ok(match form.map_err(Fault::from).map_err(Error::from)? {
            DiskForm::Hole | DiskForm::Embedded(_) => 0,
            DiskForm::Compressed(bytes) => bytes.len() as u64,
            DiskForm::Plain => block.len() as u64,
        })
    }
}
