//! Deduplication tables as they are on disk.

use std::collections::BTreeMap;

use zstream_format::algorithm::ChecksumType;

use super::log::{Log, Logged};
use super::{CHECKSUMS, Entry, FLAG_FLAT, FLAG_LOG, Histogram, Key, STATISTICS, Statistics, VERSION_FAST};
use crate::blkptr::Dva;
use crate::error::{Error, Result};
use crate::ids::ObjectId;
use crate::mos::DIRECTORY_OBJECT;
use crate::object_set::ObjectSet;
use crate::zap::{self, Zap};

/// The class of an entry, which determines the object that has it (`ddt_class_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Entries with additional copies. Nothing is added any more.
    Ditto,
    /// Entries with several references.
    Duplicate,
    /// Entries with one reference.
    Unique,
}

impl Class {
    /// All classes, in the order of their numbers.
    pub(crate) const ALL: [Self; 3] = [Self::Ditto, Self::Duplicate, Self::Unique];

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ditto => "ditto",
            Self::Duplicate => "duplicate",
            Self::Unique => "unique",
        }
    }

    /// Returns the class of an entry with this number of references.
    pub(crate) fn of(references: u64) -> Self {
        if references > 1 { Self::Duplicate } else { Self::Unique }
    }

    pub(super) fn by_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// The table of a checksum function.
#[derive(Clone, Debug)]
pub struct Table {
    pub(crate) checksum: ChecksumType,
    /// The directory: that of the MOS for a legacy table, and `None` for a fast table that is not on disk yet.
    pub(crate) directory: Option<ObjectId>,
    pub(crate) flags: u64,
    /// The objects of entries by class.
    pub(crate) objects: [Option<ObjectId>; Class::ALL.len()],
    /// The histograms of these objects.
    pub(crate) histograms: [Histogram; Class::ALL.len()],
    /// The logs with their names.
    pub(crate) logs: Vec<(String, Log)>,
    /// The entries in the logs, which replace those in the objects.
    pub(crate) logged: BTreeMap<Key, Logged>,
}

impl Table {
    /// Returns a new table without entries.
    pub(crate) fn new(checksum: ChecksumType, is_fast: bool) -> Self {
        Self {
            checksum,
            directory: (!is_fast).then_some(DIRECTORY_OBJECT),
            flags: if is_fast { FLAG_FLAT | FLAG_LOG } else { 0 },
            objects: Default::default(),
            histograms: Default::default(),
            logs: Vec::new(),
            logged: BTreeMap::new(),
        }
    }

    /// Opens all tables of a pool.
    ///
    /// # Errors
    ///
    /// Fails if a table has an unknown form, and if it cannot be read.
    pub fn open_all(mos: &dyn ObjectSet) -> Result<Vec<Self>> {
        let directory = Zap::open(mos, DIRECTORY_OBJECT)?;
        let Some(statistics) = directory.lookup_u64(STATISTICS)? else { return Ok(Vec::new()) };
        let statistics = Zap::open(mos, ObjectId(statistics))?;
        let open = |checksum| Self::open(mos, &directory, &statistics, checksum);
        CHECKSUMS.into_iter().filter_map(|checksum| open(checksum).transpose()).collect()
    }

    /// Opens the table of a checksum function, if there is one.
    fn open(
        mos: &dyn ObjectSet,
        directory: &Zap<'_>,
        statistics: &Zap<'_>,
        checksum: ChecksumType,
    ) -> Result<Option<Self>> {
        let fast = directory.lookup_u64(directory_name(checksum))?.map(ObjectId);
        let mut table = Self::new(checksum, fast.is_some());
        match fast {
            None => table.open_objects(directory, statistics)?,
            Some(object) => {
                let zap = Zap::open(mos, object)?;
                table.directory = Some(object);
                table.flags = table.check_form(&zap)?;
                table.open_objects(&zap, statistics)?;
                table.open_logs(mos, &zap)?;
            }
        }
        let is_there = fast.is_some() || table.objects.iter().any(Option::is_some);
        Ok(is_there.then_some(table))
    }

