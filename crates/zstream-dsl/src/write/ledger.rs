//! Accounting for the blocks of a dataset that is synced (`dsl_dataset_block_born`, `dsl_dataset_block_kill`).
//!
//! ```text
//! born                                referenced +  unique +   directory: head +
//! killed, younger than the snapshot   referenced -  unique -   directory: head -         its space is free
//! killed, older                       referenced -             directory: head to snapshots    to the deadlist
//!                                     and of the snapshot unique +, if no older one has the block
//! ```

use std::collections::BTreeSet;

use zstream_dmu::blkptr::{BlockKind, BlockPointer};
use zstream_dmu::bpobj::{ListChange, SizedBlock};
use zstream_dmu::error::Result as PoolResult;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::zap::Value;
use zstream_dmu::zio::Ledger;
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::errno::Errno;

use super::Tx;
use super::deadlist::{change_of, has_places};
use super::livelist::Live;
use super::usage::{Change, Use, accounted_change, add};
use crate::bookmark::Bookmark;
use crate::error::{Error, Result};
use crate::phys::DatasetFlags;

/// The number of dead blocks that wait in memory for the deadlist.
const DEAD_BLOCKS_MAX: usize = 4096;

/// The largest block of a dataset without the feature `large_blocks`, in bytes.
const OLD_BLOCK_BYTES_MAX: u64 = 128 << 10;

/// A ledger that counts the blocks of one dataset while it is synced.
pub struct DatasetLedger<'t, 'a> {
    tx: &'t mut Tx<'a>,
    head: ObjectId,
    dir: ObjectId,
    deadlist: ObjectId,
    /// The snapshot before it, the birth of that, and the birth of the snapshot before that if it is in the same line.
    previous: (Option<ObjectId>, Txg, Option<Txg>),
    /// Blocks that are not younger existed when the directory was cloned.
    origin_txg: Txg,
    sums: Sums,
    dead: Vec<SizedBlock>,
    /// The list of the blocks of a clone.
    live: Option<Live>,
    features: BTreeSet<&'static str>,
    /// Bookmarks that are not yet followed by a snapshot.
    marks: Vec<(Bookmark, bool)>,
}

#[derive(Default)]
struct Sums {
    referenced: Change,
    /// The change of the head's unique space.
    unique: Change,
    /// The space that moves from the head to the snapshots of the directory.
    to_snapshots: i64,
    /// The change of the previous snapshot's unique space.
    previous_unique: i64,
}

impl<'a> Tx<'a> {
    /// Returns a ledger for the blocks of a head that is synced next.
    ///
    /// # Errors
    /// Fails if the head or its lists cannot be read.
    pub fn ledger(&mut self, head: ObjectId) -> Result<DatasetLedger<'_, 'a>> {
        let phys = self.read().dataset(head)?;
        self.check_writable(head)?;
        let deadlist = self.read().deadlist_of(head)?;
        // Read here, while a failure does no harm.
        drop(self.read().deadlist(deadlist)?);
        let live = self.open_livelist(head, phys.dir)?;
        let before = match phys.prev_snapshot {
            Some(previous) => {
                let before = self.read().dataset(previous)?;
                (before.next == Some(head)).then_some(before.prev_snapshot_txg)
            }
            None => None,
        };
        let origin_txg = self.read().origin_txg(phys.dir)?;
        let marks = self.read().bookmarks(head, "")?;
        let marks = marks
            .into_iter()
            .filter(|mark| mark.counts_freed() && mark.creation_txg >= phys.prev_snapshot_txg)
            .map(|mark| (mark, false))
            .collect();
        Ok(DatasetLedger {
            tx: self,
            head,
            dir: phys.dir,
            deadlist,
            previous: (phys.prev_snapshot, phys.prev_snapshot_txg, before),
            origin_txg,
            sums: Sums::default(),
            dead: Vec::new(),
            live,
            features: BTreeSet::new(),
            marks,
        })
    }

    /// Checks that a dataset can be written: that it is not a snapshot, and that its last snapshot is not of this
    /// transaction group. That snapshot would otherwise seem to have the new blocks.
    ///
    /// # Errors
    /// Fails with `EAGAIN` if there is such a snapshot.
    pub(super) fn check_writable(&self, head: ObjectId) -> Result<()> {
        let phys = self.read().dataset(head)?;
        if phys.is_snapshot() {
            return Err(Error::refused(
                Errno::EINVAL,
                format!("cannot write to dataset {head}: it is a snapshot"),
            ));
        }
        if phys.prev_snapshot_txg >= self.txg() {
            let name = self.read().full_name(head)?;
            return Err(Error::refused(
                Errno::EAGAIN,
                format!("cannot write to {name}: its last snapshot was created in this transaction group"),
            ));
        }
        Ok(())
    }
}

