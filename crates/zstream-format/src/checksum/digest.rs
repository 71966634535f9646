//! The cryptographic functions, as ZFS applies them. Without the feature `block-checksums` each returns
//! an error that names the feature.
//!
//! ZFS copies a digest byte by byte into the words of the checksum, so the words are in the byte order
//! of the pool. SHA-256 is the exception: its words are big-endian numbers in every pool.

#[cfg(feature = "block-checksums")]
pub(super) use built::*;
#[cfg(not(feature = "block-checksums"))]
pub(super) use left_out::*;

#[cfg(feature = "block-checksums")]
mod built {
    use sha2::{Digest, Sha256, Sha512_256};

    use crate::checksum::{Checksum, Error, Salt};
    use crate::order::ByteOrder;

    /// Computes SHA-256 of the concatenated parts.
    pub(in crate::checksum) fn sha256(parts: &[&[u8]]) -> Result<Checksum, Error> {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Ok(Checksum::from_bytes(&hasher.finalize().into(), ByteOrder::Big))
    }

    /// Returns the index of the first tail with which SHA-256 of `prefix` and the tail is `wanted`.
    pub(in crate::checksum) fn sha256_find(
        prefix: &[u8],
        tails: impl Iterator<Item = [u8; 32]>,
        wanted: Checksum,
    ) -> Result<Option<usize>, Error> {
        let prefix = Sha256::new().chain_update(prefix);
        let sum = |tail: [u8; 32]| prefix.clone().chain_update(tail).finalize().into();
        let mut sums = tails.map(|tail| Checksum::from_bytes(&sum(tail), ByteOrder::Big));
        Ok(sums.position(|sum| sum == wanted))
    }

    pub(in crate::checksum) fn sha512_256(data: &[u8], order: ByteOrder) -> Result<Checksum, Error> {
        Ok(Checksum::from_bytes(&Sha512_256::digest(data).into(), order))
    }

    pub(in crate::checksum) fn skein(data: &[u8], order: ByteOrder, salt: &Salt) -> Result<Checksum, Error> {
        Ok(Checksum::from_bytes(&salt.skein().digest(data), order))
    }

    /// Computes Edon-R-512 and returns the first half of the digest.
    pub(in crate::checksum) fn edonr(data: &[u8], order: ByteOrder, salt: &Salt) -> Result<Checksum, Error> {
        let digest = salt.edonr().finish(data);
        let (half, _) = digest.split_first_chunk().expect("64 bytes have 32");
        Ok(Checksum::from_bytes(half, order))
    }

    pub(in crate::checksum) fn blake3(data: &[u8], order: ByteOrder, salt: &Salt) -> Result<Checksum, Error> {
        Ok(Checksum::from_bytes(blake3::keyed_hash(salt.as_bytes(), data).as_bytes(), order))
    }
}

#[cfg(not(feature = "block-checksums"))]
mod left_out {
    use crate::algorithm::ChecksumType;
    use crate::checksum::{Checksum, Error, Salt};
    use crate::order::ByteOrder;

    pub(in crate::checksum) fn sha256(_: &[&[u8]]) -> Result<Checksum, Error> {
        Err(Error::NotBuilt(ChecksumType::SHA256))
    }

    pub(in crate::checksum) fn sha256_find(
        _: &[u8],
        _: impl Iterator<Item = [u8; 32]>,
        _: Checksum,
    ) -> Result<Option<usize>, Error> {
        Err(Error::NotBuilt(ChecksumType::SHA256))
    }

    pub(in crate::checksum) fn sha512_256(_: &[u8], _: ByteOrder) -> Result<Checksum, Error> {
        Err(Error::NotBuilt(ChecksumType::SHA512))
    }

    pub(in crate::checksum) fn skein(_: &[u8], _: ByteOrder, _: &Salt) -> Result<Checksum, Error> {
        Err(Error::NotBuilt(ChecksumType::SKEIN))
    }

    pub(in crate::checksum) fn edonr(_: &[u8], _: ByteOrder, _: &Salt) -> Result<Checksum, Error> {
        Err(Error::NotBuilt(ChecksumType::EDONR))
    }

    pub(in crate::checksum) fn blake3(_: &[u8], _: ByteOrder, _: &Salt) -> Result<Checksum, Error> {
        Err(Error::NotBuilt(ChecksumType::BLAKE3))
    }
}
