//! The pool's salt, the key of the salted checksum functions.

use std::fmt;
#[cfg(feature = "block-checksums")]
use std::sync::OnceLock;

#[cfg(feature = "block-checksums")]
use super::{edonr::EdonR, skein::Skein};

/// The salt of a pool: 32 random bytes in its object directory (`org.illumos:checksum_salt`).
///
/// It caches the states of Skein and Edon-R before the first byte of a block, so use one `Salt` for as
/// long as a pool is open.
#[derive(Clone)]
pub struct Salt {
    bytes: [u8; Self::SIZE],
    #[cfg(feature = "block-checksums")]
    skein: OnceLock<Skein>,
    #[cfg(feature = "block-checksums")]
    edonr: OnceLock<EdonR>,
}

impl Salt {
    /// The size of a salt in bytes.
    pub const SIZE: usize = 32;

    /// Creates a salt from its bytes.
    #[must_use]
    pub fn new(bytes: [u8; Self::SIZE]) -> Self {
        Self {
            bytes,
            #[cfg(feature = "block-checksums")]
            skein: OnceLock::new(),
            #[cfg(feature = "block-checksums")]
            edonr: OnceLock::new(),
        }
    }

    /// The bytes of the salt.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.bytes
    }

    #[cfg(feature = "block-checksums")]
    pub(super) fn skein(&self) -> Skein {
        *self.skein.get_or_init(|| Skein::keyed(&self.bytes))
    }

    /// Returns the state of Edon-R keyed with the salt. Edon-R has no key input, so ZFS puts a block before
    /// the data: the digest of the salt and the digest of that digest.
    #[cfg(feature = "block-checksums")]
    pub(super) fn edonr(&self) -> EdonR {
        *self.edonr.get_or_init(|| {
            let first = EdonR::NEW.finish(&self.bytes);
            let second = EdonR::NEW.finish(&first);
            let mut block = [0; 128];
            block[..64].copy_from_slice(&first);
            block[64..].copy_from_slice(&second);
            let mut state = EdonR::NEW;
            state.absorb(&block);
            state
        })
    }
}

impl From<[u8; Self::SIZE]> for Salt {
    fn from(bytes: [u8; Self::SIZE]) -> Self {
        Self::new(bytes)
    }
}

impl PartialEq for Salt {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Salt {}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(")?;
        for byte in self.bytes {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}
