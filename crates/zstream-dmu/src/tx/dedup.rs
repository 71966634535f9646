//! The deduplication tables, which are written before the MOS is synced (`ddt_sync`).
//!
//! The entries of the logs of a table are moved to its objects with the first change of the table, and changed entries
//! are written to the objects. The logs stay empty until OpenZFS appends to them again.

use zstream_format::algorithm::ChecksumType;
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use crate::blkptr::{BlockPointer, Dva};
use crate::ddt::{
    Class, DIRECTORY_TYPE, ENTRIES_SHIFT, Entry, Key, LOG_TYPE, References, STATISTICS, Statistics, Stored,
    Table, Touched, VERSION_FAST, directory_name,
};
use crate::dnode::NewObject;
use crate::error::{Error, Result};
use crate::ids::ObjectId;
use crate::mos::DIRECTORY_OBJECT;
use crate::object_store::ObjectStore;
use crate::random::Random;
use crate::space::Allocator;
use crate::tx::features;
use crate::zap::{self, NewZap, NormFlags, Value, Zap, ZapFlags, ZapMut};

/// The feature whose count is the number of fast tables.
const FEATURE: &str = "fast_dedup";

/// Writes the tables that changed, and frees the blocks without references.
pub(super) fn write(mos: &mut dyn ObjectStore, space: &Allocator, now: u64) -> Result<()> {
    let Some(mut references) = space.take_dedup()? else { return Ok(()) };
    let mut writing = Writing { mos, space, now, unused: Vec::new() };
    writing.tables(&mut references)?;
    let unused = writing.unused;
    space.put_dedup(references)?;
    unused.iter().try_for_each(|block| space.free_unshared(block))
}

struct Writing<'a> {
    mos: &'a mut dyn ObjectStore,
    space: &'a Allocator,
    now: u64,
    /// The blocks without references.
    unused: Vec<BlockPointer>,
}

