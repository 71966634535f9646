//! Write settings of a dataset, which follow from its properties.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::objset::{RedundantMetadata, SetProperties};
use zstream_dmu::zio::Protection;
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::compress::Compression;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::reader::{Mos, MosReader};

impl<M: Mos> Dataset<M> {
    /// Returns `true` if a head has deduplication on. Its blocks are written without deduplication, which is allowed;
    /// OpenZFS deduplicates the blocks that it writes itself.
    ///
    /// # Errors
    /// Fails if the properties cannot be read.
    pub fn is_dedup_on(&self) -> Result<bool> {
        let dedup = self.dir().inherited("dedup")?.map(|value| value.u64()).transpose()?;
        Ok(dedup.is_some_and(|dedup| dedup != u64::from(ChecksumType::OFF.0)))
    }

    /// Returns the write settings of a head.
    ///
    /// # Errors
    /// Fails if its properties cannot be read or have unknown values.
    pub fn set_properties(&self) -> Result<SetProperties> {
        self.dsl().read().set_properties(self.object())
    }
}

impl MosReader<'_> {
    /// Returns the write settings of a dataset.
    pub(super) fn set_properties(self, head: ObjectId) -> Result<SetProperties> {
        let dir = self.dataset(head)?.dir;
        let bad = |name: &str, value: u64| Error::unsupported(format!("{name} {value}"));
        let number =
            |name| -> Result<_> { Ok(self.inherited(dir, name)?.map(|value| value.u64()).transpose()?) };
        let mut properties = SetProperties::default();
        if let Some(checksum) = number("checksum")? {
            properties.checksum =
                ChecksumType(u8::try_from(checksum).map_err(|_| bad("checksum", checksum))?);
        }
        if let Some(compression) = number("compression")? {
            properties.compression =
                Compression::from_property(compression).ok_or_else(|| bad("compression", compression))?;
        }
        if let Some(copies) = number("copies")? {
            properties.copies = u8::try_from(copies)
                .ok()
                .filter(|n| (1..=3).contains(n))
                .ok_or_else(|| bad("copies", copies))?;
        }
        if let Some(redundant) = number("redundant_metadata")? {
            properties.redundant_metadata = match redundant {
                0 => RedundantMetadata::All,
                1 => RedundantMetadata::Most,
                2 => RedundantMetadata::Some,
                3 => RedundantMetadata::None,
                other => return Err(bad("redundant_metadata", other)),
            };
        }
        // As in OpenZFS 2.4, also for volumes. Only pools with special vdevs make a difference.
        properties.special_small_blocks = number("special_small_blocks")?.unwrap_or(0);
        if !self.feature_active("lz4_compress")? {
            properties.default_compression = CompressionType::LZJB;
        }
        if self.is_encrypted(dir)? {
            properties.protection = Protection::Keyed;
        }
        Ok(properties)
    }
}
