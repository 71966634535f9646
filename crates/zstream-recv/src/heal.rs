//! Corrective receives: repair damaged blocks of an existing snapshot from a stream of that snapshot
//! (`do_corrective_recv`).
//!
//! ```text
//! WRITE, SPILL -> is a copy of that block damaged? -> as it was stored: compressed, encrypted -> does its checksum match?
//!                  else it is left alone               with the pointer's salt and IV             then it is written in place
//! ```
//!
//! A block is written only if the content matches the checksum in its block pointer, so that a wrong stream does no
//! harm. Nothing else changes: no transaction group is needed, and a receive that is cut short keeps the repairs it has
//! made.
//!
//! Departures: OpenZFS does not repair spill blocks, stops at the first block that it cannot repair, and leaves a bad
//! copy of a block to the next reader as long as there is a good copy.

use std::io::Read;
use std::sync::Arc;

use zstream_dmu::blkptr::{BlockKind, BlockPointer, CryptKind};
use zstream_dmu::error::{Error as PoolError, Fault as PoolFault};
use zstream_dmu::ids::{BlockId, Bookmark, ObjectId};
use zstream_dmu::objset::Objset;
use zstream_dmu::zio::BlockReader;
use zstream_dmu::zio::crypt::{CryptParams, DatasetKey};
use zstream_format::algorithm::CompressionType;
use zstream_format::byteswap;
use zstream_format::compress::{ZstdLevel, compress, compress_as_zlib};
use zstream_format::flags::FeatureFlags;
use zstream_format::judge::{Judge, Terms};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::record::{Body, Header};

use crate::apply::data::{expand, whole};
use crate::engine::{Received, Receiving, received};
use crate::error::{Error, Fault, Result};
use crate::input::{Input, Opening};
use crate::misfit::Misfit;

/// A block in the stream.
struct Sent {
    object_type: ObjectType,
    logical_bytes: u64,
    /// The compression of the payload; `None` if it is not compressed.
    compression: Option<CompressionType>,
    payload: Vec<u8>,
}

/// A snapshot that is repaired.
struct Heal {
    set: Arc<Objset>,
    reader: Arc<BlockReader>,
    key: Option<Arc<DatasetKey>>,
    judge: Judge,
    is_raw: bool,
    is_foreign: bool,
    /// The current level of zstd compression.
    level: Option<ZstdLevel>,
    corrected: u64,
}

