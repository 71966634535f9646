//! A pool, as its datasets are read from it: its MOS and its keys.

use std::fmt;
use std::sync::Arc;

use zstream_dmu::block::ReadBlock;
use zstream_dmu::objset::Objset;
use zstream_dmu::zio::crypt::Keyring;

use crate::error::Result;
use crate::reader::{Mos, MosReader, OpenMos};

/// The datasets of a pool, as its MOS has them: the one that was committed last, or the one of an open transaction group
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
    /// The datasets of the pool `name` with this MOS. `keyring` is what its reader of blocks decrypts with.
    ///
    /// # Errors
    /// When the MOS has no root dataset or cannot be read.
    pub fn open(name: impl Into<String>, mos: Arc<Objset>, keyring: Arc<Keyring>) -> Result<Arc<Self>> {
        let blocks = Arc::clone(mos.reader());
        let this = Self { name: name.into(), mos, blocks, keyring };
        this.read().root_dir()?;
        Ok(Arc::new(this))
    }
}

impl<'t> Dsl<OpenMos<'t>> {
    /// The datasets of the pool `name` as they are in an open transaction group, whose blocks `blocks` reads.
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
    /// The pool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pool's own object set.
    #[must_use]
    pub fn mos(&self) -> &M {
        &self.mos
    }

    /// The keys that were loaded.
    #[must_use]
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// What reads the blocks of the pool.
    pub(crate) fn blocks(&self) -> &Arc<dyn ReadBlock> {
        &self.blocks
    }
}

impl<M: Mos> Dsl<M> {
    /// Directories and datasets by object.
    pub(crate) fn read(&self) -> MosReader<'_> {
        MosReader { mos: self.mos.objects(), pool: &self.name, blocks: &self.blocks }
    }
}