    /// Checks the version of a fast table, and returns its flags.
    fn check_form(&self, zap: &Zap<'_>) -> Result<u64> {
        let number = |name| zap.lookup_u64(name)?.ok_or_else(|| Error::no_entry("deduplication table", name));
        let (version, flags) = (number("version")?, number("flags")?);
        if version != VERSION_FAST || flags & !(FLAG_FLAT | FLAG_LOG) != 0 {
            return Err(Error::unsupported(format!(
                "deduplication table {} with version {version} and flags {flags:#x}",
                directory_name(self.checksum)
            )));
        }
        Ok(flags)
    }

    fn open_objects(&mut self, directory: &Zap<'_>, statistics: &Zap<'_>) -> Result<()> {
        for class in Class::ALL {
            let name = self.object_name(class);
            let Some(object) = directory.lookup_u64(&name)? else { continue };
            let histogram = statistics.lookup(&name)?;
            let histogram = histogram.ok_or_else(|| Error::no_entry("deduplication statistics", &name))?;
            self.objects[class as usize] = Some(ObjectId(object));
            self.histograms[class as usize] = Histogram::parse(&histogram.u64s())?;
        }
        Ok(())
    }

    fn open_logs(&mut self, mos: &dyn ObjectSet, directory: &Zap<'_>) -> Result<()> {
        if self.flags & FLAG_LOG == 0 {
            return Ok(());
        }
        for n in 0..2 {
            let name = self.log_name(n);
            if let Some(object) = directory.lookup_u64(&name)? {
                self.logs.push((name, Log::open(mos, ObjectId(object))?));
            }
        }
        // The entries of the log that is appended to are newer.
        let mut logs: Vec<Log> = self.logs.iter().map(|(_, log)| *log).collect();
        logs.sort_by_key(|log| !log.header.is_flushing());
        let is_flat = self.is_flat();
        logs.iter().try_for_each(|log| log.read(mos, is_flat, &mut self.logged))
    }

    /// The checksum function of the blocks.
    #[must_use]
    pub fn checksum(&self) -> ChecksumType {
        self.checksum
    }

    /// Returns whether entries have one variant.
    pub(crate) fn is_flat(&self) -> bool {
        self.flags & FLAG_FLAT != 0
    }

    /// Returns whether the table has its own directory.
    #[must_use]
    pub fn is_fast(&self) -> bool {
        self.directory != Some(DIRECTORY_OBJECT)
    }

    /// The name of the object of entries of a class.
    pub(crate) fn object_name(&self, class: Class) -> String {
        format!("DDT-{}-zap-{}", self.checksum.name().unwrap_or_default(), class.name())
    }

    /// The name of a log.
    pub(crate) fn log_name(&self, n: u32) -> String {
        format!("DDT-log-{}-{n}", self.checksum.name().unwrap_or_default())
    }

    /// Returns the entry of `key` in the objects, with its class.
    pub(super) fn lookup(&self, mos: &dyn ObjectSet, key: Key) -> Result<Option<(Class, Entry)>> {
        for class in Class::ALL {
            let Some(object) = self.objects[class as usize] else { continue };
            if let Some(value) = Zap::open(mos, object)?.lookup_words(&key.0)? {
                return Ok(Some((class, Entry::decode(value.bytes()?, self.is_flat())?)));
            }
        }
        Ok(None)
    }

    /// Calls `visit` with each entry: those in the objects that no log replaces, and those in the logs.
    ///
    /// # Errors
    ///
    /// Fails if an entry cannot be read, and if `visit` fails.
    pub fn entries(
        &self,
        mos: &dyn ObjectSet,
        visit: &mut dyn FnMut(Class, Key, &Entry) -> Result<()>,
    ) -> Result<()> {
        self.stored_entries(mos, visit)?;
        self.logged
            .iter()
            .try_for_each(|(key, logged)| visit(Class::of(logged.entry.references()), *key, &logged.entry))
    }

