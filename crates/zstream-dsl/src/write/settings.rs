//! How the blocks of a dataset are written, by its properties.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::objset::writer::{RedundantMetadata, SetProperties};
use zstream_dmu::zap::Value;
use zstream_dmu::zio::write::Protection;
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::compress::Compression;

use super::Tx;
use super::make::DEPTH_MAX;
use crate::error::{Error, Result};
use crate::prop::{INHERIT, KNOWN_ELSEWHERE, RECEIVED};

impl Tx<'_> {
    /// What is set of an inherited property, here or above; none where nothing is.
    ///
    /// # Errors
    /// When the properties cannot be read.
    pub fn inherited(&self, dir: ObjectId, name: &str) -> Result<Option<Value>> {
        let mut at = Some(dir);
        for _ in 0..DEPTH_MAX {
            let Some(dir) = at else { return Ok(None) };
            let phys = self.dir(dir)?;
            for key in [format!("{name}{KNOWN_ELSEWHERE}"), name.to_owned()] {
                if let Some(value) = self.lookup(phys.props, &key)? {
                    return Ok(Some(value));
                }
            }
            if self.lookup(phys.props, &format!("{name}{INHERIT}"))?.is_none()
                && let Some(value) = self.lookup(phys.props, &format!("{name}{RECEIVED}"))?
            {
                return Ok(Some(value));
            }
            at = phys.parent;
        }
        Err(Error::corrupt("DSL directory", format!("{dir} is nested without an end")))
    }

    /// A number that is set of an inherited property, here or above.
    ///
    /// # Errors
    /// When the properties cannot be read.
    pub fn inherited_number(&self, dir: ObjectId, name: &str) -> Result<Option<u64>> {
        Ok(self.inherited(dir, name)?.map(|value| value.u64()).transpose()?)
    }

    /// Whether the blocks of a dataset were to be deduplicated. They are written as if they were not: that is allowed, and OpenZFS
    /// deduplicates what it writes itself.
    ///
    /// # Errors
    /// When the properties cannot be read.
    pub fn wants_dedup(&self, head: ObjectId) -> Result<bool> {
        let dedup = self.inherited_number(self.dataset(head)?.dir, "dedup")?;
        Ok(dedup.is_some_and(|dedup| dedup != u64::from(ChecksumType::OFF.0)))
    }

    /// How the blocks of a dataset are written.
    ///
    /// # Errors
    /// When its properties cannot be read, or have values that no version knows.
    pub fn set_properties(&self, head: ObjectId) -> Result<SetProperties> {
        let dir = self.dataset(head)?.dir;
        let bad = |name: &str, value: u64| Error::unsupported(format!("{name} {value}"));
        let number = |name: &'static str| self.inherited_number(dir, name);
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
        if !self.feature_active("lz4_compress")? {
            properties.default_compression = CompressionType::LZJB;
        }
        if self.is_encrypted(dir)? {
            properties.protection = Protection::Keyed;
        }
        Ok(properties)
    }
}