/// Returns the features that are needed to read a block.
fn features_of(block: &BlockPointer) -> impl Iterator<Item = &'static str> {
    let checksum = match block.checksum_type() {
        _ if block.kind() != BlockKind::Normal => None,
        ChecksumType::SHA512 => Some("sha512"),
        ChecksumType::SKEIN => Some("skein"),
        ChecksumType::EDONR => Some("edonr"),
        ChecksumType::BLAKE3 => Some("blake3"),
        _ => None,
    };
    let compression = (block.compression() == CompressionType::ZSTD).then_some("zstd_compress");
    let size = (block.lsize() > OLD_BLOCK_BYTES_MAX).then_some("large_blocks");
    checksum.into_iter().chain(compression).chain(size)
}

impl Ledger for DatasetLedger<'_, '_> {
    fn born(&mut self, block: &BlockPointer) -> PoolResult<()> {
        if block.is_hole() || block.is_redacted() {
            return Ok(());
        }
        let sized = self.tx.sized(block);
        let change = change_of(&sized);
        self.sums.referenced = self.sums.referenced.plus(change);
        self.sums.unique = self.sums.unique.plus(change);
        self.features.extend(features_of(block));
        self.track(ListChange { block: sized, is_free: false }).map_err(Error::into_pool)
    }

    fn killed(&mut self, block: &BlockPointer) -> PoolResult<()> {
        if block.is_hole() || block.is_redacted() {
            return Ok(());
        }
        let (_, previous_txg, before_previous) = self.previous;
        let sized = self.tx.sized(block);
        let change = change_of(&sized);
        let birth = block.birth();
        self.track(ListChange { block: sized, is_free: true }).map_err(Error::into_pool)?;
        self.sums.referenced = self.sums.referenced.plus(change.negated());
        if birth > previous_txg {
            self.sums.unique = self.sums.unique.plus(change.negated());
            if has_places(block) {
                self.tx.has_changed = true;
                self.tx.space.free(block)?;
            }
        } else {
            if before_previous.is_some_and(|txg| birth > txg) {
                self.sums.previous_unique += change.used;
            }
            if birth > self.origin_txg {
                self.sums.to_snapshots += change.used;
            }
            self.dead.push(sized);
            if self.dead.len() >= DEAD_BLOCKS_MAX {
                self.bury().map_err(Error::into_pool)?;
            }
        }
        for (mark, is_dirty) in &mut self.marks {
            if birth <= mark.creation_txg {
                mark.add_freed(change);
                *is_dirty = true;
            }
        }
        Ok(())
    }
}

impl DatasetLedger<'_, '_> {
    /// Moves the waiting dead blocks into the deadlist.
    fn bury(&mut self) -> Result<()> {
        let dead = std::mem::take(&mut self.dead);
        self.tx.insert_dead(self.deadlist, &dead)
    }

    /// Adds a block to the livelist, if there is one.
    fn track(&mut self, change: ListChange) -> Result<()> {
        let Some(live) = &mut self.live else { return Ok(()) };
        if live.add(change) { self.tx.write_livelist(live) } else { Ok(()) }
    }

    /// Stores the counts, in the dataset with its new root, and up the tree of directories.
    ///
    /// # Errors
    /// Fails if the MOS cannot be changed. The transaction group must be dropped then.
    pub fn finish(mut self, root: BlockPointer) -> Result<()> {
        self.bury()?;
        let Sums { referenced, unique, to_snapshots, previous_unique } = self.sums;
        let tx = self.tx;
        if let Some(live) = &mut self.live {
            tx.write_livelist(live)?;
        }
        let reserved = tx.read().refreservation(self.head)?;
        let charged = tx.change_dataset(self.head, |dataset| {
            let charged = accounted_change(dataset.unique_bytes, reserved, unique.used);
            add(&mut dataset.referenced_bytes, referenced.used);
            add(&mut dataset.compressed_bytes, referenced.compressed);
            add(&mut dataset.uncompressed_bytes, referenced.uncompressed);
            add(&mut dataset.unique_bytes, unique.used);
            dataset.root = root;
            charged
        })?;
        tx.use_reserved_space(
            self.dir,
            Change { used: charged, ..unique },
            unique.used,
            Use::Refreservation,
            Use::Head,
        )?;
        tx.move_space(self.dir, to_snapshots, Use::Head, Use::Snapshots)?;
        if self.live.is_some() {
            tx.prune_livelist(self.head, self.dir)?;
        }
        if let (Some(previous), true) = (self.previous.0, previous_unique != 0) {
            tx.change_dataset(previous, |dataset| add(&mut dataset.unique_bytes, previous_unique))?;
        }
        for name in self.features {
            tx.activate_feature(self.head, name, &Value::word(0))?;
        }
        for (mark, is_dirty) in &self.marks {
            if *is_dirty {
                tx.put_bookmark(self.head, mark)?;
            }
        }
        Ok(())
    }
}

impl DatasetFlags {
    /// Returns the flags of a new filesystem or volume.
    pub(super) fn of_new(is_case_insensitive: bool) -> Self {
        if is_case_insensitive { Self::CASE_INSENSITIVE } else { Self::empty() }
    }
}
