//! A pool as a source of datasets: its MOS and its keys.

use std::fmt;
use std::sync::Arc;

use zstream_dmu::block::ReadBlock;
use zstream_dmu::objset::Objset;
use zstream_dmu::zio::crypt::Keyring;

use crate::error::Result;
use crate::reader::{Mos, MosReader, OpenMos};

/// The datasets of a pool in its MOS: the one that was last committed, or that of an open transaction group
/// ([`OpenMos`]).
pub struct Dsl<M = Arc<Objset>> {
    name: String,
    mos: M,
    blocks: Arc<dyn ReadBlock>,
    keyring: Arc<Keyring>,
}

impl<M> fmt::Debug for Dsl<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsl({})", self.name)
    }
}

impl Dsl {
    /// Opens the datasets of the pool `name` in this MOS. `keyring` has the keys with which its block reader decrypts.
    ///
    /// # Errors
    /// Fails if the MOS has no root dataset or cannot be read.
    pub fn open(name: impl Into<String>, mos: Arc<Objset>, keyring: Arc<Keyring>) -> Result<Arc<Self>> {
        let blocks = Arc::clone(mos.reader());
        let this = Self { name: name.into(), mos, blocks, keyring };
        this.read().root_dir()?;
        Ok(Arc::new(this))
    }
}

impl<'t> Dsl<OpenMos<'t>> {
    /// Opens the datasets of the pool `name` in an open transaction group, whose blocks `blocks` reads.
    pub(crate) fn of_open(
        name: &str,
        mos: OpenMos<'t>,
        blocks: &Arc<dyn ReadBlock>,
        keyring: &Arc<Keyring>,
    ) -> Arc<Self> {
        let (blocks, keyring) = (Arc::clone(blocks), Arc::clone(keyring));
        Arc::new(Self { name: name.to_owned(), mos, blocks, keyring })
    }
}

impl<M> Dsl<M> {
    /// Returns the name of the pool.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the object set of the pool.
    #[must_use]
    pub fn mos(&self) -> &M {
        &self.mos
    }

    /// Returns the keys that were loaded.
    #[must_use]
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// Returns the reader of the pool's blocks.
    pub(crate) fn blocks(&self) -> &Arc<dyn ReadBlock> {
        &self.blocks
    }
}

impl<M: Mos> Dsl<M> {
    /// Returns the reader of directories and datasets by object.
    pub(crate) fn read(&self) -> MosReader<'_> {
        MosReader { mos: self.mos.objects(), pool: &self.name, blocks: &self.blocks }
    }
}
