//! The reader of blocks: the only code through which blocks of a pool are read.
//!
//! ```text
//! block pointer -> cache -> intact copy or reconstruction -> checksum -> decrypt -> decompress -> byteswap
//!                           (vdev, gang)                                 (Decrypt)                by type
//! ```
//!
//! Copies are tried in the order of the block pointer. A damaged copy is reported to the [`Observer`], even if
//! another one is intact.

use std::fmt;
use std::sync::{Arc, OnceLock, RwLock};

use zstream_format::algorithm::CompressionType;
use zstream_format::byteswap;
use zstream_format::checksum::Salt;
use zstream_format::compress;
use zstream_format::object_type::SwapClass;
use zstream_format::order::ByteOrder;

use super::verify::Verifier;
use crate::blkptr::{BLOCK_BYTES_MAX, BlockKind, BlockPointer, CryptKind, Dva};
use crate::block::{Block, ReadBlock, Want};
use crate::cache::{Cache, Class};
use crate::error::{Error, Fault, Result};
use crate::ids::Bookmark;
use crate::lock;
use crate::vdev::{Damage, Effort, Reading, VdevTree};

/// The keys of encrypted datasets, for the block reader.
pub trait Decrypt: Send + Sync {
    /// Decrypts the stored bytes of an encrypted level-0 block, or authenticates them if they are only authenticated.
    /// The result is still compressed. Returns `false`, without any change, if the key of dataset `at.objset` is not
    /// loaded.
    ///
    /// # Errors
    /// Returns [`Fault::Authentication`] if the bytes were not written with this key, or are corrupt.
    fn decrypt(&self, bp: &BlockPointer, at: Bookmark, stored: &mut [u8]) -> Result<bool>;
}

/// A damaged copy of a block.
#[derive(Debug)]
#[non_exhaustive]
pub struct BadCopy {
    /// The address of the copy.
    pub address: Dva,
    /// The damaged members, as far as they are known.
    pub damage: Vec<Damage>,
    /// The reason why the copy cannot be read; `None` if it could be read in spite of the damage.
    pub error: Option<Error>,
}

impl fmt::Display for BadCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "copy {}", self.address)?;
        for damage in &self.damage {
            write!(f, ": {damage}")?;
        }
        match &self.error {
            Some(error) => write!(f, ": lost: {error}"),
            None => f.write_str(": repairable"),
        }
    }
}

/// A receiver of reports about damaged copies.
pub trait Observer: Send + Sync {
    /// Reports a damaged copy of the block of `bp`.
    fn bad_copy(&self, bp: &BlockPointer, at: Bookmark, copy: &BadCopy);
}

/// The result of reading every copy of a block.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct BlockCheck {
    /// The number of copies.
    pub copies: usize,
    /// The number of copies that can be read.
    pub readable: usize,
    /// The damaged copies.
    pub bad: Vec<BadCopy>,
    /// The error in the pointer, which prevented reading of the copies.
    pub fault: Option<Error>,
}

/// The key of a block in the cache: its first address, birth, properties and checksum. With the checksum, a pointer
/// with a wrong checksum never yields a cached intact block.
type Key = [u64; 8];

/// A reader of the blocks of a pool.
pub struct BlockReader {
    vdevs: Arc<VdevTree>,
    cache: Cache<Key>,
    salt: OnceLock<Salt>,
    keys: RwLock<Option<Arc<dyn Decrypt>>>,
    observer: Option<Arc<dyn Observer>>,
}

impl fmt::Debug for BlockReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockReader").field("vdevs", &self.vdevs).finish_non_exhaustive()
    }
}

impl BlockReader {
    /// Creates a reader of `vdevs` with a cache of `cache_bytes`.
    #[must_use]
    pub fn new(vdevs: Arc<VdevTree>, cache_bytes: usize, observer: Option<Arc<dyn Observer>>) -> Self {
        let (salt, keys) = (OnceLock::new(), RwLock::new(None));
        Self { vdevs, cache: Cache::new(cache_bytes), salt, keys, observer }
    }

    /// Returns the vdevs.
    #[must_use]
    pub fn vdevs(&self) -> &Arc<VdevTree> {
        &self.vdevs
    }

    /// Sets the salt of the pool, which keyed checksums require. It is stored in the MOS, whose blocks do not require
    /// it.
    pub(crate) fn set_salt(&self, salt: Salt) {
        // The salt of a pool never changes.
        let _ = self.salt.set(salt);
    }

    /// Sets the keys for decryption, and clears the cache.
    pub fn set_keys(&self, keys: Option<Arc<dyn Decrypt>>) {
        *lock::write(&self.keys) = keys;
        self.cache.clear();
    }

