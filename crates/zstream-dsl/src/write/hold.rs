//! The verbs `hold` and `release` (`dsl_dataset_user_hold`, `_release`).

use zstream_dmu::ids::ObjectId;
use zstream_dmu::zap::{NormFlags, Value};
use zstream_format::errno::Errno;
use zstream_format::object_type::ObjectType;

use super::Tx;
use crate::error::{Error, Fault, Result};
use crate::phys::DatasetFlags;
use crate::reader::MosReader;

/// The longest tag in bytes (`MAXNAMELEN - 1`).
const TAG_BYTES_MAX: usize = 255;

impl Tx<'_> {
    /// Adds a hold to snapshots, to all or none.
    ///
    /// # Errors
    /// Fails with `ENOENT`, `EEXIST` if a snapshot already has the hold, and `E2BIG` if the tag is too long.
    pub fn hold(&mut self, tag: &str, names: &[String]) -> Result<()> {
        if tag.is_empty() || tag.len() > TAG_BYTES_MAX {
            return Err(Error::refused(
                Errno::E2BIG,
                format!("the tag must have 1 to {TAG_BYTES_MAX} bytes"),
            ));
        }
        let mut plan = Vec::new();
        for name in names {
            let snapshot = self.dsl().snapshot(name)?.object();
            if self.read().lookup(self.read().dataset(snapshot)?.holds, tag)?.is_some() {
                return Err(Error::refused(Errno::EEXIST, format!("{name} already has the hold {tag}")));
            }
            plan.push(snapshot);
        }
        let now = Value::word(self.clock.seconds);
        for snapshot in plan {
            let holds = match self.read().dataset(snapshot)?.holds {
                Some(holds) => holds,
                None => {
                    let holds = self.create_zap(ObjectType::USERREFS, NormFlags::empty())?;
                    self.change_dataset(snapshot, |dataset| dataset.holds = Some(holds))?;
                    holds
                }
            };
            self.zap(holds)?.update(tag, &now)?;
        }
        Ok(())
    }

    /// Removes a hold from snapshots, from all or none. Snapshots that are marked for destruction are destroyed with
    /// their last hold.
    ///
    /// # Errors
    /// Fails with `ENOENT` if a snapshot does not exist, and `ESRCH` if it does not have the hold.
    pub fn release(&mut self, tag: &str, names: &[String]) -> Result<()> {
        let mut plan = Vec::new();
        for name in names {
            let snapshot = self.dsl().snapshot(name)?.object();
            let holds = self.read().dataset(snapshot)?.holds;
            match holds {
                Some(holds) if self.read().lookup(Some(holds), tag)?.is_some() => {
                    plan.push((snapshot, holds))
                }
                _ => return Err(Fault::NoHold { snapshot: name.clone(), tag: tag.to_owned() }.into()),
            }
        }
        for (snapshot, holds) in plan {
            self.release_temporary(snapshot, tag)?;
            self.zap(holds)?.remove(tag)?;
            let phys = self.read().dataset(snapshot)?;
            if phys.flags.contains(DatasetFlags::DEFER_DESTROY)
                && phys.children == 1
                && self.read().hold_count(snapshot)? == 0
            {
                self.destroy_snapshot(snapshot)?;
            }
        }
        Ok(())
    }

    /// Removes the entry of a hold that ends with its process.
    fn release_temporary(&mut self, snapshot: ObjectId, tag: &str) -> Result<()> {
        if let Some(temporary) = self.read().directory("tmp_userrefs")? {
            self.zap(temporary)?.remove_if_there(format!("{:x}-{tag}", snapshot.0))?;
        }
        Ok(())
    }
}

impl MosReader<'_> {
    /// Returns the number of holds of a snapshot.
    pub(super) fn hold_count(self, snapshot: ObjectId) -> Result<usize> {
        Ok(self.entries(self.dataset(snapshot)?.holds)?.len())
    }
}
