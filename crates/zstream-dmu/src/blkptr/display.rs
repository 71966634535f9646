//! Block pointers as text.

use std::fmt;

use zstream_format::algorithm::CompressionType;
use zstream_format::order::ByteOrder;

use super::{BlockKind, BlockPointer, CryptKind};

/// Formats a block pointer like zdb (`snprintf_blkptr`).
impl fmt::Display for BlockPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (level, kind) = (self.level(), self.object_type().name());
        let birth = self.logical_birth().0;
        match self.kind() {
            BlockKind::Hole if self.words == [0; 16] => f.write_str("<hole>"),
            BlockKind::Hole => {
                write!(f, "HOLE [L{level} {kind}] size={:x}L birth={birth}L", self.lsize())
            }
            BlockKind::Embedded | BlockKind::UnknownEmbedded(_) => write!(
                f,
                "EMBEDDED [L{level} {kind}] et={} {} size={:x}L/{:x}P birth={birth}L",
                self.prop(40, 8),
                self.compression(),
                self.lsize(),
                self.prop(25, 7) + 1,
            ),
            BlockKind::Redacted => {
                write!(f, "REDACTED [L{level} {kind}] size={:x}L birth={birth}L", self.lsize())
            }
            BlockKind::Normal => self.fmt_normal(f),
        }
    }
}

impl BlockPointer {
    fn fmt_normal(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, dva) in self.dvas().enumerate() {
            write!(f, "DVA[{n}]=<{dva}> ")?;
        }
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        if let (Some(salt), Some(iv)) = (self.salt(), self.iv()) {
            write!(f, "salt={} iv={} ", hex(&salt), hex(&iv))?;
        }
        write!(
            f,
            "[L{} {}] {} {} {} {} {} {} size={:x}L/{:x}P birth={}L/{}P fill={} cksum={:016x}:{:016x}:{:016x}:{:016x}",
            self.level(),
            self.object_type().name(),
            self.checksum_type(),
            if self.compression() == CompressionType::OFF {
                "uncompressed".to_owned()
            } else {
                self.compression().to_string()
            },
            match self.crypt_kind() {
                CryptKind::Plain => "unencrypted",
                CryptKind::Encrypted => "encrypted",
                CryptKind::Authenticated => "authenticated",
                CryptKind::IndirectMac => "indirect-MAC",
            },
            if self.byte_order() == ByteOrder::Little { "LE" } else { "BE" },
            if self.is_gang() { "gang" } else { "contiguous" },
            if self.is_dedup() { "dedup" } else { "unique" },
            self.lsize(),
            self.psize(),
            self.logical_birth(),
            self.physical_birth(),
            self.fill(),
            self.words[12],
            self.words[13],
            self.words[14],
            self.words[15],
        )
    }
}

impl fmt::Debug for BlockPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockPointer({self})")
    }
}