    /// Reads and verifies every copy of a block, on every member that has a part of it. Holes and embedded blocks do
    /// not have copies.
    ///
    /// # Errors
    /// Fails if the pointer is malformed.
    pub fn check_block(&self, bp: &BlockPointer, at: Bookmark) -> Result<BlockCheck> {
        bp.validate().map_err(|fault| Error::from(fault).at_bookmark(at))?;
        let mut check = BlockCheck::default();
        if bp.kind() != BlockKind::Normal {
            return Ok(check);
        }
        let mut out = vec![0; bp.psize() as usize];
        for address in bp.dvas() {
            let mut damage = Vec::new();
            let result = self.read_copy(bp, address, &mut out, Effort::EveryCopy, &mut damage, 0);
            check.copies += 1;
            check.readable += usize::from(result.is_ok());
            let error = result.err().map(|error| error.at_bookmark(at));
            if error.is_some() || !damage.is_empty() {
                let copy = BadCopy { address, damage, error };
                self.observe(bp, at, &copy);
                check.bad.push(copy);
            }
        }
        Ok(check)
    }

    /// Returns the verifier for the stored bytes of a block.
    pub(super) fn verifier(&self, bp: &BlockPointer) -> Result<Verifier<'_>> {
        Verifier::new(bp, self.salt.get())
    }

    /// Reads the copy at `address` into `out`, which is `bp.psize()` bytes long.
    pub(super) fn read_copy(
        &self,
        bp: &BlockPointer,
        address: Dva,
        out: &mut [u8],
        effort: Effort,
        damage: &mut Vec<Damage>,
        depth: usize,
    ) -> Result<()> {
        let verifier = self.verifier(bp)?;
        if bp.is_gang() {
            let gang = super::gang::Gang { reader: self, bp, verifier: &verifier, effort, depth };
            return gang.read(address, out, damage);
        }
        let verify = |bytes: &[u8]| verifier.verify(bytes);
        let mut reading = Reading::new(&verify, effort);
        let result = self.vdevs.read(address, bp.physical_birth(), out, &mut reading);
        damage.append(&mut reading.damage);
        result
    }

    /// Reads the first intact copy into `out`, which is `bp.psize()` bytes long. Damage is reported for `at`.
    pub(super) fn read_any(
        &self,
        bp: &BlockPointer,
        at: Option<Bookmark>,
        out: &mut [u8],
        found: &mut Vec<Damage>,
        depth: usize,
    ) -> Result<()> {
        let mut errors = Vec::new();
        for address in bp.dvas() {
            let mut damage = Vec::new();
            let result = self.read_copy(bp, address, out, Effort::AnyCopy, &mut damage, depth);
            let (done, error) = match result {
                Ok(()) => (true, None),
                Err(error) => (false, Some(error)),
            };
            match at {
                Some(at) if error.is_some() || !damage.is_empty() => {
                    let copy = BadCopy { address, damage, error };
                    self.observe(bp, at, &copy);
                    errors.extend(copy.error);
                }
                _ => {
                    found.append(&mut damage);
                    errors.extend(error);
                }
            }
            if done {
                return Ok(());
            }
        }
        match errors.len() {
            1 => Err(errors.remove(0)),
            _ => Err(Fault::NoGoodCopy(errors).into()),
        }
    }

    fn observe(&self, bp: &BlockPointer, at: Bookmark, copy: &BadCopy) {
        if let Some(observer) = &self.observer {
            observer.bad_copy(bp, at, copy);
        }
    }

    /// Reads the stored bytes of a block on vdevs.
    fn fetch(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        let mut block = zeroed(bp.psize())?;
        self.read_any(bp, Some(at), unshared(&mut block), &mut Vec::new(), 0)?;
        Ok(block)
    }

    fn decrypt(&self, bp: &BlockPointer, at: Bookmark, stored: &mut [u8]) -> Result<()> {
        let kind = bp.crypt_kind();
        if !matches!(kind, CryptKind::Encrypted | CryptKind::Authenticated) {
            return Ok(());
        }
        let keys = lock::read(&self.keys).clone();
        let done = match keys {
            Some(keys) => keys.decrypt(bp, at, stored)?,
            None => false,
        };
        if !done && kind == CryptKind::Encrypted {
            let what = format!("{} of dataset {}", bp.object_type().name(), at.objset);
            return Err(Fault::Encrypted { what }.into());
        }
        Ok(())
    }

    fn load(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        if bp.kind() == BlockKind::Embedded {
            let payload = bp.embedded_payload().ok_or(Fault::Hole)?;
            return expand(bp, Block::from(payload));
        }
        let mut stored = self.fetch(bp, at)?;
        self.decrypt(bp, at, unshared(&mut stored))?;
        expand(bp, stored)
    }

    fn load_into(
        &self,
        bp: &BlockPointer,
        at: Bookmark,
        want: Want,
        out: &mut [u8],
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        let found = want.bytes_of(bp);
        if out.len() as u64 != found {
            return Err(Error::corrupt("block", format!("block is {found} bytes, expected {}", out.len())));
        }
        if let Some(payload) = bp.embedded_payload() {
            return match want {
                Want::Logical => expand_into(bp, &payload, out),
                Want::Stored | Want::Compressed => {
                    out.copy_from_slice(&payload);
                    Ok(())
                }
            };
        }
        if want == Want::Logical && !is_plain(bp) {
            // The buffer only grows, so that it is not zeroed again each time.
            let psize = bp.psize() as usize;
            if scratch.len() < psize {
                scratch.resize(psize, 0);
            }
            let stored = &mut scratch[..psize];
            self.read_any(bp, Some(at), stored, &mut Vec::new(), 0)?;
            self.decrypt(bp, at, stored)?;
            return expand_into(bp, stored, out);
        }
        self.read_any(bp, Some(at), out, &mut Vec::new(), 0)?;
        match want {
            Want::Stored => Ok(()),
            Want::Compressed => self.decrypt(bp, at, out),
            Want::Logical => {
                self.decrypt(bp, at, out)?;
                finish(bp, out)
            }
        }
    }
}

