//! Encryption in block pointers: salt, IV and MAC, which replace other fields.

use super::{BlockPointer, FILL, bits};
use zstream_format::object_type::ObjectType;

/// The use of encryption for a block (`X` bit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CryptKind {
    /// None.
    Plain,
    /// The content is encrypted. Salt, IV and MAC are in the block pointer.
    Encrypted,
    /// The content is not encrypted, but authenticated by a MAC in the block pointer, or for an objset block in the
    /// block itself.
    Authenticated,
    /// An indirect block, whose MAC covers the MACs of its children.
    IndirectMac,
}

impl BlockPointer {
    /// Returns `true` if the block is encrypted, authenticated, or an indirect block above such blocks
    /// (`BP_USES_CRYPT`).
    #[must_use]
    pub fn uses_crypt(&self) -> bool {
        self.prop(39, 1) == 0 && self.prop(61, 1) != 0
    }

    /// Returns the use of encryption.
    #[must_use]
    pub fn crypt_kind(&self) -> CryptKind {
        if !self.uses_crypt() {
            CryptKind::Plain
        } else if self.level() > 0 {
            CryptKind::IndirectMac
        } else if self.object_type().is_encrypted() {
            CryptKind::Encrypted
        } else {
            CryptKind::Authenticated
        }
    }

    /// Returns the salt from which the key of the block is derived, for encrypted blocks.
    #[must_use]
    pub fn salt(&self) -> Option<[u8; 8]> {
        (self.crypt_kind() == CryptKind::Encrypted).then(|| self.word_bytes(4))
    }

    /// Returns the 12-byte IV, for encrypted blocks.
    #[must_use]
    pub fn iv(&self) -> Option<[u8; 12]> {
        (self.crypt_kind() == CryptKind::Encrypted).then(|| {
            let mut iv = [0; 12];
            iv[..8].copy_from_slice(&self.word_bytes(5));
            self.byte_order().put_u32(&mut iv[8..], (self.words[FILL] >> 32) as u32);
            iv
        })
    }

    /// Returns the 16-byte MAC in the block pointer, if encryption is used. Objset blocks have their MACs in the
    /// block, and therefore none here.
    #[must_use]
    pub fn mac(&self) -> Option<[u8; 16]> {
        (self.uses_crypt() && self.object_type() != ObjectType::OBJSET).then(|| {
            let mut mac = [0; 16];
            mac[..8].copy_from_slice(&self.word_bytes(14));
            mac[8..].copy_from_slice(&self.word_bytes(15));
            mac
        })
    }

    /// Returns the block pointer with a MAC in place of the last two words of the checksum.
    #[must_use]
    pub(crate) fn with_mac(mut self, mac: [u8; 16]) -> Self {
        for (word, bytes) in [14, 15].into_iter().zip(mac.chunks_exact(8)) {
            self.words[word] = self.byte_order().u64(bytes);
        }
        self
    }

    /// Returns the block pointer with the salt and IV of an encrypted block, in the third address and above the fill
    /// count.
    #[must_use]
    pub(crate) fn with_crypt(mut self, salt: [u8; 8], iv: [u8; 12]) -> Self {
        let order = self.byte_order();
        self.words[4] = order.u64(&salt);
        self.words[5] = order.u64(&iv[..8]);
        self.words[FILL] = bits(self.words[FILL], 0, 32) | u64::from(order.u32(&iv[8..])) << 32;
        self
    }

    fn word_bytes(&self, n: usize) -> [u8; 8] {
        let mut bytes = [0; 8];
        self.byte_order().put_u64(&mut bytes, self.words[n]);
        bytes
    }
}