impl Writing<'_> {
    fn tables(&mut self, references: &mut References) -> Result<()> {
        for n in 0..references.tables.len() {
            let table = &mut references.tables[n];
            let checksum = table.checksum;
            let of_table = (checksum, Key::MIN)..=(checksum, Key::MAX);
            if !references.touched.range(of_table.clone()).any(|(_, touched)| touched.is_dirty) {
                continue;
            }
            self.create(table)?;
            self.empty_logs(table)?;
            for (key, logged) in std::mem::take(&mut table.logged) {
                let stored = logged.class.map(|class| Stored { class, counted: None });
                let moved = Touched { is_dirty: true, ..Touched::clean(stored, logged.entry) };
                references.touched.entry((checksum, key)).or_insert(moved).is_dirty = true;
            }
            for ((_, key), touched) in references.touched.range_mut(of_table) {
                if touched.is_dirty {
                    self.entry(table, *key, touched)?;
                }
            }
            self.statistics(table)?;
        }
        references.tables.retain(|table| table.directory.is_some());
        references.is_dirty = false;
        Ok(())
    }

    /// Writes an entry (`ddt_sync_flush_entry`).
    fn entry(&mut self, table: &mut Table, key: Key, touched: &mut Touched) -> Result<()> {
        let counted = touched.stored.and_then(|stored| Some((stored.class, stored.counted?)));
        if let Some((class, sums)) = counted {
            table.histograms[class as usize].remove(&sums);
        }
        if touched.is_pruned && touched.entry.references() == 1 {
            // The block is in use. Without an entry it is freed like any other block.
            touched.entry = Entry::new(table.is_flat());
        }
        let unused = touched.entry.take_unused();
        self.unused.extend(unused.iter().map(|variant| variant.pointer(table.checksum, key)));
        let references = touched.entry.references();
        let class = Class::of(references);
        if let Some(stored) = touched.stored
            && (stored.class != class || references == 0)
            && let Some(object) = table.objects[stored.class as usize]
        {
            ZapMut::open(self.mos, object)?.remove(&key.words()[..])?;
        }
        touched.is_dirty = false;
        if references == 0 {
            *touched = Touched::clean(None, Entry::new(table.is_flat()));
            return Ok(());
        }
        touched.entry.set_time(self.now);
        let sums = Statistics::of(key, &touched.entry, &|dva: Dva| self.space.dva_dsize(dva));
        table.histograms[class as usize].add(&sums);
        let object = self.object(table, class)?;
        ZapMut::open(self.mos, object)?
            .update(&key.words()[..], &Value::from_bytes(&touched.entry.stored()?))?;
        touched.stored = Some(Stored { class, counted: Some(sums) });
        Ok(())
    }

    /// Returns the object of entries of a class, which is created if it does not exist (`ddt_object_create`).
    fn object(&mut self, table: &mut Table, class: Class) -> Result<ObjectId> {
        if let Some(object) = table.objects[class as usize] {
            return Ok(object);
        }
        let prehashed =
            if table.checksum.is_dedup_capable() { ZapFlags::PREHASHED_KEY } else { ZapFlags::empty() };
        let new = NewZap {
            salt: self.salt(table.checksum, class as u64)?,
            norm_flags: NormFlags::empty(),
            flags: ZapFlags::LONG_HASH | ZapFlags::WORD_KEYS | prehashed,
        };
        let of_entries = NewObject {
            indirect_shift: ENTRIES_SHIFT,
            ..NewObject::new(ObjectType::DDT_ZAP, 1 << ENTRIES_SHIFT)
        };
        let object = zap::create_with(self.mos, &of_entries, &new)?;
        let directory = table.directory.ok_or_else(|| Error::internal("a table has no directory"))?;
        ZapMut::open(self.mos, directory)?.add(table.object_name(class), &Value::word(object.0))?;
        table.objects[class as usize] = Some(object);
        Ok(object)
    }

    fn salt(&self, checksum: ChecksumType, n: u64) -> Result<u64> {
        let seed = self.space.vdevs().guid().0 ^ self.mos.txg().0.rotate_left(32);
        Ok(Random::from_seed(seed ^ u64::from(checksum.0).rotate_left(16) ^ n).u64()?)
    }

    /// Creates the directory of a fast table, and the object of the histograms (`ddt_create_dir`).
    fn create(&mut self, table: &mut Table) -> Result<()> {
        if Zap::open(&*self.mos, DIRECTORY_OBJECT)?.lookup_u64(STATISTICS)?.is_none() {
            let new = NewZap::new(self.salt(table.checksum, 16)?);
            let object = zap::create(self.mos, ObjectType::DDT_STATS, &new)?;
            ZapMut::open(self.mos, DIRECTORY_OBJECT)?.add(STATISTICS, &Value::word(object.0))?;
        }
        if table.directory.is_some() {
            return Ok(());
        }
        let new = NewZap::new(self.salt(table.checksum, 17)?);
        let object = zap::create(self.mos, DIRECTORY_TYPE, &new)?;
        let name = directory_name(table.checksum);
        ZapMut::open(self.mos, DIRECTORY_OBJECT)?.add(name, &Value::word(object.0))?;
        let mut zap = ZapMut::open(self.mos, object)?;
        zap.add("version", &Value::word(VERSION_FAST))?;
        zap.add("flags", &Value::word(table.flags))?;
        table.directory = Some(object);
        features::add(self.mos, FEATURE, 1)
    }

    /// Empties the logs, whose entries are written to the objects (`ddt_log_truncate`).
    fn empty_logs(&mut self, table: &mut Table) -> Result<()> {
        for (_, log) in table.logs.iter_mut().filter(|(_, log)| log.header.length > 0) {
            self.mos.free_range(log.object, 0, u64::MAX)?;
            log.header = log.header.emptied();
            self.mos.set_bonus(log.object, LOG_TYPE, &log.header.to_bytes(ByteOrder::Little))?;
        }
        Ok(())
    }

    /// Writes the histograms. Without entries, removes the objects, and a fast table (`ddt_sync_update_stats`).
    fn statistics(&mut self, table: &mut Table) -> Result<()> {
        let statistics = Zap::open(&*self.mos, DIRECTORY_OBJECT)?.lookup_u64(STATISTICS)?;
        let statistics = ObjectId(statistics.ok_or_else(|| Error::no_entry("MOS object", STATISTICS))?);
        let directory = table.directory.ok_or_else(|| Error::internal("a table has no directory"))?;
        let mut count = 0;
        for object in table.objects.iter().flatten() {
            count += Zap::open(&*self.mos, *object)?.info().entries;
        }
        for class in Class::ALL {
            let Some(object) = table.objects[class as usize] else { continue };
            let name = table.object_name(class);
            if count > 0 {
                let histogram = Value::words(&table.histograms[class as usize].words());
                ZapMut::open(self.mos, statistics)?.update(name, &histogram)?;
                continue;
            }
            ZapMut::open(self.mos, directory)?.remove(name.as_str())?;
            ZapMut::open(self.mos, statistics)?.remove_if_there(name.as_str())?;
            self.mos.free(object)?;
            table.objects[class as usize] = None;
        }
        if count == 0 {
            self.destroy(table, directory)?;
        }
        Ok(())
    }

    /// Destroys a table without entries (`ddt_destroy_dir`).
    fn destroy(&mut self, table: &mut Table, directory: ObjectId) -> Result<()> {
        if table.is_fast() {
            for (_, log) in table.logs.drain(..) {
                self.mos.free(log.object)?;
            }
            self.mos.free(directory)?;
            ZapMut::open(self.mos, DIRECTORY_OBJECT)?.remove(directory_name(table.checksum))?;
            features::add(self.mos, FEATURE, -1)?;
        }
        table.directory = None;
        Ok(())
    }
}
