//! Blocks, as they pass between whoever reads and writes blocks and whoever makes objects of them.
//!
//! Nothing here depends on where blocks lie: a pool reads them from its vdevs, a view of streams from stream files.

use std::sync::Arc;

use rayon::prelude::*;
use zstream_format::algorithm::CompressionType;
use zstream_format::order::ByteOrder;

use crate::blkptr::{BlockPointer, CryptKind};
use crate::error::{Error, Fault, Result};
use crate::ids::Bookmark;

/// The bytes of one block, shared between the cache and its readers.
pub type Block = Arc<[u8]>;

/// In which state of a block's way from its vdev to its object it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// As [`ReadBlock::read_stored`] gives it.
    Stored,
    /// As [`ReadBlock::read_compressed`] gives it.
    Compressed,
    /// As [`ReadBlock::read_once`] gives it.
    Logical,
}

impl Want {
    /// Bytes of the block `bp` in that state.
    #[must_use]
    pub fn bytes_of(self, bp: &BlockPointer) -> u64 {
        match self {
            Self::Logical => bp.lsize(),
            Self::Stored | Self::Compressed if bp.is_embedded() => bp.embedded_psize(),
            Self::Stored | Self::Compressed => bp.psize(),
        }
    }
}

/// What reads blocks: a pool, or (for streams) an index over stream files.
///
/// Holes are the caller's business: both readers answer [`Fault::Hole`] to one.
pub trait ReadBlock: Send + Sync {
    /// The logical content of the block `bp` points at, `bp.lsize()` bytes: verified, decrypted, decompressed and, when it
    /// was written in big-endian order, swapped by its object type's class, so that every parser of this crate reads
    /// little-endian.
    ///
    /// # Errors
    /// No copy of the block can be read, verified, decrypted or decompressed, or `bp` is a hole, redacted or malformed.
    fn read_block(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block>;

    /// The stored content, `bp.psize()` bytes: checksum verified but neither decrypted, decompressed nor swapped, as raw and
    /// compressed sends want it. For an embedded pointer, its payload.
    ///
    /// # Errors
    /// No copy of the block can be read and verified, or `bp` is a hole, redacted or malformed.
    fn read_stored(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block>;

    /// The stored content of a block that is not metadata, decrypted but still compressed, as compressed sends want it. For
    /// an embedded pointer, its payload.
    ///
    /// # Errors
    /// As [`read_block`](Self::read_block). A reader that cannot decrypt refuses encrypted blocks.
    fn read_compressed(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        if bp.crypt_kind() == CryptKind::Encrypted {
            let what = format!("{} of dataset {}", bp.object_type().name(), at.objset);
            return Err(Error::from(Fault::Encrypted { what }).at_bookmark(at));
        }
        self.read_stored(bp, at)
    }

    /// [`read_block`](Self::read_block) of a block that nobody will ask for again: it is not kept in memory.
    ///
    /// # Errors
    /// As [`read_block`](Self::read_block).
    fn read_once(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        self.read_block(bp, at)
    }

    /// Reads a block that nobody will ask for again into `out`, [`Want::bytes_of`] bytes: for whoever reads many and uses the
    /// same memory for all. `scratch` is such memory too, for what must be held between the steps. What is in `out` after an
    /// error is not said.
    ///
    /// # Errors
    /// As [`read_block`](Self::read_block); `out` has another length.
    fn read_into(
        &self,
        bp: &BlockPointer,
        at: Bookmark,
        want: Want,
        out: &mut [u8],
        _scratch: &mut Vec<u8>,
    ) -> Result<()> {
        let block = match want {
            Want::Stored => self.read_stored(bp, at)?,
            Want::Compressed => self.read_compressed(bp, at)?,
            Want::Logical => self.read_once(bp, at)?,
        };
        if block.len() != out.len() {
            let detail = format!("{} bytes, expected {}", block.len(), out.len());
            return Err(Error::corrupt("block", detail).at_bookmark(at));
        }
        out.copy_from_slice(&block);
        Ok(())
    }

    /// [`read_block`](Self::read_block) of many blocks on all cores; results are in the order of the requests.
    fn read_blocks(&self, wanted: &[(BlockPointer, Bookmark)]) -> Vec<Result<Block>> {
        match wanted {
            [(bp, at)] => vec![self.read_block(bp, *at)],
            _ => wanted.par_iter().map(|(bp, at)| self.read_block(bp, *at)).collect(),
        }
    }
}

/// How encrypted content that comes with its parameters was encrypted (raw receive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredCrypt {
    /// Whether the content is encrypted or only authenticated.
    pub kind: CryptKind,
    /// Salt of the key.
    pub salt: [u8; 8],
    /// Initialization vector.
    pub iv: [u8; 12],
    /// Message authentication code.
    pub mac: [u8; 16],
    /// Whether the integers of the content are big-endian.
    pub big_endian: bool,
}

impl StoredCrypt {
    /// How the block was encrypted or authenticated that a pointer leads to; `None` where it was neither.
    #[must_use]
    pub fn of(pointer: &BlockPointer) -> Option<Self> {
        let kind = pointer.crypt_kind();
        let mac =
            pointer.mac().filter(|_| matches!(kind, CryptKind::Encrypted | CryptKind::Authenticated))?;
        let (salt, iv) = (pointer.salt().unwrap_or_default(), pointer.iv().unwrap_or_default());
        Some(Self { kind, salt, iv, mac, big_endian: pointer.byte_order() == ByteOrder::Big })
    }
}

/// A block that comes in the form in which it is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// Its bytes, compressed and encrypted as said below.
    pub bytes: Vec<u8>,
    /// Size of the content in bytes.
    pub logical_bytes: u32,
    /// How the bytes are compressed.
    pub compression: CompressionType,
    /// How they are encrypted, if they are.
    pub crypt: Option<StoredCrypt>,
    /// Whether they are to be kept in the block pointer itself (`WRITE_EMBEDDED`).
    pub embedded: bool,
}

impl StoredBlock {
    /// Reads the block that `pointer` leads to in the form in which a raw receive stores it.
    ///
    /// # Errors
    /// It cannot be read, or is neither encrypted nor authenticated.
    pub fn read(reader: &dyn ReadBlock, pointer: &BlockPointer, at: Bookmark) -> Result<Self> {
        let Some(crypt) = StoredCrypt::of(pointer) else {
            return Err(Error::bad_request("the block is not one of an encrypted dataset").at_bookmark(at));
        };
        Ok(Self {
            bytes: reader.read_stored(pointer, at)?.to_vec(),
            logical_bytes: pointer.lsize() as u32,
            compression: pointer.compression(),
            crypt: Some(crypt),
            embedded: false,
        })
    }
}