impl Receiving<'_> {
    /// Repairs a snapshot with a stream of it.
    pub(crate) fn heal<R: Read>(
        &mut self,
        input: &mut Input<R>,
        opening: Opening,
        snapshot: ObjectId,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Received> {
        let begin = &opening.begin;
        let is_raw = opening.head().has(FeatureFlags::RAW);
        let limits = self.limits()?;
        let pool = &*self.pool();
        let dsl = pool.dsl();
        let snapshot = dsl.dataset_by_object(snapshot)?;
        let mut heal = Heal {
            set: if is_raw { snapshot.objset_locked()? } else { snapshot.objset()? },
            reader: Arc::clone(pool.pool().reader()),
            key: pool.keyring().get(snapshot.object().0),
            judge: Judge::new(Terms::new(begin, limits)),
            is_raw,
            is_foreign: opening.header.order() == ByteOrder::Big,
            level: snapshot.dir().head()?.set_properties()?.compression.level,
            corrected: 0,
        };
        let mut failed = None;
        let records = input.records(&opening, |at, offset| {
            if let Err(error) = heal.record(&at.header, at.payload).map_err(|error| error.at(at.place)) {
                match error.fault() {
                    // The stream may still have the content for other blocks.
                    Fault::Apply(Misfit::HealSize { .. } | Misfit::HealContent { .. }) => {
                        failed.get_or_insert(error);
                    }
                    _ => return Err(error),
                }
            }
            progress(offset);
            Ok(())
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let name = snapshot.name().to_owned();
        Ok(Received { corrected: heal.corrected, ..received(name, input, &opening, records) })
    }
}

impl Heal {
    fn record(&mut self, header: &Header, payload: Vec<u8>) -> Result<()> {
        let Some(body) = header.body() else { return Ok(()) };
        self.judge.record(&body)?;
        match &body {
            Body::Write(body) => {
                let block_bytes = self.block_bytes(body.object)?;
                let sent = Sent {
                    object_type: body.object_type,
                    logical_bytes: body.logical_size,
                    compression: body.is_compressed().then_some(body.compression),
                    payload: whole(payload, body.payload_len())?,
                };
                self.block(body.object, BlockId(body.offset / block_bytes), &sent)
            }
            // Blocks that an increment has not changed are in the snapshot, too.
            Body::Spill(body) => {
                let payload = whole(payload, body.payload_len())?;
                let is_plain = payload.len() as u64 == body.length;
                let sent = Sent {
                    object_type: body.object_type,
                    logical_bytes: body.length,
                    compression: (!is_plain).then_some(body.compression),
                    payload,
                };
                self.block(body.object, Bookmark::SPILL, &sent)
            }
            _ => Ok(()),
        }
    }

    fn block_bytes(&self, object: ObjectId) -> Result<u64> {
        let dnode = self.set.dnode(object).map_err(|error| match error.fault() {
            PoolFault::NoObject(_) => Error::from(Misfit::NoObject(object)),
            _ => error.into(),
        })?;
        Ok(dnode.block_bytes())
    }

    fn block(&mut self, object: ObjectId, block: BlockId, sent: &Sent) -> Result<()> {
        use zstream_dmu::object_set::ObjectSet as _;
        let at = Bookmark { objset: self.set.objset_id(), object, level: 0, block };
        let bp = self.set.pointer(at)?;
        if bp.kind() != BlockKind::Normal {
            return Ok(());
        }
        let mut bad = self.reader.check_block(&bp, at)?.bad;
        if bad.is_empty() {
            return Ok(());
        }
        // A device that cannot be read will not be written either.
        let is_device = |error: &PoolError| matches!(error.fault(), PoolFault::Io(_));
        if let Some(n) = bad.iter().position(|copy| copy.error.as_ref().is_some_and(is_device))
            && let Some(error) = bad.swap_remove(n).error
        {
            return Err(error.into());
        }
        if sent.logical_bytes != bp.lsize() {
            return Err(Misfit::HealSize { at, found: sent.logical_bytes, expected: bp.lsize() }.into());
        }
        let stored = self.stored(&bp, at, sent)?.ok_or(Misfit::HealContent { at })?;
        self.reader.rewrite(&bp, at, &stored)?;
        self.corrected += 1;
        Ok(())
    }

    /// Returns the block as it was stored; `None` if the payload cannot be brought into that form.
    fn stored(&self, bp: &BlockPointer, at: Bookmark, sent: &Sent) -> Result<Option<Vec<u8>>> {
        if self.is_raw {
            return Ok(self.proven(bp, sent.payload.clone()));
        }
        if sent.compression == Some(bp.compression())
            && let Some(stored) = self.sealed(bp, at, sent.payload.clone())?
        {
            return Ok(Some(stored));
        }
        let mut content = match sent.compression {
            Some(compression) => expand(compression, &sent.payload, sent.logical_bytes)?,
            None => sent.payload.clone(),
        };
        if sent.compression.is_none() && self.is_foreign {
            byteswap::swap_block(sent.object_type, &mut content, ByteOrder::Big).map_err(Misfit::from)?;
        }
        if bp.byte_order() == ByteOrder::Big {
            byteswap::swap_block(bp.object_type(), &mut content, ByteOrder::Big).map_err(Misfit::from)?;
        }
        match bp.compression() {
            CompressionType::OFF => self.sealed(bp, at, content),
            // The block pointer does not record the level.
            CompressionType::ZSTD => {
                let now = self.level.unwrap_or(ZstdLevel::DEFAULT);
                for level in [now].into_iter().chain(ZstdLevel::all().filter(|level| *level != now)) {
                    if let Some(stored) = self.compressed(bp, at, Some(level), &content)? {
                        return Ok(Some(stored));
                    }
                }
                Ok(None)
            }
            kind => {
                if let Some(stored) = self.compressed(bp, at, None, &content)? {
                    return Ok(Some(stored));
                }
                compress_as_zlib(kind, &content).map_or(Ok(None), |payload| self.sealed(bp, at, payload))
            }
        }
    }

    fn compressed(
        &self,
        bp: &BlockPointer,
        at: Bookmark,
        level: Option<ZstdLevel>,
        content: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        match compress(bp.compression(), level, content, content.len()).map_err(Misfit::from)? {
            Some(payload) => self.sealed(bp, at, payload),
            None => Ok(None),
        }
    }

    /// Pads the block and encrypts it with the parameters it had.
    fn sealed(&self, bp: &BlockPointer, at: Bookmark, mut stored: Vec<u8>) -> Result<Option<Vec<u8>>> {
        if bp.crypt_kind() != CryptKind::Encrypted {
            return Ok(self.proven(bp, stored));
        }
        let locked = || PoolError::from(PoolFault::Encrypted { what: at.to_string() });
        let key = self.key.as_ref().ok_or_else(locked)?;
        let (Some(salt), Some(iv), Some(mac)) = (bp.salt(), bp.iv(), bp.mac()) else {
            return Err(
                PoolError::corrupt("block pointer", "it is encrypted, but has no salt, IV and MAC").into()
            );
        };
        if stored.len() as u64 > bp.psize() {
            return Ok(None);
        }
        stored.resize(bp.psize() as usize, 0);
        match key.encrypt_again(&mut stored, &CryptParams { salt, iv, mac }) {
            Ok(()) => Ok(self.proven(bp, stored)),
            Err(error) if matches!(error.fault(), PoolFault::Authentication { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn proven(&self, bp: &BlockPointer, mut stored: Vec<u8>) -> Option<Vec<u8>> {
        if stored.len() as u64 > bp.psize() {
            return None;
        }
        stored.resize(bp.psize() as usize, 0);
        self.reader.prove(bp, &stored).is_ok().then_some(stored)
    }
}