    /// Returns the allocated bytes of the objects of the table and its logs.
    ///
    /// # Errors
    ///
    /// Fails if a dnode cannot be read.
    pub fn allocated_bytes(&self, mos: &dyn ObjectSet) -> Result<u64> {
        let logs = self.logs.iter().map(|(_, log)| log.object);
        let objects = self.objects.iter().flatten().copied().chain(logs);
        objects.map(|object| Ok(mos.info(object)?.used_bytes.unwrap_or(0))).sum()
    }

    /// Returns the names of the objects whose histograms are not those of their entries.
    pub(crate) fn wrong_histograms(
        &self,
        mos: &dyn ObjectSet,
        dsize: &dyn Fn(Dva) -> u64,
    ) -> Result<Vec<String>> {
        let mut real: [Histogram; Class::ALL.len()] = Default::default();
        self.stored_entries(mos, &mut |class, key, entry| {
            real[class as usize].add(&Statistics::of(key, entry, dsize));
            Ok(())
        })?;
        let is_wrong = |class: &Class| real[*class as usize] != self.histograms[*class as usize];
        Ok(Class::ALL.into_iter().filter(is_wrong).map(|class| self.object_name(class)).collect())
    }

    /// Calls `visit` with each entry in the objects that no log replaces.
    fn stored_entries(
        &self,
        mos: &dyn ObjectSet,
        visit: &mut dyn FnMut(Class, Key, &Entry) -> Result<()>,
    ) -> Result<()> {
        for class in Class::ALL {
            let Some(object) = self.objects[class as usize] else { continue };
            for entry in Zap::open(mos, object)?.entries() {
                let entry = entry?;
                let key = match &entry.key {
                    zap::Key::Words(words) => words.as_slice().try_into().ok().map(Key),
                    zap::Key::Name(_) => None,
                };
                let key = key.ok_or_else(|| {
                    Error::corrupt("deduplication table", format!("key {} does not have 5 words", entry.key))
                })?;
                if !self.logged.contains_key(&key) {
                    visit(class, key, &Entry::decode(entry.value.bytes()?, self.is_flat())?)?;
                }
            }
        }
        Ok(())
    }
}

/// The name of the directory of a fast table.
pub(crate) fn directory_name(checksum: ChecksumType) -> String {
    format!("DDT-{}", checksum.name().unwrap_or_default())
}

/// The sums of all entries of all tables of a pool (`ddt_get_dedup_stats`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The histogram of all entries.
    pub histogram: Histogram,
}

impl Totals {
    /// Returns the sums of these tables. `dsize` returns the deflated size of a copy.
    #[must_use]
    pub fn of(tables: &[Table], dsize: &dyn Fn(Dva) -> u64) -> Self {
        let mut histogram = Histogram::default();
        for table in tables {
            table.histograms.iter().for_each(|part| histogram.join(part));
            for (key, logged) in &table.logged {
                histogram.add(&Statistics::of(*key, &logged.entry, dsize));
            }
        }
        Self { histogram }
    }

    /// The space of the blocks with entries in deflated bytes (`dedupused`).
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.histogram.total().allocated_bytes
    }

    /// The space that the references would occupy in addition (`dedupsaved`).
    #[must_use]
    pub fn saved_bytes(&self) -> u64 {
        let total = self.histogram.total();
        total.referenced_allocated_bytes.saturating_sub(total.allocated_bytes)
    }

    /// The ratio of referenced to allocated space in percent (`dedupratio`).
    #[must_use]
    pub fn ratio_percent(&self) -> u64 {
        let total = self.histogram.total();
        match total.allocated_bytes {
            0 => 100,
            allocated => (u128::from(total.referenced_allocated_bytes) * 100 / u128::from(allocated)) as u64,
        }
    }
}
