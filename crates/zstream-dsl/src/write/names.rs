//! Names of datasets that are created or destroyed.

use zstream_dmu::ids::ObjectId;
use zstream_format::errno::Errno;

use super::Tx;
use super::make::SNAPSHOT_COUNT;
use crate::error::{Error, Fault, Kind, Result};
use crate::name::{NAME_BYTES_MAX, Name, Suffix};
use crate::reader::MosReader;

/// The maximum depth of nested datasets (`zfs_max_dataset_nesting`).
const NESTING_MAX: usize = 50;

/// The place of a new dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vacant {
    /// The directory above.
    pub(super) parent: ObjectId,
    /// The name in it.
    pub(super) name: String,
}

impl Tx<'_> {
    /// Removes the name of a snapshot (`dsl_dataset_snap_remove`).
    pub(super) fn remove_snapshot_name(&mut self, head: ObjectId, name: &str, counts: bool) -> Result<()> {
        let phys = self.read().dataset(head)?;
        let missing = || Error::not_found(Kind::Snapshot, name);
        let names = phys.snapshot_names.ok_or_else(missing)?;
        let (stored, _) = self.read().snapshot(&phys, name)?.ok_or_else(missing)?;
        self.zap(names)?.remove(stored.as_str())?;
        self.note_snapshots_changed(phys.dir)?;
        if counts {
            self.adjust_counts(phys.dir, SNAPSHOT_COUNT, -1)?;
        }
        Ok(())
    }
}

impl MosReader<'_> {
    /// Returns the place of a new dataset with this name.
    pub(super) fn vacant(self, name: &str) -> Result<Vacant> {
        let parsed = Name::parse(name)?;
        let hidden = |part: &str| part.starts_with('$') || part.starts_with('%') || part.contains('%');
        if parsed.suffix != Suffix::None || parsed.filesystem.split('/').any(hidden) {
            return Err(Error::bad_name(format!("{name} cannot be the name of a new dataset")));
        }
        if parsed.filesystem.split('/').count() > NESTING_MAX {
            return Err(Error::refused(
                Errno::ENAMETOOLONG,
                format!("{name} is nested more than {NESTING_MAX} deep"),
            ));
        }
        if parsed.pool() != self.pool {
            return Err(Error::refused(Errno::ENOENT, format!("{name} is not in the pool {}", self.pool)));
        }
        if self.dir_named(name)?.is_some() {
            return Err(Error::exists(Kind::Dataset, name));
        }
        let Some((above, last)) = name.rsplit_once('/') else {
            return Err(Error::exists(Kind::Dataset, name));
        };
        let parent = self
            .dir_named(above)?
            .ok_or_else(|| Error::refused(Errno::ENOENT, format!("the parent of {name} does not exist")))?;
        if !self.is_filesystem(self.head_of(parent)?)? {
            return Err(Error::refused(Errno::EINVAL, format!("the parent of {name} is not a filesystem")));
        }
        Ok(Vacant { parent, name: last.to_owned() })
    }

    /// Checks that a head can have a snapshot with this name.
    pub(super) fn check_snapshot_name(self, head: ObjectId, short: &str) -> Result<()> {
        let full = format!("{}@{short}", self.dir_name(self.dataset(head)?.dir)?);
        if full.len() > NAME_BYTES_MAX {
            return Err(Fault::NameTooLong(format!("the name {full} is too long")).into());
        }
        drop(Name::parse(&full)?);
        if short.contains('%') {
            return Err(Error::bad_name(format!("{full} cannot be the name of a snapshot")));
        }
        if self.snapshot(&self.dataset(head)?, short)?.is_some() {
            return Err(Error::exists(Kind::Snapshot, full));
        }
        Ok(())
    }
}
