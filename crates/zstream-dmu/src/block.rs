//! The interface between readers and writers of blocks and the code that builds objects from them.
//!
//! Nothing here depends on the location of blocks: a pool reads them from its vdevs, a view of streams from stream
//! files.

use std::sync::Arc;

use rayon::prelude::*;
use zstream_format::algorithm::CompressionType;
use zstream_format::order::ByteOrder;

use crate::blkptr::{BlockPointer, CryptKind};
use crate::error::{Error, Fault, Result};
use crate::ids::Bookmark;

/// The content of a block, shared between the cache and its readers.
pub type Block = Arc<[u8]>;

/// The requested form of a block, between its stored and its logical content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The form that [`ReadBlock::read_stored`] returns.
    Stored,
    /// The form that [`ReadBlock::read_compressed`] returns.
    Compressed,
    /// The form that [`ReadBlock::read_once`] returns.
    Logical,
}

impl Want {
    /// Returns the size of the block `bp` in this form, in bytes.
    #[must_use]
    pub fn bytes_of(self, bp: &BlockPointer) -> u64 {
        match self {
            Self::Logical => bp.lsize(),
            Self::Stored | Self::Compressed if bp.is_embedded() => bp.embedded_psize(),
            Self::Stored | Self::Compressed => bp.psize(),
        }
    }
}

/// A reader of blocks: a pool, or (for streams) an index of stream files.
///
/// The caller handles holes. Readers return [`Fault::Hole`] for them.
pub trait ReadBlock: Send + Sync {
    /// Reads the logical content of a block, `bp.lsize()` bytes: verified, decrypted and decompressed. A block in
    /// big-endian order is byte-swapped according to its object type, so that all parsers of this crate read
    /// little-endian numbers.
    ///
    /// # Errors
    /// Fails if no copy of the block can be read, verified, decrypted or decompressed, and if `bp` is a hole,
    /// redacted or malformed.
    fn read_block(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block>;

    /// Reads the stored content of a block, `bp.psize()` bytes, for raw and compressed sends. The checksum is
    /// verified, but the content is not decrypted, decompressed or byte-swapped. For an embedded block it is the
    /// payload.
    ///
    /// # Errors
    /// Fails if no copy of the block can be read and verified, and if `bp` is a hole, redacted or malformed.
    fn read_stored(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block>;

    /// Reads the stored content of a block that is not metadata, decrypted but still compressed, for compressed
    /// sends. For an embedded block it is the payload.
    ///
    /// # Errors
    /// Fails like [`read_block`](Self::read_block). A reader that cannot decrypt fails for encrypted blocks.
    fn read_compressed(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        if bp.crypt_kind() == CryptKind::Encrypted {
            let what = format!("{} of dataset {}", bp.object_type().name(), at.objset);
            return Err(Error::from(Fault::Encrypted { what }).at_bookmark(at));
        }
        self.read_stored(bp, at)
    }

    /// Reads the logical content of a block that will not be read again: it is not cached.
    ///
    /// # Errors
    /// Fails like [`read_block`](Self::read_block).
    fn read_once(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        self.read_block(bp, at)
    }

    /// Reads a block that will not be read again into `out`, whose length must be [`Want::bytes_of`]. A caller that
    /// reads many blocks can reuse `out` and `scratch`, which holds intermediate results. The content of `out` is
    /// unspecified after an error.
    ///
    /// # Errors
    /// Fails like [`read_block`](Self::read_block), and if `out` does not have the required length.
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
            let detail = format!("block is {} bytes, expected {}", block.len(), out.len());
            return Err(Error::corrupt("block", detail).at_bookmark(at));
        }
        out.copy_from_slice(&block);
        Ok(())
    }

    /// Reads the logical content of many blocks on all cores. Results are in the order of the requests.
    fn read_blocks(&self, wanted: &[(BlockPointer, Bookmark)]) -> Vec<Result<Block>> {
        match wanted {
            [(bp, at)] => vec![self.read_block(bp, *at)],
            _ => wanted.par_iter().map(|(bp, at)| self.read_block(bp, *at)).collect(),
        }
    }
}

/// The encryption parameters of encrypted content (raw receive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredCrypt {
    /// Encrypted or only authenticated.
    pub kind: CryptKind,
    /// The salt of the key.
    pub salt: [u8; 8],
    /// The initialization vector.
    pub iv: [u8; 12],
    /// The message authentication code.
    pub mac: [u8; 16],
    /// `true` if the numbers in the content are big-endian.
    pub big_endian: bool,
}

impl StoredCrypt {
    /// Returns the parameters in a block pointer; `None` if its block is neither encrypted nor authenticated.
    #[must_use]
    pub fn of(pointer: &BlockPointer) -> Option<Self> {
        let kind = pointer.crypt_kind();
        let mac =
            pointer.mac().filter(|_| matches!(kind, CryptKind::Encrypted | CryptKind::Authenticated))?;
        let (salt, iv) = (pointer.salt().unwrap_or_default(), pointer.iv().unwrap_or_default());
        Some(Self { kind, salt, iv, mac, big_endian: pointer.byte_order() == ByteOrder::Big })
    }
}

/// A block in its stored form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// The bytes, compressed and encrypted according to the other fields.
    pub bytes: Vec<u8>,
    /// The logical size in bytes.
    pub logical_bytes: u32,
    /// The compression of the bytes.
    pub compression: CompressionType,
    /// The encryption of the bytes, if there is any.
    pub crypt: Option<StoredCrypt>,
    /// `true` if the bytes are embedded in the block pointer (`WRITE_EMBEDDED`).
    pub embedded: bool,
}

impl StoredBlock {
    /// Reads the block of `pointer` in the form in which a raw receive stores it.
    ///
    /// # Errors
    /// Fails if it cannot be read, and if it is neither encrypted nor authenticated.
    pub fn read(reader: &dyn ReadBlock, pointer: &BlockPointer, at: Bookmark) -> Result<Self> {
        let Some(crypt) = StoredCrypt::of(pointer) else {
            return Err(Error::bad_request("block does not belong to an encrypted dataset").at_bookmark(at));
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
