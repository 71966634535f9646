//! The numbers ZFS gives to checksum functions, compression functions and encryption suites.
//!
//! Each is a newtype over the stored byte, so that an unknown number survives a round trip and is
//! checked only where it is used.

use std::fmt;

macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident: $first_unknown:literal { $($(#[$doc:meta])* $konst:ident = $value:literal, $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub u8);

        impl $name {
            $($(#[$doc])* pub const $konst: Self = Self($value);)*

            /// The name that `zfs` uses in properties. `None` for a number that no version defines.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self.0 { $($value => Some($text),)* _ => None }
            }

            /// The algorithm with this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self($value)),)* _ => None }
            }

            /// Returns `true` if some version of ZFS defines the number.
            #[must_use]
            pub fn is_known(self) -> bool {
                self.0 < $first_unknown
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "unknown({})", self.0),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

crate::wire::field_by_newtype! { ChecksumType as u8, CompressionType as u8, CryptSuite as u8 }

numbered! {
    /// A block checksum function (`enum zio_checksum`).
    ChecksumType: 15 {
        /// Inherited from the parent; in properties and dnodes only.
        INHERIT = 0, "inherit";
        /// The default function (fletcher-4); in properties only.
        ON = 1, "on";
        /// No checksum.
        OFF = 2, "off";
        /// SHA-256 embedded in a label; the verifier is the offset of the label.
        LABEL = 3, "label";
        /// SHA-256 embedded in a gang header.
        GANG_HEADER = 4, "gang_header";
        /// Fletcher-2 embedded at the end of an old intent log block.
        ZILOG = 5, "zilog";
        /// Fletcher-2.
        FLETCHER_2 = 6, "fletcher2";
        /// Fletcher-4.
        FLETCHER_4 = 7, "fletcher4";
        /// SHA-256 with big-endian words.
        SHA256 = 8, "sha256";
        /// Fletcher-4 embedded in the header of an intent log block.
        ZILOG2 = 9, "zilog2";
        /// No checksum and no parity.
        NOPARITY = 10, "noparity";
        /// SHA-512/256.
        SHA512 = 11, "sha512";
        /// Skein-512-256, keyed with the pool's salt.
        SKEIN = 12, "skein";
        /// Edon-R-512, keyed with the pool's salt and truncated to 256 bits.
        EDONR = 13, "edonr";
        /// BLAKE3, keyed with the pool's salt.
        BLAKE3 = 14, "blake3";
    }
}

impl ChecksumType {
    /// Returns `true` if the function is strong enough for deduplication without verification
    /// (`ZCHECKSUM_FLAG_DEDUP`).
    #[must_use]
    pub fn is_dedup_capable(self) -> bool {
        matches!(self, Self::SHA256 | Self::SHA512 | Self::SKEIN | Self::BLAKE3)
    }
}

numbered! {
    /// A block compression function (`enum zio_compress`).
    CompressionType: 17 {
        /// Inherited from the parent; in properties and dnodes. In a WRITE record: the payload is not compressed.
        INHERIT = 0, "inherit";
        /// The default function; in properties only.
        ON = 1, "on";
        /// Not compressed.
        OFF = 2, "off";
        /// LZJB.
        LZJB = 3, "lzjb";
        /// Only blocks of zeros are detected; never stored in a block pointer.
        EMPTY = 4, "empty";
        /// zlib, level 1.
        GZIP_1 = 5, "gzip-1";
        /// zlib, level 2.
        GZIP_2 = 6, "gzip-2";
        /// zlib, level 3.
        GZIP_3 = 7, "gzip-3";
        /// zlib, level 4.
        GZIP_4 = 8, "gzip-4";
        /// zlib, level 5.
        GZIP_5 = 9, "gzip-5";
        /// zlib, level 6.
        GZIP_6 = 10, "gzip-6";
        /// zlib, level 7.
        GZIP_7 = 11, "gzip-7";
        /// zlib, level 8.
        GZIP_8 = 12, "gzip-8";
        /// zlib, level 9.
        GZIP_9 = 13, "gzip-9";
        /// Runs of zeros.
        ZLE = 14, "zle";
        /// LZ4 with ZFS's length header.
        LZ4 = 15, "lz4";
        /// zstd with ZFS's header; the frames have no magic number.
        ZSTD = 16, "zstd";
    }
}

numbered! {
    /// An encryption suite (`enum zio_encrypt`).
    CryptSuite: 9 {
        /// Inherited from the parent; in properties only.
        INHERIT = 0, "inherit";
        /// The default suite (aes-256-gcm); in properties only.
        ON = 1, "on";
        /// Not encrypted.
        OFF = 2, "off";
        /// AES-128 in CCM mode.
        AES_128_CCM = 3, "aes-128-ccm";
        /// AES-192 in CCM mode.
        AES_192_CCM = 4, "aes-192-ccm";
        /// AES-256 in CCM mode.
        AES_256_CCM = 5, "aes-256-ccm";
        /// AES-128 in GCM mode.
        AES_128_GCM = 6, "aes-128-gcm";
        /// AES-192 in GCM mode.
        AES_192_GCM = 7, "aes-192-gcm";
        /// AES-256 in GCM mode.
        AES_256_GCM = 8, "aes-256-gcm";
    }
}