impl ReadBlock for BlockReader {
    fn read_block(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        let place = |error: Error| error.at_bookmark(at);
        readable(bp).map_err(place)?;
        if bp.kind() == BlockKind::Embedded {
            return self.load(bp, at).map_err(place);
        }
        let (class, key) = (class(bp), key(bp));
        if let Some(block) = self.cache.get(class, &key) {
            return Ok(block);
        }
        let block = self.load(bp, at).map_err(place)?;
        self.cache.insert(class, key, &block);
        Ok(block)
    }

    fn read_stored(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        let place = |error: Error| error.at_bookmark(at);
        readable(bp).map_err(place)?;
        match bp.embedded_payload() {
            Some(payload) => Ok(Block::from(payload)),
            None => self.fetch(bp, at).map_err(place),
        }
    }

    fn read_compressed(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        let mut stored = self.read_stored(bp, at)?;
        if bp.kind() == BlockKind::Normal {
            self.decrypt(bp, at, unshared(&mut stored)).map_err(|error| error.at_bookmark(at))?;
        }
        Ok(stored)
    }

    fn read_once(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        readable(bp).and_then(|()| self.load(bp, at)).map_err(|error| error.at_bookmark(at))
    }

    fn read_into(
        &self,
        bp: &BlockPointer,
        at: Bookmark,
        want: Want,
        out: &mut [u8],
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        let read = readable(bp).and_then(|()| self.load_into(bp, at, want, out, scratch));
        read.map_err(|error| error.at_bookmark(at))
    }
}

/// Validates a pointer before it is used.
fn readable(bp: &BlockPointer) -> Result<()> {
    bp.validate()?;
    match bp.kind() {
        BlockKind::Hole => Err(Fault::Hole.into()),
        BlockKind::Redacted => Err(Fault::Redacted.into()),
        BlockKind::Embedded | BlockKind::UnknownEmbedded(_) | BlockKind::Normal => Ok(()),
    }
}

/// Returns `true` if the stored bytes differ from the logical content at most by encryption and byte order.
fn is_plain(bp: &BlockPointer) -> bool {
    bp.compression() == CompressionType::OFF && bp.psize() == bp.lsize()
}

/// Decompresses a block if it is compressed, and finishes it.
fn expand(bp: &BlockPointer, mut stored: Block) -> Result<Block> {
    if bp.compression() == CompressionType::OFF && stored.len() as u64 == bp.lsize() {
        finish(bp, unshared(&mut stored))?;
        return Ok(stored);
    }
    let mut block = zeroed(bp.lsize())?;
    expand_into(bp, &stored, unshared(&mut block))?;
    Ok(block)
}

fn expand_into(bp: &BlockPointer, stored: &[u8], out: &mut [u8]) -> Result<()> {
    compress::decompress(bp.compression(), stored, out).map_err(Fault::from)?;
    finish(bp, out)
}

/// Verifies the MAC of an indirect block of an encrypted dataset, which does not require a key, and swaps the bytes.
fn finish(bp: &BlockPointer, bytes: &mut [u8]) -> Result<()> {
    if bp.crypt_kind() == CryptKind::IndirectMac
        && let Some(mac) = bp.mac()
    {
        super::crypt::verify_indirect(bytes, bp.byte_order(), &mac)?;
    }
    if bp.byte_order() == ByteOrder::Big {
        if bp.level() > 0 {
            byteswap::swap(SwapClass::U64, bytes, ByteOrder::Big)
        } else {
            byteswap::swap_block(bp.object_type(), bytes, ByteOrder::Big)
        }
        .map_err(Fault::from)?;
    }
    Ok(())
}

fn class(bp: &BlockPointer) -> Class {
    if bp.level() > 0 || bp.object_type().is_metadata() { Class::Metadata } else { Class::Data }
}

fn key(bp: &BlockPointer) -> Key {
    let words = bp.words();
    [words[0], words[1], words[6], bp.physical_birth().0, words[12], words[13], words[14], words[15]]
}

fn zeroed(bytes: u64) -> Result<Block> {
    if bytes > BLOCK_BYTES_MAX {
        return Err(Fault::TooLarge { what: "block", size: bytes, limit: BLOCK_BYTES_MAX }.into());
    }
    Ok(std::iter::repeat_n(0, bytes as usize).collect())
}

/// Returns the mutable bytes of a block that is not shared yet.
fn unshared(block: &mut Block) -> &mut [u8] {
    Arc::get_mut(block).expect("the block was made here and has one owner")
}
