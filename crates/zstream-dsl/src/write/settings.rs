//! Write settings of a dataset, which follow from its properties.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::objset::{RedundantMetadata, SetProperties};
use zstream_dmu::zio::{Dedup, Protection};
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::compress::Compression;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::reader::{Mos, MosReader};

impl<M: Mos> Dataset<M> {
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
        if let Some(number) = number("dedup")? {
            properties.dedup = dedup(number).ok_or_else(|| bad("dedup", number))?;
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

/// The bit of the property `dedup` that is set if the content of blocks is compared (`ZIO_CHECKSUM_VERIFY`).
const VERIFY: u64 = 1 << 8;

/// Returns the meaning of a value of the property `dedup`; `None` if it has none.
fn dedup(value: u64) -> Option<Option<(ChecksumType, Dedup)>> {
    let (mut checksum, is_verified) =
        (ChecksumType(u8::try_from(value & !VERIFY).ok()?), value & VERIFY != 0);
    match checksum {
        ChecksumType::OFF => return Some(None),
        ChecksumType::ON => checksum = ChecksumType::SHA256,
        ChecksumType::SHA256
        | ChecksumType::SHA512
        | ChecksumType::SKEIN
        | ChecksumType::EDONR
        | ChecksumType::BLAKE3 => {}
        _ => return None,
    }
    // Different blocks may have the same checksum if it is weak.
    let is_verified = is_verified || !checksum.is_dedup_capable();
    Some(Some((checksum, if is_verified { Dedup::Verified } else { Dedup::ByChecksum })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dedup_has_a_checksum_and_may_compare() {
        assert_eq!(dedup(2), Some(None));
        assert_eq!(dedup(1), Some(Some((ChecksumType::SHA256, Dedup::ByChecksum))));
        assert_eq!(dedup(1 | VERIFY), Some(Some((ChecksumType::SHA256, Dedup::Verified))));
        assert_eq!(dedup(14), Some(Some((ChecksumType::BLAKE3, Dedup::ByChecksum))));
        assert_eq!(dedup(13), Some(Some((ChecksumType::EDONR, Dedup::Verified))));
        assert_eq!(dedup(7), None, "fletcher_4 is too weak");
        assert_eq!(dedup(1 << 20), None);
    }
}
